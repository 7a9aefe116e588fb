//! Processes that wake by themselves: the crank announces those that came to be just now, the directory those that it met
//! and that came to be elsewhere; cron takes them up.
//!
//! A process whose cron spawns processes with crons is a storm that no push sees, because each cron result is a push of its own. So
//! they are counted by lineage: everything that comes of one client's item, through however many generations. The limit of a lineage
//! falls with the places that are left, so no number of lineages takes them all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holon_protocol::{ItemId, ProcessId};
use tokio::sync::Notify;

use crate::outbox::{OutboxError, Shared};

/// Most processes monitored.
pub const MAX_MONITORS: usize = 100_000;
/// Most of them that are monitored without being asked for.
pub const MAX_UNASKED_MONITORS: usize = 90_000;
/// The part of the free places that one lineage may have.
const FREE_PART: usize = 4;

/// Most processes met that cron has not taken up yet, and most of those that it did not take up; more are not remembered until they
/// are met again.
pub const MAX_MET: usize = 10_000;

tokio::task_local! {
    static LINEAGE: Option<ItemId>;
}

/// Runs `work`, which is done for something of this lineage.
pub async fn within_lineage<F: Future>(lineage: Option<ItemId>, work: F) -> F::Output {
    LINEAGE.scope(lineage, work).await
}

/// The announcements. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Births(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    born: Mutex<Vec<ProcessId>>,
    met: Mutex<Met>,
    monitored: AtomicUsize,
    /// Of a shared outbox these are counted in the database.
    lineages: Mutex<Lineages>,
    /// Held between counting in the database and storing what that allowed.
    counting: tokio::sync::Mutex<()>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Met {
    /// Those that cron has to look at, with the lineage of what came by for them.
    waiting: HashMap<ProcessId, Option<ItemId>>,
    /// Those that this lineage could not have taken up.
    declined: HashMap<ProcessId, Option<ItemId>>,
}

/// Monitored processes of which it is known what they descend from.
#[derive(Debug, Default)]
struct Lineages {
    of: HashMap<ProcessId, ItemId>,
    counts: HashMap<ItemId, usize>,
}

impl Lineages {
    /// `false`: it was there.
    fn add(&mut self, process: ProcessId, lineage: ItemId) -> bool {
        let Entry::Vacant(place) = self.of.entry(process) else { return false };
        place.insert(lineage);
        *self.counts.entry(lineage).or_default() += 1;
        true
    }

    fn remove(&mut self, process: ProcessId) {
        let Some(lineage) = self.of.remove(&process) else { return };
        if let Entry::Occupied(mut count) = self.counts.entry(lineage) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Processes that have places, as soon as that is stored.
#[derive(Debug)]
pub struct Admitted<'a> {
    births: &'a Births,
    processes: Vec<ProcessId>,
    /// Those of them that are counted here since now.
    counted: Vec<ProcessId>,
    _counting: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Admitted<'_> {
    /// Which.
    pub fn processes(&self) -> &[ProcessId] {
        &self.processes
    }

    /// They are stored: their places stay taken.
    pub fn stored(mut self) -> Vec<ProcessId> {
        self.counted.clear();
        std::mem::take(&mut self.processes)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.counted.iter().for_each(|process| self.births.ended(*process));
    }
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

    /// A process that wakes by itself was met: what is being done for [this lineage](within_lineage) is for it. Nothing is stored of
    /// it yet.
    pub fn met(&self, process: ProcessId) {
        self.meet(process, LINEAGE.try_with(|lineage| *lineage).unwrap_or_default());
    }

    /// The same, of this lineage.
    pub fn meet(&self, process: ProcessId, lineage: Option<ItemId>) {
        let mut met = self.meetings();
        if met.waiting.len() < MAX_MET {
            met.waiting.entry(process).or_insert(lineage);
            self.0.notify.notify_one();
        }
    }

    /// A process that wakes by itself came by again: if it was not taken up the last time, and not because of the same lineage, it is
    /// looked at once more.
    pub fn met_again(&self, process: ProcessId) {
        let lineage = LINEAGE.try_with(|lineage| *lineage).unwrap_or_default();
        let mut met = self.meetings();
        if met.declined.get(&process).is_some_and(|declined| declined.is_none() || *declined != lineage) {
            met.declined.remove(&process);
            drop(met);
            self.meet(process, lineage);
        }
    }

    /// A process that was met is not taken up.
    pub fn declined(&self, process: ProcessId, lineage: Option<ItemId>) {
        let mut met = self.meetings();
        if met.declined.len() < MAX_MET {
            met.declined.insert(process, lineage);
        }
    }

    /// Who was met since, by what lineage.
    pub fn take_met(&self) -> Vec<(ProcessId, Option<ItemId>)> {
        self.meetings().waiting.drain().collect()
    }

    fn meetings(&self) -> MutexGuard<'_, Met> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether one more may be monitored that somebody asks for.
    pub fn has_room(&self) -> bool {
        self.0.monitored.load(Ordering::Relaxed) < MAX_MONITORS
    }

    fn lineages(&self) -> MutexGuard<'_, Lineages> {
        self.0.lineages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process is monitored that belongs to this lineage.
    pub fn descends(&self, process: ProcessId, lineage: Option<ItemId>) {
        if let Some(lineage) = lineage {
            self.lineages().add(process, lineage);
        }
    }

    /// A process is not monitored any more.
    pub fn ended(&self, process: ProcessId) {
        self.lineages().remove(process);
    }

    /// Which of these processes may be monitored without being asked for, when `most` of their lineage may; 0: any number. What is
    /// accounted to nobody needs a free place only.
    ///
    /// # Errors
    /// When the database cannot count them.
    pub async fn admit(
        &self,
        shared: Option<&dyn Shared>,
        mut processes: Vec<ProcessId>,
        lineage: Option<ItemId>,
        most: usize,
    ) -> Result<Admitted<'_>, OutboxError> {
        let free = MAX_UNASKED_MONITORS.saturating_sub(self.0.monitored.load(Ordering::Relaxed));
        let part = (free / FREE_PART).max(1).min(free);
        let most = if most == 0 { part } else { part.min(most) };
        let (mut counted, mut counting) = (Vec::new(), None);
        match (lineage, shared) {
            (None, _) => processes.truncate(free),
            (Some(lineage), Some(shared)) if !processes.is_empty() => {
                counting = Some(self.0.counting.lock().await);
                let polled = shared.polled(lineage, &processes).await?;
                processes.truncate(most.saturating_sub(polled));
            }
            (Some(lineage), _) => {
                let mut lineages = self.lineages();
                processes.retain(|process| {
                    let known = lineages.of.contains_key(process);
                    if !known && lineages.counts.get(&lineage).copied().unwrap_or_default() >= most {
                        return false;
                    }
                    if lineages.add(*process, lineage) {
                        counted.push(*process);
                    }
                    true
                });
            }
        }
        Ok(Admitted { births: self, processes, counted, _counting: counting })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(number: usize) -> ProcessId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        ProcessId::from_bytes(bytes)
    }

    /// Whether this process gets a place, which it keeps.
    async fn enters(births: &Births, number: usize, lineage: Option<ItemId>, most: usize) -> bool {
        !births.admit(None, vec![process(number)], lineage, most).await.unwrap().stored().is_empty()
    }

    #[tokio::test]
    async fn a_lineage_has_so_many_places_and_those_that_end_make_room() {
        let births = Births::default();
        let [one, other] = [1, 2].map(|byte| Some(ItemId::from_bytes([byte; 32])));
        assert!(enters(&births, 1, one, 2).await);
        drop(births.admit(None, vec![process(2)], one, 2).await.unwrap());
        assert!(enters(&births, 3, one, 2).await, "what was not stored has no place");
        assert!(enters(&births, 3, one, 2).await, "it is there already");
        drop(births.admit(None, vec![process(3)], one, 2).await.unwrap());
        assert!(!enters(&births, 4, one, 2).await, "who was there before stays");
        assert!(enters(&births, 4, other, 2).await && enters(&births, 5, None, 2).await);
        assert!(enters(&births, 6, one, 0).await, "any number");
        births.ended(process(6));
        births.ended(process(1));
        births.ended(process(1));
        assert!(enters(&births, 1, one, 2).await);
        (1..=6).for_each(|number| births.ended(process(number)));
        let lineages = births.lineages();
        assert!(lineages.of.is_empty() && lineages.counts.is_empty(), "nothing is kept of what is over");
    }

    #[tokio::test]
    async fn any_number_of_lineages_leaves_places_for_others_and_for_what_is_asked_for() {
        for greedy in [1, 100, 5_000] {
            let (births, mut taken) = (Births::default(), 0);
            loop {
                let before = taken;
                for lineage in 0..greedy {
                    let lineage = Some(ItemId::from(process(lineage)));
                    taken += usize::from(enters(&births, usize::MAX - taken, lineage, 0).await);
                    births.monitored(taken);
                }
                if taken == before {
                    break;
                }
            }
            assert!(taken < MAX_UNASKED_MONITORS, "{greedy} lineages have taken {taken}");
            assert!(births.has_room());
            assert!(enters(&births, 1, Some(ItemId::from_bytes([255; 32])), 0).await, "a newcomer beside {greedy}");
            births.monitored(MAX_UNASKED_MONITORS);
            assert!(!enters(&births, 2, None, 0).await && births.has_room());
        }
    }

    #[tokio::test]
    async fn who_was_met_by_a_full_lineage_is_looked_at_again_when_another_one_comes_by() {
        let births = Births::default();
        let [one, other] = [1, 2].map(|byte| Some(ItemId::from_bytes([byte; 32])));
        births.meet(process(1), one);
        assert_eq!(births.take_met(), [(process(1), one)]);
        births.declined(process(1), one);
        within_lineage(one, async { births.met_again(process(1)) }).await;
        assert!(births.take_met().is_empty());
        within_lineage(other, async { births.met_again(process(1)) }).await;
        births.met_again(process(2));
        assert_eq!(births.take_met(), [(process(1), other)]);
    }
}
