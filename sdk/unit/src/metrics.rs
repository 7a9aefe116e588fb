//! Prometheus metrics of a service.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpResponse;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Content type of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that routes can read and parts of a service can add to.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers metrics.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All of them as OpenMetrics text.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        // The library does not know summaries, and calls what is one unknown.
        Ok(text.replace("_summary_seconds unknown\n", "_summary_seconds summary\n"))
    }

    /// The answer of `GET /metrics`.
    pub fn response(&self) -> HttpResponse {
        match self.text() {
            Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
            Err(_) => HttpResponse::InternalServerError().finish(),
        }
    }
}
