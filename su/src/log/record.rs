//! Stored forms of keys and records. Integers are big-endian so that keys sort by position.

use bytes::Bytes;
use holon_protocol::chain::HashChain;
use holon_protocol::{AssignmentId, BlockHeight, ItemId, MessageId, Nonce, ProcessId, Timestamp};

use super::{EntryKind, Record, StoreError, Unsettled};

/// Version of the record form, its first byte.
const VERSION: u8 = 1;
/// version 1, kind 1, timestamp 8, block height 8, assignment 32, message 32, hash chain 32.
const HEADER_BYTES: usize = 1 + 1 + 8 + 8 + 32 + 32 + 32;

/// `process ‖ nonce`.
pub(super) fn position_key(process: ProcessId, nonce: Nonce) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(process.as_bytes());
    key[32..].copy_from_slice(&nonce.0.to_be_bytes());
    key
}

/// `process ‖ id`.
pub(super) fn id_key(process: ProcessId, id: ItemId) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(process.as_bytes());
    key[32..].copy_from_slice(id.as_bytes());
    key
}

/// `process ‖ content hash text`.
pub(super) fn content_key(process: ProcessId, content: &str) -> Vec<u8> {
    [process.as_bytes().as_slice(), content.as_bytes()].concat()
}

pub(super) fn nonce_of_key(key: &[u8]) -> Result<Nonce, StoreError> {
    key.get(32..40).and_then(number).map(Nonce).ok_or_else(|| StoreError::Corrupt("entry key".into()))
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let kind = match record.kind {
        EntryKind::Process => 0u8,
        EntryKind::Message => 1,
        EntryKind::Assigned => 2,
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + record.assignment_bytes.len());
    bytes.extend_from_slice(&[VERSION, kind]);
    bytes.extend_from_slice(&record.timestamp.0.to_be_bytes());
    bytes.extend_from_slice(&record.block_height.0.to_be_bytes());
    bytes.extend_from_slice(record.assignment.as_bytes());
    bytes.extend_from_slice(record.message.as_bytes());
    bytes.extend_from_slice(record.hash_chain.as_bytes());
    bytes.extend_from_slice(&record.assignment_bytes);
    bytes
}

pub(super) fn decode(nonce: Nonce, bytes: Bytes) -> Result<Record, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("entry {nonce}: {what}"));
    if bytes.len() < HEADER_BYTES {
        return Err(corrupt("too short"));
    }
    if bytes[0] != VERSION {
        return Err(corrupt("unknown version"));
    }
    let kind = match bytes[1] {
        0 => EntryKind::Process,
        1 => EntryKind::Message,
        2 => EntryKind::Assigned,
        _ => return Err(corrupt("unknown kind")),
    };
    let number = |at: usize| number(&bytes[at..at + 8]).ok_or_else(|| corrupt("number"));
    let id = |at: usize| <[u8; 32]>::try_from(&bytes[at..at + 32]).map_err(|_| corrupt("id"));
    Ok(Record {
        nonce,
        kind,
        timestamp: Timestamp(number(2)?),
        block_height: BlockHeight(number(10)?),
        assignment: AssignmentId::from_bytes(id(18)?),
        message: MessageId::from_bytes(id(50)?),
        hash_chain: HashChain::of(id(82)?),
        assignment_bytes: bytes.slice(HEADER_BYTES..),
    })
}

/// `process ‖ nonce`, then whatever follows.
pub(super) fn decode_unsettled(sequence: u64, value: &[u8]) -> Result<Unsettled, StoreError> {
    let process = value.get(..32).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let process = process.ok_or_else(|| StoreError::Corrupt("settle queue".into()))?;
    Ok(Unsettled { sequence, process: ProcessId::from_bytes(process), nonce: nonce_of_key(value)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn records()(
            nonce: u64, kind in 0..3u8, timestamp: u64, height: u64,
            assignment: [u8; 32], message: [u8; 32], chain: [u8; 32],
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) -> Record {
            Record {
                nonce: Nonce(nonce),
                kind: [EntryKind::Process, EntryKind::Message, EntryKind::Assigned][usize::from(kind)],
                timestamp: Timestamp(timestamp),
                block_height: BlockHeight(height),
                assignment: AssignmentId::from_bytes(assignment),
                message: MessageId::from_bytes(message),
                hash_chain: HashChain::of(chain),
                assignment_bytes: bytes.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_survives_its_stored_form(record in records()) {
            prop_assert_eq!(decode(record.nonce, encode(&record).into()).unwrap(), record);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode(Nonce(0), bytes.into());
        }
    }
}
