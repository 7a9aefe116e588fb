//! What the messenger counts (spec 04 §6): names as the reference's where the meaning is the same.

use holon_unit::metrics::Metrics as Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

/// Counters of the messenger. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    queue_size: Gauge,
    running_cron_monitor: Gauge,
    tasks_done: Family<Stage, Counter>,
    task_retries: Family<Stage, Counter>,
    error_stage: Family<Stage, Counter>,
    skipped_entries: Counter,
    store_failures: Counter,
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
            skipped_entries: Counter::default(),
            store_failures: Counter::default(),
        };
        metrics.registry.register(|registry| {
            let registry = registry.sub_registry_with_prefix("ao_mu");
            registry.register("queue_size", "Tasks in the outbox", metrics.queue_size.clone());
            registry.register(
                "running_cron_monitor",
                "Processes that are monitored",
                metrics.running_cron_monitor.clone(),
            );
            registry.register("tasks_done", "Tasks finished, by stage", metrics.tasks_done.clone());
            registry.register("task_retries", "Failures that are tried again, by stage", metrics.task_retries.clone());
            registry.register("error_stage", "Tasks given up, by stage", metrics.error_stage.clone());
            registry.register("skipped_entries", "Outbox entries that cannot be used", metrics.skipped_entries.clone());
            registry.register("store_failures", "Failures of the outbox store", metrics.store_failures.clone());
        });
        metrics
    }
}

impl Metrics {
    /// The registry behind `GET /metrics`.
    pub fn registry(&self) -> &Registry {
        &self.registry
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

    /// A task failed and is tried again.
    pub fn failed(&self, stage: &'static str) {
        self.task_retries.get_or_create(&Stage { stage }).inc();
    }

    /// A task was given up.
    pub fn dead(&self, stage: &'static str) {
        self.error_stage.get_or_create(&Stage { stage }).inc();
    }

    /// An outbox entry was skipped.
    pub fn skipped(&self) {
        self.skipped_entries.inc();
    }

    /// The store failed.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }
}
