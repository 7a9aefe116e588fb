//! Which host a module expects: the values of the tag `Module-Format` (spec 06 §1.1), and what each of them means.

use std::{fmt, str::FromStr};

/// A module format this unit evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `wasm32-unknown-emscripten`: names of imports and exports minified, files only pretended (F1).
    Emscripten1,
    /// `wasm32-unknown-emscripten2`: names as they are, files in memory, `main` called with arguments (F2).
    Emscripten2,
    /// `wasm32-unknown-emscripten3`: `main` called without, a date counter (F3).
    Emscripten3,
    /// `wasm32-unknown-emscripten4`: 32-bit pointers, asyncify, no call of `main` (F4).
    Emscripten4,
    /// `wasm32-unknown-emscripten-metering`: F4 with the reference's gas (F4m).
    Emscripten4Metering,
    /// `wasm64-unknown-emscripten-draft_2024_02_15`: as F4 with 64-bit pointers (F64).
    Emscripten64Draft0215,
    /// `wasm64-unknown-emscripten-draft_2024_10_16-metering`: F64 with the reference's gas (F64m).
    Emscripten64Draft1016Metering,
    /// `wasm32-wasip1`: WASI's imports, texts allocated by the guest, 32-bit pointers. Our name for what others run without one
    /// (spec 06 §12).
    Wasi32,
    /// `wasm64-wasip1`: the same with 64-bit pointers.
    Wasi64,
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

/// What a format asks of its host. Everything else in the machine looks at this, not at the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Profile {
    /// Whether pointers have 64 bits.
    pub wide: bool,
    pub host: HostKind,
    /// Which of the official loader's habits the module was built for.
    pub generation: Generation,
    /// Whether gas is counted by code that is added to the module (spec 06 §6).
    pub instrumented: bool,
}

/// The family of imports, exports and calling conventions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKind {
    /// The official loader.
    Emscripten,
    /// WASI.
    Wasi,
    /// Our own.
    Native,
}

/// The official loader's habits changed with its compiler: F1 to F4 of spec 06 §1.1, where F64 is as F4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Generation {
    First,
    Second,
    Third,
    Fourth,
}

impl Format {
    /// Every format, in the order errors list them.
    pub const ALL: [Format; 10] = [
        Format::Emscripten1,
        Format::Emscripten2,
        Format::Emscripten3,
        Format::Emscripten4,
        Format::Emscripten4Metering,
        Format::Emscripten64Draft0215,
        Format::Emscripten64Draft1016Metering,
        Format::Wasi32,
        Format::Wasi64,
        Format::Native,
    ];

    /// The tag's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Emscripten1 => "wasm32-unknown-emscripten",
            Format::Emscripten2 => "wasm32-unknown-emscripten2",
            Format::Emscripten3 => "wasm32-unknown-emscripten3",
            Format::Emscripten4 => "wasm32-unknown-emscripten4",
            Format::Emscripten4Metering => "wasm32-unknown-emscripten-metering",
            Format::Emscripten64Draft0215 => "wasm64-unknown-emscripten-draft_2024_02_15",
            Format::Emscripten64Draft1016Metering => "wasm64-unknown-emscripten-draft_2024_10_16-metering",
            Format::Wasi32 => "wasm32-wasip1",
            Format::Wasi64 => "wasm64-wasip1",
            Format::Native => "wasm32-unknown-unknown-holon1",
        }
    }

    pub(super) const fn profile(self) -> Profile {
        let generation = Generation::Fourth;
        let official = Profile { wide: false, host: HostKind::Emscripten, generation, instrumented: false };
        match self {
            Format::Emscripten1 => Profile { generation: Generation::First, ..official },
            Format::Emscripten2 => Profile { generation: Generation::Second, ..official },
            Format::Emscripten3 => Profile { generation: Generation::Third, ..official },
            Format::Emscripten4 => official,
            Format::Emscripten4Metering => Profile { instrumented: true, ..official },
            Format::Emscripten64Draft0215 => Profile { wide: true, ..official },
            Format::Emscripten64Draft1016Metering => Profile { wide: true, instrumented: true, ..official },
            Format::Wasi32 => Profile { host: HostKind::Wasi, ..official },
            Format::Wasi64 => Profile { wide: true, host: HostKind::Wasi, ..official },
            Format::Native => Profile { host: HostKind::Native, ..official },
        }
    }

    /// Whether a process of this format has WeaveDrive (spec 05 §4.3, spec 06 §9). `extension` says whether its module names the
    /// extension.
    pub fn has_weavedrive(self, extension: bool) -> bool {
        match self {
            Format::Emscripten64Draft0215 => true,
            Format::Emscripten4 | Format::Emscripten4Metering | Format::Emscripten64Draft1016Metering => extension,
            Format::Emscripten1
            | Format::Emscripten2
            | Format::Emscripten3
            | Format::Wasi32
            | Format::Wasi64
            | Format::Native => false,
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
