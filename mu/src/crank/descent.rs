//! Which push something belongs to: the client's item at its beginning, the message whose result asked for it, how far
//! down it is. Budgets, fairness and traces go by it. `Pushed-For` does not do: it ends at assignments (spec 04 §10.7).

use std::fmt;
use std::str::FromStr;

use holon_protocol::{ItemId, ProcessId};
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
    /// The process whose cron began the push, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<ProcessId>,
    /// The trace that the client named, if it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Descent {
    /// The beginning of a push by the cron of `process`.
    pub fn of_cron(origin: ItemId, process: ProcessId) -> Self {
        Self { cron: Some(process), ..Self::of_origin(origin) }
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

/// Trace id of the W3C trace context: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// A trace id; `None` for zeros, which mean that there is none.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Reads the trace id of a `traceparent` header: `00-<trace id>-<parent id>-<flags>`. Later versions may append
    /// fields.
    pub fn of_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let known = version != "00" || parts.next().is_none();
        if !known || version == "ff" || !hex(version, 2) || !hex(parent, 16) || !hex(flags, 2) {
            return None;
        }
        if parent.bytes().all(|byte| byte == b'0') {
            return None;
        }
        trace.parse().ok()
    }

    /// The header for a request on behalf of `span`, something below this trace.
    pub fn traceparent(&self, span: ItemId) -> String {
        let mut parent = [0; 8];
        parent.copy_from_slice(&span.as_bytes()[..8]);
        // Zeros mean that there is no parent.
        let parent = u64::from_be_bytes(parent).max(1);
        format!("00-{self}-{parent:016x}-01")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// The text is no trace id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trace id has 32 lower-case hexadecimal digits, not all zero")]
pub struct NotATraceId;

impl FromStr for TraceId {
    type Err = NotATraceId;

    fn from_str(text: &str) -> Result<Self, NotATraceId> {
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotATraceId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NotATraceId)?;
        Self::new(number.to_be_bytes()).ok_or(NotATraceId)
    }
}

impl TryFrom<String> for TraceId {
    type Error = NotATraceId;

    fn try_from(text: String) -> Result<Self, NotATraceId> {
        text.parse()
    }
}

impl From<TraceId> for String {
    fn from(id: TraceId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn only_well_formed_headers_name_a_trace() {
        let read = |header: &str| TraceId::of_traceparent(header).map(|id| id.to_string());
        assert_eq!(read(&format!("00-{TRACE}-00f067aa0ba902b7-01")).as_deref(), Some(TRACE));
        assert_eq!(read(&format!("01-{TRACE}-00f067aa0ba902b7-01-later")).as_deref(), Some(TRACE));
        for bad in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}ä-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn descendants_keep_the_origin_and_its_trace() {
        let (origin, parent) = (ItemId::from_bytes([7; 32]), ItemId::from_bytes([8; 32]));
        let below = Descent::of_origin(origin).below(origin).below(parent);
        assert_eq!((below.origin, below.parent, below.depth), (Some(origin), Some(parent), 2));
        assert_eq!(below.trace_id().map(|id| id.to_string()), Some("07".repeat(16)));
        let header = below.trace_id().map(|id| id.traceparent(parent));
        assert_eq!(header.as_deref().and_then(TraceId::of_traceparent), below.trace_id());
        assert_eq!(Descent::default().trace_id(), None);
    }
}
