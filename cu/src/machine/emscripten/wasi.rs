//! Modules of WASI's shape: `wasm32-wasip1` and `wasm64-wasip1` (spec 06 §12).
//!
//! A module exports `memory`, `malloc` and `handle(message, environment) → result`; pointers have 32 or 64 bits. `_initialize` is
//! called once where there is one, `_start` never. Both texts are allocated with `malloc`, the message first, and belong to the
//! guest from then on; the result is a NUL-terminated text of the shape of spec 06 §3.2. Memory grows with `memory.grow`, up to the
//! process's limit.
//!
//! Of WASI there is what a C or Rust library asks for: descriptors and files in memory as in the official formats, no arguments, no
//! environment strings, no folders opened beforehand, no clock (`clock_time_get` gives errno 1, as that format's first host
//! does), and randomness that is the same for a message on every computer. Of Emscripten there are the system calls that its
//! standalone modules import, and calls that longjmp may leave. Exceptions thrown with instructions of their own are not there:
//! the engine does not compile them.

use wasmtime::{Caller, ExternType, Instance, Linker, Module, Store, TypedFunc, ValType};

use super::{
    Ended, Exports, access,
    access::{Access, charge, split},
    bytes, check_functions, control, descriptors, environment, invoke, paths,
    pointer::Pointer,
    result_text,
};
use crate::machine::{
    format::Generation,
    host::{Entry, Host},
};

const WASI: &str = "wasi_snapshot_preview1";
const EPERM: i32 = 1;
const EBADF: i32 = 8;
/// The generation of the official loader whose habits standalone modules share.
const GENERATION: Generation = Generation::Fourth;

/// How a module is set up and called.
pub(in crate::machine) struct Handle<P: Pointer> {
    malloc: TypedFunc<P, P>,
    handle: TypedFunc<(P, P), P>,
}

/// Adds every import that `module` may have to `linker`.
pub(in crate::machine) fn link<P: Pointer>(linker: &mut Linker<Host>, module: &Module) -> wasmtime::Result<()> {
    control::link::<P>(linker, GENERATION)?;
    invoke::link::<P>(linker, module, GENERATION)?;
    environment::link::<P>(linker, GENERATION)?;
    descriptors::link::<P>(linker)?;
    descriptors::link_whole_seek::<P>(linker)?;
    paths::link::<P>(linker)?;
    linker.func_wrap(WASI, "proc_exit", |status: i32| -> wasmtime::Result<()> { Err(Ended::Exit(status).into()) })?;
    linker.func_wrap(WASI, "clock_time_get", |_: i32, _: i64, _: P| EPERM)?;
    linker.func_wrap(WASI, "sched_yield", || 0_i32)?;
    linker.func_wrap(WASI, "args_sizes_get", |mut caller: Caller<'_, Host>, count: P, size: P| {
        let (memory, _) = split(&mut caller)?;
        memory.store_size::<P>(count.address(), 0)?;
        memory.store_size::<P>(size.address(), 0)?;
        wasmtime::Result::Ok(0_i32)
    })?;
    linker.func_wrap(WASI, "args_get", |_: P, _: P| 0_i32)?;
    linker.func_wrap(WASI, "fd_prestat_get", |_: i32, _: P| EBADF)?;
    linker.func_wrap(WASI, "fd_prestat_dir_name", |_: i32, _: P, _: P| EBADF)?;
    linker.func_wrap(WASI, "random_get", |mut caller: Caller<'_, Host>, at: P, len: P| -> wasmtime::Result<i32> {
        charge(&mut caller, len.address())?;
        let (memory, host) = split(&mut caller)?;
        let memory_bytes = memory.len();
        descriptors::random_bytes(host, memory.slice_mut(at.address(), len.address())?, memory_bytes)?;
        Ok(0)
    })?;
    // Where an exception would be caught. None can be thrown by a module without the instructions for it.
    linker.func_wrap("env", "__cxa_find_matching_catch_2", || P::from_address(0))?;
    linker.func_wrap("env", "__resumeException", |_: P| {})?;
    Ok(())
}

/// What is wrong with the module's exports.
pub(in crate::machine) fn check_exports<P: Pointer>(module: &Module) -> Result<(), String> {
    let pointer = || if P::wide() { ValType::I64 } else { ValType::I32 };
    let mut needed =
        vec![("malloc", vec![pointer()], vec![pointer()]), ("handle", vec![pointer(), pointer()], vec![pointer()])];
    let protects = |import: wasmtime::ImportType<'_>| {
        matches!(import.ty(), ExternType::Func(_)) && import.module() == "env" && import.name().starts_with("invoke_")
    };
    if module.imports().any(protects) {
        let [current, restore, _] = super::stack_names(GENERATION);
        needed.push((current, vec![], vec![pointer()]));
        needed.push((restore, vec![pointer()], vec![]));
        needed.push(("setThrew", vec![pointer(), ValType::I32], vec![]));
    }
    check_functions(module, needed)
}

impl<P: Pointer> Handle<P> {
    /// The entry points of an instance, and what imports need of it, if it has that.
    pub fn new(store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<(Self, Option<Exports<P>>)> {
        let handle = Self {
            malloc: instance.get_typed_func(&mut *store, "malloc")?,
            handle: instance.get_typed_func(&mut *store, "handle")?,
        };
        Ok((handle, Exports::new(store, instance, GENERATION).ok()))
    }

    pub fn set_up(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<()> {
        match instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            Ok(initialize) => initialize.call(&mut *store, ()),
            Err(_) => Ok(()),
        }
    }

    /// One call of `handle`.
    pub fn call(&self, store: &mut Store<Host>, entry: &Entry) -> wasmtime::Result<String> {
        let message = self.place(store, &entry.message)?;
        let environment = self.place(store, &entry.environment)?;
        let result = self.handle.call(&mut *store, (message, environment))?;
        result_text(store, result)
    }

    fn place(&self, store: &mut Store<Host>, text: &str) -> wasmtime::Result<P> {
        let size = text.len() as u64 + 1;
        let place = self.malloc.call(&mut *store, P::from_address(size))?;
        if place.address() == 0 {
            return Err(Ended::Aborted("malloc gave no memory for the message").into());
        }
        let (last, rest) =
            bytes(store)?.slice_mut(place.address(), size)?.split_last_mut().ok_or(access::OutOfRange)?;
        rest.copy_from_slice(text.as_bytes());
        *last = 0;
        Ok(place)
    }
}
