//! The one place where errors become HTTP answers: plain texts, as nodes and gateways give them (spec 03 §4, §5).

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

use crate::Error;
use crate::weave::{ChunkRefusal, SubmitError};

/// An answer that is not a success.
#[derive(Debug, thiserror::Error)]
#[error("{status}")]
pub struct Refusal {
    status: StatusCode,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Text(String),
    Json(Value),
}

impl Refusal {
    /// A status and a text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, body: Body::Text(text.into()) }
    }

    /// A status and `{"error": code}`.
    pub fn code(status: StatusCode, code: &str) -> Self {
        Self { status, body: Body::Json(json!({ "error": code })) }
    }

    /// A status and any JSON.
    pub fn json(status: StatusCode, json: Value) -> Self {
        Self { status, body: Body::Json(json) }
    }

    /// 400 with this text.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::text(StatusCode::BAD_REQUEST, text)
    }

    /// 404, as gateways and nodes say it.
    pub fn not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "Not Found.")
    }

    /// 503 because the service ends.
    pub fn stopping() -> Self {
        Self::text(StatusCode::SERVICE_UNAVAILABLE, "The service is stopping.")
    }

    /// 503 because others use the memory for bodies.
    pub fn busy() -> Self {
        Self::text(StatusCode::SERVICE_UNAVAILABLE, "Too many uploads at once; try again.")
    }

    /// 408 because the sender is too slow.
    pub fn late() -> Self {
        Self::text(StatusCode::REQUEST_TIMEOUT, "The body did not come in time.")
    }

    /// 413 with the limit.
    pub fn too_large(limit: usize) -> Self {
        Self::text(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {limit} bytes."))
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        match &self.body {
            Body::Text(text) => response.content_type(ContentType::plaintext()).body(text.clone()),
            Body::Json(json) => response.json(json),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        tracing::error!(%error, "request failed");
        Self::text(StatusCode::INTERNAL_SERVER_ERROR, "The store failed; the log says why.")
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Item(error) => Self::bad_request(format!("Invalid Data Item! {error}")),
            SubmitError::Transaction(error) => Self::bad_request(format!("Transaction verification failed. {error}")),
            SubmitError::Chunk(refusal) => Self::code(StatusCode::BAD_REQUEST, code(refusal)),
            SubmitError::Service(error) => error.into(),
        }
    }
}

fn code(refusal: ChunkRefusal) -> &'static str {
    match refusal {
        ChunkRefusal::InvalidJson => "invalid_json",
        ChunkRefusal::ChunkTooBig => "chunk_too_big",
        ChunkRefusal::DataPathTooBig => "data_path_too_big",
        ChunkRefusal::OffsetFieldRequired => "offset_field_required",
        ChunkRefusal::OffsetTooBig => "offset_too_big",
        ChunkRefusal::ProofRatio => "chunk_proof_ratio_not_attractive",
        ChunkRefusal::InvalidProof => "invalid_proof",
        ChunkRefusal::PoolFull => "exceeds_disk_pool_size_limit",
    }
}
