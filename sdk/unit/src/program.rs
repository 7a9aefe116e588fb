//! What the programs of units have in common: options of the log, and when they are asked to stop.

use crate::telemetry::{self, LogFormat};

/// Options of the log that every program of a unit takes.
#[derive(Debug, Clone, clap::Args)]
pub struct LogOptions {
    /// Form of the log
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Level of the log, for example `info` or `warn,holon_cu=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

impl LogOptions {
    /// Starts logging to standard error.
    pub fn init(&self) {
        telemetry::init(self.log_format, &self.log_level);
    }
}

/// Ctrl-C and SIGTERM, which service managers and containers send. Listen before anything else is begun: until then either ends
/// the program at once.
#[derive(Debug)]
pub struct StopSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Listens from now on. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            interrupt: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?,
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    /// Resolves when one of them comes, or came since [`StopSignals::listen`].
    pub async fn received(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
