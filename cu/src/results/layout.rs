//! Keys and values of the store's records.

use holon_protocol::{ItemId, Nonce, ProcessId};

use super::{Key, Known, Record};
use crate::hydrate::Identity;

/// Why an operation did not succeed.
pub(super) enum Failure {
    /// What is stored cannot be what was written.
    Damaged(String),
    /// It cannot be read or written now.
    Other(String),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(_) | sled::Error::Unsupported(_) => Self::Other(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

pub(super) const RESULT: u8 = b'r';
pub(super) const CRON: u8 = b'c';
pub(super) const MESSAGE: u8 = b'm';
pub(super) const IDENTITY: u8 = b'i';
pub(super) const KNOWN: u8 = b'h';
pub(super) const BEGINNING: u8 = b'b';
/// Identities that were evaluated in more than one epoch: their first nonce in each but the one under `m` or `i`.
pub(super) const EPOCH: u8 = b'e';

/// What an entry under `m` says about its message.
pub(super) const EVALUATED: u8 = 0;
pub(super) const SKIPPED: u8 = 1;
pub(super) const SKIPPED_FIRST: u8 = 2;
/// Evaluated, and recognised by something else than this id when it comes again.
pub(super) const NAMED: u8 = 3;

pub(super) fn unreadable() -> Failure {
    Failure::Damaged("a record is not readable".into())
}

pub(super) fn prefix(kind: u8, process: ProcessId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(kind);
    key.extend_from_slice(process.as_bytes());
    key
}

/// The first key after all that start with `prefix`.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

pub(super) fn record_key(kind: u8, process: ProcessId, key: &Key) -> Vec<u8> {
    let mut at = prefix(kind, process);
    key.write(&mut at);
    at
}

pub(super) fn index_key(kind: u8, process: ProcessId, id: &[u8]) -> Vec<u8> {
    let mut at = prefix(kind, process);
    at.extend_from_slice(id);
    at
}

/// Where an identity is kept: an id is found like its message.
pub(super) fn identity_key(process: ProcessId, identity: &Identity) -> Vec<u8> {
    let kind = match identity {
        Identity::Id(_) => MESSAGE,
        Identity::Content(_) => IDENTITY,
    };
    index_key(kind, process, identity.as_bytes())
}

/// Where the first nonce of an identity in an epoch is kept that is not the epoch of its entry.
pub(super) fn epoch_key(process: ProcessId, identity: &Identity, epoch: u64) -> Vec<u8> {
    let mut at = index_key(EPOCH, process, identity.as_bytes());
    at.extend_from_slice(&epoch.to_be_bytes());
    at
}

/// Epoch and nonce of the entry under an identity, if it was evaluated.
pub(super) fn read_evaluated(
    tree: &sled::Tree,
    process: ProcessId,
    identity: &Identity,
) -> Result<Option<(u64, u64)>, Failure> {
    let Some(value) = tree.get(identity_key(process, identity))? else { return Ok(None) };
    Ok(match read_index(&value)? {
        (EVALUATED, epoch, Some(key)) => Some((epoch, key.ordinate)),
        _ => None,
    })
}

pub(super) fn read_epoch(
    tree: &sled::Tree,
    process: ProcessId,
    identity: &Identity,
    epoch: u64,
) -> Result<Option<u64>, Failure> {
    let Some(value) = tree.get(epoch_key(process, identity, epoch))? else { return Ok(None) };
    Ok(read_index(&value)?.2.map(|key| key.ordinate))
}

/// What an entry says about an evaluated message, whose identity begins at byte 33 of the entry's key.
pub(super) fn read_known(kind: u8, at: &[u8], value: &[u8]) -> Result<Option<Known>, Failure> {
    let (EVALUATED, epoch, Some(key)) = read_index(value)? else { return Ok(None) };
    let identity = at.get(33..).ok_or_else(unreadable)?;
    let identity = match kind {
        EPOCH => identity.strip_suffix(&epoch.to_be_bytes()[..]).ok_or_else(unreadable)?,
        _ => identity,
    };
    let identity = match <[u8; 32]>::try_from(identity) {
        Ok(id) => Identity::Id(ItemId::from_bytes(id)),
        Err(_) => Identity::Content(identity.to_vec()),
    };
    Ok(Some(Known { identity, epoch, nonce: Nonce(key.ordinate), timestamp: key.timestamp }))
}

pub(super) fn index_value(flag: u8, epoch: u64, key: Option<&Key>) -> Vec<u8> {
    let mut value = vec![flag];
    value.extend_from_slice(&epoch.to_be_bytes());
    if let Some(key) = key {
        key.write(&mut value);
    }
    value
}

pub(super) fn read_index(value: &[u8]) -> Result<(u8, u64, Option<Key>), Failure> {
    let read = || {
        let (flag, rest) = value.split_first()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let key = if rest.is_empty() { None } else { Some(Key::read(rest)?) };
        Some((*flag, u64::from_be_bytes(*epoch), key))
    };
    read().ok_or_else(unreadable)
}

pub(super) fn read_key(at: &[u8]) -> Result<Key, Failure> {
    at.get(33..).and_then(Key::read).ok_or_else(unreadable)
}

pub(super) fn read_record(tree: &sled::Tree, process: ProcessId, key: &Key) -> Result<Option<Record>, Failure> {
    match tree.get(record_key(RESULT, process, key))? {
        Some(value) => Record::read(&value).map(Some).ok_or_else(unreadable),
        None => Ok(None),
    }
}
