//! What can be wrong with a slot of a log.

use holon_protocol::{AssignmentId, ItemId, Nonce, ProcessId};

use super::LogError;

/// A slot cannot be used; nothing from it on is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slot {slot} of process {process}: {fault}")]
pub struct SlotError {
    /// The process.
    pub process: ProcessId,
    /// The slot.
    pub slot: Nonce,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody knows it, but it must exist.
    #[error("no assignment is on Arweave, but there is one for slot {later}")]
    Missing {
        /// A later slot that is known.
        later: Nonce,
    },
    /// The scheduler gave the place twice.
    #[error("the scheduler signed two assignments, {first} and {second}")]
    Equivocation {
        /// One of them.
        first: AssignmentId,
        /// The other.
        second: AssignmentId,
    },
    /// The assignment is not what its signature covers, or another wallet's.
    #[error("assignment {assignment} is forged: {reason}")]
    Assignment {
        /// The assignment.
        assignment: AssignmentId,
        /// How that shows.
        reason: String,
    },
    /// The message, or assigned item, is not what its signature covers.
    #[error("message {message} is forged: {reason}")]
    Message {
        /// The message.
        message: ItemId,
        /// How that shows.
        reason: String,
    },
    /// What the scheduler says about the process is not how its log begins.
    #[error("what the scheduler says about the process differs from how its log begins: {what}")]
    Record {
        /// What differs.
        what: &'static str,
    },
    /// What the scheduler says of it does not hold all that was signed, and the operator does not believe it then.
    #[error("the scheduler does not say all that its signatures cover, so they cannot be checked")]
    Unverifiable,
    /// The message, or assigned item, is not to be found.
    #[error("message {message} is not on Arweave")]
    Absent {
        /// The message.
        message: ItemId,
    },
    /// The message, or assigned item, has more data than is read.
    #[error("the data of message {message} is larger than the {limit_bytes} bytes that this unit reads")]
    TooLarge {
        /// The message.
        message: ItemId,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The bundle that is said to hold the assignment, and would tell whether an item was sent or assigned, cannot be believed.
    #[error("bundle {bundle}, which is said to hold the assignment, is forged: {reason}")]
    Bundle {
        /// The bundle.
        bundle: ItemId,
        /// How that shows.
        reason: String,
    },
    /// More items than are looked at claim the slot, and none of those that were is the scheduler's.
    #[error("{claims} items claim it, and none of those is an assignment that the scheduler signed")]
    Crowded {
        /// How many were looked at.
        claims: usize,
    },
    /// It does not follow the slot before.
    #[error(transparent)]
    Log(LogError),
}

impl Fault {
    /// Whether it may be gone later: gateways index what was uploaded in any order.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Absent { .. } | Self::Crowded { .. })
    }
}
