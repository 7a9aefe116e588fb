//! One owner for everything a service runs in the background.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owner of background tasks. Clones share the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends. Long-lived tasks watch [`Self::stopping`]. A panic is logged with `name` and asks the
    /// whole service to stop.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let kill = self.kill.clone();
        let mut inner = self.tracker.spawn(task);
        self.tracker.spawn(async move {
            let ended = tokio::select! {
                ended = &mut inner => ended,
                () = kill.cancelled() => return inner.abort(),
            };
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(task = name, "background task panicked; stopping the service");
                stop.cancel();
            }
        });
    }

    /// A token that is cancelled when the service should stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether the service is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks every task to stop and waits for them, at most `limit`. Returns whether all ended in time.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }

    /// Drops every task where it stands, as a crash would, and waits until they are gone, at most `limit`. Returns whether all
    /// were in time.
    pub async fn kill(&self, limit: Duration) -> bool {
        self.kill.cancel();
        self.stop(limit).await
    }
}
