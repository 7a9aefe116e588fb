//! `holon test`: a project's tests, natively.

use std::ffi::OsString;
use std::process::Stdio;

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::project::{self, Project};
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon test
  holon test coins -- --nocapture      what follows goes to cargo test

Exit code 1 means that a test failed.";

/// `holon test`
#[derive(Debug, Args)]
pub struct Arguments {
    /// For `cargo test`
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the command.
pub fn run(arguments: Arguments, terminal: Terminal) -> Result<(), Failure> {
    let project = Project::here()?;
    let mut command = project::cargo(&project);
    command.arg("test").args(arguments.arguments);
    if terminal.is_json() {
        command.stdout(Stdio::null());
    }
    let passed = command.status().map_err(project::no_cargo)?.success();
    if !passed {
        return Err(Failure::process("the tests of the process did not pass"));
    }
    if terminal.is_json() {
        return terminal.json(&json!({ "name": project.process.name, "passed": true }));
    }
    Ok(())
}
