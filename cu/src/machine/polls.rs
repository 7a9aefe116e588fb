//! Where running code can be made to stop, without a question on the way.
//!
//! Code that asks in every round of a loop whether it may go on spends a tenth of its time on that. So it does not ask. It writes a zero into a
//! page of its own, and whoever wants it to stop makes that page inaccessible: the write then faults, and the fault's handler decides
//! ([`super::memory::Poll`]).
//!
//! The page is in a second memory that the module gets here, which its own code cannot name: modules with more than one memory are refused
//! before (`inspect`). It is written to at the begin of every round of a loop, and of every function that calls others. What is left
//! between two writes is as long as one function's code, and the ones without calls that it calls.

use wasm_encoder::{Encode, InstructionSink, MemArg};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

use super::sections::{self, Sections};

/// The module's memories: its own, and the one that is added.
const ADDED: u32 = 1;
/// Kind of its type: 32 bits, with a maximum. A page is the least there can be.
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
        let mut code = Vec::with_capacity(wasm.len() + wasm.len() / 16);
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

/// Copies a body, with a write wherever one is needed.
fn copy(wasm: &[u8], body: &FunctionBody<'_>, out: &mut Vec<u8>) -> Result<(), BinaryReaderError> {
    let mut operators = body.get_operators_reader()?;
    let begin = operators.original_position();
    out.extend_from_slice(&wasm[body.range().start..begin]);
    let entry = out.len();
    let (mut copied, mut calls) = (begin, false);
    while !operators.eof() {
        match operators.read()? {
            Operator::Loop { .. } => {
                let after = operators.original_position();
                out.extend_from_slice(&wasm[copied..after]);
                write(out);
                copied = after;
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. } => calls = true,
            _ => {}
        }
    }
    operators.finish()?;
    out.extend_from_slice(&wasm[copied..body.range().end]);
    if calls {
        let mut bytes = Vec::new();
        write(&mut bytes);
        out.splice(entry..entry, bytes);
    }
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
    fn loops_and_functions_that_call_can_be_stopped() {
        for (expected, text) in [
            (0, "(module (memory 1))"),
            (0, "(module (memory 1) (func (param i32) (local i64) (drop (local.get 0))))"),
            (1, "(module (memory 1) (func (local i64) (loop (br 0))))"),
            (2, "(module (memory 1) (func (param i32) (loop (param) (loop (result i32) (i32.const 1)) (drop))))"),
            (2, "(module (memory 1) (func $f (local f64) (call $g) (call $g)) (func $g (call $f)))"),
            (1, "(module (memory 1) (table 1 funcref) (func (call_indirect (i32.const 0))))"),
            (3, "(module (memory 1) (func $f (param i64) (loop (call $f (i64.const 1)) (loop (br 1)))))"),
        ] {
            assert_eq!(written(text), expected, "{text}");
        }
    }
}
