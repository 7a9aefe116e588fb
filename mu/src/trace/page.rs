//! Traces in the form of the reference's `GET /?debug` (spec 04 §6), without addresses of clients.

use std::collections::HashSet;

use holon_protocol::{ItemId, ProcessId};
use serde_json::{Value, json};

use super::report::{Node, Reporter};
use super::{Kind, MAX_TEXT_CHARACTERS};
use crate::outbox::OutboxError;

/// Most items looked at for one page.
pub const MAX_SEARCHED: usize = 1_000;
/// Most items of a page.
pub const MAX_PAGE: usize = 1_000;

/// What a page is asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// Process whose items are listed.
    pub process: ProcessId,
    /// Only this kind: `MESSAGE`, `SPAWN` or `ASSIGN`.
    pub kind: &'static str,
    /// Only items whose id has this text in it, and what they come from and lead to.
    pub part: Option<String>,
    /// Pages from 1.
    pub page: usize,
    /// Items of a page.
    pub size: usize,
}

fn kind(node: &Node) -> &'static str {
    match node.kind {
        Some(Kind::Process) => "SPAWN",
        Some(Kind::Assignment) => "ASSIGN",
        _ => "MESSAGE",
    }
}

impl Reporter {
    /// One page of traces.
    pub async fn page(&self, query: &Query) -> Result<Value, OutboxError> {
        let mut found = Vec::new();
        for item in self.outbox.traced(query.process, MAX_SEARCHED).await? {
            let node = Node::of(item, self.outbox.trace(item).await?);
            let fits = query.part.as_ref().is_none_or(|part| item.to_string().contains(part.as_str()));
            if fits && kind(&node) == query.kind {
                let relation = match (&query.part, node.parent) {
                    (None, Some(_)) => "descendant",
                    (Some(_), _) | (None, None) => "root",
                };
                found.push((relation, node));
            }
        }
        if query.part.is_some() {
            self.relatives(&mut found).await?;
        }
        let start = query.page.saturating_sub(1).saturating_mul(query.size);
        let more = found.len() > start.saturating_add(query.size);
        let edges: Vec<_> =
            found.iter().skip(start).take(query.size).map(|(relation, node)| edge(relation, node)).collect();
        Ok(json!({ "pageInfo": { "hasNextPage": more }, "edges": edges }))
    }

    /// Adds what the roots come from, and what they lead to.
    async fn relatives(&self, found: &mut Vec<(&'static str, Node)>) -> Result<(), OutboxError> {
        let mut seen: HashSet<ItemId> = found.iter().filter_map(|(_, node)| node.id).collect();
        let mut up: Vec<ItemId> = found.iter().filter_map(|(_, node)| node.parent).collect();
        let mut down: Vec<ItemId> = found.iter().flat_map(|(_, node)| node.children.clone()).collect();
        while let Some((relation, item)) =
            up.pop().map(|item| ("ancestor", item)).or_else(|| down.pop().map(|item| ("descendant", item)))
        {
            if found.len() >= MAX_SEARCHED {
                break;
            }
            if !seen.insert(item) {
                continue;
            }
            let node = Node::of(item, self.outbox.trace(item).await?);
            match relation {
                "ancestor" => up.extend(node.parent),
                _ => down.extend(&node.children),
            }
            found.push((relation, node));
        }
        Ok(())
    }
}

fn edge(relation: &str, node: &Node) -> Value {
    let error = node.result.as_ref().and_then(|result| result.error.clone());
    let given_up = node.gave_up.iter().map(|(stage, reason)| format!("{stage}: {reason}"));
    let logs: Vec<String> = error.map(|error| format!("error: {error}")).into_iter().chain(given_up).collect();
    let logs: Vec<String> = logs.into_iter().map(|line| line.chars().take(MAX_TEXT_CHARACTERS).collect()).collect();
    json!({
        "node": {
            "relation": relation,
            "id": node.id,
            "messageId": node.id,
            "processId": node.to,
            "wallet": null,
            "parentId": node.parent,
            "timestamp": node.made_at,
            "type": kind(node),
            "logs": logs,
        },
        "cursor": node.id,
    })
}
