//! What every service shares: start and graceful stop of an HTTP server, ownership of background tasks, group commit
//! of durable writes, errors as HTTP answers, configuration, logs and metrics.
//!
//! A service is made of four parts, the same in every unit: `Options` (typed configuration), `Service::start`, a cheap
//! `Running` handle (address, `stop`), and `Error`.
//!
//! Concurrency: [`server::start`] runs actix workers on threads of their own; [`tasks::Tasks`] owns everything else a
//! service runs in the background. A task that panics or fails stops the service in order, so nothing dies silently.

pub mod clock;
pub mod config;
pub mod durable;
pub mod durations;
pub mod error;
pub mod events;
pub mod log_file;
pub mod metrics;
pub mod operator;
pub mod program;
pub mod routes;
pub mod server;
pub mod tasks;
pub mod telemetry;
pub mod trace_context;

pub use error::ApiError;
