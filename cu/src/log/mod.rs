//! A process's log: where it can be read from, and what can be checked of it.
//!
//! Evaluation asks one [`Log`] per process and does not know what stands behind it: a scheduler ([`served`]), Arweave alone
//! ([`arweave`]), one after the other ([`fallback`]) or, in tests, a script. Whatever it is, [`verify`] checks what comes.

pub mod arweave;
pub mod assigned;
pub mod beginning;
pub mod blocks;
pub mod budget;
pub mod fallback;
mod fault;
pub mod original;
pub mod scheduler;
pub mod served;
pub mod signatures;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_arweave::{Gateway, Node};
use holon_protocol::{ItemId, MessageId, Nonce, ProcessId, Timestamp, wire};

use crate::cron::Block;
use crate::error::Error;
use crate::hydrate::OnChain;

pub use blocks::Range;
pub use fault::{Fault, SlotError};
pub use scheduler::{Now, Position};
pub use verify::{Link, LogError};

/// Longest pause between two looks for an item.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Metadata of an item that must exist, but may not have been indexed yet.
pub async fn expected(gateway: &Gateway, id: ItemId, retries: u32, backoff: Duration) -> Result<Option<Node>, Error> {
    let mut pause = backoff;
    for tries_left in (0..=retries).rev() {
        let found = gateway.placed_node(id).await.map_err(|error| Error::Gateway(format!("item {id}: {error}")))?;
        if found.is_some() {
            return Ok(found);
        }
        if tries_left > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
    }
    Ok(None)
}

/// Finds logs.
pub trait Logs: Send + Sync {
    /// The log of a process.
    fn open(&self, process: ProcessId) -> BoxFuture<'_, Result<Box<dyn Log>, Error>>;

    /// Whether anybody knows the process now. Unlike [`Self::open`] this need not wait for one that may be on its way.
    fn knows(&self, process: ProcessId) -> BoxFuture<'_, Result<bool, Error>> {
        async move {
            match self.open(process).await {
                Ok(_) => Ok(true),
                Err(Error::Locate { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}

/// The log of one process. Cheap to open; it lasts for one evaluation or question.
pub trait Log: Send + Sync {
    /// Whether all it says is made from signed items, so that nothing is left to be checked.
    fn is_signed(&self) -> bool {
        false
    }

    /// What the scheduler says about the process; about this one, and with a signature that gives its id.
    fn record(&self) -> BoxFuture<'_, Result<wire::Process, Error>>;

    /// The process's data as text.
    fn process_data(&self) -> BoxFuture<'_, Result<String, Error>>;

    /// Entries after `after` (from the start without it), ascending. Entries beyond `goal` may be among them; that there
    /// are more is said only if the goal may lie beyond the page. Independent of `self`, so that it can be read ahead.
    fn page(&self, after: Option<Link>, goal: Goal) -> BoxFuture<'static, Result<Page, Error>>;

    /// Where a message, or an assignment, stands.
    fn position(&self, message: MessageId) -> BoxFuture<'_, Result<Position, Error>>;

    /// The time up to which the log is known to be complete, and the height that its next entry will name at least: cron
    /// messages after the last entry fire until then. `None` when nobody can tell.
    fn now(&self) -> BoxFuture<'_, Result<Option<Now>, Error>>;

    /// What the assignment of an on-chain item in `slot` lacks; its data only if it is needed.
    fn on_chain(&self, slot: Nonce, item: ItemId, with_data: bool) -> BoxFuture<'_, Result<OnChain, Error>>;

    /// Blocks, ascending and without holes.
    fn blocks(&self, range: Range) -> BoxFuture<'_, Result<Vec<Block>, Error>>;
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Goal {
    /// To right after the log entry with this nonce, before the cron messages that follow it. [`Nonce`]`(u64::MAX)` is
    /// beyond every log: whoever goes there is told where the log ends, and stands there.
    Slot(Nonce),
    /// To the log entry with this timestamp and nonce, which exists. Before a log that does not begin with the process, the process
    /// itself has nonce 0, as the first entry has.
    Entry(Timestamp, Nonce),
    /// To this time of the process's clock, or to the present if that comes first.
    Time(Timestamp),
    /// To the present.
    Latest,
}

impl Goal {
    /// Where it ends, if that is a time.
    pub fn end(self) -> Option<Timestamp> {
        match self {
            Self::Entry(timestamp, _) | Self::Time(timestamp) => Some(timestamp),
            Self::Slot(_) | Self::Latest => None,
        }
    }

    /// Whether an entry lies beyond it.
    pub fn excludes(self, entry: &Link) -> bool {
        match self {
            Self::Slot(nonce) => entry.nonce > nonce,
            Self::Entry(end, nonce) => (entry.nonce, entry.timestamp) > (nonce, end),
            Self::Time(end) => entry.clock > end,
            Self::Latest => false,
        }
    }

    /// Whether it has been reached by somebody who is done with `entry` and everything before it.
    pub fn reached(self, entry: &Link) -> bool {
        match self {
            Self::Slot(nonce) => entry.nonce >= nonce,
            Self::Entry(end, nonce) => (entry.nonce, entry.timestamp) >= (nonce, end),
            // The next one may have the same time.
            Self::Time(end) => entry.clock > end,
            Self::Latest => false,
        }
    }
}

/// A part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Entries in order.
    pub entries: Vec<Logged>,
    /// Whether there are more after them.
    pub more: bool,
}

/// An entry as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The entry.
    pub entry: wire::Entry,
    /// The item that it assigns, if that has been fetched already.
    pub on_chain: Option<Arc<OnChain>>,
    /// Whether it was made from the signed items themselves.
    pub verified: bool,
}

impl From<wire::Entry> for Logged {
    fn from(entry: wire::Entry) -> Self {
        Self { entry, on_chain: None, verified: false }
    }
}

impl From<wire::Page> for Page {
    fn from(page: wire::Page) -> Self {
        Self {
            more: page.page_info.has_next_page && !page.edges.is_empty(),
            entries: page.edges.into_iter().map(|edge| edge.node.into()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::AssignmentId;

    use super::*;

    #[test]
    fn of_two_entries_of_one_millisecond_each_is_a_goal_of_its_own() {
        let link = |nonce| Link::at(AssignmentId::from_bytes([1; 32]), nonce, 9);
        let (first, second) = (link(3), link(4));
        let entry = |nonce| Goal::Entry(Timestamp(9), Nonce(nonce));
        assert!(entry(3).reached(&first) && entry(3).excludes(&second));
        assert!(!entry(4).reached(&first) && !entry(4).excludes(&first) && entry(4).reached(&second));
        // Up to a time both count, and who has seen one has not seen all.
        let time = Goal::Time(Timestamp(9));
        assert!(!time.excludes(&first) && !time.excludes(&second) && !time.reached(&first));
    }

    #[test]
    fn an_entry_whose_time_is_before_that_of_the_one_before_it_comes_after_it_all_the_same() {
        let link = |nonce, timestamp, clock| Link {
            clock: Timestamp(clock),
            ..Link::at(AssignmentId::from_bytes([1; 32]), nonce, timestamp)
        };
        let (first, back) = (link(3, 9, 9), link(4, 7, 9));
        let entry = |at: &Link| Goal::Entry(at.timestamp, at.nonce);
        assert!(entry(&back).reached(&back) && !entry(&back).reached(&first) && !entry(&back).excludes(&first));
        assert!(entry(&first).excludes(&back));
        // What was before an entry was before all that follow it.
        assert!(Goal::Time(Timestamp(8)).excludes(&back) && !Goal::Time(Timestamp(9)).excludes(&back));
        // The process itself, in front of a log that does not begin with it.
        let own = Goal::Entry(Timestamp(5), Nonce(0));
        assert!(own.excludes(&link(0, 6, 6)) && own.reached(&link(0, 6, 6)) && !own.excludes(&link(0, 5, 5)));
    }
}
