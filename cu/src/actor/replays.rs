//! States and results of the past: a replay beside the live memory, shared by all who want the same. A state that was found is
//! kept for a short time ([`super::past`]): who was told to come again shall not cause another replay.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holon_protocol::ProcessId;
use tokio::sync::Semaphore;

use super::mailbox::{MAILBOX_LIMIT, Reply};
use super::past::Past;
use super::{Inner, State, lock};
use crate::checkpoint::Reach;
use crate::error::Error;
use crate::log::Goal;
use crate::memory_pressure::is_short_of_memory;

/// Most replays for states that are past, over all processes.
const REPLAY_LIMIT: usize = 2;
/// Most states that are past, or being found, that requests wait for.
const REPLAY_QUEUE: usize = 1000;
/// Pause between looks whether anybody still waits.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The replays there are.
pub(super) struct Replays {
    places: Semaphore,
    /// Who waits for which. One replay answers all who want the same.
    waiting: Mutex<HashMap<Wanted, Vec<Reply>>>,
    /// States that were found lately.
    found: Mutex<Past<Wanted, Arc<State>>>,
}

impl Default for Replays {
    fn default() -> Self {
        Self { places: Semaphore::new(REPLAY_LIMIT), waiting: Mutex::default(), found: Mutex::default() }
    }
}

/// What a replay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Wanted {
    process: ProcessId,
    goal: Goal,
    /// Whether the result at the goal is wanted, or only the state there.
    result: bool,
}

impl Wanted {
    fn state(process: ProcessId, goal: Goal) -> Self {
        Self { process, goal, result: false }
    }
}

impl Replays {
    /// A state that is past, if it was found lately.
    pub fn found(&self, process: ProcessId, goal: Goal) -> Option<Arc<State>> {
        lock(&self.found).get(&Wanted::state(process, goal), Instant::now())
    }

    /// Drops states that nobody asked for lately, or all if memory is short.
    pub fn expire(&self) {
        free(lock(&self.found).expire(Instant::now(), is_short_of_memory()));
    }
}

/// Gives large memories back to the system, where nobody waits for it.
fn free(states: Vec<Arc<State>>) {
    if !states.is_empty() {
        tokio::task::spawn_blocking(move || drop(states));
    }
}

impl Inner {
    /// Answers `reply` by a replay to `goal`, shared with all who want the same.
    pub(super) fn replay(self: &Arc<Self>, process: ProcessId, goal: Goal, reply: Reply) {
        let mut replaying = lock(&self.replays.waiting);
        let full = replaying.len() >= REPLAY_QUEUE;
        let wanted = Wanted { process, goal, result: matches!(reply, Reply::Evaluated(_)) };
        // Under the lock: a replay keeps what it found before it stops being waited for.
        if !wanted.result
            && let Some(state) = self.replays.found(process, goal)
        {
            return reply.found(Ok(state));
        }
        match replaying.entry(wanted) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().retain(|reply| !reply.is_closed());
                if waiting.get().len() >= MAILBOX_LIMIT {
                    return reply.fail(Error::Mailbox { process, limit: MAILBOX_LIMIT });
                }
                waiting.get_mut().push(reply);
            }
            Entry::Vacant(_) if full => reply.fail(Error::Busy { what: "states that are past", limit: REPLAY_QUEUE }),
            Entry::Vacant(place) => {
                place.insert(vec![reply]);
                let replay = Replay { inner: self.clone(), wanted, taken: AtomicBool::new(false) };
                self.tasks.spawn("cu-replay", async move {
                    let stopping = replay.inner.tasks.stopping();
                    stopping.run_until_cancelled(Box::pin(replay.serve())).await;
                });
            }
        }
    }
}

/// A replay that requests wait for; they fail when it ends without an answer.
struct Replay {
    inner: Arc<Inner>,
    wanted: Wanted,
    /// Whether those who waited have been taken: who waits now, waits for another replay.
    taken: AtomicBool,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if !self.taken.load(Ordering::Acquire) {
            for reply in self.take() {
                reply.fail(Error::Stopping);
            }
        }
    }
}

impl Replay {
    async fn serve(&self) {
        let Ok(_permit) = self.inner.replays.places.acquire().await else { return };
        if !self.is_wanted() {
            return;
        }
        let state = tokio::select! {
            state = self.run() => state,
            // Others want the place.
            () = self.abandoned() => return,
        };
        self.inner.sources.metrics.replayed();
        if !self.wanted.result
            && let Ok(state) = &state
        {
            let bytes = state.fork.memory_bytes();
            free(lock(&self.inner.replays.found).insert(self.wanted, state.clone(), bytes, Instant::now()));
        }
        for reply in self.take() {
            reply.found(state.clone());
        }
    }

    async fn run(&self) -> Result<Arc<State>, Error> {
        let sources = &self.inner.sources;
        let Wanted { process, goal, result } = self.wanted;
        let reach = if result { Reach::Results(goal) } else { Reach::State(goal) };
        let mut slot = Some(sources.start(process, reach, false).await?);
        sources.advance(&mut slot, goal, None, &mut |_| {}).await?;
        self.inner.fork(&mut slot).await.map(Arc::new)
    }

    /// Waits until nobody waits for it any more.
    async fn abandoned(&self) {
        while self.is_wanted() {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Whether anybody still waits. If not, the next request starts a replay of its own.
    fn is_wanted(&self) -> bool {
        let mut replaying = lock(&self.inner.replays.waiting);
        let wanted = replaying.get(&self.wanted).is_some_and(|waiting| waiting.iter().any(|reply| !reply.is_closed()));
        if !wanted {
            self.taken.store(true, Ordering::Release);
            replaying.remove(&self.wanted);
        }
        wanted
    }

    /// Takes all who wait; who comes later needs another replay.
    fn take(&self) -> Vec<Reply> {
        let mut replaying = lock(&self.inner.replays.waiting);
        self.taken.store(true, Ordering::Release);
        replaying.remove(&self.wanted).unwrap_or_default()
    }
}
