//! `holon state`: the state of a process at a slot.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use holon_client::{Network, Standing};
use holon_protocol::Nonce;

use super::replay::{self, SourceArguments};
use crate::arguments::{Global, ProcessName, parse_process};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon state counter                          where it stands now
  holon state <process> --at 1000              right after slot 1000
  holon state <process> --at 1000 --output image.bin
  holon state <process> --at 1000 --replay     believe nobody: rebuild it from Arweave

A slot is the place of a message in the log; its state is the one right after that message,
before the cron messages that follow. The compute unit goes there from its nearest checkpoint.";

/// `holon state`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// The slot [default: the last there is]
    #[arg(long, value_name = "SLOT")]
    at: Option<u64>,
    /// Write the memory to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Rebuild the state here instead of asking the compute unit
    #[arg(long)]
    replay: bool,
    /// What holds for a replay
    #[command(flatten)]
    source: SourceArguments,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let at = arguments.at.map(Nonce);
    if arguments.replay {
        let options = arguments.source.options(&connection, process)?;
        let mut replay = replay::open(options, process, terminal).await?;
        let report = replay::watched(&mut replay, terminal, replay::advance, at).await;
        let written = match (&report, &arguments.output) {
            (Ok(_), Some(path)) => replay::write(&mut replay, path).await,
            _ => Ok(()),
        };
        replay.close().await;
        let report = report?;
        written?;
        return replay::show(&report, terminal);
    }
    let progress = terminal.progress("evaluating");
    let standing = connection.network.state_root(process, at).await?;
    if let Some(path) = &arguments.output {
        // The slot that was named, although there may be a newer one by now.
        save(&connection.network, &standing, path).await?;
    }
    drop(progress);
    show(&standing, terminal)
}

fn show(standing: &Standing, terminal: Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(standing);
    }
    replay::state_fields(terminal, standing.process, standing.nonce, &standing.state_root, standing.memory_bytes);
    Ok(())
}

async fn save(network: &Network, standing: &Standing, path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::network(format!("cannot write {}: {error}", path.display()));
    let mut image = network.memory(standing).await?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    while let Some(bytes) = image.chunk().await? {
        file.write_all(&bytes).map_err(failed)?;
    }
    file.flush().map_err(failed)
}
