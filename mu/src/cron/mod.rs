//! Monitored processes: asked for their due cron results, which are pushed (spec 04 §4, §13).
//!
//! A process is monitored because somebody asked for it, or, where the operator allows it, from its birth on because its
//! tags say `Cron-Interval`. It is asked when something is due, as far as the compute unit can tell, else at full multiples
//! of an interval. The cursor of what was taken is stored in the transaction that queues it, so a restart leaves no gap and
//! pushes nothing twice.
//!
//! Processes that came to be elsewhere are taken up when a message for them comes by, if the operator allows it; what somebody
//! said before about their monitors holds.
//!
//! Concurrency: one task sleeps until somebody is due and starts a poll for each; another one takes up who was met. Processes that
//! fail, and polls that take long, have places of their own, so that they keep nobody else waiting.

mod poll;
mod timetable;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use holon_protocol::{Address, DataItem, ItemId, ProcessId, Timestamp};
use holon_unit::clock::Clock;
use holon_unit::tasks::Tasks;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::births::{Births, MAX_MONITORS};
use crate::crank::budget::Limit;
use crate::crank::driver::Driver;
use crate::crank::task::ProcessRecord;
use crate::error::Refusal;
use crate::guards::Guards;
use crate::ingest::verified;
use crate::locate::Directory;
use crate::metrics::Metrics;
use crate::outbox::{Changes, Durability, Monitor, Monitoring, Outbox, OutboxError, Share};
use crate::peers::{Compute, Schedulers};

use timetable::{Asked, Timetable};
pub use timetable::{Due, Row};

/// Most processes polled at a time that did not fail lately and answer soon.
pub const MAX_POLLS: usize = 64;
/// Most polls at a time of processes that failed lately or take long.
pub const MAX_SLOW_POLLS: usize = 64;
/// Longest a client that monitors a process waits for the compute unit to say where the process is.
pub const MONITOR_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks whether everybody who was asked has answered.
const ASK_PAUSE: Duration = Duration::from_millis(1);
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
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
    owner_only: bool,
    guards: Guards,
    polls: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    table: Mutex<Timetable>,
    /// Ends the poll of a process that is under way.
    polling: Mutex<HashMap<ProcessId, (Asked, CancellationToken)>>,
    /// One lock per process: held while its monitor is read and written, so that a poll that is under way cannot bring
    /// back a monitor that was removed. Nobody is asked anything meanwhile.
    holds: Mutex<HashMap<ProcessId, Arc<AsyncMutex<()>>>>,
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
    /// What time it is.
    pub clock: Clock,
    /// Owner of background tasks.
    pub tasks: Tasks,
    /// Counters.
    pub metrics: Metrics,
    /// Whether only a process's owner may monitor it.
    pub owner_only: bool,
    /// Guards against strangers.
    pub guards: Guards,
    /// Time between two polls of a process of which the compute unit does not say when something is due.
    pub interval: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cron {
    /// The monitors stored in the outbox.
    pub async fn load(parts: Parts) -> Result<Self, OutboxError> {
        let Parts {
            outbox,
            driver,
            directory,
            schedulers,
            compute,
            births,
            clock,
            tasks,
            metrics,
            owner_only,
            guards,
            interval,
        } = parts;
        let mut table = Timetable::new(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        // Those of a shared outbox come with its shares.
        let alone = outbox.shared().is_none();
        for (process, monitor) in if alone { outbox.monitors().await? } else { Vec::new() } {
            if !monitor.off {
                table.add(process, clock.now());
                births.descends(process, monitor.lineage);
            }
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
            clock,
            tasks,
            metrics,
            owner_only,
            guards,
            polls: Arc::new(Semaphore::new(MAX_POLLS)),
            slow: Arc::new(Semaphore::new(MAX_SLOW_POLLS)),
            table: Mutex::new(table),
            polling: Mutex::default(),
            holds: Mutex::default(),
            wake: Notify::new(),
        })))
    }

    /// `POST /monitor/{process}`; monitoring twice is the same as once. When this returns, it is stored where the process is:
    /// every result from here on is pushed.
    pub async fn monitor(&self, path: ProcessId, body: Bytes) -> Result<(), Refusal> {
        self.authorise(path, body).await?;
        if !self.is_monitored(path).await? {
            if !self.0.births.has_room() {
                return Err(Refusal::Full(format!("{MAX_MONITORS} processes are monitored, more are not taken")));
            }
            let monitor = self.beginning(path).await?;
            let _held = self.hold(path).await;
            if !self.is_monitored(path).await? {
                let monitors = vec![(path, Monitoring::Put(monitor))];
                self.0.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await?;
            }
        }
        self.take_up(path);
        self.count();
        self.0.wake.notify_one();
        Ok(())
    }

    /// Asks a process from now on; in a shared outbox whoever has its share hears of it.
    fn take_up(&self, process: ProcessId) {
        if self.0.outbox.shared().is_none() {
            lock(&self.0.table).add(process, self.0.clock.now());
        }
    }

    async fn is_monitored(&self, process: ProcessId) -> Result<bool, OutboxError> {
        Ok(self.0.outbox.monitor(process).await?.is_some_and(|monitor| !monitor.off))
    }

    /// A monitor that begins with what comes after the newest result there is.
    async fn beginning(&self, process: ProcessId) -> Result<Monitor, Refusal> {
        let cursor = tokio::time::timeout(MONITOR_TIMEOUT, self.0.compute.newest_cursor(process)).await;
        let cursor = cursor.map_err(|_| Refusal::Upstream("the compute unit did not answer in time".into()))??;
        Ok(Monitor { from_birth: cursor.is_none(), cursor, ..Monitor::default() })
    }

    /// `DELETE /monitor/{process}`. A poll that is under way ends. It is remembered of processes that could be monitored
    /// without being asked.
    pub async fn unmonitor(&self, path: ProcessId, body: Bytes) -> Result<(), Refusal> {
        let wakes = self.authorise(path, body).await?.cron;
        let held = self.hold(path).await;
        let known = self.is_monitored(path).await?;
        if known || wakes {
            let off = Monitoring::Put(Monitor { off: true, ..Monitor::default() });
            let monitors = vec![(path, if wakes { off } else { Monitoring::End })];
            self.0.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await?;
        }
        lock(&self.0.table).remove(path);
        self.0.births.ended(path);
        if let Some((_, poll)) = lock(&self.0.polling).remove(&path) {
            poll.cancel();
        }
        drop(held);
        self.count();
        if known { Ok(()) } else { Err(Refusal::Unknown("Process monitor not found".into())) }
    }

    /// Takes up a process that a message of this lineage came by for, unless something is known of its monitor already. `false`: its
    /// lineage has no room for it.
    async fn adopt(&self, process: ProcessId, lineage: ItemId) -> Result<bool, OutboxError> {
        let (births, outbox) = (&self.0.births, &self.0.outbox);
        let _held = self.hold(process).await;
        // Who has a place already takes none of this lineage's.
        if outbox.monitor(process).await?.is_some() {
            return Ok(true);
        }
        let most = self.0.driver.limits().budgets.crons_per_lineage;
        let admitted = births.admit(outbox.shared(), vec![process], Some(lineage), most).await?;
        if admitted.processes().is_empty() {
            return Ok(false);
        }
        let monitor = Monitor { lineage: Some(lineage), adopted: true, ..Monitor::default() };
        outbox.commit(Changes { births: vec![(process, monitor)], ..Changes::default() }, Durability::Buffered).await?;
        admitted.stored();
        self.take_up(process);
        self.count();
        self.0.wake.notify_one();
        Ok(true)
    }

    /// Adopts whoever is met, until the service stops. Polls do not wait for it.
    async fn adopt_all(self) {
        let adopt = |process, lineage| {
            let this = self.clone();
            async move { this.adopt(process, lineage).await }
        };
        let refused = |process, lineage| {
            tracing::warn!(%process, %lineage, "too many processes of its lineage are monitored without being asked for; this one is not");
            self.0.metrics.over_budget(Limit::Crons.name());
        };
        let stopping = self.0.tasks.stopping();
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.0.births.look(adopt, refused) => {}
        }
    }

    /// Checks the item: signed, for the process in the path, by its owner if that is asked for. What is known of the process.
    async fn authorise(&self, path: ProcessId, body: Bytes) -> Result<ProcessRecord, Refusal> {
        let Guards { signatures, subjects, .. } = self.0.guards;
        let item = match signatures {
            true => verified(body).await?,
            false => DataItem::parse(body).map_err(|error| Refusal::Invalid(error.to_string()))?,
        };
        if subjects && item.target().map(ProcessId::from_bytes) != Some(path) {
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
        Ok(located.record)
    }

    /// These processes, and no others, are monitored by this messenger from now on.
    pub fn monitor_all(&self, processes: &[ProcessId]) {
        let monitored: HashSet<_> = processes.iter().copied().collect();
        let mut table = lock(&self.0.table);
        let over: Vec<_> = table.rows().map(|(process, _)| process).filter(|it| !monitored.contains(it)).collect();
        over.into_iter().for_each(|process| table.remove(process));
        let now = self.0.clock.now();
        processes.iter().for_each(|process| table.add(*process, now));
        drop(table);
        self.count();
        self.0.wake.notify_one();
    }

    /// Another messenger monitors the processes of these shares.
    pub fn let_go(&self, shares: &BTreeSet<Share>) {
        let mut table = lock(&self.0.table);
        let theirs = table.rows().map(|(process, _)| process).filter(|process| shares.contains(&Share::of(*process)));
        let theirs: Vec<_> = theirs.collect();
        theirs.into_iter().for_each(|process| table.remove(process));
        drop(table);
        self.count();
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
        self.0.tasks.spawn("cron adoption", self.clone().adopt_all());
        loop {
            self.take_births();
            let next = lock(&self.0.table).next().unwrap_or(Timestamp(u64::MAX));
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.0.births.announced() => {}
                () = self.0.wake.notified() => {}
                () = self.0.clock.until(next, IDLE) => {}
            }
            loop {
                let Some(asked) = lock(&self.0.table).take(self.0.clock.now()) else { break };
                let (this, stopping) = (self.clone(), stopping.clone());
                self.0.tasks.spawn("cron poll", async move {
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = this.poll(asked) => {}
                    }
                });
            }
        }
    }

    /// Asks every process now, whether it is due or not, and returns when all have answered; whether one of them has more to
    /// tell at once. For clocks that stand still: a time that goes on makes others due meanwhile.
    pub async fn ask_all(&self) -> bool {
        self.take_births();
        // What is being asked already may be answered as of an earlier time.
        self.answered(|table| table.is_asking()).await;
        let now = self.0.clock.now();
        lock(&self.0.table).all_due(now);
        self.answered(|table| table.is_asking() || table.next().is_some_and(|next| next <= now)).await;
        lock(&self.0.table).has_more(now)
    }

    /// Waits until this holds no more.
    async fn answered(&self, busy: impl Fn(&Timetable) -> bool) {
        while !self.0.tasks.is_stopping() && busy(&lock(&self.0.table)) {
            self.0.wake.notify_one();
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }

    fn take_births(&self) {
        for process in self.0.births.take() {
            lock(&self.0.table).add(process, self.0.clock.now());
            self.count();
        }
    }

    /// The lock of a process.
    async fn hold(&self, process: ProcessId) -> Held {
        let lock_of = Arc::clone(lock(&self.0.holds).entry(process).or_default());
        Held { cron: self.clone(), process, guard: Some(lock_of.lock_owned().await) }
    }

    fn count(&self) {
        let monitored = lock(&self.0.table).len();
        self.0.births.monitored(monitored);
        self.0.metrics.monitored(monitored);
    }
}

/// The right to read and write the monitor of a process, until it is dropped.
struct Held {
    cron: Cron,
    process: ProcessId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holds = lock(&self.cron.0.holds);
        drop(self.guard.take());
        if holds.get(&self.process).is_some_and(|hold| Arc::strong_count(hold) == 1) {
            holds.remove(&self.process);
        }
    }
}
