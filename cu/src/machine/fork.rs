//! Forks: states of a machine at one moment, for dry runs, checkpoints and whoever wants to look.

use std::{
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
pub(super) const INSTANCE_BYTES: u64 = 64 << 10;
const WASM_PAGE_BYTES: u64 = 1 << 16;
/// Instances kept for the next fork of the same process.
const MAX_IDLE_INSTANCES: usize = 4;

/// A copy-on-write fork: the state of a machine at one moment, for dry runs. Cheap; does not hold up the machine.
pub struct Fork {
    pub(super) seat: Arc<Seat>,
    pub(super) image: Arc<Image>,
}

/// What machine and forks have in common.
pub(super) struct Seat {
    pub module: Module,
    pub limits: Limits,
    drive: Arc<dyn Drive>,
    idle: Mutex<Idle>,
}

/// Instances that wait for the next fork.
#[derive(Default)]
struct Idle {
    instances: Vec<Live>,
    /// Whether the process rests: then none is kept, also of those that are under way now.
    rests: bool,
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

    /// The state root (`docs/src/state-root.md`) of this state, given which log entries led to it.
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
    pub fn new(module: &Module, limits: Limits, drive: Arc<dyn Drive>) -> Self {
        Self { module: module.clone(), limits, drive, idle: Mutex::default() }
    }

    /// Whether a memory may have this length, in bytes.
    pub fn check_length(&self, bytes: u64, initial: usize) -> Result<usize, MachineError> {
        if bytes < initial as u64 || !bytes.is_multiple_of(WASM_PAGE_BYTES) {
            return Err(MachineError::SetUp(format!(
                "a memory of {bytes} bytes is not a whole number of pages or less than the module's first {initial}"
            )));
        }
        let growth = self.growth();
        let limits = [growth.limit_bytes, self.module.maximum_memory_bytes()];
        let limit = limits.into_iter().flatten().fold(growth.ceiling_bytes, u64::min);
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
        Growth::new(limit_bytes, self.module.inner.engine.options().memory_ceiling_bytes)
    }

    pub fn instance(&self, image: &Image) -> Result<Live, MachineError> {
        Live::new(&self.module, self.growth(), Arc::clone(&self.drive), image)
    }

    /// An instance that shows `image`, used before if there is one that fits.
    fn borrow(&self, image: &Image) -> Result<Live, MachineError> {
        self.moved_to(image);
        let idle = self.idle().instances.pop();
        if let Some(mut live) = idle
            && live.memory_len() <= image.len()
            && live.show(image).is_ok()
        {
            return Ok(live);
        }
        self.instance(image)
    }

    /// What idle instances take, in bytes.
    pub fn idle_bytes(&self) -> u64 {
        self.idle().instances.iter().map(|live| INSTANCE_BYTES + live.private_bytes()).sum()
    }

    /// Lets go of idle instances that hold a file in which the image is not any more.
    pub fn moved_to(&self, image: &Image) {
        let lagging: Vec<Live> = self.idle().instances.extract_if(.., |live| live.lags(image)).collect();
        // Unmapping them keeps nobody else waiting.
        drop(lagging);
    }

    /// Lets go of idle instances, until the process is [awake](Self::wake) again.
    pub fn rest(&self) {
        let mut idle = self.idle();
        idle.rests = true;
        let instances = mem::take(&mut idle.instances);
        drop(idle);
        drop(instances);
    }

    /// Somebody needs the process.
    pub fn wake(&self) {
        self.idle().rests = false;
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, mut live: Live) {
        // An idle instance holds little memory, and no image that nobody needs any more.
        if self.module.inner.lifetime == Lifetime::OneMessage || live.let_go().is_err() {
            return;
        }
        let mut idle = self.idle();
        if !idle.rests && idle.instances.len() < MAX_IDLE_INSTANCES {
            idle.instances.push(live);
        }
    }
}

/// Whatever keeps an instance from being made after the first one is this computer's problem.
pub(super) fn host_failure(error: MachineError) -> HostFailure {
    match error {
        MachineError::Host(failure) => failure,
        MachineError::System(error) => HostFailure::System(error),
        other => HostFailure::Engine(other.to_string()),
    }
}

pub(super) fn evaluate(returned: Returned) -> (Evaluation, bool) {
    let gas_used = returned.gas_used;
    match returned.text {
        Ok(text) => {
            let (outcome, keep) = answer::read(&text);
            (Evaluation { outcome, gas_used, returned: Some(text) }, keep)
        }
        Err(value) => (Evaluation { outcome: Outcome::Thrown(value), gas_used, returned: None }, false),
    }
}
