//! The reference's gas: code that counts, added to a module before it is compiled (spec 06 §6).
//!
//! The reference calls a host function in front of every segment of code. Here the function is one more of the module's
//! own and the counter a global, so that counting costs no way out of the guest. What is counted is the same: the sum over the
//! segments run of the costs of their instructions and of the call itself.

use std::ops::Range;

use wasm_encoder::Encode;
use wasmparser::{BlockType, DataKind, ElementKind, FunctionBody, Operator, Parser, Payload, TypeRef, WasmFeatures};

use super::{
    CompileError, Format,
    sections::{self, Sections},
};

/// Export of the counter. The host sets it to 0 before a message.
pub(super) const USED_EXPORT: &str = "holon:gas:used";
/// Export of the limit: a counter above it traps.
pub(super) const LIMIT_EXPORT: &str = "holon:gas:limit";

/// Cost of the two instructions in front of each segment.
const CALL_COST: u64 = 91;

/// Cost of an instruction by its first byte; none if the reference cannot count it.
fn cost(opcode: u8) -> Option<u64> {
    Some(match opcode {
        // unreachable, nop, block, loop, if, and constants
        0x00..=0x04 | 0x41..=0x44 => 1,
        // comparisons, counts of bits, addition, subtraction, multiplication, logic: of integers
        0x45..=0x5A | 0x67..=0x6C | 0x71..=0x73 | 0x79..=0x7E | 0x83..=0x85 => 45,
        // (in)equality, addition, subtraction, multiplication: of floating point numbers
        0x5B | 0x5C | 0x61 | 0x62 | 0x92..=0x94 | 0xA0..=0xA2 => 45,
        // shifts
        0x74..=0x76 | 0x86..=0x88 => 67,
        // rotations, else, br, br_if, return, call
        0x77 | 0x78 | 0x89 | 0x8A | 0x05 | 0x0C | 0x0D | 0x0F | 0x10 => 90,
        // memory.size
        0x3F => 100,
        // variables, loads and stores, drop, select, br_table
        0x20..=0x24 | 0x28..=0x3E | 0x1A | 0x1B | 0x0E => 120,
        // memory.grow, call_indirect
        0x40 | 0x11 => 10_000,
        // divisions and remainders of integers
        0x6D..=0x70 | 0x7F..=0x82 => 36_000,
        // end; the rest of floating point; conversions; extensions of signs
        0x0B | 0x5D..=0x60 | 0x63..=0x66 | 0x8B..=0x91 | 0x95..=0x9F | 0xA3..=0xC4 => 0,
        _ => return None,
    })
}

/// Whether a segment ends after an instruction: if, else, loop, end, br, br_if, br_table, return, memory.grow.
fn ends_segment(opcode: u8) -> bool {
    matches!(opcode, 0x03..=0x05 | 0x0B..=0x0F | 0x40)
}

/// Where the additions go.
#[derive(Default)]
struct Indices {
    types: u32,
    functions: u32,
    globals: u32,
}

/// The module with code that counts gas.
///
/// # Errors
/// When it uses what the reference cannot count: anything beyond the first version of WebAssembly and sign extension.
pub(super) fn instrument(wasm: &[u8], format: Format) -> Result<Vec<u8>, CompileError> {
    let invalid = |error: wasmparser::BinaryReaderError| CompileError::Invalid(error.to_string());
    let uncountable = |what: &str| CompileError::Format {
        format: format.as_str(),
        reason: format!("its gas cannot be counted: it has {what}"),
    };
    let mut indices = Indices::default();
    let mut bodies: Vec<FunctionBody<'_>> = Vec::new();
    let mut parser = Parser::new(0);
    parser.set_features(WasmFeatures::all());
    for payload in parser.parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::TypeSection(types) => {
                for group in types {
                    indices.types += group.map_err(invalid)?.types().len() as u32;
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    match import.map_err(invalid)?.ty {
                        TypeRef::Func(_) => indices.functions += 1,
                        TypeRef::Global(_) => indices.globals += 1,
                        TypeRef::Table(_) | TypeRef::Memory(_) => {}
                        _ => return Err(uncountable("an import of another kind")),
                    }
                }
            }
            Payload::FunctionSection(functions) => indices.functions += functions.count(),
            Payload::GlobalSection(globals) => indices.globals += globals.count(),
            Payload::ElementSection(elements) => {
                for element in elements {
                    if !matches!(element.map_err(invalid)?.kind, ElementKind::Active { .. }) {
                        return Err(uncountable("a passive segment of elements"));
                    }
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    if !matches!(segment.map_err(invalid)?.kind, DataKind::Active { .. }) {
                        return Err(uncountable("a passive segment of data"));
                    }
                }
            }
            Payload::TagSection(_) => return Err(uncountable("exceptions")),
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }

    let mut code = Vec::with_capacity(wasm.len() * 3 / 2);
    (bodies.len() as u32).saturating_add(1).encode(&mut code);
    let mut counted = Vec::new();
    for body in &bodies {
        counted.clear();
        count_body(wasm, body, indices.functions, &mut counted).map_err(|refusal| match refusal {
            Refusal::Parse(error) => invalid(error),
            Refusal::Uncountable(opcode) => uncountable(&format!("an instruction that begins with {opcode:#04x}")),
        })?;
        counted.as_slice().encode(&mut code);
    }
    counting_function(&indices).as_slice().encode(&mut code);

    let mut all = Sections::parse(wasm).map_err(invalid)?;
    // A function of one i64.
    all.append(sections::TYPE, 1, &[0x60, 1, I64, 0]);
    let mut function = Vec::new();
    indices.types.encode(&mut function);
    all.append(sections::FUNCTION, 1, &function);
    // Mutable, 0 at first.
    all.append(sections::GLOBAL, 2, &[I64, 1, I64_CONST, 0, END, I64, 1, I64_CONST, 0, END]);
    let mut exports = Vec::new();
    for (index, name) in [USED_EXPORT, LIMIT_EXPORT].into_iter().enumerate() {
        const GLOBAL_KIND: u8 = 3;
        name.encode(&mut exports);
        exports.push(GLOBAL_KIND);
        (indices.globals + index as u32).encode(&mut exports);
    }
    all.append(sections::EXPORT, 2, &exports);
    if bodies.is_empty() {
        all.append(sections::CODE, 0, &[]);
    }
    all.replace(sections::CODE, code);
    Ok(all.encode())
}

const I64: u8 = 0x7E;
const CALL: u8 = 0x10;
const END: u8 = 0x0B;
const I64_CONST: u8 = 0x42;

enum Refusal {
    Parse(wasmparser::BinaryReaderError),
    /// The first byte of the instruction.
    Uncountable(u8),
}

impl From<wasmparser::BinaryReaderError> for Refusal {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Refusal::Parse(error)
    }
}

/// Copies a body, with a call of function `counter` in front of every segment that costs something.
fn count_body(wasm: &[u8], body: &FunctionBody<'_>, counter: u32, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut operators = body.get_operators_reader()?;
    let first = operators.original_position();
    out.extend_from_slice(&wasm[body.range().start..first]);
    let mut segment = Range { start: first, end: first };
    let mut segment_cost = 0;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        let opcode = wasm[at];
        let more_than_one_value = matches!(
            operator,
            Operator::Block { blockty: BlockType::FuncType(_) }
                | Operator::Loop { blockty: BlockType::FuncType(_) }
                | Operator::If { blockty: BlockType::FuncType(_) }
        );
        let other_table = matches!(operator, Operator::CallIndirect { table_index: 1.., .. });
        segment_cost += match cost(opcode) {
            Some(cost) if !more_than_one_value && !other_table => cost,
            _ => return Err(Refusal::Uncountable(opcode)),
        };
        segment.end = operators.original_position();
        if ends_segment(opcode) {
            put_segment(&wasm[segment.clone()], segment_cost, counter, out);
            segment.start = segment.end;
            segment_cost = 0;
        }
    }
    operators.finish()?;
    put_segment(&wasm[segment], segment_cost, counter, out);
    Ok(())
}

fn put_segment(instructions: &[u8], cost: u64, counter: u32, out: &mut Vec<u8>) {
    if cost > 0 {
        out.push(I64_CONST);
        // Functions are bounded, so this is far below 2⁶³.
        ((cost + CALL_COST) as i64).encode(out);
        out.push(CALL);
        counter.encode(out);
    }
    out.extend_from_slice(instructions);
}

/// `used += cost; if used > limit: trap`.
fn counting_function(indices: &Indices) -> Vec<u8> {
    use wasm_encoder::{BlockType, Function};
    let (used, limit) = (indices.globals, indices.globals + 1);
    let mut function = Function::new([]);
    function
        .instructions()
        .global_get(used)
        .local_get(0)
        .i64_add()
        .global_set(used)
        .global_get(used)
        .global_get(limit)
        .i64_gt_s()
        .if_(BlockType::Empty)
        .unreachable()
        .end()
        .end();
    function.into_raw_body()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrumented(text: &str) -> Result<Vec<u8>, CompileError> {
        instrument(&wat::parse_str(text).unwrap(), Format::Emscripten4Metering)
    }

    #[test]
    fn segments_are_counted_with_the_instruction_that_ends_them() {
        let wasm = wat::parse_str(
            "(module (func (param i32) (result i32)
               (loop (br_if 0 (i32.eqz (local.get 0)))) (i32.div_u (local.get 0) (i32.const 3))))",
        )
        .unwrap();
        let mut costs = Vec::new();
        for payload in Parser::new(0).parse_all(&instrument(&wasm, Format::Emscripten4Metering).unwrap()) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                for operator in body.get_operators_reader().unwrap() {
                    if let Operator::I64Const { value } = operator.unwrap() {
                        costs.push(value);
                    }
                }
            }
        }
        // loop | local.get eqz br_if | end | local.get const div end
        assert_eq!(costs, [1 + 91, 120 + 45 + 90 + 91, 120 + 1 + 36_000 + 91]);
    }

    #[test]
    fn what_is_added_keeps_a_module_valid_whatever_it_lacks() {
        for text in [
            "(module)",
            r#"(module (import "env" "f" (func)) (import "env" "g" (global i32)) (func (export "h") call 0))"#,
            "(module (table 2 funcref) (elem (i32.const 0) $f) (func $f (block (br_table 0 0 (i32.const 1)))))",
            "(module (global i32 (i32.const 1)) (func (result i32) (if (result i32) (i32.const 1) (then (i32.const 2)) (else (return (i32.const 3))))))",
        ] {
            wasmparser::validate(&instrumented(text).unwrap()).unwrap();
        }
    }

    #[test]
    fn what_the_reference_cannot_count_is_refused() {
        for text in [
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
            "(module (func (drop (i32.trunc_sat_f32_s (f32.const 0)))))",
            "(module (func (drop (v128.const i64x2 0 0))))",
            "(module (func (drop (ref.null func))))",
            "(module (func (block (result i32 i32) (i32.const 0) (i32.const 0)) (drop) (drop)))",
            "(module (memory 1) (data \"passive\"))",
            "(module (func $f) (elem func $f))",
        ] {
            let refused = instrumented(text);
            assert!(matches!(refused, Err(CompileError::Format { .. })), "{text}: {refused:?}");
        }
    }
}
