//! `holon-mu`: the messenger unit as a program of its own.

use anyhow::Context;
use clap::Parser;
use holon_mu::{Arguments, Options, Service};
use holon_unit::telemetry::{self, LogFormat};
use holon_unit::{config, server};

/// Messenger unit of an ao network: takes signed items, has them scheduled, and pushes what processes send.
#[derive(Debug, Parser)]
#[command(name = "holon-mu", version)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
    /// Form of the log
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Level of the log, for example info or holon_mu=debug
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program: Program = match config::parse(std::env::args_os()) {
        Ok(program) => program,
        Err(config::ConfigError::Arguments(error)) => error.exit(),
        Err(error) => return Err(error.into()),
    };
    telemetry::init(program.log_format, &program.log_level);
    let options = Options::try_from(program.arguments)?;
    let listener = server::bind(options.listen)?;
    let running = Service::start(options, listener).await.context("the messenger unit cannot start")?;
    let failed = tokio::select! {
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("signals cannot be received")?;
            false
        }
        () = running.failed() => true,
    };
    running.stop().await.context("the messenger unit did not stop in order")?;
    anyhow::ensure!(!failed, "a background task failed; see the log");
    Ok(())
}
