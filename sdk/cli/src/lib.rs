//! The `holon` command: a whole network in one program, and everything a user asks of one.
//!
//! It is a library so that test and benchmark packages can build the very same program beside themselves.

mod arguments;
mod clock;
mod commands;
mod connection;
mod console;
mod facts;
mod failure;
mod harmless;
mod profile;
mod project;
mod record;
mod service;
mod stop;
mod terminal;
mod up;
mod wallet_file;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    commands::run(arguments)
}

/// The whole command line, for its reference.
pub fn command() -> clap::Command {
    <arguments::Arguments as clap::CommandFactory>::command()
}
