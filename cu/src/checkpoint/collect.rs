//! Throwing away packs and segments that no checkpoint refers to any more.
//!
//! Checkpoints go on being written meanwhile. What they refer to is noted as long as this runs, and for the moment in which
//! it is decided what goes, nobody writes; afterwards nobody can come to refer to it, because it is forgotten where pages lie
//! in it. Objects younger than a grace period stay in any case.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

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

    /// Notes that a checkpoint being written refers to an object.
    pub(super) fn note(&self, paths: impl Iterator<Item = String>) {
        if let Some(noted) = &mut *self.noted() {
            noted.extend(paths);
        }
    }

    /// Throws away packs and segments of at least this age that nothing refers to.
    pub async fn collect(&self, grace: Duration) -> Result<Collected, Error> {
        {
            // Waits for those that write and have not noted anything.
            let _alone = self.0.collecting.write().await;
            *self.noted() = Some(HashSet::new());
        }
        let result = self.collect_noted(grace).await;
        *self.noted() = None;
        result
    }

    async fn collect_noted(&self, grace: Duration) -> Result<Collected, Error> {
        let mut objects = self.0.store.list("packs").await?;
        objects.append(&mut self.0.store.list("identities").await?);
        objects.retain(|object| object.age >= grace);
        let mut needed = HashSet::new();
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
                Ok(manifest) => needed.extend(references(&manifest)),
                Err(error) => tracing::warn!(path, %error, "a checkpoint cannot be read; what it refers to may go"),
            }
        }
        drop(reads);
        let gone: Vec<_> = {
            let _alone = self.0.collecting.write().await;
            let noted = self.noted().take().unwrap_or_default();
            objects.retain(|object| !needed.contains(&object.path) && !noted.contains(&object.path));
            let paths: HashSet<&str> = objects.iter().map(|object| object.path.as_str()).collect();
            self.pages().keep(|pack| !paths.contains(pack_path(pack).as_str()));
            objects
        };
        let mut collected = Collected::default();
        for object in gone {
            self.0.store.delete(&object.path).await?;
            collected.objects += 1;
            collected.bytes += object.bytes;
        }
        Ok(collected)
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Option<HashSet<String>>> {
        self.0.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Paths of everything that a checkpoint refers to.
pub(super) fn references(manifest: &Manifest) -> impl Iterator<Item = String> + '_ {
    let packs = manifest.packs.iter().filter(|pack| pack.used > 0).map(|pack| pack_path(&pack.id));
    packs.chain(manifest.segments.iter().map(|segment| segment_path(&segment.id)))
}
