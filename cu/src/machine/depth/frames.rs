//! What functions take of the native stack in truth, beside what is reckoned.
//!
//! No reckoning from a module alone bounds what a compiler makes of it: it keeps values for longer than the module does, and packs them
//! as well as it can. So each compiled function is looked at. One that takes more than [`NATIVE_PER_BYTE`] times what is reckoned is not
//! run; then calls are counted out before the native stack is, whatever the module.
//!
//! A frame's size stands in the function's first instructions. They are read for x86-64; on other processors the ratio alone has to do, and
//! a message that uses the native stack up is no result there either.

use super::{Frames, PER_CALL};
use crate::machine::CompileError;

/// Most bytes of native stack that a byte as reckoned may stand for.
pub(in crate::machine) const NATIVE_PER_BYTE: u64 = 2;
/// Return address and frame pointer.
const LINKAGE: u64 = 16;
/// Longest sequence of instructions that makes a frame, in bytes; it has some hundred.
const MAX_PROLOGUE_BYTES: usize = 256;

/// Checks all functions of a compiled module against what is reckoned for them.
pub(in crate::machine) fn check(module: &wasmtime::Module, reckoned: &Frames) -> Result<(), CompileError> {
    let text = module.text();
    for function in module.functions() {
        let code = text.get(function.offset..function.offset + function.len).unwrap_or_default();
        let Some(native) = frame_bytes(code) else { continue };
        // Functions that were added call nobody.
        let defined = (function.index.as_u32() as usize).checked_sub(reckoned.imported);
        let bytes = defined.and_then(|index| reckoned.bytes.get(index)).copied().unwrap_or(PER_CALL);
        let limit = bytes.saturating_mul(NATIVE_PER_BYTE);
        if native > limit {
            return Err(CompileError::TooCostly { what: "bytes of native stack in a function", found: native, limit });
        }
    }
    Ok(())
}

/// Bytes of native stack that a call of a compiled function takes; none where this cannot be read.
fn frame_bytes(code: &[u8]) -> Option<u64> {
    // push rbp; mov rbp, rsp
    const BEGIN: &[u8] = &[0x55, 0x48, 0x89, 0xE5];
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let mut rest = code.get(..code.len().min(MAX_PROLOGUE_BYTES))?.strip_prefix(BEGIN)?;
    // Pages of a large frame are touched one after the other before; what comes last stays.
    let mut made = 0;
    while let Some((length, frame)) = step(rest) {
        made = frame.unwrap_or(made);
        rest = rest.get(length..).unwrap_or_default();
    }
    Some(LINKAGE + u64::from(made))
}

/// The length of an instruction by which a frame is made, and how far it moves the stack pointer down; none for other instructions.
fn step(code: &[u8]) -> Option<(usize, Option<u32>)> {
    match *code {
        // sub rsp, imm
        [0x48, 0x81, 0xEC, a, b, c, d, ..] => Some((7, Some(u32::from_le_bytes([a, b, c, d])))),
        [0x48, 0x83, 0xEC, a, ..] => Some((4, Some(a.into()))),
        // add rsp, imm; add r10, imm; sub r11, imm
        [0x48, 0x81, 0xC4, ..] | [0x49, 0x81, 0xC2 | 0xEB, ..] => Some((7, None)),
        [0x48, 0x83, 0xC4, ..] | [0x49, 0x83, 0xC2 | 0xEB, ..] => Some((4, None)),
        // mov dword [rsp], imm
        [0xC7, 0x04, 0x24, ..] => Some((7, None)),
        // Conditional jumps.
        [0x0F, 0x80..=0x8F, ..] => Some((6, None)),
        [0x70..=0x7F, ..] => Some((2, None)),
        // mov and cmp of 64 bits, between registers or from memory.
        [0x48..=0x4F, 0x39 | 0x3B | 0x89 | 0x8B, operands, ..] => {
            let indexed = usize::from(operands & 7 == 4);
            Some((
                3 + match operands >> 6 {
                    0 if operands & 7 == 5 => 4,
                    0 => indexed,
                    1 => 1 + indexed,
                    2 => 4 + indexed,
                    _ => 0,
                },
                None,
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    fn largest(text: &str) -> u64 {
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let code = |function: wasmtime::ModuleFunction| &module.text()[function.offset..function.offset + function.len];
        module.functions().map(|function| frame_bytes(code(function)).unwrap()).max().unwrap()
    }

    #[test]
    fn a_frame_is_read_from_the_code_that_makes_it() {
        assert_eq!(largest("(module (func))"), LINKAGE);
        for kept in [4_u64, 40, 400, 1000, 4000] {
            let calls = "(call $g)".repeat(kept as usize);
            let adds = "(v128.xor)".repeat(kept as usize - 1);
            let text = format!(
                "(module (memory 1) (func $g (result v128) (v128.load (i32.const 0))) (func (result v128) {calls} {adds}))"
            );
            let (least, most) = (16 * (kept - 2), 16 * kept + 200);
            assert!((least..most).contains(&largest(&text)), "{kept} values: {}", largest(&text));
        }
    }
}
