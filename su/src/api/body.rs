//! Request bodies: bounded each in size and time, and bounded in all until their entries are stored.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{BytesMut, Payload};
use bytes::Bytes;
use futures_util::StreamExt;
use holon_unit::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Failure;

/// Largest body, in bytes (spec 02 §1).
pub const MAX_BODY_BYTES: usize = 10_485_760;
/// Bytes that are reserved at a time.
const STEP: usize = 64 << 10;

/// How long a body may take, so that a client that stalls gives back the memory it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTimes {
    /// Longest silence before the next piece.
    pub idle: Duration,
    /// Longest for the whole body.
    pub total: Duration,
}

impl Default for BodyTimes {
    /// 15 s and 120 s: the largest body at 90 kB/s.
    fn default() -> Self {
        Self { idle: Duration::from_secs(15), total: Duration::from_secs(120) }
    }
}

/// Memory that all bodies share, and the time each may take; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies {
    memory: Arc<Semaphore>,
    times: BodyTimes,
}

impl Bodies {
    /// At most `bytes` for all bodies together, at least one body.
    pub fn new(bytes: usize, times: BodyTimes) -> Self {
        let permits = bytes.clamp(MAX_BODY_BYTES + STEP, Semaphore::MAX_PERMITS);
        Self { memory: Arc::new(Semaphore::new(permits)), times }
    }

    /// Reads a body, and the memory it holds until the permit is dropped. Whatever ends the reading early gives the
    /// memory back: 408 for a client that is too slow, 413 and 503 for too many bytes, 400 for a broken connection.
    pub(super) async fn read(
        &self,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
        let total = self.times.total;
        tokio::time::timeout(total, self.read_all(request, payload)).await.unwrap_or_else(|_| {
            let text = format!("the body did not arrive within {total:?}; send it faster");
            Err(Failure::Json(ApiError::new(StatusCode::REQUEST_TIMEOUT, text)))
        })
    }

    async fn read_all(
        &self,
        request: &HttpRequest,
        mut payload: Payload,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > MAX_BODY_BYTES) {
            return Err(too_large());
        }
        let mut memory: Option<OwnedSemaphorePermit> = None;
        let mut reserved = 0;
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next(&mut payload).await? {
            let chunk = chunk.map_err(|error| Failure::bad_request(format!("the body cannot be read: {error}")))?;
            let length = body.len() + chunk.len();
            if length > MAX_BODY_BYTES {
                return Err(too_large());
            }
            if length > reserved {
                let more = (length - reserved).next_multiple_of(STEP);
                let permit =
                    u32::try_from(more).ok().and_then(|more| self.memory.clone().try_acquire_many_owned(more).ok());
                let permit =
                    permit.ok_or_else(|| Failure::unavailable("too many posts are under way; try again later"))?;
                reserved += more;
                match &mut memory {
                    Some(memory) => memory.merge(permit),
                    None => memory = Some(permit),
                }
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body.freeze(), memory))
    }

    async fn next(&self, payload: &mut Payload) -> Result<Option<Result<Bytes, PayloadError>>, Failure> {
        let idle = self.times.idle;
        tokio::time::timeout(idle, payload.next()).await.map_err(|_| {
            let text = format!("nothing of the body arrived for {idle:?}; send it without pauses");
            Failure::Json(ApiError::new(StatusCode::REQUEST_TIMEOUT, text))
        })
    }
}

fn too_large() -> Failure {
    Failure::Text(StatusCode::PAYLOAD_TOO_LARGE, "payload reached size limit".into())
}
