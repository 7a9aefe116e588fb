//! Every test of the repository: the workspace's, and those of the processes, which are a workspace of their own.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{cargo, root};

/// Runs them all. `arguments` go to both `cargo test`s.
pub fn all(arguments: &[&str]) -> Result<()> {
    let processes = root().join("wasm-processes");
    let target = root().join("target").join("guest-tests");
    let status = Command::new(cargo())
        .current_dir(processes)
        .env("CARGO_TARGET_DIR", target)
        .args(["test", "--locked"])
        .args(arguments)
        .status()?;
    ensure!(status.success(), "tests in wasm-processes failed");
    let status = Command::new(cargo()).current_dir(root()).args(["test", "--workspace"]).args(arguments).status()?;
    ensure!(status.success(), "tests failed");
    Ok(())
}
