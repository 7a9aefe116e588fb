//! `holon dry-run`: a question that leaves no trace.

use std::time::Duration;

use clap::Args;
use holon_protocol::MessageId;

use super::show;
use crate::arguments::{DataArguments, Global, ProcessName, TagArguments, parse_message, parse_process};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon dry-run counter --action Get
  holon dry-run <process> --action Balance --tag Recipient=<address>
  holon dry-run <process> --action Eval --data 'return Balances' --owner <owner of the process>";

/// `holon dry-run`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    #[command(flatten)]
    tags: TagArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Who seems to ask; nobody checks it [default: the wallet's address, if there is one]
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    owner: Option<String>,
    /// Ask the state right after this message instead of the newest
    #[arg(long, value_name = "MESSAGE", value_parser = parse_message, allow_hyphen_values = true)]
    at: Option<MessageId>,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let data = super::data(arguments.data)?;
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let mut dry_run = connection.network.dry_run(process).tags(arguments.tags.into_tags());
    // What was sent just before counts.
    dry_run = dry_run.max_age(Duration::ZERO);
    if !data.is_empty() {
        let text = String::from_utf8(data.into()).map_err(|_| Failure::usage("the data of a dry run must be text"))?;
        dry_run = dry_run.data(text);
    }
    if let Some(owner) = arguments.owner {
        dry_run = dry_run.owner(owner);
    } else if let Some(wallet) = connection.existing_wallet(global)? {
        dry_run = dry_run.owner(wallet.address());
    }
    if let Some(message) = arguments.at {
        dry_run = dry_run.at(message);
    }
    let progress = terminal.progress("asking");
    let result = dry_run.send().await;
    drop(progress);
    show::result(terminal, process, None, &result?)
}
