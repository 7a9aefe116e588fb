//! Measurements, as one command each.

use std::{env, process::Command};

use anyhow::{Result, ensure};

use crate::root;

/// `eval`: one message through the bare guest, the compute unit and the published loader.
pub fn eval(arguments: &[&str]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root())
        .args(["bench", "-p", "holon-benches", "--bench", "eval", "--"])
        .args(arguments)
        .status()?;
    ensure!(status.success(), "the benchmark failed");
    Ok(())
}
