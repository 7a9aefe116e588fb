//! Which push something belongs to: the client's item at its beginning, the message whose result asked for it, how far
//! down it is. Budgets, fairness and traces go by it. `Pushed-For` does not do: it ends at assignments (spec 04 §10.7).

use holon_protocol::ItemId;
use holon_unit::trace_context::TraceId;
use serde::{Deserialize, Serialize};

/// Where a task stands in the tree of what follows from one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descent {
    /// The beginning: a client's item, a client's assignment, or a cron result. Absent in what was stored before it was
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<ItemId>,
    /// Message, assignment or process whose result asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ItemId>,
    /// Steps from the origin, which has none.
    #[serde(default)]
    pub depth: u32,
    /// The depth from which steps count against the budget: where the operator took it up again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub granted: u32,
    /// If a cron began the push, whom what waits of it is accounted to: its process, or where the push began that made this process or
    /// the first of its ancestors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<ItemId>,
    /// The lineage whose message had the process of that cron taken up, if one had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopter: Option<ItemId>,
    /// The trace that the client named, if it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Descent {
    /// The beginning of a push by a cron, which is accounted to `account`.
    pub fn of_cron(origin: ItemId, account: ItemId) -> Self {
        Self { cron: Some(account), ..Self::of_origin(origin) }
    }

    /// What processes with crons count for that come to be here, or are met: however many generations of crons make crons, and have
    /// others taken up, it stays the same.
    pub fn lineage(&self) -> Option<ItemId> {
        self.adopter.or(self.cron).or(self.origin)
    }

    /// The beginning of a push.
    pub fn of_origin(origin: ItemId) -> Self {
        Self { origin: Some(origin), ..Self::default() }
    }

    /// What the result of `parent`, which stands here, asks for.
    pub fn below(&self, parent: ItemId) -> Self {
        Self { parent: Some(parent), depth: self.depth.saturating_add(1), ..*self }
    }

    /// The trace it belongs to: the client's, else one that is named after the origin.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace.or_else(|| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&self.origin?.as_bytes()[..16]);
            TraceId::new(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_keep_the_origin_and_its_trace() {
        let (origin, parent) = (ItemId::from_bytes([7; 32]), ItemId::from_bytes([8; 32]));
        let below = Descent::of_origin(origin).below(origin).below(parent);
        assert_eq!((below.origin, below.parent, below.depth), (Some(origin), Some(parent), 2));
        assert_eq!(below.trace_id().map(|id| id.to_string()), Some("07".repeat(16)));
        let header = below.trace_id().map(|id| id.traceparent(parent.as_bytes()));
        assert_eq!(header.as_deref().and_then(TraceId::of_traceparent), below.trace_id());
        assert_eq!(Descent::default().trace_id(), None);
    }
}
