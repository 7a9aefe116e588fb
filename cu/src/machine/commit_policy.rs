//! When a machine commits.

use std::time::Duration;

/// When to commit. Replaying is bounded by what this lets add up; committing is amortised by the same. Nothing that can be
/// observed depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPolicy {
    /// Guest time since the last commit, at least.
    pub after_min: Duration,
    /// The same, at most.
    pub after_max: Duration,
    /// Guest time for each unit of time that the last commit took.
    pub guest_per_commit: u32,
    /// Good messages since the last commit.
    pub after_messages: usize,
    /// Their texts, which are kept for replay, in bytes.
    pub after_text_bytes: usize,
}

impl CommitPolicy {
    /// After every message.
    pub const EAGER: Self = Self { after_messages: 1, ..Self::LAZY };
    /// Only where it cannot be put off.
    pub const LAZY: Self = Self {
        after_min: Duration::MAX,
        after_max: Duration::MAX,
        guest_per_commit: 0,
        after_messages: usize::MAX,
        after_text_bytes: usize::MAX,
    };
}

impl Default for CommitPolicy {
    /// Keeps committing below 2 % of the guest's time, and replaying short.
    fn default() -> Self {
        Self {
            after_min: Duration::from_millis(20),
            after_max: Duration::from_millis(250),
            guest_per_commit: 50,
            after_messages: 256,
            after_text_bytes: 4 << 20,
        }
    }
}
