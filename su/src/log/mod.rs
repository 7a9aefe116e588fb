//! The log of every process and the queue of what has still to reach Arweave.
//!
//! [`LogStore`] is what the scheduler needs from a store; [`FjallLog`] keeps it on this machine's disk. Every backend
//! passes the same conformance suite. All methods block: call them from threads that may.

mod fjall;
mod record;

use bytes::Bytes;
use holon_protocol::{AssignmentId, BlockHeight, ItemId, MessageId, Nonce, ProcessId, Timestamp};

pub use self::fjall::FjallLog;
use crate::sequencer::{ContentHash, Head};
use holon_protocol::chain::HashChain;

/// The store failed or holds something it should not.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("the log store failed: {0}")]
    Backend(String),
    /// A record is not what this version writes.
    #[error("the log store holds an unreadable record: {0}")]
    Corrupt(String),
    /// Another program uses the folder, or it cannot be opened.
    #[error("cannot open the log store: {0}")]
    Open(String),
}

/// What kind of entry a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The process itself, nonce 0.
    Process,
    /// A message with its body.
    Message,
    /// An assignment of an item that is published elsewhere.
    Assigned,
}

/// A stored entry, without the item's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position.
    pub nonce: Nonce,
    /// Kind.
    pub kind: EntryKind,
    /// Scheduler's clock.
    pub timestamp: Timestamp,
    /// L1 height last seen then.
    pub block_height: BlockHeight,
    /// Assignment id.
    pub assignment: AssignmentId,
    /// The assigned item: the process's own id for its own entry.
    pub message: MessageId,
    /// Link.
    pub hash_chain: HashChain,
    /// The signed assignment, as it goes to Arweave.
    pub assignment_bytes: Bytes,
}

impl Record {
    /// The record as the newest of its log.
    pub fn head(&self) -> Head {
        Head { nonce: self.nonce, timestamp: self.timestamp, assignment: self.assignment, hash_chain: self.hash_chain }
    }
}

/// A change. One call of [`LogStore::append`] makes all of its changes or none.
#[derive(Debug, Clone)]
pub enum Write {
    /// A new entry, which also joins the settle queue.
    Entry {
        /// Whose log.
        process: ProcessId,
        /// The entry.
        record: Record,
        /// The item's bytes, unless it is published elsewhere.
        item: Option<Bytes>,
        /// Ordered content hash, when repeats are refused.
        content: Option<ContentHash>,
    },
    /// The signed container of an assignment, before it is uploaded.
    Container {
        /// Whose log.
        process: ProcessId,
        /// Position.
        nonce: Nonce,
        /// The container item's bytes.
        bytes: Bytes,
    },
    /// An entry has reached Arweave; it leaves the settle queue.
    Settled(u64),
    /// The bundler refused an entry; it leaves the queue and is kept aside with the reason.
    Unsettleable(u64, String),
    /// An entry that was kept aside goes back to its place in the queue.
    Requeued(u64),
}

/// An entry that has still to reach Arweave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Its place in the queue.
    pub sequence: u64,
    /// Whose log.
    pub process: ProcessId,
    /// Position.
    pub nonce: Nonce,
}

/// Where logs are kept (spec 02 §12).
///
/// Reads see everything appended, durable or not: the scheduler knows which positions readers may see.
pub trait LogStore: Send + Sync + 'static {
    /// Makes the changes, visible at once, durable only after [`Self::sync`]. Entries of one process come in order.
    fn append(&self, writes: &[Write]) -> Result<(), StoreError>;

    /// Returns when everything appended before is on disk. After an error nothing appended since the last success
    /// may be relied on.
    fn sync(&self) -> Result<(), StoreError>;

    /// The newest entry of a process, `None` when the process is unknown.
    fn head(&self, process: ProcessId) -> Result<Option<Head>, StoreError>;

    /// One entry.
    fn record(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Record>, StoreError>;

    /// Calls `visit` for the entries from `first` to `last` inclusive, ascending, until it returns false.
    fn records(
        &self,
        process: ProcessId,
        first: Nonce,
        last: Nonce,
        visit: &mut dyn FnMut(Record) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError>;

    /// The bytes of an entry's item.
    fn item(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Bytes>, StoreError>;

    /// The entry that has this message as its body, or this assignment. A process's own id finds nothing.
    fn find(&self, process: ProcessId, id: ItemId) -> Result<Option<Nonce>, StoreError>;

    /// Whether an entry of this process has this content.
    fn has_content(&self, process: ProcessId, content: &ContentHash) -> Result<bool, StoreError>;

    /// The container of an assignment, once it is signed.
    fn container(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Bytes>, StoreError>;

    /// The settle queue from this place on, oldest first, at most `limit` entries.
    fn unsettled(&self, from: u64, limit: usize) -> Result<Vec<Unsettled>, StoreError>;

    /// What was refused and why, oldest first, at most `limit` entries.
    fn unsettleable(&self, limit: usize) -> Result<Vec<(Unsettled, String)>, StoreError>;

    /// The first position in `first..=last` whose timestamp is later than `after`, if any.
    ///
    /// Timestamps strictly increase along a log, so the log is its own index.
    fn first_after(
        &self,
        process: ProcessId,
        first: Nonce,
        last: Nonce,
        after: Timestamp,
    ) -> Result<Option<Nonce>, StoreError> {
        let (mut low, mut high) = (first.0, last.0.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.record(process, Nonce(middle))?;
            let record = record.ok_or_else(|| StoreError::Corrupt(format!("{process} has no entry {middle}")))?;
            if record.timestamp > after { high = middle } else { low = middle + 1 }
        }
        Ok((low <= last.0).then_some(Nonce(low)))
    }
}

#[cfg(test)]
mod conformance;
