//! What is on its way into whose log. A result that is heard of meanwhile may be of a later place in that log than something
//! nobody has heard of yet, so it waits a moment. No I/O and no clock.

use std::collections::{BTreeSet, HashMap};

use holon_protocol::{ItemId, ProcessId};

use super::task::TaskId;

/// A moment among those at which something was posted or heard of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Tasks that post, by the process whose log they post to.
#[derive(Debug, Default)]
pub struct Postings {
    newest: u64,
    logs: HashMap<ProcessId, BTreeSet<(Moment, TaskId)>>,
    tasks: HashMap<TaskId, (ProcessId, ItemId, Moment)>,
    items: HashMap<ItemId, (Moment, TaskId)>,
}

impl Postings {
    /// Something is posted from now on; nothing changes if it is already.
    pub fn begin(&mut self, task: TaskId, process: ProcessId, item: ItemId) {
        self.newest += 1;
        self.insert(task, process, item, Moment(self.newest));
    }

    /// Something may have been posted at any time before.
    pub fn resume(&mut self, task: TaskId, process: ProcessId, item: ItemId) {
        self.insert(task, process, item, Moment::default());
    }

    fn insert(&mut self, task: TaskId, process: ProcessId, item: ItemId, since: Moment) {
        if let std::collections::hash_map::Entry::Vacant(place) = self.tasks.entry(task) {
            place.insert((process, item, since));
            self.items.insert(item, (since, task));
            self.logs.entry(process).or_default().insert((since, task));
        }
    }

    /// It is known what became of it, or it is not waited for any longer; the process it was posted to.
    pub fn end(&mut self, task: TaskId) -> Option<ProcessId> {
        let (process, item, since) = self.tasks.remove(&task)?;
        if self.items.get(&item).is_some_and(|(_, by)| *by == task) {
            self.items.remove(&item);
        }
        if let Some(log) = self.logs.get_mut(&process) {
            log.remove(&(since, task));
            if log.is_empty() {
                self.logs.remove(&process);
            }
        }
        Some(process)
    }

    /// Since when an item has been posted, and by which task.
    pub fn of(&self, item: ItemId) -> Option<(Moment, TaskId)> {
        self.items.get(&item).copied()
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment(self.newest)
    }

    /// What has been on its way to a process since before this moment.
    pub fn before(&self, process: ProcessId, heard: Moment) -> Vec<TaskId> {
        let log = self.logs.get(&process).into_iter().flatten();
        log.take_while(|(since, _)| *since <= heard).map(|(_, task)| *task).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_something_was_heard_of_is_waited_for_and_nothing_else() {
        let [one, other] = [1, 2].map(|byte| ProcessId::from_bytes([byte; 32]));
        let item = |byte| ItemId::from_bytes([byte; 32]);
        let mut postings = Postings::default();
        postings.begin(TaskId(9), one, item(9));
        let heard = postings.now();
        postings.begin(TaskId(8), one, item(8));
        postings.begin(TaskId(7), other, item(7));
        postings.resume(TaskId(6), one, item(6));
        // A repetition is as old as the first attempt.
        postings.resume(TaskId(8), one, item(8));
        assert_eq!(postings.before(one, heard), [TaskId(6), TaskId(9)]);
        assert_eq!(postings.before(other, heard), []);
        assert_eq!(postings.of(item(9)), Some((heard, TaskId(9))));
        assert_eq!(postings.end(TaskId(9)), Some(one));
        assert_eq!((postings.end(TaskId(9)), postings.before(one, heard)), (None, vec![TaskId(6)]));
        for id in [6, 7, 8] {
            assert!(postings.end(TaskId(id)).is_some());
        }
        assert!(
            postings.logs.is_empty() && postings.tasks.is_empty() && postings.items.is_empty(),
            "nothing is kept of what is over"
        );
    }
}
