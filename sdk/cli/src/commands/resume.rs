//! `holon resume`: has the compute unit try again what used up what it may.

use clap::Args;

use super::dead_letters::token_of;
use crate::arguments::{Global, ProcessName, parse_process};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon resume <process>               tries the message at once instead of after the pause

A message that uses up what the unit's operator allows (time, memory) parks its process on that unit: nothing is
recorded, results before it are served, and after a pause somebody's request tries it again. A message that never
ends parks it again; `holon fork <process> --at <slot>` goes on from before it in a network of its own.";

/// `holon resume`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// The operator's token of the compute unit [default: that of the local network]
    #[arg(long, value_name = "TOKEN", env = "CU_OPERATOR_TOKEN", hide_env_values = true)]
    operator_token: Option<String>,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let token = arguments.operator_token.or_else(|| token_of(&connection, "cu"));
    let parked = connection.network.resume(process, token.as_deref()).await.map_err(|error| match error.status() {
        Some(404) => Failure::from(error).hint("nothing keeps it from going on here"),
        _ => error.into(),
    })?;
    if terminal.is_json() {
        return terminal.json(&parked);
    }
    let place = parked.slot.map_or_else(|| "its first message".to_owned(), |slot| format!("slot {slot}"));
    terminal.line(format!("{process} is tried again at {place}"));
    Ok(())
}
