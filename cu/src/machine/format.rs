//! Which host a module expects: the values of the tag `Module-Format` (spec 06 §1.1).

use std::{fmt, str::FromStr};

/// A module format this unit evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `wasm32-unknown-emscripten4`: 32-bit pointers, asyncify, no call of `main` (F4).
    Emscripten4,
    /// `wasm64-unknown-emscripten-draft_2024_02_15`: as F4 with 64-bit pointers (F64).
    Emscripten64Draft0215,
    /// `wasm32-unknown-unknown-holon1`: our own, without imports, for guests built with `sdk/process`.
    Native,
}

/// The value of `Module-Format` names no format this unit evaluates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module format {given:?} is not one of {}", Format::ALL.map(Format::as_str).join(", "))]
pub struct UnknownFormat {
    /// What the tag said, cut to 100 characters.
    pub given: String,
}

impl Format {
    /// Every format, in the order errors list them.
    pub const ALL: [Format; 3] = [Format::Emscripten4, Format::Emscripten64Draft0215, Format::Native];

    /// The tag's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Emscripten4 => "wasm32-unknown-emscripten4",
            Format::Emscripten64Draft0215 => "wasm64-unknown-emscripten-draft_2024_02_15",
            Format::Native => "wasm32-unknown-unknown-holon1",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Format::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| UnknownFormat { given: text.chars().take(100).collect() })
    }
}
