//! `holon watch`: results of a process as they come.

use std::pin::pin;

use clap::Args;
use futures_util::TryStreamExt;
use holon_client::console;
use holon_client::live::{Live, LiveResult};
use holon_protocol::Timestamp;
use serde_json::json;

use super::show;
use crate::arguments::{Global, ProcessName, parse_process};
use crate::clock;
use crate::connection;
use crate::failure::{self, Failure};
use crate::terminal::{BAD, LABEL, STRONG, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon watch counter                         what comes from now on, until Ctrl-C
  holon watch counter --from 0 --count 10     the first ten results
  holon watch <process> --from <cursor> --json

While somebody watches a process, the compute unit evaluates whatever is scheduled for it. With --json every
line holds a cursor to continue from.";

/// `holon watch`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// Begin after this cursor, or with this time in milliseconds (0: with the first result)
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// End after so many results
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    if connection.network.gateway().is_ok() {
        connection.require_process(process).await?;
    }
    let mut follow = connection.network.follow(process);
    match arguments.from {
        Some(cursor) => follow = follow.from(cursor),
        None => terminal.note("waiting for results; Ctrl-C ends"),
    }
    let mut stream = pin!(follow.stream());
    let mut left = arguments.count;
    while left != Some(0) {
        let live = tokio::select! {
            live = stream.try_next() => live?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match live {
            None => break,
            Some(Live::Result(live)) => {
                left = left.map(|left| left - 1);
                result(terminal, &live)?;
            }
            Some(Live::Held(reason)) if terminal.is_json() => terminal.json(&json!({ "held": reason }))?,
            Some(Live::Held(reason)) => terminal.line(format!("{BAD}held{BAD:#} {reason}")),
            Some(Live::Lost(reason)) => terminal.note(format!("connecting again: {reason}")),
        }
    }
    Ok(())
}

fn result(terminal: Terminal, live: &LiveResult) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(&json!({
            "cursor": live.cursor, "nonce": live.nonce, "timestamp": live.timestamp, "blockHeight": live.block_height,
            "cron": live.cron, "result": live.result,
        }));
    }
    let cron = live.cron.as_ref().map(|cron| format!("  {LABEL}cron {cron}{LABEL:#}")).unwrap_or_default();
    let time = clock::time(Timestamp(live.timestamp));
    terminal.line(format!("{STRONG}{}{STRONG:#}  {LABEL}{time}{LABEL:#}{cron}", live.nonce));
    if let Some(error) = console::error(&live.result) {
        terminal.field("  error", format!("{BAD}{}{BAD:#}", failure::plain(&error)));
    }
    show::parts(terminal, &live.result);
    Ok(())
}
