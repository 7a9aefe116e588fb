//! One instance of a module: it is shown a memory, runs a message, and knows how the message ended.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use wasmtime::{Global, Instance, Memory, Mutability, Store, Trap, Val};

use super::{
    Drive, HostFailure, MachineError, Module, NoDrive, depth, emscripten,
    engine::Engine,
    format::HostKind,
    gas::{self, Counter, Meter},
    host::{self, Entry, Growth, Host},
    inspect::{GLOBAL_PREFIX, Lifetime},
    memory::{Creator, Image, NotCommitted, PollPage, Region},
    native,
};

/// Largest limit that the engine can count to.
const MAX_COMPUTE: u64 = i64::MAX as u64 - 1;
/// Instructions a module may spend on its own set-up.
const SET_UP_FUEL: u64 = 20_000_000_000;
/// What a message ends with whose calls go too deep. The words are those of the engine.
const EXHAUSTED: &str = "wasm trap: call stack exhausted";
/// Longest time a module's own set-up may take.
const SET_UP_WALL_CLOCK: Duration = Duration::from_secs(30);

/// What every instance of a module starts from: memory and mutable globals after set-up.
pub(super) struct Initial {
    pub image: Arc<Image>,
    /// The mutable globals with their indices.
    pub globals: Vec<(u32, Val)>,
}

/// How the guest is entered.
enum Guest {
    Narrow(emscripten::Handle<i32>),
    Wide(emscripten::Handle<i64>),
    WasiNarrow(emscripten::wasi::Handle<i32>),
    WasiWide(emscripten::wasi::Handle<i64>),
    Native(native::Handle),
}

/// An instance.
pub(super) struct Live {
    engine: Engine,
    /// Whether the module counts fuel.
    metered: bool,
    meter: Meter,
    store: Store<Host>,
    instance: Instance,
    memory: Memory,
    region: Region,
    /// By what it is stopped, if it does not count the ticks of the engine's clock.
    poll: Option<Arc<PollPage>>,
    guest: Guest,
    /// The mutable globals, with their values after set-up.
    globals: Vec<(u32, Global, Val)>,
}

/// Why a call gave no text.
pub(super) enum Stop {
    /// The process's own failure, with what results show as `Error`.
    Thrown(Value),
    /// Not the process's failure.
    Host(HostFailure),
}

/// What a call that came back gave.
pub(super) struct Returned {
    pub text: Result<String, Value>,
    pub gas_used: u64,
}

impl Initial {
    /// Instantiates the module, lets it set itself up, and keeps what that gave.
    pub fn build(module: &Module) -> Result<Self, MachineError> {
        let ceiling = module.inner.engine.options().memory_ceiling_bytes;
        let growth = Growth::new(None, ceiling);
        let mut live = Live::instantiate(module, growth, Arc::new(NoDrive))?;
        live.set_up()?;
        let bytes = live.memory.data(&live.store);
        let mut image = Image::zeroed(bytes.len())?;
        image.write_sparse(0, bytes)?;
        let globals = live.globals.iter().map(|(index, global, _)| (*index, global.get(&mut live.store))).collect();
        Ok(Self { image: Arc::new(image), globals })
    }
}

impl Live {
    /// An instance that shows `image`.
    pub fn new(module: &Module, growth: Growth, drive: Arc<dyn Drive>, image: &Image) -> Result<Self, MachineError> {
        let initial = module.initial()?;
        let mut live = Self::instantiate(module, growth, drive)?;
        if module.inner.lifetime == Lifetime::OneMessage {
            // Tables and unexported globals get what set-up gives them; what it writes to memory is covered by the image.
            live.set_up()?;
        }
        for ((_, _, value), (_, initial)) in live.globals.iter_mut().zip(&initial.globals) {
            *value = *initial;
        }
        live.show(image)?;
        Ok(live)
    }

    fn instantiate(module: &Module, mut growth: Growth, drive: Arc<dyn Drive>) -> Result<Self, MachineError> {
        let compiled = &module.inner;
        let engine = compiled.engine.clone();
        let profile = compiled.format.profile();
        let unwinds = profile.instrumented || engine.options().reference_memory;
        // What a module begins with, and the page it is stopped by, is not growth.
        let limit_bytes = growth.limit_bytes.take();
        let mut store =
            Store::new(compiled.instance.module().engine(), Host::new(growth, profile.generation, unwinds, drive));
        store.limiter(|host| &mut host.growth);
        store.data_mut().metered = compiled.metered;
        let failed = |error: wasmtime::Error| match error.downcast::<HostFailure>() {
            Ok(failure) => MachineError::Host(failure),
            Err(error) => MachineError::SetUp(format!("{error:#}")),
        };
        // Instantiating runs no code (no start function), but copying segments is charged.
        if compiled.metered {
            store.set_fuel(SET_UP_FUEL).map_err(failed)?;
        }
        store.data().watch.clock.start(engine.options().wall_clock.min(SET_UP_WALL_CLOCK));
        if !compiled.polls {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(host::tick);
        }
        Creator::forget();
        let instance = match compiled.instance.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return Err(Region::refused().map_or_else(|| failed(error), MachineError::System)),
        };
        store.data_mut().growth.limit_bytes = limit_bytes;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| MachineError::SetUp("no memory is exported".to_owned()))?;
        let region = Region::created(&mut store, &memory)?;
        let poll = if compiled.polls {
            let watch = store.data().watch.clone();
            let poll = PollPage::created(&mut store, &region, move |memory_bytes| watch.breathe(memory_bytes))?;
            engine.watch(&poll);
            Some(poll)
        } else {
            None
        };
        store.data_mut().memory = Some(memory);
        store.data_mut().gas = Counter::of(&mut store, &instance);
        store.data_mut().room = instance.get_global(&mut store, depth::ROOM_EXPORT);
        // Set-up is not billed.
        gas::begin(&mut store, u64::MAX).map_err(failed)?;
        let guest = match (profile.host, profile.wide) {
            (HostKind::Emscripten, false) => {
                let (handle, exports) =
                    emscripten::Handle::<i32>::new(&mut store, &instance, profile.generation).map_err(failed)?;
                store.data_mut().narrow = Some(exports);
                Guest::Narrow(handle)
            }
            (HostKind::Emscripten, true) => {
                let (handle, exports) =
                    emscripten::Handle::<i64>::new(&mut store, &instance, profile.generation).map_err(failed)?;
                store.data_mut().wide = Some(exports);
                Guest::Wide(handle)
            }
            (HostKind::Wasi, false) => {
                let (handle, exports) = emscripten::wasi::Handle::new(&mut store, &instance).map_err(failed)?;
                store.data_mut().narrow = exports;
                Guest::WasiNarrow(handle)
            }
            (HostKind::Wasi, true) => {
                let (handle, exports) = emscripten::wasi::Handle::new(&mut store, &instance).map_err(failed)?;
                store.data_mut().wide = exports;
                Guest::WasiWide(handle)
            }
            (HostKind::Native, _) => Guest::Native(native::Handle::new(&mut store, &instance).map_err(failed)?),
        };
        let mut globals = Vec::new();
        for export in compiled.instance.module().exports() {
            if let Some(index) = export.name().strip_prefix(GLOBAL_PREFIX).and_then(|index| index.parse().ok())
                && export.ty().global().is_some_and(|ty| ty.mutability() == Mutability::Var)
                && let Some(global) = instance.get_global(&mut store, export.name())
            {
                let value = global.get(&mut store);
                globals.push((index, global, value));
            }
        }
        Ok(Self {
            engine,
            metered: compiled.metered,
            meter: compiled.meter,
            store,
            instance,
            memory,
            region,
            poll,
            guest,
            globals,
        })
    }

    /// What the module's loader does before the first message (spec 06 §2).
    fn set_up(&mut self) -> Result<(), MachineError> {
        self.begin()?;
        let result = match &self.guest {
            Guest::Narrow(handle) => handle.set_up(&mut self.store, &self.instance),
            Guest::Wide(handle) => handle.set_up(&mut self.store, &self.instance),
            Guest::WasiNarrow(handle) => handle.set_up(&mut self.store, &self.instance),
            Guest::WasiWide(handle) => handle.set_up(&mut self.store, &self.instance),
            Guest::Native(_) => Ok(()),
        };
        if let Some(failure) = self.end() {
            return Err(MachineError::Host(failure));
        }
        result.map_err(|error| match stop(error) {
            _ if self.is_out_of_room() => MachineError::SetUp(EXHAUSTED.to_owned()),
            Stop::Thrown(reason) => MachineError::SetUp(reason.to_string()),
            Stop::Host(failure) => MachineError::Host(failure),
        })
    }

    /// From here on the guest runs.
    fn begin(&mut self) -> std::io::Result<()> {
        match &self.poll {
            Some(poll) => poll.begin()?,
            None => self.store.set_epoch_deadline(1),
        }
        Ok(())
    }

    /// It has ended. If it was stopped, that is how, whatever came of it.
    fn end(&self) -> Option<HostFailure> {
        self.poll.as_ref().and_then(|poll| poll.end())
    }

    /// Whether a function that counts found no room: it has trapped, and nobody has come to put anything back.
    fn is_out_of_room(&mut self) -> bool {
        let room = self.store.data().room;
        room.is_some_and(|room| room.get(&mut self.store).i32().is_some_and(|left| left < 0))
    }

    /// Shows another memory. Fails when the present one is longer, since a memory cannot shrink.
    pub fn show(&mut self, image: &Image) -> Result<(), MachineError> {
        let pages = image.len().saturating_sub(self.memory_len()) as u64 / self.memory.page_size(&self.store);
        if pages > 0 {
            // What a state already has was allowed when it got it.
            let growth = std::mem::replace(&mut self.store.data_mut().growth, Growth::new(None, u64::MAX));
            let grown = self.memory.grow(&mut self.store, pages);
            self.store.data_mut().growth = growth;
            grown.map_err(|error| match error.downcast::<HostFailure>() {
                Ok(failure) => MachineError::Host(failure),
                Err(error) => MachineError::SetUp(format!("memory cannot have {} bytes: {error:#}", image.len())),
            })?;
        }
        self.region.show(&mut self.store, &self.memory, image)?;
        Ok(())
    }

    /// Evaluates a message with at most `compute` gas.
    pub fn run(&mut self, entry: &Entry, compute: u64) -> Result<Returned, HostFailure> {
        self.run_within(entry, compute, self.engine.options().wall_clock)
    }

    /// The same in at most this time.
    pub fn run_within(&mut self, entry: &Entry, compute: u64, limit: Duration) -> Result<Returned, HostFailure> {
        for (_, global, value) in &self.globals {
            global.set(&mut self.store, *value).map_err(engine_failure)?;
        }
        self.store.data_mut().begin(entry.clone());
        // The engine looks at its fuel only where functions and rounds of loops begin: whoever has used up one more than is allowed
        // has gone above the limit, wherever it ended.
        let fuel = if self.meter == Meter::Fuel { compute.min(MAX_COMPUTE) + 1 } else { i64::MAX as u64 };
        if self.metered {
            self.store.set_fuel(fuel).map_err(engine_failure)?;
        }
        if self.meter == Meter::Gas {
            gas::begin(&mut self.store, compute).map_err(engine_failure)?;
        }
        if let Some(room) = self.store.data().room {
            room.set(&mut self.store, Val::I32(depth::ROOM_BYTES)).map_err(engine_failure)?;
        }
        self.store.data().watch.clock.start(limit);
        self.begin()?;
        let ended = match &self.guest {
            Guest::Narrow(handle) => handle.call(&mut self.store, entry),
            Guest::Wide(handle) => handle.call(&mut self.store, entry),
            Guest::WasiNarrow(handle) => handle.call(&mut self.store, entry),
            Guest::WasiWide(handle) => handle.call(&mut self.store, entry),
            Guest::Native(handle) => handle.call(&mut self.store, entry),
        };
        if let Some(failure) = self.end() {
            return Err(failure);
        }
        let remaining = if self.metered { self.store.get_fuel().map_err(engine_failure)? } else { fuel };
        let gas_used = match (self.meter, &self.guest) {
            (Meter::Fuel, Guest::Native(_)) => (fuel - remaining).min(fuel - 1),
            (Meter::Fuel, _) => 0,
            (Meter::Gas, _) => gas::used(&mut self.store),
        };
        let ended = match ended {
            Err(error) if error.is::<HostFailure>() => Err(error),
            _ if self.meter == Meter::Fuel && remaining == 0 => Err(Trap::OutOfFuel.into()),
            // The counter added to a module can only trap.
            Err(_) if self.meter == Meter::Gas && gas_used > compute => Err(Trap::OutOfFuel.into()),
            Err(_) if self.is_out_of_room() => Ok(Err(Value::String(EXHAUSTED.to_owned()))),
            ended => ended.map(Ok),
        };
        match ended {
            Ok(text) => Ok(Returned { text, gas_used }),
            Err(error) => match stop(error) {
                Stop::Thrown(value) => Ok(Returned { text: Err(value), gas_used }),
                Stop::Host(failure) => Err(failure),
            },
        }
    }

    /// Whether the last message read something that may read differently next time.
    pub fn used_drive(&self) -> bool {
        self.store.data().emscripten.used_drive()
    }

    /// See [`Region::discard`].
    pub fn discard(&mut self) -> std::io::Result<bool> {
        self.region.discard(&mut self.store, &self.memory)
    }

    /// See [`Region::commit`].
    pub fn commit(&mut self, image: &mut Arc<Image>) -> Result<bool, NotCommitted> {
        self.region.commit(&mut self.store, &self.memory, image)
    }

    /// See [`Region::let_go`].
    pub fn let_go(&mut self) -> std::io::Result<()> {
        self.region.let_go(&mut self.store, &self.memory)
    }

    /// See [`Region::lags`].
    pub fn lags(&self, image: &Image) -> bool {
        self.region.lags(image)
    }

    /// See [`Region::private_bytes`].
    pub fn private_bytes(&self) -> u64 {
        self.region.private_bytes() as u64
    }

    /// Length of memory in bytes.
    pub fn memory_len(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// All of memory.
    pub fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }
}

fn engine_failure(error: wasmtime::Error) -> HostFailure {
    HostFailure::Engine(format!("{error:#}"))
}

/// Sorts an error that ended a call by whose it is. Texts are part of results, so they must be the same everywhere.
fn stop(error: wasmtime::Error) -> Stop {
    let error = match error.downcast::<HostFailure>() {
        Ok(failure) => return Stop::Host(failure),
        Err(error) => error,
    };
    if let Some(ended) = emscripten::Ended::of(&error) {
        return Stop::Thrown(ended.to_value());
    }
    if let Some(failed) = error.downcast_ref::<native::Failed>() {
        return Stop::Thrown(Value::String(failed.to_string()));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Stop::Thrown(Value::String("out of gas!".to_owned())),
        // Where that happens differs from computer to computer, so it is no result.
        Some(Trap::StackOverflow) => Stop::Host(HostFailure::NativeStack),
        Some(trap) => Stop::Thrown(Value::String(trap.to_string())),
        None => Stop::Host(engine_failure(error)),
    }
}
