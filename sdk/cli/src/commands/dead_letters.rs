//! `holon dead-letters`: what the messenger gave up.

use clap::Args;
use serde_json::json;

use crate::arguments::Global;
use crate::clock;
use crate::connection::{self, Connection};
use crate::failure::Failure;
use crate::terminal::{BAD, COPY, LABEL, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon dead-letters
  holon dead-letters --limit 5 --json
  holon retry <id>                     try one of them again";

/// The operator's token, where a messenger asks for one.
#[derive(Debug, Args)]
pub struct TokenArgument {
    /// The operator's token, where the messenger asks for one [default: that of the local network]
    #[arg(long, value_name = "TOKEN", env = "MU_OPERATOR_TOKEN", hide_env_values = true)]
    operator_token: Option<String>,
}

impl TokenArgument {
    /// The token that was given, else the one in the data folder of a network on this computer.
    pub fn token(&self, connection: &Connection) -> Option<String> {
        self.operator_token.clone().or_else(|| token_of(connection, "mu"))
    }
}

/// A unit's token in the data folder of a network on this computer.
pub fn token_of(connection: &Connection, unit: &str) -> Option<String> {
    let file = connection.record.as_ref()?.data.join(unit).join(holon_unit::operator::FILE);
    Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
}

/// `holon dead-letters`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Most of them shown, the newest first
    #[arg(short, long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only older ones than this
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
    #[command(flatten)]
    token: TokenArgument,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let token = arguments.token.token(&connection);
    let letters = connection.network.dead_letters(arguments.before, arguments.limit.into(), token.as_deref()).await?;
    if letters.is_empty() {
        terminal.note("nothing was given up");
    }
    for letter in letters {
        if terminal.is_json() {
            terminal.json(&json!({
                "id": letter.id,
                "at": letter.at,
                "reason": letter.reason,
                "retryable": letter.retryable,
                "stage": letter.stage,
                "origin": letter.origin,
                "emitter": letter.emitter,
                "entry": letter.entry,
            }))?;
            continue;
        }
        let what = letter.stage.or(letter.entry).unwrap_or_default();
        let again = if letter.retryable { "" } else { "  cannot be used" };
        let at = clock::date_and_time(letter.at);
        terminal.line(format!("{COPY}{}{COPY:#}  {LABEL}{at}{LABEL:#}  {what}{LABEL}{again}{LABEL:#}", letter.id));
        terminal.line(format!("   {BAD}{}{BAD:#}", letter.reason));
        if let Some(origin) = letter.origin {
            terminal.line(format!("   {LABEL}follows from {origin}{LABEL:#}"));
        }
        if let Some(emitter) = letter.emitter {
            terminal.line(format!("   {LABEL}of a result of {emitter}{LABEL:#}"));
        }
    }
    Ok(())
}
