//! One actor per process: requests wait in its mailbox, and one loop evaluates for all of them.
//!
//! The loop runs as a task while there are requests. It takes all that wait, advances the process to where the farthest of
//! them wants it, and answers each as soon as its point has been passed. Requests for one exact state (a dry run, a
//! memory image) are served when the process stands there; if it is past it already, by a replay of its own.
//!
//! Live memories are kept between requests; idle ones rest, and those used longest ago go to a checkpoint when all take
//! too much together ([`residency`]).

mod goals;
mod mailbox;
mod past;
mod replays;
mod residency;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_protocol::{BlockHeight, ProcessId, Timestamp};
use holon_unit::tasks::Tasks;
use tokio::sync::{Notify, OnceCell, Semaphore, oneshot};

use self::goals::{includes, is_past, order};
use self::mailbox::{MAILBOX_LIMIT, Mailbox, Reply, Request, Serving, answer_passed, fail};
use self::replays::Replays;
use self::residency::Kept;
use crate::advance::Sources;
use crate::checkpoint::Reach;
use crate::cron::NextCron;
use crate::error::Error;
use crate::log::{Goal, Link, Logged};
use crate::machine::{Fork, StateRoot};
use crate::options::Options;
use crate::process::Process;
use crate::residents::Residents;
use crate::runner::Runner;
use crate::stream::Position;

/// Most processes that have requests at the same time. The evaluation threads bound the evaluation; this bounds the pages
/// and memories that wait for them.
const SERVED_LIMIT: usize = 4096;
/// Most processes that are being looked up and loaded for the first time. Somebody who invents ids fills these places,
/// but not those of processes that are known.
const LOAD_LIMIT: usize = 1024;
/// How long a process that is being evaluated when the service stops has to come to the end of a turn.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A state that dry runs use.
pub struct State {
    /// The process.
    pub process: Arc<Process>,
    /// Its memory.
    pub fork: Fork,
    /// Last evaluated message; `None` when nothing has been evaluated.
    pub position: Option<Position>,
    /// Last log entry that is done.
    pub link: Option<Link>,
    /// Hash of what the process has seen.
    pub history: [u8; 32],
    /// Its root, once it was asked for.
    root: OnceCell<StateRoot>,
}

impl State {
    /// Its root. Computed once, however many ask for it.
    pub async fn root(self: &Arc<Self>) -> Result<StateRoot, Error> {
        let compute = || async {
            let state = self.clone();
            let root = tokio::task::spawn_blocking(move || state.fork.state_root(&state.history)).await;
            root.map_err(|_| Error::Stopping)?.map_err(|error| Error::Host(error.to_string()))
        };
        self.root.get_or_try_init(compute).await.copied()
    }

    /// Time that the last message says, or the process.
    pub fn timestamp(&self) -> Timestamp {
        let Some(Position { key, .. }) = &self.position else { return self.process.origin.timestamp };
        let entry = self.link.filter(|link| key.cron.is_none() && link.nonce.0 == key.ordinate);
        entry.map_or(key.timestamp, |link| link.timestamp)
    }

    /// Height of the last message, or of the process.
    pub fn block_height(&self) -> BlockHeight {
        self.position.as_ref().map_or(self.process.origin.height, |position| position.block_height)
    }
}

/// A process.
struct Actor {
    process: ProcessId,
    mailbox: Mutex<Mailbox>,
    live: tokio::sync::Mutex<Option<Runner>>,
    /// The newest state for dry runs.
    state: Mutex<Kept>,
    /// Nonce of the last log entry that is done, plus one; 0 before any.
    progress: AtomicU64,
    /// When its next cron message is due, as of the last evaluation.
    next_cron: Mutex<(NextCron, Option<u64>)>,
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
    served: Arc<Semaphore>,
    loads: Semaphore,
    replays: Replays,
    residents: Mutex<Residents>,
    /// Told when processes in memory take too much.
    crowded: Notify,
    /// When the states for dry runs were kept, and of which process; each once.
    states: Mutex<VecDeque<(Instant, ProcessId)>>,
}

impl Actors {
    /// No process yet. Background work belongs to `tasks`.
    pub fn new(sources: Arc<Sources>, options: Arc<Options>, tasks: Tasks) -> Self {
        let inner = Arc::new(Inner {
            sources,
            options,
            tasks: tasks.clone(),
            actors: Mutex::default(),
            served: Arc::new(Semaphore::new(SERVED_LIMIT)),
            loads: Semaphore::new(LOAD_LIMIT),
            replays: Replays::default(),
            residents: Mutex::default(),
            crowded: Notify::new(),
            states: Mutex::default(),
        });
        residency::start(&inner);
        Self(inner)
    }

    /// Waits until `process` has been evaluated to `goal`. `entry` is the log entry there, if the caller has it, and
    /// `nonce` its nonce.
    pub async fn evaluate(
        &self,
        process: ProcessId,
        goal: Goal,
        nonce: Option<u64>,
        entry: Option<Logged>,
    ) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        let request = Request { goal, entry: entry.map(Box::new), reply: Reply::Evaluated(sender) };
        self.submit(process, request, nonce)?;
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// Evaluates `process` to the present; when its next cron message is due.
    pub async fn evaluate_crons(&self, process: ProcessId) -> Result<NextCron, Error> {
        let actor = self.actor(process);
        let (sender, receiver) = oneshot::channel();
        let request = Request { goal: Goal::Latest, entry: None, reply: Reply::Evaluated(sender) };
        let submitted = self.submit_to(actor.clone(), request, None);
        let evaluated = match submitted {
            Ok(()) => receiver.await.unwrap_or(Err(Error::Stopping)),
            Err(error) => Err(error),
        };
        let (next, spacing_ms) = *lock(&actor.next_cron);
        let next = next.after(self.0.sources.clock.now(), spacing_ms);
        drop(actor);
        self.0.forget(process);
        evaluated.map(|()| next)
    }

    /// Evaluates `process` to `goal` for whoever asks next.
    pub fn try_again(&self, process: ProcessId, goal: Goal) {
        let (actors, stopping) = (self.clone(), self.0.tasks.stopping());
        self.0.tasks.spawn("cu-resume", async move {
            let evaluated = stopping.run_until_cancelled(actors.evaluate(process, goal, None, None)).await;
            if let Some(Err(error)) = evaluated {
                tracing::info!(%process, %error, "a resumed process did not get on");
            }
        });
    }

    /// A state of `process` for dry runs at `goal`, at most `max_age` old if the goal is the present.
    pub async fn state(&self, process: ProcessId, goal: Goal, max_age: Duration) -> Result<Arc<State>, Error> {
        if goal == Goal::Latest
            && let Some(state) = self.0.fresh_state(process, max_age)
        {
            return Ok(state);
        }
        let (sender, receiver) = oneshot::channel();
        self.submit(process, Request { goal, entry: None, reply: Reply::State(sender) }, None)?;
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// The state of `process` at `goal` if it is past it; nothing if its memory stands there now.
    pub async fn past(&self, process: ProcessId, goal: Goal) -> Result<Option<Arc<State>>, Error> {
        if let Some(state) = self.found(process, goal) {
            return Ok(Some(state));
        }
        let (sender, receiver) = oneshot::channel();
        self.submit(process, Request { goal, entry: None, reply: Reply::Past(sender) }, None)?;
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// A state of `process` that is past, if it was found lately. What is past stays what it was, so nothing has to be evaluated.
    pub fn found(&self, process: ProcessId, goal: Goal) -> Option<Arc<State>> {
        self.0.replays.found(process, goal)
    }

    /// Evaluates `process` to `goal` beside its live memory, from before it, which fills gaps of the result store.
    pub async fn replay(&self, process: ProcessId, goal: Goal) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        self.0.replay(process, goal, Reply::Evaluated(sender));
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    fn actor(&self, process: ProcessId) -> Arc<Actor> {
        let mut actors = lock(&self.0.actors);
        let new = || {
            Arc::new(Actor {
                process,
                mailbox: Mutex::default(),
                live: tokio::sync::Mutex::new(None),
                state: Mutex::default(),
                progress: AtomicU64::new(0),
                next_cron: Mutex::new((NextCron::Unknown, None)),
            })
        };
        actors.entry(process).or_insert_with(new).clone()
    }

    fn submit(&self, process: ProcessId, request: Request, nonce: Option<u64>) -> Result<(), Error> {
        let submitted = self.submit_to(self.actor(process), request, nonce);
        if submitted.is_err() {
            self.0.forget(process);
        }
        submitted
    }

    fn submit_to(&self, actor: Arc<Actor>, request: Request, nonce: Option<u64>) -> Result<(), Error> {
        let process = actor.process;
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
        if !mailbox.running {
            let permit = self.0.served.clone().try_acquire_owned();
            let permit = permit.map_err(|_| Error::Busy { what: "evaluated processes", limit: SERVED_LIMIT })?;
            mailbox.running = true;
            let (inner, actor) = (self.0.clone(), actor.clone());
            self.0.tasks.spawn("cu-process", async move {
                inner.clone().serve(&actor).await;
                drop(permit);
                drop(actor);
                inner.forget(process);
            });
        }
        mailbox.waiting.push(request);
        Ok(())
    }
}

impl Inner {
    async fn serve(self: Arc<Self>, actor: &Actor) {
        let serving = Serving(actor);
        let stopping = self.tasks.stopping();
        let work = async {
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
                *lock(&actor.next_cron) = live.as_ref().map_or((NextCron::Unknown, None), |runner| {
                    (runner.stream.next_cron(), runner.stream.block_spacing_ms())
                });
                self.settle(actor.process, live.as_ref());
            }
        };
        // Nothing is lost when the work stops here: what is evaluated is stored, the rest is evaluated again. What comes to
        // the end of a turn gets a checkpoint.
        let stopped = async {
            stopping.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let finished = tokio::select! {
            () = work => true,
            () = stopped => false,
        };
        if finished {
            // The mailbox may belong to the next loop already; whatever happens from here on is not its business.
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
            tracing::warn!(process = %actor.process, "the result store was replaced; evaluating again");
            *live = None;
        }
        if live.is_none() {
            lock(&actor.state).state = None;
            match self.start(actor.process).await {
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
                // That a slot does not exist concerns nobody else.
                Err(error @ Error::NoSlot { .. }) => {
                    let (asked, rest) = pending.into_iter().partition(|request: &Request| request.goal == goal);
                    fail(asked, &error);
                    pending = rest;
                }
                Err(error) => fail(std::mem::take(&mut pending), &error),
            }
            waiting = pending;
            waiting.append(&mut arrived);
            if live.is_none() && !waiting.is_empty() {
                // The memory was lost; what has come meanwhile gets a new one.
                match self.start(actor.process).await {
                    Ok(runner) => *live = Some(runner),
                    Err(error) => return fail(waiting, &error),
                }
            }
        }
    }

    /// Loads a process and sets its memory up. Processes of which nothing is known compete for a number of places of their
    /// own: most of them may not exist.
    async fn start(&self, process: ProcessId) -> Result<Runner, Error> {
        let known = self.sources.results.last(process).map_err(|error| Error::Store(error.to_string()))?.is_some();
        let _place = match known {
            true => None,
            false => Some(
                self.loads
                    .try_acquire()
                    .map_err(|_| Error::Busy { what: "processes being loaded", limit: LOAD_LIMIT })?,
            ),
        };
        self.sources.start(process, Reach::Newest, true).await
    }

    /// Answers what needs no evaluation; requests for states that are past are replayed beside the stream.
    fn sort_out(self: &Arc<Self>, actor: &Actor, runner: &Runner, mut waiting: Vec<Request>) -> Vec<Request> {
        answer_passed(&mut waiting, runner);
        let exact = |request: &Request| !matches!(request.reply, Reply::Evaluated(_));
        let past = |request: &Request| exact(request) && is_past(runner, request.goal);
        let (past, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(past);
        for request in past {
            self.replay(actor.process, request.goal, request.reply);
        }
        waiting
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
            Reply::Evaluated(_) => includes(goal, request.goal),
            Reply::State(_) | Reply::Past(_) => request.goal == goal,
        });
        *pending = rest;
        for request in reached {
            match request.reply {
                Reply::Evaluated(reply) => drop(reply.send(Ok(()))),
                Reply::Past(reply) => drop(reply.send(Ok(None))),
                Reply::State(reply) if goal == Goal::Latest => {
                    drop(reply.send(self.latest_state(actor, live, started).await));
                }
                Reply::State(reply) => drop(reply.send(self.fork(live).await.map(Arc::new))),
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
        let stands = live.as_ref().map(|runner| (runner.stream.last(), runner.stream.link()));
        if let Some((state, confirmed)) = &mut lock(&actor.state).state
            && stands == Some((state.position.as_ref(), state.link.as_ref()))
        {
            *confirmed = known.max(*confirmed);
            return Ok(state.clone());
        }
        let state = Arc::new(self.fork(live).await?);
        if lock(&actor.state).keep(state.clone(), known) {
            lock(&self.states).push_back((Instant::now(), actor.process));
        }
        Ok(state)
    }

    async fn fork(&self, slot: &mut Option<Runner>) -> Result<State, Error> {
        let mut runner = slot.take().ok_or(Error::Stopping)?;
        let job = move || {
            let fork = runner.fork();
            (runner, fork)
        };
        let (runner, fork) = self.sources.pool.run(job).await.map_err(|error| Error::Host(error.to_string()))?;
        let state = fork.map(|fork| State {
            process: runner.process.clone(),
            fork,
            position: runner.stream.last().cloned(),
            link: runner.stream.link().copied(),
            history: runner.history(),
            root: OnceCell::new(),
        });
        *slot = (!runner.is_lost()).then_some(runner);
        state
    }
}
