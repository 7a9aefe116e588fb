//! `holon build`: the module of a project.

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::project::{self, Project};
use crate::terminal::{COPY, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon build                anywhere in the folder of a project
  holon build --json         {\"wasm\": path, \"bytes\": size}";

/// `holon build`
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs the command.
pub fn run(Arguments {}: Arguments, terminal: Terminal) -> Result<(), Failure> {
    let wasm = project::build(&Project::here()?)?;
    let bytes = std::fs::metadata(&wasm)
        .map_err(|error| Failure::network(format!("cannot read {}: {error}", wasm.display())))?
        .len();
    if terminal.is_json() {
        return terminal.json(&json!({ "wasm": wasm, "bytes": bytes }));
    }
    terminal.field("module", format!("{COPY}{}{COPY:#}", wasm.display()));
    terminal.field("size", format!("{bytes} bytes"));
    terminal.note("put it on a network: holon deploy");
    Ok(())
}
