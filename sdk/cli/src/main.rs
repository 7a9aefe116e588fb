//! The `holon` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    holon_cli::run(std::env::args_os())
}
