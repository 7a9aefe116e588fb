//! What can go wrong between a client and a network.

use std::fmt;
use std::time::Duration;

use holon_protocol::item::BuildError;
use holon_protocol::{ItemId, ModuleId, ProcessId};
use url::Url;

/// Longest text of a unit's answer kept in an error, in characters.
pub const MAX_ANSWER_TEXT_CHARS: usize = 2000;

/// A part of the network that a client talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Takes signed messages (`MU_URL`).
    Messenger,
    /// Answers results and dry runs (`CU_URL`).
    Compute,
    /// Keeps a process's log (found through its scheduler location).
    Scheduler,
    /// Serves and searches Arweave data (`GATEWAY_URL`).
    Gateway,
    /// Takes data items for Arweave (`UPLOADER_URL`).
    Uploader,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messenger => "messenger unit",
            Self::Compute => "compute unit",
            Self::Scheduler => "scheduler unit",
            Self::Gateway => "gateway",
            Self::Uploader => "uploader",
        })
    }
}

/// An exchange with a network failed. [`Self::retryable`] says whether trying again can help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This network was built without the URL that the call needs.
    #[error("no URL of a {0} is configured")]
    NotConfigured(Unit),
    /// A URL cannot be used as the base of requests.
    #[error("{url} cannot be used as a base URL: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach the {unit} at {url}: {}", root_cause(.source))]
    Unreachable {
        /// Who was called.
        unit: Unit,
        /// The request's URL.
        url: Url,
        /// What the HTTP client says.
        source: reqwest::Error,
    },
    /// No answer in time. A message may nevertheless have been accepted: send the *same* item again, it counts once.
    #[error("the {unit} at {url} did not answer within {} s", .limit.as_secs())]
    Timeout {
        /// Who was called.
        unit: Unit,
        /// The request's URL.
        url: Url,
        /// How long was waited.
        limit: Duration,
    },
    /// The unit answered with a status that is not success.
    #[error("the {unit} refused ({status}): {message}")]
    Refused {
        /// Who answered.
        unit: Unit,
        /// HTTP status.
        status: u16,
        /// The `error` member of the answer, or its text, cut to [`MAX_ANSWER_TEXT_CHARS`].
        message: String,
    },
    /// A signed item was answered with a redirect. Items are never sent to another place than the one configured.
    #[error("the {unit} wants to redirect a signed item to {location}; configure that URL if it is right")]
    Redirected {
        /// Who answered.
        unit: Unit,
        /// Where it points.
        location: String,
    },
    /// The answer is not what the protocol says.
    #[error("the {unit} gave an answer that makes no sense: {reason}")]
    Answer {
        /// Who answered.
        unit: Unit,
        /// What was expected and what came.
        reason: String,
    },
    /// The answer is larger than a client accepts.
    #[error("the answer of the {unit} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Who answered.
        unit: Unit,
        /// The limit.
        limit_bytes: usize,
    },
    /// The compute unit was still evaluating when patience ran out. The result can be asked for again.
    #[error("{process} is still being evaluated after {} s", .waited.as_secs())]
    StillEvaluating {
        /// The process.
        process: ProcessId,
        /// How long was waited.
        waited: Duration,
    },
    /// The gateway does not know the module.
    #[error("module {0} is not on the gateway")]
    ModuleNotFound(ModuleId),
    /// The item exists but is not a module.
    #[error("{module} is not a module: tag {tag} is missing or wrong")]
    NotAModule {
        /// The item.
        module: ModuleId,
        /// The tag that a module must have.
        tag: &'static str,
    },
    /// An item would break a limit of the format, or could not be signed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The gateway could not be asked.
    #[error("the gateway could not answer: {0}")]
    Gateway(#[from] holon_arweave::Error),
    /// The uploader did not take the item.
    #[error("{item} was not uploaded: {source}")]
    Upload {
        /// The item's id.
        item: ItemId,
        /// Why.
        source: holon_arweave::UploadError,
    },
    /// The scheduler of a process cannot be found.
    #[error("the scheduler of {process} cannot be found: {source}")]
    Locate {
        /// The process.
        process: ProcessId,
        /// Why.
        source: holon_arweave::LocateError,
    },
    /// The signing task was cancelled because the runtime is stopping.
    #[error("the program is stopping")]
    Stopping,
}

impl Error {
    /// Whether the same call may succeed later without anything being changed.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::StillEvaluating { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 502 | 503 | 504),
            Self::Upload { source, .. } => source.retryable(),
            Self::Gateway(source) => source.retryable(),
            _ => false,
        }
    }

    /// The HTTP status a unit answered with, if it answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The unit that was talked to, where one was.
    pub fn unit(&self) -> Option<Unit> {
        match self {
            Self::NotConfigured(unit)
            | Self::Unreachable { unit, .. }
            | Self::Timeout { unit, .. }
            | Self::Refused { unit, .. }
            | Self::Redirected { unit, .. }
            | Self::Answer { unit, .. }
            | Self::TooLarge { unit, .. } => Some(*unit),
            Self::StillEvaluating { .. } => Some(Unit::Compute),
            Self::ModuleNotFound(_) | Self::NotAModule { .. } | Self::Gateway(_) => Some(Unit::Gateway),
            Self::Upload { .. } => Some(Unit::Uploader),
            Self::Locate { .. } => Some(Unit::Scheduler),
            Self::Url { .. } | Self::Build(_) | Self::Stopping => None,
        }
    }
}

/// The innermost text of an error: "Connection refused" says more than "error sending request".
/// What lies at the bottom of an error.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
