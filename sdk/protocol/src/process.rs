//! Reading the tags of a process (spec 01 §10.4, spec 05 §4.3).

use crate::{Address, ModuleId, Tags};

/// What a process's tags say. Absent or unreadable tags are `None`; nothing here is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// First `Module`.
    pub module: Option<ModuleId>,
    /// First `Scheduler`.
    pub scheduler: Option<Address>,
    /// `Authority` values, lists split at commas and trimmed.
    pub authorities: Vec<String>,
    /// First `On-Boot`.
    pub on_boot: Option<String>,
}

impl Process {
    /// Reads the tags.
    pub fn from_tags(tags: &Tags) -> Self {
        Self {
            module: tags.get("Module").and_then(|value| value.parse().ok()),
            scheduler: tags.get("Scheduler").and_then(|value| value.parse().ok()),
            authorities: tags
                .all("Authority")
                .flat_map(|value| value.split(','))
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
                .collect(),
            on_boot: tags.get("On-Boot").map(str::to_owned),
        }
    }
}

/// Bytes that a `Memory-Limit` tag allows: the first `-` is removed, then `<number>[ ]<unit>` with binary units, else a
/// leading integer of bytes (spec 05 §4.3). `None` when there is no number.
pub fn parse_memory_limit(text: &str) -> Option<u64> {
    let _ = text;
    todo!()
}

/// A `Compute-Limit` tag: its leading integer.
pub fn parse_compute_limit(text: &str) -> Option<u64> {
    let _ = text;
    todo!()
}
