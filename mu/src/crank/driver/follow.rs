//! Storing what follows from a task, within the budgets of its push.

use std::collections::HashSet;

use holon_protocol::{ItemId, ProcessId};

use super::{Driver, MAX_QUEUED_TASKS, lock, now};
use crate::crank::budget::{Limit, Spent};
use crate::crank::descent::Descent;
use crate::crank::outgoing::Skipped;
use crate::crank::step::{Follow, Once};
use crate::crank::task::{Forwarded, Task, TaskId, Work};
use crate::outbox::{
    Changes, Charge, DeadLetter, Durability, Letter, LetterId, Load, MAX_UNUSABLE_PER_RESULT, Monitor, Monitoring,
    OutboxError,
};
use crate::trace::{self, Kind, Made, What};

/// How often what follows is put together anew because somebody else has claimed something of it meanwhile.
const CLAIM_ATTEMPTS: usize = 4;

/// The process whose boot this task pulls, as an item.
fn boot(task: &Task) -> Option<ItemId> {
    match &task.work {
        Work::Pull { message, process, .. } if *message == (*process).into() => Some((*message).into()),
        _ => None,
    }
}

/// A cron result and what it asks for: the beginning of a push.
#[derive(Debug)]
pub struct CronResult {
    /// Where to go on after it.
    pub cursor: String,
    /// Id of the push, made up of the process and the result's cursor.
    pub origin: ItemId,
    /// Error of the result.
    pub error: Option<String>,
    /// What it asks for.
    pub follow: Follow,
}

impl Driver {
    /// Queues what follows from something else than a task, durably.
    pub async fn queue(&self, emitter: ProcessId, follow: Follow) -> Result<(), OutboxError> {
        self.follow(Changes::default(), Some(emitter), follow, Durability::Synced).await
    }

    /// How many more tasks the crons that are accounted to this may have waiting.
    pub fn cron_room(&self, account: ItemId) -> usize {
        let total = self.queued();
        lock(&self.0.accounts).cron_room(&self.0.limits.budgets, account, total, MAX_QUEUED_TASKS)
    }

    /// Queues what cron results of a process ask for, as far as there is room, and moves its monitor, which is `known`, to
    /// the cursor of the last one taken, durably. How many were taken; the others are to be offered again later.
    pub async fn queue_cron(
        &self,
        process: ProcessId,
        results: Vec<CronResult>,
        known: &Monitor,
    ) -> Result<usize, OutboxError> {
        let mut changes = Changes::default();
        let mut all = Follow::default();
        let (mut room, mut taken, mut reached) = (self.cron_room(known.accounted_to(process)), 0, None);
        for CronResult { cursor, origin, error, mut follow } in results {
            let count = follow.tasks.len();
            if count > 0 && room == 0 {
                break;
            }
            let descent = known.begins(process, origin);
            let made = Made { kind: Kind::Cron, descent, emitter: None, to: process.into() };
            let evaluated = trace::evaluated(error, &follow);
            match self.spend(&descent, count) {
                Ok(account) => changes.accounts.extend(account),
                // It waits until there is room, unless there never will be.
                Err(spent) if spent.limit == Limit::Waiting && count <= self.0.limits.budgets.waiting => break,
                Err(spent) => {
                    self.0.metrics.over_budget(spent.limit.name());
                    // There is no message whose result could be pulled again, so each task is kept.
                    for task in follow.tasks.drain(..) {
                        self.lay_out(&mut changes, &task, spent.to_string());
                    }
                }
            }
            changes.traces.extend(self.told(vec![(origin, What::Made(made)), (origin, What::Evaluated(evaluated))]));
            room = room.saturating_sub(count);
            taken += 1;
            reached = Some(cursor);
            all.tasks.extend(follow.tasks);
            all.skipped.extend(follow.skipped);
        }
        if reached.is_none() {
            return Ok(0);
        }
        let moved = Monitoring::Move { from: known.clone(), to: Monitor { cursor: reached, ..known.clone() } };
        changes.monitors.push((process, moved));
        let origins: Vec<_> = changes.accounts.iter().map(|(origin, _)| *origin).collect();
        let stored = self.follow(changes, Some(process), all, Durability::Synced).await;
        if stored.is_err() {
            let mut accounts = lock(&self.0.accounts);
            origins.into_iter().for_each(|origin| accounts.forget(origin));
        }
        stored.map(|()| taken)
    }

    /// A task is done: it leaves the outbox together with what follows, unless its push may not have that.
    pub(super) async fn end(
        &self,
        id: TaskId,
        task: &Task,
        follow: Follow,
        error: Option<String>,
    ) -> Result<(), OutboxError> {
        let (emitter, account) = match &task.work {
            Work::Pull { process, .. } => match self.spend(&task.descent, follow.tasks.len()) {
                Ok(account) => (Some(*process), account),
                Err(spent) => {
                    self.0.metrics.over_budget(spent.limit.name());
                    return self.bury(id, task, spent.to_string(), Follow::default()).await;
                }
            },
            _ => (task.emitter(), None),
        };
        tracing::debug!(task = %id, stage = task.stage(), follows = follow.tasks.len(), "done");
        self.0.metrics.done(task.stage());
        let traces = self.told(trace::of_done(task, &follow, error));
        let accounts = account.into_iter().collect();
        let changes = Changes { remove: vec![id], traces, accounts, ..Changes::default() };
        self.follow(changes, emitter, follow, Durability::Buffered).await?;
        self.finish(id, task);
        Ok(())
    }

    /// A task is given up: it becomes a dead letter, and what follows all the same is stored.
    pub(super) async fn bury(
        &self,
        id: TaskId,
        task: &Task,
        reason: String,
        follow: Follow,
    ) -> Result<(), OutboxError> {
        tracing::error!(parent: &task.span(), task = %id, stage = task.stage(), reason, "given up");
        let mut changes = Changes { remove: vec![id], ..Changes::default() };
        self.lay_out(&mut changes, task, reason);
        self.follow(changes, None, follow, Durability::Buffered).await?;
        self.finish(id, task);
        Ok(())
    }

    /// Adds a task as a dead letter to `changes`.
    fn lay_out(&self, changes: &mut Changes, task: &Task, reason: String) {
        self.0.metrics.dead(task);
        changes.traces.extend(self.told(trace::of_death(task, &reason)));
        let letter = Letter::Task(Box::new(task.clone()));
        changes.dead.push(DeadLetter { id: LetterId::default(), at: self.0.clock.now(), reason, letter });
    }

    /// Counts what a result asks for.
    fn spend(&self, descent: &Descent, count: usize) -> Result<Option<(ItemId, Charge)>, Spent> {
        let total = self.queued();
        let budgets = &self.0.limits.budgets;
        let account = lock(&self.0.accounts).spend(budgets, descent, count, total, MAX_QUEUED_TASKS)?;
        let charge = account.map(|account| Charge::More { more: count as u64, total: account.pushed });
        Ok(descent.origin.zip(charge))
    }

    /// Adds what follows to `changes`, commits, and takes the new tasks in. An assignment that somebody else has claimed is an error
    /// ([`OutboxError::Claimed`]).
    pub(super) async fn follow(
        &self,
        changes: Changes,
        emitter: Option<ProcessId>,
        follow: Follow,
        durability: Durability,
    ) -> Result<(), OutboxError> {
        let claims = follow.once.is_some() || follow.tasks.iter().any(|task| boot(task).is_some());
        if !claims || follow.once.is_some_and(|once| once.another) {
            return self.follow_once(changes, emitter, follow, false, durability).await;
        }
        // Nearly always nobody has: the store says so if somebody has, or does meanwhile.
        let mut look = false;
        for _ in 1..CLAIM_ATTEMPTS {
            match self.follow_once(changes.clone(), emitter, follow.clone(), look, durability).await {
                Err(OutboxError::Claimed) => look = true,
                followed => return followed,
            }
        }
        self.follow_once(changes, emitter, follow, look, durability).await
    }

    /// The same, looking at what is claimed already if need be.
    async fn follow_once(
        &self,
        mut changes: Changes,
        emitter: Option<ProcessId>,
        follow: Follow,
        look: bool,
        durability: Durability,
    ) -> Result<(), OutboxError> {
        let Follow { mut tasks, mut skipped, processes, lineage, once } = follow;
        if let Some(Once { claim, tasks: first, .. }) = once {
            if look && self.0.outbox.is_claimed(claim).await? {
                tracing::info!(%claim, tasks = ?tasks[..first.min(tasks.len())], "the result is, or was, pushed already");
                self.0.metrics.pushed_already();
                tasks.drain(..first.min(tasks.len()));
            } else {
                changes.claims.push(claim);
            }
        }
        let born = self.born(&processes, lineage, &mut skipped).await?;
        let monitor = Monitor { from_birth: true, lineage, ..Monitor::default() };
        changes.births.extend(born.processes().iter().map(|process| (*process, monitor.clone())));
        let at = self.0.clock.now();
        let uncounted = skipped.len().saturating_sub(MAX_UNUSABLE_PER_RESULT);
        let rest = (uncounted > 0).then(|| Skipped {
            entry: "others".into(),
            reason: format!("{uncounted} more entries of this result cannot be used"),
            text: String::new(),
        });
        for entry in skipped.into_iter().take(MAX_UNUSABLE_PER_RESULT).chain(rest) {
            tracing::warn!(emitter = ?emitter, entry = entry.entry, reason = entry.reason, "outbox entry skipped");
            self.0.metrics.skipped();
            let (id, reason) = (LetterId::default(), entry.reason.clone());
            changes.dead.push(DeadLetter { id, at, reason, letter: Letter::Entry { emitter, entry } });
        }
        let mut new = Vec::with_capacity(tasks.len());
        for task in tasks {
            if let Some(booting) = boot(&task)
                && !changes.claims.contains(&booting)
            {
                if look && self.0.outbox.is_claimed(booting).await? {
                    tracing::info!(process = %booting, "the result of its boot is, or was, pushed already");
                    self.0.metrics.pushed_already();
                    continue;
                }
                changes.claims.push(booting);
            }
            new.push(task);
        }
        changes.processes = processes;
        changes.new = new;
        let settled = self.settle(&mut changes);
        match self.0.outbox.commit(changes, durability).await {
            Ok(committed) => {
                // In a shared outbox they come to whoever has their shares.
                let born = born.stored();
                if self.0.outbox.shared().is_none() {
                    self.0.births.announce(born);
                }
                self.take_in(Load { tasks: committed.new, accounts: Vec::new() });
                Ok(())
            }
            Err(error) => {
                lock(&self.0.settled).extend(settled);
                Err(error)
            }
        }
    }

    /// Adds the accounts of pushes that are over to `changes`; their origins.
    fn settle(&self, changes: &mut Changes) -> Vec<ItemId> {
        let settled = std::mem::take(&mut *lock(&self.0.settled));
        let accounts = lock(&self.0.accounts);
        let opened: HashSet<_> = changes.accounts.iter().map(|(origin, _)| *origin).collect();
        let over = settled.iter().filter(|origin| accounts.of(**origin).is_none() && !opened.contains(*origin));
        changes.accounts.extend(over.map(|origin| (*origin, Charge::Over)));
        settled
    }

    /// Takes tasks in that are in the outbox. Those that are known already stay as they are.
    pub(super) fn take_in(&self, load: Load) {
        let mut dispatcher = lock(&self.0.dispatcher);
        let mut accounts = lock(&self.0.accounts);
        for (origin, pushed) in load.accounts {
            accounts.load(origin, pushed);
        }
        for (id, task) in &load.tasks {
            if !dispatcher.add(*id, task, now()) {
                continue;
            }
            accounts.waits(&task.descent);
            lock(&self.0.unresolved).add(*id, task);
            if let Work::Confirm(Forwarded { item, .. }) = &task.work {
                lock(&self.0.confirming).insert(*item, *id);
            }
        }
        self.0.metrics.queued(dispatcher.len());
        drop((accounts, dispatcher));
        self.0.wake.notify_one();
    }

    /// A task has left the outbox.
    fn finish(&self, id: TaskId, task: &Task) {
        if let Work::Confirm(Forwarded { item, .. }) = &task.work {
            let mut confirming = lock(&self.0.confirming);
            if confirming.get(item) == Some(&id) {
                confirming.remove(item);
            }
        }
        self.vanish(id);
    }

    /// A task is not in the outbox any more, or not this messenger's.
    pub(super) fn vanish(&self, id: TaskId) {
        lock(&self.0.unresolved).remove(id);
        let mut dispatcher = lock(&self.0.dispatcher);
        let descent = dispatcher.finished(id);
        self.0.metrics.queued(dispatcher.len());
        self.left(descent);
        drop(dispatcher);
        self.hand_on();
    }

    /// Tasks of these pushes are not this messenger's any more.
    pub(super) fn left(&self, descents: impl IntoIterator<Item = Descent>) {
        let mut accounts = lock(&self.0.accounts);
        let over: Vec<_> = descents.into_iter().filter(|descent| accounts.left(descent)).collect();
        drop(accounts);
        lock(&self.0.settled).extend(over.into_iter().filter_map(|descent| descent.origin));
    }
}
