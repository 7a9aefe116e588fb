//! Measurements, as one command each.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{cargo, root};

/// The measurements there are.
const NAMES: [&str; 5] = ["eval", "capacity", "dry-run", "messenger", "native"];

/// Runs one of the measurements.
pub fn run(name: &str, arguments: &[&str]) -> Result<()> {
    ensure!(NAMES.contains(&name), "no benchmark is called {name}; there are {}", NAMES.join(", "));
    let release = arguments.contains(&"--release");
    let rest = arguments.iter().filter(|argument| **argument != "--release");
    let status = Command::new(cargo())
        .current_dir(root())
        // The development profile compiles everything that executes Wasm, hashes or signs at full speed, and is built
        // already; `--release` measures the other one.
        .args(["bench", "-p", "holon-benches", "--bench", name])
        .args(if release { &["--profile", "release"][..] } else { &["--profile", "dev"] })
        .arg("--")
        .args(rest)
        .status()?;
    ensure!(status.success(), "the benchmark failed");
    Ok(())
}
