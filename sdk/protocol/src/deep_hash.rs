//! Arweave's deep hash: SHA-384 over nested lists of byte strings (spec 01 §2).

use sha2::{Digest, Sha384};

/// A value to hash: a byte string or a list of values.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A byte string.
    Blob(&'a [u8]),
    /// A list.
    List(Vec<Value<'a>>),
    /// A byte string that is known by its hash alone.
    Hashed(BlobHash),
}

/// What a deep hash needs of a byte string, whatever its length: so that one can be hashed that is never held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobHash {
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-384.
    pub sha384: [u8; 48],
}

/// Hashes a byte string that comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct BlobHasher {
    length: u64,
    sha384: Sha384,
}

impl BlobHasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        self.sha384.update(piece);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> BlobHash {
        BlobHash { length: self.length, sha384: self.sha384.finalize().into() }
    }
}

/// A deep hash: 48 bytes.
pub type Hash = [u8; 48];

/// The deep hash of `value`. Recursion is as deep as the value, which callers build themselves.
pub fn deep_hash(value: &Value<'_>) -> Hash {
    match value {
        Value::Blob(bytes) => {
            let hashed = BlobHash { length: bytes.len() as u64, sha384: sha384(bytes) };
            deep_hash(&Value::Hashed(hashed))
        }
        Value::Hashed(BlobHash { length, sha384: content }) => {
            pair(&sha384(format!("blob{length}").as_bytes()), content)
        }
        Value::List(values) => values
            .iter()
            .fold(sha384(format!("list{}", values.len()).as_bytes()), |acc, value| pair(&acc, &deep_hash(value))),
    }
}

/// The deep hash of a flat list of byte strings.
pub fn deep_hash_blobs(blobs: &[&[u8]]) -> Hash {
    deep_hash(&Value::List(blobs.iter().map(|blob| Value::Blob(blob)).collect()))
}

fn sha384(bytes: &[u8]) -> Hash {
    Sha384::digest(bytes).into()
}

fn pair(left: &Hash, right: &Hash) -> Hash {
    Sha384::new().chain_update(left).chain_update(right).finalize().into()
}
