//! Assignments: a scheduler's signed statement of an entry's position (spec 02 §5).

use crate::chain::HashChain;
use crate::item::Builder;
use crate::{AssignmentId, BlockHeight, DataItem, MessageId, Nonce, ProcessId, Tags, Timestamp};

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

impl Assignment {
    /// Reads the tags of an assignment.
    pub fn from_tags(tags: &Tags) -> Result<Self, AssignmentError> {
        let _ = tags;
        todo!()
    }

    /// The tags in the order of spec 02 §5.1.
    pub fn to_tags(&self) -> Tags {
        todo!()
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
