//! Host side of the official module formats: set-up, the call of `handle`, and the imports (spec 06 §2–§5).
//!
//! Everything is generic over [`pointer::Pointer`], which is `i32` or `i64`; what differs between the four generations of the
//! loader is decided when a module is linked, where it can be.
//!
//! | file | imports |
//! |---|---|
//! | `control`, `invoke` | calls that may be left by longjmp, exit, abort |
//! | `heap` | memory growth and copies |
//! | `environment` | environment strings |
//! | `calendar`, `strftime` | date counter, time zones, formatting |
//! | `descriptors` | `fd_*`, `dup3`, `fcntl64`, `ioctl` |
//! | `paths`, `stat` | system calls that take a path |
//! | `mapping` | files mapped into memory |
//! | `files` | the file system behind them |
//! | `stubs` | what the first generation has instead of files |
//! | `wasi` | modules of another shape, with much of the same |
//! | `weavedrive`, `asyncify` | Arweave data, and how the guest waits for it |

mod access;
mod asyncify;
mod calendar;
mod control;
mod descriptors;
mod environment;
mod errno;
mod files;
mod heap;
mod invoke;
mod mapping;
mod paths;
mod pointer;
mod stat;
mod state;
mod strftime;
mod stubs;
pub(super) mod wasi;
mod weavedrive;

use serde_json::{Value, json};
use wasmtime::{ExternType, Instance, Linker, Module, Store, Table, TypedFunc, ValType};

pub(super) use self::state::State;
use self::{access::Access, asyncify::Asyncify, control::Longjmp, environment::PROGRAM_PATH, pointer::Pointer};
use super::{
    MAX_RESULT_BYTES,
    format::Generation,
    host::{Entry, Host},
};

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
    /// What ended a call, if it was one of these. A longjmp that nobody caught is the guest's mistake, wherever it threw it: imports and
    /// set-up call back into it in many places.
    pub fn of(error: &wasmtime::Error) -> Option<&Self> {
        if error.is::<Longjmp>() { Some(&Ended::LongjmpOutside) } else { error.downcast_ref() }
    }

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
    /// Calls a function of the table with two pointers; the older hosts look into the table themselves.
    call: Option<TypedFunc<(i32, P, P), ()>>,
    table: Option<Table>,
    /// Upper half of a 64-bit result, where pointers have 32 bits.
    set_temp: Option<TypedFunc<i32, ()>>,
    malloc: Option<TypedFunc<P, P>>,
    /// Allocates at a multiple of the first argument.
    align: Option<TypedFunc<(P, P), P>>,
    /// Where the guest keeps its error number.
    errno: Option<TypedFunc<(), P>>,
    asyncify: Option<Asyncify<P>>,
}

impl<P: Pointer> Exports<P> {
    /// Fails where one is missing that is always needed.
    fn new(store: &mut Store<Host>, instance: &Instance, generation: Generation) -> wasmtime::Result<Self> {
        let [current, restore, _] = stack_names(generation);
        let newest = generation == Generation::Fourth;
        let temporary = if newest { "_emscripten_tempret_set" } else { "setTempRet0" };
        Ok(Self {
            stack_current: instance.get_typed_func(&mut *store, current)?,
            stack_restore: instance.get_typed_func(&mut *store, restore)?,
            set_threw: instance.get_typed_func(&mut *store, "setThrew")?,
            call: if newest { instance.get_typed_func(&mut *store, P::INVOKE.1).ok() } else { None },
            table: instance.get_table(&mut *store, "__indirect_function_table"),
            set_temp: instance.get_typed_func(&mut *store, temporary).ok(),
            malloc: instance.get_typed_func(&mut *store, "malloc").ok(),
            align: instance.get_typed_func(&mut *store, "emscripten_builtin_memalign").ok(),
            errno: instance.get_typed_func(&mut *store, "__errno_location").ok(),
            asyncify: Asyncify::of(store, instance),
        })
    }
}

/// How a module is set up and called.
pub(super) struct Handle<P: Pointer> {
    generation: Generation,
    stack_alloc: TypedFunc<P, P>,
    handle: TypedFunc<(P, P), P>,
    exports: Exports<P>,
}

/// Adds every import that `module` may have to `linker`.
pub(super) fn link<P: Pointer>(
    linker: &mut Linker<Host>,
    module: &Module,
    generation: Generation,
) -> wasmtime::Result<()> {
    control::link::<P>(linker, generation)?;
    invoke::link::<P>(linker, module, generation)?;
    heap::link::<P>(linker, generation)?;
    calendar::link::<P>(linker, generation)?;
    strftime::link::<P>(linker)?;
    environment::link::<P>(linker, generation)?;
    if generation == Generation::First {
        return stubs::link(linker);
    }
    descriptors::link::<P>(linker)?;
    descriptors::link_seek::<P>(linker)?;
    paths::link::<P>(linker)?;
    mapping::link::<P>(linker)?;
    if generation == Generation::Fourth {
        weavedrive::link::<P>(linker)?;
    }
    Ok(())
}

/// Names of the exports that tell, set and lower the stack pointer.
const fn stack_names(generation: Generation) -> [&'static str; 3] {
    match generation {
        Generation::Fourth => ["emscripten_stack_get_current", "_emscripten_stack_restore", "_emscripten_stack_alloc"],
        _ => ["stackSave", "stackRestore", "stackAlloc"],
    }
}

/// What is wrong with the module's exports.
pub(super) fn check_exports<P: Pointer>(module: &Module, generation: Generation) -> Result<(), String> {
    let pointer = || if P::wide() { ValType::I64 } else { ValType::I32 };
    let [current, restore, alloc] = stack_names(generation);
    let mut needed: Vec<(&str, Vec<ValType>, Vec<ValType>)> = vec![
        (current, vec![], vec![pointer()]),
        (restore, vec![pointer()], vec![]),
        (alloc, vec![pointer()], vec![pointer()]),
        ("setThrew", vec![pointer(), ValType::I32], vec![]),
        ("__wasm_call_ctors", vec![], vec![]),
        ("handle", vec![pointer(), pointer()], vec![pointer()]),
    ];
    if generation != Generation::First {
        needed.push(("emscripten_stack_init", vec![], vec![]));
        needed.push(("emscripten_stack_get_end", vec![], vec![pointer()]));
    }
    if generation != Generation::Fourth {
        needed.push(("main", vec![ValType::I32, pointer()], vec![ValType::I32]));
    }
    check_functions(module, needed)
}

/// Whether functions of these names and types, parameters and then results, are exported.
fn check_functions(module: &Module, needed: Vec<(&str, Vec<ValType>, Vec<ValType>)>) -> Result<(), String> {
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
    pub fn new(
        store: &mut Store<Host>,
        instance: &Instance,
        generation: Generation,
    ) -> wasmtime::Result<(Self, Exports<P>)> {
        let exports = Exports::new(store, instance, generation)?;
        let handle = Self {
            generation,
            stack_alloc: instance.get_typed_func(&mut *store, stack_names(generation)[2])?,
            handle: instance.get_typed_func(&mut *store, "handle")?,
            exports: exports.clone(),
        };
        Ok((handle, exports))
    }

    /// Spec 06 §2.
    pub fn set_up(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<()> {
        if self.generation != Generation::First {
            instance.get_typed_func::<(), ()>(&mut *store, "emscripten_stack_init")?.call(&mut *store, ())?;
            let end = instance.get_typed_func::<(), P>(&mut *store, "emscripten_stack_get_end")?;
            let end = end.call(&mut *store, ())?.address();
            let end = if end == 0 { 4 } else { end };
            let memory = bytes(store)?;
            memory.store(end, &0x0213_5467_u32.to_le_bytes())?;
            memory.store(end.saturating_add(4), &0x89BA_CDFE_u32.to_le_bytes())?;
            memory.store(0, &0x6373_6D65_u32.to_le_bytes())?;
        }
        let constructors = instance.get_typed_func::<(), ()>(&mut *store, "__wasm_call_ctors")?;
        constructors.call(&mut *store, ())?;
        if self.generation == Generation::Fourth {
            return Ok(());
        }
        let (count, arguments) = match self.generation {
            Generation::Second => (1, self.program_arguments(store)?),
            _ => (0, P::from_address(0)),
        };
        let main = instance.get_typed_func::<(i32, P), i32>(&mut *store, "main")?;
        main.call(&mut *store, (count, arguments))?;
        if self.generation != Generation::First
            && let Ok(flush) = instance.get_typed_func::<P, i32>(&mut *store, "fflush")
        {
            flush.call(&mut *store, P::from_address(0))?;
        }
        Ok(())
    }

    /// Puts the path of the program and an array that ends after it onto the stack, for good.
    fn program_arguments(&self, store: &mut Store<Host>) -> wasmtime::Result<P> {
        let array = self.stack_alloc.call(&mut *store, P::from_address(2 * P::BYTES))?;
        let path = self.place(store, PROGRAM_PATH, PROGRAM_PATH.len() as u64 + 1)?;
        let memory = bytes(store)?;
        memory.store_size::<P>(array.address(), path.address())?;
        memory.store_size::<P>(array.address().saturating_add(P::BYTES), 0)?;
        Ok(array)
    }

    /// One call of `handle` (spec 06 §3).
    pub fn call(&self, store: &mut Store<Host>, entry: &Entry) -> wasmtime::Result<String> {
        let stack = self.exports.stack_current.call(&mut *store, ())?;
        let message = self.place(store, &entry.message, self.room(&entry.message))?;
        let environment = self.place(store, &entry.environment, self.room(&entry.environment))?;
        let mut result = self.handle.call(&mut *store, (message, environment))?;
        if let Some(asyncify) = &self.exports.asyncify {
            while asyncify.turn(store)? {
                result = self.handle.call(&mut *store, (message, environment))?;
            }
        }
        self.exports.stack_restore.call(&mut *store, stack)?;
        result_text(store, result)
    }

    /// Bytes of stack that a text takes (spec 06 §3.1).
    fn room(&self, text: &str) -> u64 {
        match self.generation {
            // As many as any text of so many UTF-16 code units could need.
            Generation::First | Generation::Second => 4 * text.encode_utf16().count() as u64 + 1,
            Generation::Third | Generation::Fourth => text.len() as u64 + 1,
        }
    }

    /// Puts a text on the guest's stack: where it lies decides the order of Lua's tables (spec 06 §3.1).
    fn place(&self, store: &mut Store<Host>, text: &str, room: u64) -> wasmtime::Result<P> {
        let place = self.stack_alloc.call(&mut *store, P::from_address(room))?;
        let size = text.len() as u64 + 1;
        let (last, rest) =
            bytes(store)?.slice_mut(place.address(), size)?.split_last_mut().ok_or(access::OutOfRange)?;
        rest.copy_from_slice(text.as_bytes());
        *last = 0;
        Ok(place)
    }
}

/// What `handle` returned (spec 06 §3.2).
fn result_text<P: Pointer>(store: &mut Store<Host>, result: P) -> wasmtime::Result<String> {
    if result.address() == 0 {
        return Ok(String::new());
    }
    let text = bytes(store)?.until_nul(result.address(), MAX_RESULT_BYTES)?;
    if text.len() > MAX_RESULT_BYTES {
        return Err(Ended::ResultTooLarge.into());
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn bytes(store: &mut Store<Host>) -> wasmtime::Result<&mut [u8]> {
    let memory = store.data().memory.ok_or(access::OutOfRange)?;
    Ok(memory.data_mut(store))
}
