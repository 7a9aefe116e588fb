//! Who waits for new results of a process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use holon_protocol::ProcessId;
use tokio::sync::watch;

/// Processes that somebody follows.
#[derive(Debug, Default)]
pub struct Watched(Mutex<HashMap<ProcessId, watch::Sender<()>>>);

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<ProcessId, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever results of the process are stored, from now on.
    pub fn follow(&self, process: ProcessId) -> watch::Receiver<()> {
        let mut followed = self.lock();
        // Whoever comes makes up for those who went.
        followed.retain(|_, changed| changed.receiver_count() > 0);
        followed.entry(process).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    /// Tells those who follow a process.
    pub fn changed(&self, process: ProcessId) {
        let mut followed = self.lock();
        if let Some(changed) = followed.get(&process)
            && changed.send(()).is_err()
        {
            followed.remove(&process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_follow_the_process_are_told_and_nobody_is_kept() {
        let (watched, [one, other]) = (Watched::default(), [1, 2].map(|byte| ProcessId::from_bytes([byte; 32])));
        let (mut first, second, mut elsewhere) = (watched.follow(one), watched.follow(one), watched.follow(other));
        watched.changed(one);
        assert!(first.has_changed().unwrap() && second.has_changed().unwrap());
        assert!(!elsewhere.has_changed().unwrap());
        first.mark_unchanged();
        elsewhere.mark_unchanged();
        drop((first, second));
        watched.changed(one);
        assert_eq!(watched.lock().len(), 1);
        drop(elsewhere);
        let _kept = watched.follow(one);
        assert_eq!(watched.lock().len(), 1);
    }
}
