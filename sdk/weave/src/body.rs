//! Reading request bodies: each has a limit, and all together have one, so that many large uploads wait instead of
//! exhausting memory.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Refusal;

/// Largest data item, in bytes (spec 03 §6.1 asks for at least 100 MiB).
pub const MAX_ITEM_BYTES: usize = 256 * 1024 * 1024;
/// Largest JSON body, in bytes.
pub const MAX_JSON_BYTES: usize = 16 * 1024 * 1024;
/// Largest body that counts as small: small ones have a budget of their own, so that large uploads never hold them up.
pub const MAX_SMALL_BYTES: usize = 1024 * 1024;
/// Parts of the budget of small bodies, in bytes each.
pub const SMALL_UNIT_BYTES: usize = 64 * 1024;
/// Most small bodies' bytes in memory at once, in units: 128 MiB.
pub const SMALL_UNITS: usize = 2048;
/// Parts of the budget of larger bodies, in bytes each.
pub const LARGE_UNIT_BYTES: usize = 1024 * 1024;
/// Most larger bodies' bytes in memory at once, in units: 512 MiB.
pub const LARGE_UNITS: usize = 512;
/// Longest pause within a body: who stops sending must not keep a part of the budget.
pub const MAX_SILENCE: Duration = Duration::from_secs(30);
/// Slowest sender, in bytes a second, once [`MAX_SILENCE`] is used up: who trickles must not keep it either.
pub const MIN_BYTES_PER_SECOND: u32 = 128 * 1024;
/// Longest wait for a part of the budget. Bodies that wait hold parts themselves, so the wait must end.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Memory that bodies share. Parts are taken as bytes come in, not for what a header announces.
#[derive(Debug, Clone)]
pub struct Budget {
    small: Share,
    large: Share,
    silence: Duration,
}

#[derive(Debug, Clone)]
struct Share {
    units: Arc<Semaphore>,
    unit_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            small: Share { units: Arc::new(Semaphore::new(SMALL_UNITS)), unit_bytes: SMALL_UNIT_BYTES },
            large: Share { units: Arc::new(Semaphore::new(LARGE_UNITS)), unit_bytes: LARGE_UNIT_BYTES },
            silence: MAX_SILENCE,
        }
    }
}

/// A body; its part of the budget is free again when it is dropped.
#[derive(Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    _part: Part,
}

/// A growing part of a share.
#[derive(Debug)]
struct Part {
    share: Share,
    permit: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// Grows until it holds `bytes`.
    async fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(self.share.unit_bytes).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let units = u32::try_from(missing).unwrap_or(u32::MAX);
        let more = tokio::time::timeout(MAX_WAIT, self.share.units.clone().acquire_many_owned(units));
        let more = more.await.map_err(|_| Refusal::busy())?.map_err(|_| Refusal::stopping())?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}

impl Budget {
    /// Reads a body of at most `limit` bytes.
    pub async fn read(&self, request: &HttpRequest, payload: web::Payload, limit: usize) -> Result<Body, Refusal> {
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        self.collect(payload, announced, limit).await
    }

    async fn collect<E: Display>(
        &self,
        mut parts: impl Stream<Item = Result<Bytes, E>> + Unpin,
        announced: Option<usize>,
        limit: usize,
    ) -> Result<Body, Refusal> {
        // The server reads no more than what is announced.
        let limit_here = announced.unwrap_or(limit);
        if limit_here > limit {
            return Err(Refusal::too_large(limit));
        }
        let share = if limit_here <= MAX_SMALL_BYTES { &self.small } else { &self.large };
        let mut part = Part { share: share.clone(), permit: None };
        let (mut bytes, mut waited) = (BytesMut::new(), Duration::ZERO);
        loop {
            // Only waiting for the sender counts.
            let earned = Duration::from_secs((bytes.len() / MIN_BYTES_PER_SECOND as usize) as u64);
            let allowed = (self.silence + earned).saturating_sub(waited).min(self.silence);
            let asked = Instant::now();
            let Some(next) = tokio::time::timeout(allowed, parts.next()).await.map_err(|_| Refusal::late())? else {
                break;
            };
            waited += asked.elapsed();
            let next = next.map_err(|error| Refusal::bad_request(format!("The body cannot be read: {error}")))?;
            let length = bytes.len() + next.len();
            if length > limit_here {
                return Err(Refusal::too_large(limit));
            }
            part.hold(length).await?;
            bytes.extend_from_slice(&next);
        }
        Ok(Body { bytes: bytes.freeze(), _part: part })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use actix_web::ResponseError;
    use actix_web::http::StatusCode;
    use futures_util::stream;

    use super::*;

    const SILENCE: Duration = Duration::from_millis(200);

    fn budget() -> Budget {
        Budget { silence: SILENCE, ..Budget::default() }
    }

    fn arriving(parts: &[usize]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin + use<> {
        stream::iter(parts.iter().map(|length| Ok(Bytes::from(vec![1; *length]))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn what_is_announced_but_does_not_come_takes_nothing_and_ends() {
        let budget = budget();
        let stalled = |parts: &[usize]| arriving(parts).chain(stream::pending());
        let reading = tokio::spawn({
            let budget = budget.clone();
            let stalled = stalled(&[10]);
            async move { budget.collect(stalled, Some(MAX_ITEM_BYTES), MAX_ITEM_BYTES).await }
        });
        while budget.large.units.available_permits() == LARGE_UNITS {
            tokio::task::yield_now().await;
        }
        let other = budget.collect(arriving(&[MAX_ITEM_BYTES]), Some(MAX_ITEM_BYTES), MAX_ITEM_BYTES).await.unwrap();
        assert_eq!(budget.large.units.available_permits(), LARGE_UNITS / 2 - 1);
        drop(other);
        assert_eq!(reading.await.unwrap().unwrap_err().status_code(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(budget.large.units.available_permits(), LARGE_UNITS);
    }

    #[tokio::test]
    async fn who_trickles_is_late() {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(SILENCE / 10).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
        });
        let result = budget().collect(Box::pin(trickle), Some(1000), 1000).await;
        assert_eq!(result.unwrap_err().status_code(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn large_bodies_do_not_hold_up_small_ones() {
        let budget = budget();
        let held = [
            budget.collect(arriving(&[MAX_ITEM_BYTES]), None, MAX_ITEM_BYTES).await.unwrap(),
            budget.collect(arriving(&[MAX_ITEM_BYTES]), None, MAX_ITEM_BYTES).await.unwrap(),
        ];
        assert_eq!(budget.large.units.available_permits(), 0);
        let small = budget.collect(arriving(&[100, 200_000]), Some(200_100), MAX_ITEM_BYTES).await.unwrap();
        assert_eq!(small.bytes.len(), 200_100);
        assert_eq!(budget.small.units.available_permits(), SMALL_UNITS - 4);
        drop((held, small));
        assert_eq!(budget.large.units.available_permits(), LARGE_UNITS);
        assert_eq!(budget.small.units.available_permits(), SMALL_UNITS);
    }

    #[tokio::test]
    async fn more_than_the_limit_is_refused() {
        for (parts, announced) in [(&[6, 5][..], None), (&[6, 5], Some(11)), (&[], Some(11))] {
            let result = budget().collect(arriving(parts), announced, 10).await;
            assert_eq!(result.unwrap_err().status_code(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
}
