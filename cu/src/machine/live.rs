//! A process's memory that messages are applied to, and its forks.
//!
//! ```text
//!  committed image ── good messages since ──► what the instance shows
//! ```
//!
//! A good message costs nothing but its evaluation. A failed one is undone by dropping what was written since the commit
//! and applying the good messages since again, which is correct because evaluation is deterministic, and cheap because
//! [`CommitPolicy`] commits before those messages add up. What replaying cannot reproduce (data from outside) is committed at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Call, Drive, Evaluation, HostFailure, Limits, MachineError, Module, Outcome, PAGE_BYTES, PageTree, StateRoot,
    answer,
    format::HostKind,
    host::{Entry, Growth},
    inspect::Lifetime,
    instance::{Live, Returned},
    memory::Image,
    root::State,
};

/// What an instance takes beside its memory, about.
const INSTANCE_BYTES: u64 = 64 << 10;
const WASM_PAGE_BYTES: u64 = 1 << 16;
/// Instances kept for the next fork of the same process.
const MAX_IDLE_INSTANCES: usize = 4;

/// When to commit. Replaying is bounded by what this lets add up; committing is amortised by the same. Nothing that can be
/// observed depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPolicy {
    /// Guest time since the last commit, at least.
    pub after_min: Duration,
    /// The same, at most.
    pub after_max: Duration,
    /// Guest time for each unit of time that the last commit took.
    pub guest_per_commit: u32,
    /// Good messages since the last commit.
    pub after_messages: usize,
    /// Their texts, which are kept for replay, in bytes.
    pub after_text_bytes: usize,
}

impl CommitPolicy {
    /// After every message.
    pub const EAGER: Self = Self { after_messages: 1, ..Self::LAZY };
    /// Only where it cannot be put off.
    pub const LAZY: Self = Self {
        after_min: Duration::MAX,
        after_max: Duration::MAX,
        guest_per_commit: 0,
        after_messages: usize::MAX,
        after_text_bytes: usize::MAX,
    };
}

impl Default for CommitPolicy {
    /// Keeps committing below 2 % of the guest's time, and replaying short.
    fn default() -> Self {
        Self {
            after_min: Duration::from_millis(20),
            after_max: Duration::from_millis(250),
            guest_per_commit: 50,
            after_messages: 256,
            after_text_bytes: 4 << 20,
        }
    }
}

/// One live process memory. Belongs to one thread at a time, which needs
/// [`EVALUATION_STACK_BYTES`](super::EVALUATION_STACK_BYTES) of stack.
pub struct Machine {
    seat: Arc<Seat>,
    image: Arc<Image>,
    live: Option<Live>,
    /// Good messages since the image was committed.
    since: Vec<Applied>,
    since_text_bytes: usize,
    since_time: Duration,
    commit_time: Duration,
    policy: CommitPolicy,
    /// The previous message, whose environment and tags the next one most likely shares.
    last: Option<Entry>,
    condition: Condition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// The instance shows the state.
    Ready,
    /// The instance shows something else; the state is the image and the messages since.
    Stale,
    /// The instance shows the state, which is the image and the messages since, but cannot run another message before it
    /// is committed.
    Uncommitted,
    /// The image is torn, or the messages since lead elsewhere: nothing to come back to.
    Lost,
}

/// A good message, to be applied again.
struct Applied {
    entry: Entry,
    /// Of the text it returned.
    fingerprint: u64,
}

/// What machine and forks have in common.
struct Seat {
    module: Module,
    limits: Limits,
    drive: Arc<dyn Drive>,
    idle: Mutex<Vec<Live>>,
}

/// A copy-on-write fork: the state of a machine at one moment, for dry runs. Cheap; does not hold up the machine.
pub struct Fork {
    seat: Arc<Seat>,
    image: Arc<Image>,
}

impl Machine {
    /// A machine in the state after the module's set-up.
    pub fn new(module: &Module, limits: Limits, drive: Arc<dyn Drive>) -> Result<Self, MachineError> {
        let image = Arc::clone(&module.initial()?.image);
        let seat = Seat::new(module, limits, drive);
        seat.check_length(image.len() as u64, image.len())?;
        Ok(Self::seated(seat, image))
    }

    /// A machine with the given memory, for example a checkpoint's. `memory` is a whole number of 64 KiB pages, at least as
    /// many as the module starts with.
    pub fn restore(
        module: &Module,
        limits: Limits,
        drive: Arc<dyn Drive>,
        memory: &[u8],
    ) -> Result<Self, MachineError> {
        let seat = Seat::new(module, limits, drive);
        let initial = &module.initial()?.image;
        seat.check_length(memory.len() as u64, initial.len())?;
        let mut image = Image::upon(initial, memory.len());
        image.fill(memory)?;
        Ok(Self::seated(seat, Arc::new(image)))
    }

    /// A machine with a memory given as what it does not have in common with the module's initial one, for example by a
    /// checkpoint. It starts from that, filled up with zeros to `memory_bytes`, a whole number of 64 KiB pages; `pages`, each a
    /// page's number and contents, replace its pages. Where the initial memory has a page that became zero, that page is given too.
    pub fn restore_pages(
        module: &Module,
        limits: Limits,
        drive: Arc<dyn Drive>,
        memory_bytes: u64,
        pages: impl Iterator<Item = io::Result<(u32, Box<[u8; PAGE_BYTES]>)>>,
    ) -> Result<Self, MachineError> {
        let initial = &module.initial()?.image;
        let seat = Seat::new(module, limits, drive);
        let bytes = seat.check_length(memory_bytes, initial.len())?;
        let mut image = Image::upon(initial, bytes);
        for page in pages {
            let (index, page) = page?;
            if index as usize >= bytes / PAGE_BYTES {
                return Err(MachineError::SetUp(format!("page {index} is beyond a memory of {bytes} bytes")));
            }
            image.put(index, page)?;
        }
        Ok(Self::seated(seat, Arc::new(image)))
    }

    /// A machine that rests: its first message makes the instance.
    fn seated(seat: Seat, image: Arc<Image>) -> Self {
        Self {
            seat: Arc::new(seat),
            image,
            live: None,
            since: Vec::new(),
            since_text_bytes: 0,
            since_time: Duration::ZERO,
            commit_time: Duration::ZERO,
            policy: CommitPolicy::default(),
            last: None,
            condition: Condition::Ready,
        }
    }

    /// Applies one message. The state moves on only for [`Outcome::Ok`]; otherwise, and on a failure, it is what it was.
    pub fn apply(&mut self, call: &Call<'_>) -> Result<Evaluation, HostFailure> {
        self.recover()?;
        let entry = Entry::new(call, self.last.as_ref());
        self.last = Some(entry.clone());
        let compute = self.seat.limits.compute;
        let start = Instant::now();
        let live = self.instance()?;
        let returned = live.run(&entry, compute);
        let used_drive = live.used_drive();
        let took = start.elapsed();
        let returned = match returned {
            Ok(returned) => returned,
            Err(failure) => {
                self.roll_back()?;
                return Err(failure);
            }
        };
        let (evaluation, keep) = evaluate(returned);
        if !keep {
            self.roll_back()?;
            return Ok(evaluation);
        }
        self.since_time += took;
        self.since_text_bytes += entry.message.len();
        let fingerprint = fingerprint(evaluation.returned.as_deref());
        self.since.push(Applied { entry, fingerprint });
        if used_drive || self.commit_is_due() || self.seat.module.inner.lifetime == Lifetime::OneMessage {
            // The result stands whether or not this works: the next call commits first, or says that it cannot.
            if let Err(error) = self.commit() {
                tracing::warn!(%error, "cannot commit memory after a message");
            }
        }
        Ok(evaluation)
    }

    /// When to commit from now on.
    pub fn set_commit_policy(&mut self, policy: CommitPolicy) {
        self.policy = policy;
    }

    /// Forks the present state.
    pub fn fork(&mut self) -> Result<Fork, MachineError> {
        self.recover()?;
        if !self.since.is_empty() {
            self.commit()?;
        }
        Ok(Fork { seat: Arc::clone(&self.seat), image: Arc::clone(&self.image) })
    }

    /// Commits, and lets go of everything but the memory: an idle process is its image. The next message makes a new instance.
    pub fn rest(&mut self) -> Result<(), HostFailure> {
        self.recover()?;
        if !self.since.is_empty() {
            self.commit()?;
        }
        self.live = None;
        self.last = None;
        if let Some(rested) = self.image.rested()? {
            self.image = Arc::new(rested);
        } else if let Some(image) = Arc::get_mut(&mut self.image) {
            image.settle();
        }
        self.seat.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Bytes that this machine alone holds: its pages, and what an instance takes. Pages of the module's initial memory are
    /// everybody's as long as the process has not written any.
    pub fn resident_bytes(&self) -> u64 {
        let initial = self.seat.module.initial().is_ok_and(|initial| Arc::ptr_eq(&initial.image, &self.image));
        let pages = if initial { 0 } else { self.image.resident_bytes() };
        pages + if self.live.is_some() { INSTANCE_BYTES } else { 0 }
    }

    /// Whether no call will succeed any more: the machine has to be dropped ([`HostFailure::lost`]).
    pub fn is_lost(&self) -> bool {
        self.condition == Condition::Lost
    }

    /// Length of linear memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.live.as_ref().map_or(self.image.len(), Live::memory_len) as u64
    }

    /// A copy of linear memory. If the last call of [`Machine::apply`] failed while rolling back, it is the memory of the
    /// last commit.
    pub fn copy_memory(&self) -> Vec<u8> {
        match &self.live {
            // Of a torn image the instance still shows what it showed.
            Some(live) if self.condition != Condition::Stale => live.memory().to_vec(),
            _ => {
                let mut memory = vec![0; self.image.len()];
                if let Err(error) = self.image.read(0, &mut memory) {
                    tracing::error!(%error, "cannot read committed memory");
                }
                memory
            }
        }
    }

    fn commit_is_due(&self) -> bool {
        let CommitPolicy { after_min, after_max, guest_per_commit, after_messages, after_text_bytes } = self.policy;
        let after = self.commit_time.saturating_mul(guest_per_commit).clamp(after_min, after_max);
        self.since_time >= after || self.since.len() >= after_messages || self.since_text_bytes >= after_text_bytes
    }

    /// Makes the present state the committed one.
    fn commit(&mut self) -> Result<(), HostFailure> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let start = Instant::now();
        let shared = Arc::strong_count(&self.image) > 1;
        let shown = match live.commit(&mut self.image) {
            Ok(shown) => shown,
            Err(error) if shared => {
                if self.seat.module.inner.lifetime == Lifetime::OneMessage {
                    self.condition = Condition::Uncommitted;
                }
                return Err(error.into());
            }
            Err(error) => {
                // A part may be written: the old state is gone, and the new one exists in the instance only.
                tracing::error!(%error, "committing memory failed halfway");
                self.condition = Condition::Lost;
                return Err(HostFailure::Lost);
            }
        };
        self.condition = Condition::Ready;
        self.commit_time = start.elapsed();
        self.forget_since();
        if !shown || self.seat.module.inner.lifetime == Lifetime::OneMessage {
            self.live = None;
        }
        Ok(())
    }

    fn forget_since(&mut self) {
        self.since.clear();
        self.since_text_bytes = 0;
        self.since_time = Duration::ZERO;
    }

    /// Back to the state before the last message.
    fn roll_back(&mut self) -> Result<(), HostFailure> {
        self.condition = Condition::Stale;
        self.recover()
    }

    fn recover(&mut self) -> Result<(), HostFailure> {
        match self.condition {
            Condition::Ready => return Ok(()),
            Condition::Lost => return Err(HostFailure::Lost),
            Condition::Uncommitted => return self.commit(),
            Condition::Stale => {}
        }
        let reusable = self.seat.module.inner.lifetime == Lifetime::ManyMessages;
        if let Some(mut live) = self.live.take()
            && reusable
            && live.discard()?
        {
            self.live = Some(live);
        }
        let compute = self.seat.limits.compute;
        let since = std::mem::take(&mut self.since);
        let replayed = self.replay(&since, compute);
        self.since = since;
        if let Err(failure) = replayed {
            if failure.lost() {
                self.live = None;
                self.condition = Condition::Lost;
            }
            return Err(failure);
        }
        self.condition = Condition::Ready;
        if !self.since.is_empty() {
            // Failures come in rows; the next one shall not replay the same messages again.
            self.commit()?;
        }
        Ok(())
    }

    fn replay(&mut self, since: &[Applied], compute: u64) -> Result<(), HostFailure> {
        let live = self.instance()?;
        for (index, applied) in since.iter().enumerate() {
            let returned = live.run(&applied.entry, compute)?;
            if fingerprint(returned.text.as_deref().ok()) != applied.fingerprint {
                return Err(HostFailure::Diverged { index });
            }
        }
        Ok(())
    }

    fn instance(&mut self) -> Result<&mut Live, HostFailure> {
        let live = match self.live.take() {
            Some(live) => live,
            None => {
                if let Some(image) = Arc::get_mut(&mut self.image) {
                    image.wake()?;
                }
                self.seat.instance(&self.image).map_err(host_failure)?
            }
        };
        Ok(self.live.insert(live))
    }
}

impl Fork {
    /// Evaluates a message on the forked state; its effects are forgotten. May be called from several threads at once,
    /// each with [`EVALUATION_STACK_BYTES`](super::EVALUATION_STACK_BYTES) of stack.
    pub fn apply(&self, call: &Call<'_>) -> Result<Evaluation, HostFailure> {
        self.apply_within(call, self.seat.module.inner.engine.options().wall_clock)
    }

    /// The same with a wall-clock limit of its own: anybody may ask for a dry run.
    pub fn apply_within(&self, call: &Call<'_>, limit: Duration) -> Result<Evaluation, HostFailure> {
        let entry = Entry::new(call, None);
        let mut live = self.seat.borrow(&self.image).map_err(host_failure)?;
        let returned = live.run_within(&entry, self.seat.limits.compute, limit);
        self.seat.give_back(live);
        Ok(evaluate(returned?).0)
    }

    /// Length of linear memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.image.len() as u64
    }

    /// Reads linear memory from `position` on, which must be there.
    pub fn read_memory(&self, position: usize, into: &mut [u8]) -> std::io::Result<()> {
        self.image.read(position, into)
    }

    /// Hashes of the pages. Takes time for what changed since the last tree of this process, and does not hold up the machine.
    pub fn tree(&self) -> io::Result<PageTree> {
        self.image.tree()
    }

    /// Reads a page, which must be there.
    pub fn read_page(&self, index: u32, into: &mut [u8; PAGE_BYTES]) -> io::Result<()> {
        self.image.read(index as usize * PAGE_BYTES, into)
    }

    /// The state root (`docs/state-root.md`) of this state, given which log entries led to it.
    pub fn state_root(&self, history: &[u8; 32]) -> io::Result<StateRoot> {
        let compiled = &self.seat.module.inner;
        let initial = self.seat.module.initial().map_err(io::Error::other)?;
        let memory = self.tree()?;
        let state = State { module: &compiled.digest, globals: &initial.globals, memory: &memory, history };
        Ok(state.root())
    }

    /// A copy of linear memory.
    pub fn copy_memory(&self) -> std::io::Result<Vec<u8>> {
        let mut memory = vec![0; self.image.len()];
        self.image.read(0, &mut memory)?;
        Ok(memory)
    }
}

impl Seat {
    fn new(module: &Module, limits: Limits, drive: Arc<dyn Drive>) -> Self {
        Self { module: module.clone(), limits, drive, idle: Mutex::new(Vec::new()) }
    }

    /// Whether a memory may have this length, in bytes.
    fn check_length(&self, bytes: u64, initial: usize) -> Result<usize, MachineError> {
        if bytes < initial as u64 || !bytes.is_multiple_of(WASM_PAGE_BYTES) {
            return Err(MachineError::SetUp(format!(
                "a memory of {bytes} bytes is not a whole number of pages or less than the module's first {initial}"
            )));
        }
        let growth = self.growth();
        let limit = growth.limit_bytes.unwrap_or(u64::MAX).min(growth.ceiling_bytes);
        if bytes > limit {
            return Err(MachineError::Memory { bytes, limit });
        }
        usize::try_from(bytes).map_err(|_| MachineError::Memory { bytes, limit: usize::MAX as u64 })
    }

    fn growth(&self) -> Growth {
        let limit_bytes = match self.module.inner.format.profile().host {
            HostKind::Native | HostKind::Wasi => Some(self.limits.memory_bytes),
            HostKind::Emscripten => None,
        };
        Growth { limit_bytes, ceiling_bytes: self.module.inner.engine.options().memory_ceiling_bytes }
    }

    fn instance(&self, image: &Image) -> Result<Live, MachineError> {
        Live::new(&self.module, self.growth(), Arc::clone(&self.drive), image)
    }

    /// An instance that shows `image`, used before if there is one that fits.
    fn borrow(&self, image: &Image) -> Result<Live, MachineError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut live) = idle
            && live.memory_len() <= image.len()
            && live.show(image).is_ok()
        {
            return Ok(live);
        }
        self.instance(image)
    }

    fn give_back(&self, mut live: Live) {
        // Private pages go at once, so that an idle instance holds no memory.
        if self.module.inner.lifetime == Lifetime::OneMessage || !live.discard().unwrap_or(false) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_INSTANCES {
            idle.push(live);
        }
    }
}

/// Whatever keeps an instance from being made after the first one is this computer's problem.
fn host_failure(error: MachineError) -> HostFailure {
    match error {
        MachineError::Host(failure) => failure,
        MachineError::System(error) => HostFailure::System(error),
        other => HostFailure::Engine(other.to_string()),
    }
}

fn evaluate(returned: Returned) -> (Evaluation, bool) {
    let gas_used = returned.gas_used;
    match returned.text {
        Ok(text) => {
            let (outcome, keep) = answer::read(&text);
            (Evaluation { outcome, gas_used, returned: Some(text) }, keep)
        }
        Err(value) => (Evaluation { outcome: Outcome::Thrown(value), gas_used, returned: None }, false),
    }
}

fn fingerprint(text: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Engine, EngineOptions, Format, NoDrive};

    /// Counts messages in a byte of memory and answers with the digit.
    fn counter() -> Machine {
        let text = r#"(module (memory (export "memory") 1)
            (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":0}}")
            (func (export "holon_alloc") (param i32) (result i32) i32.const 1024)
            (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
              (i32.store8 (i32.const 132) (i32.add (i32.load8_u (i32.const 132)) (i32.const 1)))
              (i64.const 0x6400000023)))"#;
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let module = engine.compile(&wat::parse_str(text).unwrap(), Format::Native).unwrap();
        Machine::new(&module, Limits { memory_bytes: 1 << 20, compute: 1 << 20 }, Arc::new(NoDrive)).unwrap()
    }

    fn count(machine: &mut Machine) -> Result<u64, HostFailure> {
        let (process_tags, module_tags) = Default::default();
        let call = Call {
            message: "{}",
            environment: "{}",
            block_height: 0,
            process_tags: &process_tags,
            module_tags: &module_tags,
        };
        match machine.apply(&call)?.outcome {
            Outcome::Ok(response) => Ok(response.output.unwrap().as_u64().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_machine_that_lost_its_memory_says_so_until_it_is_dropped() {
        let mut machine = counter();
        assert_eq!(count(&mut machine).unwrap(), 1);
        machine.condition = Condition::Lost;
        for _ in 0..2 {
            let failure = count(&mut machine).unwrap_err();
            assert!(matches!(failure, HostFailure::Lost) && failure.lost() && !failure.retryable());
            assert!(matches!(machine.fork(), Err(MachineError::Host(HostFailure::Lost))));
            assert!(machine.is_lost());
        }
    }

    #[test]
    fn messages_that_replay_differently_lose_the_memory() {
        let mut machine = counter();
        assert_eq!(count(&mut machine).unwrap(), 1);
        machine.since[0].fingerprint ^= 1;
        machine.condition = Condition::Stale;
        assert!(matches!(count(&mut machine), Err(HostFailure::Diverged { index: 0 })));
        assert!(machine.is_lost());
        assert!(matches!(count(&mut machine), Err(HostFailure::Lost)));
    }

    #[test]
    fn what_could_not_be_committed_is_committed_before_the_next_message() {
        let mut machine = counter();
        assert_eq!(count(&mut machine).unwrap(), 1);
        machine.condition = Condition::Uncommitted;
        assert_eq!(machine.copy_memory()[132], b'1');
        assert_eq!(count(&mut machine).unwrap(), 2);
        assert!(machine.condition == Condition::Ready && machine.since.len() == 1);
        machine.condition = Condition::Uncommitted;
        assert_eq!(machine.fork().unwrap().copy_memory().unwrap()[132], b'2');
    }

    #[test]
    fn a_commit_that_fails_loses_a_memory_only_if_nobody_shares_it() {
        let mut machine = counter();
        assert_eq!(count(&mut machine).unwrap(), 1);
        // The first commit copies the module's initial memory, which all its machines share.
        machine.seat.module.initial().unwrap().image.break_writes();
        machine.rest().unwrap();
        assert_eq!(count(&mut machine).unwrap(), 2);
        machine.image.break_writes();
        let fork = Arc::clone(&machine.image);
        assert_eq!(machine.fork().unwrap().copy_memory().unwrap()[132], b'2');
        drop(fork);
        assert_eq!(count(&mut machine).unwrap(), 3);
        machine.image.break_writes();
        assert!(matches!(machine.rest(), Err(HostFailure::Lost)));
        assert!(machine.is_lost());
    }

    #[test]
    fn a_machine_that_rests_holds_what_it_wrote_and_goes_on_where_it_was() {
        let mut machine = counter();
        assert_eq!(machine.resident_bytes(), 0);
        for number in 1..4 {
            assert_eq!(count(&mut machine).unwrap(), number);
            assert!(machine.resident_bytes() >= INSTANCE_BYTES);
            machine.rest().unwrap();
            assert!(machine.live.is_none());
            assert_eq!(machine.resident_bytes(), PAGE_BYTES as u64);
        }
        // A dry run wants a file; resting again lets go of it.
        let fork = machine.fork().unwrap();
        let root = fork.state_root(&[0; 32]).unwrap();
        let (process_tags, module_tags) = Default::default();
        let call = Call {
            message: "",
            environment: "",
            block_height: 0,
            process_tags: &process_tags,
            module_tags: &module_tags,
        };
        assert!(matches!(fork.apply(&call).unwrap().outcome, Outcome::Ok(_)));
        drop(fork);
        assert!(machine.resident_bytes() > PAGE_BYTES as u64);
        machine.rest().unwrap();
        assert_eq!(machine.resident_bytes(), PAGE_BYTES as u64);
        assert_eq!(machine.fork().unwrap().state_root(&[0; 32]).unwrap(), root);
        assert_eq!(count(&mut machine).unwrap(), 4);
    }
}
