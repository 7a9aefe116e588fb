//! The one place where errors become HTTP answers (spec 02 §1): 400 with `{"error"}` for what the client can change,
//! 503 for what may pass on its own, such as a gateway or router that cannot be asked.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use holon_protocol::item::ItemError;
use holon_unit::ApiError;

use crate::check::CheckError;
use crate::log::StoreError;
use crate::pool::PoolEnded;
use crate::published::PublishedError;
use crate::reader::ReadError;
use crate::sequencer::Refusal;

/// An answer that is not a success.
#[derive(Debug)]
pub(super) enum Failure {
    /// `{"error": text}`.
    Json(ApiError),
    /// Plain text, for what fails before a handler of the reference would run.
    Text(StatusCode, String),
}

impl Failure {
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::Json(ApiError::bad_request(text))
    }

    pub(super) fn query(reason: impl std::fmt::Display) -> Self {
        Self::Text(StatusCode::BAD_REQUEST, format!("Query deserialize error: {reason}"))
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self::Json(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(error) => error.fmt(f),
            Self::Text(status, text) => write!(f, "{status}: {text}"),
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Json(error) => error.status(),
            Self::Text(status, _) => *status,
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Json(error) => error.error_response(),
            Self::Text(status, text) => {
                HttpResponseBuilder::new(*status).content_type("text/plain; charset=utf-8").body(text.clone())
            }
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Json(error)
    }
}

impl From<ItemError> for Failure {
    fn from(error: ItemError) -> Self {
        Self::bad_request(format!("the body is not an acceptable data item: {error}"))
    }
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        if refusal.retryable() {
            Self::unavailable(refusal.to_string())
        } else {
            Self::bad_request(refusal.to_string())
        }
    }
}

impl From<PublishedError> for Failure {
    fn from(error: PublishedError) -> Self {
        if let PublishedError::Gateway(error) = &error {
            tracing::warn!(%error, "the gateway could not be asked");
        }
        if error.retryable() { Self::unavailable(error.to_string()) } else { Self::bad_request(error.to_string()) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the log store failed");
        Self::Json(ApiError::internal("the scheduler's store failed"))
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownProcess | ReadError::NotFound => Self::bad_request(error.to_string()),
            ReadError::Store(error) => error.into(),
            ReadError::Item(error) => {
                tracing::error!(%error, "a stored item is not readable");
                Self::Json(ApiError::internal("a stored item is not readable"))
            }
        }
    }
}

impl From<PoolEnded> for Failure {
    fn from(error: PoolEnded) -> Self {
        Self::unavailable(error.to_string())
    }
}
