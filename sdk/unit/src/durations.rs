//! How long requests take: those that a unit answers, and those that it sends (spec 04 §6).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::metrics::Metrics;

/// Bounds of the buckets, in seconds: those of the reference, and smaller ones, because most requests take milliseconds.
const BUCKETS_SECONDS: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 10.0, 30.0];
/// Methods that are told by their names. A client may invent others.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Names and values.
type Labels<const N: usize> = [(&'static str, String); N];
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Number and sum of what was observed: a summary without quantiles, which cannot be added up over units anyway.
#[derive(Debug, Clone, Default)]
struct Summary(Arc<Mutex<(f64, u64)>>);

impl Summary {
    fn observe(&self, value: f64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (seen.0 + value, seen.1 + 1);
    }
}

impl EncodeMetric for Summary {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (sum, count) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        encoder.encode_histogram::<NoLabelSet>(sum, count, &[], None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Summary {
    // The library does not know summaries.
    const TYPE: MetricType = MetricType::Unknown;
}

fn histograms<const N: usize>() -> Histograms<N> {
    Family::new_with_constructor(|| Histogram::new(BUCKETS_SECONDS))
}

/// Whoever is asked may answer any number: those that are not registered are told together.
fn status(status: u16) -> [(&'static str, String); 2] {
    let registered = StatusCode::from_u16(status).is_ok_and(|status| status.canonical_reason().is_some());
    let [code, group] = match status {
        0 => [String::new(), String::new()],
        status if registered => [status.to_string(), format!("{}xx", status / 100)],
        status if (100..600).contains(&status) => ["other".to_owned(), format!("{}xx", status / 100)],
        _ => ["other".to_owned(), "other".to_owned()],
    };
    [("status", code), ("statusGroup", group)]
}

/// Durations of the requests that a server answers, from their heads to those of the answers. Clones share them.
#[derive(Debug, Clone)]
pub struct Served {
    histograms: Histograms<4>,
    summaries: Family<Labels<4>, Summary>,
}

impl Served {
    /// None yet.
    pub fn new() -> Self {
        Self { histograms: histograms(), summaries: Family::default() }
    }

    /// Registers `<prefix>_http_request_duration_seconds` and `<prefix>_http_request_summary_seconds`, with the series of `first`
    /// (method, route and status): those that begin with their first event hide it from whoever asks for increases.
    pub fn register(&self, metrics: &Metrics, prefix: &'static str, first: &[(&str, &str, u16)]) {
        for (method, route, status) in first {
            let labels = Self::labels(method, (*route).to_owned(), *status);
            drop(self.histograms.get_or_create(&labels));
            drop(self.summaries.get_or_create(&labels));
        }
        let (histograms, summaries) = (self.histograms.clone(), self.summaries.clone());
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix(prefix);
            registry.register(
                "http_request_duration_seconds",
                "Requests answered, until the answer begins",
                histograms,
            );
            registry.register("http_request_summary_seconds", "The same: how many, and how long together", summaries);
        });
    }

    fn labels(method: &str, route: String, code: u16) -> Labels<4> {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let [status, group] = status(code);
        [("method", method.to_owned()), ("route", route), status, group]
    }

    /// A request was answered. `route` is the pattern of its path, never the path: anybody can invent those.
    pub fn observe(&self, method: &str, route: String, status: u16, took: Duration) {
        let labels = Self::labels(method, route, status);
        self.histograms.get_or_create(&labels).observe(took.as_secs_f64());
        self.summaries.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

impl Default for Served {
    fn default() -> Self {
        Self::new()
    }
}

/// Durations of the requests that a unit sends, until their answers begin or they fail. Clones share them.
#[derive(Debug, Clone)]
pub struct Sent(Histograms<5>);

impl Sent {
    /// None yet.
    pub fn new() -> Self {
        Self(histograms())
    }

    /// Registers `<prefix>_outgoing_http_request_duration_seconds`, with the series of `first` (method and operation) that end
    /// well.
    pub fn register(&self, metrics: &Metrics, prefix: &'static str, first: &[(&'static str, &'static str)]) {
        for (method, operation) in first {
            drop(self.0.get_or_create(&Self::labels(method, operation, Ok(200))));
        }
        let histograms = self.0.clone();
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix(prefix);
            registry.register(
                "outgoing_http_request_duration_seconds",
                "Requests to other units, until the answer begins or they fail, redirects among them",
                histograms,
            );
        });
    }

    fn labels(method: &str, operation: &str, outcome: Result<u16, &str>) -> Labels<5> {
        let [status, group] = status(outcome.unwrap_or(0));
        let error = ("errorType", outcome.err().unwrap_or_default().to_owned());
        [("method", method.to_owned()), ("operation", operation.to_owned()), error, status, group]
    }

    /// A request of this kind was answered with a status, or failed in this way.
    pub fn observe(&self, method: &str, operation: &'static str, outcome: Result<u16, &'static str>, took: Duration) {
        self.0.get_or_create(&Self::labels(method, operation, outcome)).observe(took.as_secs_f64());
    }
}

impl Default for Sent {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_numbers_that_mean_nothing_makes_no_labels_of_them() {
        let sent = Sent::new();
        let metrics = Metrics::new();
        sent.register(&metrics, "unit", &[]);
        for status in 100..=999 {
            sent.observe("GET", "entry", Ok(status), Duration::ZERO);
        }
        let text = metrics.text().unwrap();
        let series =
            text.lines().filter(|line| line.starts_with("unit_outgoing_http_request_duration_seconds_count")).count();
        assert!(series < 80, "{series} series");
        for line in [
            r#"status="404",statusGroup="4xx"} 1"#,
            r#"status="503",statusGroup="5xx"} 1"#,
            r#"status="other",statusGroup="other"} 400"#,
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn durations_are_told_by_method_route_and_status() {
        let (metrics, served, sent) = (Metrics::new(), Served::new(), Sent::new());
        served.register(&metrics, "unit", &[("POST", "/", 202)]);
        sent.register(&metrics, "unit", &[]);
        served.observe("GET", "/monitor/{process}".into(), 404, Duration::from_millis(1_500));
        served.observe("INVENTED", "none".into(), 405, Duration::ZERO);
        sent.observe("GET", "result", Err("network"), Duration::from_secs(2));
        let text = metrics.text().unwrap();
        for line in [
            "# TYPE unit_http_request_duration_seconds histogram",
            r#"unit_http_request_duration_seconds_count{method="POST",route="/",status="202",statusGroup="2xx"} 0"#,
            r#"unit_http_request_duration_seconds_bucket{le="1.0",method="GET",route="/monitor/{process}",status="404",statusGroup="4xx"} 0"#,
            r#"unit_http_request_duration_seconds_bucket{le="3.0",method="GET",route="/monitor/{process}",status="404",statusGroup="4xx"} 1"#,
            "# TYPE unit_http_request_summary_seconds summary",
            r#"unit_http_request_summary_seconds_sum{method="GET",route="/monitor/{process}",status="404",statusGroup="4xx"} 1.5"#,
            r#"unit_http_request_summary_seconds_count{method="other",route="none",status="405",statusGroup="4xx"} 1"#,
            r#"unit_outgoing_http_request_duration_seconds_count{method="GET",operation="result",errorType="network",status="",statusGroup=""} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
