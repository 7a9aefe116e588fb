//! Logs: human text on a terminal, JSON lines when asked.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::log_file::LogFile;

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text, coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `RUST_LOG` overrides `level` (`warn`, `holon_su=debug`, …). A second call does
/// nothing.
pub fn init(format: LogFormat, level: &str) {
    use std::io::IsTerminal;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    // An error means that logging runs already.
    let _ = match format {
        LogFormat::Text => subscriber.compact().try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
}

/// Starts logging to a file, without colours. `RUST_LOG` overrides `level`. A second call does nothing.
pub fn init_file(file: LogFile, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // An error means that logging runs already.
    let _ = fmt().with_env_filter(filter).with_writer(file).with_ansi(false).try_init();
}
