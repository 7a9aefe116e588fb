//! What clients send: verified, forwarded to its scheduler, and remembered so that its result is pushed (spec 04 §2, §3).
//!
//! An intent is durable before anything is forwarded and names the item and its scheduler. Whatever happens between the
//! scheduler's acceptance and our next write — a crash, a lost answer — the intent is resolved by asking the scheduler.
//! So one sync per client item is enough, and it is shared with others.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holon_protocol::kind::{self, Kind};
use holon_protocol::{DataItem, ItemId, ProcessId};
use holon_unit::tasks::Tasks;
use tokio::sync::{Semaphore, oneshot};
use url::Url;

use crate::crank::driver::Driver;
use crate::crank::outgoing::Assign;
use crate::crank::step::{assignment_accepted, forwarded_accepted};
use crate::crank::task::{Forwarded, ForwardedKind, ProcessRecord, Task, Work};
use crate::error::Refusal;
use crate::locate::Directory;
use crate::peers::{PeerError, Schedulers};

/// Most client items forwarded at a time.
pub const MAX_FORWARDING: usize = 256;
/// Most forwarded items remembered, to recognise those that a client repeats.
pub const MAX_SEEN: usize = 50_000;
/// Items up to this size are verified on the server's own threads, in bytes; larger ones where blocking is allowed.
const INLINE_VERIFY_BYTES: usize = 64 * 1024;
/// Text of the answer to anything that is not a signed data item.
pub const NOT_AN_ITEM: &str = "'body': A valid and signed data item must be provided as the body.";

/// Takes in what clients send. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    driver: Driver,
    directory: Directory,
    schedulers: Schedulers,
    tasks: Tasks,
    forwarding: Arc<Semaphore>,
    seen: Arc<Mutex<Seen>>,
    push_boots: bool,
    refuse_from_process: bool,
}

/// The items forwarded last: whose push this run of the program has taken care of, or is taking care of.
#[derive(Debug, Default)]
struct Seen {
    items: HashSet<ItemId>,
    order: VecDeque<ItemId>,
}

impl Seen {
    /// Adds an item; whether it was there already.
    fn insert(&mut self, item: ItemId) -> bool {
        if !self.items.insert(item) {
            return true;
        }
        self.order.push_back(item);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
        false
    }
}

/// Parses a body and verifies its signature.
pub async fn verified(raw: Bytes) -> Result<DataItem, Refusal> {
    let parsed = if raw.len() <= INLINE_VERIFY_BYTES {
        DataItem::parse_verified(raw)
    } else {
        let parse = tokio::task::spawn_blocking(move || DataItem::parse_verified(raw));
        parse.await.map_err(|_| Refusal::Stopping)?
    };
    parsed.map_err(|error| Refusal::Invalid(format!("{NOT_AN_ITEM} ({error})")))
}

impl Ingest {
    /// Forwards through `driver`'s queue.
    pub fn new(
        driver: Driver,
        directory: Directory,
        schedulers: Schedulers,
        tasks: Tasks,
        push_boots: bool,
        refuse_from_process: bool,
    ) -> Self {
        let forwarding = Arc::new(Semaphore::new(MAX_FORWARDING));
        let seen = Arc::default();
        Self { driver, directory, schedulers, tasks, forwarding, seen, push_boots, refuse_from_process }
    }

    /// `POST /` with an item; its id, once the scheduler has accepted it.
    pub async fn item(&self, raw: Bytes) -> Result<ItemId, Refusal> {
        let item = verified(raw).await?;
        let (forwarded, scheduler) = self.address(&item).await?;
        let this = self.clone();
        self.detached(async move { this.forward(item, forwarded, scheduler).await }).await
    }

    /// `POST /?process-id&assign`; the id of the assignment.
    pub async fn assignment(&self, assign: Assign) -> Result<ItemId, Refusal> {
        let this = self.clone();
        self.detached(async move { this.assign(assign).await }).await
    }

    /// Checks what the item is and finds where it goes.
    async fn address(&self, item: &DataItem) -> Result<(Forwarded, Url), Refusal> {
        let tags = item.tags();
        if !tags.contains("Data-Protocol", "ao") {
            return Err(Refusal::Invalid("Tag 'Data-Protocol': must contain 'ao'".into()));
        }
        let kind = kind::of(tags)
            .ok_or_else(|| Refusal::Invalid("Tag 'Type': must be either 'Process' or 'Message'".into()))?;
        if self.refuse_from_process && tags.get("From-Process").is_some() {
            return Err(Refusal::Forbidden("items of clients may not carry a From-Process tag here".into()));
        }
        let target = item.target().map(ProcessId::from_bytes);
        match kind {
            Kind::Message => {
                let process = target.ok_or_else(|| Refusal::Invalid("a Message must have a target process".into()))?;
                let scheduler = self.located(process).await?;
                Ok((Forwarded { item: item.id(), kind: ForwardedKind::Message { process } }, scheduler))
            }
            Kind::Process => {
                let wallet = tags
                    .get("Scheduler")
                    .ok_or_else(|| Refusal::Invalid("No Scheduler tag found on 'Process' DataItem".into()))?;
                let wallet = wallet.parse().map_err(|error| Refusal::Invalid(format!("Tag 'Scheduler': {error}")))?;
                let module = tags.get("Module").unwrap_or_default().to_owned();
                let scheduler = self.directory.scheduler(wallet).await?;
                let record = ProcessRecord { module, scheduler: wallet };
                let kind = ForwardedKind::Process { target, record, boot: self.push_boots };
                Ok((Forwarded { item: item.id(), kind }, scheduler))
            }
        }
    }

    async fn located(&self, process: ProcessId) -> Result<Url, Refusal> {
        let located = self.directory.process(process).await?;
        located.map(|located| located.url).ok_or_else(|| Refusal::Unknown(format!("Process {process} was not found")))
    }

    async fn forward(&self, item: DataItem, forwarded: Forwarded, scheduler: Url) -> Result<ItemId, Refusal> {
        let _permit = self.admit().await?;
        let id = forwarded.item;
        let task = Task { root: Some(id), work: Work::Confirm(forwarded.clone()) };
        let (intent, task) = self.driver.intend(task).await?;
        let seen = self.seen().insert(id);
        let error = match self.schedulers.post_item(&scheduler, item.raw().clone()).await {
            Ok(_) => {
                self.driver.fulfil(intent, forwarded_accepted(&forwarded)).await?;
                return Ok(id);
            }
            Err(error) => error,
        };
        if error.is_ambiguous() {
            self.driver.release(intent, &task);
            return Err(error.into());
        }
        // A client that did not hear our answer repeats its item. That counts once, and is as good as accepted.
        match self.is_there(&forwarded, &scheduler).await {
            Ok(true) if seen => self.driver.withdraw(intent).await?,
            Ok(true) => self.driver.fulfil(intent, forwarded_accepted(&forwarded)).await?,
            Ok(false) => {
                self.seen().items.remove(&id);
                self.driver.withdraw(intent).await?;
                return Err(error.into());
            }
            Err(_) => {
                self.driver.release(intent, &task);
                return Err(error.into());
            }
        }
        Ok(id)
    }

    /// Whether the scheduler has the item.
    async fn is_there(&self, forwarded: &Forwarded, scheduler: &Url) -> Result<bool, PeerError> {
        Ok(match &forwarded.kind {
            ForwardedKind::Message { process } => {
                self.schedulers.assignment(scheduler, forwarded.item, *process).await?.is_some()
            }
            ForwardedKind::Process { .. } => self.schedulers.process(scheduler, forwarded.item.into()).await?.is_some(),
        })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn assign(&self, assign: Assign) -> Result<ItemId, Refusal> {
        let scheduler = self.located(assign.process).await?;
        let _permit = self.admit().await?;
        let work = Work::ConfirmAssignment { process: assign.process, message: assign.message };
        let (intent, task) = self.driver.intend(Task { root: None, work }).await?;
        match self.schedulers.post_assignment(&scheduler, &assign).await {
            Ok(id) => {
                self.driver.fulfil(intent, assignment_accepted(assign.process, id, true)).await?;
                Ok(id.into())
            }
            Err(error) => {
                if error.is_ambiguous() {
                    self.driver.release(intent, &task);
                } else {
                    self.driver.withdraw(intent).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn admit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        if self.driver.is_full() {
            return Err(Refusal::Full("too much is waiting to be pushed; try again later".into()));
        }
        self.forwarding.acquire().await.map_err(|_| Refusal::Stopping)
    }

    /// Runs `work` to its end even if the client goes away meanwhile.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        if self.tasks.is_stopping() {
            return Err(Refusal::Stopping);
        }
        let (sender, answer) = oneshot::channel();
        let stopping = self.tasks.stopping();
        self.tasks.spawn("forward", async move {
            tokio::select! {
                result = work => {
                    // A client that went away does not need the answer.
                    let _ = sender.send(result);
                }
                () = stopping.cancelled() => {}
            }
        });
        answer.await.map_err(|_| Refusal::Stopping)?
    }
}
