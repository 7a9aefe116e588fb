//! Keys of the `meta` keyspace.

use fjall::Keyspace;
use holon_protocol::{Address, ItemId};

use super::pieces::Root;
use crate::Error;

/// Height of the newest closed block.
pub const TIP: &[u8] = b"tip";
/// Next sequence number.
pub const SEQUENCE: &[u8] = b"seq";
/// Prefix: address → balance in winston, decimal text.
pub const BALANCE: u8 = b'B';
/// Prefix: address → id of its newest base-layer transaction.
pub const LAST: u8 = b'L';
/// Prefix: root, id → nothing; the transactions with this data.
pub const ROOT: u8 = b'R';
/// Prefix: root → bytes present.
pub const PRESENT: u8 = b'P';
/// Prefix: root → bytes present while no transaction wants them.
pub const UNCLAIMED: u8 = b'U';
/// Prefix: position of a transaction's last byte in the weave → its id.
pub const WEAVE: u8 = b'W';
/// Prefix: id of a bundle that is complete and has not been opened yet → nothing.
pub const UNOPENED: u8 = b'X';

/// Key of a wallet's balance.
pub fn balance(address: Address) -> Vec<u8> {
    join(BALANCE, &[address.as_bytes()])
}

/// Key of a wallet's newest transaction.
pub fn last(address: Address) -> Vec<u8> {
    join(LAST, &[address.as_bytes()])
}

/// Prefix of the transactions with this data.
pub fn root(root: &Root) -> Vec<u8> {
    join(ROOT, &[&root.key()])
}

/// Key that says that a transaction has this data.
pub fn root_of(root: &Root, id: ItemId) -> Vec<u8> {
    join(ROOT, &[&root.key(), id.as_bytes()])
}

/// Key of the number of bytes present.
pub fn present(root: &Root) -> Vec<u8> {
    join(PRESENT, &[&root.key()])
}

/// Key of the number of bytes that nobody wants yet.
pub fn unclaimed(root: &Root) -> Vec<u8> {
    join(UNCLAIMED, &[&root.key()])
}

/// Key of a position in the weave.
pub fn weave(end: u64) -> Vec<u8> {
    join(WEAVE, &[&end.to_be_bytes()])
}

/// Key of a bundle to open.
pub fn unopened(id: ItemId) -> Vec<u8> {
    join(UNOPENED, &[id.as_bytes()])
}

/// A stored number.
pub fn number(bytes: &[u8]) -> Result<u64, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::Damaged("a number does not have 8 bytes".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The number under a key.
pub fn read_number(meta: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
    meta.get(key)?.map(|bytes| number(&bytes)).transpose()
}

/// The id at the end of a key or as a value.
pub fn id(bytes: &[u8]) -> Result<ItemId, Error> {
    let tail: &[u8; 32] = bytes.last_chunk().ok_or_else(|| Error::Damaged("an id is cut".into()))?;
    Ok(ItemId::from_bytes(*tail))
}

fn join(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![prefix];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}
