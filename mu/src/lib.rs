//! The Messenger Unit: the door of the network (spec 04).
//!
//! It accepts signed data items from clients, hands them to the scheduler of the target process, asks a compute unit for
//! the result, turns every outgoing message, spawn and assignment of that result into items signed with its own wallet,
//! hands those to their schedulers, and so on until nothing is left.
//!
//! ```text
//!  client ──► api ──► ingest ──────────► scheduler
//!                       │ intent, then "pull the result"
//!                       ▼
//!                    outbox ◄───────┐
//!                       │ what is due│ what follows
//!                       ▼           │
//!                    crank ─────────┘──► compute unit, schedulers, Arweave
//!                       ▲
//!                    cron (monitored processes)
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `api` | the routes |
//! | `ingest` | verify, find the scheduler, forward |
//! | [`crank`] | a result → signed items → scheduled → next result |
//! | [`outbox`] | durable work queue |
//! | `sharing` | what other messengers with the same outbox leave to this one |
//! | `cron` | who is monitored, when they are due |
//! | [`trace`] | what became of each item |
//! | `locate` | process → scheduler; process or wallet? |
//! | `peers` | calls to schedulers and the compute unit |
//! | `push` | one message of a result again |
//! | [`json`] | what compute units answer, read value by value |
//!
//! Promise: once a client has its 202, the push of its message's result is on disk. It is carried out at least once;
//! schedulers recognise repetitions because the same signed bytes are sent again.
//!
//! Concurrency: routes run on the server's threads. One task drives the crank and starts a worker for each outbox task
//! that is due, within [`crank::dispatch::Limits`]; one task ticks the monitors and starts a poll for each. A forward
//! runs in a task of its own, so that a client that goes away does not interrupt it. All of them belong to one
//! [`holon_unit::tasks::Tasks`] and end with it.

mod api;
mod births;
pub mod crank;
mod cron;
mod error;
mod guards;
mod ingest;
pub mod json;
mod locate;
mod metrics;
mod options;
pub mod outbox;
mod peers;
mod push;
mod service;
mod sharing;
pub mod trace;

pub use api::{MAX_ITEM_BYTES, routes};
pub use error::Error;
#[doc(hidden)]
pub use guards::Guards;
pub use metrics::Metrics;
pub use options::{Arguments, Options, OptionsError, Program};
pub use service::{Running, Service};
