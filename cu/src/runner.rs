//! One live process: its memory, the stream of its messages, and the turns in which they are evaluated.
//!
//! A runner moves between the async side, which reads the log ([`Runner::advance`] is in [`crate::advance`]), and the
//! evaluation threads, which own it during a turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holon_protocol::{Nonce, ProcessId, Timestamp};

use crate::checkpoint::{self, Checkpoints, Lineage, Published, Restored, Snapshot, UNWRITTEN_LIMIT};
use crate::error::Error;
use crate::given_up::{GivenUp, Pause};
use crate::hydrate::{Identity, assignment_as_message};
use crate::machine::{Call, Fork, HostFailure, Machine, MachineError, StateRoot, Stopped};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::results::{Batch, Evaluated, Key, Known, Record, Results, StoreError};
use crate::stream::{Source, Step, Stream};

/// Longest turn on an evaluation thread, apart from a single message that takes longer.
const TURN: Duration = Duration::from_millis(25);
/// Most evaluations of a turn, which are committed together.
const TURN_MESSAGES: usize = 512;

/// What all runners have in common.
#[derive(Clone)]
pub struct Surroundings {
    /// The result store's generation before anything was asked of it.
    pub generation: u64,
    /// Results.
    pub results: Arc<Results>,
    /// Counters.
    pub metrics: Metrics,
    /// Messages that took too long.
    pub given_up: Arc<GivenUp>,
}

/// When a live process is written to a checkpoint.
#[derive(Clone)]
pub struct Keeping {
    /// Where to.
    pub checkpoints: Checkpoints,
    /// Evaluation time since the last one.
    pub evaluation: Duration,
    /// Messages since the last one.
    pub messages: u64,
    /// Gas since the last one.
    pub gas: u64,
    /// Publishing on Arweave, which happens less often.
    pub publishing: Option<Publishing>,
}

/// When a checkpoint of a live process is published.
#[derive(Clone)]
pub struct Publishing {
    /// Where to.
    pub published: Published,
    /// Evaluation time since the last one.
    pub evaluation: Duration,
    /// Gas since the last one.
    pub gas: u64,
}

/// Evaluation time for each unit of time that the last checkpoint took.
const EVALUATION_PER_CHECKPOINT: u32 = 20;

/// What has been evaluated since the last checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// Time it took.
    pub evaluation: Duration,
    /// Messages, cron messages among them.
    pub messages: u64,
    /// Their gas.
    pub gas: u64,
}

impl Since {
    fn add(&mut self, took: Duration, gas: u64) {
        self.evaluation += took;
        self.messages += 1;
        self.gas = self.gas.saturating_add(gas);
    }
}

/// A live process.
pub struct Runner {
    /// What it is.
    pub process: Arc<Process>,
    /// Its messages.
    pub stream: Stream,
    machine: Machine,
    surroundings: Surroundings,
    batch: Batch,
    /// Last evaluation that was stored when the runner started: up to here results are compared, not written.
    stored: Option<Key>,
    /// Time of the log entry up to which the result store knew all identities when the runner started.
    known: Option<(Timestamp, Nonce)>,
    text: String,
    /// Hash of what the process has seen.
    history: [u8; 32],
    /// What it has seen since the last snapshot; none if that is too much to be kept.
    seen: Option<Vec<Known>>,
    since: Since,
    since_published: Since,
    /// Whether log entries are only taken note of: somebody else has evaluated them.
    skims: bool,
    lineage: Arc<Lineage>,
    keeping: Option<Keeping>,
    /// Told the nonce of the next log entry, message by message.
    reports: Option<Arc<AtomicU64>>,
}

/// How a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to evaluate.
    More,
    /// Everything that was fed has been evaluated.
    Idle,
}

/// A turn could not be finished. What was evaluated before is stored.
#[derive(Debug)]
pub struct Interrupted {
    /// Why.
    pub error: Error,
    /// Whether the memory is lost: the process must be evaluated again from its start.
    pub lost: bool,
}

impl From<StoreError> for Interrupted {
    fn from(error: StoreError) -> Self {
        Self { error: Error::Store(error.to_string()), lost: true }
    }
}

impl Runner {
    /// A runner at the start of the log, or where a checkpoint stands. Takes a while: call it on an evaluation thread.
    /// With `keeping` it writes checkpoints as it goes.
    pub fn new(
        process: Arc<Process>,
        restored: Option<Restored>,
        surroundings: Surroundings,
        keeping: Option<Keeping>,
    ) -> Result<Self, Error> {
        let store = |error: StoreError| Error::Store(error.to_string());
        let stored = surroundings.results.last(process.id).map_err(store)?;
        let known = surroundings.results.known_until(process.id).map_err(store)?;
        let (machine, stream, history, lineage) = match restored {
            None => {
                let given_up = &surroundings.given_up;
                if let Some(parked) = given_up.refusal(process.id, None) {
                    return Err(Error::Parked(Box::new(parked)));
                }
                let machine = process.machine().map_err(|error| match error {
                    MachineError::Host(failure) => parked(given_up, process.id, None, &failure),
                    MachineError::System(error) => parked(given_up, process.id, None, &HostFailure::System(error)),
                    error => Error::Host(error.to_string()),
                })?;
                let (owner, schedule) = (process.owner.clone(), process.schedule.clone());
                let stream = Stream::new(process.id, owner, process.origin, schedule);
                (machine, stream, checkpoint::NO_HISTORY, Arc::default())
            }
            Some(Restored { machine, stream, history, lineage }) => (machine, stream, history, lineage),
        };
        let runner = Self {
            process,
            stream,
            machine,
            surroundings,
            batch: Batch::default(),
            stored,
            known,
            text: String::new(),
            history,
            seen: Some(Vec::new()),
            since: Since::default(),
            since_published: Since::default(),
            skims: false,
            lineage,
            keeping,
            reports: None,
        };
        runner.warn_of_gap();
        Ok(runner)
    }

    /// Says so when the results up to where the memory comes from are not all in the store: it was lost, or somebody else
    /// evaluated them.
    fn warn_of_gap(&self) {
        let Some(last) = self.stream.last().filter(|last| self.stored.as_ref() < Some(&last.key)) else { return };
        let (process, checkpoint) = (self.process.id, last.key.timestamp);
        let since = self.stored.as_ref().map(|stored| stored.timestamp.0);
        tracing::warn!(%process, since, %checkpoint, "results up to the checkpoint are not stored: lists and events leave them out");
    }

    /// Tells `slots` from now on how many log entries are done, message by message.
    pub fn report_to(&mut self, slots: Arc<AtomicU64>) {
        self.reports = Some(slots);
    }

    /// Whether the result store still holds what this runner has written.
    pub fn is_current(&self) -> bool {
        self.surroundings.generation == self.surroundings.results.generation()
    }

    /// Bytes that this process alone holds.
    pub fn resident_bytes(&self) -> u64 {
        self.machine.resident_bytes()
    }

    /// Lets go of everything but the memory. Call it on an evaluation thread.
    pub fn rest(&mut self) -> Result<(), Error> {
        self.machine.rest().map_err(|error| Error::Host(error.to_string()))
    }

    /// Hash of what the process has seen.
    pub fn history(&self) -> [u8; 32] {
        self.history
    }

    /// What has been evaluated since the last checkpoint.
    pub fn since(&self) -> Since {
        self.since
    }

    /// The checkpoints of this memory.
    pub fn lineage(&self) -> &Arc<Lineage> {
        &self.lineage
    }

    /// What a checkpoint is made of. Whoever takes it must hand it in, so it takes a turn first. Call it on an
    /// evaluation thread.
    pub fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let fork = self.fork()?;
        self.since = Since::default();
        let identities = self.seen.replace(Vec::new());
        Ok(self.snapshot_of(fork, identities))
    }

    fn snapshot_of(&self, fork: Fork, identities: Option<Vec<Known>>) -> Snapshot {
        let resume = self.stream.standing();
        Snapshot { process: self.process.clone(), fork, resume, history: self.history, identities }
    }

    /// From here on log entries are only taken note of, until [`Self::adopt`] brings the memory that they lead to.
    pub fn skim(&mut self) {
        self.skims = true;
    }

    /// Takes over a memory that somebody else evaluated up to here, and gives its root. Call it on an evaluation thread.
    pub fn adopt(&mut self, memory: &[u8]) -> Result<StateRoot, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Host(error.to_string());
        self.machine = self.process.restore_whole(memory).map_err(|error| failed(&error))?;
        self.skims = false;
        self.warn_of_gap();
        self.root()
    }

    /// The root of the state. Call it on an evaluation thread.
    pub fn root(&mut self) -> Result<StateRoot, Error> {
        let history = self.history;
        self.fork()?.state_root(&history).map_err(|error| Error::Host(error.to_string()))
    }

    /// Publishes a checkpoint, when enough has been evaluated since the last one.
    fn publish(&mut self) {
        let Some(publishing) = self.keeping.as_ref().and_then(|keeping| keeping.publishing.clone()) else { return };
        let since = self.since_published;
        if since.evaluation < publishing.evaluation && since.gas < publishing.gas {
            return;
        }
        let Some(turn) = publishing.published.try_turn(self.process.id) else { return };
        self.since_published = Since::default();
        match self.fork() {
            Ok(fork) => turn.publish_soon(self.snapshot_of(fork, None)),
            Err(error) => tracing::warn!(process = %self.process.id, %error, "no snapshot to publish"),
        }
    }

    /// Hands a snapshot in, when enough has been evaluated since the last and that one is written.
    fn checkpoint(&mut self) {
        let Some(keeping) = &self.keeping else { return };
        let enough = self.since.evaluation >= keeping.evaluation
            || self.since.messages >= keeping.messages
            || self.since.gas >= keeping.gas;
        let worthwhile = self.since.evaluation >= self.lineage.took() * EVALUATION_PER_CHECKPOINT;
        if !enough || !worthwhile {
            return;
        }
        // When others are being written, the end of the next turn is as good.
        let Some(turn) = keeping.checkpoints.try_turn(&self.lineage) else { return };
        match self.snapshot() {
            Ok(snapshot) => turn.save_soon(snapshot),
            Err(error) => tracing::warn!(process = %self.process.id, %error, "no snapshot for a checkpoint"),
        }
    }

    /// Whether the memory is lost: the runner has to be dropped.
    pub fn is_lost(&self) -> bool {
        self.machine.is_lost()
    }

    /// A copy-on-write fork of the memory. When it fails, the memory may be lost.
    pub fn fork(&mut self) -> Result<Fork, Error> {
        self.machine.fork().map_err(|error| Error::Host(error.to_string()))
    }

    /// Evaluates until nothing is left or the turn is over. Runs on an evaluation thread.
    pub fn turn(&mut self) -> Result<Turn, Interrupted> {
        let result = self.evaluate();
        self.check_current()?;
        if let Some(link) = self.stream.link()
            && self.known < Some((link.clock, link.nonce))
        {
            self.batch.known(self.process.id, (link.clock, link.nonce));
            self.known = Some((link.clock, link.nonce));
        }
        // What was evaluated counts, whatever came after it.
        self.surroundings.results.commit(&mut self.batch)?;
        if result.is_ok() && !self.skims {
            self.publish();
            self.checkpoint();
        }
        result
    }

    fn evaluate(&mut self) -> Result<Turn, Interrupted> {
        let started = Instant::now();
        for _ in 0..TURN_MESSAGES {
            self.check_current()?;
            let Some(step) = self.stream.next() else { return Ok(Turn::Idle) };
            let duplicate = self.is_duplicate(&step)?;
            // The question itself may have found the damage, and an empty store has seen nothing before.
            self.check_current()?;
            if duplicate {
                self.skip(&step);
                continue;
            }
            if self.skims {
                self.pass(&step)?;
                continue;
            }
            if let Some(parked) = self.surroundings.given_up.refusal(self.process.id, Some(&step.key)) {
                self.stream.undo(step);
                return Err(Interrupted { error: Error::Parked(Box::new(parked)), lost: false });
            }
            self.text.clear();
            step.message.write(&mut self.text);
            let call = Call {
                message: &self.text,
                environment: &self.process.environment,
                block_height: step.message.block_height.0,
                process_tags: &self.process.record.tags,
                module_tags: &self.process.module_tags,
            };
            let begun = Instant::now();
            let evaluation = match whatever_happens(|| self.machine.apply(&call)) {
                Ok(evaluation) => evaluation,
                Err(failure) => {
                    let lost = failure.lost();
                    let error = parked(&self.surroundings.given_up, self.process.id, Some(&step.key), &failure);
                    self.stream.undo(step);
                    return Err(Interrupted { error, lost });
                }
            };
            let took = begun.elapsed();
            self.since.add(took, evaluation.gas_used);
            self.since_published.add(took, evaluation.gas_used);
            let link = match &step.source {
                Source::Log(entry) => Some((entry.link.assignment, entry.link.hash_chain)),
                Source::Prepended | Source::Cron => None,
            };
            let mut record = Record::new(&evaluation, step.message.block_height, link);
            record.listed = step.source != Source::Prepended;
            record.unchecked = self.process.unchecked || matches!(&step.source, Source::Log(entry) if entry.unchecked);
            if record.unchecked {
                self.surroundings.metrics.unchecked();
            }
            self.surroundings.metrics.evaluated(&step.source, record.failed);
            self.store(&step, &record)?;
            self.see(&step);
            self.surroundings.given_up.passed(self.process.id, &step.key);
            self.stream.done(&step, true);
            if let (Some(slots), Some(link)) = (&self.reports, self.stream.link()) {
                slots.store(link.next().0, Ordering::Relaxed);
            }
            if started.elapsed() >= TURN {
                break;
            }
        }
        Ok(Turn::More)
    }

    /// A store that was replaced does not know what this runner has seen: duplicates would be evaluated again. What has not
    /// been committed is dropped with the memory.
    fn check_current(&mut self) -> Result<(), Interrupted> {
        if self.is_current() {
            return Ok(());
        }
        self.batch = Batch::default();
        let error = Error::Replaced(self.process.id);
        Err(Interrupted { error, lost: true })
    }

    fn is_duplicate(&self, step: &Step) -> Result<bool, StoreError> {
        match &step.source {
            Source::Log(entry) if entry.deduplicated => {
                let (epoch, nonce) = (entry.link.epoch, entry.link.nonce.0);
                self.surroundings.results.seen_before(&self.batch, self.process.id, &entry.identity, epoch, nonce)
            }
            _ => Ok(false),
        }
    }

    /// Takes note of a message that somebody else has evaluated.
    fn pass(&mut self, step: &Step) -> Result<(), StoreError> {
        if let Some(known) = self.see(step) {
            self.surroundings.results.identity(&mut self.batch, self.process.id, &known)?;
        }
        self.stream.done(step, true);
        Ok(())
    }

    /// Adds a message that has been evaluated to what the process has seen.
    fn see(&mut self, step: &Step) -> Option<Known> {
        let Source::Log(entry) = &step.source else { return None };
        let known = Known {
            identity: entry.identity.clone(),
            epoch: entry.link.epoch,
            nonce: entry.link.nonce,
            timestamp: entry.link.clock,
        };
        self.history = checkpoint::extend(&self.history, &known);
        if self.keeping.is_some()
            && let Some(seen) = &mut self.seen
        {
            seen.push(known.clone());
            if seen.len() > UNWRITTEN_LIMIT {
                self.seen = None;
            }
        }
        Some(known)
    }

    fn skip(&mut self, step: &Step) {
        if let Source::Log(entry) = &step.source {
            let previous = self.stream.last().map(|last| &last.key);
            let assignment = assignment_as_message(entry.link.assignment);
            self.batch.skipped(self.process.id, assignment, entry.link.epoch, previous);
            if let Identity::Content(_) = entry.identity {
                self.batch.skipped(self.process.id, entry.message_id, entry.link.epoch, previous);
            }
        }
        self.stream.done(step, false);
    }

    fn store(&mut self, step: &Step, record: &Record) -> Result<(), StoreError> {
        let process = self.process.id;
        if self.stored.as_ref().is_some_and(|stored| step.key <= *stored)
            && let Some(stored) = self.surroundings.results.get(process, &step.key)?
        {
            if !stored.same_result(record) {
                tracing::error!(
                    %process,
                    timestamp = step.key.timestamp.0,
                    ordinate = step.key.ordinate,
                    cron = step.key.cron,
                    message = step.message.id,
                    "a replay gives another result than the one that was stored; the stored one stays"
                );
                self.surroundings.metrics.diverged();
            }
            return Ok(());
        }
        self.batch.record(process, &step.key, record);
        match &step.source {
            Source::Log(entry) => {
                let assigned = entry.deduplicated && matches!(entry.identity, Identity::Id(_));
                // Others are found by the time and the nonce that their assignment names.
                let set_back = entry.link.clock != entry.link.timestamp;
                let assignment = (assigned || set_back).then_some(entry.link.assignment);
                let (id, identity, epoch) = (entry.message_id, &entry.identity, entry.link.epoch);
                let message = Evaluated { id, assignment, identity, epoch };
                self.surroundings.results.message(&mut self.batch, process, &message, &step.key)?;
            }
            Source::Prepended => self.batch.prepended(process, &step.key),
            Source::Cron => {}
        }
        Ok(())
    }
}

/// An evaluation that panics is a bug. It takes its memory with it, and the process must not be tried again and again.
fn whatever_happens<T>(evaluate: impl FnOnce() -> Result<T, HostFailure>) -> Result<T, HostFailure> {
    catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|panic| Err(HostFailure::panicked("the evaluation", panic)))
}

/// What a failure means for whoever asked: the process is parked before the message at `key` (none: its module's set-up), so that it
/// is not tried again by every request.
fn parked(given_up: &GivenUp, process: ProcessId, key: Option<&Key>, failure: &HostFailure) -> Error {
    let pause = match failure {
        HostFailure::WallClock { .. } | HostFailure::MemoryCeiling { .. } | HostFailure::NativeStack => Pause::Full,
        // None of these should happen; where one does, it will happen again.
        HostFailure::Engine(_) | HostFailure::Diverged { .. } => Pause::Full,
        HostFailure::Stopped(Stopped::Closing) => return Error::Stopping,
        HostFailure::Stopped(Stopped::Crowded { .. } | Stopped::Memory) => Pause::Brief,
        HostFailure::System(_) | HostFailure::Lost => Pause::Brief,
        HostFailure::Halt(_) => Pause::Halt,
    };
    Error::Parked(Box::new(given_up.add(process, key, pause, failure.to_string())))
}

#[cfg(test)]
mod tests;
