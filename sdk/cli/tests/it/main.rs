//! The `holon` command as its users meet it: the real program, real files, real networks on free ports.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod help;
mod network;
mod program;
mod project;
mod replay;
mod usage;
mod wallet;
