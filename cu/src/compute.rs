//! What the routes call: results, listings, states and dry runs of processes.
//!
//! Results that have been evaluated come from the result store and touch nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::Stream;
use holon_protocol::{MessageId, Nonce, ProcessId, Timestamp};
use holon_unit::events::{Event, Place, Places};
use holon_unit::trace_context::{self, MESSAGES};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::actor::{Actors, State};
use crate::advance::Sources;
use crate::cron::NextCron;
use crate::dry_run::DryRun;
use crate::error::Error;
use crate::feed::Follower;
use crate::given_up::Parked;
use crate::log::{Goal, Logged};
use crate::machine::{Call, StateRoot};
use crate::options::Options;
use crate::pool::{Pool, PoolError};
use crate::results::{Bound, Key, Listing, Page, Record, Sort, StoreError};

/// Bytes of dry-run results kept.
const DRY_RUN_CACHE_BYTES: usize = 64 << 20;
/// Past states kept for dry runs at a message.
const PAST_STATES: usize = 16;
/// Memory images sent at the same time: each holds a copy of what a process has changed since it was taken.
const IMAGES_LIMIT: usize = 4;
/// Readers of live results at the same time.
const FOLLOWERS_LIMIT: usize = 1024;
/// Longest wait for a place among those images.
const IMAGE_PATIENCE: Duration = Duration::from_secs(30);
/// How long evaluations may take to end when the service stops.
const REST_WITHIN: Duration = Duration::from_secs(5);

/// The unit's work, without HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

struct Inner {
    actors: Actors,
    sources: Arc<Sources>,
    dry_runs: Pool,
    images: Arc<Semaphore>,
    followers: Places,
    results: Mutex<DryRunCache>,
    past: Mutex<HashMap<(ProcessId, Timestamp, Nonce), Past>>,
    options: Arc<Options>,
}

/// A state at a message, and since when it is kept.
type Past = (Arc<State>, Instant);

/// What a dry run is asked for.
#[derive(Debug, Clone)]
pub struct DryRunRequest {
    /// The process.
    pub process: ProcessId,
    /// The message after which to run; `None` is the present.
    pub to: Option<MessageId>,
    /// Body of the request.
    pub body: Vec<u8>,
    /// How old the state may be; `None` is the default.
    pub max_age: Option<Duration>,
}

/// Where a dry run stands before it is evaluated.
pub enum DryRunStage {
    /// The result is known.
    Known(String),
    /// It must be evaluated.
    Open(Box<OpenDryRun>),
}

/// A memory image to send. It keeps its place among those being sent until it is dropped.
pub struct Image {
    /// The state.
    pub state: Arc<State>,
    /// Its root.
    pub root: StateRoot,
    _place: OwnedSemaphorePermit,
}

/// A dry run to evaluate.
pub struct OpenDryRun {
    state: Arc<State>,
    message: DryRun,
    key: [u8; 32],
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stored(error: StoreError) -> Error {
    Error::Store(error.to_string())
}

impl Compute {
    /// The unit's work.
    pub fn new(actors: Actors, sources: Arc<Sources>, dry_runs: Pool, options: Arc<Options>) -> Self {
        Self(Arc::new(Inner {
            actors,
            sources,
            dry_runs,
            images: Arc::new(Semaphore::new(IMAGES_LIMIT)),
            followers: Places::new(FOLLOWERS_LIMIT),
            results: Mutex::default(),
            past: Mutex::default(),
            options,
        }))
    }

    /// Refuses processes that are not served here (spec 05 §2).
    pub fn admit(&self, process: ProcessId) -> Result<(), Error> {
        let Options { restrict_processes, allow_processes, .. } = &*self.0.options;
        let allowed = allow_processes.is_empty() || allow_processes.contains(&process);
        if restrict_processes.contains(&process) || !allowed {
            return Err(Error::ProcessDenied(process));
        }
        Ok(())
    }

    /// The result of a message (spec 05 §2.3), evaluated if it has not been.
    pub async fn result(&self, process: ProcessId, message: MessageId) -> Result<Record, Error> {
        if let Some(record) = self.stored(process, message)? {
            tracing::debug!(target: MESSAGES, failed = record.failed, "evaluated before");
            return Ok(record);
        }
        let (goal, nonce, entry) = self.find(process, message).await?;
        trace_context::nonce(nonce);
        // The id may be that of the assignment.
        let at = goal.end().map(|timestamp| Key { timestamp, ordinate: nonce, cron: None });
        let found = || match self.stored(process, message)? {
            Some(record) => Ok(Some(record)),
            None => at.as_ref().map_or(Ok(None), |at| self.0.sources.results.get(process, at).map_err(stored)),
        };
        if let Some(record) = found()? {
            return Ok(record);
        }
        self.0.actors.evaluate(process, goal, Some(nonce), entry).await?;
        if let Some(record) = found()? {
            tracing::debug!(target: MESSAGES, failed = record.failed, "evaluated");
            return Ok(record);
        }
        // The process is past it, but the store does not have it (any more).
        tracing::warn!(%process, %message, "evaluated but not stored; replaying");
        self.0.actors.replay(process, goal).await?;
        match found()? {
            Some(record) => Ok(record),
            None => Err(Error::NotInLog { message: message.to_string(), process }),
        }
    }

    /// Whether anybody knows the process: this unit, its scheduler or the gateway, now.
    pub async fn knows(&self, process: ProcessId) -> Result<bool, Error> {
        let results = self.0.sources.results.clone();
        let last = tokio::task::spawn_blocking(move || results.last(process)).await.map_err(|_| Error::Stopping)?;
        match last.map_err(stored)? {
            Some(_) => Ok(true),
            None => self.0.sources.logs.knows(process).await,
        }
    }

    /// Stored results (spec 05 §2.4); evaluates nothing.
    pub async fn results(
        &self,
        process: ProcessId,
        listing: Listing,
        from: Option<Bound>,
        to: Option<Bound>,
        sort: Sort,
        limit: usize,
    ) -> Result<Page, Error> {
        let results = self.0.sources.results.clone();
        let page = move || results.page(process, listing, from.as_ref(), to.as_ref(), sort, limit);
        tokio::task::spawn_blocking(page).await.map_err(|_| Error::Stopping)?.map_err(stored)
    }

    /// The results of a process after `from`, or from now on, as they come.
    pub fn follow(&self, process: ProcessId, from: Option<Bound>) -> impl Stream<Item = Event> + 'static {
        let (actors, results) = (self.0.actors.clone(), self.0.sources.results.clone());
        Follower { actors, results, process }.follow(from)
    }

    /// A place among the readers of live results.
    pub fn follower(&self) -> Result<Place, Error> {
        self.0.followers.take().ok_or(Error::Busy { what: "readers of live results", limit: FOLLOWERS_LIMIT })
    }

    /// Evaluates up to `to` (the present without it), then lists cron results (spec 05 §2.5). With them comes when the next
    /// one is due, if it was asked for the present.
    pub async fn cron(
        &self,
        process: ProcessId,
        from: Option<Bound>,
        to: Option<Bound>,
        limit: usize,
    ) -> Result<(Page, NextCron), Error> {
        let next = match &to {
            None => self.0.actors.evaluate_crons(process).await?,
            Some(to) => {
                self.0.actors.evaluate(process, Goal::Time(to.timestamp()), None, None).await?;
                NextCron::Unknown
            }
        };
        Ok((self.results(process, Listing::Cron, from, to, Sort::Ascending, limit).await?, next))
    }

    /// The memory of a process at `goal` (spec 05 §2.6), and its root.
    pub async fn image(&self, process: ProcessId, goal: Goal) -> Result<Image, Error> {
        // Catching up may take long, and so may finding what is past: both come before the place.
        let past = match goal {
            Goal::Latest => self.0.actors.evaluate(process, goal, None, None).await.map(|()| None)?,
            goal => self.0.actors.past(process, goal).await?,
        };
        // Nor does anybody hold one while memory is hashed.
        if let Some(state) = &past {
            state.root().await?;
        }
        let place = tokio::time::timeout(IMAGE_PATIENCE, self.0.images.clone().acquire_owned()).await;
        let place = place.map_err(|_| Error::Busy { what: "memory images being sent", limit: IMAGES_LIMIT })?;
        let place = place.map_err(|_| Error::Stopping)?;
        let state = match past {
            Some(state) => state,
            None => self.0.actors.state(process, goal, Duration::ZERO).await?,
        };
        let root = state.root().await?;
        Ok(Image { state, root, _place: place })
    }

    /// The state of a process at `goal`, and its root.
    pub async fn root(&self, process: ProcessId, goal: Goal) -> Result<(Arc<State>, StateRoot), Error> {
        let state = match self.0.actors.found(process, goal) {
            Some(state) => state,
            None => {
                self.0.actors.evaluate(process, goal, None, None).await?;
                self.0.actors.state(process, goal, Duration::ZERO).await?
            }
        };
        let root = state.root().await?;
        Ok((state, root))
    }

    /// First half of a dry run: finds the state, and perhaps the result. `charge` is called before work is done that only
    /// this request needs.
    pub async fn prepare_dry_run(
        &self,
        request: DryRunRequest,
        charge: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<DryRunStage, Error> {
        let message = DryRun::from_body(&request.body).map_err(Error::Parameters)?;
        let process = request.process;
        let state = match request.to {
            None => {
                let max_age = request.max_age.unwrap_or(self.0.options.dry_run_max_age);
                self.0.actors.state(process, Goal::Latest, max_age).await?
            }
            Some(to) => self.past_state(process, to, charge).await?,
        };
        // The state is part of the key: a dry run sees every message that has been evaluated.
        let mut hash = Sha256::new_with_prefix(process.as_bytes());
        let mut position = Vec::new();
        if let Some(at) = &state.position {
            at.key.write(&mut position);
        }
        hash.update((position.len() as u64).to_le_bytes());
        hash.update(&position);
        hash.update(&request.body);
        let key = hash.finalize().into();
        if let Some(result) = lock(&self.0.results).get(&key, self.0.options.dry_run_result_ttl) {
            return Ok(DryRunStage::Known(result));
        }
        Ok(DryRunStage::Open(Box::new(OpenDryRun { state, message, key })))
    }

    /// Second half of a dry run: evaluates it on a copy of the state.
    pub async fn dry_run(&self, open: OpenDryRun) -> Result<String, Error> {
        let OpenDryRun { state, message, key } = open;
        let (metrics, limit) = (self.0.sources.metrics.clone(), self.0.options.dry_run_wall_clock);
        let job = move || -> Result<String, Error> {
            let mut text = String::new();
            message.write(state.process.id, state.timestamp(), state.block_height(), &mut text);
            let height = message.block_height(state.block_height());
            let call = Call {
                message: &text,
                environment: &state.process.environment,
                block_height: height.0,
                process_tags: &state.process.record.tags,
                module_tags: &state.process.module_tags,
            };
            let evaluation =
                state.fork.apply_within(&call, limit).map_err(|failure| Error::Host(failure.to_string()))?;
            let record = Record::new(&evaluation, height, None);
            metrics.dry_run(record.failed);
            Ok(record.result_json())
        };
        let result = self.0.dry_runs.run(job).await.map_err(|error| match error {
            PoolError::Full => Error::DryRunQueue,
            PoolError::Closed => Error::Stopping,
            PoolError::Panicked => Error::Host(error.to_string()),
        })??;
        lock(&self.0.results).insert(key, result.clone());
        Ok(result)
    }

    fn stored(&self, process: ProcessId, message: MessageId) -> Result<Option<Record>, Error> {
        self.0.sources.results.by_message(process, message).map_err(stored)
    }

    /// Where a message stands in the log of its process (spec 05 §4.4).
    async fn find(&self, process: ProcessId, message: MessageId) -> Result<(Goal, u64, Option<Logged>), Error> {
        let log = self.0.sources.logs.open(process).await?;
        if message == MessageId::from(process) {
            let record = log.record().await?;
            return Ok((Goal::Entry(record.timestamp, Nonce(0)), 0, None));
        }
        let position = log.position(message).await?;
        if position.process != process {
            return Err(Error::NotInLog { message: message.to_string(), process });
        }
        Ok((Goal::Entry(position.timestamp, position.nonce), position.nonce.0, position.entry))
    }

    async fn past_state(
        &self,
        process: ProcessId,
        to: MessageId,
        charge: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Arc<State>, Error> {
        let (goal, nonce, entry) = self.find(process, to).await?;
        let Goal::Entry(timestamp, at) = goal else { return Err(Error::Stopping) };
        let ttl = self.0.options.dry_run_state_ttl;
        {
            let mut past = lock(&self.0.past);
            past.retain(|_, (_, since)| since.elapsed() <= ttl);
            if let Some((state, _)) = past.get(&(process, timestamp, at)) {
                return Ok(state.clone());
            }
        }
        charge()?;
        // Stores the results on the way, as a request for the message itself would.
        self.0.actors.evaluate(process, goal, Some(nonce), entry).await?;
        let state = self.0.actors.state(process, goal, Duration::ZERO).await?;
        let mut past = lock(&self.0.past);
        if past.len() >= PAST_STATES {
            past.clear();
        }
        past.insert((process, timestamp, at), (state.clone(), Instant::now()));
        Ok(state)
    }

    /// The process, if it is parked.
    pub fn parked(&self, process: ProcessId) -> Option<Parked> {
        self.0.sources.given_up.of(process)
    }

    /// All parked processes.
    pub fn all_parked(&self) -> Vec<Parked> {
        self.0.sources.given_up.all()
    }

    /// Lets a parked process be tried again, and does so beside the caller. What it was parked for.
    pub fn resume(&self, process: ProcessId) -> Option<Parked> {
        let parked = self.0.sources.given_up.resume(process)?;
        let goal = parked.timestamp.map_or(Goal::Latest, Goal::Time);
        self.0.actors.try_again(process, goal);
        Some(parked)
    }

    /// Drops what is kept in memory for too long.
    pub fn sweep(&self) {
        let options = &self.0.options;
        let sources = &self.0.sources;
        sources.metrics.held_up(sources.given_up.all().len(), sources.pool.long() + self.0.dry_runs.long());
        lock(&self.0.past).retain(|_, (_, since)| since.elapsed() <= options.dry_run_state_ttl);
        lock(&self.0.results).expire(options.dry_run_result_ttl);
    }

    /// Writes checkpoints of what has no newer one, for at most `limit`.
    pub async fn checkpoint(&self, limit: Duration) {
        self.0.actors.checkpoint_all(limit).await;
    }

    /// Waits until the evaluation threads, which have been told to end, have let go of what they use.
    pub async fn rest(&self) {
        self.0.sources.pool.rest(REST_WITHIN).await;
        self.0.dry_runs.rest(REST_WITHIN).await;
    }

    /// Ends the evaluation threads.
    pub fn close(&self) {
        self.0.sources.pool.close();
        self.0.dry_runs.close();
        if let Err(error) = self.0.sources.results.flush() {
            tracing::warn!(%error, "results could not be written; they will be evaluated again");
        }
    }
}

/// Results of dry runs.
#[derive(Default)]
struct DryRunCache {
    results: HashMap<[u8; 32], (String, Instant)>,
    bytes: usize,
}

impl DryRunCache {
    fn get(&self, key: &[u8; 32], ttl: Duration) -> Option<String> {
        self.results.get(key).filter(|(_, since)| since.elapsed() <= ttl).map(|(result, _)| result.clone())
    }

    fn insert(&mut self, key: [u8; 32], result: String) {
        if self.bytes + result.len() > DRY_RUN_CACHE_BYTES {
            // The oldest half makes room.
            let mut times: Vec<Instant> = self.results.values().map(|(_, since)| *since).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied();
            self.results.retain(|_, (_, since)| Some(*since) > middle);
            self.count();
        }
        if self.bytes + result.len() <= DRY_RUN_CACHE_BYTES {
            self.bytes += result.len();
            if let Some((old, _)) = self.results.insert(key, (result, Instant::now())) {
                self.bytes -= old.len();
            }
        }
    }

    fn expire(&mut self, ttl: Duration) {
        self.results.retain(|_, (_, since)| since.elapsed() <= ttl);
        self.count();
    }

    fn count(&mut self) {
        self.bytes = self.results.values().map(|(result, _)| result.len()).sum();
    }
}
