//! Imports that leave the straight line: protected calls and longjmp, exit, abort (spec 06 §5.1, §4.3).

use wasmtime::{Caller, Linker, Trap, Val};

use super::{
    Ended,
    access::{Access, split},
    invoke,
    pointer::Pointer,
};
use crate::machine::{format::Generation, host::Host};

/// Unwinds to the nearest protected call.
#[derive(Debug, thiserror::Error)]
#[error("longjmp")]
pub(super) struct Longjmp;

/// There is no shell (spec 06 §4.3). F4's loader says there is one and would run the command in it; nobody should.
const NO_SHELL: i32 = 52;

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>, generation: Generation) -> wasmtime::Result<()> {
    linker.func_wrap("env", P::INVOKE.0, call_protected::<P>)?;
    linker.func_wrap("env", "_emscripten_throw_longjmp", || -> wasmtime::Result<()> { Err(Longjmp.into()) })?;
    linker.func_wrap("env", "exit", |status: i32| -> wasmtime::Result<()> { Err(Ended::Exit(status).into()) })?;
    linker
        .func_wrap("env", "_abort_js", || -> wasmtime::Result<()> { aborted("Aborted(native code called abort())") })?;
    linker.func_wrap("env", "__assert_fail", |_: P, _: P, _: i32, _: P| -> wasmtime::Result<()> {
        aborted("Aborted(Assertion failed)")
    })?;
    linker.func_wrap("env", "__cxa_throw", |_: P, _: P, _: P| -> wasmtime::Result<()> {
        aborted("uncaught C++ exception")
    })?;
    let shell = i32::from(generation == Generation::Fourth && !P::wide());
    linker.func_wrap("env", "_emscripten_system", move |command: P| -> i32 {
        if command.address() != 0 { -NO_SHELL } else { shell }
    })?;
    if generation != Generation::Fourth {
        link_older::<P>(linker)?;
    }
    linker.func_wrap("env", "emscripten_err", |_: P| {})?;
    Ok(())
}

/// Imports that only modules before the fourth generation have.
fn link_older<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "abort", || -> wasmtime::Result<()> { aborted("Aborted(native code called abort())") })?;
    linker.func_wrap("env", "system", |mut caller: Caller<'_, Host>, command: P| -> wasmtime::Result<i32> {
        if command.address() == 0 {
            return Ok(0);
        }
        if let Some(errno) = P::exports(caller.data()).and_then(|exports| exports.errno) {
            let at = errno.call(&mut caller, ())?;
            split(&mut caller)?.0.store_i32(at.address(), NO_SHELL)?;
        }
        Ok(-1)
    })?;
    linker.func_wrap("env", "getTempRet0", |caller: Caller<'_, Host>| caller.data().emscripten.temporary)?;
    linker.func_wrap("env", "setTempRet0", |mut caller: Caller<'_, Host>, value: i32| {
        caller.data_mut().emscripten.temporary = value;
    })?;
    Ok(())
}

fn aborted(reason: &'static str) -> wasmtime::Result<()> {
    Err(Ended::Aborted(reason).into())
}

fn call_protected<P: Pointer>(mut caller: Caller<'_, Host>, function: P, first: P, second: P) -> wasmtime::Result<()> {
    let exports = P::exports(caller.data()).ok_or(Trap::UnreachableCodeReached)?;
    let stack = exports.stack_current.call(&mut caller, ())?;
    let room = room_left(&mut caller);
    let index = function.address() as u32 as i32;
    let outcome = match &exports.call {
        Some(call) => call.call(&mut caller, (index, first, second)),
        None => {
            let function = invoke::entry::<P>(&mut caller, index)?;
            let function = function.typed::<(P, P), ()>(&caller).map_err(|_| Trap::BadSignature)?;
            function.call(&mut caller, (first, second))
        }
    };
    match outcome {
        Err(error) if error.is::<Longjmp>() => {
            give_room_back(&mut caller, room)?;
            exports.stack_restore.call(&mut caller, stack)?;
            exports.set_threw.call(&mut caller, (P::from_address(1), 0))
        }
        other => other,
    }
}

/// What is left for calls inside each other.
pub(super) fn room_left(caller: &mut Caller<'_, Host>) -> Option<Val> {
    let room = caller.data().room?;
    Some(room.get(caller))
}

/// Functions that were left without returning have not put back what they took.
pub(super) fn give_room_back(caller: &mut Caller<'_, Host>, left: Option<Val>) -> wasmtime::Result<()> {
    match (caller.data().room, left) {
        (Some(room), Some(left)) => room.set(caller, left),
        _ => Ok(()),
    }
}
