//! A local Arweave for development and tests: gateway, bundler and blocks in one embedded service (spec 03 §6).
//!
//! Clients and units cannot tell it from the real thing in what they use: it takes data items and base-layer
//! transactions, verifies them, unpacks bundles, gives everything a block, and serves data, metadata and GraphQL. What it
//! answered with 200 is on disk.
//!
//! ```text
//!  routes ──► weave ──► store/accept  one writer: positions, blocks, indexes in one batch, then one shared fsync
//!     │          └────► unbundle      what is inside of what, verified, before the writer's turn
//!     └─ graphql ─────► store/search  reads from a snapshot, never waits for the writer
//! ```
//!
//! Heights: `/info` shows the newest *closed* block. Items go into the block after it, which is open: its id, height and
//! time are fixed already, and it closes at the next tick, so that a height, once seen, never gains items, and uploads
//! do not drive the height up. A base-layer transaction closes its block at once. In manual mode everything waits,
//! without a block, for `/mine`.
//!
//! Concurrency: actix workers answer requests, verification and writes run on tokio's blocking threads, one background
//! task makes blocks, and one thread (the group commit) syncs. All end with [`Running::stop`].

mod answer;
mod body;
mod error;
mod graphql;
mod options;
mod query_text;
mod routes;
mod service;
mod store;
mod unbundle;
mod weave;

pub use error::Error;
pub use options::{Arguments, DEFAULT_BLOCK_INTERVAL, DEFAULT_INITIAL_HEIGHT, DEFAULT_PORT, Options};
pub use routes::routes;
pub use service::{Running, Service, metrics};
