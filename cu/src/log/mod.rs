//! A process's log as its scheduler serves it: reading it in pages, and checking what can be checked.

pub mod blocks;
pub mod scheduler;
pub mod verify;

pub use verify::{Link, LogError};
