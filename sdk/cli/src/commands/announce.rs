//! `holon announce`: tells everybody where a scheduler unit is.

use std::time::Duration;

use clap::Args;
use holon_protocol::Address;
use serde_json::json;
use url::Url;

use crate::arguments::Global;
use crate::connection;
use crate::failure::Failure;
use crate::terminal::{COPY, Terminal};
use crate::wallet_file;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon announce https://su.example.org --wallet su.json
  holon announce https://su.example.org --wallet su.json --time-to-live 86400
  holon announce http://127.0.0.1:9000 --wallet su.json --gateway-url http://127.0.0.1:4000

Publishes a Scheduler-Location, signed by the scheduler's wallet: clients and units that meet a
process find its scheduler by it. Run it when a scheduler begins, and again when it moves. Others
may remember the old place for the time to live, so let the old address answer that long, too.";

/// Longest time to live, in seconds: a week. A scheduler that has to move would not be found for longer.
const MAX_TIME_TO_LIVE_SECONDS: u64 = 7 * 24 * 3600;

/// `holon announce`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the scheduler unit can be reached by everybody
    #[arg(value_name = "URL")]
    url: Url,
    /// How long others may remember it, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = holon_client::location::DEFAULT_TIME_TO_LIVE.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=MAX_TIME_TO_LIVE_SECONDS)
    )]
    time_to_live: u64,
    /// Publish it although the unit cannot be asked who it is
    #[arg(long)]
    unseen: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let Arguments { url, time_to_live, unseen } = arguments;
    // Never the wallet of a person by default: the record would make that a scheduler.
    let wallet = match &global.wallet {
        Some(path) => wallet_file::read(path)?,
        None => {
            return Err(Failure::usage("the wallet of the scheduler unit is needed")
                .hint("name the file that the unit signs with: --wallet su.json"));
        }
    };
    let connection = connection::find(global)?;
    let network = connection.network;
    if !unseen {
        check(&network, &url, wallet.address()).await?;
    }
    let progress = terminal.progress("publishing");
    let location = network.locate_scheduler(url.clone()).time_to_live(Duration::from_secs(time_to_live));
    let item = location.send(&wallet).await?;
    drop(progress);
    if terminal.is_json() {
        return terminal.json(&json!({
            "location": item,
            "scheduler": wallet.address(),
            "url": url,
            "time_to_live": time_to_live,
        }));
    }
    terminal.field("scheduler", format!("{COPY}{}{COPY:#}", wallet.address()));
    terminal.field("url", url);
    terminal.field("location", item.to_string());
    terminal.note("processes that name this scheduler are found there once the gateway has it");
    Ok(())
}

/// A location signed by another wallet than the unit's leads everybody to a unit that knows none of their processes.
async fn check(network: &holon_client::Network, url: &Url, wallet: Address) -> Result<(), Failure> {
    let said = network.scheduler_at(url.clone())?.address().await.map_err(|error| {
        Failure::from(error).hint("start the unit first, or publish its place unseen with --unseen")
    })?;
    match said == wallet {
        true => Ok(()),
        false => {
            Err(Failure::usage(format!("the scheduler unit at {url} signs as {said}, and the wallet is {wallet}"))
                .hint("name the wallet that the unit was started with"))
        }
    }
}
