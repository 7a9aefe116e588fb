//! Errors as HTTP answers: a status and `{"error": "<text>"}`.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};

/// Longest error text sent to a client, in bytes; foreign texts are cut here.
pub const MAX_ERROR_TEXT_BYTES: usize = 4096;

/// An answer that is not a success. Handlers return it; units convert their own error enums into it in one place.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status}: {message}")]
pub struct ApiError {
    status: StatusCode,
    message: String,
    again_after: Option<Duration>,
}

impl ApiError {
    /// An error with this status and text.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_ERROR_TEXT_BYTES {
            let end = (0..=MAX_ERROR_TEXT_BYTES).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
            message.truncate(end);
        }
        Self { status, message, again_after: None }
    }

    /// 400 with this text.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404 with this text.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 500 with this text.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The same with `Retry-After`: when it may be tried again, in whole seconds, at least one.
    #[must_use]
    pub fn again_after(mut self, wait: Duration) -> Self {
        self.again_after = Some(wait);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status);
        if let Some(wait) = self.again_after {
            answer.insert_header((RETRY_AFTER, wait.as_secs().max(1).to_string()));
        }
        answer.json(serde_json::json!({ "error": self.message }))
    }
}
