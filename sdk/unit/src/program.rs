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

/// Resolves on Ctrl-C, and on SIGTERM where there is one: what service managers and containers send.
///
/// # Errors
/// When signals cannot be received.
pub async fn asked_to_stop() -> std::io::Result<()> {
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
