//! Identifiers, addresses and positions: one type for each meaning, so that they cannot be mixed up (spec 01 §1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base64url;

/// The text is not a 32-byte id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: 43 base64url characters are needed")]
pub struct ParseIdError {
    /// The offending text, cut to 64 characters.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base64url::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            /// Accepts every spelling of the 32 bytes in 43 characters; `Display` gives the canonical one.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bad = || ParseIdError { text: text.chars().take(64).collect() };
                if text.len() != 43 {
                    return Err(bad());
                }
                let bytes = base64url::decode(text).map_err(|_| bad())?;
                bytes.try_into().map(Self).map_err(|_| bad())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// Id of any data item or L1 transaction: SHA-256 of its signature.
    ItemId
}
id! {
    /// Id of a process: the id of its `Type: Process` item.
    ProcessId
}
id! {
    /// Id of a message.
    MessageId
}
id! {
    /// Id of a module.
    ModuleId
}
id! {
    /// Id of an assignment.
    AssignmentId
}
id! {
    /// Wire address of a wallet: SHA-256 of the owner field, for every signature type (spec 01 §7).
    Address
}

macro_rules! item_id {
    ($($name:ident),*) => {$(
        impl From<ItemId> for $name {
            fn from(id: ItemId) -> Self {
                Self(id.0)
            }
        }
        impl From<$name> for ItemId {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }
    )*};
}
item_id!(ProcessId, MessageId, ModuleId, AssignmentId);

/// A process's own log entry is addressed by the process id as if it were a message (spec 02 §7.1).
impl From<ProcessId> for MessageId {
    fn from(id: ProcessId) -> Self {
        Self(id.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number! {
    /// Position of an entry in a process's log, from 0; users also call it *slot*.
    Nonce
}
number! {
    /// Unix time in milliseconds.
    Timestamp
}
number! {
    /// Height of an Arweave block.
    BlockHeight
}

impl BlockHeight {
    /// The 12-digit form schedulers write (spec 02 §4.3).
    pub fn padded(self) -> String {
        format!("{:012}", self.0)
    }
}
