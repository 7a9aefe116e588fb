//! The outside world as the crank sees it: performs one effect and says what came of it.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_arweave::Uploader;
use holon_protocol::{DataItem, ItemId, Nonce, ProcessId, Signer};
use tokio::sync::Semaphore;
use url::Url;

use super::step::{Effect, Outcome, Scheduler};
use super::task::ProcessRecord;
use crate::locate::{Directory, DirectoryError};
use crate::peers::{Compute, Crowd, PeerError, Place, Pulled, Schedulers};

/// Most requests at a time to the schedulers of one holder of hosts that the operator did not name.
pub const MAX_SENDS_PER_STRANGER: usize = 8;

/// Everybody else, as the crank meets them: the real units, or those of a simulation.
pub trait Outside: Send + Sync + 'static {
    /// Performs `effect`.
    fn perform<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Outcome>;
    /// A process came to be.
    fn learn(&self, process: ProcessId, record: ProcessRecord);
}

impl Outside for World {
    fn perform<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Outcome> {
        self.carry_out(effect).boxed()
    }

    fn learn(&self, process: ProcessId, record: ProcessRecord) {
        self.directory.learn(process, record);
    }
}

/// Everything effects need. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// Who is who.
    pub directory: Directory,
    /// Calls to schedulers.
    pub schedulers: Schedulers,
    /// Calls to the compute unit.
    pub compute: Compute,
    /// Uploads of messages to wallets.
    pub uploader: Uploader,
    /// The messenger's wallet. It signs nothing but items built from results of the configured compute unit.
    pub signer: Signer,
    /// Bounds concurrent signatures: they take a processor for milliseconds.
    pub signing: Arc<Semaphore>,
    /// Bounds concurrent requests to each scheduler that the operator did not name.
    pub crowd: Crowd,
}

impl From<PeerError> for Outcome {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Unreached { .. } => Self::Unsent(error.to_string()),
            // It was sent, and answered. Who answers with that much for ever is asked no longer than one that does not answer.
            error @ PeerError::Crowded { .. } => Self::Unreachable(error.to_string()),
            error if error.is_outage() => Self::Unreachable(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<DirectoryError> for Outcome {
    fn from(error: DirectoryError) -> Self {
        // What is not found now may be published or indexed later; the retry limits end it.
        match error {
            DirectoryError::Unlocated(reason) => Self::Unlocated(reason),
            DirectoryError::Unindexed(reason) => Self::Unindexed(reason),
            DirectoryError::NotFound(reason) => Self::Failed(reason),
            DirectoryError::Unavailable(reason) => Self::Unsent(reason),
        }
    }
}

impl World {
    async fn carry_out(&self, effect: &Effect) -> Outcome {
        match effect {
            Effect::Find { scheduler, item, process, .. } => {
                self.find(scheduler, *item, *process).await.unwrap_or_else(|failed| failed)
            }
            Effect::FindAssignment { process, message, first, .. } => {
                self.find_assignment(*process, *message, *first).await.unwrap_or_else(|failed| failed)
            }
            Effect::NextNonce { process } => self.next_nonce(*process).await.unwrap_or_else(|failed| failed),
            Effect::Pull { message, process } => match self.compute.result(*message, *process).await {
                Ok(Pulled::Result(result)) => Outcome::Result(result),
                Ok(Pulled::NotYet) => Outcome::NotYet,
                Err(error) if error.is_final_result() => Outcome::Impossible(format!("compute unit: {error}")),
                Err(error) if error.is_outage() => Outcome::Unreachable(format!("compute unit: {error}")),
                Err(error) => Outcome::Failed(format!("compute unit: {error}")),
            },
            Effect::Facts { emitter, target } => self.facts(*emitter, *target).await.unwrap_or_else(|failed| failed),
            Effect::Sign { unsigned, .. } => self.sign(unsigned.clone()).await,
            Effect::Post { scheduler, raw } => match self.url(scheduler).await {
                Ok((url, _place)) => match self.schedulers.post_item(&url, raw.clone()).await {
                    Ok(receipt) => Outcome::Accepted(receipt.nonce),
                    Err(error) if error.is_refusal() => Outcome::Refused(error.to_string()),
                    Err(error) => self.failed(&url, error),
                },
                Err(failed) => failed,
            },
            Effect::Upload { raw } => self.upload(raw.clone()).await,
            Effect::PostAssign { assign } => match self.url(&Scheduler::Of(assign.process)).await {
                Ok((url, _place)) => match self.schedulers.post_assignment(&url, assign).await {
                    Ok(receipt) => Outcome::Assigned(receipt.id.into(), receipt.nonce),
                    Err(error) if error.is_refusal() => Outcome::Refused(error.to_string()),
                    Err(error) => self.failed(&url, error),
                },
                Err(failed) => failed,
            },
        }
    }

    /// Where a scheduler is, and a place among the requests to it if it is a stranger.
    async fn url(&self, scheduler: &Scheduler) -> Result<(Url, Option<Place>), Outcome> {
        let url = match scheduler {
            Scheduler::Of(process) => match self.directory.process(*process).await? {
                Some(located) => located.url,
                None => return Err(Outcome::Failed(format!("process {process} is not known"))),
            },
            Scheduler::Wallet(wallet) => self.directory.scheduler(*wallet).await?,
        };
        if self.schedulers.http().is_configured(&url) {
            return Ok((url, None));
        }
        let place = self.crowd.enter(&url).ok_or(Outcome::Crowded)?;
        Ok((url, Some(place)))
    }

    /// What a failure of the scheduler at this URL comes to.
    fn failed(&self, scheduler: &Url, error: PeerError) -> Outcome {
        self.directory.doubt(scheduler, &error);
        error.into()
    }

    async fn find(&self, scheduler: &Scheduler, item: ItemId, process: ProcessId) -> Result<Outcome, Outcome> {
        let (url, _place) = self.url(scheduler).await?;
        let standing = self.schedulers.standing(&url, item, process).await;
        Ok(match standing.map_err(|error| self.failed(&url, error))? {
            None => Outcome::NotThere,
            Some(standing) => Outcome::There(standing),
        })
    }

    async fn find_assignment(
        &self,
        process: ProcessId,
        message: ItemId,
        first: Option<Nonce>,
    ) -> Result<Outcome, Outcome> {
        let (url, _place) = self.url(&Scheduler::Of(process)).await?;
        let found = self.schedulers.find_assignment(&url, process, message, first).await;
        let found = found.map_err(|error| self.failed(&url, error))?;
        Ok(found.map_or(Outcome::NotThere, |(id, nonce)| Outcome::Assigned(id, nonce)))
    }

    async fn next_nonce(&self, process: ProcessId) -> Result<Outcome, Outcome> {
        let (url, _place) = self.url(&Scheduler::Of(process)).await?;
        let next = self.schedulers.next_nonce(&url, process).await;
        Ok(Outcome::NextNonce(next.map_err(|error| self.failed(&url, error))?))
    }

    async fn facts(&self, emitter: ProcessId, target: Option<ItemId>) -> Result<Outcome, Outcome> {
        let Some(located) = self.directory.process(emitter).await? else {
            return Err(Outcome::Failed(format!("emitter {emitter} is not known")));
        };
        let wallet = match target {
            Some(target) if target != emitter.into() => self.directory.process(target.into()).await?.is_none(),
            _ => false,
        };
        Ok(Outcome::Facts { record: located.record, wallet })
    }

    async fn sign(&self, unsigned: super::compose::Unsigned) -> Outcome {
        let Ok(_permit) = self.signing.acquire().await else {
            return Outcome::Failed("the messenger is stopping".into());
        };
        let signer = self.signer.clone();
        let signed = tokio::task::spawn_blocking(move || unsigned.builder().sign(&signer)).await;
        match signed {
            Ok(Ok(item)) => Outcome::Signed { item: item.id(), raw: item.raw().clone() },
            Ok(Err(error @ holon_protocol::item::BuildError::Item(_))) => Outcome::Impossible(error.to_string()),
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn upload(&self, raw: bytes::Bytes) -> Outcome {
        let item = match DataItem::parse(raw) {
            Ok(item) => item,
            Err(error) => return Outcome::Impossible(error.to_string()),
        };
        let begun = Instant::now();
        let uploaded = self.uploader.upload(&item).await;
        let outcome = uploaded.as_ref().map(|()| 200).map_err(|_| "upload");
        self.schedulers.http().sent().observe("POST", "upload", outcome, begun.elapsed());
        match uploaded {
            Ok(()) => Outcome::Accepted(None),
            Err(error) if error.retryable() => Outcome::Unreachable(error.to_string()),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_there_is_no_room_for_was_an_answer_and_nothing_else_is_taken_for_unsent() {
        let url = || "http://stranger.example/".to_owned();
        let crowded = Outcome::from(PeerError::Crowded { url: url() });
        assert!(matches!(crowded, Outcome::Unreachable(_)), "{crowded:?}");
        let unreached = Outcome::from(PeerError::Unreached { url: url(), reason: String::new() });
        assert!(matches!(unreached, Outcome::Unsent(_)), "{unreached:?}");
    }
}
