//! One evaluation: what goes in and what comes out (spec 06 §3).

use holon_protocol::Tags;
use serde_json::Value;

/// One message for a process, in the normal form of spec 05 §5.4.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The message as JSON text, exactly as `JSON.stringify` would print it: its length decides addresses in the guest.
    pub message: &'a str,
    /// The environment (process and module) as JSON text, same rules.
    pub environment: &'a str,
    /// Block height of the message; WeaveDrive admits only what was attested up to here.
    pub block_height: u64,
    /// Tags of the process, for WeaveDrive.
    pub process_tags: &'a Tags,
    /// Tags of the module, for WeaveDrive.
    pub module_tags: &'a Tags,
}

/// What evaluating one message gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The result.
    pub outcome: Outcome,
    /// Gas of this message: instructions for [`Format::Native`](super::Format::Native), 0 for unmetered formats.
    pub gas_used: u64,
    /// The exact text the module returned; absent when the call did not return.
    pub returned: Option<String>,
}

/// How a call ended. Only [`Outcome::Ok`] moves the state on (and not even that when the output reports an exhausted
/// buffer, spec 05 §5.7).
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The module answered `{"ok":true}` without a truthy `Error`.
    Ok(Response),
    /// The module answered `{"ok":true}` and `Error` is truthy in JavaScript's sense.
    Error(Response),
    /// The call failed: a trap, exhausted gas, an exit status, an unreadable answer or `{"ok":false}`. The value is what
    /// results show as `Error` (spec 05 §5.8).
    Thrown(Value),
}

/// The module's `response`, with JavaScript's idea of JSON (spec 06 §3.2). Fields it lacks, or that are not of
/// their type, are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Response {
    /// Outbox messages.
    pub messages: Option<Vec<Value>>,
    /// Processes to spawn.
    pub spawns: Option<Vec<Value>>,
    /// Assignments asked for.
    pub assignments: Option<Vec<Value>>,
    /// Whatever the process wants to show; an empty Lua table arrives as `[]`.
    pub output: Option<Value>,
    /// `Error`, truthy or not.
    pub error: Option<Value>,
}
