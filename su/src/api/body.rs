//! Request bodies: bounded each, and bounded in all until their entries are stored.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{BytesMut, Payload};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Failure;

/// Largest body, in bytes (spec 02 §1).
pub const MAX_BODY_BYTES: usize = 10_485_760;
/// Bytes that are reserved at a time.
const STEP: usize = 64 << 10;

/// Memory that all bodies share; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies(Arc<Semaphore>);

impl Bodies {
    /// At most `bytes` for all bodies together, at least one body.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.clamp(MAX_BODY_BYTES + STEP, Semaphore::MAX_PERMITS))))
    }

    /// Reads a body, and the memory it holds until the permit is dropped.
    pub(super) async fn read(
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
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| Failure::bad_request(format!("the body cannot be read: {error}")))?;
            let length = body.len() + chunk.len();
            if length > MAX_BODY_BYTES {
                return Err(too_large());
            }
            if length > reserved {
                let more = (length - reserved).next_multiple_of(STEP);
                let permit = u32::try_from(more).ok().and_then(|more| self.0.clone().try_acquire_many_owned(more).ok());
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
}

fn too_large() -> Failure {
    Failure::Text(StatusCode::PAYLOAD_TOO_LARGE, "payload reached size limit".into())
}
