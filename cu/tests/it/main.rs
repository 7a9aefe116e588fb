//! The compute unit over its HTTP surface: real gateway (`holon-weave`), real scheduler (`holon-su`), real signatures,
//! real Wasm.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checkpoints;
mod concurrency;
mod cron;
mod dry_run;
mod events;
mod foreign;
mod guest;
mod hostile;
mod killed;
mod logs;
mod network;
mod official;
mod parking;
mod published;
mod refusals;
mod replay;
mod restart;
mod results;
mod weavedrive;
