//! One unit as a program of its own: `holon mu`, `su`, `cu`, `weave` are the programs that operators know as `holon-mu` and
//! so on, with the same flags, variables and configuration file.

use std::ffi::OsString;
use std::fmt::Display;

use clap::{CommandFactory, FromArgMatches, Parser};
use holon_unit::config::{self, ConfigError};
use holon_unit::server;
use holon_unit::telemetry::{self, LogFormat};

use crate::failure::Failure;
use crate::stop::Stop;

/// What the log tells unless `RUST_LOG` or a flag says otherwise.
const LOG_LEVEL: &str = "info";

/// A unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Messenger.
    Messenger,
    /// Scheduler.
    Scheduler,
    /// Compute.
    Compute,
    /// Local Arweave.
    Weave,
}

/// The units, by the command that runs them.
pub const UNITS: [(&str, Unit); 4] =
    [("mu", Unit::Messenger), ("su", Unit::Scheduler), ("cu", Unit::Compute), ("weave", Unit::Weave)];

/// Run a messenger unit: takes signed messages, has them scheduled, and pushes what processes send
#[derive(Debug, Parser)]
#[command(version, after_help = MESSENGER_EXAMPLES)]
struct MessengerArguments {
    #[command(flatten)]
    unit: holon_mu::Arguments,
    #[command(flatten)]
    log: LogArguments,
}

/// Run a scheduler unit: gives each message its place in the log of its process, keeps and serves the log
#[derive(Debug, Parser)]
#[command(version, after_help = SCHEDULER_EXAMPLES)]
struct SchedulerArguments {
    #[command(flatten)]
    unit: holon_su::Arguments,
    #[command(flatten)]
    log: LogArguments,
}

/// Run a compute unit: evaluates processes and serves their results
#[derive(Debug, Parser)]
#[command(version, after_help = COMPUTE_EXAMPLES)]
struct ComputeArguments {
    #[command(flatten)]
    unit: holon_cu::Arguments,
    #[command(flatten)]
    log: LogArguments,
}

/// Run a local Arweave: gateway, bundler and blocks in one service
#[derive(Debug, Parser)]
#[command(version, about = "Run a local Arweave: gateway, bundler and blocks in one service", after_help = WEAVE_EXAMPLES)]
struct WeaveArguments {
    #[command(flatten)]
    unit: holon_weave::Arguments,
}

#[derive(Debug, clap::Args)]
struct LogArguments {
    /// Form of the log
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Level of the log, for example info or holon_mu=debug
    #[arg(long, env = "LOG_LEVEL", default_value = LOG_LEVEL)]
    log_level: String,
}

const MESSENGER_EXAMPLES: &str = "\
Examples:
  holon mu --wallet mu.json --gateway-url http://127.0.0.1:4000 \\
    --cu-url http://127.0.0.1:6363 --allow-private-urls
  holon mu --config mu.toml                   keys of the file are the long flags

Ctrl-C and SIGTERM stop it in order; what was acknowledged is on disk.";
const SCHEDULER_EXAMPLES: &str = "\
Examples:
  holon su --wallet-path su.json --gateway-url http://127.0.0.1:4000 --listen 127.0.0.1:9000
  holon su --config su.toml                   keys of the file are the long flags

Ctrl-C and SIGTERM stop it in order; what was acknowledged is on disk.";
const COMPUTE_EXAMPLES: &str = "\
Examples:
  holon cu --wallet cu.json --gateway-url http://127.0.0.1:4000 --allow-private-urls
  holon cu --config cu.toml                   keys of the file are the long flags

Ctrl-C and SIGTERM stop it in order; the next start goes on from its checkpoints.";
const WEAVE_EXAMPLES: &str = "\
Examples:
  holon weave --data-dir weave --listen 127.0.0.1:4000
  holon weave --block-interval 0              a block for each accepted item, and none with time

For development: it charges nothing and mines without work.";

/// The unit's own command line, as `holon <name>`.
pub fn command(unit: Unit) -> clap::Command {
    let command = match unit {
        Unit::Messenger => MessengerArguments::command().name("mu").bin_name("holon mu"),
        Unit::Scheduler => SchedulerArguments::command().name("su").bin_name("holon su"),
        Unit::Compute => ComputeArguments::command().name("cu").bin_name("holon cu"),
        Unit::Weave => WeaveArguments::command().name("weave").bin_name("holon weave"),
    };
    command.arg(config::flag())
}

/// The unit that a command line runs, with the arguments for it.
pub fn asked(line: &[OsString]) -> Option<(Unit, Vec<OsString>)> {
    let name = line.get(1)?.to_str()?;
    let (_, unit) = UNITS.into_iter().find(|(command, _)| *command == name)?;
    let program = OsString::from(format!("holon {name}"));
    Some((unit, std::iter::once(program).chain(line.iter().skip(2).cloned()).collect()))
}

/// Runs a unit until it is told to stop, or fails.
pub async fn run(unit: Unit, arguments: Vec<OsString>) -> Result<(), Failure> {
    match unit {
        Unit::Messenger => {
            let MessengerArguments { unit, log } = read(arguments)?;
            telemetry::init(log.log_format, &log.log_level);
            let options = holon_mu::Options::try_from(unit).map_err(Failure::usage)?;
            let mut stop = Stop::listen()?;
            let listener = server::bind(options.listen).map_err(Failure::network)?;
            let running =
                Box::pin(holon_mu::Service::start(options, listener)).await.map_err(failed("messenger unit"))?;
            ready(running.url());
            let went_on = tokio::select! { () = stop.asked() => true, () = running.failed() => false };
            ended("messenger unit", went_on, running.stop().await)
        }
        Unit::Scheduler => {
            let SchedulerArguments { unit, log } = read(arguments)?;
            telemetry::init(log.log_format, &log.log_level);
            let options = holon_su::Options::try_from(unit).map_err(Failure::usage)?;
            let mut stop = Stop::listen()?;
            let listener = server::bind(options.listen).map_err(Failure::network)?;
            let running =
                Box::pin(holon_su::Service::start(options, listener)).await.map_err(failed("scheduler unit"))?;
            ready(running.url());
            let stopping = running.stopping();
            let went_on = tokio::select! { () = stop.asked() => true, () = stopping.cancelled() => false };
            ended("scheduler unit", went_on, running.stop().await)
        }
        Unit::Compute => {
            let ComputeArguments { unit, log } = read(arguments)?;
            telemetry::init(log.log_format, &log.log_level);
            holon_cu::raise_open_files();
            let options = holon_cu::Options::try_from(unit).map_err(Failure::usage)?;
            let mut stop = Stop::listen()?;
            let listener = server::bind(options.listen).map_err(Failure::network)?;
            let running =
                Box::pin(holon_cu::Service::start(options, listener)).await.map_err(failed("compute unit"))?;
            ready(running.url());
            stop.asked().await;
            ended("compute unit", true, running.stop().await)
        }
        Unit::Weave => {
            let WeaveArguments { unit } = read(arguments)?;
            telemetry::init(unit.log_format, &unit.log);
            let options = holon_weave::Options::from(unit);
            let mut stop = Stop::listen()?;
            let listener = server::bind(options.listen).map_err(Failure::network)?;
            let running =
                Box::pin(holon_weave::Service::start(options, listener)).await.map_err(failed("local Arweave"))?;
            ready(running.url());
            let went_on = tokio::select! { () = stop.asked() => true, () = running.failed() => false };
            ended("local Arweave", went_on, running.stop().await)
        }
    }
}

/// Reads the unit's flags, variables and file. Help and wrong flags end the program here, as they do for other commands.
fn read<T: CommandFactory + FromArgMatches>(arguments: Vec<OsString>) -> Result<T, Failure> {
    match config::parse(arguments) {
        Ok(arguments) => Ok(arguments),
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => Err(Failure::usage(error)),
    }
}

/// Says where the unit is: the line that scripts wait for.
fn ready(url: impl Display) {
    crate::terminal::Terminal::new(false).line(url.to_string());
}

fn failed<E: Display>(unit: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::network(format!("the {unit} cannot start: {error}"))
}

fn ended<E: Display>(unit: &str, went_on: bool, stopped: Result<(), E>) -> Result<(), Failure> {
    stopped.map_err(|error| Failure::network(format!("the {unit} did not stop in order: {error}")))?;
    match went_on {
        true => Ok(()),
        false => Err(Failure::network(format!("the {unit} could not go on")).hint("its log above says why")),
    }
}
