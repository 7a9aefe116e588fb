//! The shared Wasm engine: its one configuration, compilation, and the clock that guards the operator.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::{Config, InstancePre, Linker, OptLevel, Strategy};

use super::{
    CompileError, EngineOptions, Error, Format, MachineError, PageTree,
    cache::Cache,
    depth, emscripten,
    format::{HostKind, Profile},
    gas::{self, Meter},
    host::Host,
    inspect::{self, Lifetime},
    instance::Initial,
    memory::{Creator, PollPage, PollPages},
    narrow, native, polls,
};

/// Native stack of the guest's code, in bytes. Functions count what they take (`depth`) and stop before this is used up, so that
/// where they stop does not depend on the compiler. A sixteenth is left for where the host enters.
const WASM_STACK_BYTES: usize = {
    let counted = depth::NATIVE_PER_BYTE * (depth::ROOM_BYTES as u64 + depth::MAX_STRAIGHT_BYTES);
    (counted + counted / 16) as usize
};
const _: () = assert!(WASM_STACK_BYTES + (4 << 20) <= super::EVALUATION_STACK_BYTES);
/// Address space of one memory, in bytes: the heap limit of the 64-bit official formats (spec 06 §4.4). Reserved, not used: it lets
/// compiled code check bounds against a constant and keep the memory's address in a register.
const RESERVATION_BYTES: u64 = 16 << 30;
/// Address space of a 32-bit memory: all that 32 bits reach.
const NARROW_RESERVATION_BYTES: u64 = 4 << 30;
/// Address space after it: what offsets reach from there.
const NARROW_GUARD_BYTES: u64 = 4 << 30;
/// How often running evaluations look at the wall clock.
const CLOCK_TICK: Duration = Duration::from_millis(100);

/// Fuel that no message can use up within [`MAX_WALL_CLOCK`](super::MAX_WALL_CLOCK): it would take 30 instructions in every
/// nanosecond. It is also the largest `Compute-Limit` units accept by default, and the one nearly every process has.
pub const UNREACHABLE_FUEL: u64 = 9_000_000_000_000;

/// The shared engine. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Shared>,
}

pub(super) struct Shared {
    pub options: EngineOptions,
    engines: Engines,
    cache: Option<Cache>,
    poll_pages: Arc<PollPages>,
    /// Ends with the engine.
    _clock: Clock,
}

/// What code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The official formats: NaNs as the processor makes them, which is what deployed hosts do (spec 06 §8).
    Official,
    /// The same without fuel, for limits of [`UNREACHABLE_FUEL`] and more.
    Unmetered,
    /// The same with a 32-bit memory, and a page that it is stopped by (`polls`); the others count ticks.
    Narrow,
    /// Our own format: canonical NaNs.
    Native,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Official, Self::Unmetered, Self::Narrow, Self::Native];

    /// What a module of `profile` is to be compiled for, counting fuel or not, before anything is known of its memory.
    fn of(profile: &Profile, metered: bool) -> Self {
        match profile.host {
            HostKind::Native => Self::Native,
            HostKind::Emscripten | HostKind::Wasi if metered => Self::Official,
            HostKind::Emscripten | HostKind::Wasi if profile.wide => Self::Unmetered,
            HostKind::Emscripten | HostKind::Wasi => Self::Narrow,
        }
    }

    /// What [`Self::finish`] may make of it, the likelier first.
    fn outcomes(self) -> impl Iterator<Item = Self> {
        (self == Self::Unmetered).then_some(Self::Narrow).into_iter().chain([self])
    }

    /// The last changes to a module, and what it is compiled for after them: one whose memory can be narrowed becomes [`Self::Narrow`]. Where
    /// fuel is counted nothing is changed: other instructions than the module's would count.
    fn finish(self, wasm: &[u8]) -> Result<(Self, Cow<'_, [u8]>), CompileError> {
        let narrow = match self {
            Self::Official | Self::Native => None,
            Self::Narrow => Some(Cow::Borrowed(wasm)),
            Self::Unmetered => narrow::narrow(wasm)?.map(Cow::Owned),
        };
        let Some(narrow) = narrow else { return Ok((self, Cow::Borrowed(wasm))) };
        let polling = polls::add(&narrow).map_err(|error| CompileError::Invalid(error.to_string()))?;
        Ok((Self::Narrow, Cow::Owned(polling)))
    }
}

/// One of each kind.
struct Engines([wasmtime::Engine; 4]);

impl Engines {
    fn new() -> wasmtime::Result<Self> {
        let [a, b, c, d] = Kind::ALL.map(|kind| wasmtime::Engine::new(&config(kind)));
        Ok(Self([a?, b?, c?, d?]))
    }

    fn of(&self, kind: Kind) -> &wasmtime::Engine {
        &self.0[kind as usize]
    }
}

/// A compiled module. Clones are the same module.
#[derive(Clone)]
pub struct Module {
    pub(super) inner: Arc<Compiled>,
}

pub(super) struct Compiled {
    pub engine: Engine,
    pub format: Format,
    /// Whether it counts fuel.
    pub metered: bool,
    /// Whether it is stopped by a page that it writes to.
    pub polls: bool,
    /// Who counts its gas.
    pub meter: Meter,
    pub lifetime: Lifetime,
    /// BLAKE3 hash of the module as it was given.
    pub digest: [u8; 32],
    pub instance: InstancePre<Host>,
    /// Memory and globals after set-up, or why there is none, once somebody needed them.
    pub initial: OnceLock<Result<Initial, String>>,
}

impl Engine {
    /// Sets the engine up.
    pub fn new(options: EngineOptions) -> Result<Self, Error> {
        let engines = Engines::new().map_err(|error| Error::Engine(error.to_string()))?;
        if !cfg!(target_arch = "x86_64") {
            tracing::warn!(
                "official modules print NaN with another sign on this processor than on x86-64, where the network runs"
            );
        }
        let cache = options.cache_dir.as_deref().map(Cache::open).transpose()?;
        let poll_pages = Arc::<PollPages>::default();
        let clock = Clock::start(engines.0.to_vec(), poll_pages.clone()).map_err(Error::Clock)?;
        Ok(Self { inner: Arc::new(Shared { options, engines, cache, poll_pages, _clock: clock }) })
    }

    /// Compiles a module, or loads it from the cache. Blocks for as long as that takes (seconds for an official module).
    pub fn compile(&self, wasm: &[u8], format: Format) -> Result<Module, CompileError> {
        self.compile_metered(wasm, format, true)
    }

    /// The same for processes whose `Compute-Limit` is `compute`: an official module does not count fuel when
    /// [`counts_fuel`] says that it need not.
    pub fn compile_for(&self, wasm: &[u8], format: Format, compute: u64) -> Result<Module, CompileError> {
        self.compile_metered(wasm, format, counts_fuel(format, compute))
    }

    fn compile_metered(&self, wasm: &[u8], format: Format, metered: bool) -> Result<Module, CompileError> {
        let profile = format.profile();
        // Instrumented ones count gas themselves.
        let metered = metered && !profile.instrumented;
        let kind = Kind::of(&profile, metered);
        if wasm.len() > super::MAX_MODULE_BYTES {
            return Err(CompileError::TooLarge { bytes: wasm.len(), limit: super::MAX_MODULE_BYTES });
        }
        let engine = |kind| self.inner.engines.of(kind);
        let stored = |kind| Some((self.inner.cache.as_ref()?, Cache::key(wasm, format.as_str(), engine(kind))));
        let cached = kind.outcomes().find_map(|kind| {
            let (cache, key) = stored(kind)?;
            let (module, lifetime) = thaw(engine(kind), &cache.load(&key)?)?;
            Some((kind, module, lifetime))
        });
        let (kind, module, lifetime) = match cached {
            Some(cached) => cached,
            None => {
                let inspected = inspect::inspect(wasm, format)?;
                let (kind, wasm) = kind.finish(&inspected.wasm)?;
                let module = wasmtime::Module::from_binary(engine(kind), &wasm)
                    .map_err(|error| CompileError::Invalid(format!("{error:#}")))?;
                depth::check_frames(&module, &inspected.frames)?;
                if let Some((cache, key)) = stored(kind) {
                    freeze(cache, &key, &module, inspected.lifetime);
                }
                (kind, module, inspected.lifetime)
            }
        };
        let engine = engine(kind);
        let wrong = |reason: String| CompileError::Format { format: format.as_str(), reason };
        let mut linker = Linker::new(engine);
        match (profile.host, profile.wide) {
            (HostKind::Emscripten, false) => emscripten::link::<i32>(&mut linker, &module, profile.generation),
            (HostKind::Emscripten, true) => emscripten::link::<i64>(&mut linker, &module, profile.generation),
            (HostKind::Wasi, false) => emscripten::wasi::link::<i32>(&mut linker, &module),
            (HostKind::Wasi, true) => emscripten::wasi::link::<i64>(&mut linker, &module),
            (HostKind::Native, _) => Ok(()),
        }
        .and_then(|()| if profile.host == HostKind::Native { Ok(()) } else { gas::link(&mut linker, &module) })
        .map_err(|error| wrong(format!("{error:#}")))?;
        match (profile.host, profile.wide) {
            (HostKind::Emscripten, false) => emscripten::check_exports::<i32>(&module, profile.generation),
            (HostKind::Emscripten, true) => emscripten::check_exports::<i64>(&module, profile.generation),
            (HostKind::Wasi, false) => emscripten::wasi::check_exports::<i32>(&module),
            (HostKind::Wasi, true) => emscripten::wasi::check_exports::<i64>(&module),
            (HostKind::Native, _) => native::check_exports(&module),
        }
        .map_err(wrong)?;
        let meter = Meter::of(profile, &module);
        let instance = linker.instantiate_pre(&module).map_err(|error| wrong(format!("{error:#}")))?;
        let digest = blake3::hash(wasm).into();
        let initial = OnceLock::new();
        let (engine, polls) = (self.clone(), kind == Kind::Narrow);
        let compiled = Compiled { engine, format, metered, polls, meter, lifetime, digest, instance, initial };
        Ok(Module { inner: Arc::new(compiled) })
    }

    /// Has an instance asked at every tick of the clock whether it may go on.
    pub(super) fn watch(&self, page: &Arc<PollPage>) {
        self.inner.poll_pages.add(page);
    }

    pub(super) fn options(&self) -> &EngineOptions {
        &self.inner.options
    }
}

impl Module {
    /// Its format.
    pub fn format(&self) -> Format {
        self.inner.format
    }

    /// Bytes of linear memory after set-up.
    pub fn initial_memory_bytes(&self) -> Result<u64, MachineError> {
        Ok(self.initial()?.image.len() as u64)
    }

    /// Most bytes of linear memory that the module itself allows, if it says so.
    pub(super) fn maximum_memory_bytes(&self) -> Option<u64> {
        let memory = self.inner.instance.module().get_export("memory")?;
        let memory = memory.memory()?;
        Some(memory.maximum()?.saturating_mul(memory.page_size()))
    }

    /// Hashes of the pages that every process of this module starts from, which checkpoints need not store.
    pub fn initial_tree(&self) -> Result<PageTree, MachineError> {
        Ok(self.initial()?.image.tree()?)
    }

    pub(super) fn initial(&self) -> Result<&Initial, MachineError> {
        let built = match self.inner.initial.get() {
            Some(built) => built,
            None => {
                let built = match Initial::build(self) {
                    Ok(initial) => Ok(initial),
                    // It fails so every time.
                    Err(MachineError::SetUp(reason)) => Err(reason),
                    Err(error) => return Err(error),
                };
                // Two threads may have built it; they are equal.
                self.inner.initial.get_or_init(|| built)
            }
        };
        built.as_ref().map_err(|reason| MachineError::SetUp(reason.clone()))
    }
}

/// What compiling a module costs about, in units of which a core does some 25 million in a second; an error if it will not be
/// compiled anyway.
pub fn compile_cost(wasm: &[u8], format: Format) -> Result<u64, CompileError> {
    inspect::inspect(wasm, format).map(|inspected| inspected.cost)
}

/// Whether modules of `format` count fuel under a `Compute-Limit` of `compute`. Native ones always do, because their gas is
/// reported. Those of the metered formats never do: they count the reference's gas. The other official ones do below [`UNREACHABLE_FUEL`]; from there on the wall clock stops a message before its instructions
/// could reach the limit, and counting them would cost a sixth of the guest's time. (Bytes that imports move are then not
/// charged either, only bounded call by call.) Depends on tags alone, so that every compute unit runs the same code.
pub fn counts_fuel(format: Format, compute: u64) -> bool {
    let profile = format.profile();
    match profile.host {
        HostKind::Native => true,
        HostKind::Emscripten | HostKind::Wasi => !profile.instrumented && compute < UNREACHABLE_FUEL,
    }
}

/// The configuration of the engine of a kind.
fn config(kind: Kind) -> Config {
    let native = kind == Kind::Native;
    let narrow = kind == Kind::Narrow;
    let metered = matches!(kind, Kind::Official | Kind::Native);
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(native)
        .consume_fuel(metered)
        .epoch_interruption(!narrow)
        .max_wasm_stack(WASM_STACK_BYTES)
        // Nothing here is asynchronous; the engine only wants it to be larger.
        .async_stack_size(WASM_STACK_BYTES + (1 << 20))
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .wasm_memory64(!native)
        // Of the module's own there is one (`inspect`).
        .wasm_multi_memory(narrow)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        // wasmtime's own copy-on-write images need its own memories; ours replaces both.
        .memory_init_cow(false)
        .memory_may_move(false)
        .memory_reservation(if native || narrow { NARROW_RESERVATION_BYTES } else { RESERVATION_BYTES })
        .with_host_memory(Arc::new(Creator));
    if narrow {
        config.memory_guard_size(NARROW_GUARD_BYTES);
    }
    config
}

const LIFETIME_MANY: u8 = 1;
const LIFETIME_ONE: u8 = 2;

fn freeze(cache: &Cache, key: &str, module: &wasmtime::Module, lifetime: Lifetime) {
    match module.serialize() {
        Ok(code) => {
            let mut body = Vec::with_capacity(code.len() + 1);
            body.extend_from_slice(&code);
            body.push(match lifetime {
                Lifetime::ManyMessages => LIFETIME_MANY,
                Lifetime::OneMessage => LIFETIME_ONE,
            });
            cache.store(key, &body);
        }
        Err(error) => tracing::warn!(key, %error, "cannot serialise a compiled module"),
    }
}

fn thaw(engine: &wasmtime::Engine, body: &[u8]) -> Option<(wasmtime::Module, Lifetime)> {
    let (lifetime, code) = body.split_last()?;
    let lifetime = match *lifetime {
        LIFETIME_MANY => Lifetime::ManyMessages,
        LIFETIME_ONE => Lifetime::OneMessage,
        _ => return None,
    };
    // SAFETY: the bytes are what `Module::serialize` of this wasmtime and these settings gave: the file is named after
    // both, its digest was checked, and nobody but this user could write it or its folder (`Cache`). wasmtime checks its version,
    // the settings and the processor once more.
    match unsafe { wasmtime::Module::deserialize(engine, code) } {
        Ok(module) => Some((module, lifetime)),
        Err(error) => {
            tracing::warn!(%error, "a compiled module does not load, compiling again");
            None
        }
    }
}

/// A thread that has running evaluations look at the clock, while any engine lives.
struct Clock {
    /// Dropping it ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    fn start(engines: Vec<wasmtime::Engine>, poll_pages: Arc<PollPages>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("wasm-clock".to_owned()).spawn(move || {
            while stopped.recv_timeout(CLOCK_TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                for engine in &engines {
                    engine.increment_epoch();
                }
                poll_pages.close();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the wall-clock thread panicked");
        }
    }
}
