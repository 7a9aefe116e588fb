//! Threads that evaluate Wasm, with the large native stacks that guests need, fed in order of arrival.
//!
//! ```text
//!   queue ──► threads, as many as configured      jobs of ordinary length
//!                │ a job runs longer than LONG_AFTER
//!                ▼
//!             threads of their own, lower priority, as many at a time as configured
//! ```
//!
//! Jobs are meant as turns of bounded length, so arrival order is also fairness between processes. A message can make a
//! turn long, though, and so can a gateway that does not answer. Such a job keeps its thread, which another one replaces in
//! front of the queue. Long jobs share a number of places among themselves: at every tick of the guest's clock
//! ([`Pacer`]) the one that has run least goes first, so that an honest minute does not wait behind endless loops. Of more than
//! [`MAX_LONG`], the one that has run longest is ended, and so is the largest one when memory runs short.
//!
//! One that waits for data from outside is put aside with the long jobs at once, and holds no place while it waits. As long as it has not run
//! long itself it is counted with those that wait: of more than [`MAX_WAITING`], the one that has waited longest is ended. So however
//! many wait for a gateway, none that computes is ended for it.
//!
//! A job that panics takes nothing but itself with it.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::machine::{Pacer, Progress, Stopped, set_pacer};
use crate::memory_pressure::is_short_of_memory;

/// Native stack of a thread; address space only, pages are used as they are touched.
pub const STACK_BYTES: usize = 64 << 20;
/// After this time a job is long: its thread is replaced, and it competes with other long ones only.
const LONG_AFTER: Duration = Duration::from_millis(100);
/// How often the age of running jobs is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(25);
/// How often the computer's memory is looked at while there are long jobs.
const MEMORY_EVERY: Duration = Duration::from_millis(100);
/// How much longer than a waiting one a long job must have run before it makes room.
const SLICE: Duration = Duration::from_millis(500);
/// Most jobs that run long; each has a thread and a memory.
pub const MAX_LONG: usize = 64;
/// Most jobs that are put aside because they wait for something outside, or did and have not run long; each has a thread and a memory.
pub const MAX_WAITING: usize = 64;
/// Most threads of jobs that are put aside: those that have been told to end may take a while, for instance in a gateway's answer.
const MAX_ASIDE_THREADS: usize = 2 * (MAX_LONG + MAX_WAITING);
/// What is added to the nice value of a thread with a long job: it gets about a third of what others get.
const LONG_NICE: i32 = 5;
/// What is added to the nice value of threads that yield to others: they get about a ninth of what those get, where there is not enough
/// for all.
const YIELDING_NICE: i32 = 10;
/// How long an evaluation that was ended for want of memory may take to let go of its own before another one is ended.
const FREED_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for a place before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce() + Send>;

/// The job did not end in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// As many jobs wait as may.
    #[error("the queue is full")]
    Full,
    /// The pool has been closed.
    #[error("the evaluation threads have stopped")]
    Closed,
    /// The job panicked; a bug.
    #[error("the evaluation panicked")]
    Panicked,
}

/// A pool of threads; they end when it is closed or dropped.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    limit: usize,
}

struct Shared {
    name: String,
    /// Long jobs that may run at the same time.
    places: usize,
    /// After this time a job is long.
    long_after: Duration,
    /// The nice value of whoever made the pool. A new thread inherits that of the one that starts it, which may be lowered already.
    usual_nice: i32,
    /// What is added to it for its threads.
    nice: i32,
    /// Whether the computer runs out of memory.
    is_short: Box<dyn Fn() -> bool + Send + Sync>,
    state: Mutex<State>,
    /// For threads that wait for a job.
    queued: Condvar,
    /// For long jobs that wait for a place.
    turn: Condvar,
    /// For the watch while nothing runs.
    started: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    open: bool,
    running: HashMap<u64, Running>,
    next: u64,
    /// The watch waits until something runs.
    resting: bool,
}

/// A job on a thread.
struct Running {
    since: Instant,
    /// Since when it waits for something outside.
    away: Option<Instant>,
    /// Time that it has waited for things outside before.
    outside: Duration,
    long: Option<Long>,
}

/// A job that takes long.
#[derive(Default)]
struct Long {
    /// Whether it has one of the places.
    placed: bool,
    /// Time it has waited for one.
    paused: Duration,
    /// Since when it waits for one.
    waits: Option<Instant>,
    memory_bytes: u64,
    stopped: Option<Stopped>,
    /// Whether its thread's priority has been lowered.
    lowered: bool,
}

impl Running {
    fn starting() -> Self {
        Self { since: Instant::now(), away: None, outside: Duration::ZERO, long: None }
    }

    /// Time for which it has had a thread and its memory, without pauses that others were the reason for.
    fn held(&self) -> Duration {
        let (paused, waits) = self.long.as_ref().map_or((Duration::ZERO, None), |long| (long.paused, long.waits));
        waits.unwrap_or_else(Instant::now).saturating_duration_since(self.since).saturating_sub(paused)
    }

    /// Time that it has waited for things outside.
    fn waited(&self) -> Duration {
        self.outside + self.away.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Time that it has run.
    fn ran(&self) -> Duration {
        self.held().saturating_sub(self.waited())
    }

    /// Why it is put aside: it has run long, or it waits for something outside.
    fn aside(&self, long_after: Duration) -> Aside {
        if self.away.is_none() && self.ran() >= long_after { Aside::Long } else { Aside::Waiting }
    }
}

/// Why a job is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aside {
    Long,
    Waiting,
}

impl Aside {
    const BOTH: [Self; 2] = [Self::Long, Self::Waiting];

    /// Most jobs.
    fn limit(self) -> usize {
        match self {
            Self::Long => MAX_LONG,
            Self::Waiting => MAX_WAITING,
        }
    }
}

impl State {
    fn long(&self) -> impl Iterator<Item = (u64, &Running, &Long)> {
        self.running.iter().filter_map(|(id, job)| Some((*id, job, job.long.as_ref()?)))
    }

    fn placed(&self) -> usize {
        self.long().filter(|(_, _, long)| long.placed).count()
    }

    /// The waiting long job that has run least.
    fn first_waiting(&self) -> Option<(u64, Duration)> {
        let waiting = self.long().filter(|(_, job, long)| !long.placed && long.stopped.is_none() && job.away.is_none());
        waiting.map(|(id, job, _)| (id, job.ran())).min_by_key(|(id, ran)| (*ran, *id))
    }

    /// Ends the largest long job, and says which it was.
    fn stop_largest(&mut self) -> Option<u64> {
        let going = self.long().filter(|(_, _, long)| long.stopped.is_none());
        let victim = going.max_by_key(|(id, _, long)| (long.memory_bytes, *id)).map(|(id, _, _)| id)?;
        self.running.get_mut(&victim)?.long.as_mut()?.stopped = Some(Stopped::Memory);
        Some(victim)
    }

    /// Ends jobs of which there are too many; says whether there were any.
    fn stop_crowds(&mut self, long_after: Duration) -> bool {
        let mut stopped = false;
        for aside in Aside::BOTH {
            let limit = aside.limit();
            let of_kind = self.long().filter(|(_, job, long)| long.stopped.is_none() && job.aside(long_after) == aside);
            let mut going: Vec<(Duration, u64)> = match aside {
                Aside::Long => of_kind.map(|(id, job, _)| (job.ran(), id)).collect(),
                Aside::Waiting => of_kind.map(|(id, job, _)| (job.waited(), id)).collect(),
            };
            going.sort_unstable();
            for (_, id) in going.into_iter().skip(limit) {
                if let Some(long) = self.running.get_mut(&id).and_then(|job| job.long.as_mut()) {
                    long.stopped = Some(Stopped::Crowded { limit });
                    stopped = true;
                }
            }
        }
        stopped
    }
}

impl Shared {
    /// Lowers the priority of this thread, by `nice` below that of whoever made the pool. On Linux it is the thread's own; without it
    /// the others only share evenly.
    fn lower(&self, nice: i32) {
        if nice > 0
            && let Err(error) = rustix::process::setpriority_process(None, self.usual_nice.saturating_add(nice))
        {
            tracing::debug!(%error, "an evaluation thread keeps its priority");
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts `threads` threads; at most `limit` jobs wait for one.
    pub fn new(name: &str, threads: usize, limit: usize) -> std::io::Result<Self> {
        Self::with(name, threads, limit, 0, LONG_AFTER, is_short_of_memory)
    }

    /// The same with threads that others get processors before.
    pub fn yielding(name: &str, threads: usize, limit: usize) -> std::io::Result<Self> {
        Self::with(name, threads, limit, YIELDING_NICE, LONG_AFTER, is_short_of_memory)
    }

    fn with(
        name: &str,
        threads: usize,
        limit: usize,
        nice: i32,
        long_after: Duration,
        is_short: impl Fn() -> bool + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let places = threads.max(1);
        let state = State { jobs: VecDeque::new(), open: true, running: HashMap::new(), next: 0, resting: false };
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            places,
            long_after,
            usual_nice: rustix::process::getpriority_process(None).unwrap_or_default(),
            nice,
            is_short: Box::new(is_short),
            state: Mutex::new(state),
            queued: Condvar::new(),
            turn: Condvar::new(),
            started: Condvar::new(),
        });
        // What has been started ends when this is dropped, also on an error below.
        let pool = Self { shared, limit };
        for _ in 0..places {
            pool.shared.start()?;
        }
        let shared = pool.shared.clone();
        std::thread::Builder::new().name(format!("{name}-watch")).spawn(move || shared.watch())?;
        Ok(pool)
    }

    /// Runs `job` on a thread of the pool. If the caller goes away while it waits for one, it is not run at all.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever asked may have gone away, before or meanwhile.
            if !sender.is_closed() {
                let _ = sender.send(job());
            }
        });
        {
            let mut state = self.shared.lock();
            if !state.open {
                return Err(PoolError::Closed);
            }
            if state.jobs.len() >= self.limit {
                return Err(PoolError::Full);
            }
            state.jobs.push_back(job);
        }
        self.shared.queued.notify_one();
        receiver.await.map_err(|_| if self.shared.lock().open { PoolError::Panicked } else { PoolError::Closed })
    }

    /// Jobs that run longer than jobs should.
    pub fn long(&self) -> usize {
        self.shared.lock().long().count()
    }

    /// Waits until no job runs any more, at most this long.
    pub async fn rest(&self, limit: Duration) {
        let started = Instant::now();
        while !self.shared.lock().running.is_empty() && started.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Jobs that wait for a thread.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }

    /// Ends the threads after the jobs they are running; waiting jobs are dropped, and long ones end at their next tick.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.open = false;
        state.jobs.clear();
        drop(state);
        self.shared.queued.notify_all();
        self.shared.turn.notify_all();
        self.shared.started.notify_all();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread.
    fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let shared = self.clone();
        std::thread::Builder::new().name(self.name.clone()).stack_size(STACK_BYTES).spawn(move || shared.work())?;
        Ok(())
    }

    fn work(self: Arc<Self>) {
        self.lower(self.nice);
        loop {
            let (id, job) = {
                let mut state = self.lock();
                let job = loop {
                    if let Some(job) = state.jobs.pop_front() {
                        break job;
                    }
                    if !state.open {
                        return;
                    }
                    state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
                };
                let id = state.next;
                state.next += 1;
                state.running.insert(id, Running::starting());
                if state.resting {
                    self.started.notify_one();
                }
                (id, job)
            };
            set_pacer(Some(Rc::new(Place { shared: self.clone(), id })));
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("an evaluation panicked");
            }
            set_pacer(None);
            let long = self.lock().running.remove(&id).is_some_and(|job| job.long.is_some());
            if long {
                self.turn.notify_all();
                // Another thread has taken this one's place.
                return;
            }
        }
    }

    /// Finds the long jobs among those that run.
    fn watch(self: Arc<Self>) {
        let mut memory_seen = Instant::now();
        // The last job that was ended for want of memory.
        let mut ended: Option<(u64, Instant)> = None;
        let mut state = self.lock();
        loop {
            if !state.open {
                return;
            }
            if state.running.is_empty() {
                state.resting = true;
                state = self.started.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.resting = false;
                continue;
            }
            state = self.started.wait_timeout(state, WATCH_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            let old = |(id, job): (&u64, &Running)| {
                (job.long.is_none() && job.since.elapsed() >= self.long_after).then_some(*id)
            };
            for id in state.running.iter().filter_map(old).collect::<Vec<_>>() {
                self.set_aside(&mut state, id);
            }
            if state.stop_crowds(self.long_after) {
                self.turn.notify_all();
            }
            // One at a time: what the last one held may be all that is wanted.
            ended = ended.filter(|(id, since)| state.running.contains_key(id) && since.elapsed() < FREED_WITHIN);
            if ended.is_none() && state.long().next().is_some() && memory_seen.elapsed() >= MEMORY_EVERY {
                memory_seen = Instant::now();
                drop(state);
                let short = (self.is_short)();
                state = self.lock();
                if short {
                    tracing::warn!(pool = self.name, "memory runs short; ending the largest long evaluation");
                    let victim = state.stop_largest();
                    ended = victim.map(|id| (id, Instant::now()));
                    self.turn.notify_all();
                }
            }
        }
    }

    /// Makes a job a long one, and starts the thread that takes its place.
    fn set_aside(self: &Arc<Self>, state: &mut State, id: u64) {
        if state.long().count() >= MAX_ASIDE_THREADS {
            return;
        }
        if let Err(error) = self.start() {
            tracing::warn!(%error, pool = self.name, "a long evaluation keeps a thread from the others");
            return;
        }
        let free = state.placed() < self.places;
        if let Some(job) = state.running.get_mut(&id) {
            job.long = Some(Long { placed: free && job.away.is_none(), ..Long::default() });
        }
        if state.stop_crowds(self.long_after) {
            self.turn.notify_all();
        }
    }
}

/// The job of a thread, as its guest sees it.
struct Place {
    shared: Arc<Shared>,
    id: u64,
}

impl Pacer for Place {
    fn pace(&self, progress: &Progress) -> Result<Duration, Stopped> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let mut pause = Duration::ZERO;
        loop {
            if !state.open {
                return Err(Stopped::Closing);
            }
            if let Some(job) = state.running.get_mut(&self.id)
                && let Some(since) = job.away.take()
            {
                job.outside += since.elapsed();
            }
            let (placed, first) = (state.placed(), state.first_waiting());
            let Some(job) = state.running.get_mut(&self.id) else { return Ok(pause) };
            let ran = job.ran();
            let Some(long) = &mut job.long else { return Ok(pause) };
            if let Some(stopped) = long.stopped {
                return Err(stopped);
            }
            long.memory_bytes = progress.memory_bytes;
            if !std::mem::replace(&mut long.lowered, true) {
                shared.lower(shared.nice + LONG_NICE);
            }
            if long.placed {
                if first.is_none_or(|(_, waiting)| waiting + SLICE > ran) {
                    return Ok(pause);
                }
                long.placed = false;
                shared.turn.notify_all();
                continue;
            }
            if placed < shared.places && first.is_some_and(|(id, _)| id == self.id) {
                long.placed = true;
                // The next one may find a place as well.
                shared.turn.notify_all();
                return Ok(pause);
            }
            let began = Instant::now();
            long.waits = Some(began);
            state = shared.turn.wait_timeout(state, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
            let waited = began.elapsed();
            pause += waited;
            if let Some(long) = state.running.get_mut(&self.id).and_then(|job| job.long.as_mut()) {
                long.waits = None;
                long.paused += waited;
            }
        }
    }

    fn leave(&self, progress: &Progress) {
        let shared = &self.shared;
        let mut state = shared.lock();
        let Some(job) = state.running.get_mut(&self.id) else { return };
        job.away = Some(Instant::now());
        if job.long.is_none() {
            shared.set_aside(&mut state, self.id);
        }
        if let Some(long) = state.running.get_mut(&self.id).and_then(|job| job.long.as_mut()) {
            long.memory_bytes = progress.memory_bytes;
            long.placed = false;
        }
        drop(state);
        shared.turn.notify_all();
    }

    fn stopped(&self) -> Option<Stopped> {
        let state = self.shared.lock();
        if !state.open {
            return Some(Stopped::Closing);
        }
        state.running.get(&self.id)?.long.as_ref()?.stopped
    }
}

#[cfg(test)]
mod tests;
