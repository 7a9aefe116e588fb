//! Where running code can be made to stop, without a question on the way.
//!
//! Code that asks in every round of a loop whether it may go on spends a tenth of its time on that. So it does not ask. It writes a zero into a
//! page of its own, and whoever wants it to ask has that page closed: the write then faults, and the fault's handler asks
//! ([`super::memory::PollPage`]).
//!
//! The page is in a second memory that the module gets here. The module's own code cannot name it, because it was validated when it had one
//! memory (`depth`), and a module that defines or imports another is refused (`inspect`).
//!
//! It is written to at the begin of every round of a loop, and in front of every call and of every instruction that takes as long as its
//! operands say. What is left between two writes is straight code: that of one function, or of several that return to one another. As code
//! counts among what calls inside each other may take (`depth`), that is less than 64 MiB of it, a second or two at worst.

use wasm_encoder::{Encode, InstructionSink, MemArg};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

use super::sections::{self, Sections};

/// Index of the memory that is added.
const ADDED: u32 = 1;
/// Its type: 32 bits, one page, and no more.
const TYPE: [u8; 3] = [1, 1, 1];

/// The module with code that can be made to stop. `wasm` has one memory, and must have been validated.
pub(super) fn add(wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            bodies.push(body);
        }
    }
    let mut all = Sections::parse(wasm)?;
    all.append(sections::MEMORY, 1, &TYPE);
    if !bodies.is_empty() {
        let mut code = Vec::with_capacity(wasm.len() + wasm.len() / 8);
        (bodies.len() as u32).encode(&mut code);
        let mut changed = Vec::new();
        for body in &bodies {
            changed.clear();
            copy(wasm, body, &mut changed)?;
            changed.as_slice().encode(&mut code);
        }
        all.replace(sections::CODE, code);
    }
    Ok(all.encode())
}

/// Whether an instruction may take longer than others.
fn is_long(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::MemoryGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::TableGrow { .. }
    )
}

/// Copies a body, with a write wherever one is needed.
fn copy(wasm: &[u8], body: &FunctionBody<'_>, out: &mut Vec<u8>) -> Result<(), BinaryReaderError> {
    let mut operators = body.get_operators_reader()?;
    let mut copied = body.range().start;
    while !operators.eof() {
        let at = operators.original_position();
        let operator = operators.read()?;
        let place = match operator {
            Operator::Loop { .. } => operators.original_position(),
            operator if is_long(&operator) => at,
            _ => continue,
        };
        out.extend_from_slice(&wasm[copied..place]);
        write(out);
        copied = place;
    }
    operators.finish()?;
    out.extend_from_slice(&wasm[copied..body.range().end]);
    Ok(())
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
        for (expected, text) in [
            (0, "(module (memory 1))"),
            (0, "(module (memory 1) (func (param i32) (local i64) (drop (local.get 0))))"),
            (1, "(module (memory 1) (func (local i64) (loop (br 0))))"),
            (2, "(module (memory 1) (func (param i32) (loop (param) (loop (result i32) (i32.const 1)) (drop))))"),
            (3, "(module (memory 1) (func $f (local f64) (call $g) (call $g)) (func $g (call $f)))"),
            (1, "(module (memory 1) (table 1 funcref) (func (call_indirect (i32.const 0))))"),
            (2, r#"(module (import "a" "b" (func $f)) (memory 1) (func (call $f) (call $f)))"#),
            (3, "(module (memory 1) (func $f (param i64) (loop (call $f (i64.const 1)) (loop (br 1)))))"),
            (
                2,
                "(module (memory 1) (func $f (param i32) (if (local.get 0) (then) (else (call $f (i32.const 1)))) (unreachable) (call $f)))",
            ),
            (1, "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9))))"),
            (
                2,
                r#"(module (memory 1) (table 1 funcref) (data "abc") (elem func) (tag) (global i32 (i32.const 1)) (export "m" (memory 0))
                     (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 3)) (drop (memory.grow (i32.const 1)))))"#,
            ),
        ] {
            assert_eq!(written(text), expected, "{text}");
        }
    }
}
