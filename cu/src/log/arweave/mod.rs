//! Logs rebuilt from Arweave alone: no scheduler is asked (spec 02 §5.3).
//!
//! A scheduler uploads what it assigns: each assignment is an item that it signed, and each message is an item that its
//! sender signed. So everything a scheduler's JSON says can be made again from a gateway, and, unlike there, every
//! signature can be checked. What a gateway lists are claims: what does not hold is passed over ([`claims`]). Three things have
//! no signature, and there it is believed: that there is nothing after the last entry it knows, which blocks there are, and
//! that there is no bundle of the scheduler's around the assignment of an item that could have been sent ([`kind`]).
//!
//! | room | what happens there |
//! |---|---|
//! | [`find`] | questions to the gateway: assignments, messages, what is around them |
//! | [`claims`] | which of the answers are the scheduler's |
//! | [`kept`] | those that were found, within a number of bytes. Pure |
//! | [`order`] | which assignment stands where; what is doubled. Pure |
//! | [`kind`] | whether an item was sent or assigned. Pure |
//! | [`read`] | one window of a log: found, fetched, verified |
//! | [`reading`] | window after window, and those ahead; what is missing or beyond the end |
//! | [`shelf`] | verified entries on disk, so that an interrupted replay goes on |
//!
//! Concurrency: a log that is being read keeps tasks for the next windows, which end with it. How much all of them hold
//! is bounded ([`ArweaveLogs`]).

mod claims;
mod find;
mod kept;
mod kind;
mod order;
mod read;
mod reading;
mod shelf;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_protocol::{Address, BlockHeight, DataItem, Nonce, ProcessId, Timestamp, wire};
use holon_unit::clock::Clock;
use tokio::sync::Semaphore;

pub use self::find::patience;
use self::read::Reader;
pub use self::read::{Body, Slot};
use self::reading::Reading;
use super::assigned::AssignedItems;
use super::blocks::Blocks;
use super::budget::Budget;
use super::verify::{Course, HASH_CHAIN_HEIGHT};
use super::{Goal, Link, Log, Logs};
use crate::error::Error;

/// Slots that are found and fetched together.
pub const WINDOW: u64 = 100;
/// Largest data of a message and of a process, in bytes: what schedulers take (spec 02 §1).
const MAX_MESSAGE_BYTES: u64 = 10 << 20;
/// Bytes fetched for one window that is needed. Larger ones come in parts.
const WINDOW_BYTES: u64 = 32 << 20;
/// Bytes of windows that are needed, over all processes. Who needs one waits until there is room.
const NEEDED_BYTES: u64 = 256 << 20;
/// Bytes fetched for one window ahead of its use.
const AHEAD_BYTES: u64 = 4 << 20;
/// Bytes of windows ahead of their use, over all processes. Without room, nothing is fetched ahead.
const ALL_AHEAD_BYTES: u64 = 256 << 20;
/// Most processes whose items are remembered.
const KNOWN_KEPT: usize = 10_000;
/// Most bytes of items of processes that are remembered.
const KNOWN_BYTES: usize = 64 << 20;

/// Logs on Arweave. Cheap to clone.
#[derive(Clone)]
pub struct ArweaveLogs(Arc<Inner>);

struct Inner {
    items: AssignedItems,
    blocks: Blocks,
    clock: Clock,
    /// Where verified entries are kept.
    folder: Option<PathBuf>,
    retries: u32,
    backoff: Duration,
    known: Mutex<HashMap<ProcessId, Arc<Known>>>,
    needed: Budget,
    ahead: Budget,
    /// For writing files of verified entries.
    shelving: Semaphore,
    counts: Counts,
}

/// What has been done so far, over all processes.
#[derive(Debug, Default)]
pub struct Counts {
    fetched: AtomicU64,
    verified: AtomicU64,
    shelved: AtomicU64,
    /// The slot that is being waited for, and since when.
    waiting: Mutex<Option<(Nonce, Instant)>>,
}

/// Somebody waits for a slot until this is dropped.
struct Waiting<'a>(&'a Counts);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *lock(&self.0.waiting) = None;
    }
}

impl Counts {
    /// The slot that is being waited for, and for how long. Of several logs, that of the one that began last.
    pub fn waiting(&self) -> Option<(Nonce, Duration)> {
        lock(&self.waiting).map(|(slot, since)| (slot, since.elapsed()))
    }

    fn waiting_for(&self, slot: u64) -> Waiting<'_> {
        *lock(&self.waiting) = Some((Nonce(slot), Instant::now()));
        Waiting(self)
    }

    /// Items that came from the gateway.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Signatures that were checked.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Entries that had been verified before and were read from disk.
    pub fn shelved(&self) -> u64 {
        self.shelved.load(Ordering::Relaxed)
    }
}

/// A process whose item has been verified.
struct Known {
    process: ProcessId,
    item: DataItem,
    scheduler: Address,
    record: wire::Process,
    /// The epoch in which its log begins, and stays.
    epoch: u64,
    /// Whether its log has a hash chain.
    chained: bool,
}

impl Known {
    /// What its entries must agree with. That they are the scheduler's is known before ([`claims`]).
    fn course(&self, latest: Timestamp) -> Course<'static> {
        Course { process: self.process, chained: self.chained, signers: None, latest }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ArweaveLogs {
    /// Logs that the gateway of `items` knows. Verified entries are kept in `folder`. What is expected to exist is looked for
    /// again up to `retries` times, first after `backoff`, which doubles.
    pub fn new(items: AssignedItems, folder: Option<PathBuf>, clock: Clock, retries: u32, backoff: Duration) -> Self {
        let (blocks, known, counts) = (Blocks::default(), Mutex::default(), Counts::default());
        let (needed, ahead) = (Budget::new(NEEDED_BYTES), Budget::new(ALL_AHEAD_BYTES));
        let shelving = Semaphore::new(1);
        Self(Arc::new(Inner { items, blocks, clock, folder, retries, backoff, known, needed, ahead, shelving, counts }))
    }

    /// What has been done so far.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The log of a process up to `to`, verified, as it was signed: its own item first, then entry by entry.
    pub async fn copy(
        &self,
        process: ProcessId,
        to: Option<Nonce>,
        visit: &mut (dyn FnMut(Link, Slot) + Send),
    ) -> Result<DataItem, Error> {
        let known = self.known(process).await?;
        let item = known.item.clone();
        let reading = Arc::new(Reading::new(self.clone(), known));
        let goal = to.map_or(Goal::Latest, Goal::Slot);
        let mut last = None;
        loop {
            let (slots, more) = reading.clone().read(last, goal).await?;
            for (link, slot) in slots {
                if goal.excludes(&link) {
                    break;
                }
                last = Some(link);
                visit(link, slot);
            }
            if last.is_some_and(|last| goal.reached(&last)) || !more {
                break;
            }
        }
        match (to, last.map(|last| last.nonce)) {
            (Some(slot), last) if last < Some(slot) => Err(Error::NoSlot { process, slot, last }),
            _ => Ok(item),
        }
    }

    async fn known(&self, process: ProcessId) -> Result<Arc<Known>, Error> {
        if let Some(known) = lock(&self.0.known).get(&process) {
            return Ok(known.clone());
        }
        let reader = Reader { logs: self };
        let (item, scheduler) = reader.process(process).await?;
        let (record, epoch) = reader.record(process, scheduler, &item).await?;
        let height = record.block.parse::<BlockHeight>().unwrap_or_default();
        let chained = height.0 >= HASH_CHAIN_HEIGHT;
        let known = Arc::new(Known { process, item, scheduler, record, epoch, chained });
        let mut all = lock(&self.0.known);
        let bytes: usize = all.values().map(|known| known.item.raw().len()).sum();
        if all.len() >= KNOWN_KEPT || bytes > KNOWN_BYTES {
            all.clear();
        }
        all.insert(process, known.clone());
        Ok(known)
    }
}

impl Logs for ArweaveLogs {
    fn open(&self, process: ProcessId) -> BoxFuture<'_, Result<Box<dyn Log>, Error>> {
        async move {
            let known = self.known(process).await?;
            let log: Box<dyn Log> = Box::new(Arc::new(Reading::new(self.clone(), known)));
            Ok(log)
        }
        .boxed()
    }

    fn knows(&self, process: ProcessId) -> BoxFuture<'_, Result<bool, Error>> {
        async move {
            if lock(&self.0.known).contains_key(&process) {
                return Ok(true);
            }
            Ok(find::items(self.0.items.gateway(), &[process.into()]).await?.contains_key(&process.into()))
        }
        .boxed()
    }
}
