//! Group commit: concurrent writers share one fsync.
//!
//! A writer commits its batch to the store (visible at once, in the journal's buffer) and then awaits
//! [`GroupCommit::durable`], which returns after an fsync that *began* after the call. All who wait while a sync is
//! running share the next one, so throughput is not bound to the disk's syncs per second.

use std::sync::mpsc;
use std::thread;

use fjall::PersistMode;
use tokio::sync::oneshot;

/// The store could not make a write durable. The write must not be acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store could not sync: {0}")]
pub struct NotDurable(String);

type Waiter = oneshot::Sender<Result<(), NotDurable>>;

/// Shared fsync of one database. Clones share the same thread, which ends with the last clone.
#[derive(Debug, Clone)]
pub struct GroupCommit {
    waiters: mpsc::Sender<Waiter>,
}

impl GroupCommit {
    /// Starts the syncing thread for `database`.
    pub fn new(database: fjall::Database) -> std::io::Result<Self> {
        let (waiters, queue) = mpsc::channel::<Waiter>();
        thread::Builder::new().name("group-commit".into()).spawn(move || {
            while let Ok(first) = queue.recv() {
                let mut group = vec![first];
                group.extend(queue.try_iter());
                let result = database.persist(PersistMode::SyncAll).map_err(|error| NotDurable(error.to_string()));
                for waiter in group {
                    // A waiter that gave up does not need the answer.
                    let _ = waiter.send(result.clone());
                }
            }
        })?;
        Ok(Self { waiters })
    }

    /// Returns once everything committed to the database before this call is on disk.
    pub async fn durable(&self) -> Result<(), NotDurable> {
        let (waiter, answer) = oneshot::channel();
        let gone = || NotDurable("the syncing thread has ended".into());
        self.waiters.send(waiter).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
