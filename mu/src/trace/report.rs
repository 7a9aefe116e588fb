//! Traces as somebody reads them: what descends from a message, each with its place in a log, its times and its error.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use holon_protocol::{ItemId, Nonce, Timestamp};
use serde::Serialize;

use super::{Evaluated, Event, Kind, Made, What};
use crate::crank::budget::Budgets;
use crate::crank::driver::Driver;
use crate::locate::Directory;
use crate::outbox::{MAX_EVENTS_PER_ITEM, Outbox, OutboxError};
use crate::peers::Schedulers;

/// Most items of a report.
pub const MAX_NODES: usize = 10_000;
/// Most items of a report when the request does not say.
pub const DEFAULT_NODES: usize = 1_000;
/// Most schedulers asked at a time for places in logs.
const ASKED_AT_A_TIME: usize = 16;

/// Reads traces. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    /// Where traces are kept.
    pub outbox: Arc<dyn Outbox>,
    /// What is left to do.
    pub driver: Driver,
    /// Who is who.
    pub directory: Directory,
    /// Calls to schedulers.
    pub schedulers: Schedulers,
}

/// What descends from a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where the push began.
    pub origin: Option<ItemId>,
    /// Its id in the W3C trace context of requests to other units.
    pub trace: Option<String>,
    /// Tasks of the whole push that are left to do, at all messengers that share the outbox.
    pub waiting: usize,
    /// Messages, spawns and assignments that the whole push has asked for, while something is left to do.
    pub pushed: Option<u64>,
    /// What it may ask for.
    pub limits: BudgetLimits,
    /// Whether there are more items than are shown.
    pub truncated: bool,
    /// The message and what descends from it, each before what descends from it.
    pub nodes: Vec<Node>,
}

/// The budgets of a push; 0: no limit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetLimits {
    per_push: u64,
    depth: u32,
    waiting: usize,
    waiting_per_cron: usize,
    crons_per_lineage: usize,
    per_process_per_second: u32,
}

impl From<Budgets> for BudgetLimits {
    fn from(budgets: Budgets) -> Self {
        let Budgets { per_push, depth, waiting, waiting_per_cron, crons_per_lineage, per_process_per_second } = budgets;
        Self { per_push, depth, waiting, waiting_per_cron, crons_per_lineage, per_process_per_second }
    }
}

/// One item of a report.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its id; that of a cron result is made up.
    pub id: Option<ItemId>,
    /// The message whose result asked for it.
    pub parent: Option<ItemId>,
    /// Steps from the beginning of the push.
    pub depth: u32,
    /// What it is.
    pub kind: Option<Kind>,
    /// The process that asked for it; a client, if there is none.
    pub from: Option<ItemId>,
    /// Process or wallet it is for.
    pub to: Option<ItemId>,
    /// Its place in the log of the process.
    pub nonce: Option<Nonce>,
    /// When it came to be here.
    pub made_at: Option<Timestamp>,
    /// When its scheduler, or Arweave, had it.
    pub scheduled_at: Option<Timestamp>,
    /// When its result was there.
    pub evaluated_at: Option<Timestamp>,
    /// Its result, in short.
    pub result: Option<Evaluated>,
    /// Whether its scheduler has the same content under another id.
    pub duplicate: bool,
    /// What was given up of it and of what its result asked for, with reasons.
    pub gave_up: Vec<(String, String)>,
    /// What its result asked for, as far as it came to be.
    pub children: Vec<ItemId>,
}

impl Node {
    /// What the events of an item say.
    pub fn of(id: ItemId, events: Vec<Event>) -> Self {
        let mut node = Self { id: Some(id), ..Self::default() };
        let mut children = HashSet::new();
        for Event { at, what } in events {
            match what {
                What::Made(Made { kind, descent, emitter, to }) => {
                    node.kind = Some(kind);
                    node.parent = descent.parent;
                    node.depth = descent.depth;
                    node.from = emitter.map(ItemId::from);
                    node.to = Some(to);
                    node.made_at = node.made_at.or(Some(at));
                }
                What::Child(child) => {
                    if children.insert(child) {
                        node.children.push(child);
                    }
                }
                What::Scheduled => node.scheduled_at = node.scheduled_at.or(Some(at)),
                What::Duplicate => node.duplicate = true,
                What::Evaluated(result) => {
                    node.evaluated_at = Some(at);
                    node.result = Some(result);
                }
                What::GaveUp { stage, reason } => node.gave_up.push((stage, reason)),
            }
        }
        node
    }
}

impl Reporter {
    /// What descends from `item`, at most `limit` items; `None` when nothing is known of it.
    pub async fn report(&self, item: ItemId, limit: usize) -> Result<Option<Report>, OutboxError> {
        let events = self.outbox.trace(item).await?;
        let Some(descent) = events.iter().find_map(|event| match &event.what {
            What::Made(made) => Some(made.descent),
            _ => None,
        }) else {
            return Ok(None);
        };
        let (mut nodes, mut unread) = (Vec::new(), false);
        let mut left = vec![item];
        while let Some(next) = left.pop() {
            if nodes.len() == limit {
                left.push(next);
                break;
            }
            let events = self.outbox.trace(next).await?;
            unread |= events.len() >= MAX_EVENTS_PER_ITEM;
            let node = Node::of(next, events);
            left.extend(node.children.iter().rev());
            nodes.push(node);
        }
        let truncated = !left.is_empty() || unread;
        let (waiting, pushed) = match (descent.origin, self.outbox.shared()) {
            (Some(origin), Some(shared)) => shared.waiting(origin).await?,
            (Some(origin), None) => {
                let account = self.driver.account(origin);
                (account.map_or(0, |account| account.waiting), account.map(|account| account.pushed))
            }
            (None, _) => (0, None),
        };
        Ok(Some(Report {
            origin: descent.origin,
            trace: descent.trace_id().map(|trace| trace.to_string()),
            waiting,
            pushed,
            limits: self.driver.limits().budgets.into(),
            truncated,
            nodes: self.placed(nodes).await,
        }))
    }

    /// The nodes with their places in logs, as far as schedulers tell.
    async fn placed(&self, nodes: Vec<Node>) -> Vec<Node> {
        stream::iter(nodes)
            .map(|mut node| async move {
                node.nonce = self.nonce(&node).await;
                node
            })
            .buffered(ASKED_AT_A_TIME)
            .collect()
            .await
    }

    async fn nonce(&self, node: &Node) -> Option<Nonce> {
        node.scheduled_at?;
        let (id, to) = (node.id?, node.to?);
        match node.kind? {
            Kind::Process => Some(Nonce(0)),
            Kind::WalletMessage | Kind::Cron => None,
            Kind::Message | Kind::Notice | Kind::Assignment => {
                let located = self.directory.process(to.into()).await.ok()??;
                let assignment = self.schedulers.assignment(&located.url, id, to.into()).await;
                // A scheduler that does not answer does not keep the rest from being shown.
                assignment.ok()??.nonce()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crank::descent::Descent;

    #[test]
    fn repeated_events_of_a_resumed_task_count_once() {
        let [id, child, process] = [1, 2, 3].map(|byte| ItemId::from_bytes([byte; 32]));
        let made = Made { kind: Kind::Message, descent: Descent::of_origin(id), emitter: None, to: process };
        let events = [
            What::Made(made),
            What::Scheduled,
            What::Made(made),
            What::Scheduled,
            What::Child(child),
            What::Child(child),
            What::Evaluated(Evaluated { error: Some("no".into()), ..Evaluated::default() }),
        ];
        let events = events.into_iter().zip(10..).map(|(what, at)| Event { at: Timestamp(at), what }).collect();
        let node = Node::of(id, events);
        assert_eq!((node.made_at, node.scheduled_at), (Some(Timestamp(10)), Some(Timestamp(11))));
        assert_eq!((node.children, node.depth, node.to), (vec![child], 0, Some(process)));
        assert_eq!(node.result.unwrap().error.as_deref(), Some("no"));
    }
}
