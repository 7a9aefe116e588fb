//! Terms by which items are found, and the order in which they are listed.
//!
//! An index key is a term followed by a position, so all items with a term lie next to each other, in the order of
//! GraphQL: by height, unmined last, then by acceptance.

use std::collections::BTreeSet;

use fjall::{Keyspace, OwnedWriteBatch};
use holon_protocol::ItemId;
use sha2::{Digest, Sha256};

use super::record::Record;
use crate::Error;

/// Bytes of a position.
pub const POSITION_BYTES: usize = 16;

/// Place in the order of GraphQL. No two items share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position([u8; POSITION_BYTES]);

impl Position {
    /// Before everything.
    pub const FIRST: Self = Self([0; POSITION_BYTES]);
    /// After everything.
    pub const LAST: Self = Self([0xff; POSITION_BYTES]);

    /// The place of an item; unmined ones come after all blocks.
    pub fn new(height: Option<u64>, sequence: u64) -> Self {
        let mut bytes = [0; POSITION_BYTES];
        bytes[..8].copy_from_slice(&height.unwrap_or(u64::MAX).to_be_bytes());
        bytes[8..].copy_from_slice(&sequence.to_be_bytes());
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; POSITION_BYTES] {
        &self.0
    }

    /// A position from its bytes.
    pub fn from_bytes(bytes: [u8; POSITION_BYTES]) -> Self {
        Self(bytes)
    }

    /// The next one.
    pub fn next(self) -> Self {
        Self(u128::from_be_bytes(self.0).saturating_add(1).to_be_bytes())
    }

    /// The one before.
    pub fn previous(self) -> Self {
        Self(u128::from_be_bytes(self.0).saturating_sub(1).to_be_bytes())
    }
}

/// Something an item can be found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(Vec<u8>);

impl Term {
    /// Every item.
    pub fn all() -> Self {
        Self(vec![b'a'])
    }

    /// Items signed by this wire address.
    pub fn owner(address: &[u8; 32]) -> Self {
        Self::with(b'o', address)
    }

    /// Items with this target.
    pub fn recipient(target: &[u8; 32]) -> Self {
        Self::with(b'r', target)
    }

    /// Items directly inside this one.
    pub fn bundled_in(id: &[u8; 32]) -> Self {
        Self::with(b'b', id)
    }

    /// Items with a tag of exactly this name and value.
    pub fn tag(name: &str, value: &str) -> Self {
        let hash = Sha256::new()
            .chain_update((name.len() as u64).to_be_bytes())
            .chain_update(name)
            .chain_update(value)
            .finalize();
        Self::with(b't', &hash)
    }

    fn with(kind: u8, rest: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1 + rest.len() + POSITION_BYTES);
        bytes.push(kind);
        bytes.extend_from_slice(rest);
        Self(bytes)
    }

    /// The key of an item at `position`.
    pub fn key(&self, position: Position) -> Vec<u8> {
        let mut key = self.0.clone();
        key.extend_from_slice(position.as_bytes());
        key
    }
}

/// The position at the end of an index key.
pub fn position_of(key: &[u8]) -> Result<Position, Error> {
    key.last_chunk().map(|bytes| Position(*bytes)).ok_or_else(|| Error::Damaged("an index key is cut".into()))
}

/// Every term of a record.
pub fn terms(record: &Record) -> BTreeSet<Term> {
    let mut terms = BTreeSet::from([Term::all(), Term::owner(record.header.owner_address().as_bytes())]);
    terms.extend(record.header.target().as_ref().map(Term::recipient));
    terms.extend(record.place.bundled_in.as_ref().map(|id| Term::bundled_in(id.as_bytes())));
    terms.extend(record.header.tags().iter().map(|tag| Term::tag(&tag.name, &tag.value)));
    terms
}

/// Adds a record's entries to `batch`.
pub fn insert(batch: &mut OwnedWriteBatch, index: &Keyspace, record: &Record) {
    let position = record.place.position();
    for term in terms(record) {
        batch.insert(index, term.key(position), &record.id.as_bytes()[..]);
    }
}

/// Removes a record's entries.
pub fn remove(batch: &mut OwnedWriteBatch, index: &Keyspace, record: &Record) {
    let position = record.place.position();
    for term in terms(record) {
        batch.remove(index, term.key(position));
    }
}

/// The id under an index key.
pub fn id_of(value: &[u8]) -> Result<ItemId, Error> {
    super::keys::id(value)
}
