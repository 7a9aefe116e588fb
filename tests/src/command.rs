//! The `holon` command under test.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

/// Path of the `holon` command: `HOLON_BIN` if set, else the program of the package whose test or benchmark is running.
/// Such a package has a binary target that is the command itself, so cargo has built it, from the same sources and with
/// the same features, before the test starts.
///
/// # Errors
/// When the caller was not started by cargo and `HOLON_BIN` is not set.
pub fn holon() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HOLON_BIN") {
        return Ok(path.into());
    }
    PROGRAMS
        .iter()
        .find_map(|program| env::var_os(format!("CARGO_BIN_EXE_{program}")))
        .map(PathBuf::from)
        .context("no holon command: run this through cargo, or name one in HOLON_BIN")
}

/// Path of another program that was built with this package: one of its binary targets.
///
/// # Errors
/// When the caller was not started by cargo.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os(format!("CARGO_BIN_EXE_{name}"));
    path.map(PathBuf::from).with_context(|| format!("no program {name}: run this through cargo"))
}

/// The binary targets of this package and of the benchmarks that are the `holon` command.
const PROGRAMS: [&str; 2] = ["holon-under-test", "holon-measured"];
