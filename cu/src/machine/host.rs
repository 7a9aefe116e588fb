//! What the host keeps for one instance, and begins anew with each message (spec 06 §7).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holon_protocol::Tags;
use wasmtime::{Global, Memory, ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::{
    Call, Drive, DriveContext, HostFailure, emscripten,
    format::Generation,
    gas::Counter,
    pace::{self, Progress},
};

/// Most elements of a module's tables together; the largest examined module has about a thousand.
const MAX_TABLE_ELEMENTS: usize = 1 << 17;

/// A call that outlives its caller: kept until the next commit, to be applied again after a rollback.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub message: Arc<str>,
    pub environment: Arc<str>,
    pub block_height: u64,
    pub tags: Arc<CallTags>,
}

/// Tags of process and module.
#[derive(Debug, PartialEq)]
pub(super) struct CallTags {
    pub process: Tags,
    pub module: Tags,
}

impl Entry {
    /// Takes what does not change between messages from `previous`, if it is the same.
    pub fn new(call: &Call<'_>, previous: Option<&Entry>) -> Self {
        let environment = match previous {
            Some(previous) if &*previous.environment == call.environment => Arc::clone(&previous.environment),
            _ => Arc::from(call.environment),
        };
        let tags = match previous {
            Some(previous)
                if &previous.tags.process == call.process_tags && &previous.tags.module == call.module_tags =>
            {
                Arc::clone(&previous.tags)
            }
            _ => Arc::new(CallTags { process: call.process_tags.clone(), module: call.module_tags.clone() }),
        };
        Self { message: Arc::from(call.message), environment, block_height: call.block_height, tags }
    }

    pub fn drive_context(&self) -> DriveContext<'_> {
        DriveContext {
            block_height: self.block_height,
            process_tags: &self.tags.process,
            module_tags: &self.tags.module,
        }
    }
}

/// Data of an instance's store.
pub(super) struct Host {
    /// The instance's memory, once there is one.
    pub memory: Option<Memory>,
    /// Exports of a 32-bit official module.
    pub narrow: Option<emscripten::Exports<i32>>,
    /// Exports of a 64-bit official module.
    pub wide: Option<emscripten::Exports<i64>>,
    pub growth: Growth,
    /// Whether the instance counts fuel.
    pub metered: bool,
    pub gas: Counter,
    /// Room for calls inside each other, where functions count it.
    pub room: Option<Global>,
    /// Whether the guest is left and entered again around calls of WeaveDrive (spec 06 §5.2).
    pub unwinds: bool,
    pub watch: Arc<Watch>,
    pub emscripten: emscripten::State,
    pub drive: Arc<dyn Drive>,
    /// The message being evaluated; none during set-up.
    pub entry: Option<Entry>,
}

impl Host {
    pub fn new(growth: Growth, generation: Generation, unwinds: bool, drive: Arc<dyn Drive>) -> Self {
        let watch = Arc::new(Watch::default());
        Self {
            memory: None,
            narrow: None,
            wide: None,
            growth,
            metered: false,
            gas: Counter::default(),
            room: None,
            unwinds,
            emscripten: emscripten::State::new(generation, &watch.held),
            watch,
            drive,
            entry: None,
        }
    }

    /// Fresh host state for a message.
    pub fn begin(&mut self, entry: Entry) {
        self.watch.held.0.store(0, Ordering::Relaxed);
        self.emscripten = emscripten::State::new(self.emscripten.generation, &self.watch.held);
        self.entry = Some(entry);
    }
}

/// What is looked at while a call runs, also from where the host's own data cannot be reached.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub clock: Clock,
    pub held: Held,
}

impl Watch {
    /// What the host does in the middle of a guest's long work, or of its own for a guest with so many bytes of memory: it lets others have
    /// their turn, and looks at the clock.
    pub fn breathe(&self, memory_bytes: usize) -> Result<(), HostFailure> {
        let memory_bytes = memory_bytes as u64 + self.held.bytes();
        self.clock.pause(pace::pace(&Progress { memory_bytes })?);
        if self.clock.is_over() { Err(self.clock.failure()) } else { Ok(()) }
    }
}

/// What a mutex holds, whoever panicked over it: nothing here is left half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that the host holds for a message. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<AtomicU64>);

impl Held {
    /// Takes note that so many bytes have become so many.
    pub fn change(&self, from: u64, to: u64) {
        self.0.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }

    /// How many they are.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The wall clock of one call: how long it has run, without the pauses its pacer made.
#[derive(Debug)]
pub(super) struct Clock(Mutex<Time>);

#[derive(Debug)]
struct Time {
    limit: Duration,
    started: Instant,
    paused: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Self(Mutex::new(Time { limit: Duration::MAX, started: Instant::now(), paused: Duration::ZERO }))
    }
}

impl Clock {
    /// Starts anew.
    pub fn start(&self, limit: Duration) {
        *lock(&self.0) = Time { limit, started: Instant::now(), paused: Duration::ZERO };
    }

    /// Leaves out time that the pacer let the call wait.
    pub fn pause(&self, paused: Duration) {
        lock(&self.0).paused += paused;
    }

    /// Whether the call has run for longer than it may.
    pub fn is_over(&self) -> bool {
        let time = lock(&self.0);
        time.started.elapsed().saturating_sub(time.paused) > time.limit
    }

    /// What ends such a call.
    pub fn failure(&self) -> HostFailure {
        HostFailure::WallClock { limit: lock(&self.0).limit }
    }
}

/// What a running guest does at every tick of the engine's clock, where it counts them.
pub(super) fn tick(store: StoreContextMut<'_, Host>) -> wasmtime::Result<UpdateDeadline> {
    let memory_bytes = store.data().memory.map_or(0, |memory| memory.data_size(&store));
    store.data().watch.breathe(memory_bytes)?;
    Ok(UpdateDeadline::Continue(1))
}

/// Bounds on what an instance may allocate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    /// Growth beyond this fails for the guest; none where only the module's own maximum counts.
    pub limit_bytes: Option<u64>,
    /// Growth beyond this ends the evaluation without a result.
    pub ceiling_bytes: u64,
    /// Elements of the tables there are.
    table_elements: usize,
}

impl Growth {
    /// Bounds for a new instance.
    pub fn new(limit_bytes: Option<u64>, ceiling_bytes: u64) -> Self {
        Self { limit_bytes, ceiling_bytes, table_elements: 0 }
    }
}

impl ResourceLimiter for Growth {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let desired = desired as u64;
        if maximum.is_some_and(|maximum| desired > maximum as u64)
            || self.limit_bytes.is_some_and(|limit| desired > limit)
        {
            return Ok(false);
        }
        if desired > self.ceiling_bytes {
            return Err(HostFailure::MemoryCeiling { bytes: desired, limit: self.ceiling_bytes }.into());
        }
        Ok(true)
    }

    /// What the operating system refuses must not become an answer that the guest sees: other computers would give another.
    /// Growth beyond the type's or the engine's maximum is the same everywhere, and fails for the guest.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if error.is::<HostFailure>() { Err(error) } else { Ok(()) }
    }

    /// All tables count together.
    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if elements > MAX_TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = elements;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_sees_growth_fail_by_rule_and_never_for_want_of_memory() {
        let mut growth = Growth::new(Some(1 << 20), 1 << 30);
        assert!(!growth.memory_growing(0, 2 << 20, None).unwrap());
        assert!(growth.memory_grow_failed(wasmtime::Error::msg("memory growth exceeds memory type's limits")).is_ok());
        let refused = HostFailure::System(std::io::ErrorKind::OutOfMemory.into());
        let failure = growth.memory_grow_failed(refused.into()).unwrap_err();
        assert!(matches!(failure.downcast::<HostFailure>(), Ok(HostFailure::System(_))));
    }
}
