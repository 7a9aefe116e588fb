//! What can go wrong, and the one place that turns it into HTTP answers.

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

/// A client's request is not carried out. Nothing was changed, unless it is [`Refusal::Upstream`] or
/// [`Refusal::Stopping`]: then the scheduler may have the item, and if it does, its result will be pushed.
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
    #[error("the body did not arrive within {0} seconds")]
    Slow(u64),
    /// The body is too large.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Parameters that exclude each other.
    #[error("{0}")]
    Conflicting(String),
    /// A scheduler, compute unit or gateway failed.
    #[error("{0}")]
    Upstream(String),
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
    /// The texts are those of the reference, which clients show.
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Status { status, body } => Self::Upstream(format!("Error: Error: {status}: {body}")),
            other => Self::Upstream(other.to_string()),
        }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::NotFound(text) => Self::Unknown(text),
            DirectoryError::Unavailable(text) => Self::Upstream(text),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            Refusal::Unknown(_) => StatusCode::NOT_FOUND,
            Refusal::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Conflicting(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Upstream(_) => StatusCode::BAD_GATEWAY,
            Refusal::Full(_) | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Store(error) => {
                tracing::error!(%error, "a request failed because of the outbox");
                return Self::internal("the messenger unit could not store the request");
            }
        };
        Self::new(status, refusal.to_string())
    }
}
