//! `holon trace`: what became of a message and of everything that follows from it, as a tree.

use std::collections::HashMap;

use clap::Args;
use holon_client::{Trace, TraceNode};
use holon_protocol::{ItemId, MessageId, Timestamp};

use serde_json::Value;

use super::dead_letters::{TokenArgument, token_of};
use crate::arguments::{Global, parse_message};
use crate::connection::{self, Connection};
use crate::failure::Failure;
use crate::terminal::{BAD, COPY, LABEL, STRONG, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon trace <message>                the tree below a message
  holon trace <message> --json         the messenger's answer, every time and reason in it

Each line: what it is, its process or wallet, its slot there, when it was made after the first one,
how long until it was scheduled and until its result was there, and its id. A single follower
stands below what it follows from without being indented.";

/// Most items shown unless the user asks for more.
const MAX_SHOWN: usize = 1_000;
/// Most levels that are indented.
const MAX_INDENT: usize = 20;

/// `holon trace`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Message, assignment or process id
    #[arg(value_name = "MESSAGE", value_parser = parse_message, allow_hyphen_values = true)]
    message: MessageId,
    /// Most items shown
    #[arg(short, long, value_name = "N", default_value_t = MAX_SHOWN as u16, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    #[command(flatten)]
    token: TokenArgument,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let token = arguments.token.token(&connection);
    let tree = connection.network.trace(arguments.message.into(), arguments.limit.into(), token.as_deref()).await?;
    shown(terminal, tree)
}

/// Shows what became of a message, to whom the messenger tells it.
pub async fn show(connection: &Connection, terminal: Terminal, message: MessageId) -> Result<(), Failure> {
    let token = token_of(connection, "mu");
    let tree = connection.network.trace(message.into(), MAX_SHOWN, token.as_deref()).await?;
    shown(terminal, tree)
}

fn shown(terminal: Terminal, (trace, answer): (Trace, Value)) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(&answer);
    }
    for line in lines(&trace) {
        terminal.line(line);
    }
    if trace.truncated {
        terminal.note(format!("there is more than {}: --limit", trace.nodes.len()));
    }
    if trace.waiting > 0 {
        terminal.note(format!("{} tasks of this push are left to do", trace.waiting));
    }
    Ok(())
}

/// The tree, one line for each item and one for each thing that went wrong.
fn lines(trace: &Trace) -> Vec<String> {
    let begun = trace.nodes.first().and_then(|node| node.made_at);
    let siblings: HashMap<ItemId, usize> = trace.nodes.iter().map(|node| (node.id, node.children.len())).collect();
    let mut levels: HashMap<ItemId, usize> = HashMap::new();
    let mut lines = Vec::new();
    for node in &trace.nodes {
        // A chain stays in its column; only where it branches is there another one.
        let level = match node.parent.and_then(|parent| levels.get(&parent).map(|level| (parent, *level))) {
            None => 0,
            Some((parent, level)) => level + usize::from(siblings.get(&parent).is_some_and(|count| *count > 1)),
        };
        levels.insert(node.id, level);
        let indent = "  ".repeat(level.min(MAX_INDENT));
        lines.push(format!("{indent}{}", line(node, begun)));
        lines.extend(problems(node).into_iter().map(|problem| format!("{indent}  {BAD}{problem}{BAD:#}")));
    }
    lines
}

fn line(node: &TraceNode, begun: Option<Timestamp>) -> String {
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| Some(to?.0.saturating_sub(from?.0));
    let kind = node.kind.as_deref().unwrap_or("message");
    let to = node.to.map(|to| to.to_string()).unwrap_or_default();
    let slot = node.nonce.map(|nonce| format!(" slot {nonce}")).unwrap_or_default();
    let times: Vec<String> = [
        between(begun, node.made_at).map(|ms| format!("+{ms} ms")),
        between(node.made_at, node.scheduled_at).map(|ms| format!("scheduled in {ms} ms")),
        between(node.scheduled_at.or(node.made_at), node.evaluated_at).map(|ms| format!("result in {ms} ms")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let duplicate = if node.duplicate { " (the same is there already)" } else { "" };
    format!(
        "{STRONG}{kind}{STRONG:#} {COPY}{to}{COPY:#}{slot}  {}{duplicate}  {LABEL}{}{LABEL:#}",
        times.join(", "),
        node.id
    )
}

fn problems(node: &TraceNode) -> Vec<String> {
    let result = node.result.iter();
    let errors = result.clone().filter_map(|result| result.error.as_ref()).map(|error| format!("error: {error}"));
    let skipped = result.flat_map(|result| &result.skipped).map(|(entry, reason)| format!("skipped {entry}: {reason}"));
    let gave_up = node.gave_up.iter().map(|(stage, reason)| format!("given up at {stage}: {reason}"));
    errors.chain(skipped).chain(gave_up).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(byte: u8) -> ItemId {
        ItemId::from_bytes([byte; 32])
    }

    fn node(byte: u8, parent: Option<u8>, children: &[u8]) -> serde_json::Value {
        json!({
            "id": id(byte), "parent": parent.map(id), "kind": "message", "from": null, "to": id(byte.wrapping_add(100)), "nonce": byte,
            "madeAt": 1_000 + u64::from(byte), "scheduledAt": 1_010 + u64::from(byte), "evaluatedAt": 1_030 + u64::from(byte),
            "children": children.iter().map(|child| id(*child)).collect::<Vec<_>>(),
        })
    }

    fn plain(trace: &Trace) -> Vec<String> {
        lines(trace).iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn chains_stay_in_their_column_and_branches_are_indented() {
        let mut nodes = vec![
            node(1, None, &[2]),
            node(2, Some(1), &[3, 4]),
            node(3, Some(2), &[5]),
            node(5, Some(3), &[]),
            node(4, Some(2), &[]),
        ];
        nodes[3]["result"] = json!({ "error": "it broke", "skipped": [["Messages[0]", "no target"]] });
        let trace = json!({ "origin": id(1), "waiting": 0, "truncated": false, "nodes": nodes });
        let lines = plain(&serde_json::from_value(trace).unwrap());
        let indents: Vec<_> = lines.iter().map(|line| line.len() - line.trim_start().len()).collect();
        assert_eq!(indents, [0, 0, 2, 2, 4, 4, 2], "{lines:#?}");
        assert!(
            lines[1].starts_with(&format!("message {} slot 2  +1 ms, scheduled in 10 ms, result in 20 ms", id(102)))
        );
        assert_eq!(lines[4].trim(), "error: it broke");
        assert_eq!(lines[5].trim(), "skipped Messages[0]: no target");
    }

    #[test]
    fn a_chain_of_thousands_is_not_indented() {
        let nodes: Vec<_> = (0..=200_u8)
            .map(|byte| {
                let next = [byte + 1];
                node(byte, byte.checked_sub(1), if byte < 200 { &next } else { &[] })
            })
            .collect();
        let trace = json!({ "origin": id(0), "waiting": 0, "truncated": false, "nodes": nodes });
        assert!(plain(&serde_json::from_value(trace).unwrap()).iter().all(|line| line.starts_with("message")));
    }
}
