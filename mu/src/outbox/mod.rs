//! The durable work queue: what was accepted and is not finished yet, with what the messenger must remember about it.
//!
//! A backend implements [`Outbox`] and passes the conformance suite in `tests/it/outbox.rs`. A commit is atomic; after
//! [`Durability::Synced`] it survives a power cut, after [`Durability::Buffered`] it survives the end of the program.
//! Later synced commits make earlier buffered ones durable as well.

mod local;

use futures_util::future::BoxFuture;
use holon_protocol::{ProcessId, Timestamp};
use serde::{Deserialize, Serialize};

pub use local::LocalOutbox;

use crate::crank::outgoing::Skipped;
use crate::crank::task::{ProcessRecord, Task, TaskId};

/// Most dead letters kept; the oldest give way.
pub const MAX_DEAD_LETTERS: u64 = 100_000;
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
}

/// Something that was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// What.
    pub letter: Letter,
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
    /// Processes that exist.
    pub processes: Vec<(ProcessId, ProcessRecord)>,
    /// Processes whose boot is being pushed.
    pub boots: Vec<ProcessId>,
    /// Processes that are monitored from now on, or with another cursor; `None`: not any more.
    pub monitors: Vec<(ProcessId, Option<Monitor>)>,
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
    /// A process's monitor.
    fn monitor(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<Monitor>, OutboxError>>;
    /// Every monitored process.
    fn monitors(&self) -> BoxFuture<'_, Result<Vec<(ProcessId, Monitor)>, OutboxError>>;
    /// The newest `limit` dead letters, oldest of them first.
    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, OutboxError>>;
}
