//! The scheduler unit as a program of its own.

use anyhow::Context;
use clap::Parser;
use holon_su::{Arguments, Options, Service};
use holon_unit::config::{self, ConfigError};
use holon_unit::{server, telemetry};

/// Schedules messages of ao processes: gives each a position, keeps them, serves the log.
#[derive(Debug, Parser)]
#[command(name = "holon-su", version)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
    /// Form of the log.
    #[arg(long, value_enum, default_value = "text")]
    log_format: telemetry::LogFormat,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program: Program = match config::parse(std::env::args_os()) {
        Ok(program) => program,
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => return Err(error.into()),
    };
    telemetry::init(program.log_format, "info");
    let options = Options::try_from(program.arguments)?;
    let listener = server::bind(options.listen)?;
    let running = Service::start(options, listener).await.context("the scheduler unit cannot start")?;
    println!("{}", running.url());
    let failed = tokio::select! {
        asked = asked_to_stop() => { asked.context("signals cannot be received")?; false }
        () = running.stopping().cancelled_owned() => true,
    };
    running.stop().await?;
    anyhow::ensure!(!failed, "the scheduler unit failed; its log says why");
    Ok(())
}

/// Resolves on Ctrl-C, and on SIGTERM where there is one.
async fn asked_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
