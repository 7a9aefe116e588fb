//! Monitored processes: asked for their due cron results, which are pushed (spec 04 §4, §13).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use holon_protocol::{Address, ProcessId};
use holon_unit::tasks::Tasks;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::crank::driver::{Driver, now};
use crate::crank::outgoing;
use crate::crank::step::{Follow, push};
use crate::error::Refusal;
use crate::ingest::verified;
use crate::locate::Directory;
use crate::metrics::Metrics;
use crate::outbox::{Changes, Durability, Monitor, Outbox};
use crate::peers::{Compute, Schedulers};

/// Most processes monitored.
pub const MAX_MONITORS: usize = 100_000;
/// Most processes polled at a time.
pub const MAX_POLLS: usize = 32;
/// Most pages taken of one process in one tick; the rest comes with the next.
pub const MAX_PAGES_PER_TICK: usize = 100;

/// The monitors. Cheap to clone.
#[derive(Clone)]
pub struct Cron(Arc<Inner>);

struct Inner {
    outbox: Arc<dyn Outbox>,
    driver: Driver,
    directory: Directory,
    schedulers: Schedulers,
    compute: Compute,
    tasks: Tasks,
    metrics: Metrics,
    owner_only: bool,
    interval: Duration,
    polls: Semaphore,
    /// One lock per process: held while it is polled or its monitor changes, so that a poll that is under way cannot
    /// bring back a monitor that was removed.
    monitored: Mutex<HashMap<ProcessId, Arc<AsyncMutex<()>>>>,
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
    /// Owner of background tasks.
    pub tasks: Tasks,
    /// Counters.
    pub metrics: Metrics,
    /// Whether only a process's owner may monitor it.
    pub owner_only: bool,
    /// Time between two ticks.
    pub interval: Duration,
}

impl Cron {
    /// The monitors stored in the outbox.
    pub async fn load(parts: Parts) -> Result<Self, crate::outbox::OutboxError> {
        let Parts { outbox, driver, directory, schedulers, compute, tasks, metrics, owner_only, interval } = parts;
        let stored = outbox.monitors().await?;
        metrics.monitored(stored.len());
        let monitored = Mutex::new(stored.into_iter().map(|(process, _)| (process, Arc::default())).collect());
        Ok(Self(Arc::new(Inner {
            outbox,
            driver,
            directory,
            schedulers,
            compute,
            tasks,
            metrics,
            owner_only,
            interval,
            polls: Semaphore::new(MAX_POLLS),
            monitored,
        })))
    }

    /// `POST /monitor/{process}`; monitoring twice is the same as once.
    pub async fn monitor(&self, path: ProcessId, body: Bytes) -> Result<(), Refusal> {
        self.authorise(path, body).await?;
        let guard = {
            let mut monitored = self.monitored();
            if monitored.len() >= MAX_MONITORS && !monitored.contains_key(&path) {
                return Err(Refusal::Full(format!("{MAX_MONITORS} processes are monitored, more are not taken")));
            }
            monitored.entry(path).or_default().clone()
        };
        let _held = guard.lock().await;
        if self.0.outbox.monitor(path).await?.is_none() {
            let monitors = vec![(path, Some(Monitor::default()))];
            self.0.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await?;
        }
        // The monitor may have been removed, and its lock with it, while this one waited for that lock.
        self.monitored().entry(path).or_insert_with(|| Arc::clone(&guard));
        self.0.metrics.monitored(self.monitored().len());
        Ok(())
    }

    /// `DELETE /monitor/{process}`.
    pub async fn unmonitor(&self, path: ProcessId, body: Bytes) -> Result<(), Refusal> {
        self.authorise(path, body).await?;
        let unknown = || Refusal::Unknown("Process monitor not found".into());
        let guard = self.monitored().get(&path).cloned().ok_or_else(unknown)?;
        let _held = guard.lock().await;
        if self.0.outbox.monitor(path).await?.is_none() {
            return Err(unknown());
        }
        let monitors = vec![(path, None)];
        self.0.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await?;
        self.monitored().remove(&path);
        self.0.metrics.monitored(self.monitored().len());
        Ok(())
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

    /// Ticks until the service stops, at full multiples of the interval.
    pub async fn run(self) {
        let stopping = self.0.tasks.stopping();
        loop {
            let interval = u64::try_from(self.0.interval.as_millis()).unwrap_or(u64::MAX).max(1);
            let wait = Duration::from_millis(interval - now().0 % interval);
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let due: Vec<_> = self.monitored().iter().map(|(process, guard)| (*process, Arc::clone(guard))).collect();
            for (process, guard) in due {
                // Still being polled since an earlier tick: this one is skipped.
                let Ok(held) = guard.try_lock_owned() else { continue };
                let (this, stopping) = (self.clone(), stopping.clone());
                self.0.tasks.spawn("cron poll", async move {
                    let _held = held;
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = this.poll(process) => {}
                    }
                });
            }
        }
    }

    async fn poll(&self, process: ProcessId) {
        let Ok(_permit) = self.0.polls.acquire().await else { return };
        if let Err(error) = self.pages(process).await {
            tracing::warn!(%process, %error, "cron results could not be fetched; trying again with the next tick");
        }
    }

    /// Takes pages until a short one. The cursor moves in the same transaction that queues the page.
    async fn pages(&self, process: ProcessId) -> Result<(), Refusal> {
        let Some(Monitor { mut cursor }) = self.0.outbox.monitor(process).await? else { return Ok(()) };
        if cursor.is_none() {
            // What was evaluated before monitoring began is not pushed.
            cursor = self.0.compute.newest_cursor(process).await?;
            if cursor.is_some() {
                let monitor = Monitor { cursor: cursor.clone() };
                self.0.driver.queue(process, Follow::default(), Some(monitor)).await?;
            }
        }
        for _ in 0..MAX_PAGES_PER_TICK {
            let edges = self.0.compute.cron(process, cursor.as_deref()).await?;
            let Some(last) = edges.last().map(|edge| edge.cursor.clone()) else { return Ok(()) };
            let full = edges.len() >= crate::peers::CRON_PAGE;
            let mut follow = Follow::default();
            for edge in &edges {
                let outgoing = outgoing::read(&edge.node)
                    .map_err(|error| Refusal::Upstream(format!("cron result {}: {error}", edge.cursor)))?;
                let Follow { tasks, skipped, .. } = push(process, None, outgoing);
                follow.tasks.extend(tasks);
                follow.skipped.extend(skipped);
            }
            self.0.driver.queue(process, follow, Some(Monitor { cursor: Some(last.clone()) })).await?;
            cursor = Some(last);
            if !full {
                return Ok(());
            }
        }
        Ok(())
    }

    fn monitored(&self) -> std::sync::MutexGuard<'_, HashMap<ProcessId, Arc<AsyncMutex<()>>>> {
        self.0.monitored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
