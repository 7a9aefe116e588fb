//! Host side of our own module format, `wasm32-unknown-unknown-holon1`.
//!
//! A module imports nothing and exports `memory`, `holon_alloc(len: u32) -> u32` and
//! `holon_handle(message, message_len, environment, environment_len: u32) -> u64`. Texts are the same JSON as for the official
//! formats (spec 06 §3.1), without a terminating zero; the result is `address << 32 | length` of a text of the shape of
//! spec 06 §3.2. Whatever is in linear memory stays there between messages.

use wasmtime::{ExternType, Instance, Store, TypedFunc, ValType};

use super::{
    MAX_RESULT_BYTES,
    host::{Entry, Host},
};

const ALLOC: &str = "holon_alloc";
const HANDLE: &str = "holon_handle";

/// A guest that does not keep to the format.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("holon_alloc gave no {bytes} bytes inside memory")]
    Allocation { bytes: usize },
    #[error("holon_handle returned a text outside memory")]
    Result,
    #[error("the result has {bytes} bytes, at most {MAX_RESULT_BYTES} are taken")]
    TooLarge { bytes: usize },
}

/// The guest's entry points.
pub(super) struct Handle {
    alloc: TypedFunc<u32, u32>,
    handle: TypedFunc<(u32, u32, u32, u32), u64>,
}

/// What is wrong with the module's exports.
pub(super) fn check_exports(module: &wasmtime::Module) -> Result<(), String> {
    let check = |name: &str, parameters: usize, result: ValType| {
        let Some(ExternType::Func(ty)) = module.get_export(name) else {
            return Err(format!("it does not export the function {name}"));
        };
        let fits = ty.params().len() == parameters
            && ty.params().all(|parameter| parameter.is_i32())
            && ty.results().len() == 1
            && ty.results().all(|found| found.matches(&result));
        if fits { Ok(()) } else { Err(format!("its function {name} has another type")) }
    };
    check(ALLOC, 1, ValType::I32)?;
    check(HANDLE, 4, ValType::I64)
}

impl Handle {
    pub fn new(store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<Self> {
        Ok(Self {
            alloc: instance.get_typed_func(&mut *store, ALLOC)?,
            handle: instance.get_typed_func(&mut *store, HANDLE)?,
        })
    }

    pub fn call(&self, store: &mut Store<Host>, entry: &Entry) -> wasmtime::Result<String> {
        let message = self.place(store, &entry.message)?;
        let environment = self.place(store, &entry.environment)?;
        let lengths = (entry.message.len() as u32, entry.environment.len() as u32);
        let packed = self.handle.call(&mut *store, (message, lengths.0, environment, lengths.1))?;
        let (start, bytes) = ((packed >> 32) as usize, packed as u32 as usize);
        if bytes > MAX_RESULT_BYTES {
            return Err(Failed::TooLarge { bytes }.into());
        }
        let memory = store.data().memory.ok_or(Failed::Result)?;
        let text = memory.data(&*store).get(start..).and_then(|rest| rest.get(..bytes)).ok_or(Failed::Result)?;
        // Looking for what is not UTF-8 piece by piece is slow, and guests in Rust never have it.
        Ok(match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => String::from_utf8_lossy(text).into_owned(),
        })
    }

    fn place(&self, store: &mut Store<Host>, text: &str) -> wasmtime::Result<u32> {
        let failed = || Failed::Allocation { bytes: text.len() };
        let len = u32::try_from(text.len()).map_err(|_| failed())?;
        let address = self.alloc.call(&mut *store, len)?;
        let memory = store.data().memory.ok_or_else(failed)?;
        let place = memory
            .data_mut(&mut *store)
            .get_mut(address as usize..)
            .and_then(|rest| rest.get_mut(..text.len()))
            .ok_or_else(failed)?;
        place.copy_from_slice(text.as_bytes());
        Ok(address)
    }
}
