//! What can go wrong when reading from a gateway.

use std::time::Duration;

use holon_protocol::ItemId;

/// Most characters of a foreign answer that an error repeats.
pub const MAX_QUOTED_CHARACTERS: usize = 300;

/// A gateway read failed, after all attempts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client cannot be set up, or a URL cannot be used.
    #[error("the gateway client cannot be used: {0}")]
    Options(String),
    /// The gateway does not know the id.
    #[error("{0} is not known to the gateway")]
    NotFound(ItemId),
    /// An answer with a status that is not a success.
    #[error("{url} answered {status}: {body}")]
    Status {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// Start of the answer.
        body: String,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// No answer: name resolution, connection, time limit, or a cut answer.
    #[error("{url} cannot be reached: {source}")]
    Network {
        /// What was asked.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The answer is larger than this client takes.
    #[error("{url} answered with more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The answer is not what the interface says.
    #[error("{url} answered with something unexpected: {reason}")]
    Malformed {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// What the gateway gives for an id does not verify.
    #[error("{id} is not what its signature covers: {reason}")]
    Forged {
        /// The id.
        id: ItemId,
        /// What is wrong.
        reason: String,
    },
    /// GraphQL answered with errors instead of data.
    #[error("{url} could not run the query: {message}")]
    GraphQl {
        /// The endpoint.
        url: String,
        /// First error text.
        message: String,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything. An unknown id is not: whoever expects
    /// it to appear decides how long to wait.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Options(_) | Self::NotFound(_) | Self::TooLarge { .. } | Self::Forged { .. } => false,
            Self::Status { status, .. } => is_transient(*status),
            Self::Network { source, .. } => !source.is_builder() && !source.is_redirect(),
            Self::Malformed { .. } | Self::GraphQl { .. } => true,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Statuses that say "not now".
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
}

/// The start of a foreign text.
pub(crate) fn quote(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().chars().take(MAX_QUOTED_CHARACTERS).collect()
}
