//! The shell of the crank: performs effects, stores stages, wakes what is due.
//!
//! One task of the service runs [`Driver::run`], which starts a worker for every outbox task the dispatcher releases. A
//! worker takes one task as far as it goes: loads it, performs its effects, commits what follows. When the service
//! stops, workers are dropped wherever they are; the outbox knows the last stage.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holon_protocol::{ItemId, ProcessId, Timestamp};
use holon_unit::tasks::Tasks;
use tokio::sync::{Notify, oneshot};

use super::dispatch::{Dispatcher, Limits, Verdict};
use super::step::{Effect, Follow, Next, Outcome, Policy, step, unsent};
use super::task::{Forwarded, Task, TaskId, Work};
use super::world::World;
use crate::metrics::Metrics;
use crate::outbox::{Changes, DeadLetter, Durability, LOAD_PAGE_TASKS, Letter, Monitor, Outbox, OutboxError};

/// Most tasks the outbox holds before new client items are refused.
pub const MAX_QUEUED_TASKS: usize = 1_000_000;
/// Wait before the store is tried again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Longest wait of the loop when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// The crank. Cheap to clone.
#[derive(Clone)]
pub struct Driver(Arc<Inner>);

struct Inner {
    outbox: Arc<dyn Outbox>,
    world: World,
    policy: Policy,
    dispatcher: Mutex<Dispatcher>,
    turns: Mutex<HashMap<TaskId, oneshot::Sender<()>>>,
    /// Client items whose scheduler is being asked whether it took them.
    confirming: Mutex<HashMap<ItemId, TaskId>>,
    wake: Notify,
    tasks: Tasks,
    metrics: Metrics,
}

/// Now, in milliseconds.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    /// A crank over `outbox`, with the tasks that are left in it.
    pub async fn load(
        outbox: Arc<dyn Outbox>,
        world: World,
        policy: Policy,
        limits: Limits,
        tasks: Tasks,
        metrics: Metrics,
    ) -> Result<Self, OutboxError> {
        let mut dispatcher = Dispatcher::new(limits, None);
        let mut confirming = HashMap::new();
        let mut after = None;
        loop {
            let page = outbox.tasks(after, LOAD_PAGE_TASKS).await?;
            let Some(&(last, _)) = page.last() else { break };
            for (id, task) in &page {
                dispatcher.add(*id, task);
                if let Work::Confirm(Forwarded { item, .. }) = &task.work {
                    confirming.insert(*item, *id);
                }
            }
            after = Some(last);
        }
        if !dispatcher.is_empty() {
            tracing::info!(tasks = dispatcher.len(), "resuming what was left in the outbox");
        }
        metrics.queued(dispatcher.len());
        Ok(Self(Arc::new(Inner {
            outbox,
            world,
            policy,
            dispatcher: Mutex::new(dispatcher),
            turns: Mutex::default(),
            confirming: Mutex::new(confirming),
            wake: Notify::new(),
            tasks,
            metrics,
        })))
    }

    /// Starts whatever is due, until the service stops.
    pub async fn run(self) {
        let stopping = self.0.tasks.stopping();
        loop {
            let (started, timer) = {
                let mut dispatcher = lock(&self.0.dispatcher);
                (dispatcher.start(now()), dispatcher.next_timer())
            };
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

    /// Whether the outbox takes no more client items.
    pub fn is_full(&self) -> bool {
        self.queued() >= MAX_QUEUED_TASKS
    }

    /// Makes an intent durable: a task that only a later run of the program, or [`Self::release`], will perform.
    pub async fn intend(&self, task: Task) -> Result<(TaskId, Task), OutboxError> {
        let id = lock(&self.0.dispatcher).allocate();
        let changes = Changes { put: vec![(id, task.clone())], ..Changes::default() };
        self.0.outbox.commit(changes, Durability::Synced).await?;
        Ok((id, task))
    }

    /// The intent came true: replaces it by what follows. The intent itself is durable, so this need not be; when it
    /// cannot be stored now, the scheduler is asked once more.
    pub async fn fulfil(&self, id: TaskId, task: &Task, follow: Follow) {
        let changes = Changes { remove: vec![id], ..Changes::default() };
        if let Err(error) = self.follow(changes, None, follow, Durability::Buffered).await {
            tracing::error!(task = %id, %error, "what follows from an accepted item could not be stored yet");
            self.0.metrics.store_failed();
            self.release(id, task);
        }
    }

    /// The intent came to nothing. It is removed, if need be later: performing it would push what is not ours to push.
    pub async fn withdraw(&self, id: TaskId) {
        if let Err(error) = self.remove(id).await {
            tracing::error!(task = %id, %error, "an intent could not be withdrawn yet");
            let (this, stopping) = (self.clone(), self.0.tasks.stopping());
            self.0.tasks.spawn("withdraw", async move {
                let removed = async {
                    while this.remove(id).await.is_err() {
                        this.0.metrics.store_failed();
                        tokio::time::sleep(STORE_RETRY).await;
                    }
                };
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = removed => {}
                }
            });
        }
    }

    async fn remove(&self, id: TaskId) -> Result<(), OutboxError> {
        self.0.outbox.commit(Changes { remove: vec![id], ..Changes::default() }, Durability::Buffered).await
    }

    /// Nobody knows what became of the intent: perform its task.
    pub fn release(&self, id: TaskId, task: &Task) {
        lock(&self.0.dispatcher).add(id, task);
        if let Work::Confirm(Forwarded { item, .. }) = &task.work {
            lock(&self.0.confirming).insert(*item, id);
        }
        self.0.wake.notify_one();
    }

    /// The task that asks the scheduler of a client's item whether it took it, if there is one.
    pub fn confirming(&self, item: ItemId) -> Option<TaskId> {
        let id = lock(&self.0.confirming).get(&item).copied()?;
        lock(&self.0.dispatcher).contains(id).then_some(id)
    }

    /// Lets a task that waits for its retry time run now.
    pub fn hurry(&self, id: TaskId) {
        lock(&self.0.dispatcher).hurry(id);
        self.0.wake.notify_one();
    }

    /// Queues what follows from something else than a task, durably.
    pub async fn queue(&self, emitter: ProcessId, follow: Follow, monitor: Option<Monitor>) -> Result<(), OutboxError> {
        let monitors = monitor.map(|monitor| (emitter, Some(monitor))).into_iter().collect();
        self.follow(Changes { monitors, ..Changes::default() }, Some(emitter), follow, Durability::Synced).await
    }

    /// Adds what follows to `changes`, commits, and takes the new tasks in.
    async fn follow(
        &self,
        mut changes: Changes,
        emitter: Option<ProcessId>,
        follow: Follow,
        durability: Durability,
    ) -> Result<(), OutboxError> {
        let Follow { tasks, skipped, processes } = follow;
        let at = now();
        for entry in skipped {
            tracing::warn!(emitter = ?emitter, entry = entry.entry, reason = entry.reason, "outbox entry skipped");
            self.0.metrics.skipped();
            changes.dead.push(DeadLetter {
                at,
                reason: entry.reason.clone(),
                letter: Letter::Entry { emitter, entry },
            });
        }
        let mut new = Vec::with_capacity(tasks.len());
        for task in tasks {
            if let Work::Pull { message, process } = &task.work
                && *message == (*process).into()
            {
                if self.0.outbox.booted(*process).await? {
                    continue;
                }
                changes.boots.push(*process);
            }
            new.push(task);
        }
        for (process, record) in &processes {
            self.0.world.directory.learn(*process, record.clone());
        }
        changes.processes = processes;
        {
            let mut dispatcher = lock(&self.0.dispatcher);
            changes.put.extend(new.into_iter().map(|task| (dispatcher.allocate(), task)));
        }
        let put = changes.put.clone();
        self.0.outbox.commit(changes, durability).await?;
        let mut dispatcher = lock(&self.0.dispatcher);
        for (id, task) in &put {
            dispatcher.add(*id, task);
        }
        self.0.metrics.queued(dispatcher.len());
        drop(dispatcher);
        self.0.wake.notify_one();
        Ok(())
    }

    async fn work(&self, id: TaskId) {
        while let Err(error) = self.attempt(id).await {
            tracing::error!(task = %id, %error, "the outbox failed; trying again");
            self.0.metrics.store_failed();
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    /// Takes a task as far as it goes.
    async fn attempt(&self, id: TaskId) -> Result<(), OutboxError> {
        let Some(mut task) = self.0.outbox.task(id).await? else {
            self.finish(id);
            return Ok(());
        };
        let mut effect = task.effect_after(lock(&self.0.dispatcher).failures(id));
        loop {
            let outcome = self.0.world.perform(&effect).await;
            if matches!(effect, Effect::Pull { .. }) && matches!(outcome, Outcome::Result(_)) {
                self.turn(id).await;
            }
            let failures = lock(&self.0.dispatcher).failures(id);
            match step(&task, failures, self.0.policy, &effect, outcome) {
                Next::Effect(next) => effect = next,
                Next::Stage(work) => {
                    task.work = work;
                    let changes = Changes { put: vec![(id, task.clone())], ..Changes::default() };
                    self.0.outbox.commit(changes, Durability::Synced).await?;
                    lock(&self.0.dispatcher).progressed(id);
                    effect = task.effect();
                }
                Next::Done(follow) => {
                    tracing::debug!(task = %id, stage = task.stage(), follows = follow.tasks.len(), "done");
                    self.0.metrics.done(task.stage());
                    return self.end(id, &task, follow, Vec::new()).await;
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
                Next::Retry(reason) => {
                    let verdict = lock(&self.0.dispatcher).failed(id, now());
                    self.0.metrics.failed(task.stage());
                    match verdict {
                        Verdict::RetryAt(_) => {
                            tracing::warn!(task = %id, stage = task.stage(), failures, reason, "failed, will try again");
                            self.hand_on();
                            return Ok(());
                        }
                        Verdict::GiveUp => {
                            let follow = unsent(&task, self.0.policy);
                            return self.bury(id, &task, reason, follow).await;
                        }
                    }
                }
                Next::Dead(reason, follow) => return self.bury(id, &task, reason, follow).await,
            }
        }
    }

    async fn bury(&self, id: TaskId, task: &Task, reason: String, follow: Follow) -> Result<(), OutboxError> {
        tracing::error!(task = %id, stage = task.stage(), reason, "given up");
        self.0.metrics.dead(task.stage());
        let letter = DeadLetter { at: now(), reason, letter: Letter::Task(Box::new(task.clone())) };
        self.end(id, task, follow, vec![letter]).await
    }

    async fn end(&self, id: TaskId, task: &Task, follow: Follow, dead: Vec<DeadLetter>) -> Result<(), OutboxError> {
        let emitter = match &task.work {
            Work::Pull { process, .. } => Some(*process),
            _ => None,
        };
        let changes = Changes { remove: vec![id], dead, ..Changes::default() };
        self.follow(changes, emitter, follow, Durability::Buffered).await?;
        if let Work::Confirm(Forwarded { item, .. }) = &task.work {
            let mut confirming = lock(&self.0.confirming);
            if confirming.get(item) == Some(&id) {
                confirming.remove(item);
            }
        }
        self.finish(id);
        Ok(())
    }

    fn finish(&self, id: TaskId) {
        let mut dispatcher = lock(&self.0.dispatcher);
        dispatcher.finished(id);
        self.0.metrics.queued(dispatcher.len());
        drop(dispatcher);
        self.hand_on();
    }

    /// Waits until no earlier result of the same process has to be pushed first.
    async fn turn(&self, id: TaskId) {
        let (sender, turn) = oneshot::channel();
        // Registered before asking, so that a turn given in between is not missed.
        lock(&self.0.turns).insert(id, sender);
        if lock(&self.0.dispatcher).fetched(id) {
            lock(&self.0.turns).remove(&id);
            return;
        }
        // The sender is only dropped together with the driver.
        let _ = turn.await;
    }

    /// Gives turns and starts what the last change made possible.
    fn hand_on(&self) {
        let turns = lock(&self.0.dispatcher).take_turns();
        let mut waiting = lock(&self.0.turns);
        for id in turns {
            if let Some(sender) = waiting.remove(&id) {
                // A worker that is gone was stopped with the service.
                let _ = sender.send(());
            }
        }
        drop(waiting);
        self.0.wake.notify_one();
    }
}
