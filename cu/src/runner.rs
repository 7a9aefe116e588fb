//! One live process: its memory, the stream of its messages, and the turns in which they are evaluated.
//!
//! A runner moves between the async side, which reads the log ([`Runner::advance`] is in [`crate::advance`]), and the
//! evaluation threads, which own it during a turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::given_up::GivenUp;
use crate::hydrate::{Identity, assignment_as_message};
use crate::machine::{Call, Fork, HostFailure, Machine};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::results::{Batch, Key, Record, Results, StoreError};
use crate::stream::{Source, Step, Stream};

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
    given_up: Arc<GivenUp>,
    batch: Batch,
    /// Last evaluation that was stored when the runner started: up to here results are compared, not written.
    stored: Option<Key>,
    generation: u64,
    text: String,
    /// Hash of what the process has seen.
    history: [u8; 32],
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
    pub fn new(
        process: Arc<Process>,
        results: Arc<Results>,
        metrics: Metrics,
        given_up: Arc<GivenUp>,
    ) -> Result<Self, Error> {
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
            given_up,
            batch: Batch::default(),
            stored,
            generation,
            text: String::new(),
            history: [0; 32],
        })
    }

    /// Whether the result store still holds what this runner has written.
    pub fn is_current(&self) -> bool {
        self.generation == self.results.generation()
    }

    /// Hash of what the process has seen.
    pub fn history(&self) -> [u8; 32] {
        self.history
    }

    /// Bytes of the process's memory.
    pub fn memory_bytes(&self) -> u64 {
        self.machine.memory_bytes()
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
        // What was evaluated counts, whatever came after it.
        self.results.commit(&mut self.batch)?;
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
            if let Some(reason) = self.given_up.reason(self.process.id, &step.key) {
                self.stream.undo(step);
                return Err(Interrupted { error: Error::Host(reason), lost: false });
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
                    if let HostFailure::WallClock { .. } = failure {
                        self.given_up.add(self.process.id, step.key.clone(), failure.to_string());
                    }
                    self.stream.undo(step);
                    let lost = failure.lost();
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
            if let Source::Log(entry) = &step.source {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&self.history);
                hasher.update(&entry.link.epoch.to_be_bytes());
                hasher.update(&entry.link.nonce.0.to_be_bytes());
                hasher.update(entry.identity.as_bytes());
                self.history = hasher.finalize().into();
            }
            self.stream.done(&step, true);
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

#[cfg(test)]
mod tests {
    use holon_protocol::chain::HashChain;
    use holon_protocol::{Address, AssignmentId, ItemId, Nonce, ProcessId, Timestamp, wire};

    use super::*;
    use crate::hydrate::{Message, Scheduled};
    use crate::log::Link;
    use crate::machine::{EVALUATION_STACK_BYTES, Engine, EngineOptions};

    const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);
    const MODULE: &str = r#"(module
      (memory (export "memory") 1)
      (data (i32.const 16) "{\"ok\":true,\"response\":{\"Output\":1}}")
      (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
      (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
        (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 37))))"#;

    fn entry(nonce: u8) -> Scheduled {
        let id = ItemId::from_bytes([nonce; 32]);
        let timestamp = Timestamp(1000 + u64::from(nonce));
        let link = Link {
            assignment: AssignmentId::from(id),
            hash_chain: HashChain::of([0; 32]),
            epoch: 0,
            nonce: Nonce(nonce.into()),
            timestamp,
        };
        Scheduled {
            message: Message { id: Some(id.to_string()), timestamp, ..Message::default() },
            link,
            message_id: id.into(),
            identity: Identity::Id(id),
            deduplicated: true,
            is_process: nonce == 0,
        }
    }

    fn runner(results: &Arc<Results>) -> Runner {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let owner = wire::Owner { address: Address::from_bytes([2; 32]), key: String::new() };
        let process = Process::of_module(&engine, &wat::parse_str(MODULE).unwrap(), PROCESS, owner);
        let given_up = Arc::new(GivenUp::new(Duration::from_secs(60)));
        Runner::new(Arc::new(process), results.clone(), Metrics::new(), given_up).unwrap()
    }

    #[test]
    fn a_turn_that_finds_the_store_damaged_ends_and_writes_nothing() {
        let test = || {
            let dir = tempfile::tempdir().unwrap();
            let results = Arc::new(Results::open(&dir.path().join("results")).unwrap());
            let mut first = runner(&results);
            first.stream.feed((0..6).map(entry).collect(), Vec::new(), None);
            results.damage(PROCESS, ItemId::from_bytes([3; 32]));
            let interrupted = first.turn().unwrap_err();
            assert!(interrupted.lost && matches!(interrupted.error, Error::Replaced(PROCESS)), "{interrupted:?}");
            assert!(!first.is_current());
            assert_eq!(results.last(PROCESS).unwrap(), None);
            // From the start, everything comes again, and what comes twice is recognised.
            let mut second = runner(&results);
            let twice = Scheduled { identity: entry(2).identity, message_id: entry(2).message_id, ..entry(6) };
            second.stream.feed((0..6).map(entry).chain([twice]).collect(), Vec::new(), None);
            while second.turn().unwrap() == Turn::More {}
            assert_eq!(results.last(PROCESS).unwrap().map(|key| key.ordinate), Some(5));
            assert_eq!(second.stream.link().map(|link| link.nonce), Some(Nonce(6)));
        };
        std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES).spawn(test).unwrap().join().unwrap();
    }
}
