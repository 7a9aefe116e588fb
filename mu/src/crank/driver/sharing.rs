//! What comes from, and goes to, other messengers with the same outbox.

use std::collections::BTreeSet;
use std::time::Duration;

use holon_protocol::ProcessId;

use super::{Driver, lock, now};
use crate::crank::task::TaskId;
use crate::outbox::{Expected, Load, OutboxError, Share};

/// Between two looks whether something of shares that are let go of is still being sent.
const LET_GO_PAUSE: Duration = Duration::from_millis(10);
/// Between two looks whether everything has been heard of that others posted; then the result is pulled once more.
const HEAR_PAUSES_MS: [u64; 6] = [5, 10, 20, 40, 80, 160];

/// What this messenger has heard of that may stand before a result in the log of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Everything that there is.
    All,
    /// Everything that others posted. What follows from what it posts itself may come through the database.
    OfOthers,
    /// Not even that.
    Less,
}

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

    /// Whether this messenger has heard of everything that others posted to a process before the result which this task pulls,
    /// waiting a little for it.
    pub(super) async fn heard_of_all(&self, id: TaskId, process: ProcessId) -> Result<Heard, OutboxError> {
        let Some(shared) = self.0.outbox.shared() else { return Ok(Heard::All) };
        let patience = Duration::from_millis(self.0.limits.order_patience_ms);
        for pause in HEAR_PAUSES_MS {
            match shared.expects(process, id, patience).await? {
                Expected { elsewhere: true, .. } => tokio::time::sleep(Duration::from_millis(pause)).await,
                Expected { posted: true, .. } => return Ok(Heard::OfOthers),
                _ => return Ok(Heard::All),
            }
        }
        Ok(Heard::Less)
    }

    /// Whether a result whose turn it is still has it, now that what this messenger posted itself before is over: what followed from
    /// that may have come, or be coming, through the database.
    pub(super) async fn still_has_turn(&self, id: TaskId, process: ProcessId) -> Result<bool, OutboxError> {
        let Some(shared) = self.0.outbox.shared() else { return Ok(true) };
        let patience = Duration::from_millis(self.0.limits.order_patience_ms);
        if shared.expects(process, id, patience).await?.elsewhere {
            lock(&self.0.dispatcher).again(id, now());
            self.hand_on();
            return Ok(false);
        }
        Ok(self.turn(id).await)
    }

    /// A task is not in the outbox any more, or another messenger goes on with it.
    pub(super) fn gone(&self, id: TaskId) {
        lock(&self.0.confirming).retain(|_, task| *task != id);
        self.vanish(id);
    }
}
