//! Every test of the repository: the workspace's, and those of the processes, which are a workspace of their own.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::{cargo, root};

/// Runs them all, also after one that fails. `arguments` go to both `cargo test`s.
pub fn all(arguments: &[&str]) -> Result<()> {
    browser()?;
    let processes = root().join("wasm-processes");
    let target = root().join("target").join("guest-tests");
    let status = Command::new(cargo())
        .current_dir(processes)
        .env("CARGO_TARGET_DIR", target)
        .args(["test", "--locked", "--no-fail-fast"])
        .args(arguments)
        .status()?;
    ensure!(status.success(), "tests in wasm-processes failed");
    let status = Command::new(cargo())
        .current_dir(root())
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(arguments)
        .status()?;
    ensure!(status.success(), "tests failed");
    Ok(())
}

/// Browsers that the explorer's tests can drive, by the names of their programs.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Installs a browser where there is none and this may be done without asking: as root, with Debian's packages. Elsewhere the tests that
/// need one say what to install.
fn browser() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let is_root = || Command::new("id").arg("-u").output().is_ok_and(|said| said.stdout == b"0\n");
    if env::var_os("CHROMIUM").is_some() || BROWSERS.into_iter().any(on_path) || !on_path("apt-get") || !is_root() {
        return Ok(());
    }
    println!("installing Chromium for the explorer's tests");
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", "chromium"]] {
        let status = Command::new("apt-get").args(arguments).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "apt-get {} failed", arguments.join(" "));
    }
    Ok(())
}
