//! A module of an official format, with pointers of either width.

use wasmtime::{Caller, Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc, WasmTy};

use super::{Answer, timed};

/// Nested protected calls of Lua need more than wasmtime's default (spec 06 §5.1).
const STACK_BYTES: usize = 2 << 20;
/// First value of the date counter a module sees (spec 06 §4.3).
const FIRST_DATE: f64 = 10_004.0;
const PAGE_BYTES: u64 = 65_536;
/// Most the growth algorithm adds to what was asked (spec 06 §4.4).
const GROWTH_BYTES: f64 = 100_663_296.0;

/// A pointer of the module.
pub trait Pointer: WasmTy + Copy + 'static {
    /// The import that calls through the table, and the export that does the call.
    const INVOKE: (&'static str, &'static str);
    fn from_size(size: usize) -> wasmtime::Result<Self>;
    fn address(self) -> usize;
    fn index(self) -> i32;
    fn one() -> Self;
}

impl Pointer for i32 {
    const INVOKE: (&'static str, &'static str) = ("invoke_vii", "dynCall_vii");

    fn from_size(size: usize) -> wasmtime::Result<Self> {
        Ok(i32::try_from(size)?)
    }

    fn address(self) -> usize {
        self as u32 as usize
    }

    fn index(self) -> i32 {
        self
    }

    fn one() -> Self {
        1
    }
}

impl Pointer for i64 {
    const INVOKE: (&'static str, &'static str) = ("invoke_vjj", "dynCall_vjj");

    fn from_size(size: usize) -> wasmtime::Result<Self> {
        Ok(i64::try_from(size)?)
    }

    fn address(self) -> usize {
        self as usize
    }

    fn index(self) -> i32 {
        self as i32
    }

    fn one() -> Self {
        1
    }
}

/// What imports need of the instance.
struct Host<P: Pointer> {
    date: f64,
    exports: Option<Exports<P>>,
}

#[derive(Clone)]
struct Exports<P: Pointer> {
    memory: Memory,
    stack: TypedFunc<(), P>,
    restore_stack: TypedFunc<P, ()>,
    call: TypedFunc<(i32, P, P), ()>,
    set_threw: TypedFunc<(P, i32), ()>,
}

/// Lua's way out of nested calls.
#[derive(Debug, thiserror::Error)]
#[error("longjmp")]
struct LongJump;

/// The module, running.
pub struct Guest<P: Pointer> {
    store: Store<Host<P>>,
    exports: Exports<P>,
    handle: TypedFunc<(P, P), P>,
    place: TypedFunc<P, P>,
}

impl<P: Pointer> Guest<P> {
    pub fn new(wasm: &[u8]) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.wasm_memory64(true).max_wasm_stack(STACK_BYTES);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        imports::<P>(&mut linker)?;
        linker.define_unknown_imports_as_traps(&module)?;
        let mut store = Store::new(&engine, Host { date: FIRST_DATE, exports: None });
        let instance = linker.instantiate(&mut store, &module)?;
        let exports = set_up(&instance, &mut store)?;
        let handle = instance.get_typed_func(&mut store, "handle")?;
        let place = instance.get_typed_func(&mut store, "_emscripten_stack_alloc")?;
        Ok(Self { store, exports, handle, place })
    }

    pub fn call(&mut self, message: &str, environment: &str) -> wasmtime::Result<Answer> {
        let store = &mut self.store;
        store.data_mut().date = FIRST_DATE;
        let before = self.exports.stack.call(&mut *store, ())?;
        let mut addresses = [P::one(); 2];
        for (address, text) in addresses.iter_mut().zip([message, environment]) {
            *address = self.place.call(&mut *store, P::from_size(text.len() + 1)?)?;
            let at = address.address();
            self.exports.memory.write(&mut *store, at, text.as_bytes())?;
            self.exports.memory.write(&mut *store, at + text.len(), &[0])?;
        }
        let (time, answer) = timed(|| self.handle.call(&mut *store, (addresses[0], addresses[1])))?;
        self.exports.restore_stack.call(&mut *store, before)?;
        let bytes = &self.exports.memory.data(&*store)[answer.address()..];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok((time, String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }
}

/// Instance set-up (spec 06 §2).
fn set_up<P: Pointer>(instance: &Instance, store: &mut Store<Host<P>>) -> wasmtime::Result<Exports<P>> {
    let memory = instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
    let exports = Exports {
        memory,
        stack: instance.get_typed_func(&mut *store, "emscripten_stack_get_current")?,
        restore_stack: instance.get_typed_func(&mut *store, "_emscripten_stack_restore")?,
        call: instance.get_typed_func(&mut *store, P::INVOKE.1)?,
        set_threw: instance.get_typed_func(&mut *store, "setThrew")?,
    };
    store.data_mut().exports = Some(exports.clone());
    instance.get_typed_func::<(), ()>(&mut *store, "emscripten_stack_init")?.call(&mut *store, ())?;
    let end = instance.get_typed_func::<(), P>(&mut *store, "emscripten_stack_get_end")?.call(&mut *store, ())?;
    for (address, word) in [(end.address(), 0x0213_5467_u32), (end.address() + 4, 0x89BA_CDFE), (0, 0x6373_6D65)] {
        memory.write(&mut *store, address, &word.to_le_bytes())?;
    }
    instance.get_typed_func::<(), ()>(&mut *store, "__wasm_call_ctors")?.call(&mut *store, ())?;
    Ok(exports)
}

fn imports<P: Pointer>(linker: &mut Linker<Host<P>>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "emscripten_date_now", |mut caller: Caller<'_, Host<P>>| {
        let now = caller.data().date;
        caller.data_mut().date += 1.0;
        now
    })?;
    linker.func_wrap(
        "wasi_snapshot_preview1",
        "environ_sizes_get",
        |mut caller: Caller<'_, Host<P>>, count: P, size: P| -> wasmtime::Result<i32> {
            let memory = exports(&caller)?.memory;
            for place in [count, size] {
                memory.write(&mut caller, place.address(), &[0; 8][..size_of::<P>()])?;
            }
            Ok(0)
        },
    )?;
    linker.func_wrap("wasi_snapshot_preview1", "environ_get", |_: P, _: P| 0)?;
    // No drive is attached: every file is missing (spec 06 §9).
    linker.func_wrap("env", "__asyncjs__weavedrive_open", |_: P, _: P| 0)?;
    linker.func_wrap("env", "_emscripten_throw_longjmp", || -> wasmtime::Result<()> { Err(LongJump.into()) })?;
    linker.func_wrap(
        "env",
        P::INVOKE.0,
        |mut caller: Caller<'_, Host<P>>, function: P, a: P, b: P| -> wasmtime::Result<()> {
            let exports = exports(&caller)?;
            let stack = exports.stack.call(&mut caller, ())?;
            match exports.call.call(&mut caller, (function.index(), a, b)) {
                Err(error) if error.is::<LongJump>() => {
                    exports.restore_stack.call(&mut caller, stack)?;
                    exports.set_threw.call(&mut caller, (P::one(), 0))
                }
                other => other,
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "_emscripten_memcpy_js",
        |mut caller: Caller<'_, Host<P>>, to: P, from: P, count: P| -> wasmtime::Result<()> {
            let memory = exports(&caller)?.memory;
            let (to, from, count) = (to.address(), from.address(), count.address());
            memory.data_mut(&mut caller).copy_within(from..from + count, to);
            Ok(())
        },
    )?;
    linker.func_wrap(
        "env",
        "emscripten_resize_heap",
        |mut caller: Caller<'_, Host<P>>, requested: P| -> wasmtime::Result<i32> {
            let memory = exports(&caller)?.memory;
            let (old, requested) = (memory.data_size(&caller) as f64, requested.address() as f64);
            for cut in [1.0, 2.0, 4.0] {
                let over = (old * (1.0 + 0.2 / cut)).min(requested + GROWTH_BYTES);
                let pages = (over.max(requested) as u64).div_ceil(PAGE_BYTES);
                let more = pages.saturating_sub(memory.size(&caller));
                if memory.grow(&mut caller, more).is_ok() {
                    return Ok(1);
                }
            }
            Ok(0)
        },
    )?;
    Ok(())
}

fn exports<P: Pointer>(caller: &Caller<'_, Host<P>>) -> wasmtime::Result<Exports<P>> {
    caller.data().exports.clone().ok_or_else(|| wasmtime::Error::msg("an import was called during instantiation"))
}
