//! What a program holds of the computer's memory (Linux).

use anyhow::{Context, Result};

/// Bytes of anonymous memory of this program, and of memory files of the whole computer: processes' images are such files, whether
/// or not they are mapped.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Heap and stacks.
    pub anonymous_bytes: u64,
    /// Memory files.
    pub file_bytes: u64,
}

impl Held {
    /// At present.
    pub fn now() -> Result<Self> {
        Ok(Self {
            anonymous_bytes: field("/proc/self/status", "RssAnon:")?,
            file_bytes: field("/proc/meminfo", "Shmem:")?,
        })
    }

    /// Together, since `before`.
    pub fn since(self, before: Self) -> u64 {
        (self.anonymous_bytes + self.file_bytes).saturating_sub(before.anonymous_bytes + before.file_bytes)
    }
}

/// A line `name  12 kB` in bytes.
fn field(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{file}: this needs Linux"))?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("{file} has no {name}"))?;
    let kib: u64 = line.split_whitespace().nth(1).with_context(|| format!("{line} has no number"))?.parse()?;
    Ok(kib * 1024)
}
