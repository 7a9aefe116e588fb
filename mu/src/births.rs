//! Processes that wake by themselves: the crank announces those that came to be just now, the directory those that it met
//! and that came to be elsewhere; cron takes them up.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use holon_protocol::ProcessId;
use tokio::sync::Notify;

/// Most processes monitored.
pub const MAX_MONITORS: usize = 100_000;

/// Most processes met that cron has not taken up yet; more are not remembered until they are met again.
pub const MAX_MET: usize = 10_000;

/// The announcements. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Births(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    born: Mutex<Vec<ProcessId>>,
    met: Mutex<HashSet<ProcessId>>,
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

    /// A process that wakes by itself was met: a message for it came by. Nothing is stored of it yet.
    pub fn meet(&self, process: ProcessId) {
        let mut met = self.0.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MAX_MET {
            met.insert(process);
            self.0.notify.notify_one();
        }
    }

    /// Who was met since.
    pub fn take_met(&self) -> Vec<ProcessId> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner).drain().collect()
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
