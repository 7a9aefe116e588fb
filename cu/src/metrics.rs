//! What the unit counts (spec 05 §2.2).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::stream::Source;

/// Labels of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Evaluated {
    stream_type: &'static str,
    message_type: &'static str,
    process_error: &'static str,
}

/// The counters; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    evaluations: Family<Evaluated, Counter>,
    diverged: Counter,
    unchecked: Counter,
    replayed: Counter,
    parked: Gauge,
    long: Gauge,
    live: Gauge,
    live_bytes: Gauge<u64, AtomicU64>,
    registry: Arc<holon_unit::metrics::Metrics>,
}

impl Metrics {
    /// Counters, registered.
    pub fn new() -> Self {
        let metrics = Self::default();
        // Series that begin with their first event hide it from whoever asks for increases.
        for process_error in ["false", "true"] {
            let primary = ["process", "scheduled", "assignment", "cron"].map(|message_type| ("primary", message_type));
            for (stream_type, message_type) in primary.into_iter().chain([("dry-run", "dry-run")]) {
                drop(metrics.evaluations.get_or_create(&Evaluated { stream_type, message_type, process_error }));
            }
        }
        metrics.registry.register(|registry| {
            registry.register("ao_cu_ao_process_total_evaluations", "Messages evaluated", metrics.evaluations.clone());
            registry.register(
                "ao_cu_replay_divergences",
                "Results of a replay that differ from the stored ones",
                metrics.diverged.clone(),
            );
            registry.register(
                "ao_cu_unchecked_messages",
                "Messages evaluated of which the scheduler does not say all that its signatures cover",
                metrics.unchecked.clone(),
            );
            registry.register(
                "ao_cu_past_replays",
                "Replays for states and results that are past",
                metrics.replayed.clone(),
            );
            registry.register(
                "ao_cu_parked_processes",
                "Processes that the operator's limits keep from going on",
                metrics.parked.clone(),
            );
            registry.register(
                "ao_cu_long_evaluations",
                "Evaluations and dry runs that have been set aside because they take long",
                metrics.long.clone(),
            );
            registry.register("ao_cu_live_processes", "Processes in memory", metrics.live.clone());
            registry.register("ao_cu_live_memory_bytes", "Memory of live processes", metrics.live_bytes.clone());
        });
        metrics
    }

    /// Counts an evaluation.
    pub fn evaluated(&self, source: &Source, failed: bool) {
        let message_type = match source {
            Source::Cron => "cron",
            Source::Prepended => "process",
            Source::Log(entry) if matches!(entry.identity, crate::hydrate::Identity::Id(_)) && entry.deduplicated => {
                "assignment"
            }
            Source::Log(_) => "scheduled",
        };
        self.count("primary", message_type, failed);
    }

    /// Counts a message that could not be checked against its signatures.
    pub fn unchecked(&self) {
        self.unchecked.inc();
    }

    /// Counts a replay for something that is past.
    pub fn replayed(&self) {
        self.replayed.inc();
    }

    /// Counts a dry run.
    pub fn dry_run(&self, failed: bool) {
        self.count("dry-run", "dry-run", failed);
    }

    /// Counts a result that a replay did not confirm.
    pub fn diverged(&self) {
        self.diverged.inc();
    }

    /// Says how many processes are parked, and how many evaluations take long.
    pub fn held_up(&self, parked: usize, long: usize) {
        self.parked.set(i64::try_from(parked).unwrap_or(i64::MAX));
        self.long.set(i64::try_from(long).unwrap_or(i64::MAX));
    }

    /// Says how many processes are live and what they take.
    pub fn live(&self, processes: usize, bytes: u64) {
        self.live.set(i64::try_from(processes).unwrap_or(i64::MAX));
        self.live_bytes.set(bytes);
    }

    /// All series.
    pub fn registry(&self) -> &holon_unit::metrics::Metrics {
        &self.registry
    }

    /// The answer of `GET /metrics`.
    pub fn response(&self) -> actix_web::HttpResponse {
        self.registry.response()
    }

    fn count(&self, stream_type: &'static str, message_type: &'static str, failed: bool) {
        let process_error = if failed { "true" } else { "false" };
        self.evaluations.get_or_create(&Evaluated { stream_type, message_type, process_error }).inc();
    }
}
