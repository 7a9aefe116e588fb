//! Logs rebuilt from Arweave alone: no scheduler is asked (spec 02 §5.3).
//!
//! A scheduler uploads what it assigns: each assignment is an item that it signed, and each message is an item that its
//! sender signed. So everything a scheduler's JSON says can be made again from a gateway, and, unlike there, every
//! signature can be checked. Nothing the gateway says is believed that is not covered by one, except three things: that
//! there is nothing after the last entry it knows, which blocks there are and, for an item that was written *to* the
//! process and is assigned rather than sent, around which bundle its assignment lies ([`read`]).
//!
//! | room | what happens there |
//! |---|---|
//! | [`find`] | questions to the gateway: assignments, messages, what is around them |
//! | [`read`] | one window of a log: found, fetched, verified |
//! | [`order`] | which assignment stands where; what is missing, doubled or beyond the end. Pure |
//! | [`shelf`] | verified entries on disk, so that an interrupted replay goes on |
//! | [`fault`] | what can be wrong with a slot |
//!
//! Concurrency: a log that is being read keeps tasks for the next windows, which end with it.

mod fault;
mod find;
mod order;
mod read;
mod shelf;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_arweave::Gateway;
use holon_protocol::{Address, BlockHeight, DataItem, ItemId, MessageId, Nonce, ProcessId, Timestamp, wire};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

pub use fault::{Fault, SlotError};

pub use self::read::{Body, Slot};
use self::read::{Reader, Window};
use super::blocks::Blocks;
use super::verify::{self, HASH_CHAIN_HEIGHT};
use super::{Goal, Link, Log, Logged, Logs, Page, Position};
use crate::cron::Block;
use crate::error::Error;
use crate::hydrate::OnChain;

/// Slots that are found and fetched together.
pub const WINDOW: u64 = 100;
/// Windows fetched ahead of the one that is being evaluated.
const AHEAD: u64 = 4;
/// A window with more bytes than this is not followed by others before it has been used.
const LARGE_WINDOW_BYTES: usize = 32 << 20;
/// Most processes whose items are remembered.
const KNOWN_KEPT: usize = 10_000;

/// Logs on Arweave. Cheap to clone.
#[derive(Clone)]
pub struct ArweaveLogs(Arc<Inner>);

struct Inner {
    gateway: Gateway,
    blocks: Blocks,
    /// Where verified entries are kept.
    folder: Option<PathBuf>,
    retries: u32,
    backoff: Duration,
    known: Mutex<HashMap<ProcessId, Arc<Known>>>,
    counts: Counts,
}

/// What has been done so far, over all processes.
#[derive(Debug, Default)]
pub struct Counts {
    fetched: AtomicU64,
    verified: AtomicU64,
    shelved: AtomicU64,
}

impl Counts {
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
    /// Whether its log has a hash chain.
    chained: bool,
}

/// A log that is being read.
struct Reading {
    logs: ArweaveLogs,
    known: Arc<Known>,
    /// The greatest nonce among the newest assignments.
    head: OnceCell<Option<Nonce>>,
    /// Windows that are being fetched, by number.
    windows: Mutex<BTreeMap<u64, Fetch>>,
}

/// A fetch that stops when nobody waits for it any more.
struct Fetch(JoinHandle<Result<Window, Error>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ArweaveLogs {
    /// Logs that `gateway` knows. Verified entries are kept in `folder`. What is expected to exist is looked for again up
    /// to `retries` times, first after `backoff`, which doubles.
    pub fn new(gateway: Gateway, folder: Option<PathBuf>, retries: u32, backoff: Duration) -> Self {
        let (blocks, known, counts) = (Blocks::default(), Mutex::default(), Counts::default());
        Self(Arc::new(Inner { gateway, blocks, folder, retries, backoff, known, counts }))
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
        let reading = Arc::new(Reading { logs: self.clone(), known, head: OnceCell::new(), windows: Mutex::default() });
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
        let record = reader.record(process, scheduler, &item).await?;
        let height = record.block.parse::<BlockHeight>().unwrap_or_default();
        let chained = height.0 >= HASH_CHAIN_HEIGHT;
        let known = Arc::new(Known { process, item, scheduler, record, chained });
        let mut all = lock(&self.0.known);
        if all.len() >= KNOWN_KEPT {
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
            let reading = Reading { logs: self.clone(), known, head: OnceCell::new(), windows: Mutex::default() };
            let log: Box<dyn Log> = Box::new(Arc::new(reading));
            Ok(log)
        }
        .boxed()
    }
}

impl Reading {
    async fn head(&self) -> Result<Option<Nonce>, Error> {
        let reader = Reader { logs: &self.logs };
        self.head.get_or_try_init(|| reader.head(self.known.process, self.known.scheduler)).await.copied()
    }

    /// A window, and those after it on their way.
    async fn window(self: &Arc<Self>, number: u64, last: u64) -> Result<Window, Error> {
        let mut fetch = {
            let mut windows = lock(&self.windows);
            windows.retain(|&other, _| other >= number);
            windows.remove(&number).unwrap_or_else(|| self.fetch(number))
        };
        let window = match (&mut fetch.0).await {
            Ok(window) => window?,
            Err(_) => return Err(Error::Stopping),
        };
        if window.bytes() <= LARGE_WINDOW_BYTES {
            let mut windows = lock(&self.windows);
            for next in number + 1..=last.min(number + AHEAD) {
                windows.entry(next).or_insert_with(|| self.fetch(next));
            }
        }
        Ok(window)
    }

    fn fetch(&self, number: u64) -> Fetch {
        let (logs, known) = (self.logs.clone(), self.known.clone());
        Fetch(tokio::spawn(async move { Reader { logs: &logs }.window(&known, number).await }))
    }

    /// The entries after `after` that lie in one window with the next one, and whether there are more.
    async fn read(self: Arc<Self>, after: Option<Link>, goal: Goal) -> Result<(Vec<(Link, Slot)>, bool), Error> {
        let process = self.known.process;
        let head = self.head().await?.map(|head| head.0);
        let first = after.map_or(0, |link| link.nonce.0 + 1);
        let number = first / WINDOW;
        let head_or_first = head.map_or(first, |head| head.max(first));
        let last = match goal {
            Goal::Slot(slot) => slot.0.min(head_or_first),
            Goal::Entry(_) | Goal::Time(_) | Goal::Latest => head_or_first,
        };
        let mut window = self.window(number, last / WINDOW).await?;
        let mut link = after;
        let mut entries = Vec::new();
        let latest = verify::latest();
        for nonce in first..(number + 1) * WINDOW {
            if link.is_some_and(|link| goal.reached(&link)) {
                return Ok((entries, false));
            }
            let Some(slot) = window.slots.remove(&nonce) else {
                let later = window.slots.range(nonce..).next().map(|(&later, _)| later);
                let later = later.or(head.filter(|&head| head > nonce));
                let fault = match (window.faults.remove(&nonce), later) {
                    (Some(fault), _) => fault,
                    (None, Some(later)) => Fault::Missing { later: Nonce(later) },
                    (None, None) => return Ok((entries, false)),
                };
                // What lies before it is good and comes first; the next question meets the fault itself.
                if !entries.is_empty() {
                    return Ok((entries, true));
                }
                return Err(SlotError { process, slot: Nonce(nonce), fault }.into());
            };
            let checked = verify::follow(process, self.known.chained, latest, link.as_ref(), &slot.entry());
            let next = match checked {
                Ok((_, next)) => next,
                Err(error) if entries.is_empty() => {
                    return Err(SlotError { process, slot: Nonce(nonce), fault: Fault::Log(error) }.into());
                }
                Err(_) => return Ok((entries, true)),
            };
            link = Some(next);
            entries.push((next, slot));
        }
        let more = link.is_some_and(|link| !goal.reached(&link) && head.is_some_and(|head| head > link.nonce.0));
        Ok((entries, more))
    }
}

impl Log for Arc<Reading> {
    fn record(&self) -> BoxFuture<'_, Result<wire::Process, Error>> {
        let record = self.known.record.clone();
        async move { Ok(record) }.boxed()
    }

    fn process_data(&self) -> BoxFuture<'_, Result<String, Error>> {
        let data = self.known.item.data();
        async move { Ok(String::from_utf8_lossy(&data).into_owned()) }.boxed()
    }

    fn page(&self, after: Option<Link>, goal: Goal) -> BoxFuture<'static, Result<Page, Error>> {
        let reading = self.clone();
        async move {
            let (slots, more) = reading.read(after, goal).await?;
            let logged = |(_, slot): (Link, Slot)| Logged { entry: slot.entry(), on_chain: slot.into_on_chain() };
            Ok(Page { entries: slots.into_iter().map(logged).collect(), more })
        }
        .boxed()
    }

    fn position(&self, message: MessageId) -> BoxFuture<'_, Result<Position, Error>> {
        async move { Reader { logs: &self.logs }.position(&self.known, message).await }.boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        // Entries may exist that have not been uploaded: cron messages after the last known one could be too early.
        async { Ok(None) }.boxed()
    }

    fn on_chain(&self, item: ItemId) -> BoxFuture<'_, Result<OnChain, Error>> {
        async move {
            let found = Reader { logs: &self.logs }.on_chain(item).await?;
            found.map_err(|reason| Error::Gateway(format!("assigned item {item}: {reason}")))
        }
        .boxed()
    }

    fn blocks(&self, left: BlockHeight, right: Timestamp) -> BoxFuture<'_, Result<Vec<Block>, Error>> {
        self.logs.0.blocks.between(&self.logs.0.gateway, left, right).boxed()
    }
}
