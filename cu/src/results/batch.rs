//! What a turn adds to the store.

use std::collections::HashMap;

use holon_protocol::{ItemId, MessageId, Nonce, ProcessId, Timestamp};

use super::layout::{
    CRON, EVALUATED, KNOWN, MESSAGE, NAMED, RESULT, SKIPPED, SKIPPED_FIRST, epoch_key, identity_key, index_key,
    index_value, prefix, record_key,
};
use super::{Key, Record};
use crate::hydrate::Identity;

/// What one turn of an evaluation adds for one process; nothing of it is visible before it is committed.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) writes: sled::Batch,
    /// Whose evaluations are among them.
    pub(super) process: Option<ProcessId>,
    /// Where identities not committed yet were evaluated first: epoch and nonce, one for each epoch.
    pub(super) identities: HashMap<Vec<u8>, Vec<(u64, u64)>>,
    /// Number of writes.
    len: usize,
}

impl Batch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn insert(&mut self, key: Vec<u8>, value: impl Into<sled::IVec>) {
        self.writes.insert(key, value);
        self.len += 1;
    }

    /// Adds an evaluation.
    pub fn record(&mut self, process: ProcessId, key: &Key, record: &Record) {
        self.insert(record_key(RESULT, process, key), record.write());
        self.process = Some(process);
        if key.cron.is_some() {
            self.insert(record_key(CRON, process, key), &[]);
        }
    }

    /// Adds another name under which the evaluation of a message is found.
    pub(super) fn named(&mut self, process: ProcessId, id: MessageId, epoch: u64, key: &Key) {
        let at = index_key(MESSAGE, process, ItemId::from(id).as_bytes());
        self.insert(at, index_value(NAMED, epoch, Some(key)));
    }

    /// Adds where a message was evaluated, unless that is known from an earlier nonce of the epoch. `stored` is what is
    /// committed under its identity: epoch and nonce.
    pub(super) fn evaluated(
        &mut self,
        process: ProcessId,
        identity: &Identity,
        epoch: u64,
        key: &Key,
        stored: Option<(u64, u64)>,
        stored_in_epoch: Option<u64>,
    ) {
        let known = self.identities.entry(identity.as_bytes().to_vec()).or_default();
        if known.is_empty() {
            known.extend(stored);
        }
        let (first_epoch, _) = *known.first().unwrap_or(&(epoch, 0));
        let before = known.iter().find(|(known, _)| *known == epoch).map(|(_, nonce)| *nonce).or(stored_in_epoch);
        if before.is_some_and(|before| before <= key.ordinate) {
            return;
        }
        known.retain(|(known, _)| *known != epoch);
        // The entry under the identity itself is about the epoch that came first.
        let place = if first_epoch == epoch { 0 } else { known.len() };
        known.insert(place, (epoch, key.ordinate));
        if first_epoch == epoch {
            self.insert(identity_key(process, identity), index_value(EVALUATED, epoch, Some(key)));
        } else {
            self.insert(epoch_key(process, identity, epoch), index_value(EVALUATED, epoch, Some(key)));
        }
    }

    /// Adds that the identities of all messages up to the entry at `until` are known.
    pub fn known(&mut self, process: ProcessId, until: (Timestamp, Nonce)) {
        let (clock, nonce) = until;
        self.insert(prefix(KNOWN, process), [clock.0.to_be_bytes(), nonce.0.to_be_bytes()].concat());
    }

    /// Adds that a message was skipped, and the evaluation before it, whose result is shown instead.
    pub fn skipped(&mut self, process: ProcessId, id: MessageId, epoch: u64, previous: Option<&Key>) {
        let flag = if previous.is_some() { SKIPPED } else { SKIPPED_FIRST };
        self.insert(index_key(MESSAGE, process, ItemId::from(id).as_bytes()), index_value(flag, epoch, previous));
    }

    /// Adds that the process's own message is found at `key`, for processes whose scheduler did not schedule them.
    pub fn prepended(&mut self, process: ProcessId, key: &Key) {
        self.insert(index_key(MESSAGE, process, process.as_bytes()), index_value(NAMED, 0, Some(key)));
    }
}
