//! What stays in memory: idle processes rest, those used longest ago go to a checkpoint when there is too much, and when the
//! service stops all go.
//!
//! Who owns a live memory is decided by its lock alone: whoever serves the process holds it, and so does who puts it to rest
//! or to a checkpoint, for milliseconds, in which requests wait.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use holon_protocol::ProcessId;

use super::{Actor, Actors, Inner, State, lock};
use crate::runner::Runner;

/// Pause between looks for what is no longer used.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How long a process is not used before it lets go of everything but its memory.
const REST_AFTER: Duration = Duration::from_secs(2);
/// Processes put to rest in one look.
const REST_AT_ONCE: usize = 1024;
/// Processes tried for one that can be evicted: those that are being evaluated stay.
const EVICT_TRIES: usize = 64;
/// Checkpoints written at the same time when the service stops.
const STOP_SAVES: usize = 2;

/// Starts what looks after the processes in memory.
pub(super) fn start(inner: &Arc<Inner>) {
    inner.tasks.spawn("cu-sweep", sweep(Arc::downgrade(inner), inner.tasks.stopping()));
    inner.tasks.spawn("cu-evict", evict(Arc::downgrade(inner), inner.tasks.stopping()));
}

async fn sweep(inner: Weak<Inner>, stopping: tokio_util::sync::CancellationToken) {
    while tokio::time::timeout(SWEEP_EVERY, stopping.cancelled()).await.is_err() {
        let Some(inner) = inner.upgrade() else { return };
        inner.forget_states();
        let idle = lock(&inner.residents).idle(Instant::now(), REST_AFTER, REST_AT_ONCE);
        for process in idle {
            if stopping.is_cancelled() {
                return;
            }
            inner.rest(process).await;
        }
    }
}

async fn evict(inner: Weak<Inner>, stopping: tokio_util::sync::CancellationToken) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        if stopping.run_until_cancelled(strong.crowded.notified()).await.is_none() {
            return;
        }
        if stopping.run_until_cancelled(Box::pin(strong.evict())).await.is_none() {
            return;
        }
    }
}

impl Actors {
    /// Writes checkpoints of what has changed since the last, those with the most evaluation first, for at most `limit`. For
    /// when the service stops.
    pub async fn checkpoint_all(&self, limit: Duration) {
        let actors: Vec<Arc<Actor>> = lock(&self.0.actors).values().cloned().collect();
        let changed = |actor: &Arc<Actor>| {
            let live = actor.live.try_lock().ok()?;
            let since = live.as_ref()?.since();
            (since.messages > 0).then_some((since.evaluation, actor.clone()))
        };
        let mut changed: Vec<_> = actors.iter().filter_map(changed).collect();
        changed.sort_unstable_by_key(|(evaluation, _)| std::cmp::Reverse(*evaluation));
        let total = changed.len();
        let saves = stream::iter(changed).map(|(_, actor)| async move {
            let mut live = actor.live.lock().await;
            self.0.save(&mut live).await;
        });
        let mut saves = saves.buffer_unordered(STOP_SAVES);
        let mut saved = 0;
        let all = async {
            while saves.next().await.is_some() {
                saved += 1;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(saved, total, "not every process got a checkpoint in time; the rest will be replayed");
        }
    }
}

impl Inner {
    /// The newest state of a process, if it was known to be the newest not longer than `max_age` ago.
    pub(super) fn fresh_state(&self, process: ProcessId, max_age: Duration) -> Option<Arc<State>> {
        let actors = lock(&self.actors);
        let state = lock(&actors.get(&process)?.state);
        let (state, known) = state.as_ref()?;
        (known.elapsed() <= max_age).then(|| state.clone())
    }

    /// Takes note of what a process takes, after it was used.
    pub(super) fn settle(&self, process: ProcessId, live: Option<&Runner>) {
        let mut residents = lock(&self.residents);
        match live {
            Some(runner) => residents.used(process, runner.resident_bytes(), Instant::now()),
            None => residents.remove(process),
        }
        self.sources.metrics.live(residents.len(), residents.bytes());
        if residents.bytes() > self.options.live_memory_bytes {
            self.crowded.notify_one();
        }
    }

    /// Forgets a process that holds nothing and has nothing to do.
    pub(super) fn forget(&self, process: ProcessId) {
        let mut actors = lock(&self.actors);
        let Some(actor) = actors.get(&process) else { return };
        // Whoever else holds it comes here, too. New ones come from the map only, whose lock is held.
        let idle = Arc::strong_count(actor) == 1
            && actor.live.try_lock().is_ok_and(|live| live.is_none())
            && lock(&actor.state).is_none();
        if idle {
            actors.remove(&process);
        }
    }

    /// Drops states that were kept for dry runs too long.
    fn forget_states(&self) {
        let ttl = self.options.dry_run_state_ttl;
        loop {
            let process = {
                let mut states = lock(&self.states);
                match states.front() {
                    Some((kept, process)) if kept.elapsed() > ttl => {
                        let process = *process;
                        states.pop_front();
                        process
                    }
                    _ => return,
                }
            };
            let Some(actor) = lock(&self.actors).get(&process).cloned() else { continue };
            {
                let mut state = lock(&actor.state);
                match &*state {
                    Some((_, known)) if known.elapsed() > ttl => *state = None,
                    // It has been confirmed since.
                    Some((_, known)) => lock(&self.states).push_back((*known, process)),
                    None => {}
                }
            }
            drop(actor);
            self.forget(process);
        }
    }

    /// Lets a process rest, unless it is being used.
    async fn rest(&self, process: ProcessId) {
        let Some(actor) = lock(&self.actors).get(&process).cloned() else { return };
        if let Ok(mut live) = actor.live.try_lock()
            && let Some(mut runner) = live.take()
        {
            let job = move || {
                let rested = runner.rest();
                (runner, rested)
            };
            match self.sources.pool.run(job).await {
                Ok((runner, rested)) => {
                    if let Err(error) = rested {
                        tracing::warn!(%process, %error, "cannot rest");
                    }
                    lock(&self.residents).rests(process, runner.resident_bytes());
                    *live = (!runner.is_lost()).then_some(runner);
                }
                Err(error) => tracing::warn!(%process, %error, "memory is lost"),
            }
            if live.is_none() {
                lock(&self.residents).remove(process);
            }
        }
        drop(actor);
        self.forget(process);
    }

    /// Puts processes to checkpoints and drops their memory, those used longest ago first, until the rest fits.
    async fn evict(&self) {
        loop {
            let candidates = {
                let residents = lock(&self.residents);
                self.sources.metrics.live(residents.len(), residents.bytes());
                if residents.bytes() <= self.options.live_memory_bytes {
                    return;
                }
                residents.oldest(EVICT_TRIES)
            };
            let mut evicted = false;
            for process in candidates {
                if self.evict_one(process).await {
                    evicted = true;
                    break;
                }
            }
            if !evicted {
                // All are being evaluated; when they are done, they ask again.
                return;
            }
        }
    }

    async fn evict_one(&self, process: ProcessId) -> bool {
        let Some(actor) = lock(&self.actors).get(&process).cloned() else {
            lock(&self.residents).remove(process);
            return true;
        };
        let Ok(mut live) = actor.live.try_lock() else { return false };
        self.save(&mut live).await;
        *live = None;
        *lock(&actor.state) = None;
        lock(&self.residents).remove(process);
        drop(live);
        drop(actor);
        self.forget(process);
        true
    }

    /// Writes a checkpoint of what has changed since the last.
    async fn save(&self, live: &mut Option<Runner>) {
        let Some(keeping) = &self.sources.keeping else { return };
        if live.as_ref().is_none_or(|runner| runner.since().messages == 0 && !runner.lineage().is_busy()) {
            return;
        }
        let Some(mut runner) = live.take() else { return };
        let lineage = runner.lineage().clone();
        // One may be under way; it does not have what came after it.
        lineage.settled().await;
        let job = move || {
            let snapshot = (runner.since().messages > 0).then(|| runner.snapshot());
            (runner, snapshot)
        };
        let Ok((runner, snapshot)) = self.sources.pool.run(job).await else { return };
        let process = runner.process.id;
        *live = (!runner.is_lost()).then_some(runner);
        match snapshot {
            Some(Ok(snapshot)) => {
                keeping.checkpoints.save(&lineage, snapshot).await;
            }
            Some(Err(error)) => tracing::warn!(%process, %error, "no snapshot for a checkpoint"),
            None => {}
        }
    }
}
