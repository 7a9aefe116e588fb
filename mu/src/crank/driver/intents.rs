//! Intents: what was promised to a client before its item is forwarded. They are durable, and performed only when nobody
//! knows what became of the forward: after a crash, or when its answer was lost.
//!
//! Whoever can make a scheduler answer 500 can have such tasks made, and each is asked after for a while. So there is room
//! for so many of each scheduler only, and of all that the operator did not name together: schedulers are cheap, ports of one
//! host and names below one domain cheaper still, so strangers are counted by host, and with more room by whom their hosts belong to
//! ([`holder`]). Some of that room is kept for those of which little is open, so that some tens of bad ones do not take it from
//! everybody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use holon_protocol::ItemId;
use url::Url;

use super::{Driver, STORE_RETRY, lock, now};
use crate::crank::step::Follow;
use crate::crank::task::{Task, TaskId, Toward};
use crate::outbox::{Changes, Durability, Load, OutboxError};
use crate::peers::{holder, host, less};
use crate::trace;

/// Most things of clients of which the schedulers on one host that the operator did not name have yet to say whether they took
/// them.
pub const MAX_UNRESOLVED_PER_STRANGER: usize = 1_000;
/// The same of all hosts of one holder.
pub const MAX_UNRESOLVED_PER_HOLDER: usize = 4 * MAX_UNRESOLVED_PER_STRANGER;
/// The same of all such schedulers together.
pub const MAX_UNRESOLVED_OF_STRANGERS: usize = 50_000;
/// The part of it that is kept for holders with fewer than [`FEW_UNRESOLVED`].
pub const UNRESOLVED_RESERVE: usize = 10_000;
/// A holder of hosts with so many has had its part of the reserve.
pub const FEW_UNRESOLVED: usize = 10;
/// The same of one that the operator named.
pub const MAX_UNRESOLVED_PER_SCHEDULER: usize = 100_000;

/// What schedulers have yet to say of what clients sent them.
#[derive(Debug, Default)]
pub struct Unresolved {
    tasks: HashMap<TaskId, Toward>,
    /// By origin, or a stranger's host.
    counts: HashMap<String, usize>,
    /// By holder of a stranger's host.
    holders: HashMap<String, usize>,
    of_strangers: usize,
}

impl Unresolved {
    /// A scheduler is asked about this.
    pub fn add(&mut self, id: TaskId, task: &Task) {
        let Some(toward) = task.toward() else { return };
        if self.tasks.insert(id, toward.clone()).is_none() {
            let (name, holder) = counted(toward);
            *self.counts.entry(name).or_default() += 1;
            if let Some(holder) = holder {
                *self.holders.entry(holder).or_default() += 1;
                self.of_strangers += 1;
            }
        }
    }

    /// That is over.
    pub fn remove(&mut self, id: TaskId) {
        let Some(toward) = self.tasks.remove(&id) else { return };
        let (name, holder) = counted(&toward);
        less(&mut self.counts, name);
        if let Some(holder) = holder {
            less(&mut self.holders, holder);
            self.of_strangers -= 1;
        }
    }

    /// Whether there may be more of this scheduler.
    pub fn has_room(&self, toward: &Toward) -> bool {
        let (name, holder) = counted(toward);
        let count = self.counts.get(&name).copied().unwrap_or_default();
        let Some(holder) = holder else { return count < MAX_UNRESOLVED_PER_SCHEDULER };
        let of_holder = self.holders.get(&holder).copied().unwrap_or_default();
        let kept = if of_holder < FEW_UNRESOLVED { 0 } else { UNRESOLVED_RESERVE };
        count < MAX_UNRESOLVED_PER_STRANGER
            && of_holder < MAX_UNRESOLVED_PER_HOLDER
            && self.of_strangers < MAX_UNRESOLVED_OF_STRANGERS - kept
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }
}

/// What a scheduler is counted by, and with whom together: the operator may have named several on one host, a stranger has as many
/// ports and names as it likes.
fn counted(toward: &Toward) -> (String, Option<String>) {
    let origin = || toward.origin.clone();
    match Url::parse(&toward.origin) {
        _ if !toward.stranger => (origin(), None),
        Ok(url) => (host(&url), Some(holder(&url))),
        Err(_) => (origin(), Some(origin())),
    }
}

impl Driver {
    /// Whether more may be forwarded to this scheduler, of which it might not say whether it took it.
    pub fn has_room_toward(&self, toward: &Toward) -> bool {
        lock(&self.0.unresolved).has_room(toward)
    }

    /// What an intent posts is waited for by what is heard of from now on.
    fn promised(&self, id: TaskId, task: &Task) {
        if let Some((process, item)) = task.posted_to() {
            lock(&self.0.dispatcher).posts(id, process, item, now());
        }
    }

    /// What became of an intent is known.
    fn settled(&self, id: TaskId) {
        lock(&self.0.intended).remove(&id);
        lock(&self.0.dispatcher).settled(id);
        self.hand_on();
    }

    /// Makes an intent durable: a task that only a later run of the program, or [`Self::release`], will perform.
    pub async fn intend(&self, task: Task) -> Result<(TaskId, Task), OutboxError> {
        let changes = Changes { intents: vec![task.clone()], ..Changes::default() };
        let _intending = self.0.intents.read().await;
        let committed = match self.0.outbox.commit(changes, Durability::Synced).await {
            Err(error @ OutboxError::Unsure(_)) => {
                self.look_for_strays();
                return Err(error);
            }
            committed => committed?,
        };
        let id = committed.intents.first().copied();
        let id = id.ok_or_else(|| OutboxError::Store("the store gave an intent no id".into()))?;
        lock(&self.0.intended).insert(id);
        self.promised(id, &task);
        Ok((id, task))
    }

    /// The intent came true: replaces it by what follows. The intent itself is durable, so this need not be; when it
    /// cannot be stored now, the scheduler is asked once more.
    pub async fn fulfil(&self, id: TaskId, task: &Task, follow: Follow) {
        let traces = self.told(trace::of_done(task, &follow, None));
        let changes = Changes { remove: vec![id], traces, ..Changes::default() };
        let followed = self.follow(changes, None, follow, Durability::Buffered).await;
        if matches!(followed, Ok(()) | Err(OutboxError::Lost)) {
            self.settled(id);
        }
        if let Err(error) = followed {
            if matches!(error, OutboxError::Lost) {
                // This messenger was believed dead; another one asks the scheduler, and goes on.
                return;
            }
            if matches!(error, OutboxError::Claimed) {
                // Who did not hear which assignment was its own took this one, this moment: its own is ours.
                self.release(id, task);
                return;
            }
            tracing::error!(task = %id, %error, "what follows from an accepted item could not be stored yet");
            self.0.metrics.store_failed();
            self.release(id, task);
        }
    }

    /// What a task would do came true without it. What follows is durable, and happens once: the task may do it as well.
    pub async fn came_true(&self, task: &Task, follow: Follow) -> Result<(), OutboxError> {
        let traces = self.told(trace::of_done(task, &follow, None));
        self.follow(Changes { traces, ..Changes::default() }, None, follow, Durability::Synced).await
    }

    /// The intent came to nothing. It is removed, if need be later: performing it would push what is not ours to push.
    pub async fn withdraw(&self, id: TaskId) {
        self.settled(id);
        if let Err(error) = self.remove(id).await {
            if matches!(error, OutboxError::Lost) {
                return;
            }
            tracing::error!(task = %id, %error, "an intent could not be withdrawn yet");
            let (this, stopping) = (self.clone(), self.0.tasks.stopping());
            self.0.tasks.spawn("withdraw", async move {
                let removed = async {
                    while let Err(error) = this.remove(id).await {
                        if matches!(error, OutboxError::Lost) {
                            return;
                        }
                        this.0.metrics.store_failed();
                        tokio::time::sleep(STORE_RETRY).await;
                    }
                };
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = removed => {}
                }
            });
        }
    }

    async fn remove(&self, id: TaskId) -> Result<(), OutboxError> {
        self.0.outbox.commit(Changes { remove: vec![id], ..Changes::default() }, Durability::Buffered).await?;
        Ok(())
    }

    /// Nobody knows what became of the intent: perform its task.
    pub fn release(&self, id: TaskId, task: &Task) {
        self.take_in(Load { tasks: vec![(id, task.clone())], accounts: Vec::new() });
        lock(&self.0.intended).remove(&id);
    }

    /// An intent may be stored that nobody knows the id of. Nothing was forwarded for it: once it must be there, it is removed.
    fn look_for_strays(&self) {
        if self.0.outbox.shared().is_none() || lock(&self.0.straying).replace(Instant::now()).is_some() {
            return;
        }
        let (this, stopping) = (self.clone(), self.0.tasks.stopping());
        self.0.tasks.spawn("stray intents", async move {
            stopping.run_until_cancelled(this.remove_strays_in_time()).await;
        });
    }

    /// Looks until there was a look late enough for the newest that may be there.
    async fn remove_strays_in_time(&self) {
        let after = Duration::from_millis(self.0.limits.stray_after_ms);
        loop {
            let newest = *lock(&self.0.straying);
            let Some(newest) = newest else { return };
            tokio::time::sleep_until((newest + after).into()).await;
            while let Err(error) = self.remove_strays().await {
                tracing::warn!(%error, "intents that nobody knows of could not be removed yet");
                tokio::time::sleep(STORE_RETRY).await;
            }
            let mut straying = lock(&self.0.straying);
            if *straying == Some(newest) {
                *straying = None;
                return;
            }
        }
    }

    async fn remove_strays(&self) -> Result<(), OutboxError> {
        let Some(shared) = self.0.outbox.shared() else { return Ok(()) };
        let strays: Vec<_> = {
            // None is being stored meanwhile.
            let _alone = self.0.intents.write().await;
            let stored = shared.intents().await?;
            let (intended, dispatcher) = (lock(&self.0.intended), lock(&self.0.dispatcher));
            stored.into_iter().filter(|id| !intended.contains(id) && !dispatcher.contains(*id)).collect()
        };
        for id in strays {
            match self.remove(id).await {
                // One that was done meanwhile was none.
                Ok(()) | Err(OutboxError::Lost) => tracing::info!(task = %id, "removed an intent that nobody knew of"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The task that asks the scheduler of a client's item whether it took it, if there is one.
    pub fn confirming(&self, item: ItemId) -> Option<TaskId> {
        let id = lock(&self.0.confirming).get(&item).copied()?;
        lock(&self.0.dispatcher).contains(id).then_some(id)
    }

    /// Lets a task that waits for its retry time run now.
    pub fn hurry(&self, id: TaskId) {
        lock(&self.0.dispatcher).hurry(id);
        self.0.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crank::descent::Descent;
    use crate::crank::task::{Forwarded, ForwardedKind, Work};

    fn task(origin: &str, stranger: bool) -> Task {
        let kind = ForwardedKind::Message { process: ItemId::from_bytes([1; 32]).into() };
        let toward = Some(Toward { origin: origin.into(), stranger });
        let forwarded = Forwarded { item: ItemId::from_bytes([2; 32]), kind, toward, came: None };
        Task { root: None, descent: Descent::default(), work: Work::Confirm(forwarded) }
    }

    #[test]
    fn one_stranger_many_strangers_and_the_operators_schedulers_have_rooms_of_their_own() {
        let mut unresolved = Unresolved::default();
        let mut ids = (0..).map(TaskId);
        let room = |unresolved: &Unresolved, task: &Task| unresolved.has_room(task.toward().unwrap());
        let own = task("https://own", false);
        let mut fill = |unresolved: &mut Unresolved, stranger: &Task| {
            let mut of_this = 0;
            while room(unresolved, stranger) {
                unresolved.add(ids.next().unwrap(), stranger);
                of_this += 1;
            }
            of_this
        };
        let busy = (MAX_UNRESOLVED_OF_STRANGERS - UNRESOLVED_RESERVE) / MAX_UNRESOLVED_PER_STRANGER;
        for number in 0..busy {
            let stranger = task(&format!("https://{number}.example"), true);
            assert_eq!(fill(&mut unresolved, &stranger), MAX_UNRESOLVED_PER_STRANGER);
            assert!(
                !room(&unresolved, &task(&format!("http://{number}.example:8080"), true)),
                "a port is no other host"
            );
        }
        let reserve = UNRESOLVED_RESERVE / FEW_UNRESOLVED;
        for number in busy..busy + reserve {
            let stranger = task(&format!("https://{number}.example"), true);
            assert_eq!(
                fill(&mut unresolved, &stranger),
                FEW_UNRESOLVED,
                "others have their part in what is kept for them"
            );
        }
        let strangers = MAX_UNRESOLVED_OF_STRANGERS;
        assert_eq!(unresolved.len(), strangers);
        assert!(!room(&unresolved, &task("https://new", true)));
        assert!(room(&unresolved, &own), "what the operator named is not touched by it");
        // A repetition is no other one, and what is over makes room.
        unresolved.add(TaskId(0), &task("https://0.example", true));
        assert_eq!(unresolved.len(), strangers);
        unresolved.remove(TaskId(0));
        unresolved.remove(TaskId(0));
        assert!(room(&unresolved, &task("https://new", true)));
        (1..strangers as u64).for_each(|id| unresolved.remove(TaskId(id)));
        assert!(unresolved.counts.is_empty() && unresolved.holders.is_empty() && unresolved.of_strangers == 0);
    }

    #[test]
    fn a_stranger_with_a_thousand_host_names_or_addresses_leaves_room_for_others() {
        let mut unresolved = Unresolved::default();
        let mut ids = (0..).map(TaskId);
        for number in 0..2_000 {
            for origin in [format!("https://{number}.evil.example"), format!("http://198.51.100.{}", number % 256)] {
                let stranger = task(&origin, true);
                for _ in 0..MAX_UNRESOLVED_PER_STRANGER {
                    if !unresolved.has_room(stranger.toward().unwrap()) {
                        break;
                    }
                    unresolved.add(ids.next().unwrap(), &stranger);
                }
            }
        }
        assert_eq!(unresolved.len(), 2 * MAX_UNRESOLVED_PER_HOLDER);
        assert!(unresolved.has_room(task("https://su.honest.example", true).toward().unwrap()));
    }

    #[test]
    fn a_host_that_is_full_shuts_out_no_other_of_the_same_domain() {
        let mut unresolved = Unresolved::default();
        let [bad, honest] =
            ["https://bad.shared.example", "https://su.shared.example"].map(|origin| task(origin, true));
        (0..MAX_UNRESOLVED_PER_STRANGER as u64).for_each(|id| unresolved.add(TaskId(id), &bad));
        assert!(!unresolved.has_room(bad.toward().unwrap()) && unresolved.has_room(honest.toward().unwrap()));
    }

    #[test]
    fn the_operators_schedulers_on_one_host_are_counted_apart() {
        let [one, other] = ["http://10.0.0.1:1", "http://10.0.0.1:2"].map(|origin| task(origin, false));
        assert_ne!(counted(one.toward().unwrap()), counted(other.toward().unwrap()));
        let [one, other] = ["http://10.0.0.1:1", "http://10.0.0.1:2"].map(|origin| task(origin, true));
        assert_eq!(counted(one.toward().unwrap()), counted(other.toward().unwrap()));
    }
}
