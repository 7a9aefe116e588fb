//! Processes run natively, over the whole path from JSON text to JSON text, without a Wasm toolchain.
//!
//! * [`Native`] is one process: messages in, answers out.
//! * [`Network`] is many, of one type or of several: what they send each other is delivered, schedules fire when time is moved on, processes
//!   they spawn come to life.
//!
//! Everything is deterministic: ids are numbers, time moves when a test says so.
//!
//! The host of a compiled process puts memory back after an error. Here the same is done by replaying the messages that
//! succeeded, which also shows that a process depends on nothing but its log.

mod answer;
mod native;
mod network;
mod resident;
mod schedule;

pub use answer::{Answer, Assigned, Sent, Spawned};
pub use native::Native;
pub use network::{BLOCK_MS, DELIVERY_LIMIT, Delivery, Letter, Network, Sending, Spawning};
