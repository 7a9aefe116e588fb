//! The `holon` command, built with the tests that drive it.

use std::process::ExitCode;

fn main() -> ExitCode {
    holon_cli::run(std::env::args_os())
}
