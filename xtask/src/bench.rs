//! Measurements, as one command each.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{cargo, root};

/// `eval`: one message through the bare guest, the compute unit and the published loader.
pub fn eval(arguments: &[&str]) -> Result<()> {
    let release = arguments.contains(&"--release");
    let rest = arguments.iter().filter(|argument| **argument != "--release");
    let status = Command::new(cargo())
        .current_dir(root())
        // The development profile compiles everything that executes Wasm, hashes or signs at full speed, and is built
        // already; `--release` measures the other one.
        .args(["bench", "-p", "holon-benches", "--bench", "eval"])
        .args(if release { &["--profile", "release"][..] } else { &["--profile", "dev"] })
        .arg("--")
        .args(rest)
        .status()?;
    ensure!(status.success(), "the benchmark failed");
    Ok(())
}
