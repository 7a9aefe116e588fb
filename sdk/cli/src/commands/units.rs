//! Who keeps a new process, and whom it trusts.

use clap::Args;
use holon_protocol::Address;

use crate::arguments::parse_address;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Scheduler and authorities on the command line; those of the network unless named.
///
/// The environment comes last and is not clap's business: a network with a name must not get the scheduler of the one that
/// the environment speaks of.
#[derive(Debug, Args)]
pub struct UnitArguments {
    /// Wallet address of the scheduler unit that keeps the process [default: the network's, else $SCHEDULER]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, allow_hyphen_values = true)]
    scheduler: Option<Address>,
    /// Messenger units whose messages the process trusts; may be repeated [default: the network's, else $AUTHORITY]
    #[arg(
        long = "authority",
        value_name = "ADDRESS",
        value_delimiter = ',',
        value_parser = parse_address, allow_hyphen_values = true
    )]
    authorities: Vec<Address>,
}

impl UnitArguments {
    /// The scheduler, and the authorities; a process without any is worth a note.
    pub fn resolve(self, connection: &Connection, terminal: Terminal) -> Result<(Address, Vec<Address>), Failure> {
        let (record, profile) = (connection.record.as_ref(), connection.profile.as_ref());
        let of_network = profile.and_then(|profile| profile.scheduler).or(record.map(|record| record.scheduler));
        let scheduler = match self.scheduler.or(of_network) {
            Some(scheduler) => scheduler,
            None => environment("SCHEDULER")?.into_iter().next().ok_or_else(|| {
                Failure::usage("the scheduler of the new process is not known")
                    .hint("pass --scheduler or set SCHEDULER to the wallet address of a scheduler unit")
            })?,
        };
        let mut authorities = self.authorities;
        if authorities.is_empty() {
            authorities.extend(profile.iter().flat_map(|profile| &profile.authorities));
            authorities.extend(record.map(|record| record.authority));
        }
        if authorities.is_empty() {
            authorities = environment("AUTHORITY")?;
        }
        if authorities.is_empty() {
            terminal.note("without --authority the process refuses what other processes send it");
        }
        Ok((scheduler, authorities))
    }
}

/// The addresses in a variable, separated by commas.
fn environment(variable: &str) -> Result<Vec<Address>, Failure> {
    let text = std::env::var(variable).unwrap_or_default();
    let addresses = text.split(',').map(str::trim).filter(|address| !address.is_empty());
    addresses
        .map(|address| parse_address(address).map_err(|error| Failure::usage(format!("{variable}={address}: {error}"))))
        .collect()
}
