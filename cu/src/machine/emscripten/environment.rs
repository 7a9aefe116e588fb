//! What a module can learn of the program that runs it: environment strings, its path (spec 06 §2, §4.3).

use wasmtime::{Caller, Linker};

use super::{
    access::{Access, split},
    pointer::Pointer,
};
use crate::machine::{format::Generation, host::Host};

/// Path of the program that older modules are told, which decides addresses in them: what the reference's container gives.
pub(super) const PROGRAM_PATH: &str = "/usr/app/src/effects/worker/evaluator/index.js";

const STRINGS: [&str; 7] = [
    "USER=web_user",
    "LOGNAME=web_user",
    "PATH=/",
    "PWD=/",
    "HOME=/home/web_user",
    "LANG=C.UTF-8",
    "_=/usr/app/src/effects/worker/evaluator/index.js",
];

const WASI: &str = "wasi_snapshot_preview1";

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>, generation: Generation) -> wasmtime::Result<()> {
    let strings: &'static [&'static str] = if generation == Generation::Fourth { &[] } else { &STRINGS };
    linker.func_wrap(WASI, "environ_sizes_get", move |mut caller: Caller<'_, Host>, count: P, size: P| {
        let (memory, _) = split(&mut caller)?;
        let bytes: usize = strings.iter().map(|string| string.len() + 1).sum();
        memory.store_size::<P>(count.address(), strings.len() as u64)?;
        memory.store_size::<P>(size.address(), bytes as u64)?;
        wasmtime::Result::Ok(0_i32)
    })?;
    linker.func_wrap(WASI, "environ_get", move |mut caller: Caller<'_, Host>, pointers: P, buffer: P| {
        let (memory, _) = split(&mut caller)?;
        let mut pointer = pointers.address();
        let mut at = buffer.address();
        for string in strings {
            memory.store_size::<P>(pointer, at)?;
            memory.store(at, string.as_bytes())?;
            memory.store(at.saturating_add(string.len() as u64), &[0])?;
            pointer = pointer.saturating_add(P::BYTES);
            at = at.saturating_add(string.len() as u64 + 1);
        }
        wasmtime::Result::Ok(0_i32)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_string_is_the_programs_path() {
        assert_eq!(STRINGS[6].strip_prefix("_="), Some(PROGRAM_PATH));
    }
}
