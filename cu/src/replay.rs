//! Rebuilding a process without a service: from Arweave alone, or from its scheduler, up to a slot.
//!
//! ```no_run
//! # async fn example(process: holon_protocol::ProcessId) -> Result<(), holon_cu::replay::ReplayError> {
//! use holon_cu::replay::{Replay, ReplayOptions};
//!
//! let gateway = url::Url::parse("https://arweave.net").expect("a URL");
//! let mut replay = Replay::open(ReplayOptions::new("replay".into(), gateway), process).await?;
//! let report = replay.advance(None).await?;
//! println!("slot {}: {}", report.slot, report.state_root);
//! replay.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! The data folder keeps what has been fetched and verified, and the compiled module: a replay that was interrupted goes on
//! from there. One folder belongs to one program at a time.
//!
//! Concurrency: evaluation runs on threads of its own, reading ahead in tasks; [`Progress`] can be looked at from anywhere
//! meanwhile. A future that is dropped stops the work at the next message.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holon_arweave::{Gateway, GatewayOptions, Query, Verified};
use holon_protocol::{Address, BlockHeight, DataItem, ItemId, Nonce, ProcessId, Signer, Timestamp};
use holon_unit::clock::Clock;
use holon_unit::tasks::Tasks;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::advance::Sources;
use crate::assembly::{LOG_FOLDER, assemble};
use crate::checkpoint::{Place, Reach};
use crate::error::{Error, ServiceError};
use crate::log::arweave::{ArweaveLogs, Body, Slot, patience as waits};
use crate::log::assigned::AssignedItems;
use crate::log::blocks::Blocks;
use crate::log::{Goal, Link, Range};
use crate::machine::{Fork, PAGE_BYTES, StateRoot};
use crate::metrics::Metrics;
use crate::options::{LogSource, Options};
use crate::runner::Runner;
use holon_protocol::assignment::MAX_ASSIGNED_BYTES;

/// How long background work may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What to replay from, and within which bounds.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Where verified entries, results and compiled modules are kept.
    pub data_dir: PathBuf,
    /// Gateway.
    pub gateway_url: Url,
    /// GraphQL endpoint; `None` is the gateway's.
    pub graphql_url: Option<Url>,
    /// Where the log is read.
    pub log: LogSource,
    /// Scheduler locations that win over published ones; without meaning for Arweave alone.
    pub scheduler_urls: Vec<(Address, Url)>,
    /// Whether schedulers may be at private addresses.
    pub allow_private_urls: bool,
    /// Bound of `Memory-Limit`, in bytes.
    pub memory_max_bytes: u64,
    /// Bound of `Compute-Limit`.
    pub compute_max: u64,
    /// Largest data of an assigned item, in bytes.
    pub assigned_max_bytes: u64,
    /// Retries of a request to a gateway or scheduler.
    pub retries: u32,
    /// Pause before the first retry; it doubles.
    pub backoff: Duration,
}

impl ReplayOptions {
    /// From Arweave alone, within the bounds that a unit has by default.
    pub fn new(data_dir: PathBuf, gateway_url: Url) -> Self {
        Self {
            data_dir,
            gateway_url,
            graphql_url: None,
            log: LogSource::Arweave,
            scheduler_urls: Vec::new(),
            allow_private_urls: false,
            memory_max_bytes: crate::options::DEFAULT_MEMORY_LIMIT_BYTES,
            compute_max: crate::options::DEFAULT_COMPUTE_LIMIT,
            assigned_max_bytes: MAX_ASSIGNED_BYTES,
            retries: 5,
            backoff: Duration::from_millis(500),
        }
    }

    /// Looks for what must be there, but is not there yet, for at least as long as `patience`.
    pub fn patient(mut self, patience: Duration) -> Self {
        /// More pauses than anybody waits for: the last of them are half a minute long.
        const MOST_RETRIES: u32 = 200;
        self.retries =
            (1..MOST_RETRIES).find(|&retries| waits(retries, self.backoff) >= patience).unwrap_or(MOST_RETRIES);
        self
    }

    fn gateway(&self) -> Result<Gateway, ReplayError> {
        let options = GatewayOptions {
            graphql: self.graphql_url.clone(),
            retries: self.retries,
            backoff: self.backoff,
            ..GatewayOptions::new(self.gateway_url.clone())
        };
        Gateway::new(options).map_err(|error| ReplayError::Start(error.to_string()))
    }

    fn options(self) -> Result<Options, ReplayError> {
        // Nothing is ever signed.
        let wallet = Signer::generate_ed25519().map_err(|error| ReplayError::Start(error.to_string()))?;
        let mut options = Options::new(self.data_dir, wallet, self.gateway_url);
        options.graphql_url = self.graphql_url;
        options.log = self.log;
        options.scheduler_urls = self.scheduler_urls;
        options.allow_private_urls = self.allow_private_urls;
        options.memory_max_bytes = self.memory_max_bytes;
        options.compute_max = self.compute_max;
        options.assigned_max_bytes = self.assigned_max_bytes;
        // A replay is what checkpoints are checked against.
        options.checkpoint_store = Place::None;
        options.retries = self.retries;
        options.backoff = self.backoff;
        Ok(options)
    }
}

/// A replay cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The stores, the engine or the clients cannot be used.
    #[error("cannot start: {0}")]
    Start(String),
    /// The log is not what a log must be; the text names the slot where it was read from Arweave.
    #[error("{0}")]
    Log(String),
    /// The log ends before the slot that was asked for.
    #[error("the log of process {process} ends with slot {last}; {slot} was asked for")]
    NoSlot {
        /// The process.
        process: ProcessId,
        /// The slot asked for.
        slot: Nonce,
        /// The last slot there is.
        last: Nonce,
    },
    /// The log has no entry at all.
    #[error("the log of process {0} has no entries")]
    Empty(ProcessId),
    /// The slot has been passed: a memory never goes back.
    #[error("slot {slot} has been passed; this replay stands at slot {at}")]
    Passed {
        /// The slot asked for.
        slot: Nonce,
        /// Where the replay stands.
        at: Nonce,
    },
    /// Anything else: a gateway that does not answer, a module that cannot be used, a message that takes too long.
    #[error("{0}")]
    Failed(String),
    /// The memory cannot be read or written.
    #[error("cannot read the memory: {0}")]
    Memory(#[from] io::Error),
}

impl From<ServiceError> for ReplayError {
    fn from(error: ServiceError) -> Self {
        Self::Start(error.to_string())
    }
}

impl From<Error> for ReplayError {
    fn from(error: Error) -> Self {
        match error {
            Error::Log(_) | Error::Slot(_) => Self::Log(error.to_string()),
            Error::NoSlot { process, slot, last: Some(last) } => Self::NoSlot { process, slot, last },
            Error::NoSlot { process, .. } => Self::Empty(process),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Where a replay stands. Its counts only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries that are done, plus those skipped as duplicates.
    pub slots: u64,
    /// Items that came from the gateway.
    pub fetched: u64,
    /// Signatures that were checked.
    pub verified: u64,
    /// Entries that had been verified before and were read from disk.
    pub shelved: u64,
    /// The slot that Arweave is being asked for, and for how long.
    pub waiting: Option<(Nonce, Duration)>,
}

/// Looks at a replay from outside. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    slots: Arc<AtomicU64>,
    arweave: ArweaveLogs,
}

impl Observer {
    /// Where the replay stands.
    pub fn progress(&self) -> Progress {
        let counts = self.arweave.counts();
        Progress {
            slots: self.slots.load(Ordering::Relaxed),
            fetched: counts.fetched(),
            verified: counts.verified(),
            shelved: counts.shelved(),
            waiting: counts.waiting(),
        }
    }
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The process.
    pub process: ProcessId,
    /// The slot it stands at: right after the entry with this nonce, before the cron messages that follow.
    pub slot: Nonce,
    /// Time of that entry.
    pub timestamp: Timestamp,
    /// Root of the state (see `docs/src/state-root.md`).
    pub state_root: StateRoot,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Milliseconds since the replay was opened.
    pub took_ms: u64,
}

/// An entry of a log as it was signed.
#[derive(Debug, Clone)]
pub struct SignedEntry {
    /// Its slot.
    pub slot: Nonce,
    /// Its time.
    pub timestamp: Timestamp,
    /// The assignment.
    pub assignment: DataItem,
    /// What the assignment positions.
    pub subject: Subject,
}

/// What an assignment positions.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A message that was sent to the process, or the process itself.
    Sent(DataItem),
    /// An item on Arweave that was assigned.
    Assigned(ItemId),
}

/// Reads the log of a process on Arweave up to `to`, or to its end, without evaluating it: `visit` gets every entry in
/// order, verified. Returns the process's item. What has been verified is kept as a [`Replay`] keeps it.
///
/// # Errors
/// As [`Replay::advance`].
pub async fn read_log(
    options: &ReplayOptions,
    process: ProcessId,
    to: Option<Nonce>,
    visit: &mut (dyn FnMut(SignedEntry) + Send),
) -> Result<DataItem, ReplayError> {
    let gateway = options.gateway()?;
    let folder = options.data_dir.join(LOG_FOLDER);
    let items = AssignedItems::new(gateway, options.assigned_max_bytes);
    let logs = ArweaveLogs::new(items, Some(folder), Clock::system(), options.retries, options.backoff);
    let mut visit = |link: Link, slot: Slot| {
        let subject = match slot.body {
            Body::Item(item) => Subject::Sent(item),
            Body::OnChain(item) => Subject::Assigned(item.id),
        };
        visit(SignedEntry { slot: link.nonce, timestamp: link.timestamp, assignment: slot.assignment, subject });
    };
    Ok(logs.copy(process, to, &mut visit).await?)
}

/// Reads the blocks above one height through another: heights and times.
///
/// # Errors
/// [`ReplayError::Failed`] when one of them is not known to the gateway.
pub async fn read_blocks(
    options: &ReplayOptions,
    above: BlockHeight,
    through: BlockHeight,
) -> Result<Vec<(BlockHeight, Timestamp)>, ReplayError> {
    let again = (options.retries, options.backoff);
    let range = Range { above, through, needed: through };
    let blocks = Blocks::default().of(&options.gateway()?, range, again).await?;
    Ok(blocks.into_iter().map(|block| (block.height, block.timestamp)).collect())
}

/// Reads an item that a process uses (its module, or what was assigned to it) from the gateway, verified. Its data is at most
/// `limit` bytes.
///
/// # Errors
/// [`ReplayError::Failed`] when it is not there, does not verify, or is a base-layer transaction, which has no such form.
pub async fn read_item(options: &ReplayOptions, id: ItemId, limit: u64) -> Result<DataItem, ReplayError> {
    let failed = |reason: String| ReplayError::Failed(format!("item {id}: {reason}"));
    let gateway = options.gateway()?;
    let page = gateway.placed_nodes(&Query::ids([id])).await.map_err(|error| failed(error.to_string()))?;
    let node = page.nodes.into_iter().next().ok_or_else(|| failed("it is not on Arweave".into()))?;
    match gateway.verified(&node, limit).await.map_err(|error| failed(error.to_string()))? {
        Verified::Item(item) => Ok(item),
        Verified::Transaction(..) => Err(failed("it is a base-layer transaction, not a data item".into())),
    }
}

/// A process that is being rebuilt.
pub struct Replay {
    process: ProcessId,
    sources: Arc<Sources>,
    tasks: Tasks,
    observer: Observer,
    runner: Option<Runner>,
    begun: Instant,
}

impl Replay {
    /// Loads the process and its module; nothing is evaluated yet. Call it inside a multi-threaded tokio runtime.
    pub async fn open(options: ReplayOptions, process: ProcessId) -> Result<Self, ReplayError> {
        let begun = Instant::now();
        let (tasks, metrics) = (Tasks::new(), Metrics::new());
        let assembly = assemble(&Arc::new(options.options()?), &metrics, &tasks).await?;
        let observer = Observer { slots: Arc::default(), arweave: assembly.arweave };
        let sources = assembly.sources;
        match sources.start(process, Reach::Newest, false).await {
            Ok(mut runner) => {
                runner.report_to(observer.slots.clone());
                Ok(Self { process, sources, tasks, observer, runner: Some(runner), begun })
            }
            Err(error) => {
                sources.pool.close();
                Err(error.into())
            }
        }
    }

    /// Looks at it from outside.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Evaluates up to `to`, or to the end of the log.
    ///
    /// # Errors
    /// [`ReplayError::Log`] when the log is not what a log must be; the replay then stands right before the slot that is
    /// wrong, and [`Self::report`] tells about it.
    pub async fn advance(&mut self, to: Option<Nonce>) -> Result<Report, ReplayError> {
        if let (Some(slot), Some(at)) = (to, self.at())
            && slot < at
        {
            return Err(ReplayError::Passed { slot, at });
        }
        let slots = self.observer.slots.clone();
        let mut progress = |runner: &Runner| {
            slots.store(runner.stream.link().map_or(0, |link| link.nonce.0 + 1), Ordering::Relaxed);
        };
        let goal = Goal::Slot(to.unwrap_or(Nonce(u64::MAX)));
        match self.sources.advance(&mut self.runner, goal, None, &mut progress).await {
            Ok(()) => {}
            Err(Error::NoSlot { last: Some(_), .. }) if to.is_none() => {}
            Err(error) => return Err(error.into()),
        }
        self.report().await
    }

    /// The slot it stands at.
    pub fn at(&self) -> Option<Nonce> {
        self.runner.as_ref()?.stream.link().map(|link| link.nonce)
    }

    /// What it has found so far.
    pub async fn report(&mut self) -> Result<Report, ReplayError> {
        let process = self.process;
        let runner = self.runner.as_ref().ok_or(ReplayError::Empty(process))?;
        let link = *runner.stream.link().ok_or(ReplayError::Empty(process))?;
        let history = runner.history();
        let fork = self.fork().await?;
        let memory_bytes = fork.memory_bytes();
        let root = tokio::task::spawn_blocking(move || fork.state_root(&history)).await;
        let state_root = root.map_err(|error| ReplayError::Failed(error.to_string()))??;
        let took_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Report { process, slot: link.nonce, timestamp: link.timestamp, state_root, memory_bytes, took_ms })
    }

    /// Writes the memory as it is, all of its bytes.
    pub async fn write_memory(&mut self, mut into: impl Write + Send + 'static) -> Result<(), ReplayError> {
        let fork = self.fork().await?;
        let written = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let mut page = [0; PAGE_BYTES];
            let total = fork.memory_bytes();
            let mut position = 0;
            while position < total {
                let length = (total - position).min(PAGE_BYTES as u64) as usize;
                let index = u32::try_from(position / PAGE_BYTES as u64).map_err(io::Error::other)?;
                fork.read_page(index, &mut page)?;
                into.write_all(page.get(..length).unwrap_or_default())?;
                position += length as u64;
            }
            into.flush()
        });
        Ok(written.await.map_err(|error| ReplayError::Failed(error.to_string()))??)
    }

    async fn fork(&mut self) -> Result<Fork, ReplayError> {
        let mut runner = self.runner.take().ok_or(ReplayError::Empty(self.process))?;
        let job = move || {
            let fork = runner.fork();
            (runner, fork)
        };
        let (runner, fork) =
            self.sources.pool.run(job).await.map_err(|error| ReplayError::Failed(error.to_string()))?;
        self.runner = (!runner.is_lost()).then_some(runner);
        Ok(fork?)
    }

    /// Ends the threads and writes what is to be kept. What has been verified is on disk already.
    pub async fn close(self) {
        drop(self.runner);
        self.tasks.stop(STOP_WITHIN).await;
        self.sources.pool.close();
        let results = self.sources.results.clone();
        let flushed = tokio::task::spawn_blocking(move || results.flush()).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "results could not be written; they will be evaluated again");
        }
    }
}
