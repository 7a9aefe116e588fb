//! The `holon` command: a whole network in one program, and everything a user asks of one.

mod arguments;
mod commands;
mod connection;
mod failure;
mod record;
mod terminal;
mod up;
mod wallet_file;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run(std::env::args_os())
}
