//! Whose an assignment is: a client and a process may have the same item assigned to the same process at the same moment, and
//! whoever did not hear the answer finds what the other one has.

use holon_protocol::{ItemId, Nonce, ProcessId};

use super::Driver;
use crate::crank::step::{Effect, Outcome, assignment_claim};
use crate::crank::task::{Task, Work};
use crate::outbox::OutboxError;

/// Most assignments of somebody else that are passed over in a row.
const MAX_OTHERS: usize = 16;

/// What was assigned to whom, and from where on in the log it is looked for.
fn sought(task: &Task) -> Option<(ProcessId, ItemId, Option<Nonce>)> {
    match &task.work {
        Work::ConfirmAssignment { process, message, first, .. } => Some((*process, *message, *first)),
        Work::Assign { assign, first, .. } => Some((assign.process, assign.message, *first)),
        _ => None,
    }
}

impl Driver {
    /// The same outcome, unless it is an assignment whose result somebody else pushes: then the next one of the same item that nobody
    /// does, or what became of looking for it.
    pub async fn unclaimed(&self, task: &Task, effect: &Effect, outcome: Outcome) -> Result<Outcome, OutboxError> {
        let Some((process, message, first)) = sought(task) else { return Ok(outcome) };
        let direct = !matches!(effect, Effect::FindAssignment { .. });
        let mut found = outcome.clone();
        for _ in 0..MAX_OTHERS {
            let Outcome::Assigned(id, nonce) = &found else { break };
            if !self.0.outbox.is_claimed(assignment_claim(process, *id)).await? {
                return Ok(found);
            }
            let from = nonce.map(|nonce| Nonce(nonce.0.saturating_add(1))).or(first);
            let Some(from) = from else { return Ok(found) };
            let next = Effect::FindAssignment { process, message, first: Some(from), refused: None };
            let before = found.clone();
            found = self.0.outside.perform(&next).await;
            if found == before {
                break;
            }
        }
        Ok(match found {
            // What a scheduler answered is the same one again, and is pushed already.
            Outcome::NotThere if direct => outcome,
            Outcome::Assigned(..) if !direct => Outcome::NotThere,
            Outcome::Assigned(..) => outcome,
            found => found,
        })
    }
}
