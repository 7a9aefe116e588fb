//! `holon fork`: a process of another network, from a slot on, in a local one.

use std::path::{Path, PathBuf};

use clap::Args;
use holon_cu::replay::{self as log, ReplayOptions, SignedEntry, Subject};
use holon_protocol::assignment::Assignment;
use holon_protocol::{BlockHeight, ItemId, Nonce, ProcessId};
use serde_json::json;

use super::replay::{SourceArguments, failure};
use crate::arguments::{Global, ProcessName, parse_process};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::{COPY, STRONG, Terminal};
use crate::up::{
    self,
    forks::{Fork, Forks},
};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon fork <process> --at 1000 --gateway-url https://arweave.net --data fork
  holon send <process> --action Debug --network fork         in another terminal
  holon fork counter --at 2 --data fork --prepare            only the folder; `holon up --data fork` starts it

The log of the process up to the slot is read from Arweave, verified, and copied into a local
network: entries as they were signed, with the process, its module and what was assigned to it.
There the local scheduler goes on with it, under the same process id, so what the state says about
itself stays true. The network it comes from is not touched and learns nothing.

What differs: later slots are signed by the local scheduler, and messages that the local messenger
pushes come from its wallet, which the process may not trust as an authority.";

/// Largest item that is copied besides messages, in bytes.
const MAX_ITEM_BYTES: u64 = 256 * 1024 * 1024;

/// `holon fork`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// Last slot that is copied [default: the last there is]
    #[arg(long, value_name = "SLOT")]
    at: Option<u64>,
    /// Data folder of the local network; one that does not run
    #[arg(long, value_name = "FOLDER", default_value = "fork")]
    data: PathBuf,
    /// First of five ports of the local network; 0 takes free ones
    #[arg(short, long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Do not start the network
    #[arg(long)]
    prepare: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let options = SourceArguments::default().options(&connection, process)?;
    // Taken before the work, so that a folder that cannot be used is known at once; `up` takes it again.
    let folder = up::open_folder(&arguments.data)?;

    let progress = terminal.progress("copying the log");
    let copied = copy(&options, process, arguments.at.map(Nonce), folder.path()).await;
    drop(progress);
    let fork = match copied {
        Ok(fork) => {
            drop(folder);
            fork
        }
        Err(failure) => {
            if let Err(error) = folder.give_up() {
                terminal.note(format!("{} stays behind: {error}", arguments.data.display()));
            }
            return Err(failure);
        }
    };

    match terminal.is_json() {
        true => terminal.json(&json!({ "process": fork.process, "slot": fork.slot, "data": arguments.data }))?,
        false => {
            terminal.field("process", format!("{COPY}{}{COPY:#}", fork.process));
            terminal.field("slot", format!("{STRONG}{}{STRONG:#}", fork.slot));
            terminal.field("folder", arguments.data.display().to_string());
        }
    }
    match arguments.prepare {
        true => Ok(()),
        false => Box::pin(up::run(up::Arguments::of(arguments.data, arguments.port), terminal)).await,
    }
}

/// Copies the log up to a slot, and all that its evaluation needs, into a data folder.
async fn copy(options: &ReplayOptions, process: ProcessId, at: Option<Nonce>, data: &Path) -> Result<Fork, Failure> {
    let mut entries: Vec<SignedEntry> = Vec::new();
    let mut collect = |entry: SignedEntry| entries.push(entry);
    let item = log::read_log(options, process, at, &mut collect).await.map_err(failure)?;
    let mut needed: Vec<ItemId> = entries
        .iter()
        .filter_map(|entry| match entry.subject {
            Subject::Assigned(id) => Some(id),
            Subject::Sent(_) => None,
        })
        .collect();
    let module = item.tags().get("Module").and_then(|module| module.parse().ok());
    needed.push(module.ok_or_else(|| Failure::network(format!("process {process} has no usable Module tag")))?);
    needed.sort_unstable();
    needed.dedup();
    let mut items = Vec::with_capacity(needed.len());
    for id in needed {
        items.push(log::read_item(options, id, MAX_ITEM_BYTES).await.map_err(failure)?);
    }
    // Cron messages fire between blocks, which no other network has.
    let (first, last) = (heights(&entries).next(), heights(&entries).max());
    let blocks = match (first, last) {
        (Some(first), Some(last)) if item.tags().get("Cron-Interval").is_some() && first < last => {
            log::read_blocks(options, first, last).await.map_err(failure)?
        }
        _ => Vec::new(),
    };
    Forks::plant(data, &item, &entries, &items, &blocks)
}

/// The heights that entries name.
fn heights(entries: &[SignedEntry]) -> impl Iterator<Item = BlockHeight> {
    entries.iter().filter_map(|entry| Some(Assignment::from_tags(entry.assignment.tags()).ok()?.block_height))
}
