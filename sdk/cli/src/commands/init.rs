//! `holon init`: the folder of a new process.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::project::{self, Sdk};
use crate::terminal::{COPY, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon init jar && cd jar && holon test
  holon init jar --sdk ../holon/sdk/process     with the crate of another checkout";

/// `holon init`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the process, and of its folder
    #[arg(value_name = "NAME")]
    name: String,
    /// Folder of holon-process [default: that of the checkout this program was built from, else the published crate]
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: Arguments, terminal: Terminal) -> Result<(), Failure> {
    let Arguments { name, sdk } = arguments;
    let folder = PathBuf::from(&name);
    project::create(&folder, &name, &sdk.map_or_else(Sdk::usual, Sdk::Folder))?;
    if terminal.is_json() {
        return terminal.json(&json!({ "name": name, "folder": folder }));
    }
    terminal.field("project", format!("{COPY}{}{COPY:#}", folder.display()));
    terminal.note(format!("test it: cd {name} && holon test"));
    Ok(())
}
