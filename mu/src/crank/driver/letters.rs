//! Dead letters: what was given up, and taking it up again at the operator's wish.

use super::{Driver, lock};
use crate::crank::task::Work;
use crate::outbox::{Changes, Charge, DeadLetter, Durability, Letter, LetterId, Load, OutboxError};

/// A dead letter cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// There is none with this id.
    #[error("there is no dead letter {}", .0.0)]
    Unknown(LetterId),
    /// It is an outbox entry that can never be used.
    #[error("dead letter {} is an outbox entry that cannot be used: {reason}", .id.0)]
    Unusable {
        /// Which one.
        id: LetterId,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] OutboxError),
}

impl Driver {
    /// The newest `limit` dead letters, older than `before` if that is given, oldest of them first.
    pub async fn dead_letters(&self, before: Option<LetterId>, limit: usize) -> Result<Vec<DeadLetter>, OutboxError> {
        self.0.outbox.dead_letters(before, limit).await
    }

    /// Takes a task that was given up where it stopped: what was signed is sent as it is. Its push gets a new budget.
    ///
    /// # Errors
    /// When there is no such letter, or it is no task.
    pub async fn retry(&self, id: LetterId) -> Result<(), RetryError> {
        // One at a time: the same letter must not be taken up twice.
        let _alone = self.0.retrying.lock().await;
        let letter = self.0.outbox.dead_letter(id).await?.ok_or(RetryError::Unknown(id))?;
        let mut task = match letter.letter {
            Letter::Task(task) => *task,
            Letter::Entry { .. } => return Err(RetryError::Unusable { id, reason: letter.reason }),
        };
        task.descent.granted = task.descent.depth;
        if let Work::Confirm(forwarded) = &mut task.work {
            // However long its scheduler has had it.
            forwarded.came = None;
        }
        let origin = task.descent.origin;
        let accounts = origin.map(|origin| (origin, Charge::Afresh)).into_iter().collect();
        let changes = Changes { new: vec![task], dug_up: vec![id], accounts, ..Changes::default() };
        let committed = match self.0.outbox.commit(changes, Durability::Synced).await {
            Err(OutboxError::Lost) => return Err(RetryError::Unknown(id)),
            committed => committed?,
        };
        if let Some(origin) = origin {
            lock(&self.0.accounts).refill(origin);
        }
        tracing::info!(letter = id.0, "dead letter taken up again");
        self.take_in(Load { tasks: committed.new, accounts: Vec::new() });
        Ok(())
    }
}
