//! The compute unit's JSON (spec 05 §2.3).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The result of one message.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EvaluationResult {
    /// Outbox messages as the process emitted them.
    #[serde(default)]
    pub messages: Vec<Value>,
    /// Assignments asked for.
    #[serde(default)]
    pub assignments: Vec<Value>,
    /// Processes to spawn.
    #[serde(default)]
    pub spawns: Vec<Value>,
    /// Anything; `""` when the process gave none.
    #[serde(default)]
    pub output: Value,
    /// Gas of this message, 0 when unmetered; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gas_used: Option<u64>,
    /// Present only when evaluation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}
