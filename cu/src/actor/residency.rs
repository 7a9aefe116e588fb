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

/// What part of the memory that may be live is taken, at most, by what stays because no checkpoint of it can be written.
const UNSAVED_SHARE: u64 = 8;

/// What became of a process that should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eviction {
    /// It is gone.
    Done,
    /// No checkpoint of it could be written.
    Unsaved,
    /// It is being evaluated.
    InUse,
}

/// The state of a process that dry runs use.
#[derive(Default)]
pub(super) struct Kept {
    /// The state, and when it was known to be the newest.
    pub state: Option<(Arc<State>, Instant)>,
    /// Whether the process is in the queue of those whose state is dropped when it is too old.
    queued: bool,
}

impl Kept {
    /// Keeps a state that was the newest at `known`. Whether the process has to be put into the queue.
    pub fn keep(&mut self, state: Arc<State>, known: Instant) -> bool {
        self.state = Some((state, known));
        !std::mem::replace(&mut self.queued, true)
    }

    /// Drops a state older than `ttl`. If it is younger, the process has to go into the queue again, with the time given.
    fn drop_older(&mut self, ttl: Duration) -> Option<Instant> {
        match &self.state {
            Some((_, known)) if known.elapsed() <= ttl => Some(*known),
            _ => {
                *self = Self::default();
                None
            }
        }
    }
}

/// Starts what looks after the processes in memory.
pub(super) fn start(inner: &Arc<Inner>) {
    inner.tasks.spawn("cu-sweep", sweep(Arc::downgrade(inner), inner.tasks.stopping()));
    inner.tasks.spawn("cu-evict", evict(Arc::downgrade(inner), inner.tasks.stopping()));
}

async fn sweep(inner: Weak<Inner>, stopping: tokio_util::sync::CancellationToken) {
    while tokio::time::timeout(SWEEP_EVERY, stopping.cancelled()).await.is_err() {
        let Some(inner) = inner.upgrade() else { return };
        inner.forget_states();
        inner.replays.expire();
        inner.ask_for_room();
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
            let (runner, evaluation) = (live.as_ref()?, live.as_ref()?.since().evaluation);
            let changed = runner.since().messages > 0 || runner.lineage().has_failed();
            changed.then_some((evaluation, actor.clone()))
        };
        let mut changed: Vec<_> = actors.iter().filter_map(changed).collect();
        changed.sort_unstable_by_key(|(evaluation, _)| std::cmp::Reverse(*evaluation));
        let total = changed.len();
        let saves = stream::iter(changed).map(|(_, actor)| async move {
            let mut live = actor.live.lock().await;
            self.0.save(&mut live).await
        });
        let mut saves = saves.buffer_unordered(STOP_SAVES);
        let mut saved = 0;
        let all = async {
            while let Some(written) = saves.next().await {
                saved += usize::from(written);
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
        let (state, known) = state.state.as_ref()?;
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
        drop(residents);
        self.ask_for_room();
    }

    /// Has processes evicted if they take too much. Those that are in use at that moment stay, whoever used them last too: so this
    /// is asked from time to time, not only after each use.
    fn ask_for_room(&self) {
        if lock(&self.residents).bytes() > self.options.live_memory_bytes {
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
            && lock(&actor.state).state.is_none();
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
            if let Some(known) = lock(&actor.state).drop_older(ttl) {
                // It has been confirmed since.
                lock(&self.states).push_back((known, process));
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
    ///
    /// A memory that cannot be written to a checkpoint stays, until what stays for want of one takes an eighth more than there should be. Then
    /// it goes without: its log is durable, and replaying that gives it again.
    async fn evict(&self) {
        loop {
            let limit = self.options.live_memory_bytes;
            let (candidates, bytes) = {
                let residents = lock(&self.residents);
                self.sources.metrics.live(residents.len(), residents.bytes());
                (residents.oldest(EVICT_TRIES), residents.bytes())
            };
            if bytes <= limit {
                return;
            }
            let mut evicted = false;
            let mut unsaved = None;
            for process in candidates {
                match self.evict_one(process, false).await {
                    Eviction::Done => {
                        evicted = true;
                        break;
                    }
                    Eviction::Unsaved => unsaved = unsaved.or(Some(process)),
                    Eviction::InUse => {}
                }
            }
            if !evicted
                && bytes > limit.saturating_add(limit / UNSAVED_SHARE)
                && let Some(process) = unsaved
            {
                tracing::error!(
                    %process,
                    bytes,
                    limit,
                    "memory of live processes is dropped without a checkpoint, which cannot be written; it will be replayed from the log"
                );
                evicted = self.evict_one(process, true).await == Eviction::Done;
            }
            if !evicted {
                // All are being evaluated, or cannot be written; it is tried again before long.
                return;
            }
        }
    }

    async fn evict_one(&self, process: ProcessId, unsaved: bool) -> Eviction {
        let Some(actor) = lock(&self.actors).get(&process).cloned() else {
            lock(&self.residents).remove(process);
            return Eviction::Done;
        };
        let Ok(mut live) = actor.live.try_lock() else { return Eviction::InUse };
        if !unsaved && !self.save(&mut live).await && live.is_some() {
            return Eviction::Unsaved;
        }
        *live = None;
        lock(&actor.state).state = None;
        lock(&self.residents).remove(process);
        drop(live);
        drop(actor);
        self.forget(process);
        Eviction::Done
    }

    /// Writes a checkpoint of what has changed since the last. `false` when it should have been written and was not.
    async fn save(&self, live: &mut Option<Runner>) -> bool {
        let Some(keeping) = &self.sources.keeping else { return true };
        let Some(runner) = live.as_ref() else { return true };
        let lineage = runner.lineage().clone();
        let evaluated = runner.since().messages > 0;
        if !evaluated && !lineage.is_busy() && !lineage.has_failed() {
            return true;
        }
        // One may be under way; it does not have what came after it.
        let Ok(turn) = keeping.checkpoints.turn(&lineage).await else { return false };
        if !evaluated && !lineage.has_failed() {
            return true;
        }
        if lineage.failed_lately() {
            return false;
        }
        let Some(mut runner) = live.take() else { return true };
        let job = move || {
            let snapshot = runner.snapshot();
            (runner, snapshot)
        };
        let Ok((runner, snapshot)) = self.sources.pool.run(job).await else { return false };
        let process = runner.process.id;
        *live = (!runner.is_lost()).then_some(runner);
        match snapshot {
            Ok(snapshot) => turn.save(snapshot).await,
            Err(error) => {
                tracing::warn!(%process, %error, "no snapshot for a checkpoint");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::OnceCell;

    use super::*;
    use crate::machine::{EVALUATION_STACK_BYTES, Engine, EngineOptions};
    use crate::process::Process;

    const MODULE: &str = r#"(module (memory (export "memory") 1)
        (func (export "holon_alloc") (param i32) (result i32) i32.const 0)
        (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) i64.const 0))"#;

    fn state() -> Arc<State> {
        let fork = || {
            let engine = Engine::new(EngineOptions::default()).unwrap();
            let address = holon_protocol::Address::from_bytes([2; 32]);
            let owner = holon_protocol::wire::Owner { address, key: String::new() };
            let wasm = wat::parse_str(MODULE).unwrap();
            let process = Arc::new(Process::of_module(&engine, &wasm, ProcessId::from_bytes([1; 32]), owner));
            let fork = process.machine().unwrap().fork().unwrap();
            Arc::new(State { process, fork, position: None, link: None, history: [0; 32], root: OnceCell::new() })
        };
        let thread = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES).spawn(fork);
        thread.unwrap().join().unwrap()
    }

    #[test]
    fn a_process_is_queued_once_however_often_its_state_changes() {
        let (mut kept, state, now) = (Kept::default(), state(), Instant::now());
        assert!(kept.keep(state.clone(), now));
        for _ in 0..100 {
            assert!(!kept.keep(state.clone(), now), "it is in the queue already");
        }
        // It was evicted and came back: it is still in the queue.
        kept.state = None;
        assert!(!kept.keep(state.clone(), now));
        // Its turn comes: young, it goes to the end; old, it goes, and the next state is queued again.
        assert_eq!(kept.drop_older(Duration::from_secs(3600)), Some(now));
        assert!(kept.state.is_some());
        assert_eq!(kept.drop_older(Duration::ZERO), None);
        assert!(kept.state.is_none() && Arc::strong_count(&state) == 1);
        assert!(kept.keep(state, now));
    }
}
