//! Arweave's deep hash: SHA-384 over nested lists of byte strings (spec 01 §2).

use sha2::{Digest, Sha384};

/// A value to hash: a byte string or a list of values.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A byte string.
    Blob(&'a [u8]),
    /// A list.
    List(Vec<Value<'a>>),
}

/// A deep hash: 48 bytes.
pub type Hash = [u8; 48];

/// The deep hash of `value`. Recursion is as deep as the value, which callers build themselves.
pub fn deep_hash(value: &Value<'_>) -> Hash {
    match value {
        Value::Blob(bytes) => {
            let tag = sha384(format!("blob{}", bytes.len()).as_bytes());
            pair(&tag, &sha384(bytes))
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
