//! `holon result`: what came of a message.

use clap::Args;
use holon_protocol::{MessageId, ProcessId};

use super::show;
use crate::arguments::{Global, ProcessName, parse_message, parse_process};
use crate::connection::{self, Connection};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon result <message> --process counter
  holon result <message>                       the process is looked up on the gateway
  holon result <process>                       what the process did at boot";

/// `holon result`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Message, assignment or process id
    #[arg(value_name = "MESSAGE", value_parser = parse_message, allow_hyphen_values = true)]
    message: MessageId,
    /// Process id, or `counter`
    #[arg(short, long, value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: Option<ProcessName>,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = match &arguments.process {
        Some(name) => connection.process(name)?,
        None => process_of(&connection, arguments.message).await?,
    };
    let progress = terminal.progress("evaluating");
    let result = connection.network.result(process, arguments.message).await;
    drop(progress);
    show::result(terminal, process, Some(arguments.message), &result?)
}

/// The process a message was sent to, read from Arweave.
async fn process_of(connection: &Connection, message: MessageId) -> Result<ProcessId, Failure> {
    let unknown = |why: String| Failure::usage(why).hint("name the process: --process <id>");
    let gateway = connection.network.gateway()?;
    let node = gateway.node(message.into()).await.map_err(holon_client::Error::from)?;
    let node = node.ok_or_else(|| unknown(format!("{message} is not on the gateway (yet)")))?;
    if node.tags.contains("Type", "Process") {
        return Ok(ProcessId::from_bytes(*message.as_bytes()));
    }
    // An assignment names its process in a tag.
    let named = node.tags.get("Process").filter(|_| node.tags.contains("Type", "Assignment"));
    named.unwrap_or(&node.recipient).parse().map_err(|_| unknown(format!("{message} was not sent to a process")))
}
