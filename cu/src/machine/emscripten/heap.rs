//! Memory growth and block copies (spec 06 §4.3, §4.4).

use wasmtime::{Caller, Linker};

use super::{
    access::{charge, split},
    pointer::Pointer,
};
use crate::machine::{HostFailure, format::Generation, host::Host};

const WASM_PAGE_BYTES: u64 = 65_536;
/// Largest heap of the first two generations, in bytes.
const OLD_HEAP_MAX_BYTES: u64 = 524_288_000;
/// How much more than asked is taken at most, in bytes: 96 MiB.
const OVERGROWTH_BYTES: u64 = 100_663_296;

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>, generation: Generation) -> wasmtime::Result<()> {
    let heap_max = match generation {
        Generation::First | Generation::Second => OLD_HEAP_MAX_BYTES,
        Generation::Third | Generation::Fourth => P::HEAP_MAX,
    };
    linker.func_wrap("env", "emscripten_resize_heap", move |caller: Caller<'_, Host>, requested: P| {
        resize(caller, requested.address(), heap_max)
    })?;
    linker.func_wrap("env", "emscripten_get_heap_max", move || P::from_address(heap_max))?;
    // One function whose name changed with the compiler.
    for name in ["emscripten_memcpy_big", "emscripten_memcpy_js", "_emscripten_memcpy_js"] {
        linker.func_wrap("env", name, copy::<P>)?;
    }
    Ok(())
}

/// Sizes tried, largest first: what the loader asks its engine for.
pub(super) fn sizes(old: u64, requested: u64, heap_max: u64) -> impl Iterator<Item = u64> {
    [1.0, 2.0, 4.0].into_iter().map(move |cut| {
        let over = (old as f64 * (1.0 + 0.2 / cut)).min(requested as f64 + OVERGROWTH_BYTES as f64);
        // At most 2⁵³, so exact enough to be cut off like JavaScript does.
        let wanted = (requested as f64).max(over);
        let rounded = (wanted / WASM_PAGE_BYTES as f64).ceil() * WASM_PAGE_BYTES as f64;
        (rounded as u64).min(heap_max)
    })
}

fn resize(mut caller: Caller<'_, Host>, requested: u64, heap_max: u64) -> wasmtime::Result<i32> {
    if requested > heap_max {
        return Ok(0);
    }
    let Some(memory) = caller.data().memory else { return Ok(0) };
    let old = memory.data_size(&caller) as u64;
    for new in sizes(old, requested, heap_max) {
        let pages = new.saturating_sub(old).div_ceil(WASM_PAGE_BYTES);
        match memory.grow(&mut caller, pages) {
            Ok(_) => return Ok(1),
            // Neither the operator's ceiling nor a want of memory is an answer the guest may see.
            Err(error) if error.is::<HostFailure>() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(0)
}

/// `copyWithin` of a JavaScript byte array: clamps instead of failing, which modules rely on (spec 06 §4.3).
fn copy<P: Pointer>(mut caller: Caller<'_, Host>, to: P, from: P, count: P) -> wasmtime::Result<()> {
    let (memory, _) = split(&mut caller)?;
    let len = memory.len() as u64;
    let end = if P::wide() {
        from.address().saturating_add(count.address())
    } else {
        u64::from((from.address() as u32).wrapping_add(count.address() as u32))
    };
    let (to, from) = (to.address().min(len), from.address().min(len));
    let count = end.min(len).saturating_sub(from).min(len - to);
    charge(&mut caller, count)?;
    let (memory, _) = split(&mut caller)?;
    memory.copy_within(from as usize..(from + count) as usize, to as usize);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_tries_a_fifth_a_tenth_a_twentieth_more() {
        let mib = 1 << 20;
        let tried: Vec<u64> = sizes(100 * mib, 101 * mib, 1 << 34).collect();
        // A tenth more is 110 MiB and a rounding error, so a page more: as in JavaScript.
        assert_eq!(tried, [120 * mib, 110 * mib + WASM_PAGE_BYTES, 105 * mib]);
    }

    #[test]
    fn a_large_request_is_taken_as_it_is_rounded_to_pages() {
        let tried: Vec<u64> = sizes(1 << 20, (1 << 30) + 1, 1 << 34).collect();
        assert_eq!(tried, [(1 << 30) + 65_536; 3]);
        assert_eq!(sizes(1 << 20, 1 << 30, 1 << 30).next(), Some(1 << 30));
    }
}
