//! How many bytes may be held at the same time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one place.
const PLACE_BYTES: u64 = 1024;

/// A number of bytes that many share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    places: Arc<Semaphore>,
    total: u32,
}

/// Bytes that are taken, until this is dropped.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> Self {
        let total = places(bytes);
        Self { places: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Takes `bytes`, or all there are if that is less, when they are free; who came first is served first.
    pub async fn take(&self, bytes: u64) -> Held {
        let permit = self.places.clone().acquire_many_owned(places(bytes).min(self.total)).await;
        // Nobody closes the semaphore.
        Held(permit.ok())
    }

    /// Takes `bytes` if they are free.
    pub fn try_take(&self, bytes: u64) -> Option<Held> {
        let permit = self.places.clone().try_acquire_many_owned(places(bytes).min(self.total));
        permit.ok().map(|permit| Held(Some(permit)))
    }
}

impl Held {
    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        if let Some(permit) = &mut self.0 {
            let more = permit.num_permits().saturating_sub(places(bytes) as usize);
            drop(permit.split(more));
        }
    }
}

fn places(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PLACE_BYTES)).unwrap_or(u32::MAX >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_held_until_they_are_given_back_and_none_waits_for_more_than_there_is() {
        let budget = Budget::new(100 << 10);
        let mut most = budget.take(1 << 40).await;
        assert!(budget.try_take(1).is_none());
        most.shrink(60 << 10);
        let rest = budget.try_take(40 << 10).unwrap();
        assert!(budget.try_take(1).is_none());
        drop((most, rest));
        assert!(budget.try_take(100 << 10).is_some());
    }
}
