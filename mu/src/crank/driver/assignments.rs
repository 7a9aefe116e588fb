//! Whose an assignment is: a client and a process may have the same item assigned to the same process at the same moment, and
//! whoever did not hear the answer finds what the other one has.

use std::time::Duration;

use holon_protocol::{ItemId, Nonce, ProcessId};

use super::Driver;
use crate::crank::step::{Effect, Outcome, assignment_claim};
use crate::crank::task::{Task, TaskId, Work};
use crate::outbox::{Changes, Durability, OutboxError};

/// Most assignments of others that are passed over in one attempt; it holds a place meanwhile. The next attempt goes on behind them.
const MAX_OTHERS: usize = 3;

/// What was assigned to whom, and from where on in the log it is looked for.
fn sought(task: &Task) -> Option<(ProcessId, ItemId, Option<Nonce>)> {
    match &task.work {
        Work::ConfirmAssignment { process, message, first, .. } => Some((*process, *message, *first)),
        Work::Assign { assign, first, .. } => Some((assign.process, assign.message, *first)),
        _ => None,
    }
}

/// The same task, which looks for its assignment from there on.
fn from_there(task: &Task, from: Nonce) -> Task {
    let mut task = task.clone();
    if let Work::ConfirmAssignment { first, .. } | Work::Assign { first, .. } = &mut task.work {
        *first = Some(from);
    }
    task
}

impl Driver {
    /// The same outcome, unless it is an assignment whose result somebody else pushes: then the next one of the same item that nobody
    /// does, or what became of looking for it. `id` is that of the task if it is being worked on, else it is an intent, which waits
    /// for answers no longer than tasks that send. `None`: the task has to make way.
    pub async fn unclaimed(
        &self,
        id: Option<TaskId>,
        task: &Task,
        effect: &Effect,
        outcome: Outcome,
    ) -> Result<Option<Outcome>, OutboxError> {
        let Some((process, message, first)) = sought(task) else { return Ok(Some(outcome)) };
        let direct = !matches!(effect, Effect::FindAssignment { .. });
        let mut found = outcome;
        for look in 0.. {
            let Outcome::Assigned(assignment, nonce) = &found else { break };
            if !self.0.outbox.is_claimed(assignment_claim(process, *assignment)).await? {
                return Ok(Some(found));
            }
            // Schedulers that do not tell places have one assignment of an item.
            let behind = nonce.map(|nonce| Nonce(nonce.0.saturating_add(1))).max(first).or(first);
            let Some(from) = behind else { return Ok(Some(self.claimed_by_others(message))) };
            if look == MAX_OTHERS {
                if let Some(id) = id {
                    let changes = Changes { put: vec![(id, from_there(task, from))], ..Changes::default() };
                    self.0.outbox.commit(changes, Durability::Buffered).await?;
                }
                return Ok(Some(Outcome::Failed("others push the results of all assignments found so far".into())));
            }
            let next = Effect::FindAssignment { process, message, first: Some(from), refused: None };
            let performed = match id {
                Some(id) => self.perform(id, &next).await,
                None => self.in_time(&next).await,
            };
            let Some(performed) = performed else { return Ok(None) };
            if performed == found {
                return Ok(Some(if direct { self.claimed_by_others(message) } else { Outcome::NotThere }));
            }
            found = performed;
        }
        Ok(Some(match found {
            // What a scheduler answered is the same one again, and is pushed already.
            Outcome::NotThere if direct => self.claimed_by_others(message),
            found => found,
        }))
    }

    fn claimed_by_others(&self, message: ItemId) -> Outcome {
        tracing::info!(item = %message, "the result of its assignment is, or was, pushed already");
        self.0.metrics.pushed_already();
        Outcome::Claimed
    }

    /// Performs an effect of an intent.
    async fn in_time(&self, effect: &Effect) -> Option<Outcome> {
        let patience = Duration::from_millis(self.0.limits.patience_ms);
        tokio::time::timeout(patience, self.0.outside.perform(effect)).await.ok()
    }
}
