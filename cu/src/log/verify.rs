//! Checks of log entries: the hash chain, the order of nonces, and that ids and addresses belong to the
//! signatures and keys next to them. Pure.
//!
//! Whether the signatures cover what stands next to them is checked in [`super::signatures`], as far as the scheduler's JSON
//! allows. The chain makes two different logs of one process impossible to confuse.

use std::time::Duration;

use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::{Address, AssignmentId, ItemId, Nonce, ProcessId, Timestamp, base64url, wire};
use holon_unit::clock::Clock;
use sha2::{Digest, Sha256};

/// Height from which every log has a hash chain (spec 05 §4.5).
pub const HASH_CHAIN_HEIGHT: u64 = 1_440_000;
/// How far a scheduler's clock may be ahead of ours.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// The latest time a scheduler may claim now. Cron messages up to a later one would keep a unit busy for as long as the
/// scheduler likes.
pub fn latest(clock: &Clock) -> Timestamp {
    Timestamp(clock.now().0.saturating_add(CLOCK_TOLERANCE.as_millis() as u64))
}

/// The log is not what a log must be. The whole evaluation fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The chain is broken.
    #[error("HashChain invalid on message {0}")]
    HashChain(ItemId),
    /// An assignment is not readable.
    #[error("assignment {assignment}: {reason}")]
    Assignment {
        /// The assignment.
        assignment: AssignmentId,
        /// What is wrong.
        reason: String,
    },
    /// An entry belongs to another process.
    #[error("assignment {assignment} belongs to process {found}; {expected} was asked for")]
    Process {
        /// The assignment.
        assignment: AssignmentId,
        /// Its process.
        found: ProcessId,
        /// The process of the log.
        expected: ProcessId,
    },
    /// An entry is missing or comes twice.
    #[error("nonce {found} of assignment {assignment} does not follow; {expected} would")]
    Nonce {
        /// The assignment.
        assignment: AssignmentId,
        /// Its nonce.
        found: Nonce,
        /// The nonce that should be here.
        expected: Nonce,
    },
    /// An entry is in another epoch than the one before it, which schedulers carry on (spec 02 §4.2).
    #[error("epoch {found} of assignment {assignment} at nonce {nonce}; the log is in epoch {expected}")]
    Epoch {
        /// The assignment.
        assignment: AssignmentId,
        /// Its nonce.
        nonce: Nonce,
        /// Its epoch.
        found: u64,
        /// The epoch of the entries before.
        expected: u64,
    },
    /// An assignment claims a time that has not come.
    #[error("timestamp {found} of assignment {assignment} lies in the future; {latest} is the latest accepted now")]
    Future {
        /// The assignment.
        assignment: AssignmentId,
        /// Its timestamp.
        found: Timestamp,
        /// The latest that is accepted.
        latest: Timestamp,
    },
    /// The scheduler had said that nothing came before a time, and then there was something.
    #[error(
        "timestamp {found} of assignment {assignment} is not after the cron message at {fired}, until when the scheduler had \
         said that its log was complete"
    )]
    Late {
        /// The assignment.
        assignment: AssignmentId,
        /// Its timestamp.
        found: Timestamp,
        /// The cron message.
        fired: Timestamp,
    },
    /// An id is not the hash of the signature next to it, or an address not that of the key.
    #[error("{what} of item {id} does not belong to it")]
    Forged {
        /// `id`, `owner address` or `assigned message`.
        what: &'static str,
        /// The item.
        id: ItemId,
    },
    /// A message that was sent to somebody else stands in the log as if it had been sent to this process.
    #[error("message {message} in slot {slot} was sent to {target:?}, not to process {process}")]
    Target {
        /// The slot.
        slot: Nonce,
        /// The message.
        message: ItemId,
        /// Whom it was sent to.
        target: String,
        /// The process of the log.
        process: ProcessId,
    },
    /// An assignment is another wallet's.
    #[error("assignment {assignment} is signed by {found}, which is not the scheduler of the process")]
    Signer {
        /// The assignment.
        assignment: AssignmentId,
        /// Who signed it.
        found: Address,
    },
    /// A pushed message cannot be hashed because a field has an illegal length.
    #[error("{field} of message {id} must be 32 bytes")]
    Field {
        /// `anchor` or `target`.
        field: &'static str,
        /// The message.
        id: ItemId,
    },
}

/// What the next entry must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Assignment of the last entry.
    pub assignment: AssignmentId,
    /// Its link.
    pub hash_chain: HashChain,
    /// Its epoch.
    pub epoch: u64,
    /// Its nonce.
    pub nonce: Nonce,
    /// Its timestamp, as it was signed.
    pub timestamp: Timestamp,
    /// What the clock of the process shows there: the latest timestamp of the log so far. The clock of a scheduler may be set
    /// back between two entries, and two entries may be of one millisecond (spec 02 §4.3). A process sees the timestamps that were
    /// signed; results and crons are ordered by its clock.
    pub clock: Timestamp,
}

impl Link {
    /// The nonce of the entry after it.
    pub fn next(&self) -> Nonce {
        Nonce(self.nonce.0.saturating_add(1))
    }
}

#[cfg(test)]
impl Link {
    /// An entry of a log whose scheduler's clock was never set back before it.
    pub fn at(assignment: AssignmentId, nonce: u64, timestamp: u64) -> Self {
        let (nonce, timestamp) = (Nonce(nonce), Timestamp(timestamp));
        Self { assignment, hash_chain: HashChain::of([0; 32]), epoch: 0, nonce, timestamp, clock: timestamp }
    }
}

/// What every entry of a log must agree with.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// The process.
    pub process: ProcessId,
    /// Whether it is young enough to have a hash chain.
    pub chained: bool,
    /// Wallets that may schedule it, of which there may be none at all; `None` where whoever read the log has seen to that.
    pub signers: Option<&'a [Address]>,
    /// What time is too far in the future ([`latest`]).
    pub latest: Timestamp,
}

/// Checks that `entry` follows `previous` (`None` at the start of the log) and returns what was read from it.
pub fn follow(
    course: &Course<'_>,
    previous: Option<&Link>,
    entry: &wire::Entry,
) -> Result<(Assignment, Link), LogError> {
    let Course { process, chained, signers, latest } = *course;
    let id = entry.assignment.id;
    let assignment = Assignment::from_tags(&entry.assignment.tags)
        .map_err(|error| LogError::Assignment { assignment: id, reason: error.to_string() })?;
    if assignment.process != process {
        return Err(LogError::Process { assignment: id, found: assignment.process, expected: process });
    }
    if let Some(previous) = previous
        && assignment.epoch != previous.epoch
    {
        let (nonce, found, expected) = (assignment.nonce, assignment.epoch, previous.epoch);
        return Err(LogError::Epoch { assignment: id, nonce, found, expected });
    }
    let expected = previous.map_or(Nonce(0), Link::next);
    if assignment.nonce != expected {
        return Err(LogError::Nonce { assignment: id, found: assignment.nonce, expected });
    }
    if assignment.timestamp > latest {
        return Err(LogError::Future { assignment: id, found: assignment.timestamp, latest });
    }
    let subject = entry.message.as_ref().map(|item| item.id).or(assignment.message.map(ItemId::from));
    if chained {
        let expected = match previous {
            Some(previous) => previous.hash_chain.next(previous.assignment),
            None => HashChain::first(process),
        };
        if assignment.hash_chain != expected {
            return Err(LogError::HashChain(subject.unwrap_or(id.into())));
        }
    }
    signed(id.into(), &entry.assignment.signature, &entry.assignment.owner)?;
    if signers.is_some_and(|signers| !signers.contains(&entry.assignment.owner.address)) {
        return Err(LogError::Signer { assignment: id, found: entry.assignment.owner.address });
    }
    if let Some(item) = &entry.message {
        signed(item.id, &item.signature, &item.owner)?;
        let named = assignment.message.map_or(process.into(), ItemId::from);
        if item.id != named {
            return Err(LogError::Forged { what: "assigned message", id: item.id });
        }
        // What was sent to another process a process may see only as an item that somebody had assigned: as itself, with its own
        // target, and not as if its sender had addressed this one.
        let target = item.target.as_deref().unwrap_or_default();
        if item.id != process.into() && target.parse() != Ok(process) {
            let (slot, message, target) = (assignment.nonce, item.id, target.to_owned());
            return Err(LogError::Target { slot, message, target, process });
        }
    }
    let link = Link {
        assignment: id,
        hash_chain: assignment.hash_chain,
        epoch: assignment.epoch,
        nonce: assignment.nonce,
        timestamp: assignment.timestamp,
        clock: previous.map_or(assignment.timestamp, |previous| previous.clock.max(assignment.timestamp)),
    };
    Ok((assignment, link))
}

/// Checks that `id` is the hash of the signature and the address that of the key.
pub fn signed(id: ItemId, signature: &str, owner: &wire::Owner) -> Result<(), LogError> {
    let hash = |text: &str| base64url::decode(text).ok().map(|bytes| <[u8; 32]>::from(Sha256::digest(bytes)));
    if hash(signature).map(ItemId::from_bytes) != Some(id) {
        return Err(LogError::Forged { what: "id", id });
    }
    if hash(&owner.key).map(Address::from_bytes) != Some(owner.address) {
        return Err(LogError::Forged { what: "owner address", id });
    }
    Ok(())
}
