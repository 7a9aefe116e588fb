//! `holon-weave`: a local Arweave.

use std::process::ExitCode;

use anyhow::Context;
use holon_unit::program::{self, StopSignals};
use holon_unit::{config, server, telemetry};
use holon_weave::{Arguments, Options, Service};

fn main() -> ExitCode {
    program::ended(run())
}

fn run() -> anyhow::Result<()> {
    let arguments: Arguments = match config::parse(std::env::args_os()) {
        Err(config::ConfigError::Arguments(error)) => error.exit(),
        parsed => parsed?,
    };
    telemetry::init(arguments.log_format, &arguments.log);
    let options = Options::from(arguments);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = StopSignals::listen().context("signals cannot be received")?;
        let listener = server::bind(options.listen)?;
        let running = Service::start(options, listener).await?;
        tracing::info!(url = running.url(), "local Arweave is ready");
        tokio::select! {
            () = stop.received() => {}
            () = running.failed() => {}
        }
        running.stop().await?;
        Ok(())
    })
}
