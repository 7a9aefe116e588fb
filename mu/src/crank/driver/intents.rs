//! Intents: what was promised to a client before its item is forwarded. They are durable, and performed only when nobody
//! knows what became of the forward: after a crash, or when its answer was lost.

use holon_protocol::ItemId;

use super::{Driver, STORE_RETRY, lock};
use crate::crank::step::Follow;
use crate::crank::task::{Task, TaskId};
use crate::outbox::{Changes, Durability, Load, OutboxError};
use crate::trace;

impl Driver {
    /// Makes an intent durable: a task that only a later run of the program, or [`Self::release`], will perform.
    pub async fn intend(&self, task: Task) -> Result<(TaskId, Task), OutboxError> {
        let changes = Changes { intents: vec![task.clone()], ..Changes::default() };
        let committed = self.0.outbox.commit(changes, Durability::Synced).await?;
        let id = committed.intents.first().copied();
        Ok((id.ok_or_else(|| OutboxError::Store("the store gave an intent no id".into()))?, task))
    }

    /// The intent came true: replaces it by what follows. The intent itself is durable, so this need not be; when it
    /// cannot be stored now, the scheduler is asked once more.
    pub async fn fulfil(&self, id: TaskId, task: &Task, follow: Follow) {
        let traces = self.told(trace::of_done(task, &follow, None));
        let changes = Changes { remove: vec![id], traces, ..Changes::default() };
        if let Err(error) = self.follow(changes, None, follow, Durability::Buffered).await {
            if matches!(error, OutboxError::Lost) {
                // This messenger was believed dead; another one asks the scheduler, and goes on.
                return;
            }
            tracing::error!(task = %id, %error, "what follows from an accepted item could not be stored yet");
            self.0.metrics.store_failed();
            self.release(id, task);
        }
    }

    /// The intent came to nothing. It is removed, if need be later: performing it would push what is not ours to push.
    pub async fn withdraw(&self, id: TaskId) {
        if let Err(error) = self.remove(id).await {
            if matches!(error, OutboxError::Lost) {
                return;
            }
            tracing::error!(task = %id, %error, "an intent could not be withdrawn yet");
            let (this, stopping) = (self.clone(), self.0.tasks.stopping());
            self.0.tasks.spawn("withdraw", async move {
                let removed = async {
                    while let Err(error) = this.remove(id).await {
                        if matches!(error, OutboxError::Lost) {
                            return;
                        }
                        this.0.metrics.store_failed();
                        tokio::time::sleep(STORE_RETRY).await;
                    }
                };
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = removed => {}
                }
            });
        }
    }

    async fn remove(&self, id: TaskId) -> Result<(), OutboxError> {
        self.0.outbox.commit(Changes { remove: vec![id], ..Changes::default() }, Durability::Buffered).await?;
        Ok(())
    }

    /// Nobody knows what became of the intent: perform its task.
    pub fn release(&self, id: TaskId, task: &Task) {
        self.take_in(Load { tasks: vec![(id, task.clone())], accounts: Vec::new() });
    }

    /// The task that asks the scheduler of a client's item whether it took it, if there is one.
    pub fn confirming(&self, item: ItemId) -> Option<TaskId> {
        let id = lock(&self.0.confirming).get(&item).copied()?;
        lock(&self.0.dispatcher).contains(id).then_some(id)
    }

    /// Lets a task that waits for its retry time run now.
    pub fn hurry(&self, id: TaskId) {
        lock(&self.0.dispatcher).hurry(id);
        self.0.wake.notify_one();
    }
}
