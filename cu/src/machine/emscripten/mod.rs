//! Host side of the official module formats: set-up, the call of `handle`, and the imports (spec 06 §2–§5).
//!
//! Everything is generic over [`pointer::Pointer`], which is `i32` for `wasm32-unknown-emscripten4` and `i64` for
//! `wasm64-unknown-emscripten-draft_2024_02_15`.
//!
//! | file | imports |
//! |---|---|
//! | `control` | calls that may be left by longjmp, exit, abort |
//! | `heap` | memory growth and copies |
//! | `calendar`, `strftime` | date counter, time zones, formatting |
//! | `descriptors` | `fd_*`, `dup3`, `fcntl64`, `ioctl` |
//! | `paths` | system calls that take a path, and `stat` |
//! | `files` | the file system behind both |
//! | `weavedrive`, `asyncify` | Arweave data, and how the guest waits for it |

mod access;
mod asyncify;
mod calendar;
mod control;
mod descriptors;
mod errno;
mod files;
mod heap;
mod paths;
mod pointer;
mod strftime;
mod weavedrive;

use serde_json::{Value, json};
use wasmtime::{ExternType, Instance, Linker, Store, TypedFunc, ValType};

use self::{
    access::Access,
    asyncify::{Asyncify, Motion},
    files::FileSystem,
    pointer::Pointer,
};
use super::{
    MAX_RESULT_BYTES,
    host::{Entry, Host},
};

/// Values of the date counter taken by the loader before a module sees one (spec 06 §4.3).
const FIRST_DATE: u64 = 10_004;

/// Host state of one message.
pub(super) struct State {
    /// Milliseconds of the fake clock; every look and every host-side event moves it on.
    date: u64,
    /// Made when first needed: most messages touch no file.
    files: Option<Box<FileSystem>>,
    drive: weavedrive::Opened,
    motion: Motion,
    /// What the last import returned that the guest was left for.
    last_answer: i32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            date: FIRST_DATE,
            files: None,
            drive: weavedrive::Opened::default(),
            motion: Motion::default(),
            last_answer: 0,
        }
    }
}

impl State {
    /// Whether data from outside was read.
    pub fn used_drive(&self) -> bool {
        self.drive.used()
    }

    fn tick(&mut self) -> u64 {
        let now = self.date;
        self.date += 1;
        now
    }

    fn files(&mut self) -> &mut FileSystem {
        self.files.get_or_insert_default()
    }
}

/// Why a guest's call ended early, other than by a trap.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("Program terminated with exit({0})")]
    Exit(i32),
    #[error("{0}")]
    Aborted(&'static str),
    #[error("longjmp without a setjmp")]
    LongjmpOutside,
    #[error("the result has more than the {MAX_RESULT_BYTES} bytes that are taken")]
    ResultTooLarge,
}

impl Ended {
    /// What results show as `Error` (spec 05 §5.8).
    pub fn to_value(&self) -> Value {
        match self {
            Ended::Exit(status) => json!({ "name": "ExitStatus", "message": self.to_string(), "status": status }),
            _ => Value::String(self.to_string()),
        }
    }
}

/// Exports that imports call back.
#[derive(Clone)]
pub(super) struct Exports<P: Pointer> {
    stack_current: TypedFunc<(), P>,
    stack_restore: TypedFunc<P, ()>,
    set_threw: TypedFunc<(P, i32), ()>,
    call: Option<TypedFunc<(i32, P, P), ()>>,
    /// Upper half of a 64-bit result, where pointers have 32 bits.
    set_temp: Option<TypedFunc<i32, ()>>,
    asyncify: Option<Asyncify<P>>,
}

/// How a module is set up and called.
pub(super) struct Handle<P: Pointer> {
    stack_init: TypedFunc<(), ()>,
    stack_end: TypedFunc<(), P>,
    stack_alloc: TypedFunc<P, P>,
    constructors: TypedFunc<(), ()>,
    handle: TypedFunc<(P, P), P>,
    exports: Exports<P>,
}

/// Adds every import to `linker`.
pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    control::link::<P>(linker)?;
    heap::link::<P>(linker)?;
    calendar::link::<P>(linker)?;
    strftime::link::<P>(linker)?;
    descriptors::link::<P>(linker)?;
    paths::link::<P>(linker)?;
    weavedrive::link::<P>(linker)
}

/// What is wrong with the module's exports.
pub(super) fn check_exports<P: Pointer>(module: &wasmtime::Module) -> Result<(), String> {
    let pointer = || if P::wide() { ValType::I64 } else { ValType::I32 };
    let needed: [(&str, Vec<ValType>, Vec<ValType>); 8] = [
        ("emscripten_stack_init", vec![], vec![]),
        ("emscripten_stack_get_end", vec![], vec![pointer()]),
        ("emscripten_stack_get_current", vec![], vec![pointer()]),
        ("_emscripten_stack_restore", vec![pointer()], vec![]),
        ("_emscripten_stack_alloc", vec![pointer()], vec![pointer()]),
        ("setThrew", vec![pointer(), ValType::I32], vec![]),
        ("__wasm_call_ctors", vec![], vec![]),
        ("handle", vec![pointer(), pointer()], vec![pointer()]),
    ];
    for (name, parameters, results) in needed {
        let Some(ExternType::Func(ty)) = module.get_export(name) else {
            return Err(format!("it does not export the function {name}"));
        };
        let same = |mut given: Box<dyn Iterator<Item = ValType> + '_>, wanted: &[ValType]| {
            wanted.iter().all(|wanted| given.next().is_some_and(|given| given.matches(wanted)))
                && given.next().is_none()
        };
        if !same(Box::new(ty.params()), &parameters) || !same(Box::new(ty.results()), &results) {
            return Err(format!("its function {name} has another type"));
        }
    }
    Ok(())
}

impl<P: Pointer> Handle<P> {
    /// The entry points of an instance, and what imports need of it.
    pub fn new(store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<(Self, Exports<P>)> {
        let exports = Exports {
            stack_current: instance.get_typed_func(&mut *store, "emscripten_stack_get_current")?,
            stack_restore: instance.get_typed_func(&mut *store, "_emscripten_stack_restore")?,
            set_threw: instance.get_typed_func(&mut *store, "setThrew")?,
            call: instance.get_typed_func(&mut *store, P::INVOKE.1).ok(),
            set_temp: instance.get_typed_func(&mut *store, "_emscripten_tempret_set").ok(),
            asyncify: Asyncify::of(store, instance),
        };
        let handle = Self {
            stack_init: instance.get_typed_func(&mut *store, "emscripten_stack_init")?,
            stack_end: instance.get_typed_func(&mut *store, "emscripten_stack_get_end")?,
            stack_alloc: instance.get_typed_func(&mut *store, "_emscripten_stack_alloc")?,
            constructors: instance.get_typed_func(&mut *store, "__wasm_call_ctors")?,
            handle: instance.get_typed_func(&mut *store, "handle")?,
            exports: exports.clone(),
        };
        Ok((handle, exports))
    }

    /// Spec 06 §2.
    pub fn set_up(&self, store: &mut Store<Host>) -> wasmtime::Result<()> {
        self.stack_init.call(&mut *store, ())?;
        let end = self.stack_end.call(&mut *store, ())?.address();
        let end = if end == 0 { 4 } else { end };
        let memory = bytes(store)?;
        memory.store(end, &0x0213_5467_u32.to_le_bytes())?;
        memory.store(end.saturating_add(4), &0x89BA_CDFE_u32.to_le_bytes())?;
        memory.store(0, &0x6373_6D65_u32.to_le_bytes())?;
        self.constructors.call(&mut *store, ()).map_err(control::outside)
    }

    /// One call of `handle` (spec 06 §3).
    pub fn call(&self, store: &mut Store<Host>, entry: &Entry) -> wasmtime::Result<String> {
        let stack = self.exports.stack_current.call(&mut *store, ())?;
        let message = self.place(store, &entry.message)?;
        let environment = self.place(store, &entry.environment)?;
        let mut result = self.handle.call(&mut *store, (message, environment)).map_err(control::outside)?;
        if let Some(asyncify) = &self.exports.asyncify {
            while asyncify.turn(store).map_err(control::outside)? {
                result = self.handle.call(&mut *store, (message, environment)).map_err(control::outside)?;
            }
        }
        self.exports.stack_restore.call(&mut *store, stack)?;
        if result.address() == 0 {
            return Ok(String::new());
        }
        let text = bytes(store)?.until_nul(result.address(), MAX_RESULT_BYTES)?;
        if text.len() > MAX_RESULT_BYTES {
            return Err(Ended::ResultTooLarge.into());
        }
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Puts a text on the guest's stack: where it lies decides the order of Lua's tables (spec 06 §3.1).
    fn place(&self, store: &mut Store<Host>, text: &str) -> wasmtime::Result<P> {
        let size = text.len() as u64 + 1;
        let place = self.stack_alloc.call(&mut *store, P::from_address(size))?;
        let (last, rest) =
            bytes(store)?.slice_mut(place.address(), size)?.split_last_mut().ok_or(access::OutOfRange)?;
        rest.copy_from_slice(text.as_bytes());
        *last = 0;
        Ok(place)
    }
}

fn bytes(store: &mut Store<Host>) -> wasmtime::Result<&mut [u8]> {
    let memory = store.data().memory.ok_or(access::OutOfRange)?;
    Ok(memory.data_mut(store))
}
