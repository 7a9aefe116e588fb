//! What can go wrong, and the one place that turns it into HTTP answers.

use std::time::Duration;

use actix_web::http::StatusCode;
use holon_unit::ApiError;
use holon_unit::server::ServerError;

use crate::locate::DirectoryError;
use crate::outbox::OutboxError;
use crate::peers::PeerError;

/// The service cannot start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder cannot be made.
    #[error("the data folder {path} cannot be used: {source}")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The outbox cannot be opened or read.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The HTTP server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The gateway client cannot be set up.
    #[error(transparent)]
    Gateway(#[from] holon_arweave::Error),
    /// The uploader cannot be set up.
    #[error(transparent)]
    Uploader(#[from] holon_arweave::UploadError),
    /// The HTTP clients cannot be set up.
    #[error("the HTTP clients cannot be set up: {0}")]
    Http(#[from] PeerError),
}

/// When whoever is refused because there is too much to do may try again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A client's request is not carried out. Nothing was changed, unless it is [`Refusal::Upstream`] or
/// [`Refusal::Stopping`]: then the scheduler may have the item, or take it yet, also where it refused the item and would not
/// say whether it has it. It is asked until it says so or until
/// retrying ends ([`Limits::retry_for_ms`](crate::crank::dispatch::Limits)); once it has the item, its result is pushed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The request is not allowed here.
    #[error("{0}")]
    Forbidden(String),
    /// A process, scheduler or message does not exist.
    #[error("{0}")]
    Unknown(String),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    Slow,
    /// The body is too large.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The scheduler refused the client's own item.
    #[error("{text}")]
    Refused {
        /// Status it answered.
        status: u16,
        /// What it said.
        text: String,
    },
    /// Parameters that exclude each other.
    #[error("{0}")]
    Conflicting(String),
    /// A scheduler, compute unit or gateway failed.
    #[error("{0}")]
    Upstream(String),
    /// The scheduler has too much to do, or has had too much of this.
    #[error("{0}")]
    Limited(String),
    /// Too much is queued.
    #[error("{0}")]
    Full(String),
    /// The service is going down.
    #[error("the messenger unit is shutting down")]
    Stopping,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] OutboxError),
}

impl From<PeerError> for Refusal {
    /// The texts are those of the reference, which clients show. Where the peers are is not for strangers to know.
    fn from(error: PeerError) -> Self {
        tracing::warn!(%error, "a peer failed during a client's request");
        if let PeerError::Crowded { .. } = error {
            return Self::Full(
                "too much is being read from schedulers that are not known here; try again later".into(),
            );
        }
        Self::Upstream(match error {
            PeerError::Status { status, body } => format!("Error: Error: {status}: {body}"),
            PeerError::Unreached { .. } => "the unit that has to be asked cannot be reached; nothing was sent".into(),
            PeerError::Network { .. } => "the unit that has to be asked did not answer".into(),
            PeerError::TooLarge { limit_bytes, .. } => {
                format!("the unit that has to be asked answered with more than {limit_bytes} bytes")
            }
            PeerError::Malformed { reason, .. } => {
                format!("the unit that has to be asked answered with something unexpected: {reason}")
            }
            PeerError::Forbidden { .. } => "the address of the unit that has to be asked is refused".into(),
            PeerError::Crowded { .. } => "too much is being read".into(),
        })
    }
}

impl Refusal {
    /// A scheduler did not take what a client sent: the client's fault if the scheduler says so.
    pub fn of_item(error: PeerError) -> Self {
        let refused = error.is_refusal();
        match error {
            PeerError::Status { status, body } if refused => {
                Self::Refused { status, text: format!("Error: Error: {status}: {body}") }
            }
            PeerError::Status { status: 429, body } => Self::Limited(format!("Error: Error: 429: {body}")),
            error => error.into(),
        }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::NotFound(text) | DirectoryError::Unlocated(text) | DirectoryError::Unindexed(text) => {
                Self::Unknown(text)
            }
            DirectoryError::Unavailable(reason) => {
                tracing::warn!(reason, "a process or scheduler could not be looked up");
                Self::Upstream("the process or its scheduler could not be looked up; try again later".into())
            }
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::Refused { status: 413, .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Refused { .. } => StatusCode::BAD_REQUEST,
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            Refusal::Unknown(_) => StatusCode::NOT_FOUND,
            Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Conflicting(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Upstream(_) => StatusCode::BAD_GATEWAY,
            Refusal::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Full(_) | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Store(error) if error.is_away() => {
                tracing::error!(%error, "a request failed because the outbox database is away");
                return Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the messenger unit cannot reach its database; nothing was forwarded, try again later",
                )
                .again_after(RETRY_AFTER);
            }
            Refusal::Store(error) => {
                tracing::error!(%error, "a request failed because of the outbox");
                return Self::internal("the messenger unit could not store the request");
            }
        };
        let error = Self::new(status, refusal.to_string());
        match refusal {
            Refusal::Full(_) | Refusal::Limited(_) | Refusal::Stopping => error.again_after(RETRY_AFTER),
            _ => error,
        }
    }
}
