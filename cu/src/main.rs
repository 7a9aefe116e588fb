//! `holon-cu`: a compute unit as a program of its own.

use clap::Parser;
use holon_cu::{Arguments, Options, Service};
use holon_unit::{config, server, telemetry};

#[derive(Parser)]
#[command(name = "holon-cu", version, about = "Compute unit: evaluates processes and serves their results")]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
    /// Form of the log.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = telemetry::LogFormat::Text)]
    log_format: telemetry::LogFormat,
}

fn main() -> anyhow::Result<()> {
    let program: Program = match config::parse(std::env::args_os()) {
        Ok(program) => program,
        Err(config::ConfigError::Arguments(error)) => error.exit(),
        Err(error) => return Err(error.into()),
    };
    telemetry::init(program.log_format, "info");
    holon_cu::raise_open_files();
    let options = Options::try_from(program.arguments)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = server::bind(options.listen)?;
        let running = Service::start(options, listener).await?;
        tracing::info!(url = running.url(), "compute unit is ready");
        tokio::signal::ctrl_c().await?;
        tracing::info!("stopping");
        running.stop().await?;
        Ok(())
    })
}
