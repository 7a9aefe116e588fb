//! Who is asked for cron results when. No I/O and no clock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use holon_protocol::{ProcessId, Timestamp};

/// Longest wait before a process whose cron fails is asked again, in milliseconds.
pub const MAX_RETRY_MS: u64 = 60_000;
/// How often the wait doubles at most.
const MAX_DOUBLINGS: u32 = 16;
/// Shortest time between two polls of one process, whatever the compute unit says, in milliseconds.
pub const MIN_WAIT_MS: u64 = 50;
/// Longest time between two polls of a process of which the compute unit says that nothing is due, in milliseconds. Its
/// log may have been forked, its clock set.
pub const MAX_WAIT_MS: u64 = 3_600_000;

/// Most cursors remembered of one process that it was at before.
const MAX_LEFT: usize = 16;
/// After so many failures in a row cursors that were left are forgotten: a unit that truly stepped back is followed again.
pub const FORGETFUL_FAILURES: u32 = 8;

fn hash(cursor: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    cursor.hash(&mut hasher);
    hasher.finish()
}

/// What a compute unit says about the next cron message of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is due at this time.
    At(Timestamp),
    /// There was something, and there may be more at once.
    Soon,
    /// There will be none.
    Never,
    /// It does not say.
    Unknown,
}

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// When it is asked next; `None` while it is being asked.
    pub due: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// The newest failure.
    pub error: Option<String>,
    /// When it was asked for the last time with success.
    pub polled: Option<Timestamp>,
    /// How often in a row its unit said that something had been due already, and had nothing to tell.
    hurried: u32,
    /// Hashes of the cursors it was at before, oldest first.
    left: VecDeque<u64>,
    /// Which entry of the process this is: one that was removed and added again is another one.
    turn: u64,
}

/// All monitored processes.
#[derive(Debug)]
pub struct Timetable {
    /// Wait where the compute unit does not say, in milliseconds.
    interval: u64,
    due: BTreeSet<(Timestamp, ProcessId)>,
    rows: HashMap<ProcessId, Row>,
    turns: u64,
}

/// A process that is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Which one.
    pub process: ProcessId,
    /// Since when it was due.
    pub due: Timestamp,
    turn: u64,
}

impl Timetable {
    /// Nobody yet. Where a compute unit does not say when something is due, processes are asked at multiples of
    /// `interval` milliseconds.
    pub fn new(interval: u64) -> Self {
        Self { interval: interval.max(1), due: BTreeSet::new(), rows: HashMap::new(), turns: 0 }
    }

    /// Adds a process that is asked from `at` on; nothing changes if it is there.
    pub fn add(&mut self, process: ProcessId, at: Timestamp) {
        if self.rows.contains_key(&process) {
            return;
        }
        self.turns += 1;
        self.rows.insert(process, Row { due: Some(at), turn: self.turns, ..Row::default() });
        self.due.insert((at, process));
    }

    /// Removes a process.
    pub fn remove(&mut self, process: ProcessId) {
        if let Some(Row { due: Some(at), .. }) = self.rows.remove(&process) {
            self.due.remove(&(at, process));
        }
    }

    /// Removes a process that turned out not to be monitored any more, unless it was added again since it was taken.
    pub fn gone(&mut self, asked: Asked) {
        if self.taken(asked).is_some() {
            self.rows.remove(&asked.process);
        }
    }

    /// The process that has been due longest; it is being asked from now on.
    pub fn take(&mut self, now: Timestamp) -> Option<Asked> {
        let &(due, process) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.pop_first();
        let row = self.rows.get_mut(&process)?;
        row.due = None;
        Some(Asked { process, due, turn: row.turn })
    }

    /// Everybody who is not being asked is due.
    pub fn all_due(&mut self, now: Timestamp) {
        self.due.clear();
        for (process, row) in self.rows.iter_mut().filter(|(_, row)| row.due.is_some()) {
            row.due = Some(now);
            self.due.insert((now, *process));
        }
    }

    /// Whether anybody is being asked.
    pub fn is_asking(&self) -> bool {
        self.rows.len() > self.due.len()
    }

    /// Whether somebody who answered at `now` has more to tell at once.
    pub fn has_more(&self, now: Timestamp) -> bool {
        let at_once = Some(Timestamp(now.0 + MIN_WAIT_MS));
        self.rows.values().any(|row| row.failures == 0 && row.polled == Some(now) && row.due == at_once)
    }

    /// The row of a process that is being asked, unless it is another one by now.
    fn taken(&mut self, asked: Asked) -> Option<&mut Row> {
        self.rows.get_mut(&asked.process).filter(|row| row.turn == asked.turn && row.due.is_none())
    }

    /// A process answered.
    pub fn answered(&mut self, asked: Asked, due: Due, now: Timestamp) {
        let interval = self.interval;
        let Some(row) = self.taken(asked) else { return };
        // A unit whose clock is behind, or that says so for ever.
        let hurried = if matches!(due, Due::At(at) if at < now) { row.hurried.saturating_add(1) } else { 0 };
        let least = match hurried {
            0 => MIN_WAIT_MS,
            _ => (MIN_WAIT_MS << (hurried - 1).min(MAX_DOUBLINGS)).min(interval.max(MIN_WAIT_MS)),
        };
        let at = match due {
            // Messages up to, but not at, the time of the request are evaluated.
            Due::At(at) => Timestamp(at.0.saturating_add(1).clamp(now.0 + least, now.0 + MAX_WAIT_MS.max(least))),
            Due::Soon => Timestamp(now.0 + MIN_WAIT_MS),
            Due::Never => Timestamp(now.0 + MAX_WAIT_MS),
            Due::Unknown => Timestamp(now.0 + interval - now.0 % interval),
        };
        let left = std::mem::take(&mut row.left);
        *row = Row { due: Some(at), polled: Some(now), turn: row.turn, hurried, left, ..Row::default() };
        self.due.insert((at, asked.process));
    }

    /// A process is at another cursor now than at this one.
    pub fn left(&mut self, process: ProcessId, cursor: &str) {
        if let Some(row) = self.rows.get_mut(&process) {
            if row.left.len() == MAX_LEFT {
                row.left.pop_front();
            }
            row.left.push_back(hash(cursor));
        }
    }

    /// Whether a process was at this cursor lately, and has left it: a unit that leads back to it goes round in a circle.
    pub fn has_left(&self, process: ProcessId, cursor: &str) -> bool {
        self.rows.get(&process).is_some_and(|row| row.left.contains(&hash(cursor)))
    }

    /// A process could not be asked, or what it says cannot be used. It is asked again, later each time. `true`: cursors that it was
    /// at before were forgotten.
    pub fn failed(&mut self, asked: Asked, error: String, now: Timestamp) -> bool {
        let interval = self.interval;
        let Some(row) = self.taken(asked) else { return false };
        let wait = interval.saturating_mul(1 << row.failures.min(MAX_DOUBLINGS)).min(MAX_RETRY_MS);
        let at = Timestamp(now.0 + wait);
        row.failures = row.failures.saturating_add(1);
        row.error = Some(error);
        row.due = Some(at);
        let forgets = row.failures >= FORGETFUL_FAILURES && !row.left.is_empty();
        if forgets {
            row.left.clear();
        }
        self.due.insert((at, asked.process));
        forgets
    }

    /// When the next process is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A process, `None` when it is not monitored.
    pub fn row(&self, process: ProcessId) -> Option<&Row> {
        self.rows.get(&process)
    }

    /// All processes, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (ProcessId, &Row)> {
        self.rows.iter().map(|(process, row)| (*process, row))
    }

    /// How many processes are monitored.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many of them fail.
    pub fn failing(&self) -> usize {
        self.rows.values().filter(|row| row.failures > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(byte: u8) -> ProcessId {
        ProcessId::from_bytes([byte; 32])
    }

    fn table(processes: u8) -> Timetable {
        let mut table = Timetable::new(10_000);
        (0..processes).for_each(|byte| table.add(process(byte), Timestamp(1_000)));
        table
    }

    fn take(table: &mut Timetable, now: u64) -> Option<u8> {
        table.take(Timestamp(now)).map(|asked| asked.process.as_bytes()[0])
    }

    /// The poll of a process that is under way.
    fn asked(table: &Timetable, byte: u8) -> Asked {
        Asked { process: process(byte), due: Timestamp(0), turn: table.row(process(byte)).unwrap().turn }
    }

    #[test]
    fn a_process_is_asked_when_its_unit_says_and_not_before() {
        let mut table = table(1);
        assert_eq!(take(&mut table, 999), None);
        assert_eq!(take(&mut table, 1_000), Some(0));
        assert_eq!(take(&mut table, 99_999), None, "one poll at a time");
        table.answered(asked(&table, 0), Due::At(Timestamp(2_500)), Timestamp(1_010));
        assert_eq!(table.next(), Some(Timestamp(2_501)));
        assert_eq!(take(&mut table, 2_500), None);
        assert_eq!(take(&mut table, 2_501), Some(0));
    }

    #[test]
    fn a_unit_whose_clock_is_behind_is_not_asked_in_a_tight_loop() {
        let mut table = table(1);
        take(&mut table, 1_000);
        table.answered(asked(&table, 0), Due::At(Timestamp(3)), Timestamp(5_000));
        assert_eq!(table.next(), Some(Timestamp(5_000 + MIN_WAIT_MS)));
    }

    #[test]
    fn a_unit_that_always_says_that_something_was_due_is_asked_less_and_less_often() {
        let mut table = table(1);
        let mut now = 1_000;
        let mut wait = |table: &mut Timetable, due| {
            assert_eq!(take(table, now), Some(0));
            table.answered(asked(table, 0), due, Timestamp(now));
            let next = table.next().unwrap().0;
            next - std::mem::replace(&mut now, next)
        };
        let waits: Vec<_> = (0..10).map(|_| wait(&mut table, Due::At(Timestamp(3)))).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(wait(&mut table, Due::Soon), MIN_WAIT_MS, "it had something to tell");
        assert_eq!(wait(&mut table, Due::At(Timestamp(3))), MIN_WAIT_MS);
    }

    #[test]
    fn without_a_word_of_the_unit_full_multiples_of_the_interval_count() {
        let mut table = table(3);
        for (due, next) in [
            (Due::Unknown, 20_000),
            (Due::Never, 12_345 + MAX_WAIT_MS),
            (Due::At(Timestamp(u64::MAX)), 12_345 + MAX_WAIT_MS),
        ] {
            let at = table.take(Timestamp(12_345)).unwrap();
            table.answered(at, due, Timestamp(12_345));
            assert_eq!(table.row(at.process).unwrap().due, Some(Timestamp(next)), "{due:?}");
        }
    }

    #[test]
    fn a_failing_process_is_asked_less_and_less_often_and_holds_up_nobody() {
        let mut table = table(2);
        let mut now = 1_000;
        let mut waits = Vec::new();
        for _ in 0..5 {
            let mut taken = [take(&mut table, now), take(&mut table, now)];
            taken.sort_unstable();
            assert_eq!(taken, [Some(0), Some(1)], "the other one has its turn");
            table.failed(asked(&table, 0), "no".into(), Timestamp(now));
            table.answered(asked(&table, 1), Due::At(Timestamp(now)), Timestamp(now));
            let next = table.row(process(0)).unwrap().due.unwrap().0;
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits, [10_000, 20_000, 40_000, 60_000, 60_000]);
        assert_eq!((table.failing(), table.row(process(0)).unwrap().failures), (1, 5));
        while take(&mut table, now).is_some() {}
        table.answered(asked(&table, 0), Due::Unknown, Timestamp(now));
        assert_eq!(table.failing(), 0);
    }

    #[test]
    fn a_unit_that_leads_back_is_not_followed_until_it_has_done_so_many_times_in_a_row() {
        let mut table = table(1);
        table.left(process(0), "c1");
        for failures in 1..=FORGETFUL_FAILURES {
            assert!(table.has_left(process(0), "c1"), "after {} failures", failures - 1);
            let asked = table.take(Timestamp(u64::MAX / 2)).unwrap();
            let forgets = table.failed(asked, "it leads back".into(), Timestamp(1_000));
            assert_eq!(forgets, failures == FORGETFUL_FAILURES);
        }
        assert!(!table.has_left(process(0), "c1"));
        let asked = table.take(Timestamp(u64::MAX / 2)).unwrap();
        assert!(!table.failed(asked, "it leads back".into(), Timestamp(1_000)), "there is nothing left to forget");
    }

    #[test]
    fn everybody_is_asked_out_of_turn_once_who_has_more_to_tell_again() {
        let mut table = table(3);
        let asked: Vec<_> = (0..3).map(|_| table.take(Timestamp(1_000)).unwrap()).collect();
        assert!(table.is_asking());
        table.answered(asked[0], Due::Never, Timestamp(1_000));
        table.answered(asked[1], Due::At(Timestamp(90_000)), Timestamp(1_000));
        table.all_due(Timestamp(5_000));
        assert_eq!((table.next(), table.is_asking()), (Some(Timestamp(5_000)), true), "one is being asked still");
        table.answered(asked[2], Due::Unknown, Timestamp(5_000));
        let again = [table.take(Timestamp(5_000)).unwrap(), table.take(Timestamp(5_000)).unwrap()];
        assert_eq!(table.take(Timestamp(5_000)), None, "once each");
        table.answered(again[0], Due::At(Timestamp(90_000)), Timestamp(5_000));
        table.failed(again[1], "no".into(), Timestamp(5_000));
        assert!(!table.has_more(Timestamp(5_000)) && !table.is_asking());
        table.all_due(Timestamp(6_000));
        let first = table.take(Timestamp(6_000)).unwrap();
        table.answered(first, Due::At(Timestamp(6_000)), Timestamp(6_000));
        assert!(table.has_more(Timestamp(6_000)));
    }

    #[test]
    fn who_was_removed_while_being_asked_does_not_come_back() {
        let mut table = table(1);
        let asked = table.take(Timestamp(1_000)).unwrap();
        table.remove(process(0));
        table.answered(asked, Due::Unknown, Timestamp(1_000));
        table.failed(asked, "no".into(), Timestamp(1_000));
        assert_eq!((table.len(), table.next()), (0, None));
        // Added again, it is another entry, which the old poll does not touch.
        table.add(process(0), Timestamp(2_000));
        table.answered(asked, Due::Unknown, Timestamp(1_000));
        table.gone(asked);
        assert_eq!((table.len(), table.next()), (1, Some(Timestamp(2_000))));
    }
}
