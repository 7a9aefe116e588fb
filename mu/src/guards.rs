//! Guards against strangers (spec 04 §17) that no flag and no variable of the program takes away. Tests do, one at a time, to
//! show that the attack which a guard is against works without it.

/// Which of them stand. All, but in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// What a process says of its own origin is replaced in what is signed for it.
    pub origins: bool,
    /// Requests to monitor must be signed.
    pub signatures: bool,
    /// Requests to monitor must be for the process in the path.
    pub subjects: bool,
    /// Posts are redirected to configured and published schedulers only.
    pub redirects: bool,
    /// Redirects are followed a few times only.
    pub hops: bool,
    /// Answers of peers are read up to a size only.
    pub answers: bool,
    /// What peers say is repeated up to a length only.
    pub quotes: bool,
}

impl Guards {
    /// All of them.
    pub const ALL: Self = Self {
        origins: true,
        signatures: true,
        subjects: true,
        redirects: true,
        hops: true,
        answers: true,
        quotes: true,
    };
}

impl Default for Guards {
    fn default() -> Self {
        Self::ALL
    }
}
