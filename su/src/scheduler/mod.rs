//! The shell around the [`sequencer`](crate::sequencer): one lane per live process, a pool that looks up and signs, and
//! one writer that makes entries durable.
//!
//! ```text
//! submit ─► lane (sequencer) ─► pool: look up, sign ─► writer: append all that is ready, one sync ─► answer
//!              ▲                                             │ durable through nonce n
//!              └─────────────────────────────────────────────┘
//! ```
//!
//! Contract: a lane is worked on by at most one pool thread at a time and yields to other lanes after
//! a few milliseconds. The writer is one thread; what arrives while it syncs shares the next sync. Nobody waits for a
//! sync inside a process's turn. Readers see an entry only after [`Scheduler::visible`] covers it. If the store fails,
//! every waiting request is refused, nothing is accepted any more, and the service is told to stop.

mod lane;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use holon_protocol::{AssignmentId, BlockHeight, MessageId, Nonce, ProcessId, Signer, Timestamp};
use holon_unit::clock::Clock;
use holon_unit::events::Feed;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

use self::lane::Lane;
use self::writer::Writer;
pub use self::writer::WriterEnded;
use crate::log::{LogStore, StoreError, Write};
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::sequencer::{Answer, Subject};

/// Lanes are spread over this many locks.
const SHARDS: usize = 64;
/// Lanes a shard holds before idle ones are dropped.
const MAX_LANES_PER_SHARD: usize = 256;

/// A request for a position.
#[derive(Debug)]
pub struct Request {
    /// Whose log.
    pub process: ProcessId,
    /// What for.
    pub subject: Subject,
    /// The item's bytes, unless it is published elsewhere.
    pub item: Option<Bytes>,
    /// Memory held for those bytes, given back once they are stored.
    pub memory: Option<OwnedSemaphorePermit>,
}

/// Handle to the scheduler; cheap to clone.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

pub(crate) struct Shared {
    store: Arc<dyn LogStore>,
    wallet: Signer,
    clock: Clock,
    pool: Pool,
    writer: Writer,
    height: AtomicU64,
    lanes: Vec<Mutex<HashMap<ProcessId, Arc<Lane>>>>,
    halted: AtomicBool,
    stop: CancellationToken,
    metrics: Metrics,
    /// Told whenever entries became durable: there may be something to settle.
    settle: Notify,
    /// Told of every entry once it is durable.
    feed: Feed<Scheduled>,
}

/// An entry that has its place for good.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// Whose log.
    pub process: ProcessId,
    /// The scheduled item.
    pub message: MessageId,
    /// Its assignment.
    pub assignment: AssignmentId,
    /// Position.
    pub nonce: Nonce,
    /// Scheduler's clock.
    pub timestamp: Timestamp,
    /// L1 height last seen then.
    pub block_height: BlockHeight,
}

impl Scheduler {
    /// Starts the writer, whose thread ends with the last handle. `stop` is cancelled when the store fails.
    pub fn start(
        store: Arc<dyn LogStore>,
        wallet: Signer,
        clock: Clock,
        pool: Pool,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (writer, queue) = Writer::new();
        let shared = Arc::new(Shared {
            store,
            wallet,
            clock,
            pool,
            writer,
            height: AtomicU64::new(0),
            lanes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            halted: AtomicBool::new(false),
            stop,
            metrics,
            settle: Notify::new(),
            feed: Feed::default(),
        });
        let thread = writer::spawn(&shared, queue)?;
        Ok((Self(shared), thread))
    }

    /// Asks for a position. The answer comes once it is durable, or refused. Takes turns of the lane, signing and looking up in
    /// the store, if nobody else does: call it on the pool.
    pub fn submit(&self, request: Request) -> Result<oneshot::Receiver<Answer>, StoreError> {
        Ok(self.0.lane(request.process)?.submit(&self.0, request, Instant::now()))
    }

    /// The newest entry of a process that readers may see, `None` when there is none. Blocks on the store.
    pub fn visible(&self, process: ProcessId) -> Result<Option<Nonce>, StoreError> {
        if let Some(lane) = lock(self.0.shard(process)).get(&process) {
            return Ok(lane.durable());
        }
        // Without a lane everything stored is durable. A lane may have come since and stored more: ask again.
        let head = self.0.store.head(process)?.map(|head| head.nonce);
        match lock(self.0.shard(process)).get(&process) {
            Some(lane) => Ok(lane.durable()),
            None => Ok(head),
        }
    }

    /// Cancelled when the service stops.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Entries as they become durable.
    pub fn feed(&self) -> &Feed<Scheduled> {
        &self.0.feed
    }

    /// Makes a change of the settle queue or a container durable.
    pub async fn write(&self, write: Write) -> Result<(), WriterEnded> {
        self.0.writer.write(write).await
    }

    /// The time that an assignment made now carries, unless one before it carries a later one.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Sets the L1 height that coming assignments carry.
    pub fn set_height(&self, height: BlockHeight) {
        self.0.height.store(height.0, Ordering::Relaxed);
    }

    /// The L1 height last seen.
    pub fn height(&self) -> BlockHeight {
        BlockHeight(self.0.height.load(Ordering::Relaxed))
    }

    /// Whether the store failed.
    pub fn is_halted(&self) -> bool {
        self.0.halted.load(Ordering::Acquire)
    }

    /// Resolves after entries became durable.
    pub async fn became_durable(&self) {
        self.0.settle.notified().await;
    }

    /// The log store.
    pub fn store(&self) -> &Arc<dyn LogStore> {
        &self.0.store
    }

    /// The scheduler's wallet.
    pub fn wallet(&self) -> &Signer {
        &self.0.wallet
    }
}

impl Shared {
    fn shard(&self, process: ProcessId) -> &Mutex<HashMap<ProcessId, Arc<Lane>>> {
        &self.lanes[usize::from(process.as_bytes()[0]) % SHARDS]
    }

    /// The lane of a process. It is made while its shard is locked, so no second one can resume from an older head.
    fn lane(&self, process: ProcessId) -> Result<Arc<Lane>, StoreError> {
        let mut lanes = lock(self.shard(process));
        if let Some(lane) = lanes.get(&process) {
            return Ok(lane.clone());
        }
        if lanes.len() >= MAX_LANES_PER_SHARD {
            // Only the map holds it and nothing is under way: the store knows all about it.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_idle());
        }
        let lane = Arc::new(Lane::new(process, self.store.head(process)?));
        if self.halted.load(Ordering::Acquire) {
            lane.fail();
        }
        lanes.insert(process, lane.clone());
        Ok(lane)
    }

    /// The store failed: nothing that is not durable may ever be acknowledged.
    fn halt(&self, error: &StoreError) {
        if self.halted.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(%error, "the log store failed; nothing is accepted any more, stopping the service");
        for shard in &self.lanes {
            for lane in lock(shard).values() {
                lane.fail();
            }
        }
        self.stop.cancel();
    }
}

/// A lock whose holders never leave it half changed, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
