//! Reading request bodies: each has a limit, and all together have one, so that many large uploads wait instead of
//! exhausting memory.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Refusal;

/// Largest data item, in bytes (spec 03 §6.1 asks for at least 100 MiB).
pub const MAX_ITEM_BYTES: usize = 256 * 1024 * 1024;
/// Largest JSON body, in bytes.
pub const MAX_JSON_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of bodies in memory at once, in units of [`UNIT_BYTES`].
pub const BUDGET_UNITS: usize = 512;
/// Unit of the budget.
pub const UNIT_BYTES: usize = 1024 * 1024;
/// Longest pause within a body: who stops sending must not keep a part of the budget.
pub const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Memory that bodies share.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_UNITS)))
    }
}

/// A body; its part of the budget is free again when it is dropped.
#[derive(Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// Reads a body of at most `limit` bytes.
    pub async fn read(&self, request: &HttpRequest, mut payload: web::Payload, limit: usize) -> Result<Body, Refusal> {
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let expected: usize = announced.unwrap_or(limit);
        if expected > limit {
            return Err(Refusal::too_large(limit));
        }
        let units = u32::try_from(expected.div_ceil(UNIT_BYTES).clamp(1, BUDGET_UNITS)).unwrap_or(1);
        let permit = self.0.clone().acquire_many_owned(units).await;
        let permit = permit.map_err(|_| Refusal::text(StatusCode::SERVICE_UNAVAILABLE, "The service is stopping."))?;
        let mut bytes = BytesMut::with_capacity(if announced.is_some() { expected } else { 0 });
        let late = |_| Refusal::text(StatusCode::REQUEST_TIMEOUT, "The body did not come in time.");
        while let Some(part) = tokio::time::timeout(MAX_SILENCE, payload.next()).await.map_err(late)? {
            let part = part.map_err(|error| Refusal::bad_request(format!("The body cannot be read: {error}")))?;
            if bytes.len() + part.len() > limit {
                return Err(Refusal::too_large(limit));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(Body { bytes: bytes.freeze(), _permit: permit })
    }
}
