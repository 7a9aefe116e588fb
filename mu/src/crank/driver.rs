//! The shell of the crank: performs effects, stores stages, wakes what is due.
//!
//! One task of the service runs [`Driver::run`], which starts a worker for every outbox task the dispatcher releases. A
//! worker takes one task as far as it goes: loads it, performs its effects, commits what follows. When the service
//! stops, workers are dropped wherever they are; the outbox knows the last stage.
//!
//! | module | what it does |
//! |---|---|
//! | `intents` | what was promised to a client before its item is forwarded |
//! | `follow` | storing what follows, within the budgets |
//! | `letters` | what was given up, and taking it up again |
//! | `sharing` | what comes from and goes to other messengers with the same outbox |

mod assignments;
mod births;
mod follow;
mod intents;
mod letters;
mod sharing;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holon_protocol::{ItemId, Timestamp};
use holon_unit::clock::Clock;
use holon_unit::tasks::Tasks;
use holon_unit::trace_context::MESSAGES;
use tokio::sync::{Notify, oneshot};
use tracing::Instrument;

use super::budget::{Account, Accounts};
use super::dispatch::{Dispatcher, Limits, Verdict};
use super::step::{Effect, Fault, Next, Outcome, Policy, step, unsent};
use super::task::{Task, TaskId};
use super::world::Outside;
use crate::births::{Births, within_lineage};
use crate::metrics::Metrics;
use crate::outbox::{Changes, Durability, Expected, LOAD_PAGE_TASKS, Load, Outbox, OutboxError};
use crate::peers::within_trace;
use crate::trace::{self, Event, What};

pub use follow::CronResult;
use intents::Unresolved;
pub use intents::{
    FEW_UNRESOLVED, MAX_UNRESOLVED_OF_STRANGERS, MAX_UNRESOLVED_PER_SCHEDULER, MAX_UNRESOLVED_PER_STRANGER,
    UNRESOLVED_RESERVE,
};
pub use letters::RetryError;
use sharing::Turn;

/// Most tasks the outbox holds before new client items are refused.
pub const MAX_QUEUED_TASKS: usize = 1_000_000;
/// Wait before the store is tried again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Longest wait of the loop when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// Between two looks whether this messenger may start something again.
const UNHELD_PAUSE: Duration = Duration::from_millis(200);

/// The crank. Cheap to clone.
#[derive(Clone)]
pub struct Driver(Arc<Inner>);

struct Inner {
    outbox: Arc<dyn Outbox>,
    outside: Arc<dyn Outside>,
    policy: Policy,
    limits: Limits,
    /// Whether what happens to items is written down.
    traced: bool,
    births: Births,
    /// For what others see; when to try again is decided by the computer's time.
    clock: Clock,
    dispatcher: Mutex<Dispatcher>,
    /// What each push has had. Locked after the dispatcher, if both are.
    accounts: Mutex<Accounts>,
    /// Pushes that are over, whose accounts are still stored.
    settled: Mutex<Vec<ItemId>>,
    turns: Mutex<HashMap<TaskId, oneshot::Sender<()>>>,
    /// Client items whose scheduler is being asked whether it took them.
    confirming: Mutex<HashMap<ItemId, TaskId>>,
    /// The same, and assignments, by scheduler.
    unresolved: Mutex<Unresolved>,
    /// Intents of which something is under way. Held for writing while strays are looked for.
    intents: tokio::sync::RwLock<()>,
    intended: Mutex<HashSet<TaskId>>,
    /// When the newest thing happened that may have left a stray, as long as strays are being looked for.
    straying: Mutex<Option<Instant>>,
    /// Held while a dead letter is taken up again.
    retrying: tokio::sync::Mutex<()>,
    wake: Notify,
    tasks: Tasks,
    metrics: Metrics,
}

/// Now, in milliseconds of the computer's time.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a [`Driver`] works with.
pub struct Parts {
    /// Where tasks are kept.
    pub outbox: Arc<dyn Outbox>,
    /// Everybody else.
    pub outside: Arc<dyn Outside>,
    /// Choices the specification leaves.
    pub policy: Policy,
    /// Limits and budgets.
    pub limits: Limits,
    /// Whether what happens to items is written down.
    pub traced: bool,
    /// Where processes that wake by themselves are announced.
    pub births: Births,
    /// What time it is, for what others see.
    pub clock: Clock,
    /// Owner of background tasks.
    pub tasks: Tasks,
    /// Counters.
    pub metrics: Metrics,
}

impl Driver {
    /// A crank over its outbox, with the tasks that are left in it.
    pub async fn load(parts: Parts) -> Result<Self, OutboxError> {
        let Parts { outbox, outside, policy, limits, traced, births, clock, tasks, metrics } = parts;
        let driver = Self(Arc::new(Inner {
            outbox,
            outside,
            policy,
            limits,
            traced,
            births,
            clock,
            dispatcher: Mutex::new(Dispatcher::new(limits)),
            accounts: Mutex::default(),
            settled: Mutex::default(),
            turns: Mutex::default(),
            confirming: Mutex::default(),
            unresolved: Mutex::default(),
            intents: tokio::sync::RwLock::default(),
            intended: Mutex::default(),
            straying: Mutex::default(),
            retrying: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            tasks,
            metrics,
        }));
        // What is in a shared outbox comes with the shares.
        if driver.0.outbox.shared().is_none() {
            driver.resume().await?;
        }
        Ok(driver)
    }

    /// Takes in everything that is left in the outbox.
    async fn resume(&self) -> Result<(), OutboxError> {
        let outbox = &self.0.outbox;
        let accounts = outbox.accounts().await?;
        self.take_in(Load { tasks: Vec::new(), accounts });
        let mut after = None;
        loop {
            let tasks = outbox.tasks(after, LOAD_PAGE_TASKS).await?;
            let Some(&(last, _)) = tasks.last() else { break };
            self.take_in(Load { tasks, accounts: Vec::new() });
            after = Some(last);
        }
        let settled = lock(&self.0.accounts).settle();
        lock(&self.0.settled).extend(settled);
        let queued = self.queued();
        if queued > 0 {
            tracing::info!(tasks = queued, "resuming what was left in the outbox");
        }
        Ok(())
    }

    /// Starts whatever is due, until the service stops.
    pub async fn run(self) {
        let stopping = self.0.tasks.stopping();
        loop {
            if !self.holds() {
                // Others may be at work on it.
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(UNHELD_PAUSE) => continue,
                }
            }
            let (started, timer) = {
                let mut dispatcher = lock(&self.0.dispatcher);
                (dispatcher.start(now()), dispatcher.next_timer())
            };
            // Some that were held may have waited long enough.
            self.give_turns();
            for id in started {
                let worker = self.clone();
                let stopping = stopping.clone();
                self.0.tasks.spawn("crank worker", async move {
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = worker.work(id) => {}
                    }
                });
            }
            let wait = timer.map_or(IDLE, |at| Duration::from_millis(at.0.saturating_sub(now().0)).min(IDLE));
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Number of tasks that are left.
    pub fn queued(&self) -> usize {
        lock(&self.0.dispatcher).len()
    }

    /// What a push has had, `None` when nothing of it is left to do.
    pub fn account(&self, origin: ItemId) -> Option<Account> {
        lock(&self.0.accounts).of(origin)
    }

    /// What time it is, as others see it.
    pub fn time(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Whether the result of this item is, or was, pushed.
    pub async fn is_pushed(&self, item: ItemId) -> Result<bool, OutboxError> {
        self.0.outbox.is_claimed(item).await
    }

    /// The limits it works within.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Brings the gauges up to date.
    pub fn observe(&self) {
        let (queued, paced) = {
            let dispatcher = lock(&self.0.dispatcher);
            (dispatcher.len(), dispatcher.paced())
        };
        let (pushes, largest) = lock(&self.0.accounts).sizes();
        self.0.metrics.queued(queued);
        self.0.metrics.unresolved(lock(&self.0.unresolved).len());
        self.0.metrics.pushes(pushes, largest, paced);
    }

    /// Whether the outbox takes no more client items.
    pub fn is_full(&self) -> bool {
        self.queued() >= MAX_QUEUED_TASKS
    }

    /// These events, now; none when nothing is written down.
    fn told(&self, told: Vec<(ItemId, What)>) -> Vec<(ItemId, Event)> {
        if !self.0.traced {
            return Vec::new();
        }
        let at = self.0.clock.now();
        told.into_iter().map(|(item, what)| (item, Event { at, what })).collect()
    }

    /// Performs an effect; `None`: it takes long, and so do so many others that this one has to be stopped for now.
    async fn perform(&self, id: TaskId, effect: &Effect) -> Option<Outcome> {
        let performed = self.0.outside.perform(effect);
        if matches!(effect, Effect::Sign { .. }) {
            return Some(performed.await);
        }
        tokio::pin!(performed);
        let patience = Duration::from_millis(self.0.limits.patience_ms);
        if let Ok(outcome) = tokio::time::timeout(patience, &mut performed).await {
            return Some(outcome);
        }
        let stays = lock(&self.0.dispatcher).slow(id);
        self.hand_on();
        if stays { Some(performed.await) } else { None }
    }

    async fn work(&self, id: TaskId) {
        while let Err(error) = self.attempt(id).await {
            if matches!(error, OutboxError::Lost) {
                tracing::info!(task = %id, "another messenger goes on with this task");
                self.gone(id);
                return;
            }
            tracing::error!(task = %id, %error, "the outbox failed; trying again");
            self.0.metrics.store_failed();
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    /// Takes a task as far as it goes.
    async fn attempt(&self, id: TaskId) -> Result<(), OutboxError> {
        let Some(task) = self.0.outbox.task(id).await? else {
            self.gone(id);
            return Ok(());
        };
        // Whoever is met on the way is met by its lineage, whatever it is that is asked.
        within_lineage(task.descent.lineage(), self.advance(id, task)).await
    }

    async fn advance(&self, id: TaskId, mut task: Task) -> Result<(), OutboxError> {
        let mut effect = task.effect_after(lock(&self.0.dispatcher).failures(id));
        loop {
            while !self.holds() {
                tokio::time::sleep(UNHELD_PAUSE).await;
            }
            let begun = match (&effect, task.posted_to()) {
                (Effect::Post { .. } | Effect::PostAssign { .. }, Some((process, item))) => {
                    Some(self.posts(id, process, item).await?)
                }
                _ => None,
            };
            let (traceparent, span) = (task.traceparent(), task.span());
            tracing::debug!(target: MESSAGES, parent: &span, task = %id, stage = task.stage(), "works on it");
            let performing = within_trace(traceparent.clone(), self.perform(id, &effect)).instrument(span.clone());
            let (performed, expected) = match &effect {
                Effect::Pull { process, .. } => tokio::join!(performing, self.expected(id, *process)),
                _ => (performing.await, Ok(Expected::default())),
            };
            let Some(mut outcome) = performed else {
                tracing::debug!(task = %id, stage = task.stage(), "takes long; waits for a place among the slow ones");
                return Ok(());
            };
            match (begun, &outcome) {
                // Neither now nor before was anything sent that somebody would have to wait for.
                (Some(true), Outcome::Crowded | Outcome::Unsent(_)) => self.posted_nothing(id).await,
                // It may have been there since an earlier attempt; where, the scheduler says when it is asked.
                (Some(false), Outcome::Accepted(None)) => {
                    if let Some(find) = task.find() {
                        let found = within_trace(traceparent, self.perform(id, &find)).instrument(span.clone()).await;
                        let Some(found) = found else { return Ok(()) };
                        if let Outcome::There(standing) = found {
                            outcome = Outcome::Accepted(standing.nonce);
                        }
                    }
                }
                _ => {}
            }
            if matches!(outcome, Outcome::Assigned(..)) {
                match self.unclaimed(Some(id), &task, &effect, outcome).await? {
                    Some(unclaimed) => outcome = unclaimed,
                    None => return Ok(()),
                }
            }
            let error = match &outcome {
                Outcome::Result(result) => trace::error_of(result),
                _ => None,
            };
            if let (Effect::Pull { process, .. }, Outcome::Result(_)) = (&effect, &outcome)
                && !self.has_turn(id, *process, expected?).await?
            {
                return Ok(());
            }
            let faults = lock(&self.0.dispatcher).faults(id);
            match step(&task, faults, self.0.policy, &effect, outcome) {
                Next::Effect(next) => effect = next,
                Next::Stage(work) => {
                    let traces = self.told(trace::of_stage(&task, &work));
                    task.work = work;
                    let changes = Changes { put: vec![(id, task.clone())], traces, ..Changes::default() };
                    self.0.outbox.commit(changes, Durability::Synced).await?;
                    lock(&self.0.dispatcher).progressed(id);
                    effect = task.effect();
                }
                Next::Done(follow) => {
                    let is_assigned = follow.once.is_some_and(|once| once.another);
                    return match self.end(id, &task, follow, error).await {
                        Err(OutboxError::Claimed) if is_assigned => {
                            let reason = "somebody else took this assignment, this moment".into();
                            self.failed(id, &task, Fault::Task, reason).await
                        }
                        ended => ended,
                    };
                }
                Next::Again => {
                    lock(&self.0.dispatcher).again(id, now());
                    self.hand_on();
                    return Ok(());
                }
                Next::Crowded => {
                    lock(&self.0.dispatcher).crowded(id, now());
                    self.hand_on();
                    return Ok(());
                }
                Next::Retry(fault, reason) => return self.failed(id, &task, fault, reason).await,
                Next::Dead(reason, follow) => return self.bury(id, &task, reason, follow).await,
            }
        }
    }

    /// Takes note of a failure: the task is tried again later, or given up.
    async fn failed(&self, id: TaskId, task: &Task, fault: Fault, reason: String) -> Result<(), OutboxError> {
        let (verdict, failures) = {
            let mut dispatcher = lock(&self.0.dispatcher);
            (dispatcher.failed(id, fault, now()), dispatcher.failures(id))
        };
        self.0.metrics.failed(task, fault, failures);
        // What was answered for good is not on its way into the log: nobody has to wait for it.
        if fault == Fault::Task && task.posted_to().is_some() {
            self.posted_nothing(id).await;
        }
        match verdict {
            Verdict::RetryAt(_) => {
                let stage = task.stage();
                tracing::warn!(parent: &task.span(), task = %id, stage, failures, reason, "failed, will try again");
                self.hand_on();
                Ok(())
            }
            Verdict::GiveUp => self.bury(id, task, reason, unsent(task, self.0.policy)).await,
        }
    }

    /// Waits until no earlier result of the same process has to be pushed first.
    async fn turn(&self, id: TaskId) -> Turn {
        let (sender, turn) = oneshot::channel();
        // Registered before asking, so that a turn given in between is not missed.
        lock(&self.0.turns).insert(id, sender);
        let (put_off, is_turn) = {
            let mut dispatcher = lock(&self.0.dispatcher);
            let put_off = dispatcher.put_off(id, now());
            (put_off, !put_off && dispatcher.fetched(id))
        };
        if put_off || is_turn {
            lock(&self.0.turns).remove(&id);
            if put_off {
                self.hand_on();
            }
            return if is_turn { Turn::Now } else { Turn::PutOff };
        }
        // It may wait for something to be tried again, or for a time.
        self.hand_on();
        // The sender is only dropped together with the driver.
        let _ = turn.await;
        Turn::Waited
    }

    /// Gives turns and starts what the last change made possible.
    fn hand_on(&self) {
        self.give_turns();
        self.0.wake.notify_one();
    }

    /// Lets those go on whose turn has come.
    fn give_turns(&self) {
        let mut dispatcher = lock(&self.0.dispatcher);
        let (turns, departed) = (dispatcher.take_turns(), dispatcher.take_departed());
        drop(dispatcher);
        self.left(departed);
        let mut waiting = lock(&self.0.turns);
        for id in turns {
            if let Some(sender) = waiting.remove(&id) {
                // A worker that is gone was stopped with the service.
                let _ = sender.send(());
            }
        }
    }
}
