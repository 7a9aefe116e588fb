//! The smallest host that runs the module: wasmtime with default memory, and only the imports an `Eval` calls. No rollback, no
//! limits, no files. What remains is the guest, so this is what any host's time is measured against.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde_json::Value;
use wasmtime::{Caller, Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

use crate::log::output;

/// Nested protected calls of Lua need more than wasmtime's default (spec 06 §5.1).
const STACK_BYTES: usize = 2 << 20;
/// First value of the date counter a module sees (spec 06 §4.3).
const FIRST_DATE: f64 = 10_004.0;
const PAGE_BYTES: u64 = 65_536;
/// Most the growth algorithm adds to what was asked (spec 06 §4.4).
const GROWTH_BYTES: f64 = 100_663_296.0;

/// What imports need of the instance.
struct Host {
    date: f64,
    guest: Option<Guest>,
}

#[derive(Clone)]
struct Guest {
    memory: Memory,
    stack: TypedFunc<(), i64>,
    restore_stack: TypedFunc<i64, ()>,
    call: TypedFunc<(i32, i64, i64), ()>,
    set_threw: TypedFunc<(i64, i32), ()>,
}

/// Lua's way out of nested calls.
#[derive(Debug, thiserror::Error)]
#[error("longjmp")]
struct LongJump;

/// The module, running.
pub struct Bare {
    store: Store<Host>,
    memory: Memory,
    handle: TypedFunc<(i64, i64), i64>,
    place: TypedFunc<i64, i64>,
    stack: TypedFunc<(), i64>,
    restore_stack: TypedFunc<i64, ()>,
}

impl Bare {
    /// Compiles and sets up the module.
    pub fn new(wasm: &[u8]) -> Result<Self> {
        Self::build(wasm).map_err(failed)
    }

    /// Evaluates a message; the time is that of `handle` alone.
    pub fn apply(&mut self, message: &str, environment: &str) -> Result<(Duration, Value)> {
        let (time, text) = self.call(message, environment).map_err(failed)?;
        Ok((time, output(&text)?))
    }

    fn build(wasm: &[u8]) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.wasm_memory64(true).max_wasm_stack(STACK_BYTES);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        imports(&mut linker)?;
        linker.define_unknown_imports_as_traps(&module)?;
        let mut store = Store::new(&engine, Host { date: FIRST_DATE, guest: None });
        let instance = linker.instantiate(&mut store, &module)?;
        let memory = set_up(&instance, &mut store)?;
        let handle = instance.get_typed_func(&mut store, "handle")?;
        let place = instance.get_typed_func(&mut store, "_emscripten_stack_alloc")?;
        let stack = instance.get_typed_func(&mut store, "emscripten_stack_get_current")?;
        let restore_stack = instance.get_typed_func(&mut store, "_emscripten_stack_restore")?;
        Ok(Self { store, memory, handle, place, stack, restore_stack })
    }

    fn call(&mut self, message: &str, environment: &str) -> wasmtime::Result<(Duration, String)> {
        let store = &mut self.store;
        store.data_mut().date = FIRST_DATE;
        let before = self.stack.call(&mut *store, ())?;
        let mut addresses = [0; 2];
        for (address, text) in addresses.iter_mut().zip([message, environment]) {
            *address = self.place.call(&mut *store, text.len() as i64 + 1)?;
            let at = usize::try_from(*address)?;
            self.memory.write(&mut *store, at, text.as_bytes())?;
            self.memory.write(&mut *store, at + text.len(), &[0])?;
        }
        let begun = Instant::now();
        let answer = self.handle.call(&mut *store, (addresses[0], addresses[1]))?;
        let time = begun.elapsed();
        self.restore_stack.call(&mut *store, before)?;
        let bytes = &self.memory.data(&*store)[usize::try_from(answer)?..];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok((time, String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }
}

fn failed(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("the bare guest failed: {error:?}")
}

/// Instance set-up of 64-bit modules (spec 06 §2).
fn set_up(instance: &Instance, store: &mut Store<Host>) -> wasmtime::Result<Memory> {
    let memory = instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
    store.data_mut().guest = Some(Guest {
        memory,
        stack: instance.get_typed_func(&mut *store, "emscripten_stack_get_current")?,
        restore_stack: instance.get_typed_func(&mut *store, "_emscripten_stack_restore")?,
        call: instance.get_typed_func(&mut *store, "dynCall_vjj")?,
        set_threw: instance.get_typed_func(&mut *store, "setThrew")?,
    });
    instance.get_typed_func::<(), ()>(&mut *store, "emscripten_stack_init")?.call(&mut *store, ())?;
    let end = instance.get_typed_func::<(), i64>(&mut *store, "emscripten_stack_get_end")?.call(&mut *store, ())?;
    let end = usize::try_from(end)?;
    for (address, word) in [(end, 0x0213_5467_u32), (end + 4, 0x89BA_CDFE), (0, 0x6373_6D65)] {
        memory.write(&mut *store, address, &word.to_le_bytes())?;
    }
    instance.get_typed_func::<(), ()>(&mut *store, "__wasm_call_ctors")?.call(&mut *store, ())?;
    Ok(memory)
}

fn imports(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "emscripten_date_now", |mut caller: Caller<'_, Host>| {
        let now = caller.data().date;
        caller.data_mut().date += 1.0;
        now
    })?;
    linker.func_wrap(
        "wasi_snapshot_preview1",
        "environ_sizes_get",
        |mut caller: Caller<'_, Host>, count: i64, size: i64| -> wasmtime::Result<i32> {
            let memory = guest(&caller)?.memory;
            for address in [count, size] {
                memory.write(&mut caller, usize::try_from(address)?, &[0; 8])?;
            }
            Ok(0)
        },
    )?;
    linker.func_wrap("wasi_snapshot_preview1", "environ_get", |_: i64, _: i64| 0)?;
    // No drive is attached: every file is missing (spec 06 §9).
    linker.func_wrap("env", "__asyncjs__weavedrive_open", |_: i64, _: i64| 0)?;
    linker.func_wrap("env", "_emscripten_throw_longjmp", || -> wasmtime::Result<()> { Err(LongJump.into()) })?;
    linker.func_wrap(
        "env",
        "invoke_vjj",
        |mut caller: Caller<'_, Host>, function: i64, a: i64, b: i64| -> wasmtime::Result<()> {
            let guest = guest(&caller)?;
            let stack = guest.stack.call(&mut caller, ())?;
            match guest.call.call(&mut caller, (function as i32, a, b)) {
                Err(error) if error.is::<LongJump>() => {
                    guest.restore_stack.call(&mut caller, stack)?;
                    guest.set_threw.call(&mut caller, (1, 0))
                }
                other => other,
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "_emscripten_memcpy_js",
        |mut caller: Caller<'_, Host>, to: i64, from: i64, count: i64| -> wasmtime::Result<()> {
            let memory = guest(&caller)?.memory;
            let (to, from, count) = (usize::try_from(to)?, usize::try_from(from)?, usize::try_from(count)?);
            memory.data_mut(&mut caller).copy_within(from..from + count, to);
            Ok(())
        },
    )?;
    linker.func_wrap(
        "env",
        "emscripten_resize_heap",
        |mut caller: Caller<'_, Host>, requested: i64| -> wasmtime::Result<i32> {
            let memory = guest(&caller)?.memory;
            let old = memory.data_size(&caller) as f64;
            for cut in [1.0, 2.0, 4.0] {
                let over = (old * (1.0 + 0.2 / cut)).min(requested as f64 + GROWTH_BYTES);
                let pages = (over.max(requested as f64) as u64).div_ceil(PAGE_BYTES);
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

fn guest(caller: &Caller<'_, Host>) -> wasmtime::Result<Guest> {
    caller.data().guest.clone().ok_or_else(|| wasmtime::Error::msg("an import was called during instantiation"))
}
