//! One actor per process: requests wait in its mailbox, and one loop evaluates for all of them.
//!
//! The loop runs as a task while there are requests. It takes all that wait, advances the process to where the farthest of
//! them wants it, and answers each as soon as its point has been passed. Requests for one exact state (a dry run, a
//! memory image) are served when the process stands there; if it is past it already, by a replay of its own.
//!
//! Live memories are kept between requests and dropped, least recently used first, when they take too much together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use holon_protocol::{BlockHeight, ProcessId, Timestamp, wire};
use holon_unit::tasks::Tasks;
use tokio::sync::{Semaphore, oneshot};

use crate::advance::{Goal, Sources};
use crate::error::Error;
use crate::machine::Fork;
use crate::options::Options;
use crate::process::Process;
use crate::runner::Runner;
use crate::stream::Position;

/// Most requests that wait for one process.
const MAILBOX_LIMIT: usize = 10_000;
/// Most processes that are being evaluated at the same time; more wait their turn.
const ACTIVE_LIMIT: usize = 256;
/// Most replays for states that are past, over all processes.
const REPLAY_LIMIT: usize = 2;
/// Pause between looks for what is no longer used.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// A state that dry runs use.
pub struct State {
    /// The process.
    pub process: Arc<Process>,
    /// Its memory.
    pub fork: Fork,
    /// Last evaluated message; `None` when nothing has been evaluated.
    pub position: Option<Position>,
}

impl State {
    /// Time of the last message, or of the process.
    pub fn timestamp(&self) -> Timestamp {
        self.position.as_ref().map_or(self.process.origin.timestamp, |position| position.key.timestamp)
    }

    /// Height of the last message, or of the process.
    pub fn block_height(&self) -> BlockHeight {
        self.position.as_ref().map_or(self.process.origin.height, |position| position.block_height)
    }
}

/// A memory image.
pub struct Image {
    /// The linear memory.
    pub memory: Vec<u8>,
    /// Last evaluated message.
    pub position: Option<Position>,
}

enum Reply {
    Evaluated(oneshot::Sender<Result<(), Error>>),
    State(oneshot::Sender<Result<Arc<State>, Error>>),
    Image(oneshot::Sender<Result<Image, Error>>),
}

impl Reply {
    fn is_closed(&self) -> bool {
        match self {
            Self::Evaluated(reply) => reply.is_closed(),
            Self::State(reply) => reply.is_closed(),
            Self::Image(reply) => reply.is_closed(),
        }
    }

    fn fail(self, error: Error) {
        // Whoever asked may have gone away.
        match self {
            Self::Evaluated(reply) => drop(reply.send(Err(error))),
            Self::State(reply) => drop(reply.send(Err(error))),
            Self::Image(reply) => drop(reply.send(Err(error))),
        }
    }
}

struct Request {
    goal: Goal,
    entry: Option<Box<wire::Entry>>,
    reply: Reply,
}

#[derive(Default)]
struct Mailbox {
    waiting: Vec<Request>,
    running: bool,
}

/// A process.
struct Actor {
    process: ProcessId,
    mailbox: Mutex<Mailbox>,
    live: tokio::sync::Mutex<Option<Runner>>,
    /// The newest state for dry runs, and when it was known to be the newest.
    state: Mutex<Option<(Arc<State>, Instant)>>,
    memory_bytes: AtomicU64,
    /// Nonce of the last log entry that is done, plus one; 0 before any.
    progress: AtomicU64,
    used: Mutex<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All processes.
#[derive(Clone)]
pub struct Actors(Arc<Inner>);

struct Inner {
    sources: Arc<Sources>,
    options: Arc<Options>,
    tasks: Tasks,
    actors: Mutex<HashMap<ProcessId, Arc<Actor>>>,
    active: Semaphore,
    replays: Semaphore,
}

impl Actors {
    /// No process yet. Background work belongs to `tasks`.
    pub fn new(sources: Arc<Sources>, options: Arc<Options>, tasks: Tasks) -> Self {
        let inner = Arc::new(Inner {
            sources,
            options,
            tasks: tasks.clone(),
            actors: Mutex::default(),
            active: Semaphore::new(ACTIVE_LIMIT),
            replays: Semaphore::new(REPLAY_LIMIT),
        });
        tasks.spawn("cu-sweep", sweep(Arc::downgrade(&inner), tasks.clone()));
        Self(inner)
    }

    /// Waits until `process` has been evaluated to `goal`. `entry` is the log entry there, if the caller has it, and
    /// `nonce` its nonce.
    pub async fn evaluate(
        &self,
        process: ProcessId,
        goal: Goal,
        nonce: Option<u64>,
        entry: Option<wire::Entry>,
    ) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        let request = Request { goal, entry: entry.map(Box::new), reply: Reply::Evaluated(sender) };
        self.submit(process, request, nonce)?;
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// A state of `process` for dry runs at `goal`, at most `max_age` old if the goal is the present.
    pub async fn state(&self, process: ProcessId, goal: Goal, max_age: Duration) -> Result<Arc<State>, Error> {
        let actor = self.actor(process);
        if goal == Goal::Latest
            && let Some((state, known)) = &*lock(&actor.state)
            && known.elapsed() <= max_age
        {
            return Ok(state.clone());
        }
        let (sender, receiver) = oneshot::channel();
        self.submit(process, Request { goal, entry: None, reply: Reply::State(sender) }, None)?;
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// The memory of `process` at `goal`.
    pub async fn image(&self, process: ProcessId, goal: Goal) -> Result<Image, Error> {
        let (sender, receiver) = oneshot::channel();
        self.submit(process, Request { goal, entry: None, reply: Reply::Image(sender) }, None)?;
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// Evaluates `process` from its start to `goal` beside its live memory, which fills gaps of the result store.
    pub async fn replay(&self, process: ProcessId, goal: Goal) -> Result<(), Error> {
        self.0.replay(process, goal).await.map(drop)
    }

    fn actor(&self, process: ProcessId) -> Arc<Actor> {
        let mut actors = lock(&self.0.actors);
        let new = || {
            Arc::new(Actor {
                process,
                mailbox: Mutex::default(),
                live: tokio::sync::Mutex::new(None),
                state: Mutex::new(None),
                memory_bytes: AtomicU64::new(0),
                progress: AtomicU64::new(0),
                used: Mutex::new(Instant::now()),
            })
        };
        actors.entry(process).or_insert_with(new).clone()
    }

    fn submit(&self, process: ProcessId, request: Request, nonce: Option<u64>) -> Result<(), Error> {
        let actor = self.actor(process);
        *lock(&actor.used) = Instant::now();
        let mut mailbox = lock(&actor.mailbox);
        if mailbox.waiting.len() >= MAILBOX_LIMIT {
            return Err(Error::Mailbox { process, limit: MAILBOX_LIMIT });
        }
        let limit = self.0.options.hydration_limit;
        if limit > 0
            && mailbox.running
            && let Some(nonce) = nonce
        {
            let progress = actor.progress.load(Ordering::Relaxed);
            let remaining = nonce.saturating_sub(progress.saturating_sub(1));
            if progress > 1 && remaining > limit {
                return Err(Error::Hydrating { process, limit, remaining });
            }
        }
        mailbox.waiting.push(request);
        if !mailbox.running {
            mailbox.running = true;
            let (inner, actor) = (self.0.clone(), actor.clone());
            self.0.tasks.spawn("cu-process", async move { inner.serve(&actor).await });
        }
        Ok(())
    }
}

/// Lets a mailbox be served again, and fails what still waits, however its loop ends.
struct Serving<'a>(&'a Actor);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut mailbox = lock(&self.0.mailbox);
        mailbox.running = false;
        for request in mailbox.waiting.drain(..) {
            request.reply.fail(Error::Stopping);
        }
    }
}

impl Inner {
    async fn serve(self: Arc<Self>, actor: &Actor) {
        let serving = Serving(actor);
        let stopping = self.tasks.stopping();
        let work = async {
            let Ok(_permit) = self.active.acquire().await else { return false };
            let mut live = actor.live.lock().await;
            loop {
                let waiting = {
                    let mut mailbox = lock(&actor.mailbox);
                    if mailbox.waiting.is_empty() {
                        // Under the lock: what comes from here on starts a new loop.
                        mailbox.running = false;
                        break;
                    }
                    std::mem::take(&mut mailbox.waiting)
                };
                self.round(actor, &mut live, waiting).await;
                *lock(&actor.used) = Instant::now();
                actor.memory_bytes.store(live.as_ref().map_or(0, Runner::memory_bytes), Ordering::Relaxed);
            }
            drop(live);
            self.evict();
            true
        };
        // Nothing is lost when the work stops here: what is evaluated is stored, the rest is evaluated again.
        let finished = tokio::select! {
            finished = work => finished,
            () = stopping.cancelled() => false,
        };
        if finished {
            // The mailbox may belong to the next loop already.
            std::mem::forget(serving);
        }
    }

    /// Serves requests, and those that come meanwhile as far as they are satisfied on the way.
    async fn round(self: &Arc<Self>, actor: &Actor, live: &mut Option<Runner>, mut waiting: Vec<Request>) {
        waiting.retain(|request| !request.reply.is_closed());
        if waiting.is_empty() {
            return;
        }
        if live.as_ref().is_some_and(|runner| !runner.is_current()) {
            tracing::warn!(process = %actor.process, "the result store was replaced; evaluating from the start");
            *live = None;
        }
        if live.is_none() {
            *lock(&actor.state) = None;
            match self.sources.start(actor.process).await {
                Ok(runner) => *live = Some(runner),
                Err(error) => return waiting.into_iter().for_each(|request| request.reply.fail(error.clone())),
            }
        }
        while !waiting.is_empty() {
            let Some(runner) = live.as_ref() else { return fail(waiting, &Error::Stopping) };
            waiting = self.sort_out(actor, runner, waiting);
            // Exact states come first, the earliest of them; everything else can be passed.
            let exact = waiting.iter().filter(|request| !matches!(request.reply, Reply::Evaluated(_)));
            let exact = exact.map(|request| request.goal).min_by_key(order);
            let Some(goal) = exact.or_else(|| waiting.iter().map(|request| request.goal).max_by_key(order)) else {
                return;
            };
            let started = Instant::now();
            let known =
                waiting.iter_mut().find(|request| request.goal == goal).and_then(|request| request.entry.take());
            let mut pending = std::mem::take(&mut waiting);
            let mut arrived = Vec::new();
            let result = {
                let mut progress = |runner: &Runner| {
                    let link = runner.stream.link();
                    actor.progress.store(link.map_or(0, |link| link.nonce.0 + 1), Ordering::Relaxed);
                    answer_passed(&mut pending, runner);
                    arrived.append(&mut lock(&actor.mailbox).waiting);
                    answer_passed(&mut arrived, runner);
                };
                self.sources.advance(live, goal, known.map(|entry| *entry), &mut progress).await
            };
            match result {
                Ok(()) => self.answer_reached(actor, live, &mut pending, goal, started).await,
                Err(error) => fail(std::mem::take(&mut pending), &error),
            }
            waiting = pending;
            waiting.append(&mut arrived);
            if live.is_none() && !waiting.is_empty() {
                // The memory was lost; what has come meanwhile gets a new one.
                match self.sources.start(actor.process).await {
                    Ok(runner) => *live = Some(runner),
                    Err(error) => return fail(waiting, &error),
                }
            }
        }
    }

    /// Answers what needs no evaluation; requests for states that are past are replayed beside the stream.
    fn sort_out(self: &Arc<Self>, actor: &Actor, runner: &Runner, mut waiting: Vec<Request>) -> Vec<Request> {
        answer_passed(&mut waiting, runner);
        let last = runner.stream.last().map(|last| last.key.timestamp);
        let past = |request: &Request| {
            !matches!(request.reply, Reply::Evaluated(_)) && request.goal.end().is_some_and(|end| last > Some(end))
        };
        let (past, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(past);
        for request in past {
            let (inner, process) = (self.clone(), actor.process);
            self.tasks.spawn("cu-replay", async move {
                let stopping = inner.tasks.stopping();
                tokio::select! {
                    () = inner.serve_past(process, request) => {}
                    () = stopping.cancelled() => {}
                }
            });
        }
        waiting
    }

    async fn serve_past(&self, process: ProcessId, request: Request) {
        let Request { goal, reply, .. } = request;
        match self.replay(process, goal).await {
            Err(error) => reply.fail(error),
            Ok(runner) => {
                let mut slot = Some(runner);
                match reply {
                    Reply::Evaluated(reply) => drop(reply.send(Ok(()))),
                    Reply::State(reply) => drop(reply.send(self.fork(&mut slot).await.map(Arc::new))),
                    Reply::Image(reply) => drop(reply.send(self.copy(&mut slot).await)),
                }
            }
        }
    }

    async fn replay(&self, process: ProcessId, goal: Goal) -> Result<Runner, Error> {
        let _permit = self.replays.acquire().await.map_err(|_| Error::Stopping)?;
        let mut slot = Some(self.sources.start(process).await?);
        self.sources.advance(&mut slot, goal, None, &mut |_| {}).await?;
        slot.ok_or(Error::Stopping)
    }

    /// Answers what the runner, which has just got to `goal`, satisfies.
    async fn answer_reached(
        &self,
        actor: &Actor,
        live: &mut Option<Runner>,
        pending: &mut Vec<Request>,
        goal: Goal,
        started: Instant,
    ) {
        let (reached, rest) = std::mem::take(pending).into_iter().partition(|request: &Request| match &request.reply {
            Reply::Evaluated(_) => order(&request.goal) <= order(&goal),
            Reply::State(_) | Reply::Image(_) => request.goal == goal,
        });
        *pending = rest;
        for request in reached {
            match request.reply {
                Reply::Evaluated(reply) => drop(reply.send(Ok(()))),
                Reply::State(reply) if goal == Goal::Latest => {
                    drop(reply.send(self.latest_state(actor, live, started).await));
                }
                Reply::State(reply) => drop(reply.send(self.fork(live).await.map(Arc::new))),
                Reply::Image(reply) => drop(reply.send(self.copy(live).await)),
            }
        }
    }

    /// The newest state: the one there is, if nothing has been evaluated since.
    async fn latest_state(
        &self,
        actor: &Actor,
        live: &mut Option<Runner>,
        known: Instant,
    ) -> Result<Arc<State>, Error> {
        let position = live.as_ref().and_then(|runner| runner.stream.last().cloned());
        if let Some((state, confirmed)) = &mut *lock(&actor.state)
            && state.position == position
        {
            *confirmed = known.max(*confirmed);
            return Ok(state.clone());
        }
        let state = Arc::new(self.fork(live).await?);
        *lock(&actor.state) = Some((state.clone(), known));
        Ok(state)
    }

    async fn fork(&self, slot: &mut Option<Runner>) -> Result<State, Error> {
        let mut runner = slot.take().ok_or(Error::Stopping)?;
        let job = move || {
            let fork = runner.fork();
            (runner, fork)
        };
        let (runner, fork) = self.sources.pool.run(job).await.map_err(|error| Error::Host(error.to_string()))?;
        let state =
            fork.map(|fork| State { process: runner.process.clone(), fork, position: runner.stream.last().cloned() });
        *slot = Some(runner);
        state
    }

    async fn copy(&self, slot: &mut Option<Runner>) -> Result<Image, Error> {
        let runner = slot.take().ok_or(Error::Stopping)?;
        let job = move || {
            let copy = runner.copy_memory();
            (runner, copy)
        };
        let (runner, (memory, position)) =
            self.sources.pool.run(job).await.map_err(|error| Error::Host(error.to_string()))?;
        *slot = Some(runner);
        Ok(Image { memory, position })
    }

    /// Drops live memories, least recently used first, until the rest fits.
    fn evict(&self) {
        let mut actors: Vec<Arc<Actor>> = lock(&self.actors).values().cloned().collect();
        let bytes = |actor: &Arc<Actor>| actor.memory_bytes.load(Ordering::Relaxed);
        let mut total: u64 = actors.iter().map(bytes).sum();
        actors.retain(|actor| bytes(actor) > 0);
        let mut live = actors.len();
        if total > self.options.live_memory_bytes {
            actors.sort_by_key(|actor| *lock(&actor.used));
            for actor in &actors {
                if total <= self.options.live_memory_bytes {
                    break;
                }
                // One that is being evaluated stays.
                let Ok(mut memory) = actor.live.try_lock() else { continue };
                *memory = None;
                *lock(&actor.state) = None;
                total -= actor.memory_bytes.swap(0, Ordering::Relaxed);
                live -= 1;
                tracing::debug!(process = %actor.process, "memory dropped; a replay will rebuild it");
            }
        }
        self.sources.metrics.live(live, total);
    }
}

/// A goal that includes all below it; the present is farthest.
fn order(goal: &Goal) -> u64 {
    goal.end().map_or(u64::MAX, |end| end.0)
}

fn fail(requests: Vec<Request>, error: &Error) {
    for request in requests {
        request.reply.fail(error.clone());
    }
}

/// Answers those who only want evaluation to a point that has been passed.
fn answer_passed(requests: &mut Vec<Request>, runner: &Runner) {
    let Some(link) = runner.stream.link() else { return };
    let passed = |request: &mut Request| {
        matches!(request.reply, Reply::Evaluated(_)) && request.goal.end().is_some_and(|end| end <= link.timestamp)
    };
    for request in requests.extract_if(.., passed) {
        if let Reply::Evaluated(reply) = request.reply {
            // Whoever asked may have gone away.
            let _ = reply.send(Ok(()));
        }
    }
}

/// Forgets states of dry runs that are too old, and processes that hold nothing.
async fn sweep(inner: Weak<Inner>, tasks: Tasks) {
    let stopping = tasks.stopping();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = stopping.cancelled() => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        let ttl = inner.options.dry_run_state_ttl;
        lock(&inner.actors).retain(|_, actor| {
            let mut state = lock(&actor.state);
            if state.as_ref().is_some_and(|(_, known)| known.elapsed() > ttl) {
                *state = None;
            }
            let holds_state = state.is_some();
            drop(state);
            let holds_memory = actor.live.try_lock().map_or(true, |live| live.is_some());
            let busy = Arc::strong_count(actor) > 1 || lock(&actor.mailbox).running;
            holds_state || holds_memory || busy
        });
    }
}
