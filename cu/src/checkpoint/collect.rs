//! Throwing away packs and segments that no checkpoint refers to any more.
//!
//! Checkpoints go on being written and read meanwhile; how they keep what they need is said in `ledger`. Objects younger than a
//! grace period stay in any case.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::bytes::FormatError;
use super::manifest::{MAX_MANIFEST_BYTES, Manifest};
use super::{Checkpoints, Error, pack_path, segment_path};

/// Pause between two runs.
const EVERY: Duration = Duration::from_secs(3600);
/// Age under which nothing is thrown away.
const GRACE: Duration = Duration::from_secs(600);
/// Manifests read at the same time.
const READS: usize = 8;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects thrown away.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Checkpoints {
    /// Throws away what is not needed, now and then, until the service stops.
    pub async fn collect_now_and_then(self) {
        let stopping = self.0.tasks.stopping();
        while tokio::time::timeout(EVERY, stopping.cancelled()).await.is_err() {
            match stopping.run_until_cancelled(self.collect(GRACE)).await {
                Some(Ok(collected)) => {
                    tracing::info!(collected.objects, collected.bytes, "threw away parts of old checkpoints");
                }
                Some(Err(error)) => tracing::warn!(%error, "old checkpoints could not be cleared away"),
                None => return,
            }
        }
    }

    /// Throws away packs and segments of at least this age that nothing refers to; nothing at all while there is a checkpoint of another
    /// version.
    pub async fn collect(&self, grace: Duration) -> Result<Collected, Error> {
        let _alone = self.0.collecting.lock().await;
        let mut search = self.0.ledger.begin();
        let mut objects = self.0.store.list("packs").await?;
        objects.append(&mut self.0.store.list("identities").await?);
        objects.retain(|object| object.age >= grace);
        let manifests = self.0.store.list("checkpoints").await?;
        let reads = manifests.into_iter().map(|object| async move {
            let read = self.0.store.get(&object.path, MAX_MANIFEST_BYTES as u64).await;
            (object.path, read)
        });
        let mut reads = stream::iter(reads).buffer_unordered(READS);
        while let Some((path, read)) = reads.next().await {
            let bytes = match read {
                Ok(bytes) => bytes,
                // Deleted meanwhile.
                Err(super::StoreError::Missing(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            match Manifest::read(&bytes) {
                Ok(manifest) => search.needed.extend(references(&manifest)),
                // A unit of another version shares the store, or wrote it before; what its checkpoints need cannot be told.
                Err(error @ FormatError::Version { .. }) => return Err(Error::Unknown { path, error }),
                Err(error) => tracing::warn!(path, %error, "a checkpoint cannot be read; what it refers to may go"),
            }
        }
        drop(reads);
        let mut collected = Collected::default();
        for object in search.decide(objects) {
            // Somebody may be writing it again by now.
            let Some(_deleting) = self.0.ledger.delete(&object.path) else { continue };
            self.0.store.delete(&object.path).await?;
            collected.objects += 1;
            collected.bytes += object.bytes;
        }
        Ok(collected)
    }
}

/// Paths of everything that a checkpoint refers to.
pub(super) fn references(manifest: &Manifest) -> impl Iterator<Item = String> + '_ {
    let packs = manifest.packs.iter().filter(|pack| pack.used > 0).map(|pack| pack_path(&pack.id));
    packs.chain(manifest.segments.iter().map(|segment| segment_path(&segment.id)))
}
