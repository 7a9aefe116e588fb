//! `holon retry`: has the messenger take up again what it gave up.

use clap::Args;
use serde_json::json;

use super::dead_letters::TokenArgument;
use crate::arguments::Global;
use crate::connection;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon dead-letters                   what there is
  holon retry 17                       that one, from the stage where it stopped
  holon retry 17 18 19

What was signed is sent as it is, so nothing arrives twice. A push that had used up its budget gets a new one.";

/// `holon retry`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Ids that `holon dead-letters` shows
    #[arg(value_name = "ID", required = true)]
    letters: Vec<u64>,
    #[command(flatten)]
    token: TokenArgument,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let token = arguments.token.token(&connection);
    for letter in arguments.letters {
        connection.network.retry(letter, token.as_deref()).await.map_err(|error| {
            let hint = match error.status() {
                Some(404) => Some("`holon dead-letters` lists those there are"),
                Some(409) => Some("the process asked for something that cannot be; only its code can mend that"),
                _ => None,
            };
            match hint {
                Some(hint) => Failure::from(error).hint(hint),
                None => error.into(),
            }
        })?;
        match terminal.is_json() {
            true => terminal.json(&json!({ "retried": letter }))?,
            false => terminal.line(format!("{letter} is taken up again")),
        }
    }
    Ok(())
}
