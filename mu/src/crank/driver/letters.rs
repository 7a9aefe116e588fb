//! Dead letters: what was given up, and taking it up again at the operator's wish.

use super::{Driver, lock};
use crate::crank::task::TaskId;
use crate::outbox::{Changes, DeadLetter, Durability, Letter, LetterId, OutboxError};

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
    pub async fn retry(&self, id: LetterId) -> Result<TaskId, RetryError> {
        // One at a time: the same letter must not be taken up twice.
        let _alone = self.0.retrying.lock().await;
        let letter = self.0.outbox.dead_letter(id).await?.ok_or(RetryError::Unknown(id))?;
        let mut task = match letter.letter {
            Letter::Task(task) => *task,
            Letter::Entry { .. } => return Err(RetryError::Unusable { id, reason: letter.reason }),
        };
        task.descent.granted = task.descent.depth;
        let refilled = task.descent.origin.filter(|origin| lock(&self.0.accounts).refill(*origin));
        let accounts = refilled.map(|origin| (origin, Some(0))).into_iter().collect();
        let new = lock(&self.0.dispatcher).allocate();
        let put = vec![(new, task)];
        let changes = Changes { put: put.clone(), dug_up: vec![id], accounts, ..Changes::default() };
        self.0.outbox.commit(changes, Durability::Synced).await?;
        tracing::info!(letter = id.0, task = %new, "dead letter taken up again");
        self.take_in(&put);
        Ok(new)
    }
}
