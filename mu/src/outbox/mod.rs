//! The durable work queue: what was accepted and is not finished yet, with what the messenger must remember about it.
//!
//! A backend implements [`Outbox`] and passes the conformance suite in `tests/it/outbox.rs`. A commit is atomic; after
//! [`Durability::Synced`] it survives a power cut, after [`Durability::Buffered`] it survives the end of the program.
//! Later synced commits make earlier buffered ones durable as well.
//!
//! | module | what it holds |
//! |---|---|
//! | `local` | the embedded outbox of one messenger |
//! | `traces`, `graves` | its traces, and which of its dead letters give way |
//! | `recent` | which of what it remembers of processes gives way |
//! | [`postgres`] | the outbox that several messengers share |

mod graves;
mod local;
pub mod postgres;
mod recent;
mod traces;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use holon_protocol::{ItemId, ProcessId, Timestamp};
use serde::{Deserialize, Serialize};

pub use graves::LETTER_BYTES;
pub use local::LocalOutbox;
pub use postgres::{PostgresOptions, PostgresOutbox};

use crate::crank::descent::Descent;
use crate::crank::outgoing::Skipped;
use crate::crank::task::{ProcessRecord, Task, TaskId};
use crate::trace::Event;

/// Room for what was given up and can be taken up again, in bytes, with [`LETTER_BYTES`] for each letter. When it is full,
/// the oldest letters of the process give way that has most of them: nobody's cost others theirs.
pub const MAX_DEAD_BYTES: u64 = 100_000 * LETTER_BYTES;
/// The same for outbox entries that can never be used, which therefore cost none of the others.
pub const MAX_UNUSABLE_BYTES: u64 = 10_000 * LETTER_BYTES;
/// Most processes that are remembered; the oldest give way. Their schedulers know them still.
pub const MAX_REMEMBERED_PROCESSES: u64 = 1_000_000;
/// Most claims; the oldest give way. One has a meaning for as long as what it is of may be taken for new, which is an hour
/// ([`CLOCKS_DIFFER`](crate::crank::task::CLOCKS_DIFFER)), or until it is known what became of an intent.
pub const MAX_CLAIMS: u64 = 4_000_000;
/// Most processes of which it is remembered that they are not to be monitored; the oldest give way.
pub const MAX_UNMONITORED: u64 = 100_000;
/// Most entries kept of one result that cannot be used; the rest is counted.
pub const MAX_UNUSABLE_PER_RESULT: usize = 64;
/// Most trace events kept; the oldest give way.
pub const MAX_TRACE_EVENTS: usize = 2_000_000;
/// Most events read of one item: more than a report has nodes.
pub const MAX_EVENTS_PER_ITEM: usize = 12_000;
/// Most tasks read at a time when the outbox is loaded.
pub const LOAD_PAGE_TASKS: usize = 1_000;
/// How many shares the work of messengers with a common outbox is divided into.
pub const SHARES: u8 = 64;

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
    /// Nothing was changed: a task, dead letter or monitor is not as this messenger left it, because another messenger has
    /// taken it over or it is done already. It is not for this messenger to go on with it.
    #[error("another messenger has taken this over, or it is done already")]
    Lost,
    /// Nothing was changed: the result of something that this claims is being pushed already.
    #[error("its result is being pushed already")]
    Claimed,
    /// The database does not answer. Nothing was changed.
    #[error("the outbox database cannot be used now: {0}")]
    Away(String),
    /// The database stopped answering in the middle. It may have made the changes or not.
    #[error("the connection to the outbox database broke, and it is not known whether something was stored: {0}")]
    Unsure(String),
    /// The options of the connection cannot be used.
    #[error("the outbox database is not set up as it has to be: {0}")]
    Setup(String),
}

impl OutboxError {
    /// Whether the store is out of reach, for now.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unsure(_))
    }
}

/// A part of the work: everything that processes with ids of one kind emit, and the pushing of their results and crons. In
/// a shared outbox one messenger at a time has it, so that what keeps its order never has two hands on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(pub u8);

impl Share {
    /// The share of a process.
    pub fn of(process: ProcessId) -> Self {
        Self(process.as_bytes()[0] % SHARES)
    }
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
    /// What its place counts for if nobody asked for it, and the places of what its cron spawns: see [`Descent::lineage`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<ItemId>,
    /// It came to be elsewhere, and was taken up because a message of its lineage came by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

impl Monitor {
    /// What the waiting work of the cron of `process`, which this is the monitor of, is accounted to. Its own if it was adopted: whose
    /// message comes by first shall not decide how much room it has.
    pub fn accounted_to(&self, process: ProcessId) -> ItemId {
        self.lineage.filter(|_| !self.adopted).unwrap_or(process.into())
    }

    /// The beginning of a push by the cron of `process`, which this is the monitor of. What that spawns is of the lineage all the same:
    /// else a lineage had as many places for each process that it has adopted.
    pub fn begins(&self, process: ProcessId, origin: ItemId) -> Descent {
        let adopter = self.lineage.filter(|_| self.adopted);
        Descent { adopter, ..Descent::of_cron(origin, self.accounted_to(process)) }
    }
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

/// What becomes of what a push has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// Its results asked for so much more, which makes this total as far as this messenger knows.
    More {
        /// How much more.
        more: u64,
        /// How much altogether.
        total: u64,
    },
    /// It starts from nothing again.
    Afresh,
    /// Nothing of it is left to do here.
    Over,
}

/// What becomes of a monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Monitoring {
    /// It is this one, whatever there was.
    Put(Monitor),
    /// What was due has been queued. The commit is refused when the monitor is not this one any more.
    Move {
        /// As it was.
        from: Monitor,
        /// As it is now.
        to: Monitor,
    },
    /// Nothing is known of it any more.
    End,
}

/// What a commit changes. One that removes or changes what is not there, or is another messenger's by now, is refused as a
/// whole with [`OutboxError::Lost`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Tasks that are finished.
    pub remove: Vec<TaskId>,
    /// Tasks that have reached another stage.
    pub put: Vec<(TaskId, Task)>,
    /// New tasks. They are numbered in their order, after all that were committed before.
    pub new: Vec<Task>,
    /// New tasks that this messenger keeps to itself until it ends or dies.
    pub intents: Vec<Task>,
    /// What was given up.
    pub dead: Vec<DeadLetter>,
    /// Dead letters that are taken up again.
    pub dug_up: Vec<LetterId>,
    /// What pushes with these origins have had.
    pub accounts: Vec<(ItemId, Charge)>,
    /// What happened to items.
    pub traces: Vec<(ItemId, Event)>,
    /// Processes that exist.
    pub processes: Vec<(ProcessId, ProcessRecord)>,
    /// Items and assignments, boots among them, whose results are being pushed, which is done once only.
    pub claims: Vec<ItemId>,
    /// What becomes of monitors.
    pub monitors: Vec<(ProcessId, Monitoring)>,
    /// Processes that are monitored by themselves from now on, unless something is known of their monitors already: what
    /// a client said before holds.
    pub births: Vec<(ProcessId, Monitor)>,
}

/// What came of a commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Committed {
    /// The new tasks that are this messenger's to do, with their bytes. Others get to those who have their shares.
    pub new: Vec<(TaskId, Task)>,
    /// The ids of the intents.
    pub intents: Vec<TaskId>,
}

/// Tasks that come to this messenger.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// Oldest first. Bytes to send may be left out.
    pub tasks: Vec<(TaskId, Task)>,
    /// What their pushes have had.
    pub accounts: Vec<(ItemId, u64)>,
}

/// What becomes, or ceases to be, this messenger's to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Shift {
    /// These shares, with all their tasks. Some may be known.
    Gained {
        /// Which.
        shares: BTreeSet<Share>,
        /// Everything that is left to do in them.
        load: Load,
    },
    /// New tasks of shares that this messenger has. Some may be known.
    Arrived(Load),
    /// All processes that are to be monitored by this messenger.
    Monitors(Vec<ProcessId>),
    /// These shares are another messenger's by now.
    Lost(BTreeSet<Share>),
    /// Others shall have these shares as soon as nothing of them is being sent any more.
    Surplus(BTreeSet<Share>),
}

/// Another messenger with the same outbox, or nobody, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its id, new each time it starts; `None`: what no messenger has right now.
    pub messenger: Option<String>,
    /// How many shares of the work.
    pub shares: usize,
    /// Tasks that are left to do in them.
    pub tasks: usize,
    /// Processes in them that have a monitor, those that are off included.
    pub monitors: usize,
}

/// What may stand before a result in the log of its process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// What this messenger has yet to hear of: others have been posting it since before the pull was stored, or what follows from
    /// it is on its way here.
    pub elsewhere: bool,
    /// Something that has been posted, maybe by this messenger. What follows from that may come by way of the database as well,
    /// behind other things.
    pub posted: bool,
}

/// How messengers with a common outbox share the work.
pub trait Shared: Send + Sync {
    /// Whether this messenger may start anything now: false once others may believe it dead.
    fn holds(&self) -> bool;
    /// Waits for what becomes, or ceases to be, this messenger's to do.
    fn shift(&self) -> BoxFuture<'_, Result<Shift, OutboxError>>;
    /// The messenger acts on this shift from now on: works on what came, has nothing more in hand of what went.
    fn applied(&self, shift: Shift) -> BoxFuture<'_, Result<(), OutboxError>>;
    /// The other messengers, and what nobody has.
    fn others(&self) -> BoxFuture<'_, Result<Vec<Other>, OutboxError>>;
    /// How many tasks of a push are left to do at all messengers, and what it has had as long as there are some.
    fn waiting(&self, origin: ItemId) -> BoxFuture<'_, Result<(usize, Option<u64>), OutboxError>>;
    /// How many processes of a lineage are monitored at all messengers, besides these.
    fn polled<'a>(&'a self, lineage: ItemId, besides: &'a [ProcessId]) -> BoxFuture<'a, Result<usize, OutboxError>>;
    /// What may stand before the result that this task pulls in the log of its process. Whatever others post is waited for no
    /// longer than `patience` and their lease. What is not expected once will not be, but for what follows from what this
    /// messenger posts itself.
    fn expects(
        &self,
        process: ProcessId,
        pull: TaskId,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Expected, OutboxError>>;
    /// What this task posts may be in its log from now on, and nobody knows; or it is not, because nothing was sent. When it was made
    /// or staged, the first was said already.
    fn posting(&self, id: TaskId, posting: bool) -> BoxFuture<'_, Result<(), OutboxError>>;
    /// The intents that this messenger keeps to itself.
    fn intents(&self) -> BoxFuture<'_, Result<Vec<TaskId>, OutboxError>>;
    /// Lets others have everything at once: this messenger ends.
    fn leave(&self) -> BoxFuture<'_, Result<(), OutboxError>>;
}

/// A durable work queue.
pub trait Outbox: Send + Sync + 'static {
    /// Makes all of `changes` at once.
    fn commit(&self, changes: Changes, durability: Durability) -> BoxFuture<'_, Result<Committed, OutboxError>>;
    /// A task with its bytes.
    fn task(&self, id: TaskId) -> BoxFuture<'_, Result<Option<Task>, OutboxError>>;
    /// At most `limit` tasks after `after`, oldest first. Bytes to send may be left out.
    fn tasks(&self, after: Option<TaskId>, limit: usize) -> BoxFuture<'_, Result<Vec<(TaskId, Task)>, OutboxError>>;
    /// What is known about a process.
    fn process(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<ProcessRecord>, OutboxError>>;
    /// Whether somebody pushes, or has pushed, the result of this: see [`Changes::claims`].
    fn is_claimed(&self, id: ItemId) -> BoxFuture<'_, Result<bool, OutboxError>>;
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
    /// How much room it takes, in bytes; 0 where that is not known.
    fn size(&self) -> BoxFuture<'_, Result<u64, OutboxError>> {
        Box::pin(std::future::ready(Ok(0)))
    }
    /// How the work is shared with other messengers; `None` when there can be no others.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }
}
