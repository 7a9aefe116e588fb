//! The compute unit: replays the log of a process through its Wasm module and serves the results (spec 05, spec 06).
//!
//! ```text
//!  routes ── api ──► compute ──► results              what has been evaluated: no evaluation, no waiting
//!                       │
//!                       ├──► actor (one per process) ──► advance: reads the log, completes and orders it (log, hydrate,
//!                       │       mailbox, live memory        │       cron, stream)
//!                       │                                   ▼
//!                       │                     evaluation threads: runner ──► machine ──► results
//!                       └──► dry-run threads: fork of a live memory
//! ```
//!
//! Concurrency: HTTP workers only wait. One task per process that has requests reads its log and gives its memory to the
//! evaluation threads for short turns, in order of arrival, so that processes share the threads evenly. Dry runs have
//! threads of their own. Background tasks belong to one owner and end when the service stops; everything on disk can be
//! rebuilt from the log, so a stop at any moment loses nothing.

pub mod machine;
pub mod replay;

mod actor;
mod advance;
mod api;
mod assembly;
mod checkpoint;
mod compute;
mod cron;
mod drive;
mod dry_run;
mod error;
mod feed;
mod given_up;
mod hydrate;
mod json;
mod log;
mod memory_pressure;
mod metrics;
mod modules;
mod open_files;
mod options;
mod pool;
mod process;
mod rate_limit;
mod recent;
mod residents;
mod results;
mod runner;
mod service;
#[cfg(test)]
mod simulation;
mod stream;
mod whole_file;

pub use api::routes;
pub use checkpoint::{Place as CheckpointStore, Policy as CheckpointPolicy};
pub use error::ServiceError as Error;
pub use metrics::Metrics;
pub use open_files::raise_open_files;
pub use options::{Arguments, LogSource, Options, OptionsError, Program, Unverifiable};
pub use service::{Running, Service};
