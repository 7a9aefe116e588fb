//! The durable work queue: what was accepted and is not finished yet, with what the messenger must remember about it.
//!
//! A backend implements [`Outbox`] and passes the conformance suite in `tests/it/outbox.rs`. A commit is atomic; after
//! [`Durability::Synced`] it survives a power cut, after [`Durability::Buffered`] it survives the end of the program.
//! Later synced commits make earlier buffered ones durable as well.

mod graves;
mod local;
mod traces;

use futures_util::future::BoxFuture;
use holon_protocol::{ItemId, ProcessId, Timestamp};
use serde::{Deserialize, Serialize};

pub use graves::LETTER_BYTES;
pub use local::LocalOutbox;

use crate::crank::outgoing::Skipped;
use crate::crank::task::{ProcessRecord, Task, TaskId};
use crate::trace::Event;

/// Room for what was given up and can be taken up again, in bytes, with [`LETTER_BYTES`] for each letter. When it is full,
/// the oldest letters of the process give way that has most of them: nobody's cost others theirs.
pub const MAX_DEAD_BYTES: u64 = 100_000 * LETTER_BYTES;
/// The same for outbox entries that can never be used, which therefore cost none of the others.
pub const MAX_UNUSABLE_BYTES: u64 = 10_000 * LETTER_BYTES;
/// Most entries kept of one result that cannot be used; the rest is counted.
pub const MAX_UNUSABLE_PER_RESULT: usize = 64;
/// Most trace events kept; the oldest give way.
pub const MAX_TRACE_EVENTS: usize = 2_000_000;
/// Most events read of one item: more than a report has nodes.
pub const MAX_EVENTS_PER_ITEM: usize = 12_000;
/// Most tasks read at a time when the outbox is loaded.
pub const LOAD_PAGE_TASKS: usize = 1_000;

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Reading or writing failed.
    #[error("the outbox store failed: {0}")]
    Store(String),
    /// A record cannot be read.
    #[error("outbox record {key} is not readable: {reason}")]
    Corrupt {
        /// Which one.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The store was written by another version.
    #[error("the outbox has format {found}; this program reads format {supported}")]
    Format {
        /// Format found.
        found: String,
        /// Format supported.
        supported: &'static str,
    },
}

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has it: what is lost in a power cut will be done once more.
    Buffered,
    /// When the disk has it.
    Synced,
}

/// A monitored process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// Cursor of the last cron result that was queued.
    pub cursor: Option<String>,
    /// Without a cursor: whether every cron result there is shall be pushed, as for a process that was monitored from its
    /// birth on, or only those to come.
    #[serde(default)]
    pub from_birth: bool,
    /// Somebody said that it is not to be monitored: nothing begins by itself.
    #[serde(default)]
    pub off: bool,
}

/// Place of a dead letter; smaller is older.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(pub u64);

/// Something that was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place, given by the store.
    #[serde(skip)]
    pub id: LetterId,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// What.
    pub letter: Letter,
}

impl DeadLetter {
    /// The process that is answerable for it, if one is.
    pub fn owner(&self) -> Option<ProcessId> {
        match &self.letter {
            Letter::Task(task) => task.emitter(),
            Letter::Entry { emitter, .. } => *emitter,
        }
    }

    /// Whether it can be taken up again.
    pub fn is_retryable(&self) -> bool {
        matches!(self.letter, Letter::Task(_))
    }
}

/// What was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Letter {
    /// A task.
    Task(Box<Task>),
    /// An outbox entry of this process that cannot be used.
    Entry {
        /// Emitter.
        emitter: Option<ProcessId>,
        /// The entry.
        entry: Skipped,
    },
}

/// What a commit changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Tasks that are finished.
    pub remove: Vec<TaskId>,
    /// Tasks that are new or have reached another stage.
    pub put: Vec<(TaskId, Task)>,
    /// What was given up.
    pub dead: Vec<DeadLetter>,
    /// Dead letters that are taken up again.
    pub dug_up: Vec<LetterId>,
    /// What the push with this origin has had; `None`: it is over.
    pub accounts: Vec<(ItemId, Option<u64>)>,
    /// What happened to items.
    pub traces: Vec<(ItemId, Event)>,
    /// Processes that exist.
    pub processes: Vec<(ProcessId, ProcessRecord)>,
    /// Processes whose boot is being pushed.
    pub boots: Vec<ProcessId>,
    /// Processes that are monitored from now on, or with another cursor; `None`: not any more.
    pub monitors: Vec<(ProcessId, Option<Monitor>)>,
    /// Processes that are monitored by themselves from now on, unless something is known of their monitors already: what
    /// a client said before holds.
    pub births: Vec<(ProcessId, Monitor)>,
}

/// A durable work queue.
pub trait Outbox: Send + Sync + 'static {
    /// Makes all of `changes` at once.
    fn commit(&self, changes: Changes, durability: Durability) -> BoxFuture<'_, Result<(), OutboxError>>;
    /// A task with its bytes.
    fn task(&self, id: TaskId) -> BoxFuture<'_, Result<Option<Task>, OutboxError>>;
    /// At most `limit` tasks after `after`, oldest first. Bytes to send may be left out.
    fn tasks(&self, after: Option<TaskId>, limit: usize) -> BoxFuture<'_, Result<Vec<(TaskId, Task)>, OutboxError>>;
    /// What is known about a process.
    fn process(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<ProcessRecord>, OutboxError>>;
    /// Whether a process's boot was queued.
    fn booted(&self, id: ProcessId) -> BoxFuture<'_, Result<bool, OutboxError>>;
    /// A process's monitor, also one that is off.
    fn monitor(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<Monitor>, OutboxError>>;
    /// Every process that has a monitor, also those that are off.
    fn monitors(&self) -> BoxFuture<'_, Result<Vec<(ProcessId, Monitor)>, OutboxError>>;
    /// The newest `limit` dead letters, older than `before` if that is given, oldest of them first. Bytes to send may be
    /// left out.
    fn dead_letters(
        &self,
        before: Option<LetterId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, OutboxError>>;
    /// A dead letter with its bytes.
    fn dead_letter(&self, id: LetterId) -> BoxFuture<'_, Result<Option<DeadLetter>, OutboxError>>;
    /// What every push that is not over has had.
    fn accounts(&self) -> BoxFuture<'_, Result<Vec<(ItemId, u64)>, OutboxError>>;
    /// What happened to an item, oldest first, at most [`MAX_EVENTS_PER_ITEM`].
    fn trace(&self, item: ItemId) -> BoxFuture<'_, Result<Vec<Event>, OutboxError>>;
    /// The newest `limit` items that were made for a process, newest first.
    fn traced(&self, process: ProcessId, limit: usize) -> BoxFuture<'_, Result<Vec<ItemId>, OutboxError>>;
    /// Forgets at most `limit` events, those before `before` and those over [`MAX_TRACE_EVENTS`]; how many.
    fn forget_traces(&self, before: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, OutboxError>>;
}
