//! `holon send`: a message, and what came of it.

use clap::Args;
use holon_client::Unit;
use serde_json::json;

use super::show;
use crate::arguments::{DataArguments, Global, ProcessName, TagArguments, parse_process};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::{COPY, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon send counter --action Increment --data 5
  holon send <process> --action Transfer --tag Recipient=<address> --tag Quantity=10
  holon send <process> --action Eval --file program.lua
  holon send <process> --action Note --data hello --no-wait

The message has its place in the process's log as soon as it is acknowledged; waiting only shows
its result. Exit code 1 means that the process reported an error.";

/// `holon send`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    #[command(flatten)]
    tags: TagArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Do not wait for the result
    #[arg(long)]
    no_wait: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let data = super::data(arguments.data)?;
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    if !arguments.no_wait {
        // Better no message at all than one whose result cannot be asked for.
        connection.network.require(Unit::Compute)?;
    }
    let wallet = connection.wallet(global, terminal)?;

    let progress = terminal.progress("sending");
    let id = connection.network.message(process).tags(arguments.tags.into_tags()).data(data).send(&wallet).await?;
    drop(progress);
    if arguments.no_wait {
        if terminal.is_json() {
            return terminal.json(&json!({ "id": id, "process": process }));
        }
        terminal.field("message", format!("{COPY}{id}{COPY:#}"));
        return Ok(());
    }

    if !terminal.is_json() {
        terminal.field("message", format!("{COPY}{id}{COPY:#}"));
    }
    let progress = terminal.progress("evaluating");
    let result = connection.network.result(process, id).await;
    drop(progress);
    let result = result.map_err(|error| {
        Failure::from(error)
            .hint(format!("the message is in the log; ask again: holon result {id} --process {process}"))
    })?;
    show::result(terminal, process, Some(id), &result)
}
