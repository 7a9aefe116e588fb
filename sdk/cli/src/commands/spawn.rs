//! `holon spawn`: a process of a module.

use clap::Args;
use holon_client::CronInterval;
use holon_protocol::{ModuleId, Tag};
use serde_json::json;

use super::units::UnitArguments;
use crate::arguments::{DataArguments, Global, parse_module, parse_tag};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::{COPY, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon spawn --module <id>
  holon spawn --module <id> --tag Name=alice --tag On-Boot=Data --file boot.lua
  holon spawn --module <id> --cron 10-seconds --cron-tag Action=Tick

Scheduler and authority are those of the running network unless named; with another network
SCHEDULER and AUTHORITY are read from the environment.";

/// `holon spawn`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The module
    #[arg(short, long, value_name = "ID", value_parser = parse_module, allow_hyphen_values = true)]
    module: ModuleId,
    #[command(flatten)]
    units: UnitArguments,
    /// Another tag of the process; may be repeated
    #[arg(short, long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<Tag>,
    /// Wake the process regularly: <n>-<seconds, minutes, hours, days, blocks, …>
    #[arg(long, value_name = "INTERVAL")]
    cron: Option<CronInterval>,
    /// Tag of the message that wakes it; may be repeated [default: Action=Cron]
    #[arg(long = "cron-tag", value_name = "NAME=VALUE", requires = "cron", value_parser = parse_tag)]
    cron_tags: Vec<Tag>,
    #[command(flatten)]
    data: DataArguments,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let data = super::data(arguments.data)?;
    let connection = connection::find(global)?;
    let (scheduler, authorities) = arguments.units.resolve(&connection, terminal)?;

    let wallet = connection.wallet(global, terminal)?;
    let mut spawn = connection.network.spawn(arguments.module, scheduler).tags(arguments.tags).data(data);
    for authority in authorities {
        spawn = spawn.authority(authority);
    }
    if let Some(interval) = arguments.cron {
        let mut tags = arguments.cron_tags;
        if tags.is_empty() {
            tags.push(Tag::new("Action", "Cron"));
        }
        spawn = spawn.cron(interval, tags);
    }
    let progress = terminal.progress("spawning");
    let process = spawn.send(&wallet).await?;
    if arguments.cron.is_some() {
        connection.network.monitor(process, &wallet).await?;
    }
    drop(progress);

    if terminal.is_json() {
        return terminal
            .json(&json!({ "process": process, "module": arguments.module, "scheduler": scheduler, "owner": wallet.address() }));
    }
    terminal.field("process", format!("{COPY}{process}{COPY:#}"));
    Ok(())
}
