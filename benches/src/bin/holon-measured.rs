//! The `holon` command, built with the benchmarks that measure it.

use std::process::ExitCode;

fn main() -> ExitCode {
    holon_cli::run(std::env::args_os())
}
