//! Who keeps a new process, and whom it trusts.

use clap::Args;
use holon_protocol::Address;

use crate::arguments::parse_address;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Scheduler and authorities on the command line; those of the running network unless named.
#[derive(Debug, Args)]
pub struct UnitArguments {
    /// Wallet address of the scheduler unit that keeps the process
    #[arg(long, value_name = "ADDRESS", env = "SCHEDULER", hide_env_values = true, value_parser = parse_address, allow_hyphen_values = true)]
    scheduler: Option<Address>,
    /// Messenger units whose messages the process trusts; may be repeated
    #[arg(
        long = "authority",
        value_name = "ADDRESS",
        env = "AUTHORITY",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = parse_address, allow_hyphen_values = true
    )]
    authorities: Vec<Address>,
}

impl UnitArguments {
    /// The scheduler, and the authorities; a process without any is worth a note.
    pub fn resolve(self, connection: &Connection, terminal: Terminal) -> Result<(Address, Vec<Address>), Failure> {
        let record = connection.record.as_ref();
        let scheduler = self.scheduler.or_else(|| record.map(|record| record.scheduler)).ok_or_else(|| {
            Failure::usage("the scheduler of the new process is not known")
                .hint("pass --scheduler or set SCHEDULER to the wallet address of a scheduler unit")
        })?;
        let mut authorities = self.authorities;
        if authorities.is_empty() {
            authorities.extend(record.map(|record| record.authority));
        }
        if authorities.is_empty() {
            terminal.note("without --authority the process refuses what other processes send it");
        }
        Ok((scheduler, authorities))
    }
}
