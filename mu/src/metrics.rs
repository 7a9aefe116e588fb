//! What the messenger counts (spec 04 §6): names as the reference's where the meaning is the same.

use std::time::Duration;

use holon_unit::durations::{Sent, Served};
use holon_unit::metrics::Metrics as Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::crank::budget::Limit;
use crate::crank::step::Fault;
use crate::crank::task::Task;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

/// What `task_retries` tells: at which stage, the how manieth failure in a row it was, and whose.
type Retried = [(&'static str, &'static str); 3];
/// What `error_stage` tells: at which stage, and what kind of task.
type GivenUp = [(&'static str, &'static str); 2];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    limit: &'static str,
}

/// What all names begin with.
const PREFIX: &str = "ao_mu";
/// Bounds of the buckets for lateness, in seconds.
const LATENESS_SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 120.0, 600.0];

/// Counters of the messenger. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    queue_size: Gauge,
    running_cron_monitor: Gauge,
    tasks_done: Family<Stage, Counter>,
    task_retries: Family<Retried, Counter>,
    error_stage: Family<GivenUp, Counter>,
    served: Served,
    sent: Sent,
    db_size: Family<[(&'static str, &'static str); 1], Gauge>,
    skipped_entries: Counter,
    already_pushed: Counter,
    store_failures: Counter,
    unresolved: Gauge,
    body_bytes: Gauge,
    pushes: Gauge,
    largest_push: Gauge,
    paced: Gauge,
    over_budget: Family<Limited, Counter>,
    cron_failing: Gauge,
    cron_polls: Counter,
    cron_failures: Counter,
    cron_lateness: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::new(),
            queue_size: Gauge::default(),
            running_cron_monitor: Gauge::default(),
            tasks_done: Family::default(),
            task_retries: Family::default(),
            error_stage: Family::default(),
            served: Served::new(),
            sent: Sent::new(),
            db_size: Family::default(),
            skipped_entries: Counter::default(),
            already_pushed: Counter::default(),
            store_failures: Counter::default(),
            unresolved: Gauge::default(),
            body_bytes: Gauge::default(),
            pushes: Gauge::default(),
            largest_push: Gauge::default(),
            paced: Gauge::default(),
            over_budget: Family::default(),
            cron_failing: Gauge::default(),
            cron_polls: Counter::default(),
            cron_failures: Counter::default(),
            cron_lateness: Histogram::new(LATENESS_SECONDS),
        };
        // Series that begin with their first event hide it from whoever asks for increases.
        for stage in Task::STAGES {
            drop(metrics.tasks_done.get_or_create(&Stage { stage }));
            for fault in [Fault::Task, Fault::Peer] {
                drop(metrics.task_retries.get_or_create(&retried(stage, fault, 1)));
            }
        }
        for (stage, kind) in Task::KINDS {
            drop(metrics.error_stage.get_or_create(&[("stage", stage), ("type", kind)]));
        }
        metrics.stored(0);
        for limit in Limit::ALL {
            drop(metrics.over_budget.get_or_create(&Limited { limit: limit.name() }));
        }
        metrics.registry.register(|registry| {
            let registry = registry.sub_registry_with_prefix(PREFIX);
            registry.register("queue_size", "Tasks in the outbox", metrics.queue_size.clone());
            registry.register(
                "running_cron_monitor",
                "Processes that are monitored",
                metrics.running_cron_monitor.clone(),
            );
            registry.register("tasks_done", "Tasks finished, by stage", metrics.tasks_done.clone());
            registry.register(
                "task_retries",
                "Failures that are tried again, by stage, by how many there were in a row, and by whether the task failed or the peer could not be asked",
                metrics.task_retries.clone(),
            );
            registry.register("error_stage", "Tasks given up, by stage and what they are", metrics.error_stage.clone());
            registry.register("db_size", "Room that a database takes, in bytes", metrics.db_size.clone());
            registry.register("skipped_entries", "Outbox entries that cannot be used", metrics.skipped_entries.clone());
            registry.register(
                "already_pushed",
                "Results that were not pushed because they are, or were, pushed already",
                metrics.already_pushed.clone(),
            );
            registry.register("store_failures", "Failures of the outbox store", metrics.store_failures.clone());
            registry.register(
                "unresolved",
                "Things of clients of which a scheduler has yet to say whether it took them",
                metrics.unresolved.clone(),
            );
            registry.register(
                "body_bytes",
                "Memory reserved for bodies of requests, in bytes",
                metrics.body_bytes.clone(),
            );
            registry.register("pushes", "Pushes that are under way", metrics.pushes.clone());
            registry.register(
                "largest_push",
                "Most tasks that one push has in the outbox",
                metrics.largest_push.clone(),
            );
            registry.register(
                "paced",
                "Tasks that had to wait because their process asks for too many",
                metrics.paced.clone(),
            );
            registry.register(
                "over_budget",
                "Results not pushed, and crons not polled, because of a budget, by limit",
                metrics.over_budget.clone(),
            );
            registry.register("cron_failing", "Monitored processes whose cron fails", metrics.cron_failing.clone());
            registry.register("cron_polls", "Polls of monitored processes", metrics.cron_polls.clone());
            registry.register("cron_failures", "Polls that failed", metrics.cron_failures.clone());
            registry.register(
                "cron_lateness_seconds",
                "From the time a cron message was due to the time at which what it asks for was queued",
                metrics.cron_lateness.clone(),
            );
        });
        metrics.served.register(&metrics.registry, PREFIX, &[("POST", "/", 202)]);
        metrics.sent.register(&metrics.registry, PREFIX, &[("POST", "post-item"), ("GET", "result")]);
        metrics
    }
}

/// Failures in a row that are told apart; `10` stands for more as well.
const RETRIES: [&str; 10] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];

fn retried(stage: &'static str, fault: Fault, failures: u32) -> Retried {
    let row = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(RETRIES.len() - 1);
    let status = match fault {
        Fault::Task => "failed",
        Fault::Peer => "unreachable",
    };
    [("stage", stage), ("retries", RETRIES[row]), ("status", status)]
}

impl Metrics {
    /// The registry behind `GET /metrics`.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// So many bytes are reserved for bodies.
    pub fn bodies(&self, bytes: usize) {
        self.body_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Schedulers have yet to say of so many things whether they took them.
    pub fn unresolved(&self, tasks: usize) {
        self.unresolved.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    }

    /// So many tasks are left.
    pub fn queued(&self, tasks: usize) {
        self.queue_size.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    }

    /// So many processes are monitored.
    pub fn monitored(&self, processes: usize) {
        self.running_cron_monitor.set(i64::try_from(processes).unwrap_or(i64::MAX));
    }

    /// A task is finished.
    pub fn done(&self, stage: &'static str) {
        self.tasks_done.get_or_create(&Stage { stage }).inc();
    }

    /// A task failed for the `failures`th time in a row, and is tried again.
    pub fn failed(&self, task: &Task, fault: Fault, failures: u32) {
        self.task_retries.get_or_create(&retried(task.stage(), fault, failures)).inc();
    }

    /// A task was given up.
    pub fn dead(&self, task: &Task) {
        self.error_stage.get_or_create(&[("stage", task.stage()), ("type", task.kind())]).inc();
    }

    /// The outbox takes so many bytes.
    pub fn stored(&self, bytes: u64) {
        self.db_size.get_or_create(&[("database", "outbox")]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// How long requests to this unit take.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// How long requests of this unit take.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// An outbox entry was skipped.
    pub fn skipped(&self) {
        self.skipped_entries.inc();
    }

    /// A result is not pushed, because it is, or was, pushed already.
    pub fn pushed_already(&self) {
        self.already_pushed.inc();
    }

    /// So many pushes are under way, the largest of them with so many tasks; so many tasks had to wait for their pace.
    pub fn pushes(&self, pushes: usize, largest: usize, paced: u64) {
        self.pushes.set(i64::try_from(pushes).unwrap_or(i64::MAX));
        self.largest_push.set(i64::try_from(largest).unwrap_or(i64::MAX));
        self.paced.set(i64::try_from(paced).unwrap_or(i64::MAX));
    }

    /// A result asked for more than its push may have.
    pub fn over_budget(&self, limit: &'static str) {
        self.over_budget.get_or_create(&Limited { limit }).inc();
    }

    /// So many monitored processes fail.
    pub fn cron_failing(&self, processes: usize) {
        self.cron_failing.set(i64::try_from(processes).unwrap_or(i64::MAX));
    }

    /// A poll worked.
    pub fn cron_polled(&self) {
        self.cron_polls.inc();
    }

    /// What a cron message asks for was queued so many milliseconds after it was due.
    pub fn cron_late(&self, late_ms: u64) {
        self.cron_lateness.observe(Duration::from_millis(late_ms).as_secs_f64());
    }

    /// A poll failed.
    pub fn cron_failed(&self) {
        self.cron_polls.inc();
        self.cron_failures.inc();
    }

    /// The store failed.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }
}
