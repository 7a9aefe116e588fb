//! What comes from, and goes to, other messengers with the same outbox.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Driver, lock};
use crate::crank::task::TaskId;
use crate::outbox::{Load, Share};

/// Between two looks whether something of shares that are let go of is still being sent.
const LET_GO_PAUSE: Duration = Duration::from_millis(10);

impl Driver {
    /// Whether this messenger may start anything now.
    pub(super) fn holds(&self) -> bool {
        self.0.outbox.shared().is_none_or(|shared| shared.holds())
    }

    /// Takes in tasks that come from another messenger.
    pub fn welcome(&self, load: Load) {
        self.take_in(load);
    }

    /// Starts nothing of these shares any more. What runs ends by itself, and finds out whether it may still be stored.
    pub fn let_go(&self, shares: &BTreeSet<Share>) {
        let mut dispatcher = lock(&self.0.dispatcher);
        let origins = dispatcher.let_go(shares);
        self.0.metrics.queued(dispatcher.len());
        self.left(origins);
        drop(dispatcher);
        self.hand_on();
    }

    /// Waits until nothing of these shares is being sent: what another messenger sent next could get there before it.
    pub async fn sent(&self, shares: &BTreeSet<Share>) {
        while lock(&self.0.dispatcher).sends(shares) {
            tokio::time::sleep(LET_GO_PAUSE).await;
        }
    }

    /// A task is not in the outbox any more, or another messenger goes on with it.
    pub(super) fn gone(&self, id: TaskId) {
        lock(&self.0.confirming).retain(|_, task| *task != id);
        self.vanish(id);
    }
}
