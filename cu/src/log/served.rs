//! Logs that schedulers serve: finding the scheduler of a process, and asking it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_arweave::{LocateError, Locator, Verified};
use holon_protocol::{ItemId, MessageId, Nonce, ProcessId, wire};
use url::Url;

use super::assigned::AssignedItems;
use super::blocks::Blocks;
use super::scheduler::{Scheduler, Span};
use super::{Fault, Goal, Link, Log, Logged, Logs, Now, Page, Position, Range, SlotError, signatures, verify};
use crate::cron::Block;
use crate::error::Error;
use crate::hydrate::OnChain;

/// How long it is remembered that a process cannot be found.
const MISSING_FOR: Duration = Duration::from_secs(5);
/// Largest data of a process, in bytes: what schedulers take (spec 02 §1).
const MAX_PROCESS_BYTES: u64 = 10 << 20;
/// Most processes that are remembered not to be found.
const MISSING_KEPT: usize = 10_000;
/// Longest pause between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Finds the schedulers of processes. Cheap to clone.
#[derive(Clone)]
pub struct ServedLogs(Arc<Inner>);

/// Entries of the first page; each following one has four times as many, up to what the operator allows. Evaluation begins with
/// the first page and goes on while the others are on their way.
const FIRST_PAGE: u32 = 16;

struct Inner {
    items: AssignedItems,
    locator: Locator,
    scheduler: Scheduler,
    blocks: Blocks,
    retries: u32,
    backoff: Duration,
    /// Processes that could not be found, and when.
    missing: Mutex<HashMap<ProcessId, (Instant, String)>>,
}

/// A log at its scheduler.
struct Served {
    logs: ServedLogs,
    process: ProcessId,
    base: Url,
    /// Entries of the next page.
    limit: AtomicU32,
}

impl ServedLogs {
    /// Logs at the schedulers that `locator` finds. What is expected to exist is looked for again up to `retries` times,
    /// first after `backoff`, which doubles.
    pub fn new(
        items: AssignedItems,
        locator: Locator,
        scheduler: Scheduler,
        (retries, backoff): (u32, Duration),
    ) -> Self {
        let (blocks, missing) = (Blocks::default(), Mutex::default());
        Self(Arc::new(Inner { items, locator, scheduler, blocks, retries, backoff, missing }))
    }

    /// The scheduler's URL. A process that has just been scheduled may not be at the gateway yet, so one that is not known
    /// there is asked of the configured schedulers, and then looked for again. That it cannot be found is remembered for a
    /// moment.
    async fn locate(&self, process: ProcessId) -> Result<Url, Error> {
        if let Some(reason) = self.missing(process) {
            return Err(Error::Locate { process, reason });
        }
        let mut pause = self.0.backoff;
        let mut tries_left = self.0.retries;
        loop {
            let error = match self.0.locator.by_process(process, None).await {
                Ok(location) => return Ok(location.url),
                Err(error) => error,
            };
            let missing = matches!(error, LocateError::ProcessNotFound(_) | LocateError::LocationNotFound(_));
            if missing && let Some(url) = self.0.scheduler.keeper(process).await {
                return Ok(url);
            }
            if tries_left == 0 || !missing {
                let reason = error.to_string();
                if missing {
                    self.remember_missing(process, reason.clone());
                }
                return Err(Error::Locate { process, reason });
            }
            tries_left -= 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
    }

    fn missing(&self, process: ProcessId) -> Option<String> {
        let missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.get(&process).filter(|(since, _)| since.elapsed() < MISSING_FOR).map(|(_, reason)| reason.clone())
    }

    fn remember_missing(&self, process: ProcessId, reason: String) {
        let mut missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.len() >= MISSING_KEPT {
            missing.retain(|_, (since, _)| since.elapsed() < MISSING_FOR);
        }
        if missing.len() < MISSING_KEPT {
            missing.insert(process, (Instant::now(), reason));
        }
    }
}

impl Logs for ServedLogs {
    fn open(&self, process: ProcessId) -> BoxFuture<'_, Result<Box<dyn Log>, Error>> {
        async move {
            let base = self.locate(process).await?;
            let log: Box<dyn Log> = Box::new(Served { logs: self.clone(), process, base, limit: FIRST_PAGE.into() });
            Ok(log)
        }
        .boxed()
    }

    fn knows(&self, process: ProcessId) -> BoxFuture<'_, Result<bool, Error>> {
        async move {
            match self.0.locator.by_process(process, None).await {
                Ok(_) => Ok(true),
                Err(LocateError::ProcessNotFound(_) | LocateError::LocationNotFound(_)) => {
                    Ok(self.0.scheduler.keeper(process).await.is_some())
                }
                Err(error) => Err(Error::Locate { process, reason: error.to_string() }),
            }
        }
        .boxed()
    }
}

impl Served {
    /// The process as it was signed, from the gateway.
    async fn process_item(&self) -> Result<Verified, Error> {
        let id = self.process;
        let wrong = |reason: &dyn std::fmt::Display| Error::Gateway(format!("process {id}: {reason}"));
        let Inner { items, retries, backoff, .. } = &*self.logs.0;
        let node = super::expected(items.gateway(), id.into(), *retries, *backoff).await?;
        let node = node.ok_or_else(|| wrong(&"it is not known to the gateway"))?;
        items.verified(&node, MAX_PROCESS_BYTES).await?.map_err(|fault| wrong(&fault))
    }
}

/// Puts entries in the order of their nonces that came in that of their timestamps, as schedulers that sort by time give them when
/// their clock has been set back (spec 02 §7.2). While there are `more`, one that is missing may come later than there was room
/// for, and what would follow it is left out. What comes in neither order stays as it is, for whoever checks it to see. Whether `first`
/// itself is missing.
fn in_order(page: &mut Page, first: Nonce) -> bool {
    let number =
        |logged: &Logged, name| logged.entry.assignment.tags.get(name).and_then(|text| text.parse::<u64>().ok());
    let said = |logged: &Logged| Some((number(logged, "Timestamp")?, number(logged, "Nonce")?));
    let Some(said) = page.entries.iter().map(said).collect::<Option<Vec<_>>>() else { return false };
    if !said.is_sorted_by_key(|(timestamp, _)| *timestamp) {
        return false;
    }
    if !said.is_sorted_by_key(|(_, nonce)| *nonce) {
        page.entries.sort_by_cached_key(|logged| number(logged, "Nonce"));
    }
    if !page.more {
        return false;
    }
    let mut nonces: Vec<u64> = said.into_iter().map(|(_, nonce)| nonce).collect();
    nonces.sort_unstable();
    let following = nonces.iter().zip(first.0..).take_while(|(found, expected)| *found == expected).count();
    if following > 0 {
        page.entries.truncate(following);
    }
    following == 0 && !nonces.is_empty()
}

impl Log for Served {
    fn record(&self) -> BoxFuture<'_, Result<wire::Process, Error>> {
        async move {
            let process = self.process;
            let record = self.logs.0.scheduler.process(&self.base, process).await?;
            if record.process_id != process {
                return Err(Error::SchedulerUnreadable {
                    what: "process",
                    reason: format!("the answer is about {}", record.process_id),
                });
            }
            // Very old records have no signature.
            if let Some(signature) = &record.signature {
                verify::signed(process.into(), signature, &record.owner)?;
            }
            signatures::judge_process(&record).map_err(|reason| SlotError {
                process,
                slot: Nonce(0),
                fault: Fault::Message { message: process.into(), reason },
            })?;
            Ok(record)
        }
        .boxed()
    }

    fn process_data(&self) -> BoxFuture<'_, Result<String, Error>> {
        async move {
            let item = self.process_item().await?;
            Ok(String::from_utf8_lossy(&item.data()).into_owned())
        }
        .boxed()
    }

    fn page(&self, after: Option<Link>, goal: Goal) -> BoxFuture<'static, Result<Page, Error>> {
        let (logs, base, process) = (self.logs.clone(), self.base.clone(), self.process);
        // By nonces: two entries may have one time, and one may have an earlier time than the one before it.
        let from = after.map(|link| link.nonce);
        let span = match (goal, from) {
            (Goal::Slot(to), _) => Span::Nonces { from, to: (to != Nonce(u64::MAX)).then_some(to) },
            // A process whose log does not begin with it has its time to itself.
            (Goal::Entry(to, Nonce(0)), None) => Span::Times { from: None, to: Some(to) },
            (Goal::Entry(_, to), _) => Span::Nonces { from, to: Some(to) },
            (Goal::Time(_) | Goal::Latest, None) => Span::Times { from: None, to: None },
            (Goal::Time(_) | Goal::Latest, Some(_)) => Span::Nonces { from, to: None },
        };
        let first = after.map_or(Nonce(0), |link| link.next());
        let limit =
            self.limit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |limit| Some(limit.saturating_mul(4)));
        let limit = limit.unwrap_or(FIRST_PAGE);
        async move {
            let scheduler = &logs.0.scheduler;
            let mut page = Page::from(scheduler.page(&base, process, span, limit).await?);
            if in_order(&mut page, first) {
                // Its time is later than those of a page full of entries that follow it, or it is not there at all.
                let span = Span::Nonces { from, to: Some(first) };
                let next = scheduler.page(&base, process, span, limit).await?;
                if !next.edges.is_empty() {
                    page = Page { more: true, ..Page::from(next) };
                }
            }
            Ok(page)
        }
        .boxed()
    }

    fn position(&self, message: MessageId) -> BoxFuture<'_, Result<Position, Error>> {
        self.logs.0.scheduler.position(&self.base, self.process, message).boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Option<Now>, Error>> {
        async move { self.logs.0.scheduler.now(&self.base, self.process).await.map(Some) }.boxed()
    }

    fn on_chain(&self, slot: Nonce, item: ItemId, with_data: bool) -> BoxFuture<'_, Result<OnChain, Error>> {
        let again = (self.logs.0.retries, self.logs.0.backoff);
        self.logs.0.items.of_slot((self.process, slot), item, with_data, again).boxed()
    }

    fn blocks(&self, range: Range) -> BoxFuture<'_, Result<Vec<Block>, Error>> {
        let again = (self.logs.0.retries, self.logs.0.backoff);
        self.logs.0.blocks.of(self.logs.0.items.gateway(), range, again).boxed()
    }
}
