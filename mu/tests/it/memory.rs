//! An outbox in memory whose power can fail: what was not synced is lost, back to any commit in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use holon_mu::crank::task::{ProcessRecord, Task, TaskId};
use holon_mu::outbox::{
    Changes, Charge, Committed, DeadLetter, Durability, LetterId, MAX_EVENTS_PER_ITEM, Monitor, Monitoring, Outbox,
    OutboxError,
};
use holon_mu::trace::{Event, What};
use holon_protocol::{ItemId, ProcessId, Timestamp};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    pub tasks: BTreeMap<TaskId, Task>,
    pub dead: Vec<DeadLetter>,
    pub processes: BTreeMap<ProcessId, ProcessRecord>,
    pub claims: BTreeSet<ItemId>,
    pub monitors: BTreeMap<ProcessId, Monitor>,
    pub accounts: BTreeMap<ItemId, u64>,
    pub traces: Vec<(ItemId, Event)>,
    letters: u64,
    numbered: u64,
}

impl Contents {
    /// Whether all that changes would change is there.
    fn allows(&self, changes: &Changes) -> bool {
        let tasks = changes.remove.iter().chain(changes.put.iter().map(|(id, _)| id));
        let mut moves = changes.monitors.iter().filter_map(|(process, monitoring)| match monitoring {
            Monitoring::Move { from, .. } => Some((process, from)),
            _ => None,
        });
        tasks.into_iter().all(|id| self.tasks.contains_key(id))
            && changes.dug_up.iter().all(|id| self.dead.iter().any(|letter| letter.id == *id))
            && moves.all(|(process, from)| self.monitors.get(process) == Some(from))
    }

    fn apply(&mut self, changes: Changes, committed: Committed) {
        for id in changes.remove {
            self.tasks.remove(&id);
        }
        self.tasks.extend(changes.put);
        let intents = committed.intents.into_iter().zip(changes.intents);
        for (id, task) in committed.new.into_iter().chain(intents) {
            self.numbered = self.numbered.max(id.0);
            self.tasks.insert(id, task);
        }
        self.dead.retain(|letter| !changes.dug_up.contains(&letter.id));
        for letter in changes.dead {
            self.letters += 1;
            self.dead.push(DeadLetter { id: LetterId(self.letters), ..letter });
        }
        for (origin, charge) in changes.accounts {
            match charge {
                Charge::More { total, .. } => drop(self.accounts.insert(origin, total)),
                Charge::Afresh => drop(self.accounts.insert(origin, 0)),
                Charge::Over => drop(self.accounts.remove(&origin)),
            }
        }
        self.traces.extend(changes.traces);
        self.processes.extend(changes.processes);
        self.claims.extend(changes.claims);
        for (process, monitor) in changes.births {
            self.monitors.entry(process).or_insert(monitor);
        }
        for (process, monitoring) in changes.monitors {
            match monitoring {
                Monitoring::Put(monitor) | Monitoring::Move { to: monitor, .. } => {
                    self.monitors.insert(process, monitor);
                }
                Monitoring::End => drop(self.monitors.remove(&process)),
            }
        }
    }
}

/// Clones share the contents.
#[derive(Debug, Clone, Default)]
pub struct MemoryOutbox(Arc<Mutex<Journal>>);

#[derive(Debug, Default)]
struct Journal {
    /// What the disk has.
    synced: Contents,
    /// Commits after that, in order.
    buffered: Vec<(Changes, Committed)>,
    now: Contents,
}

impl MemoryOutbox {
    pub fn write(&self, changes: Changes, durability: Durability) -> Result<Committed, OutboxError> {
        let mut journal = self.0.lock().unwrap();
        if !journal.now.allows(&changes) {
            return Err(OutboxError::Lost);
        }
        if changes.claims.iter().any(|claim| journal.now.claims.contains(claim)) {
            return Err(OutboxError::Claimed);
        }
        let mut ids = (journal.now.numbered + 1..).map(TaskId);
        let new = changes.new.iter().cloned().map(|task| (ids.next().unwrap(), task)).collect();
        let committed = Committed { new, intents: ids.take(changes.intents.len()).collect() };
        journal.now.apply(changes.clone(), committed.clone());
        journal.buffered.push((changes, committed.clone()));
        if durability == Durability::Synced {
            for (changes, committed) in std::mem::take(&mut journal.buffered) {
                journal.synced.apply(changes, committed);
            }
        }
        Ok(committed)
    }

    pub fn contents(&self) -> Contents {
        self.0.lock().unwrap().now.clone()
    }

    pub fn look<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.0.lock().unwrap().now)
    }

    pub fn get(&self, id: TaskId) -> Option<Task> {
        self.0.lock().unwrap().now.tasks.get(&id).cloned()
    }

    /// How many commits are not synced.
    pub fn buffered(&self) -> usize {
        self.0.lock().unwrap().buffered.len()
    }

    /// The power fails; the first `kept` of the buffered commits happen to be on disk.
    pub fn crash(&self, kept: usize) {
        let mut journal = self.0.lock().unwrap();
        let mut left = journal.synced.clone();
        for (changes, committed) in journal.buffered.drain(..).take(kept) {
            left.apply(changes, committed);
        }
        journal.synced = left.clone();
        journal.now = left;
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(&Contents) -> T) -> BoxFuture<'_, Result<T, OutboxError>> {
        ready(Ok(read(&self.0.lock().unwrap().now))).boxed()
    }
}

impl Outbox for MemoryOutbox {
    fn commit(&self, changes: Changes, durability: Durability) -> BoxFuture<'_, Result<Committed, OutboxError>> {
        ready(self.write(changes, durability)).boxed()
    }

    fn task(&self, id: TaskId) -> BoxFuture<'_, Result<Option<Task>, OutboxError>> {
        self.read(|contents| contents.tasks.get(&id).cloned())
    }

    fn tasks(&self, after: Option<TaskId>, limit: usize) -> BoxFuture<'_, Result<Vec<(TaskId, Task)>, OutboxError>> {
        let from = after.map_or(TaskId(0), |after| TaskId(after.0 + 1));
        self.read(|contents| contents.tasks.range(from..).take(limit).map(|(id, task)| (*id, task.clone())).collect())
    }

    fn process(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<ProcessRecord>, OutboxError>> {
        self.read(|contents| contents.processes.get(&id).cloned())
    }

    fn is_claimed(&self, id: ItemId) -> BoxFuture<'_, Result<bool, OutboxError>> {
        self.read(|contents| contents.claims.contains(&id))
    }

    fn monitor(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<Monitor>, OutboxError>> {
        self.read(|contents| contents.monitors.get(&id).cloned())
    }

    fn monitors(&self) -> BoxFuture<'_, Result<Vec<(ProcessId, Monitor)>, OutboxError>> {
        self.read(|contents| contents.monitors.iter().map(|(id, monitor)| (*id, monitor.clone())).collect())
    }

    fn dead_letters(
        &self,
        before: Option<LetterId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, OutboxError>> {
        self.read(|contents| {
            let older = contents.dead.iter().filter(|letter| before.is_none_or(|before| letter.id < before));
            let older: Vec<_> = older.cloned().collect();
            older[older.len().saturating_sub(limit)..].to_vec()
        })
    }

    fn dead_letter(&self, id: LetterId) -> BoxFuture<'_, Result<Option<DeadLetter>, OutboxError>> {
        self.read(|contents| contents.dead.iter().find(|letter| letter.id == id).cloned())
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<(ItemId, u64)>, OutboxError>> {
        self.read(|contents| contents.accounts.iter().map(|(origin, pushed)| (*origin, *pushed)).collect())
    }

    fn trace(&self, item: ItemId) -> BoxFuture<'_, Result<Vec<Event>, OutboxError>> {
        self.read(|contents| {
            let of = contents.traces.iter().filter(|(found, _)| *found == item);
            of.take(MAX_EVENTS_PER_ITEM).map(|(_, event)| event.clone()).collect()
        })
    }

    fn traced(&self, process: ProcessId, limit: usize) -> BoxFuture<'_, Result<Vec<ItemId>, OutboxError>> {
        self.read(|contents| {
            let made = contents.traces.iter().rev().filter(|(_, event)| match &event.what {
                What::Made(made) => made.to == process.into(),
                _ => false,
            });
            made.take(limit).map(|(item, _)| *item).collect()
        })
    }

    fn forget_traces(&self, before: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, OutboxError>> {
        let mut journal = self.0.lock().unwrap();
        let old = journal.now.traces.iter().take(limit).take_while(|(_, event)| event.at < before).count();
        journal.now.traces.drain(..old);
        journal.synced = journal.now.clone();
        journal.buffered.clear();
        ready(Ok(old)).boxed()
    }
}
