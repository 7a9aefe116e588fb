//! Monitored processes: asked for their due cron results, which are pushed (spec 04 §4, §13).
//!
//! A process is monitored because somebody asked for it, or, where the operator allows it, from its birth on because its
//! tags say `Cron-Interval`. It is asked when something is due, as far as the compute unit can tell, else at full multiples
//! of an interval. The cursor of what was taken is stored in the transaction that queues it, so a restart leaves no gap and
//! pushes nothing twice.
//!
//! Concurrency: one task sleeps until somebody is due and starts a poll for each. Processes that fail, and polls that take
//! long, have places of their own, so that they keep nobody else waiting.

mod poll;
mod timetable;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use holon_protocol::{Address, ProcessId, Timestamp};
use holon_unit::tasks::Tasks;
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};

use crate::births::{Births, MAX_MONITORS};
use crate::crank::driver::{Driver, now};
use crate::error::Refusal;
use crate::ingest::verified;
use crate::locate::Directory;
use crate::metrics::Metrics;
use crate::outbox::{Changes, Durability, Monitor, Outbox, OutboxError};
use crate::peers::{Compute, Schedulers};

use timetable::Timetable;
pub use timetable::{Due, Row};

/// Most processes polled at a time that did not fail lately and answer soon.
pub const MAX_POLLS: usize = 64;
/// Most polls at a time of processes that failed lately or take long.
pub const MAX_SLOW_POLLS: usize = 64;
/// Longest wait of the loop when nobody is due.
const IDLE: Duration = Duration::from_secs(60);

/// The monitors. Cheap to clone.
#[derive(Clone)]
pub struct Cron(Arc<Inner>);

struct Inner {
    outbox: Arc<dyn Outbox>,
    driver: Driver,
    directory: Directory,
    schedulers: Schedulers,
    compute: Compute,
    births: Births,
    tasks: Tasks,
    metrics: Metrics,
    owner_only: bool,
    polls: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    table: Mutex<Timetable>,
    /// One lock per process: held while it is polled or its monitor changes, so that a poll that is under way cannot
    /// bring back a monitor that was removed.
    guards: Mutex<HashMap<ProcessId, Arc<AsyncMutex<()>>>>,
    wake: Notify,
}

/// What a [`Cron`] works with.
pub struct Parts {
    /// Where monitors are kept.
    pub outbox: Arc<dyn Outbox>,
    /// The queue.
    pub driver: Driver,
    /// Who is who.
    pub directory: Directory,
    /// Calls to schedulers.
    pub schedulers: Schedulers,
    /// Calls to the compute unit.
    pub compute: Compute,
    /// Where processes that wake by themselves are announced.
    pub births: Births,
    /// Owner of background tasks.
    pub tasks: Tasks,
    /// Counters.
    pub metrics: Metrics,
    /// Whether only a process's owner may monitor it.
    pub owner_only: bool,
    /// Time between two polls of a process of which the compute unit does not say when something is due.
    pub interval: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cron {
    /// The monitors stored in the outbox.
    pub async fn load(parts: Parts) -> Result<Self, OutboxError> {
        let Parts { outbox, driver, directory, schedulers, compute, births, tasks, metrics, owner_only, interval } =
            parts;
        let mut table = Timetable::new(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        for (process, _) in outbox.monitors().await? {
            table.add(process, now());
        }
        births.monitored(table.len());
        metrics.monitored(table.len());
        Ok(Self(Arc::new(Inner {
            outbox,
            driver,
            directory,
            schedulers,
            compute,
            births,
            tasks,
            metrics,
            owner_only,
            polls: Arc::new(Semaphore::new(MAX_POLLS)),
            slow: Arc::new(Semaphore::new(MAX_SLOW_POLLS)),
            table: Mutex::new(table),
            guards: Mutex::default(),
            wake: Notify::new(),
        })))
    }

    /// `POST /monitor/{process}`; monitoring twice is the same as once.
    pub async fn monitor(&self, path: ProcessId, body: Bytes) -> Result<(), Refusal> {
        self.authorise(path, body).await?;
        let guard = self.guard(path);
        let held = guard.lock().await;
        let known = self.0.outbox.monitor(path).await?.is_some();
        if !known {
            if !self.0.births.has_room() {
                return Err(Refusal::Full(format!("{MAX_MONITORS} processes are monitored, more are not taken")));
            }
            let monitors = vec![(path, Some(Monitor::default()))];
            self.0.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await?;
        }
        lock(&self.0.table).add(path, now());
        drop(held);
        self.release(path, guard);
        self.count();
        self.0.wake.notify_one();
        Ok(())
    }

    /// `DELETE /monitor/{process}`.
    pub async fn unmonitor(&self, path: ProcessId, body: Bytes) -> Result<(), Refusal> {
        self.authorise(path, body).await?;
        let guard = self.guard(path);
        let held = guard.lock().await;
        let known = self.0.outbox.monitor(path).await?.is_some();
        if known {
            let monitors = vec![(path, None)];
            self.0.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await?;
        }
        lock(&self.0.table).remove(path);
        drop(held);
        self.release(path, guard);
        self.count();
        if known { Ok(()) } else { Err(Refusal::Unknown("Process monitor not found".into())) }
    }

    /// Checks the item: signed, for the process in the path, by its owner if that is asked for.
    async fn authorise(&self, path: ProcessId, body: Bytes) -> Result<(), Refusal> {
        let item = verified(body).await?;
        if item.target().map(ProcessId::from_bytes) != Some(path) {
            return Err(Refusal::Invalid(format!("the item's target must be the process in the path, {path}")));
        }
        let located = self.0.directory.process(path).await?;
        let located = located.ok_or_else(|| Refusal::Unknown(format!("Process {path} was not found")))?;
        if self.0.owner_only {
            let process = self.0.schedulers.process(&located.url, path).await?;
            let owner = process.and_then(|process| process.owner).and_then(|owner| owner.address.parse().ok());
            if owner != Some::<Address>(item.owner_address()) {
                return Err(Refusal::Forbidden("only the owner of a process may monitor it here".into()));
            }
        }
        Ok(())
    }

    /// Every monitored process with when it is due and how it fares, those that fail first, at most `limit`; and how many
    /// there are.
    pub fn rows(&self, limit: usize) -> (Vec<(ProcessId, Row)>, usize) {
        let table = lock(&self.0.table);
        let mut rows: Vec<_> = table.rows().map(|(process, row)| (process, row.clone())).collect();
        drop(table);
        let total = rows.len();
        rows.sort_by_key(|(process, row)| (std::cmp::Reverse(row.failures), *process));
        rows.truncate(limit);
        (rows, total)
    }

    /// Brings the gauges up to date.
    pub fn observe(&self) {
        let failing = lock(&self.0.table).failing();
        self.0.metrics.cron_failing(failing);
    }

    /// Polls whoever is due, until the service stops.
    pub async fn run(self) {
        let stopping = self.0.tasks.stopping();
        loop {
            for process in self.0.births.take() {
                lock(&self.0.table).add(process, now());
                self.count();
            }
            let wait = match lock(&self.0.table).next() {
                Some(Timestamp(at)) => Duration::from_millis(at.saturating_sub(now().0)).min(IDLE),
                None => IDLE,
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.0.births.announced() => {}
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            loop {
                let Some((process, due)) = lock(&self.0.table).take(now()) else { break };
                let (this, stopping) = (self.clone(), stopping.clone());
                self.0.tasks.spawn("cron poll", async move {
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = this.poll(process, due) => {}
                    }
                });
            }
        }
    }

    /// The lock of a process.
    fn guard(&self, process: ProcessId) -> Arc<AsyncMutex<()>> {
        Arc::clone(lock(&self.0.guards).entry(process).or_default())
    }

    /// Forgets the lock of a process that nobody else waits for.
    fn release(&self, process: ProcessId, guard: Arc<AsyncMutex<()>>) {
        let mut guards = lock(&self.0.guards);
        drop(guard);
        if guards.get(&process).is_some_and(|guard| Arc::strong_count(guard) == 1) {
            guards.remove(&process);
        }
    }

    fn count(&self) {
        let monitored = lock(&self.0.table).len();
        self.0.births.monitored(monitored);
        self.0.metrics.monitored(monitored);
    }
}
