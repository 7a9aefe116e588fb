//! The scheduler's JSON (spec 02 §6).

use serde::{Deserialize, Serialize};

use crate::{Address, AssignmentId, DataItem, ItemId, ProcessId, Tags, Timestamp};

/// A public key and its wire address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Wire address.
    pub address: Address,
    /// The owner field, base64url.
    pub key: String,
}

/// A message, or a process as a log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Item id.
    pub id: ItemId,
    /// Signer.
    pub owner: Owner,
    /// Text; lossy for messages, null for a process whose data is not UTF-8.
    pub data: Option<String>,
    /// Tags in order.
    pub tags: Tags,
    /// base64url.
    pub signature: String,
    /// The 32 bytes as text, null if absent or not UTF-8.
    pub anchor: Option<String>,
    /// base64url; `""` for a message without target, null for a process without target.
    pub target: Option<String>,
}

/// An assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Item id.
    pub id: AssignmentId,
    /// Scheduler.
    pub owner: Owner,
    /// Tags in order.
    pub tags: Tags,
    /// base64url.
    pub signature: String,
    /// Text, nearly always null; see `show-anchor` in spec 02 §6.1.
    pub anchor: Option<String>,
    /// `""`.
    pub target: Option<String>,
}

/// A log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The item, null when only an on-chain item was assigned.
    pub message: Option<Item>,
    /// Its position.
    pub assignment: Assignment,
}

impl Entry {
    /// The entry for stored items; whether `item` is the process itself follows from the assignment's tags.
    pub fn new(assignment: &DataItem, item: Option<&DataItem>, show_anchor: bool) -> Self {
        let _ = (assignment, item, show_anchor);
        todo!()
    }
}

/// Paging information.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageInfo {
    /// Whether more entries match.
    pub has_next_page: bool,
}

/// An entry and where to continue after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The entry.
    pub node: Entry,
    /// Timestamp or nonce in decimal.
    pub cursor: String,
}

/// A page of a process's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Paging information.
    pub page_info: PageInfo,
    /// Entries in order.
    pub edges: Vec<Edge>,
}

/// `GET /processes/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub process_id: ProcessId,
    /// Block height, 12 digits.
    pub block: String,
    /// Signer.
    pub owner: Owner,
    /// Tags in order.
    pub tags: Tags,
    /// Scheduler's clock.
    pub timestamp: Timestamp,
    /// Text if UTF-8.
    pub data: Option<String>,
    /// Text if UTF-8.
    pub anchor: Option<String>,
    /// base64url.
    pub signature: Option<String>,
    /// base64url.
    pub target: Option<String>,
}

impl Process {
    /// The record for a stored process and its assignment.
    pub fn new(assignment: &DataItem, process: &DataItem) -> Self {
        let _ = (assignment, process);
        todo!()
    }
}
