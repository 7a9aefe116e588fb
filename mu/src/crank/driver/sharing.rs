//! What comes from, and goes to, other messengers with the same outbox.

use std::collections::BTreeSet;
use std::time::Duration;

use holon_protocol::{ItemId, ProcessId};

use super::{Driver, lock, now};
use crate::crank::dispatch::Wait;
use crate::crank::task::TaskId;
use crate::outbox::{Expected, Load, OutboxError, Share};

/// Between two looks whether something of shares that are let go of is still being sent.
const LET_GO_PAUSE: Duration = Duration::from_millis(10);
/// Between two looks whether everything has been heard of that others posted; it doubles each time.
const HEAR_PAUSE: Duration = Duration::from_millis(5);
/// The longest of them.
const MAX_HEAR_PAUSE: Duration = Duration::from_millis(320);

/// How a result came to its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was its turn.
    Now,
    /// It had to wait.
    Waited,
    /// Too many wait: it is fetched once more later.
    PutOff,
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

    /// A task begins to post to the log of a process. `false`: it may have done so before.
    pub(super) async fn posts(&self, id: TaskId, process: ProcessId, item: ItemId) -> Result<bool, OutboxError> {
        let (begun, was_tried) = {
            let mut dispatcher = lock(&self.0.dispatcher);
            (dispatcher.posts(id, process, item, now()), dispatcher.was_tried(id))
        };
        // When it was staged it was told to the others already: nearly always just now.
        if begun
            && was_tried
            && let Some(shared) = self.0.outbox.shared()
            && let Err(error) = shared.posting(id, true).await
        {
            lock(&self.0.dispatcher).settled(id);
            return Err(error);
        }
        Ok(begun)
    }

    /// Nothing was sent of what a task posts.
    pub(super) async fn posted_nothing(&self, id: TaskId) {
        lock(&self.0.dispatcher).settled(id);
        if let Some(shared) = self.0.outbox.shared()
            && let Err(error) = shared.posting(id, false).await
        {
            tracing::debug!(task = %id, %error, "others wait a while for what was never sent");
        }
    }

    /// What may stand before the result which this task pulls in the log of its process, as far as other messengers are concerned.
    pub(super) async fn expected(&self, id: TaskId, process: ProcessId) -> Result<Expected, OutboxError> {
        let Some(shared) = self.0.outbox.shared() else { return Ok(Expected::default()) };
        let patience = Duration::from_millis(self.0.limits.order_patience_ms);
        shared.expects(process, id, patience).await
    }

    /// Waits, with a result in hand, until it is its turn and nothing more is expected before it. `expected` is what was when it was
    /// pulled. `false`: too many wait; it is put off.
    pub(super) async fn has_turn(
        &self,
        id: TaskId,
        process: ProcessId,
        expected: Expected,
    ) -> Result<bool, OutboxError> {
        let (mut heard, mut pause) = (false, HEAR_PAUSE);
        loop {
            match self.turn(id).await {
                Turn::PutOff => return Ok(false),
                _ if expected == Expected::default() => return Ok(true),
                // What came meanwhile has its place, and what follows from what this messenger posted itself may have come through
                // the database: only what was heard before there was nothing to wait for is everything.
                Turn::Now if heard => return Ok(true),
                Turn::Now | Turn::Waited => {}
            }
            heard = !self.expected(id, process).await?.elsewhere;
            if heard {
                continue;
            }
            let wait = lock(&self.0.dispatcher).waits(id, now());
            self.hand_on();
            match wait {
                Wait::PutOff => return Ok(false),
                Wait::Needless => return Ok(true),
                Wait::Held => tokio::time::sleep(pause).await,
            }
            pause = (2 * pause).min(MAX_HEAR_PAUSE);
        }
    }

    /// A task is not in the outbox any more, or another messenger goes on with it.
    pub(super) fn gone(&self, id: TaskId) {
        lock(&self.0.confirming).retain(|_, task| *task != id);
        self.vanish(id);
    }
}
