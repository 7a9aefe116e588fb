//! A result on the terminal.

use holon_client::{Outgoing, console, outgoing};
use holon_protocol::result::EvaluationResult;
use holon_protocol::{MessageId, ProcessId};
use serde::Serialize;

use crate::failure::Failure;
use crate::terminal::{COPY, GOOD, LABEL, STRONG, Terminal};

/// Tags that every outgoing message carries and nobody needs to see.
const MACHINERY: [&str; 6] = ["Data-Protocol", "Variant", "Type", "Reference", "From-Process", "From-Module"];
/// Longest data of an outgoing message shown, in characters; `--json` shows all.
const MAX_SHOWN_CHARS: usize = 2000;

/// A result as JSON.
#[derive(Serialize)]
pub struct Shown<'a> {
    /// The message; absent for dry runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// The process.
    pub process: ProcessId,
    /// Its result.
    pub result: &'a EvaluationResult,
}

/// Shows a result. A process that reported an error makes the command fail with it.
pub fn result(
    terminal: Terminal,
    process: ProcessId,
    id: Option<MessageId>,
    result: &EvaluationResult,
) -> Result<(), Failure> {
    if terminal.is_json() {
        terminal.json(&Shown { id, process, result })?;
    } else {
        parts(terminal, result);
    }
    match console::error(result) {
        Some(error) => Err(Failure::process(error)),
        None => Ok(()),
    }
}

/// Shows what is in a result, but its error.
pub fn parts(terminal: Terminal, result: &EvaluationResult) {
    let output = console::output(result);
    if !output.is_empty() {
        terminal.field("output", format!("{STRONG}{output}{STRONG:#}"));
    }
    emissions(terminal, result);
    if let Some(gas) = result.gas_used.filter(|&gas| gas > 0) {
        terminal.field("gas", gas.to_string());
    }
    let nothing = output.is_empty()
        && result.messages.is_empty()
        && result.spawns.is_empty()
        && result.assignments.is_empty()
        && console::error(result).is_none();
    if nothing {
        terminal.field("output", format!("{LABEL}none{LABEL:#}"));
    }
}

/// Shows what a process sends, spawns and assigns.
pub fn emissions(terminal: Terminal, result: &EvaluationResult) {
    for message in outgoing(result) {
        sent(terminal, "message", &message);
    }
    for spawn in &result.spawns {
        sent(terminal, "spawn", &Outgoing::read(spawn));
    }
    for assignment in &result.assignments {
        terminal.field("assign", assignment.to_string());
    }
}

fn sent(terminal: Terminal, label: &str, message: &Outgoing) {
    let mut line = String::new();
    if !message.target.is_empty() {
        line.push_str(&format!("{LABEL}to{LABEL:#} {COPY}{}{COPY:#}  ", message.target));
    }
    for tag in message.tags.iter().filter(|tag| !MACHINERY.contains(&tag.name.as_str())) {
        line.push_str(&format!("{LABEL}{}{LABEL:#} {GOOD}{}{GOOD:#}  ", tag.name, tag.value));
    }
    let mut text = line.trim_end().to_owned();
    if !message.data.trim().is_empty() {
        text.push('\n');
        text.extend(message.data.chars().take(MAX_SHOWN_CHARS));
        if message.data.chars().nth(MAX_SHOWN_CHARS).is_some() {
            text.push_str(&format!("{LABEL} … ({} bytes; --json shows all){LABEL:#}", message.data.len()));
        }
    }
    terminal.field(label, text);
}
