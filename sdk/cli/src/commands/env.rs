//! `holon env`: the variables of the running network, for other programs.

use clap::Args;

use crate::arguments::Global;
use crate::connection;
use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::up::environment;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  eval \"$(holon env)\"            then aos, aoconnect and other programs use this network
  holon env --json";

/// `holon env`
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs the command.
pub fn run(_: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let record = connection::find(global)?.record.ok_or_else(|| {
        Failure::network("the network is not one that `holon up` runs here").hint("start one with `holon up`")
    })?;
    if terminal.is_json() {
        return terminal.json(&record);
    }
    for (name, value) in environment::variables(&record) {
        terminal.line(format!("export {name}={value}"));
    }
    Ok(())
}
