//! What the programs of units have in common: options of the log, and when they are asked to stop.

use std::error::Error;
use std::process::ExitCode;

use crate::telemetry::{self, LogFormat};

/// The end of a program: in order, or with what went wrong on one line of standard error.
pub fn ended(done: Result<(), impl Into<Box<dyn Error>>>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("error: {}", told(&*error.into()));
    ExitCode::FAILURE
}

/// An error with its causes, none of them twice.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{says}")]
        struct Failed {
            says: &'static str,
            #[source]
            cause: Option<Box<Failed>>,
        }
        let failed = |says, cause: Option<Failed>| Failed { says, cause: cause.map(Box::new) };
        let file = || failed("no such file", None);
        let says_it = failed("cannot read the wallet /nope: no such file", Some(file()));
        assert_eq!(told(&says_it), "cannot read the wallet /nope: no such file");
        let does_not = failed("cannot start", Some(failed("cannot read the wallet /nope", Some(file()))));
        assert_eq!(told(&does_not), "cannot start: cannot read the wallet /nope: no such file");
    }
}
