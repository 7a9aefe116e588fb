//! Request bodies: bounded each, in all, and in time. Memory is reserved as bytes arrive, so that clients who only
//! announce a body hold none of it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::Refusal;

/// Largest item taken, in bytes.
pub const MAX_ITEM_BYTES: usize = 10 * 1024 * 1024;
/// Longest a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest pause between two parts of a body.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are reserved at a time.
const STEP: usize = 64 * 1024;

/// Memory that all bodies share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// A body with the memory that is reserved for it. Whoever works with it keeps it until nothing is left of it.
#[derive(Debug)]
pub struct Body {
    /// What arrived.
    pub bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// At most `bytes` for all bodies together, at least one body.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.clamp(MAX_ITEM_BYTES + STEP, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// How much of it is reserved, in bytes.
    pub fn reserved(&self) -> usize {
        self.bytes.saturating_sub(self.free.available_permits())
    }

    /// Reads a body, whatever its content type.
    pub(super) async fn read(&self, request: &HttpRequest, mut payload: Payload) -> Result<Body, Refusal> {
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > MAX_ITEM_BYTES) {
            return Err(Refusal::TooLarge(MAX_ITEM_BYTES));
        }
        let end = Instant::now() + BODY_TIMEOUT;
        let mut memory: Option<OwnedSemaphorePermit> = None;
        let mut reserved = 0;
        let mut body = BytesMut::new();
        loop {
            let next = tokio::time::timeout_at(end.min(Instant::now() + BODY_IDLE_TIMEOUT), payload.next()).await;
            let Some(chunk) = next.map_err(|_| Refusal::Slow)? else { break };
            let chunk = chunk.map_err(|error| Refusal::Invalid(format!("the body cannot be read: {error}")))?;
            let length = body.len() + chunk.len();
            if length > MAX_ITEM_BYTES {
                return Err(Refusal::TooLarge(MAX_ITEM_BYTES));
            }
            if length > reserved {
                let more = (length - reserved).next_multiple_of(STEP);
                let permit =
                    u32::try_from(more).ok().and_then(|more| self.free.clone().try_acquire_many_owned(more).ok());
                let permit =
                    permit.ok_or_else(|| Refusal::Full("too many items are arriving; try again later".into()))?;
                reserved += more;
                match &mut memory {
                    Some(memory) => memory.merge(permit),
                    None => memory = Some(permit),
                }
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Body { bytes: body.freeze(), _memory: memory })
    }
}
