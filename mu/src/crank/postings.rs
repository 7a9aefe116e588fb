//! What is on its way into whose log. A result that is heard of meanwhile may be of a later place in that log than something
//! nobody has heard of yet, so it waits a moment: each posting is waited for until a time of its own, whoever waits and however
//! often it is repeated. No I/O and no clock.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use holon_protocol::{ItemId, ProcessId, Timestamp};

use super::task::TaskId;

/// A moment among those at which something was posted or heard of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// What one task posts.
#[derive(Debug)]
struct Posting {
    process: ProcessId,
    item: ItemId,
    since: Moment,
    until: Timestamp,
}

/// What is waited for in one log.
#[derive(Debug, Default)]
struct Log {
    waited_for: BTreeSet<(Moment, TaskId)>,
    /// Those of them that nobody has asked to hurry.
    calm: BTreeSet<(Moment, TaskId)>,
}

/// Tasks that post, by the process whose log they post to.
#[derive(Debug, Default)]
pub struct Postings {
    newest: u64,
    logs: HashMap<ProcessId, Log>,
    /// Those that are not waited for any longer too: a repetition is not waited for again.
    tasks: HashMap<TaskId, Posting>,
    items: HashMap<ItemId, (Moment, TaskId)>,
    deadlines: BTreeSet<(Timestamp, TaskId)>,
}

impl Postings {
    /// Something is posted from now on, and waited for until then. `false`: it is already, and nothing changes.
    pub fn begin(&mut self, task: TaskId, process: ProcessId, item: ItemId, until: Timestamp) -> bool {
        self.newest += 1;
        self.insert(task, Posting { process, item, since: Moment(self.newest), until })
    }

    /// Something may have been posted at any time before, and is waited for until then.
    pub fn resume(&mut self, task: TaskId, process: ProcessId, item: ItemId, until: Timestamp) {
        self.insert(task, Posting { process, item, since: Moment::default(), until });
    }

    fn insert(&mut self, task: TaskId, posting: Posting) -> bool {
        let Entry::Vacant(place) = self.tasks.entry(task) else { return false };
        self.items.insert(posting.item, (posting.since, task));
        let log = self.logs.entry(posting.process).or_default();
        log.waited_for.insert((posting.since, task));
        log.calm.insert((posting.since, task));
        self.deadlines.insert((posting.until, task));
        place.insert(posting);
        true
    }

    /// It is known what became of it; the process it was posted to.
    pub fn end(&mut self, task: TaskId) -> Option<ProcessId> {
        let posting = self.tasks.remove(&task)?;
        if self.items.get(&posting.item).is_some_and(|(_, by)| *by == task) {
            self.items.remove(&posting.item);
        }
        self.deadlines.remove(&(posting.until, task));
        self.leave_log(posting.process, (posting.since, task));
        Some(posting.process)
    }

    /// One that has been waited for until now, and is not any longer; the process it was posted to.
    pub fn expire(&mut self, now: Timestamp) -> Option<ProcessId> {
        let &(until, task) = self.deadlines.first().filter(|(until, _)| *until <= now)?;
        self.deadlines.remove(&(until, task));
        let Posting { process, since, .. } = *self.tasks.get(&task)?;
        self.leave_log(process, (since, task));
        Some(process)
    }

    fn leave_log(&mut self, process: ProcessId, posting: (Moment, TaskId)) {
        if let Some(log) = self.logs.get_mut(&process) {
            log.waited_for.remove(&posting);
            log.calm.remove(&posting);
            if log.waited_for.is_empty() {
                self.logs.remove(&process);
            }
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Since when an item has been posted, and by which task.
    pub fn of(&self, item: ItemId) -> Option<(Moment, TaskId)> {
        self.items.get(&item).copied()
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment(self.newest)
    }

    /// Whether something has been on its way to a process since before this moment.
    pub fn any_before(&self, process: ProcessId, heard: Moment) -> bool {
        self.logs.get(&process).and_then(|log| log.waited_for.first()).is_some_and(|(since, _)| *since <= heard)
    }

    /// What has been on its way to a process since before this moment, each once: who waits may let it hurry, and whoever is
    /// asked is not asked more often because many wait.
    pub fn take_calm(&mut self, process: ProcessId, heard: Moment) -> Vec<TaskId> {
        let Some(log) = self.logs.get_mut(&process) else { return Vec::new() };
        let mut tasks = Vec::new();
        while let Some(&(since, task)) = log.calm.first()
            && since <= heard
        {
            log.calm.pop_first();
            tasks.push(task);
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_something_was_heard_of_is_waited_for_and_nothing_else() {
        let [one, other] = [1, 2].map(|byte| ProcessId::from_bytes([byte; 32]));
        let item = |byte| ItemId::from_bytes([byte; 32]);
        let soon = Timestamp(5);
        let mut postings = Postings::default();
        assert!(postings.begin(TaskId(9), one, item(9), soon));
        let heard = postings.now();
        assert!(postings.begin(TaskId(8), one, item(8), soon));
        assert!(postings.begin(TaskId(7), other, item(7), soon));
        assert!(postings.any_before(one, heard) && !postings.any_before(other, heard));
        postings.resume(TaskId(6), one, item(6), soon);
        // A repetition is as old as the first attempt.
        postings.resume(TaskId(8), one, item(8), soon);
        assert_eq!(postings.take_calm(one, heard), [TaskId(6), TaskId(9)]);
        assert_eq!(postings.take_calm(one, heard), [], "each once");
        assert_eq!(postings.of(item(9)), Some((heard, TaskId(9))));
        assert_eq!(postings.end(TaskId(9)), Some(one));
        assert_eq!((postings.end(TaskId(9)), postings.any_before(one, heard)), (None, true));
        assert_eq!(postings.end(TaskId(6)), Some(one));
        assert!(!postings.any_before(one, heard));
        for id in [7, 8] {
            assert!(postings.end(TaskId(id)).is_some());
        }
        assert!(
            postings.logs.is_empty()
                && postings.tasks.is_empty()
                && postings.items.is_empty()
                && postings.deadlines.is_empty(),
            "nothing is kept of what is over"
        );
    }

    #[test]
    fn what_has_been_waited_for_is_not_waited_for_again_when_it_is_repeated() {
        let (process, item) = (ProcessId::from_bytes([1; 32]), ItemId::from_bytes([2; 32]));
        let mut postings = Postings::default();
        assert!(postings.begin(TaskId(1), process, item, Timestamp(5)));
        let since = postings.of(item);
        assert_eq!((postings.next_deadline(), postings.expire(Timestamp(4))), (Some(Timestamp(5)), None));
        assert_eq!((postings.expire(Timestamp(5)), postings.expire(Timestamp(5))), (Some(process), None));
        assert!(!postings.begin(TaskId(1), process, item, Timestamp(50)));
        postings.resume(TaskId(1), process, item, Timestamp(50));
        assert!(!postings.any_before(process, postings.now()) && postings.next_deadline().is_none());
        assert_eq!(postings.of(item), since, "its result still has its place");
        assert_eq!(postings.end(TaskId(1)), Some(process));
        assert!(postings.tasks.is_empty() && postings.items.is_empty());
    }
}
