//! Publishing checkpoints on Arweave and finding those that others published (spec 05 §8.4, §8.5).

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_arweave::{Gateway, Node, Query, Uploader};
use holon_protocol::{Address, DataItem, ProcessId, Signer};
use holon_unit::tasks::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;
use super::policy::Policy;
use super::published::{self, Claim};
use super::save::{Snapshot, blocking};

/// Checkpoints asked for (spec 05 §8.4).
const FIND: u32 = 50;
/// Most bytes of a published memory, compressed or not.
const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// Checkpoints published at the same time: each holds a whole memory.
const UPLOADS: usize = 1;
/// Starts from published checkpoints at the same time: each holds a whole memory, and its data.
const STARTS: usize = 2;
/// Attempts of an upload, and the pause before the second; it doubles.
const UPLOAD_TRIES: u32 = 4;
const UPLOAD_BACKOFF: Duration = Duration::from_secs(5);
/// Processes of which is remembered when they were published.
const REMEMBERED: usize = 10_000;

/// The checkpoints on Arweave. Cheap to clone.
#[derive(Clone)]
pub struct Published(Arc<Inner>);

/// Leave to publish a checkpoint; the snapshot for it is taken when it is there.
pub struct PublishingTurn {
    published: Published,
    permit: OwnedSemaphorePermit,
}

/// The memory of a published checkpoint.
pub struct Memory {
    /// Who signed it.
    pub signer: Address,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Others get their turn when it is used.
    _place: OwnedSemaphorePermit,
}

/// When which process was published last.
#[derive(Debug, Default)]
struct Made(HashMap<ProcessId, Instant>);

impl Made {
    /// Whether a process may be published now, `throttle` after the last time; if so, it is taken for published. Nothing may, as long as as
    /// many were published as can be remembered.
    fn take(&mut self, process: ProcessId, throttle: Duration) -> bool {
        if self.0.get(&process).is_some_and(|made| made.elapsed() < throttle) {
            return false;
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, made| made.elapsed() < throttle);
        }
        if self.0.len() >= REMEMBERED {
            return false;
        }
        self.0.insert(process, Instant::now());
        true
    }
}

struct Inner {
    gateway: Gateway,
    uploader: Uploader,
    wallet: Signer,
    /// Names this start of the unit in tags.
    unit: String,
    policy: Policy,
    listed: Vec<Address>,
    throttle: Duration,
    made: Mutex<Made>,
    uploads: Arc<Semaphore>,
    starts: Arc<Semaphore>,
    tasks: Tasks,
    runtime: tokio::runtime::Handle,
}

impl Published {
    /// Those that `policy` allows of `wallet` and the `listed`. Of one process none is published within `throttle` of
    /// another. Background work belongs to `tasks` and runs on the runtime of the caller.
    pub fn new(
        gateway: Gateway,
        uploader: Uploader,
        wallet: Signer,
        policy: Policy,
        listed: Vec<Address>,
        throttle: Duration,
        tasks: Tasks,
    ) -> Self {
        Self(Arc::new(Inner {
            gateway,
            uploader,
            wallet,
            unit: unit_identifier(),
            policy,
            listed,
            throttle,
            made: Mutex::default(),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            starts: Arc::new(Semaphore::new(STARTS)),
            tasks,
            runtime: tokio::runtime::Handle::current(),
        }))
    }

    /// What makes somebody's checkpoint usable.
    pub fn policy(&self) -> Policy {
        self.0.policy
    }

    /// The turn of a process to publish a checkpoint, if it has not just had one and no other has it; if so, it is taken for
    /// published.
    pub fn try_turn(&self, process: ProcessId) -> Option<PublishingTurn> {
        let permit = self.0.uploads.clone().try_acquire_owned().ok()?;
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.take(process, self.0.throttle).then(|| PublishingTurn { published: self.clone(), permit })
    }

    async fn publish(&self, snapshot: Snapshot) -> Result<Option<holon_protocol::ItemId>, Error> {
        let unit = self.0.unit.clone();
        let made = blocking(move || {
            let root = snapshot.fork.state_root(&snapshot.history)?;
            let memory = snapshot.fork.copy_memory()?;
            let Some(tags) = published::tags(&snapshot, root, &memory, &unit) else { return Ok(None) };
            Ok(Some((tags, published::compress(&memory)?)))
        });
        let Some((tags, data)) = made.await? else { return Ok(None) };
        // One of our own for the same point is enough.
        let mut same = Query { first: Some(1), ..Query::default().owner(self.0.wallet.address()) };
        for name in ["Data-Protocol", "Type", "Process", "Nonce", "Timestamp", "Cron-Interval"] {
            if let Some(tag) = tags.iter().find(|tag| tag.name == name) {
                same = same.tag(name, tag.value.clone());
            }
        }
        let known = self.0.gateway.nodes(&same).await.map_err(|error| Error::Gateway(error.to_string()))?;
        if !known.nodes.is_empty() {
            return Ok(None);
        }
        let wallet = self.0.wallet.clone();
        let item = blocking(move || {
            let item = DataItem::builder().tags(tags).data(data).sign(&wallet);
            item.map_err(|error| Error::Gateway(error.to_string()))
        })
        .await?;
        let mut pause = UPLOAD_BACKOFF;
        let mut tries_left = UPLOAD_TRIES - 1;
        loop {
            match self.0.uploader.upload(&item).await {
                Ok(()) => return Ok(Some(item.id())),
                Err(error) if tries_left == 0 || !error.retryable() => return Err(Error::Gateway(error.to_string())),
                Err(error) => tracing::debug!(%error, "the bundler did not take a checkpoint; trying again"),
            }
            tries_left -= 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// What was published of a process by those whom the policy allows: by groups about one state, the farthest first. Nothing
    /// of it is verified.
    pub async fn find(&self, process: ProcessId) -> Result<Vec<Vec<(Address, Claim, Node)>>, Error> {
        let signers = self.0.policy.signers(self.0.wallet.address(), &self.0.listed);
        if signers.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = Query { first: Some(FIND), ..Query::default() }
            .tag("Process", process.to_string())
            .tag("Type", "Checkpoint")
            .tag("Data-Protocol", "ao");
        query.owners = signers.iter().map(Address::to_string).collect();
        let found = self.0.gateway.placed_nodes(&query).await.map_err(|error| Error::Gateway(error.to_string()))?;
        let mut claims = Vec::new();
        for node in found.nodes {
            match Claim::read(&node.tags) {
                Ok(claim) if claim.process == process && signers.contains(&node.owner.address) => {
                    claims.push((node.owner.address, claim, node));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%process, checkpoint = %node.id, %error, "a published checkpoint is refused")
                }
            }
        }
        Ok(self.0.policy.allowed(claims))
    }

    /// The memory of the state that a group is about, when as many as the policy asks for have signed it. What they signed is
    /// read and verified here; what a gateway says about it does not count, and neither does anything of those who are `wrong`:
    /// whose memory has turned out to be another than they say.
    pub async fn memory(&self, group: &[(Address, Claim, Node)], wrong: &[Address]) -> Result<Memory, Error> {
        let needed = match self.0.policy {
            Policy::Quorum(signers) => signers,
            _ => 1,
        };
        let _place = self.0.starts.clone().acquire_owned().await.map_err(|_| Error::Stopping)?;
        let mut signed = Vec::new();
        let mut memory = None;
        let mut refused = None;
        for (signer, claim, node) in group {
            if signed.contains(signer) || wrong.contains(signer) {
                continue;
            }
            // One that cannot be read, or is not what it should be, is no reason to refuse the others.
            match self.signed_memory(*signer, claim, node, memory.is_none()).await {
                Ok(found) => {
                    signed.push(*signer);
                    memory = memory.or(found.map(|bytes| (*signer, bytes)));
                }
                Err(Error::Stopping) => return Err(Error::Stopping),
                Err(error) => {
                    tracing::warn!(checkpoint = %node.id, %signer, %error, "a published checkpoint does not count");
                    refused = Some(error);
                }
            }
            if signed.len() >= needed {
                break;
            }
        }
        match (memory, refused) {
            (Some((signer, bytes)), _) if signed.len() >= needed => Ok(Memory { signer, bytes, _place }),
            (None, Some(error)) => Err(error),
            _ => Err(Error::Signers { found: signed.len(), needed }),
        }
    }

    /// Reads and verifies what `signer` published, and its memory, if that is wanted.
    async fn signed_memory(
        &self,
        signer: Address,
        claim: &Claim,
        node: &Node,
        wanted: bool,
    ) -> Result<Option<Vec<u8>>, Error> {
        let item = self.0.gateway.item(node, MAX_MEMORY_BYTES).await;
        let item = item.map_err(|error| Error::Gateway(error.to_string()))?;
        if item.owner_address() != signer || Claim::read(item.tags())? != *claim {
            return Err(Error::Other("item than the gateway says"));
        }
        if !wanted {
            return Ok(None);
        }
        let claim = claim.clone();
        blocking(move || Ok(Some(claim.memory(&item.data(), MAX_MEMORY_BYTES)?))).await
    }
}

impl PublishingTurn {
    /// Publishes a checkpoint in the background.
    pub fn publish_soon(self, snapshot: Snapshot) {
        let Self { published, permit } = self;
        let tasks = published.0.tasks.clone();
        let runtime = published.0.runtime.clone();
        let _runtime = runtime.enter();
        tasks.spawn("cu-publish", async move {
            let process = snapshot.process.id;
            let stopping = published.0.tasks.stopping();
            match stopping.run_until_cancelled(published.publish(snapshot)).await {
                Some(Ok(Some(item))) => tracing::info!(%process, checkpoint = %item, "checkpoint published"),
                Some(Ok(None)) | None => {}
                Some(Err(error)) => tracing::warn!(%process, %error, "a checkpoint could not be published"),
            }
            drop(permit);
        });
    }
}

/// A random UUID.
fn unit_identifier() -> String {
    let random = || RandomState::new().build_hasher().finish();
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_remembered_is_not_published() {
        let process = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            ProcessId::from_bytes(id)
        };
        let (mut made, hour) = (Made::default(), Duration::from_secs(3600));
        assert!((0..REMEMBERED).all(|number| made.take(process(number), hour)));
        assert!(!made.take(process(0), hour), "just published");
        for _ in 0..2 {
            assert!(!made.take(process(REMEMBERED), hour));
        }
        // When those before may be published again, there is room.
        assert!(made.take(process(REMEMBERED), Duration::ZERO));
        assert!(!made.take(process(REMEMBERED), hour));
    }

    #[test]
    fn every_start_of_the_unit_has_another_name() {
        let (one, other) = (unit_identifier(), unit_identifier());
        assert_ne!(one, other);
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
    }
}
