//! The checkpoints of one live memory: each is written as what changed since the last, one at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::manifest::Manifest;
use super::save::Snapshot;
use super::{Checkpoints, Error};
use crate::machine::PageTree;
use crate::results::Known;

/// Most identities that wait for a checkpoint. If more come, all are forgotten, and the next checkpoint takes them from the
/// result store.
pub const UNWRITTEN_LIMIT: usize = 1 << 20;
/// How long after a checkpoint could not be written none is written just to make room.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// The checkpoints of one live memory.
pub struct Lineage {
    base: Mutex<Option<Arc<Base>>>,
    /// Identities that no written checkpoint has yet, none if they were too many.
    unwritten: Mutex<Option<Vec<Known>>>,
    busy: AtomicBool,
    done: Notify,
    took_us: AtomicU64,
    failed: Mutex<Option<Instant>>,
}

/// The last checkpoint.
pub(super) struct Base {
    pub manifest: Manifest,
    pub tree: PageTree,
}

/// Leave to write the next checkpoint of a lineage; the snapshot for it is taken when it is there.
pub struct Turn {
    checkpoints: Checkpoints,
    lineage: Arc<Lineage>,
    _permit: OwnedSemaphorePermit,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Lineage {
    fn default() -> Self {
        Self {
            base: Mutex::default(),
            unwritten: Mutex::new(Some(Vec::new())),
            busy: AtomicBool::new(false),
            done: Notify::new(),
            took_us: AtomicU64::new(0),
            failed: Mutex::default(),
        }
    }
}

impl Lineage {
    /// Goes on from a checkpoint.
    pub(super) fn from(manifest: Manifest, tree: PageTree) -> Self {
        Self { base: Mutex::new(Some(Arc::new(Base { manifest, tree }))), ..Self::default() }
    }

    /// The last checkpoint.
    pub(super) fn base(&self) -> Option<Arc<Base>> {
        lock(&self.base).clone()
    }

    /// Whether a checkpoint is being written.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// How long the last one took.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took_us.load(Ordering::Relaxed))
    }

    /// Whether the last one could not be written: then what it should have had is not in any.
    pub fn has_failed(&self) -> bool {
        lock(&self.failed).is_some()
    }

    /// Whether that was so short ago that the next one would fail, too.
    pub fn failed_lately(&self) -> bool {
        lock(&self.failed).is_some_and(|failed| failed.elapsed() < FAILED_FOR)
    }

    /// Adds what a snapshot has seen.
    fn add(&self, identities: Option<Vec<Known>>) {
        let mut unwritten = lock(&self.unwritten);
        *unwritten = match (unwritten.take(), identities) {
            (Some(mut known), Some(new)) if known.len() + new.len() <= UNWRITTEN_LIMIT => {
                known.extend(new);
                Some(known)
            }
            _ => None,
        };
    }

    /// Identities that no written checkpoint has; `None` if they are not known any more.
    pub(super) fn unwritten(&self) -> Option<Vec<Known>> {
        lock(&self.unwritten).clone()
    }

    /// A checkpoint has been written that has all identities there were: only one turn is there at a time.
    pub(super) fn written(&self, base: Base) {
        *lock(&self.unwritten) = Some(Vec::new());
        *lock(&self.base) = Some(Arc::new(base));
    }
}

impl Checkpoints {
    /// The turn of a lineage to write a checkpoint, if none of it is being written and not too many others are.
    pub fn try_turn(&self, lineage: &Arc<Lineage>) -> Option<Turn> {
        let permit = self.0.saves.clone().try_acquire_owned().ok()?;
        self.take(lineage, permit).ok()
    }

    /// Waits for the turn of a lineage.
    pub async fn turn(&self, lineage: &Arc<Lineage>) -> Result<Turn, Error> {
        loop {
            let done = lineage.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if !lineage.is_busy() {
                let permit = self.0.saves.clone().acquire_owned().await.map_err(|_| Error::Stopping)?;
                match self.take(lineage, permit) {
                    Ok(turn) => return Ok(turn),
                    // Somebody else was quicker; the permit is given back while waiting.
                    Err(permit) => drop(permit),
                }
            }
            done.await;
        }
    }

    fn take(&self, lineage: &Arc<Lineage>, permit: OwnedSemaphorePermit) -> Result<Turn, OwnedSemaphorePermit> {
        if lineage.busy.swap(true, Ordering::AcqRel) {
            return Err(permit);
        }
        Ok(Turn { checkpoints: self.clone(), lineage: lineage.clone(), _permit: permit })
    }
}

impl Turn {
    /// Writes a checkpoint in the background.
    pub fn save_soon(self, snapshot: Snapshot) {
        let checkpoints = self.checkpoints.clone();
        let _runtime = checkpoints.0.runtime.enter();
        checkpoints.0.tasks.spawn("cu-checkpoint", async move {
            // What went wrong has been logged; the next one tries again.
            self.save(snapshot).await;
        });
    }

    /// Writes a checkpoint and waits for it. `false` when it could not be written.
    pub async fn save(self, mut snapshot: Snapshot) -> bool {
        let process = snapshot.process.id;
        let started = Instant::now();
        self.lineage.add(snapshot.identities.take());
        let result = self.checkpoints.write(&self.lineage, snapshot).await;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.lineage.took_us.store(took, Ordering::Relaxed);
        *lock(&self.lineage.failed) = result.is_err().then(Instant::now);
        match result {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%process, %error, "a checkpoint could not be written");
                false
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.lineage.busy.store(false, Ordering::Release);
        self.lineage.done.notify_waiters();
    }
}
