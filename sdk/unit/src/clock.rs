//! What time it is for a service: the computer's time, or one that is set by hand, which tests of whole networks use.
//!
//! Only what others get to see is measured with it: timestamps of assignments and blocks, when cron messages are due. How long
//! a request may take and when something that failed is tried again has nothing to do with it: a service whose time
//! stands still works on.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holon_protocol::Timestamp;
use tokio::sync::watch;

/// A clock. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<watch::Sender<Timestamp>>>);

impl Clock {
    /// The computer's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at `time` until [`Self::advance`] moves it.
    pub fn by_hand(time: Timestamp) -> Self {
        Self(Some(Arc::new(watch::Sender::new(time))))
    }

    /// The time now, in milliseconds since 1970.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(hand) => *hand.borrow(),
            None => {
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(milliseconds(elapsed))
            }
        }
    }

    /// The time now, in whole seconds since 1970.
    pub fn seconds(&self) -> u64 {
        self.now().0 / 1000
    }

    /// Moves a clock that is set by hand forward, by whole milliseconds; returns the new time. The computer's clock goes its own way.
    pub fn advance(&self, by: Duration) -> Timestamp {
        if let Some(hand) = &self.0 {
            hand.send_modify(|time| time.0 = time.0.saturating_add(milliseconds(by)));
        }
        self.now()
    }

    /// Waits until it is `time`, but never longer than `limit` of the computer's time.
    pub async fn until(&self, time: Timestamp, limit: Duration) {
        match &self.0 {
            None => {
                let wait = Duration::from_millis(time.0.saturating_sub(self.now().0));
                tokio::time::sleep(wait.min(limit)).await;
            }
            Some(hand) => {
                let mut hand = hand.subscribe();
                // The sender lives as long as this clock. Out of time is not an error: whoever waits looks again.
                let _ = tokio::time::timeout(limit, hand.wait_for(|now| *now >= time)).await;
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test lasts.
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn time_set_by_hand_moves_when_told_and_wakes_who_waits() {
        let clock = Clock::by_hand(Timestamp(1_000));
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.until(Timestamp(3_600_000), LONG).await;
                clock.now()
            }
        });
        assert_eq!(clock.advance(Duration::from_secs(1)), Timestamp(2_000));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(waiting.await.unwrap(), Timestamp(3_602_000));
        assert_eq!(clock.seconds(), 3_602);
        assert_eq!(clock.advance(Duration::MAX), Timestamp(u64::MAX));
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_limit_and_not_at_all_for_the_past() {
        let clock = Clock::by_hand(Timestamp(1_000));
        clock.until(Timestamp(1_000), LONG).await;
        clock.until(Timestamp(1_001), Duration::from_millis(1)).await;
        Clock::system().until(Timestamp(0), LONG).await;
        Clock::system().until(Timestamp(u64::MAX), Duration::from_millis(1)).await;
    }

    #[test]
    fn the_computers_clock_goes_its_own_way() {
        let before = Clock::system().now();
        assert!(before > Timestamp(1_700_000_000_000));
        assert!(Clock::default().advance(LONG).0 < before.0 + 3_600_000);
    }
}
