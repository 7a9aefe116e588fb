//! Imports that leave the straight line: protected calls and longjmp, exit, abort (spec 06 §5.1, §4.3).

use wasmtime::{Caller, Linker, Trap};

use super::{Ended, pointer::Pointer};
use crate::machine::host::Host;

/// Unwinds to the nearest protected call.
#[derive(Debug, thiserror::Error)]
#[error("longjmp")]
struct Longjmp;

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", P::INVOKE.0, invoke::<P>)?;
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
    linker.func_wrap("env", "_emscripten_system", |command: P| -> i32 {
        // There is no shell. F4's loader says there is one and would run the command in it; nobody should.
        const NO_SHELL: i32 = -52;
        if command.address() != 0 { NO_SHELL } else { i32::from(!P::wide()) }
    })?;
    linker.func_wrap("env", "emscripten_err", |_: P| {})?;
    Ok(())
}

fn aborted(reason: &'static str) -> wasmtime::Result<()> {
    Err(Ended::Aborted(reason).into())
}

fn invoke<P: Pointer>(mut caller: Caller<'_, Host>, function: P, first: P, second: P) -> wasmtime::Result<()> {
    let exports = P::exports(caller.data()).ok_or(Trap::UnreachableCodeReached)?;
    let call = exports.call.as_ref().ok_or(Trap::IndirectCallToNull)?;
    let stack = exports.stack_current.call(&mut caller, ())?;
    match call.call(&mut caller, (function.address() as u32 as i32, first, second)) {
        Err(error) if error.is::<Longjmp>() => {
            exports.stack_restore.call(&mut caller, stack)?;
            exports.set_threw.call(&mut caller, (P::from_address(1), 0))
        }
        other => other,
    }
}

/// A longjmp that nobody caught is the guest's mistake.
pub(super) fn outside(error: wasmtime::Error) -> wasmtime::Error {
    if error.is::<Longjmp>() { Ended::LongjmpOutside.into() } else { error }
}
