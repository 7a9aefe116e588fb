//! The `holon` command as its users meet it: the real program, real files, real networks on free ports.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod console;
mod help;
mod inspect;
mod network;
mod profiles;
mod program;
mod project;
mod pty;
mod replay;
mod service;
mod usage;
mod wallet;
