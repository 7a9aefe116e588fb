//! Jobs of this repository: `cargo xtask <job>`.

mod bench;
mod test;
mod wasm;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail, ensure};

const HELP: &str = "\
cargo xtask test            run every test
cargo xtask wasm            build the processes in wasm-processes and put the modules next to their sources
cargo xtask wasm --check    build them and show that they behave like the modules that lie there
cargo xtask docs            write the chapters of the book that come from code
cargo xtask docs --check    only say whether they are as the code says
cargo xtask bench eval      measure the compute unit against its guest and against the published ao-loader
cargo xtask bench capacity  measure spawning, serving and holding up to 10 000 processes
cargo xtask bench dry-run   measure dry runs beside a stream of messages
cargo xtask bench messenger measure one hop, chains and fans of pushes, and crons of many processes
cargo xtask bench native    measure processes written with sdk/process, message by message
                            each takes [--release] [--json FILE] and what it shows for --help";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test", rest @ ..] => test::all(rest),
        ["wasm"] => wasm::build(),
        ["wasm", "--check"] => wasm::check(),
        ["docs", rest @ ..] => docs(rest),
        ["bench", name, rest @ ..] => bench::run(name, rest),
        ["help" | "--help" | "-h"] | [] => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("there is no job \"{}\"\n{HELP}", other.join(" ")),
    }
}

/// Chapters that come from code. A program of its own, because it is built with every unit.
fn docs(arguments: &[&str]) -> Result<()> {
    let status = Command::new(cargo())
        .args(["run", "--quiet", "--package", "holon-book", "--"])
        .args(arguments)
        .current_dir(root())
        .status()?;
    ensure!(status.success(), "cargo xtask docs failed");
    Ok(())
}

/// The cargo that runs this.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Folder of the repository. Jobs run in the checkout they were compiled in.
fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}
