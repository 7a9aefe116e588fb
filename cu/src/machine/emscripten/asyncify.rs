//! Leaving the guest around asynchronous imports, and entering it again (spec 06 §5.2).
//!
//! The reference's WeaveDrive is asynchronous: the guest is unwound to the host and, with the answer there, wound up again. Nothing
//! here is asynchronous, but doing the same costs the same gas and leaves the same memory. Where neither counts, the answer is simply
//! returned ([`Host::unwinds`]).

use wasmtime::{Caller, Instance, Store, Trap, TypedFunc};

use super::{
    access::{Access, OutOfRange, split},
    pointer::Pointer,
};
use crate::machine::host::Host;

/// Room for the guest's frames, in bytes.
const STACK_BYTES: u64 = 41_943_040;

/// Exports of a module made for being left.
#[derive(Clone)]
pub(super) struct Asyncify<P: Pointer> {
    malloc: TypedFunc<P, P>,
    free: TypedFunc<P, ()>,
    start_unwind: TypedFunc<P, ()>,
    stop_unwind: TypedFunc<(), ()>,
    start_rewind: TypedFunc<P, ()>,
    stop_rewind: TypedFunc<(), ()>,
}

/// Which way the guest is going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Motion {
    #[default]
    Forward,
    Unwinding(Sleep),
    Rewinding(Sleep),
}

/// An import that has been called, and will be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sleep {
    /// Address of the block with the guest's frames.
    block: u64,
    /// What the import will return the second time.
    answer: i32,
}

impl<P: Pointer> Asyncify<P> {
    /// None where an export is missing.
    pub fn of(store: &mut Store<Host>, instance: &Instance) -> Option<Self> {
        Some(Self {
            malloc: instance.get_typed_func(&mut *store, "malloc").ok()?,
            free: instance.get_typed_func(&mut *store, "free").ok()?,
            start_unwind: instance.get_typed_func(&mut *store, "asyncify_start_unwind").ok()?,
            stop_unwind: instance.get_typed_func(&mut *store, "asyncify_stop_unwind").ok()?,
            start_rewind: instance.get_typed_func(&mut *store, "asyncify_start_rewind").ok()?,
            stop_rewind: instance.get_typed_func(&mut *store, "asyncify_stop_rewind").ok()?,
        })
    }

    /// To be called when `handle` has returned: whether it has to be called again.
    pub fn turn(&self, store: &mut Store<Host>) -> wasmtime::Result<bool> {
        let Motion::Unwinding(sleep) = store.data().emscripten.motion else { return Ok(false) };
        self.stop_unwind.call(&mut *store, ())?;
        store.data_mut().emscripten.motion = Motion::Rewinding(sleep);
        self.start_rewind.call(&mut *store, P::from_address(sleep.block))?;
        Ok(true)
    }

    /// Begins to leave the guest, from an import.
    fn leave(&self, caller: &mut Caller<'_, Host>, answer: i32) -> wasmtime::Result<()> {
        // Two pointers and the number of the call to be wound up, which is the first there is.
        let head = 3 * P::BYTES;
        let block = self.malloc.call(&mut *caller, P::from_address(head + STACK_BYTES))?.address();
        // The guest's own allocator may say anything.
        let end = block.checked_add(head + STACK_BYTES).ok_or(OutOfRange)?;
        let (memory, host) = split(caller)?;
        memory.store_size::<P>(block, block + head)?;
        memory.store_size::<P>(block + P::BYTES, end)?;
        memory.store_i32(block + 2 * P::BYTES, 0)?;
        host.emscripten.motion = Motion::Unwinding(Sleep { block, answer });
        self.start_unwind.call(&mut *caller, P::from_address(block))
    }
}

/// An import that the reference answers later: `operation` gives the answer.
pub(super) fn sleep<P: Pointer>(
    caller: &mut Caller<'_, Host>,
    operation: impl FnOnce(&mut Caller<'_, Host>) -> wasmtime::Result<i32>,
) -> wasmtime::Result<i32> {
    // Not during set-up, which nobody enters again.
    if !caller.data().unwinds || caller.data().entry.is_none() {
        return operation(caller);
    }
    let asyncify = P::exports(caller.data()).and_then(|exports| exports.asyncify);
    let Some(asyncify) = asyncify else { return operation(caller) };
    let state = &mut caller.data_mut().emscripten;
    match state.motion {
        Motion::Forward => {
            let last = state.last_answer;
            let answer = operation(caller)?;
            asyncify.leave(caller, answer)?;
            // Nobody looks at it.
            Ok(last)
        }
        Motion::Rewinding(Sleep { block, answer }) => {
            state.motion = Motion::Forward;
            state.last_answer = answer;
            asyncify.stop_rewind.call(&mut *caller, ())?;
            asyncify.free.call(&mut *caller, P::from_address(block))?;
            Ok(answer)
        }
        // A guest that is being left calls nothing, unless it was not made for it.
        Motion::Unwinding(_) => Err(Trap::UnreachableCodeReached.into()),
    }
}
