//! Pushing one message of a result again (spec 04 §5).

use holon_protocol::{BlockHeight, ItemId, ProcessId};

use crate::crank::descent::Descent;
use crate::crank::driver::Driver;
use crate::crank::outgoing;
use crate::crank::step::Follow;
use crate::crank::task::{Task, Work};
use crate::error::Refusal;
use crate::locate::Directory;
use crate::peers::{Compute, PeerError, Pulled, Schedulers};

/// Pushes again. Cheap to clone.
#[derive(Clone)]
pub struct Pusher {
    /// The queue.
    pub driver: Driver,
    /// Who is who.
    pub directory: Directory,
    /// Calls to schedulers.
    pub schedulers: Schedulers,
    /// Calls to the compute unit.
    pub compute: Compute,
    /// Whether this is allowed at all.
    pub enabled: bool,
    /// Messages scheduled below this height are not pushed again.
    pub after: BlockHeight,
}

impl Pusher {
    /// Queues message `number` (from 0) of the result of `message` in `process`.
    pub async fn push(&self, message: ItemId, number: usize, process: ProcessId) -> Result<(), Refusal> {
        if !self.enabled {
            return Err(Refusal::Forbidden("Push is disabled".into()));
        }
        let located = self.directory.process(process).await?;
        let located = located.ok_or_else(|| Refusal::Unknown(format!("Process {process} was not found")))?;
        let assignment = self.schedulers.assignment(&located.url, message, process).await?;
        if assignment.and_then(|assignment| assignment.block_height()).is_none_or(|height| height < self.after) {
            return Err(Refusal::Unknown("Message id not found on the scheduler with a valid block.".into()));
        }
        let result = match self.compute.result(message.into(), process).await {
            Ok(Pulled::Result(result)) => result,
            Ok(Pulled::NotYet) => return Err(Refusal::Upstream("the result is still being computed".into())),
            Err(PeerError::Status { status, body }) => {
                return Err(Refusal::Upstream(format!("compute unit: {status}: {body}")));
            }
            Err(error) => return Err(error.into()),
        };
        let messages = result.json().member("Messages").and_then(|messages| messages.items(number.saturating_add(1)));
        let entry = messages.and_then(|(messages, _)| messages.get(number).copied());
        let entry = entry.ok_or_else(|| Refusal::Invalid("Message number does not exist in the result.".into()))?;
        let entry = outgoing::message(entry).map_err(|reason| Refusal::Invalid(format!("that message: {reason}")))?;
        let work = Work::Message { emitter: process, message: entry };
        let descent = Descent::of_origin(message).below(message);
        let follow = Follow { tasks: vec![Task { root: Some(message), descent, work }], ..Follow::default() };
        Ok(self.driver.queue(process, follow).await?)
    }
}
