//! Hash chain of a process's log (spec 01 §12, spec 02 §4.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::ParseIdError;
use crate::{AssignmentId, ItemId, ProcessId};

/// A link of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HashChain(ItemId);

impl HashChain {
    /// The link of a process's first entry.
    pub fn first(process: ProcessId) -> Self {
        Self::of(Sha256::digest(process.as_bytes()).into())
    }

    /// The link of the entry after the one with assignment `previous` and this link.
    pub fn next(self, previous: AssignmentId) -> Self {
        Self::of(Sha256::new().chain_update(previous.as_bytes()).chain_update(self.0.as_bytes()).finalize().into())
    }

    /// A link from its bytes.
    pub const fn of(bytes: [u8; 32]) -> Self {
        Self(ItemId::from_bytes(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for HashChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HashChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HashChain {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Self)
    }
}
