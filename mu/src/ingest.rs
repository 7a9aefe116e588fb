//! What clients send: verified, forwarded to its scheduler, and remembered so that its result is pushed (spec 04 §2, §3).
//!
//! An intent is durable before anything is forwarded and names the item and its scheduler. Whatever happens between the
//! scheduler's acceptance and our next write — a crash, a lost answer — the intent is resolved by asking the scheduler.
//! So one sync per client item is enough, and it is shared with others.
//!
//! Whatever the scheduler answers, an item that it has because of this is pushed, once. Items are public, and answers say little: a
//! scheduler that fails may have had an item for years, one that refuses it may have taken it a moment ago. So what is pushed is
//! claimed in the outbox; what is claimed is not pushed again. Claims give way in the end, and others have outboxes of their own: so
//! neither is what stands in its log since before it came here. What this messenger signed for a process is on its way without a
//! client.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use holon_protocol::kind::{self, Kind};
use holon_protocol::{Address, DataItem, ItemId, ProcessId, Tags};
use holon_unit::tasks::Tasks;
use holon_unit::trace_context::{MESSAGES, TraceId, message_span};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, SemaphorePermit, oneshot};
use tracing::Instrument;
use url::Url;

use crate::api::Body;
use crate::births::within_lineage;
use crate::crank::descent::Descent;
use crate::crank::driver::Driver;
use crate::crank::outgoing::{ASSIGNED_TO_ITSELF, Assign};
use crate::crank::step::{Effect, Outcome, Standing, client_assignment_accepted, forwarded_accepted};
use crate::crank::task::{Forwarded, ForwardedKind, ProcessRecord, Task, TaskId, Toward, Work};
use crate::error::Refusal;
use crate::locate::Directory;
use crate::peers::{Crowd, PeerError, Place, Receipt, Schedulers, within_trace};

/// Most client items forwarded at a time.
pub const MAX_FORWARDING: usize = 256;
/// Most of them that go to schedulers which the operator did not name: however many of those are slow, there are places for the
/// others.
pub const MAX_FORWARDING_TO_STRANGERS: usize = 192;
/// Most client items forwarded at a time to schedulers of one holder of hosts that the operator did not name.
pub const MAX_FORWARDING_PER_STRANGER: usize = 32;
/// Longest a client waits until its item is forwarded, when many are or when the same one is.
pub const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Items up to this size are verified on the server's own threads, in bytes; larger ones where blocking is allowed.
const INLINE_VERIFY_BYTES: usize = 64 * 1024;
/// Most requests that wait while another one forwards the same thing.
pub const MAX_WAITING_FOR_ONE: usize = 4;
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
    strangers: Arc<Semaphore>,
    crowd: Crowd,
    alone: Alone,
    own: Address,
    push_boots: bool,
    refuse_from_process: bool,
}

/// What is forwarded: an item, or an assignment of an item to a process.
type Subject = (ItemId, Option<ProcessId>);

/// Places among what is forwarded, until they are dropped.
struct Admission<'a> {
    _stranger: Option<(Place, SemaphorePermit<'a>)>,
    _permit: SemaphorePermit<'a>,
}

fn crowded() -> Refusal {
    Refusal::Full("too many items are on their way to their schedulers; try again later".into())
}

async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Refusal> {
    let permit = tokio::time::timeout(ADMISSION_TIMEOUT, places.acquire()).await;
    permit.map_err(|_| crowded())?.map_err(|_| Refusal::Stopping)
}

/// Lets one request at a time forward the same thing. Clones share it.
#[derive(Debug, Clone, Default)]
struct Alone(Arc<Mutex<HashMap<Subject, Arc<AsyncMutex<()>>>>>);

/// The only request that forwards this, until it is dropped.
struct Held {
    alone: Alone,
    subject: Subject,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Alone {
    async fn hold(&self, subject: Subject) -> Result<Held, Refusal> {
        let busy = || Refusal::Full("this item is being forwarded already; try again later".into());
        let lock = {
            let mut subjects = self.subjects();
            let lock = subjects.entry(subject).or_default();
            // The map has it, and whoever holds it or waits for it.
            if Arc::strong_count(lock) > 1 + 1 + MAX_WAITING_FOR_ONE {
                return Err(busy());
            }
            Arc::clone(lock)
        };
        let guard = tokio::time::timeout(ADMISSION_TIMEOUT, lock.lock_owned()).await;
        // Made in any case, so that dropping it tidies up.
        let held = Held { alone: self.clone(), subject, guard: guard.ok() };
        if held.guard.is_some() { Ok(held) } else { Err(busy()) }
    }

    fn subjects(&self) -> MutexGuard<'_, HashMap<Subject, Arc<AsyncMutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut subjects = self.alone.subjects();
        drop(self.guard.take());
        if subjects.get(&self.subject).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            subjects.remove(&self.subject);
        }
    }
}

/// What a scheduler takes an item for: it reads the first tag named `Type` or `type` and nothing else. An item that it
/// files as something else than what it is forwarded as would never have a result.
fn scheduled_as(tags: &Tags) -> Option<Kind> {
    match tags.iter().find(|tag| tag.name == "Type" || tag.name == "type")?.value.as_str() {
        "Process" => Some(Kind::Process),
        "Message" => Some(Kind::Message),
        _ => None,
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
    /// Forwards through `driver`'s queue. `own` is the messenger's wallet.
    pub fn new(
        driver: Driver,
        directory: Directory,
        schedulers: Schedulers,
        tasks: Tasks,
        own: Address,
        push_boots: bool,
        refuse_from_process: bool,
    ) -> Self {
        let [forwarding, strangers] =
            [MAX_FORWARDING, MAX_FORWARDING_TO_STRANGERS].map(|places| Arc::new(Semaphore::new(places)));
        let crowd = Crowd::new(MAX_FORWARDING_PER_STRANGER, MAX_FORWARDING_TO_STRANGERS);
        let alone = Alone::default();
        Self {
            driver,
            directory,
            schedulers,
            tasks,
            forwarding,
            strangers,
            crowd,
            alone,
            own,
            push_boots,
            refuse_from_process,
        }
    }

    /// `POST /` with an item; its id, once the scheduler has accepted it. `trace` is the client's, if it named one.
    pub async fn item(&self, body: Body, trace: Option<TraceId>) -> Result<ItemId, Refusal> {
        let item = verified(body.bytes.clone()).await?;
        let descent = Descent { trace, ..Descent::of_origin(item.id()) };
        let traceparent = descent.trace_id().map(|trace| trace.traceparent(item.id().as_bytes()));
        let to = item.target().map_or(item.id(), ItemId::from_bytes);
        let span = message_span("mu", descent.trace_id(), to, item.id());
        let this = self.clone();
        let work = async move {
            let (forwarded, scheduler) = this.address(&item).await?;
            let accepted = this.forward(item, forwarded, scheduler, descent).await;
            // Its memory is taken as long as the item is: the client may be gone long before.
            drop(body);
            tracing::debug!(target: MESSAGES, accepted = accepted.is_ok(), "forwarded for a client");
            accepted
        };
        let work = Box::pin(within_lineage(descent.lineage(), within_trace(traceparent, work).instrument(span)));
        self.detached(work).await
    }

    /// `POST /?process-id&assign`; the id of the assignment.
    pub async fn assignment(&self, assign: Assign, trace: Option<TraceId>) -> Result<ItemId, Refusal> {
        if assign.is_to_itself() {
            return Err(Refusal::Invalid(ASSIGNED_TO_ITSELF.into()));
        }
        let this = self.clone();
        let traceparent = trace.map(|trace| trace.traceparent(assign.message.as_bytes()));
        // What is assigned may be anybody's: it has no lineage of its own here, and that of the process is its alone.
        let lineage = Some(assign.process.into());
        let work = within_trace(traceparent, async move { this.assign(assign, trace).await });
        self.detached(Box::pin(within_lineage(lineage, work))).await
    }

    /// Checks what the item is and finds where it goes.
    async fn address(&self, item: &DataItem) -> Result<(Forwarded, Url), Refusal> {
        let tags = item.tags();
        if !tags.contains("Data-Protocol", "ao") {
            return Err(Refusal::Invalid("Tag 'Data-Protocol': must contain 'ao'".into()));
        }
        let kind = kind::of(tags)
            .ok_or_else(|| Refusal::Invalid("Tag 'Type': must be either 'Process' or 'Message'".into()))?;
        if scheduled_as(tags) != Some(kind) {
            return Err(Refusal::Invalid(
                "Tag 'Type': the first tag named Type or type must be either 'Process' or 'Message'".into(),
            ));
        }
        if self.refuse_from_process && tags.get("From-Process").is_some() {
            return Err(Refusal::Forbidden("items of clients may not carry a From-Process tag here".into()));
        }
        let target = item.target().map(ProcessId::from_bytes);
        let came = Some(self.driver.time());
        match kind {
            Kind::Message => {
                let process = target.ok_or_else(|| Refusal::Invalid("a Message must have a target process".into()))?;
                let scheduler = self.located(process).await?;
                let toward = Some(self.toward(&scheduler));
                let kind = ForwardedKind::Message { process };
                Ok((Forwarded { item: item.id(), kind, toward, came }, scheduler))
            }
            Kind::Process => {
                let wallet = tags
                    .get("Scheduler")
                    .ok_or_else(|| Refusal::Invalid("No Scheduler tag found on 'Process' DataItem".into()))?;
                let wallet = wallet.parse().map_err(|error| Refusal::Invalid(format!("Tag 'Scheduler': {error}")))?;
                let scheduler = self.directory.scheduler(wallet).await?;
                let record = ProcessRecord::of_tags(tags, wallet);
                let kind = ForwardedKind::Process { target, record, boot: self.push_boots };
                let toward = Some(self.toward(&scheduler));
                Ok((Forwarded { item: item.id(), kind, toward, came }, scheduler))
            }
        }
    }

    fn toward(&self, scheduler: &Url) -> Toward {
        let stranger = !self.schedulers.http().is_configured(scheduler);
        Toward { origin: scheduler.origin().ascii_serialization(), stranger }
    }

    async fn located(&self, process: ProcessId) -> Result<Url, Refusal> {
        let located = self.directory.process(process).await?;
        located.map(|located| located.url).ok_or_else(|| Refusal::Unknown(format!("Process {process} was not found")))
    }

    async fn forward(
        &self,
        item: DataItem,
        forwarded: Forwarded,
        scheduler: Url,
        descent: Descent,
    ) -> Result<ItemId, Refusal> {
        let id = forwarded.item;
        // Before it takes a place: whoever repeats one item a thousand times waits for itself, not others for it.
        let _held = self.alone.hold((id, None)).await?;
        let _admission = self.admit(&scheduler).await?;
        // What it signs for a process says which; its wallet may sign for its operator too.
        let own = item.owner_address() == self.own && item.tags().get("From-Process").is_some();
        if own || self.driver.is_pushed(id).await? {
            return self.pushed_without(item, &forwarded, &scheduler).await;
        }
        let task = Task { root: Some(id), descent, work: Work::Confirm(forwarded.clone()) };
        if let Some(confirming) = self.driver.confirming(id) {
            return self.repeat(item, forwarded, scheduler, task, confirming).await;
        }
        let (intent, task) = self.driver.intend(task).await?;
        match self.post(&scheduler, &item).await {
            Ok(receipt) => {
                self.driver.fulfil(intent, &task, forwarded_accepted(&forwarded, descent, receipt.nonce)).await;
                Ok(id)
            }
            Err(error) if error.is_ambiguous() => {
                self.driver.release(intent, &task);
                Err(Refusal::of_item(error))
            }
            Err(error) if error.is_unsent() || error.is_limit() => {
                self.driver.withdraw(intent).await;
                Err(Refusal::of_item(error))
            }
            // Whoever refuses it may have it all the same: something in between may have repeated the request.
            Err(error) => match self.standing(&forwarded, &scheduler).await {
                Ok(Some(standing)) if forwarded.put(standing.timestamp) => {
                    self.driver.fulfil(intent, &task, forwarded_accepted(&forwarded, descent, standing.nonce)).await;
                    Ok(id)
                }
                // It was pushed when it came, or is for others to push.
                Ok(Some(_)) => {
                    tracing::info!(item = %id, "its scheduler has had it for long; it is not pushed");
                    self.driver.withdraw(intent).await;
                    Ok(id)
                }
                Ok(None) => {
                    self.driver.withdraw(intent).await;
                    Err(Refusal::of_item(error))
                }
                Err(silent) => {
                    tracing::warn!(item = %id, %silent, "a scheduler that refused an item does not say whether it has it");
                    self.driver.release(intent, &task);
                    Err(error.into())
                }
            },
        }
    }

    /// Forwards an item whose result is pushed without this: this messenger signed it, or it came before.
    async fn pushed_without(&self, item: DataItem, forwarded: &Forwarded, scheduler: &Url) -> Result<ItemId, Refusal> {
        match self.post(scheduler, &item).await {
            Ok(_) => Ok(forwarded.item),
            Err(error) => self.already_there(error, forwarded, scheduler).await.map(|_| forwarded.item),
        }
    }

    async fn post(&self, scheduler: &Url, item: &DataItem) -> Result<Receipt, PeerError> {
        let posted = self.schedulers.post_item(scheduler, item.raw().clone()).await;
        posted.inspect_err(|error| self.directory.doubt(scheduler, error))
    }

    /// Posts an item again whose earlier post got no clear answer. That post's task pushes the result, unless it is given up this
    /// moment: so what follows is stored, and whoever comes second finds it claimed.
    async fn repeat(
        &self,
        item: DataItem,
        forwarded: Forwarded,
        scheduler: Url,
        task: Task,
        confirming: TaskId,
    ) -> Result<ItemId, Refusal> {
        let nonce = match self.post(&scheduler, &item).await {
            Ok(receipt) => Some(receipt.nonce),
            Err(error) => {
                let standing = self.already_there(error, &forwarded, &scheduler).await?;
                forwarded.put(standing.timestamp).then_some(standing.nonce)
            }
        };
        if let Some(nonce) = nonce {
            self.driver.came_true(&task, forwarded_accepted(&forwarded, task.descent, nonce)).await?;
        }
        self.driver.hurry(confirming);
        Ok(forwarded.item)
    }

    /// A client that did not hear our answer repeats its item; a refusal of what is there is as good as acceptance.
    async fn already_there(
        &self,
        refusal: PeerError,
        forwarded: &Forwarded,
        scheduler: &Url,
    ) -> Result<Standing, Refusal> {
        if refusal.is_ambiguous() || refusal.is_unsent() || refusal.is_limit() {
            return Err(Refusal::of_item(refusal));
        }
        match self.standing(forwarded, scheduler).await {
            Ok(Some(standing)) => Ok(standing),
            Ok(None) => Err(Refusal::of_item(refusal)),
            Err(_) => Err(refusal.into()),
        }
    }

    /// Where the item stands in its log, if the scheduler has it.
    async fn standing(&self, forwarded: &Forwarded, scheduler: &Url) -> Result<Option<Standing>, PeerError> {
        let process = match &forwarded.kind {
            ForwardedKind::Message { process } => *process,
            ForwardedKind::Process { .. } => forwarded.item.into(),
        };
        self.schedulers.standing(scheduler, forwarded.item, process).await
    }

    async fn assign(&self, assign: Assign, trace: Option<TraceId>) -> Result<ItemId, Refusal> {
        let scheduler = self.located(assign.process).await?;
        // The same item may have been assigned before; only what comes from here on can be ours. Another client that asks
        // for the same waits meanwhile, so that it is ours.
        let _held = self.alone.hold((assign.message, Some(assign.process))).await?;
        let _admission = self.admit(&scheduler).await?;
        let first = Some(self.schedulers.next_nonce(&scheduler, assign.process).await?);
        let toward = Some(self.toward(&scheduler));
        let work = Work::ConfirmAssignment { process: assign.process, message: assign.message, first, toward };
        let descent = Descent { trace, ..Descent::default() };
        let (intent, task) = self.driver.intend(Task { root: None, descent, work }).await?;
        let posted = self.schedulers.post_assignment(&scheduler, &assign).await;
        match posted.inspect_err(|error| self.directory.doubt(&scheduler, error)) {
            Ok(Receipt { id, nonce }) => {
                let own = Outcome::Assigned(id.into(), nonce);
                let effect = Effect::PostAssign { assign: assign.clone() };
                match self.driver.unclaimed(None, &task, &effect, own).await {
                    Ok(Some(Outcome::Assigned(own, nonce))) => {
                        let follow = client_assignment_accepted(assign.process, own, descent, nonce);
                        self.driver.fulfil(intent, &task, follow).await;
                    }
                    Ok(Some(Outcome::Claimed)) => self.driver.withdraw(intent).await,
                    // Who has found this one could not hear which was its own; neither can we say now.
                    _ => self.driver.release(intent, &task),
                }
                Ok(id)
            }
            Err(error) => {
                if error.is_ambiguous() {
                    self.driver.release(intent, &task);
                } else {
                    self.driver.withdraw(intent).await;
                }
                Err(Refusal::of_item(error))
            }
        }
    }

    /// A place among everything that is forwarded, and if this scheduler is a stranger, among what is forwarded to it and to
    /// all strangers.
    async fn admit(&self, scheduler: &Url) -> Result<Admission<'_>, Refusal> {
        if self.driver.is_full() {
            return Err(Refusal::Full("too much is waiting to be pushed; try again later".into()));
        }
        if !self.driver.has_room_toward(&self.toward(scheduler)) {
            return Err(Refusal::Full(
                "this scheduler has yet to say of too many items whether it took them; try again later".into(),
            ));
        }
        let stranger = match self.schedulers.http().is_configured(scheduler) {
            true => None,
            false => Some((self.crowd.enter(scheduler).ok_or_else(crowded)?, place(&self.strangers).await?)),
        };
        Ok(Admission { _stranger: stranger, _permit: place(&self.forwarding).await? })
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
