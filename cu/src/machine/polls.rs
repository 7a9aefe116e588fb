//! Where running code can be made to stop, without a question on the way.
//!
//! Code that asks in every round of a loop whether it may go on spends a tenth of its time on that. So it does not ask. It writes a zero into a
//! page of its own, and whoever wants it to ask has that page closed: the write then faults, and the fault's handler asks
//! ([`super::memory::PollPage`]).
//!
//! The page is in a second memory that the module gets here. The module's own code cannot name it, because it was validated when it had one
//! memory (`depth`), and a module that defines or imports another is refused (`inspect`). Between two writes lie at most
//! [`MAX_STRAIGHT_BYTES`] of one function's code and the calls in it, fewer than [`MAX_CALLS`] each of a function that itself is too short
//! to write; every instruction that may take long for its operands, and every call of the host, has a write in front of it.

use wasm_encoder::{Encode, InstructionSink, MemArg};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, TypeRef};

use super::sections::{self, Sections};

/// Index of the memory that is added.
const ADDED: u32 = 1;
/// Its type: 32 bits, one page, and no more.
const TYPE: [u8; 3] = [1, 1, 1];
/// Functions without loops, calls and long instructions that have less code do not write.
const SHORT_BYTES: usize = 256;
/// Most code without a write.
const MAX_STRAIGHT_BYTES: usize = 4096;
/// Calls of the module's own functions with which there is another write.
const MAX_CALLS: u32 = 8;

/// The module with code that can be made to stop. `wasm` has one memory, and must have been validated.
pub(super) fn add(wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let (mut bodies, mut imported) = (Vec::new(), 0);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    let mut all = Sections::parse(wasm)?;
    all.append(sections::MEMORY, 1, &TYPE);
    if !bodies.is_empty() {
        let mut code = Vec::with_capacity(wasm.len() + wasm.len() / 16);
        (bodies.len() as u32).encode(&mut code);
        let mut changed = Vec::new();
        for body in &bodies {
            changed.clear();
            Copying { wasm, imported, out: &mut changed }.copy(body)?;
            changed.as_slice().encode(&mut code);
        }
        all.replace(sections::CODE, code);
    }
    Ok(all.encode())
}

/// What an instruction means for how long code runs.
enum Lasts {
    /// No longer than others.
    Short,
    /// As long as a function of the module.
    Call,
    /// As long as its operands say, or the host.
    Long,
}

/// A function that is being copied.
struct Copying<'a> {
    wasm: &'a [u8],
    /// How many functions the module imports.
    imported: u32,
    out: &'a mut Vec<u8>,
}

impl Copying<'_> {
    fn lasts(&self, operator: &Operator<'_>) -> Lasts {
        match operator {
            Operator::Call { function_index } if *function_index < self.imported => Lasts::Long,
            Operator::Call { .. } => Lasts::Call,
            // Whoever it is that is called.
            Operator::CallIndirect { .. } | Operator::CallRef { .. } => Lasts::Long,
            Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::MemoryGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::TableGrow { .. } => Lasts::Long,
            _ => Lasts::Short,
        }
    }

    fn copy(&mut self, body: &FunctionBody<'_>) -> Result<(), BinaryReaderError> {
        let mut operators = body.get_operators_reader()?;
        let begin = operators.original_position();
        self.out.extend_from_slice(&self.wasm[body.range().start..begin]);
        let entry = self.out.len();
        // How far the code has been copied, where the last write is, and how many calls there have been since.
        let (mut copied, mut written, mut calls) = (begin, begin, 0);
        let mut short = body.range().end - begin < SHORT_BYTES;
        while !operators.eof() {
            let at = operators.original_position();
            let operator = operators.read()?;
            let lasts = self.lasts(&operator);
            let place = match (&operator, &lasts) {
                (Operator::Loop { .. }, _) => Some(operators.original_position()),
                (_, Lasts::Long) => Some(at),
                (_, Lasts::Call) if calls + 1 == MAX_CALLS => Some(at),
                _ if at - written >= MAX_STRAIGHT_BYTES => Some(at),
                _ => None,
            };
            if let Some(place) = place {
                self.out.extend_from_slice(&self.wasm[copied..place]);
                write(self.out);
                (copied, written, calls) = (place, place, 0);
            }
            if let Lasts::Call = lasts {
                calls += 1;
            }
            short &= place.is_none() && matches!(lasts, Lasts::Short);
        }
        operators.finish()?;
        self.out.extend_from_slice(&self.wasm[copied..body.range().end]);
        if !short {
            let mut bytes = Vec::new();
            write(&mut bytes);
            self.out.splice(entry..entry, bytes);
        }
        Ok(())
    }
}

fn write(out: &mut Vec<u8>) {
    let place = MemArg { offset: 0, align: 2, memory_index: ADDED };
    InstructionSink::new(out).i32_const(0).i32_const(0).i32_store(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> usize {
        let wasm = add(&wat::parse_str(text).unwrap()).unwrap();
        wasmparser::validate(&wasm).unwrap();
        let mut count = 0;
        for payload in Parser::new(0).parse_all(&wasm) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                for operator in body.get_operators_reader().unwrap() {
                    let ours = |operator: Operator<'_>| matches!(operator, Operator::I32Store { memarg } if memarg.memory == ADDED);
                    count += usize::from(ours(operator.unwrap()));
                }
            }
        }
        count
    }

    #[test]
    fn whatever_may_take_long_can_be_stopped() {
        let straight = |bytes: usize| format!("(module (memory 1) (func {}))", "(nop)".repeat(bytes));
        let calls = |count: usize| format!("(module (memory 1) (func $f {}) (func $g))", "(call $g)".repeat(count));
        for (expected, text) in [
            (0, "(module (memory 1))"),
            (0, "(module (memory 1) (func (param i32) (local i64) (drop (local.get 0))))"),
            (2, "(module (memory 1) (func (local i64) (loop (br 0))))"),
            (3, "(module (memory 1) (func (param i32) (loop (param) (loop (result i32) (i32.const 1)) (drop))))"),
            (2, "(module (memory 1) (func $f (local f64) (call $g) (call $g)) (func $g (call $f)))"),
            (2, "(module (memory 1) (table 1 funcref) (func (call_indirect (i32.const 0))))"),
            (3, r#"(module (import "a" "b" (func $f)) (memory 1) (func (call $f) (call $f)))"#),
            (3, "(module (memory 1) (func $f (param i64) (loop (call $f (i64.const 1)) (loop (br 1)))))"),
            (2, "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9))))"),
            (
                3,
                r#"(module (memory 1) (table 1 funcref) (data "abc") (elem func) (tag) (global i32 (i32.const 1)) (export "m" (memory 0))
                     (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 3)) (drop (memory.grow (i32.const 1)))))"#,
            ),
            (0, &straight(SHORT_BYTES - 2)),
            (1, &straight(SHORT_BYTES)),
            (1, &straight(MAX_STRAIGHT_BYTES - 1)),
            (3, &straight(2 * MAX_STRAIGHT_BYTES)),
            (1, &calls(MAX_CALLS as usize - 1)),
            (2, &calls(MAX_CALLS as usize)),
            (4, &calls(3 * MAX_CALLS as usize - 1)),
        ] {
            assert_eq!(written(text), expected, "{}", &text[..text.len().min(200)]);
        }
    }
}
