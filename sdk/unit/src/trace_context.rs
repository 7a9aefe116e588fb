//! The W3C trace context: one id for all that follows from a client's request, in the logs of every unit it passes through.
//!
//! Each unit works on a message within [`message_span`], so whatever it logs meanwhile carries the trace, the process, the
//! message and, once it is known, the nonce, in the same words. Lines that say what becomes of single messages have the target
//! [`MESSAGES`] and the level `debug`: `RUST_LOG=info,messages=debug` shows them.

use std::fmt;
use std::str::FromStr;

use actix_web::HttpRequest;
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing::field::{Empty, display};

/// Target of the log lines about single messages.
pub const MESSAGES: &str = "messages";

/// The trace of a request, if its `traceparent` header names one.
pub fn of(request: &HttpRequest) -> Option<TraceId> {
    TraceId::of_traceparent(request.headers().get("traceparent")?.to_str().ok()?)
}

/// The span of the work of `unit` on `message` to `process`.
pub fn message_span(
    unit: &'static str,
    trace: Option<TraceId>,
    process: impl fmt::Display,
    message: impl fmt::Display,
) -> Span {
    // A field with the name `message` would be printed without it.
    let span = tracing::info_span!(
        target: "messages",
        "message",
        unit,
        trace = Empty,
        %process,
        message_id = %message,
        nonce = Empty
    );
    if let Some(trace) = trace {
        span.record("trace", display(trace));
    }
    span
}

/// The message of the span that this runs in has this nonce.
pub fn nonce(nonce: u64) {
    Span::current().record("nonce", nonce);
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

    /// The header for a request on behalf of the span that is named after these bytes, something below this trace.
    pub fn traceparent(&self, span: &[u8; 32]) -> String {
        let mut parent = [0; 8];
        parent.copy_from_slice(&span[..8]);
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
}
