//! Processes that wake by themselves: the crank announces those that came to be just now, the directory those that it met
//! and that came to be elsewhere; cron takes them up.
//!
//! A process whose cron spawns processes with crons is a storm that no push sees, because each cron result is a push of its own. So
//! they are counted by lineage: everything that comes of one client's item, through however many generations. The limit of a lineage
//! falls with the places that are left, so some lineages leave places for others; as many as clients can make take all but those
//! that are kept for what is asked for.
//!
//! Whatever is done for a message is done [within its lineage](within_lineage); what is met outside of any is met by nobody.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holon_protocol::{ItemId, ProcessId};
use tokio::sync::Notify;

use crate::outbox::{OutboxError, Shared};

/// Most processes monitored.
pub const MAX_MONITORS: usize = 100_000;
/// Most of them that are monitored without being asked for.
pub const MAX_UNASKED_MONITORS: usize = 90_000;
/// The part of the free places that one lineage may have.
const FREE_PART: usize = 4;

/// Most processes met that cron has not looked at yet, and most of which it is remembered what came of that. More of the first are left
/// until they are met again; the second start over, and are looked at once more when they are met.
pub const MAX_MET: usize = 10_000;
/// How long a lineage that could not have a process taken up is believed to have no room.
const DECLINED_FOR: Duration = Duration::from_secs(60);
/// Pause after a look that failed.
const LOOK_RETRY: Duration = Duration::from_secs(1);

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
    /// Of a shared outbox: processes of lineages that may be on their way into the database.
    pending: Mutex<HashMap<ItemId, HashSet<ProcessId>>>,
    /// Somebody was born.
    born_since: Notify,
    /// Somebody was met.
    met_since: Notify,
}

#[derive(Debug, Default)]
struct Met {
    /// Those that cron has to look at, with the lineage of what came by for them.
    waiting: HashMap<ProcessId, ItemId>,
    /// What came of it.
    seen: HashMap<ProcessId, Seen>,
}

#[derive(Debug, Clone, Copy)]
enum Seen {
    /// It is monitored, or somebody said that it is not to be.
    Settled,
    /// This lineage had no room for it then.
    Declined(Option<ItemId>, Instant),
}

impl Met {
    /// What was known before.
    fn see(&mut self, process: ProcessId, seen: Seen) -> Option<Seen> {
        if self.seen.len() >= MAX_MET {
            self.seen.clear();
        }
        self.seen.insert(process, seen)
    }
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
    /// Those of this lineage that are pending since now.
    reserved: Option<(ItemId, HashSet<ProcessId>)>,
}

impl Admitted<'_> {
    /// Which.
    pub fn processes(&self) -> &[ProcessId] {
        &self.processes
    }

    /// They are stored: their places stay taken.
    pub fn stored(mut self) -> Vec<ProcessId> {
        self.counted.clear();
        let mut met = self.births.meetings();
        for process in &self.processes {
            met.see(*process, Seen::Settled);
        }
        drop(met);
        std::mem::take(&mut self.processes)
    }

    /// Only so many of them have places.
    fn truncate(&mut self, places: usize) {
        let refused = self.processes.split_off(places.min(self.processes.len()));
        if let Some((lineage, reserved)) = &mut self.reserved {
            let refused = refused.into_iter().filter(|process| reserved.remove(process)).collect();
            self.births.release(*lineage, &refused);
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.counted.iter().for_each(|process| self.births.ended(*process));
        if let Some((lineage, reserved)) = &self.reserved {
            self.births.release(*lineage, reserved);
        }
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
        self.0.born_since.notify_one();
    }

    /// A process that wakes by itself was met: what is being done for [this lineage](within_lineage) is for it. It is looked at, unless
    /// it is known that it is taken up, or that this lineage may not have it.
    pub fn met(&self, process: ProcessId) {
        if let Ok(Some(lineage)) = LINEAGE.try_with(|lineage| *lineage) {
            self.meet(process, lineage, Instant::now());
        }
    }

    fn meet(&self, process: ProcessId, lineage: ItemId, now: Instant) {
        let mut met = self.meetings();
        let looks = match met.seen.get(&process) {
            None => true,
            Some(Seen::Settled) => false,
            Some(Seen::Declined(by, at)) => *by != Some(lineage) || now.saturating_duration_since(*at) >= DECLINED_FOR,
        };
        if looks && met.waiting.len() < MAX_MET {
            met.waiting.entry(process).or_insert(lineage);
            self.0.met_since.notify_one();
        }
    }

    /// A process is not taken up, because its lineage has no room; whether that is news.
    pub fn declined(&self, process: ProcessId, lineage: Option<ItemId>) -> bool {
        let before = self.meetings().see(process, Seen::Declined(lineage, Instant::now()));
        !matches!(before, Some(Seen::Declined(..)))
    }

    /// Has everybody who is met looked at, one after the other and with a pause after failures. `look` takes a process up or says that
    /// its lineage has no room; `refused` hears of those.
    pub async fn look<L: Future<Output = Result<bool, OutboxError>>>(
        &self,
        mut look: impl FnMut(ProcessId, ItemId) -> L,
        refused: impl Fn(ProcessId, ItemId),
    ) {
        loop {
            self.0.met_since.notified().await;
            for (process, lineage) in self.take_met() {
                match look(process, lineage).await {
                    Ok(true) => {
                        self.meetings().see(process, Seen::Settled);
                    }
                    Ok(false) => {
                        if self.declined(process, Some(lineage)) {
                            refused(process, lineage);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%process, %error, "a process that wakes by itself could not be taken up");
                        self.meet(process, lineage, Instant::now());
                        tokio::time::sleep(LOOK_RETRY).await;
                    }
                }
            }
        }
    }

    fn take_met(&self) -> Vec<(ProcessId, ItemId)> {
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
        self.0.born_since.notified().await;
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
        match (lineage, shared) {
            (None, _) => {
                processes.truncate(free);
                Ok(Admitted { births: self, processes, counted: Vec::new(), reserved: None })
            }
            (Some(lineage), Some(shared)) if !processes.is_empty() => {
                let polled = |besides: Vec<_>| async move { shared.polled(lineage, &besides).await };
                self.reserve(processes, lineage, most, polled).await
            }
            (Some(lineage), _) => {
                let (mut counted, mut lineages) = (Vec::new(), self.lineages());
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
                Ok(Admitted { births: self, processes, counted, reserved: None })
            }
        }
    }

    /// The same where `polled` counts those of the lineage that are stored, besides some. Whoever counts meanwhile counts these as well,
    /// until it is known whether they are stored: nobody waits for that.
    async fn reserve<C: Future<Output = Result<usize, OutboxError>>>(
        &self,
        processes: Vec<ProcessId>,
        lineage: ItemId,
        most: usize,
        polled: impl FnOnce(Vec<ProcessId>) -> C,
    ) -> Result<Admitted<'_>, OutboxError> {
        let own: HashSet<_> = processes.iter().copied().collect();
        let (others, reserved) = {
            let mut pending = self.pending();
            let pending = pending.entry(lineage).or_default();
            let others: Vec<_> = pending.difference(&own).copied().collect();
            let reserved: HashSet<_> = own.difference(pending).copied().collect();
            pending.extend(&reserved);
            (others, reserved)
        };
        let mut admitted =
            Admitted { births: self, processes, counted: Vec::new(), reserved: Some((lineage, reserved)) };
        let elsewhere = others.len();
        let polled = polled(others.into_iter().chain(own).collect()).await?;
        admitted.truncate(most.saturating_sub(polled.saturating_add(elsewhere)));
        Ok(admitted)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<ItemId, HashSet<ProcessId>>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These of a lineage are stored, or will not be.
    fn release(&self, lineage: ItemId, processes: &HashSet<ProcessId>) {
        let mut pending = self.pending();
        if let Entry::Occupied(mut of) = pending.entry(lineage) {
            of.get_mut().retain(|process| !processes.contains(process));
            if of.get().is_empty() {
                of.remove();
            }
        }
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
    async fn thousands_of_lineages_leave_places_for_others_and_any_number_for_what_is_asked_for() {
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
        }
        let births = Births::default();
        births.monitored(MAX_UNASKED_MONITORS - 1);
        assert!(
            enters(&births, 1, Some(ItemId::from_bytes([1; 32])), 0).await,
            "whoever has none may have the last one"
        );
        births.monitored(MAX_UNASKED_MONITORS);
        for lineage in [None, Some(ItemId::from_bytes([2; 32]))] {
            assert!(!enters(&births, 2, lineage, 0).await && births.has_room());
        }
    }

    #[tokio::test]
    async fn who_was_met_by_a_full_lineage_is_looked_at_again_when_another_one_comes_by_or_it_may_have_room() {
        let births = Births::default();
        let [one, other] = [1, 2].map(|byte| ItemId::from_bytes([byte; 32]));
        let meet = async |lineage| {
            within_lineage(lineage, async { births.met(process(1)) }).await;
            births.take_met()
        };
        assert_eq!(meet(Some(one)).await, [(process(1), one)]);
        assert!(births.declined(process(1), Some(one)));
        assert!(!births.declined(process(1), Some(one)), "that is known");
        assert_eq!(meet(Some(one)).await, []);
        births.met(process(1));
        assert_eq!(meet(None).await, [], "nobody has come by");
        assert_eq!(meet(Some(other)).await, [(process(1), other)]);
        births.meet(process(1), one, Instant::now() + DECLINED_FOR);
        assert_eq!(births.take_met(), [(process(1), one)]);
        births.admit(None, vec![process(1)], Some(other), 1).await.unwrap().stored();
        assert_eq!(meet(Some(one)).await, [], "it is taken up");
    }

    #[tokio::test]
    async fn however_many_a_full_lineage_has_met_others_are_looked_at_as_before() {
        let births = Births::default();
        let [full, other] = [1, 2].map(|byte| ItemId::from_bytes([byte; 32]));
        (0..MAX_MET + 10).for_each(|number| {
            births.declined(process(number), Some(full));
        });
        let last = process(MAX_MET + 20);
        births.declined(last, Some(full));
        for seen in [process(0), process(MAX_MET - 1), last] {
            births.meet(seen, other, Instant::now());
            assert_eq!(births.take_met(), [(seen, other)]);
        }
        births.meet(last, full, Instant::now());
        assert_eq!(births.take_met(), [], "the newest is remembered");
        assert!(births.meetings().seen.len() <= MAX_MET);
    }

    #[tokio::test]
    async fn looks_that_fail_are_made_again_after_a_pause_and_others_are_not() {
        let births = Births::default();
        let [away, full] = [1, 2].map(|byte| ItemId::from_bytes([byte; 32]));
        births.meet(process(0), away, Instant::now());
        (1..10).for_each(|number| births.meet(process(number), full, Instant::now()));
        let (failed, asked, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let looking = births.look(
            |_, lineage| {
                let of = if lineage == away { &failed } else { &asked };
                of.fetch_add(1, Ordering::Relaxed);
                let answer = if lineage == away { Err(OutboxError::Away("down".into())) } else { Ok(false) };
                std::future::ready(answer)
            },
            |_, _| {
                refused.fetch_add(1, Ordering::Relaxed);
            },
        );
        let _ = tokio::time::timeout(LOOK_RETRY * 3 / 2, looking).await;
        assert_eq!(failed.into_inner(), 2);
        assert_eq!((asked.into_inner(), refused.into_inner()), (9, 9));
    }

    #[tokio::test]
    async fn what_is_being_stored_in_a_shared_outbox_is_counted_and_nobody_waits_for_it() {
        let (births, lineage) = (Births::default(), ItemId::from_bytes([1; 32]));
        let stored = Mutex::new(HashSet::new());
        let reserve = async |numbers: &[usize]| {
            let processes = numbers.iter().map(|number| process(*number)).collect();
            let polled = |besides: Vec<ProcessId>| {
                let besides: HashSet<_> = besides.into_iter().collect();
                std::future::ready(Ok(stored.lock().unwrap().difference(&besides).count()))
            };
            let reserving = births.reserve(processes, lineage, 4, polled);
            tokio::time::timeout(Duration::from_secs(10), reserving).await.expect("it waits for nobody").unwrap()
        };
        let first = reserve(&[1, 2]).await;
        let second = reserve(&[3, 4, 5]).await;
        assert_eq!(second.processes(), [process(3), process(4)]);
        assert_eq!(reserve(&[6]).await.processes(), []);
        stored.lock().unwrap().extend([process(1), process(2)]);
        assert_eq!(reserve(&[6]).await.processes(), [], "each is counted once, stored or not");
        first.stored();
        drop(second);
        let third = reserve(&[1, 6, 7, 8]).await;
        assert_eq!(
            third.processes(),
            [1, 6, 7].map(process),
            "what was not stored has no place, and who is there keeps it"
        );
        drop(third);
        assert!(births.pending().is_empty());
    }
}
