//! `holon-mu`: the messenger unit as a program of its own.

use std::process::ExitCode;

use anyhow::Context;
use holon_mu::{Options, Program, Service};
use holon_unit::program::{self, StopSignals};
use holon_unit::{config, server};

fn main() -> ExitCode {
    program::ended(run())
}

#[tokio::main]
async fn run() -> anyhow::Result<()> {
    let program: Program = match config::parse(std::env::args_os()) {
        Ok(program) => program,
        Err(config::ConfigError::Arguments(error)) => error.exit(),
        Err(error) => return Err(error.into()),
    };
    program.log.init();
    let mut stop = StopSignals::listen().context("signals cannot be received")?;
    let options = Options::try_from(program.arguments)?;
    let listener = server::bind(options.listen)?;
    let running = Service::start(options, listener).await.context("the messenger unit cannot start")?;
    let failed = tokio::select! {
        () = stop.received() => false,
        () = running.failed() => true,
    };
    running.stop().await.context("the messenger unit did not stop in order")?;
    anyhow::ensure!(!failed, "a background task failed; see the log");
    Ok(())
}
