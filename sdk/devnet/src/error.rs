//! What can go wrong in a network inside a test. The texts say what to do about it.

use std::time::Duration;

use holon_protocol::Timestamp;

use crate::units::Unit;

/// Something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No port could be bound.
    #[error("{0}. Is the number of open files of this process used up (`ulimit -n`)?")]
    Port(holon_unit::server::ServerError),
    /// This computer lacks something that every network needs.
    #[error("no network can be started here: {0}")]
    Environment(String),
    /// A unit does not start.
    #[error("the {unit} did not start: {reason}")]
    NotStarted {
        /// Which one.
        unit: Unit,
        /// What it says.
        reason: String,
    },
    /// A unit does not stop.
    #[error("the {unit} did not stop in order: {reason}")]
    NotStopped {
        /// Which one.
        unit: Unit,
        /// What it says.
        reason: String,
    },
    /// The call needs a unit that was taken down.
    #[error("the {0} is down; bring it up again with `network.up(Unit::…)`")]
    Down(Unit),
    /// A unit refused something or did not answer.
    #[error(transparent)]
    Client(#[from] holon_client::Error),
    /// A process answered with an error where none was allowed.
    #[error("the process answered with an error: {0}")]
    Process(String),
    /// Messages are still being pushed.
    #[error(
        "{queued} messages were still to be pushed after {} s. Is a unit down that they need? Do processes answer each \
         other for ever? `network.client().dead_letters()` and `network.urls().gateway` + `explorer/` show more",
        .waited.as_secs()
    )]
    Busy {
        /// How many.
        queued: usize,
        /// How long was waited.
        waited: Duration,
    },
    /// Time was to go back.
    #[error("it is {now} already, which is after {asked}: time only goes forward")]
    Past {
        /// Time of the network.
        now: Timestamp,
        /// Time that was asked for.
        asked: Timestamp,
    },
    /// The network was stopped.
    #[error("the network was stopped")]
    Stopped,
}
