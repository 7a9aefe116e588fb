//! One live process: its memory, the stream of its messages, and the turns in which they are evaluated.
//!
//! A runner moves between the async side, which reads the log ([`Runner::advance`] is in [`crate::advance`]), and the
//! evaluation threads, which own it during a turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::hydrate::{Identity, assignment_as_message};
use crate::machine::{Call, Fork, HostFailure, Machine};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::results::{Batch, Key, Record, Results, StoreError};
use crate::stream::{Position, Source, Step, Stream};

/// Longest turn on an evaluation thread, apart from a single message that takes longer.
const TURN: Duration = Duration::from_millis(25);
/// Most evaluations of a turn, which are committed together.
const TURN_MESSAGES: usize = 512;

/// A live process.
pub struct Runner {
    /// What it is.
    pub process: Arc<Process>,
    /// Its messages.
    pub stream: Stream,
    machine: Machine,
    results: Arc<Results>,
    metrics: Metrics,
    batch: Batch,
    /// Last evaluation that was stored when the runner started: up to here results are compared, not written.
    stored: Option<Key>,
    generation: u64,
    text: String,
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
    /// A runner at the start of the log. Takes a while: call it on an evaluation thread.
    pub fn new(process: Arc<Process>, results: Arc<Results>, metrics: Metrics) -> Result<Self, Error> {
        let machine = process.machine()?;
        let generation = results.generation();
        let stored = results.last(process.id).map_err(|error| Error::Store(error.to_string()))?;
        let stream = Stream::new(process.id, process.owner.clone(), process.origin, process.schedule.clone());
        Ok(Self {
            process,
            stream,
            machine,
            results,
            metrics,
            batch: Batch::default(),
            stored,
            generation,
            text: String::new(),
        })
    }

    /// Whether the result store still holds what this runner has written.
    pub fn is_current(&self) -> bool {
        self.generation == self.results.generation()
    }

    /// Bytes of the process's memory.
    pub fn memory_bytes(&self) -> u64 {
        self.machine.memory_bytes()
    }

    /// The memory, and where it stands.
    pub fn copy_memory(&self) -> (Vec<u8>, Option<Position>) {
        (self.machine.copy_memory(), self.stream.last().cloned())
    }

    /// A copy-on-write fork of the memory.
    pub fn fork(&mut self) -> Result<Fork, Error> {
        self.machine.fork().map_err(|error| Error::Host(error.to_string()))
    }

    /// Evaluates until nothing is left or the turn is over. Runs on an evaluation thread.
    pub fn turn(&mut self) -> Result<Turn, Interrupted> {
        let result = self.evaluate();
        // What was evaluated counts, whatever came after it.
        self.results.commit(&mut self.batch)?;
        result
    }

    fn evaluate(&mut self) -> Result<Turn, Interrupted> {
        let started = Instant::now();
        for _ in 0..TURN_MESSAGES {
            let Some(step) = self.stream.next() else { return Ok(Turn::Idle) };
            if self.is_duplicate(&step)? {
                self.skip(&step);
                continue;
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
            let evaluation = match self.machine.apply(&call) {
                Ok(evaluation) => evaluation,
                Err(failure) => {
                    self.stream.undo(step);
                    let lost = matches!(failure, HostFailure::Diverged { .. } | HostFailure::Engine(_));
                    return Err(Interrupted { error: Error::Host(failure.to_string()), lost });
                }
            };
            let link = match &step.source {
                Source::Log(entry) => Some((entry.link.assignment, entry.link.hash_chain)),
                Source::Prepended | Source::Cron => None,
            };
            let mut record = Record::new(&evaluation, step.message.block_height, link);
            record.listed = step.source != Source::Prepended;
            self.metrics.evaluated(&step.source, record.failed);
            self.store(&step, &record)?;
            self.stream.done(&step, true);
            if started.elapsed() >= TURN {
                break;
            }
        }
        Ok(Turn::More)
    }

    fn is_duplicate(&self, step: &Step) -> Result<bool, StoreError> {
        match &step.source {
            Source::Log(entry) if entry.deduplicated => {
                let (epoch, nonce) = (entry.link.epoch, entry.link.nonce.0);
                self.results.seen_before(&self.batch, self.process.id, &entry.identity, epoch, nonce)
            }
            _ => Ok(false),
        }
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
            && let Some(stored) = self.results.get(process, &step.key)?
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
                self.metrics.diverged();
            }
            return Ok(());
        }
        self.batch.record(process, &step.key, record);
        match &step.source {
            Source::Log(entry) => {
                let assigned = entry.deduplicated && matches!(entry.identity, Identity::Id(_));
                let assignment = assigned.then_some(entry.link.assignment);
                let (identity, epoch) = (&entry.identity, entry.link.epoch);
                self.batch.message(process, entry.message_id, assignment, identity, epoch, &step.key);
            }
            Source::Prepended => self.batch.prepended(process, &step.key),
            Source::Cron => {}
        }
        Ok(())
    }
}
