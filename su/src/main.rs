//! The scheduler unit as a program of its own.

use std::process::ExitCode;

use anyhow::Context;
use holon_su::{Options, Program, Service};
use holon_unit::config::{self, ConfigError};
use holon_unit::program::{self, StopSignals};
use holon_unit::server;

fn main() -> ExitCode {
    program::ended(run())
}

#[tokio::main]
async fn run() -> anyhow::Result<()> {
    let program: Program = match config::parse(std::env::args_os()) {
        Ok(program) => program,
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => return Err(error.into()),
    };
    program.log.init();
    let mut stop = StopSignals::listen().context("signals cannot be received")?;
    let options = Options::try_from(program.arguments)?;
    let listener = server::bind(options.listen)?;
    let running = Service::start(options, listener).await.context("the scheduler unit cannot start")?;
    println!("{}", running.url());
    let failed = tokio::select! {
        () = stop.received() => false,
        () = running.stopping().cancelled_owned() => true,
    };
    running.stop().await?;
    anyhow::ensure!(!failed, "the scheduler unit failed; its log says why");
    Ok(())
}
