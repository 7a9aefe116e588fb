//! `holon eval`: code for a process that has a console.

use bytes::Bytes;
use clap::Args;
use holon_client::{Unit, console};

use super::show::Shown;
use crate::arguments::{DataArguments, Global, ProcessName, parse_process};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon eval <process> '1 + 1'
  holon eval <process> 'Handlers.list'
  holon eval <process> --file program.lua

A process evaluates only what its owner sends: use the wallet that spawned it.";

/// `holon eval`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// The code
    #[arg(value_name = "CODE", required_unless_present = "file", conflicts_with = "file", allow_hyphen_values = true)]
    code: Option<String>,
    /// Code from a file; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<std::path::PathBuf>,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let code: Bytes = super::data(DataArguments { data: arguments.code, file: arguments.file })?;
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    connection.network.require(Unit::Compute)?;
    let wallet = connection.wallet(global, terminal)?;
    let progress = terminal.progress("evaluating");
    let evaluated = connection.network.eval(process, code, &wallet).await;
    drop(progress);
    let evaluated = evaluated?;

    if terminal.is_json() {
        terminal.json(&Shown { id: Some(evaluated.message), process, result: &evaluated.result })?;
    } else if console::error(&evaluated.result).is_none() {
        terminal.line(console::output(&evaluated.result));
    }
    match console::error(&evaluated.result) {
        Some(error) => Err(Failure::process(error)),
        None => {
            if let Some(owner) = connection.owner(process).await
                && owner != wallet.address()
            {
                terminal.note(format!(
                    "{owner} owns the process, not this wallet ({}): it may have taken the code for a plain message",
                    wallet.address()
                ));
            }
            Ok(())
        }
    }
}
