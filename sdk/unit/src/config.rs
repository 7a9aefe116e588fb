//! Configuration: flags > environment > TOML file > defaults.
//!
//! Units declare their options once, with clap (flags and environment). A TOML file named by `--config` then only
//! changes the defaults, so the order holds by construction and the file's keys are the long flags.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory, FromArgMatches, ValueHint};

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML or holds something that is not a flag of this program.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Flags or environment are wrong; also `--help` and `--version`. [`clap::Error::exit`] prints it.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
}

/// Name of the flag that names the file.
const CONFIG: &str = "config";

/// The flag itself, for who describes a command line that [`parse`] will read.
pub fn flag() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .help("TOML file whose keys are the long flags")
        .value_hint(ValueHint::FilePath)
}

/// Parses the program's arguments into `T`, honouring `--config FILE`.
pub fn parse<T: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<T, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = T::command();
    if !command.get_arguments().any(|argument| argument.get_id() == CONFIG) {
        command = command.arg(flag());
    }
    if let Some(path) = config_path(&arguments) {
        command = with_file(command, path)?;
    }
    Ok(T::from_arg_matches(&command.try_get_matches_from(arguments)?)?)
}

fn config_path(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(path));
        }
    }
    None
}

fn with_file(mut command: Command, path: PathBuf) -> Result<Command, ConfigError> {
    let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    let bad = |reason: String| ConfigError::File { path: path.clone(), reason };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| bad(error.to_string()))?;
    for (key, value) in table {
        let flag = key.replace('_', "-");
        let id = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(flag.as_str()))
            .map(|argument| argument.get_id().clone())
            .ok_or_else(|| bad(format!("unknown key {key}")))?;
        let values = match value {
            toml::Value::Array(values) => values.into_iter().map(plain).collect::<Option<Vec<_>>>(),
            value => plain(value).map(|value| vec![value]),
        }
        .ok_or_else(|| bad(format!("{key} must be text, a number, a boolean or a list of those")))?;
        command = command.mut_arg(id, |argument| argument.default_values(values).required(false));
    }
    Ok(command)
}

fn plain(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}
