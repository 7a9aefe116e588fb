//! The state root: one hash for all that a process is between two messages (`docs/src/state-root.md`).

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wasmtime::Val;

use super::PageTree;

/// Context of the hash, which is also its version.
const CONTEXT: &str = "holon state root v1";
/// Context of the hash over the files a process keeps. Formats so far begin every message with the same ones.
const FILES_CONTEXT: &str = "holon files v1";

/// Hash of a state. Written as base64url without padding, 43 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateRoot([u8; 32]);

/// Not a state root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a state root: 43 characters of base64url")]
pub struct NotARoot(String);

/// What a root is made of.
pub(super) struct State<'a> {
    /// BLAKE3 hash of the module as published.
    pub module: &'a [u8; 32],
    /// Mutable globals with their indices, ascending, with the values every message finds.
    pub globals: &'a [(u32, Val)],
    pub memory: &'a PageTree,
    /// Which log entries led here.
    pub history: &'a [u8; 32],
}

impl State<'_> {
    pub fn root(&self) -> StateRoot {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(self.module);
        hasher.update(&self.memory.memory_bytes().to_be_bytes());
        hasher.update(&self.memory.root());
        let globals: Vec<(u32, u8, Vec<u8>)> = self
            .globals
            .iter()
            .filter_map(|(index, value)| encode(value).map(|(ty, bits)| (*index, ty, bits)))
            .collect();
        hasher.update(&(globals.len() as u32).to_be_bytes());
        for (index, ty, bits) in globals {
            hasher.update(&index.to_be_bytes());
            hasher.update(&[ty]);
            hasher.update(&bits);
        }
        hasher.update(blake3::Hasher::new_derive_key(FILES_CONTEXT).finalize().as_bytes());
        hasher.update(self.history);
        StateRoot(hasher.finalize().into())
    }
}

/// The type's byte in the Wasm binary format, and the bytes that a store instruction writes. None for references, which have
/// no bits; what they refer to follows from the module.
fn encode(value: &Val) -> Option<(u8, Vec<u8>)> {
    match value {
        Val::I32(value) => Some((0x7f, value.to_le_bytes().to_vec())),
        Val::I64(value) => Some((0x7e, value.to_le_bytes().to_vec())),
        Val::F32(bits) => Some((0x7d, bits.to_le_bytes().to_vec())),
        Val::F64(bits) => Some((0x7c, bits.to_le_bytes().to_vec())),
        Val::V128(bits) => Some((0x7b, bits.as_u128().to_le_bytes().to_vec())),
        _ => None,
    }
}

impl StateRoot {
    /// The root with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for StateRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for StateRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateRoot({self})")
    }
}

impl FromStr for StateRoot {
    type Err = NotARoot;

    fn from_str(text: &str) -> Result<Self, NotARoot> {
        let mut bytes = [0; 32];
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            // Whoever sent it may have sent much.
            _ => Err(NotARoot(text.chars().take(64).collect())),
        }
    }
}

impl Serialize for StateRoot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateRoot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_written_and_read_as_base64url() {
        let root = StateRoot([0xfb; 32]);
        let text = root.to_string();
        assert_eq!(text.len(), 43);
        assert_eq!(text.parse(), Ok(root));
        assert_eq!(serde_json::from_str::<StateRoot>(&serde_json::to_string(&root).unwrap()).unwrap(), root);
        for wrong in ["", "AA", &text[1..], &format!("{text}="), &format!("{text}AA"), &format!("{}_", &text[..42])] {
            assert!(wrong.parse::<StateRoot>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_part_of_a_state_counts() {
        let (memory, longer) = (PageTree::zeroed(1 << 16), PageTree::zeroed(2 << 16));
        let globals = [(1, Val::I32(5)), (3, Val::F64(7))];
        let state = State { module: &[1; 32], globals: &globals, memory: &memory, history: &[0; 32] };
        let root = state.root();
        let others = [
            State { module: &[2; 32], ..state },
            State { globals: &[(1, Val::I32(5))], ..state },
            State { globals: &[(1, Val::I32(5)), (2, Val::F64(7))], ..state },
            State { globals: &[(1, Val::I32(5)), (3, Val::I64(7))], ..state },
            State { globals: &[(1, Val::I32(6)), (3, Val::F64(7))], ..state },
            State { memory: &longer, ..state },
            State { history: &[1; 32], ..state },
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(other.root(), root, "{index}");
        }
        assert_eq!(state.root(), root);
    }
}
