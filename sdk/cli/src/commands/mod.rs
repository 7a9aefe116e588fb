//! One file for each command, and the way from the command line to it.

pub mod announce;
pub mod build;
pub mod completions;
pub mod dead_letters;
pub mod deploy;
pub mod dry_run;
pub mod env;
pub mod eval;
pub mod fork;
pub mod init;
pub mod inspect;
pub mod logs;
pub mod man;
pub mod network;
pub mod publish;
pub mod replay;
pub mod result;
pub mod results;
pub mod resume;
pub mod retry;
pub mod send;
pub mod spawn;
pub mod state;
pub mod test;
pub mod trace;
pub mod wallet;
pub mod watch;

mod compare;
pub mod show;
mod units;

use std::ffi::OsString;
use std::io::Read;
use std::process::ExitCode;

use bytes::Bytes;

use crate::arguments::{Arguments, Command, DataArguments};
use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::{console, service, up};

/// Most bytes of data read from a file or standard input.
const MAX_DATA_BYTES: u64 = 100 * 1024 * 1024;

/// Runs the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line: Vec<OsString> = arguments.into_iter().collect();
    // Units read their own command lines: they share no flag with the other commands.
    if let Some((unit, arguments)) = service::asked(&line) {
        return finish(Terminal::new(false), service::run(unit, arguments));
    }
    let arguments = match Arguments::read(line.clone()) {
        Ok(arguments) => arguments,
        // Help and version are no failures and go to standard output.
        Err(error) if !error.use_stderr() || !asks_for_json(&line) => error.exit(),
        Err(error) => {
            let failure = Failure::command_line(&error);
            Terminal::new(true).failure(&failure);
            return ExitCode::from(failure.exit_code());
        }
    };
    let terminal = Terminal::new(arguments.global.json);
    finish(terminal, dispatch(arguments, terminal))
}

/// Whether a command line that could not be read asks for JSON.
fn asks_for_json(line: &[OsString]) -> bool {
    line.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

fn finish(terminal: Terminal, command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal.failure(&Failure::network(format!("cannot start: {error}")));
            return ExitCode::from(3);
        }
    };
    let done = runtime.block_on(command);
    // Reading standard input cannot be cancelled and must not keep the program alive.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn dispatch(arguments: Arguments, terminal: Terminal) -> Result<(), Failure> {
    let global = arguments.global;
    match arguments.command {
        Command::Up(arguments) => Box::pin(up::run(arguments, terminal)).await,
        Command::Init(arguments) => init::run(arguments, terminal),
        Command::Build(arguments) => build::run(arguments, terminal),
        Command::Test(arguments) => test::run(arguments, terminal),
        Command::Deploy(arguments) => Box::pin(deploy::run(arguments, &global, terminal)).await,
        Command::Console(arguments) => Box::pin(console::run(arguments, &global, terminal)).await,
        Command::Network(arguments) => network::run(arguments, &global, terminal),
        Command::Wallet(arguments) => wallet::run(arguments, &global, terminal),
        Command::Publish(arguments) => publish::run(arguments, &global, terminal).await,
        Command::Spawn(arguments) => spawn::run(arguments, &global, terminal).await,
        Command::Send(arguments) => send::run(arguments, &global, terminal).await,
        Command::Result(arguments) => result::run(arguments, &global, terminal).await,
        Command::Results(arguments) => results::run(arguments, &global, terminal).await,
        Command::Watch(arguments) => Box::pin(watch::run(arguments, &global, terminal)).await,
        Command::Logs(arguments) => Box::pin(logs::run(arguments, &global, terminal)).await,
        Command::Inspect(arguments) => Box::pin(inspect::run(arguments, &global, terminal)).await,
        Command::Trace(arguments) => trace::run(arguments, &global, terminal).await,
        Command::DeadLetters(arguments) => dead_letters::run(arguments, &global, terminal).await,
        Command::Resume(arguments) => resume::run(arguments, &global, terminal).await,
        Command::Retry(arguments) => retry::run(arguments, &global, terminal).await,
        Command::DryRun(arguments) => dry_run::run(arguments, &global, terminal).await,
        Command::Eval(arguments) => eval::run(arguments, &global, terminal).await,
        Command::Replay(arguments) => Box::pin(replay::run(arguments, &global, terminal)).await,
        Command::State(arguments) => Box::pin(state::run(arguments, &global, terminal)).await,
        Command::Fork(arguments) => Box::pin(fork::run(arguments, &global, terminal)).await,
        Command::Env(arguments) => env::run(arguments, &global, terminal),
        Command::Announce(arguments) => announce::run(arguments, &global, terminal).await,
        Command::Mu(_) | Command::Su(_) | Command::Cu(_) | Command::Weave(_) => {
            Err(Failure::usage("a unit reads its own flags, behind its name")
                .hint("write for example: holon mu --help"))
        }
        Command::Completions(arguments) => completions::run(arguments, terminal),
        Command::Man(arguments) => man::run(arguments, terminal),
    }
}

/// The data a command was given; empty if none.
fn data(arguments: DataArguments) -> Result<Bytes, Failure> {
    match (arguments.data, arguments.file) {
        (Some(text), _) => Ok(text.into()),
        (None, Some(path)) if path.as_os_str() == "-" => bounded("standard input", std::io::stdin().lock()),
        (None, Some(path)) => {
            let name = path.display().to_string();
            let file =
                std::fs::File::open(&path).map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
            bounded(&name, file)
        }
        (None, None) => Ok(Bytes::new()),
    }
}

fn bounded(name: &str, source: impl Read) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    source
        .take(MAX_DATA_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    match bytes.len() as u64 > MAX_DATA_BYTES {
        true => Err(Failure::usage(format!("{name} is larger than {MAX_DATA_BYTES} bytes"))),
        false => Ok(bytes.into()),
    }
}
