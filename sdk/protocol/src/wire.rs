//! The scheduler's JSON (spec 02 §6).

use serde::{Deserialize, Serialize};

use crate::{Address, AssignmentId, BlockHeight, DataItem, ItemId, ProcessId, Tags, Timestamp, base64url, bundle};

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
    /// The 32 bytes as text, null if absent or not UTF-8; see [`Entry::signed`] for another spelling.
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
        let is_process = assignment.tags().get("Message").is_none();
        Self {
            message: item.map(|item| Item::new(item, is_process)),
            assignment: Assignment::new(assignment, show_anchor),
        }
    }

    /// The entry with everything that its signatures cover, as far as JSON can say it (an extension: `show-anchor=all`).
    /// Anchors are base64url, `""` where there is none. A message whose tags are encoded otherwise than [`Tags::encode`]
    /// does, so that JSON does not say what was signed, is as [`Self::new`] has it, and such an assignment, or one with data,
    /// shows no anchor.
    pub fn signed(assignment: &DataItem, item: Option<&DataItem>) -> Self {
        let spelled = |item: &DataItem| Some(item.anchor().map(base64url::encode).unwrap_or_default());
        let mut entry = Self::new(assignment, item, true);
        let exact = |item: &DataItem| item.tags().encode() == item.tag_bytes();
        entry.assignment.anchor =
            if exact(assignment) && assignment.data().is_empty() { spelled(assignment) } else { None };
        if let (Some(shown), Some(item)) = (&mut entry.message, item)
            && exact(item)
        {
            shown.anchor = spelled(item);
        }
        entry
    }
}

impl Owner {
    /// The signer of `item`.
    pub fn of(item: &DataItem) -> Self {
        Self { address: item.owner_address(), key: base64url::encode(item.owner()) }
    }
}

impl Item {
    /// A stored item as a message, or as a process's own log entry.
    pub fn new(item: &DataItem, is_process: bool) -> Self {
        Self {
            id: item.id(),
            owner: Owner::of(item),
            data: if is_process {
                text(&item.data())
            } else {
                Some(String::from_utf8_lossy(&item.data()).into_owned())
            },
            tags: item.tags().clone(),
            signature: base64url::encode(item.signature()),
            anchor: anchor_text(item),
            target: match item.target() {
                None if is_process => None,
                target => Some(base64url::encode(target.as_ref().map_or(&[] as &[u8], |target| target))),
            },
        }
    }
}

impl Assignment {
    /// A stored assignment. `show_anchor` spells an anchor that is not text as base64url instead of leaving it out.
    pub fn new(item: &DataItem, show_anchor: bool) -> Self {
        let spelled = || item.anchor().filter(|_| show_anchor).map(base64url::encode);
        Self {
            id: item.id().into(),
            owner: Owner::of(item),
            tags: item.tags().clone(),
            signature: base64url::encode(item.signature()),
            anchor: anchor_text(item).or_else(spelled),
            target: Some(item.target().map(base64url::encode).unwrap_or_default()),
        }
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
    /// The record for a stored process and its assignment (or, for an old-style process, the bundle that holds it).
    /// A block height that is missing is written as zero, like a missing timestamp.
    pub fn new(assignment: &DataItem, process: &DataItem) -> Self {
        let tag = |name| assignment.tags().get(name);
        let old_style = bundle::is_bundle(assignment.tags());
        Self {
            process_id: process.id().into(),
            block: tag("Block-Height").map_or_else(|| BlockHeight::default().padded(), str::to_owned),
            owner: Owner::of(process),
            tags: process.tags().clone(),
            timestamp: tag("Timestamp").and_then(|value| value.parse().ok()).unwrap_or_default(),
            data: if old_style { None } else { text(&process.data()) },
            anchor: anchor_text(process),
            signature: Some(base64url::encode(process.signature())),
            target: process.target().map(base64url::encode),
        }
    }

    /// The record with its anchor as [`Entry::signed`] spells it (an extension: `show-anchor=all`).
    pub fn signed(assignment: &DataItem, process: &DataItem) -> Self {
        let mut record = Self::new(assignment, process);
        if process.tags().encode() == process.tag_bytes() {
            record.anchor = Some(process.anchor().map(base64url::encode).unwrap_or_default());
        }
        record
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn anchor_text(item: &DataItem) -> Option<String> {
    item.anchor().and_then(|anchor| text(&anchor))
}
