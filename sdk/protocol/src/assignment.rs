//! Assignments: a scheduler's signed statement of an entry's position (spec 02 §5).

use crate::chain::HashChain;
use crate::item::Builder;
use crate::{AssignmentId, BlockHeight, DataItem, MessageId, Nonce, ProcessId, Tags, Timestamp};

/// `Variant` of everything on the legacy network (spec 01 §10.2).
const VARIANT: &str = "ao.TN.1";
/// Largest data of an assigned item, in bytes: as much as a message may have (spec 02 §1). Schedulers assign nothing larger, unless its data is
/// excluded, and units read nothing larger if nobody tells them to.
pub const MAX_ASSIGNED_BYTES: u64 = 10 << 20;

/// The position of an entry in a process's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Process.
    pub process: ProcessId,
    /// Always 0 in practice.
    pub epoch: u64,
    /// Position.
    pub nonce: Nonce,
    /// Link of the hash chain.
    pub hash_chain: HashChain,
    /// L1 height last seen by the scheduler.
    pub block_height: BlockHeight,
    /// Scheduler's clock, strictly increasing within a process.
    pub timestamp: Timestamp,
    /// The assigned item; `None` for a process's own entry.
    pub message: Option<MessageId>,
    /// Fields the evaluator must not load, verbatim.
    pub exclude: Vec<String>,
}

/// A tag that an assignment must have is missing or unreadable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("assignment tag {tag} is missing or not readable")]
pub struct AssignmentError {
    /// The tag's name.
    pub tag: &'static str,
}

/// Whether exclusions, as they stand in assignments, leave out a field.
pub fn excludes(exclude: &[String], field: &str) -> bool {
    exclude.iter().flat_map(|list| list.split(',')).any(|name| name.trim().eq_ignore_ascii_case(field))
}

impl Assignment {
    /// Reads the tags of an assignment.
    pub fn from_tags(tags: &Tags) -> Result<Self, AssignmentError> {
        Ok(Self {
            process: read(tags, "Process", |text| text.parse().ok())?,
            epoch: read(tags, "Epoch", decimal)?,
            nonce: Nonce(read(tags, "Nonce", decimal)?),
            hash_chain: read(tags, "Hash-Chain", |text| text.parse().ok())?,
            block_height: BlockHeight(read(tags, "Block-Height", decimal)?),
            timestamp: Timestamp(read(tags, "Timestamp", decimal)?),
            message: match tags.get("Message") {
                Some(text) => Some(text.parse().map_err(|_| AssignmentError { tag: "Message" })?),
                None => None,
            },
            exclude: tags.all("Exclude").map(str::to_owned).collect(),
        })
    }

    /// The tags in the order of spec 02 §5.1.
    pub fn to_tags(&self) -> Tags {
        let mut tags: Tags = [
            ("Process", self.process.to_string()),
            ("Epoch", self.epoch.to_string()),
            ("Nonce", self.nonce.to_string()),
            ("Hash-Chain", self.hash_chain.to_string()),
            ("Block-Height", self.block_height.padded()),
            ("Timestamp", self.timestamp.to_string()),
            ("Data-Protocol", "ao".to_owned()),
            ("Type", "Assignment".to_owned()),
            ("Variant", VARIANT.to_owned()),
        ]
        .into_iter()
        .collect();
        if let Some(message) = self.message {
            tags.push("Message", message.to_string());
        }
        for field in &self.exclude {
            tags.push("Exclude", field);
        }
        tags
    }

    /// The item to sign: no target, the given random anchor, empty data.
    pub fn item(&self, anchor: [u8; 32]) -> Builder {
        DataItem::builder().anchor(anchor).tags(self.to_tags().0)
    }

    /// The link of the entry that follows this one, whose assignment item has id `id`.
    pub fn next_hash_chain(&self, id: AssignmentId) -> HashChain {
        self.hash_chain.next(id)
    }
}

fn read<T>(tags: &Tags, tag: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, AssignmentError> {
    tags.get(tag).and_then(parse).ok_or(AssignmentError { tag })
}

/// Digits only: `u64::from_str` alone would take a sign as well.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
