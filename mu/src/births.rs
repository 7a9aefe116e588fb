//! Processes that wake by themselves and came to be just now: the crank announces them, cron takes them up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use holon_protocol::ProcessId;
use tokio::sync::Notify;

/// Most processes monitored.
pub const MAX_MONITORS: usize = 100_000;

/// The announcements. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Births(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    born: Mutex<Vec<ProcessId>>,
    monitored: AtomicUsize,
    notify: Notify,
}

impl Births {
    /// Announces processes whose monitors are stored.
    pub fn announce(&self, processes: Vec<ProcessId>) {
        if processes.is_empty() {
            return;
        }
        self.0.monitored.fetch_add(processes.len(), Ordering::Relaxed);
        self.0.born.lock().unwrap_or_else(PoisonError::into_inner).extend(processes);
        self.0.notify.notify_one();
    }

    /// What was announced since.
    pub fn take(&self) -> Vec<ProcessId> {
        std::mem::take(&mut *self.0.born.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for an announcement.
    pub async fn announced(&self) {
        self.0.notify.notified().await;
    }

    /// So many processes are monitored.
    pub fn monitored(&self, processes: usize) {
        self.0.monitored.store(processes, Ordering::Relaxed);
    }

    /// Whether one more may be monitored.
    pub fn has_room(&self) -> bool {
        self.0.monitored.load(Ordering::Relaxed) < MAX_MONITORS
    }
}
