//! `holon-cu`: a compute unit as a program of its own.

use std::process::ExitCode;

use holon_cu::{Options, Program, Service};
use holon_unit::program::{self, StopSignals};
use holon_unit::{config, server};

fn main() -> ExitCode {
    program::ended(run())
}

fn run() -> anyhow::Result<()> {
    let program: Program = match config::parse(std::env::args_os()) {
        Ok(program) => program,
        Err(config::ConfigError::Arguments(error)) => error.exit(),
        Err(error) => return Err(error.into()),
    };
    program.log.init();
    holon_cu::raise_open_files();
    let options = Options::try_from(program.arguments)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut stop = StopSignals::listen()?;
        let listener = server::bind(options.listen)?;
        let running = Service::start(options, listener).await?;
        tracing::info!(url = running.url(), "compute unit is ready");
        stop.received().await;
        tracing::info!("stopping");
        running.stop().await?;
        Ok(())
    })
}
