//! Series of the scheduler (spec 02 §1.2).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the duration buckets, in milliseconds.
const BUCKETS_MS: [f64; 22] = [
    0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 5500.0, 6000.0, 6500.0, 7000.0,
    7500.0, 8000.0, 8500.0, 9000.0, 9500.0, 10000.0,
];

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `GET /processes/{id}`.
    GetProcess,
    /// One entry by id, or the newest.
    GetMessage,
    /// A page.
    GetMessages,
    /// Reading stored bytes for an answer.
    ReadMessageData,
    /// From a message's or process's turn until it is durable.
    WriteItem,
    /// The same for an assignment.
    WriteAssignment,
    /// From arrival until the turn begins.
    AcquireWriteLock,
}

impl Function {
    /// All of them.
    const ALL: [Self; 7] = [
        Self::GetProcess,
        Self::GetMessage,
        Self::GetMessages,
        Self::ReadMessageData,
        Self::WriteItem,
        Self::WriteAssignment,
        Self::AcquireWriteLock,
    ];
}

impl EncodeLabelValue for Function {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::GetProcess => "get_process",
            Self::GetMessage => "get_message",
            Self::GetMessages => "get_messages",
            Self::ReadMessageData => "read_message_data",
            Self::WriteItem => "write_item",
            Self::WriteAssignment => "write_assignment",
            Self::AcquireWriteLock => "acquire_write_lock",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    function_name: Function,
}

/// A counter whose series has exactly its registered name, without the `_total` that OpenMetrics adds: dashboards made
/// for other schedulers ask for `message_save_failures`.
#[derive(Debug, Clone, Default)]
struct PlainCounter(Arc<AtomicU64>);

impl EncodeMetric for PlainCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&self.0.load(Ordering::Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// The series; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: holon_unit::metrics::Metrics,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    save_failures: PlainCounter,
    refused: Counter,
    requeued: Counter,
    upload_failures: Counter,
}

impl Metrics {
    /// Registered series, all at zero.
    pub fn new() -> Self {
        let registry = holon_unit::metrics::Metrics::new();
        let durations: Family<Labels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS_MS));
        // Series that begin with their first event hide it from whoever asks for increases.
        for function_name in Function::ALL {
            drop(durations.get_or_create(&Labels { function_name }));
        }
        let save_failures = PlainCounter::default();
        let (refused, requeued, upload_failures) = (Counter::default(), Counter::default(), Counter::default());
        registry.register(|registry| {
            registry.register(
                "su_core_metrics_duration_milliseconds",
                "Duration of core functions in milliseconds",
                durations.clone(),
            );
            registry.register("message_save_failures", "Entries that could not be stored", save_failures.clone());
            registry.register("su_settle_refused", "Entries that the bundler refused, kept aside", refused.clone());
            registry.register("su_settle_requeued", "Refused entries put back into the queue", requeued.clone());
            registry.register("su_settle_failures", "Uploads that will be repeated", upload_failures.clone());
        });
        Self { registry, durations, save_failures, refused, requeued, upload_failures }
    }

    /// Counts one duration.
    pub fn observe(&self, function_name: Function, duration: Duration) {
        self.durations.get_or_create(&Labels { function_name }).observe(duration.as_secs_f64() * 1000.0);
    }

    /// Counts entries that could not be stored.
    pub fn save_failed(&self, entries: usize) {
        self.save_failures.0.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// Counts an entry that the bundler refused.
    pub fn upload_refused(&self) {
        self.refused.inc();
    }

    /// Counts refused entries that are offered again.
    pub fn requeued(&self, entries: u64) {
        self.requeued.inc_by(entries);
    }

    /// Counts an upload that failed and will be repeated.
    pub fn upload_failed(&self) {
        self.upload_failures.inc();
    }

    /// All series.
    pub fn registry(&self) -> &holon_unit::metrics::Metrics {
        &self.registry
    }

    /// `GET /metrics`.
    pub fn response(&self) -> actix_web::HttpResponse {
        self.registry.response()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
