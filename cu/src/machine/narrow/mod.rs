//! 64-bit modules on a 32-bit memory: the same behaviour, without a bounds check on the way to every address.
//!
//! Compiled code for a 64-bit memory compares each address with the memory's bound and, so that speculation cannot read past it,
//! waits for the comparison before it touches memory. A 32-bit memory needs neither: whatever 32 bits reach lies in address
//! space that is reserved for it. So a module whose memory may never exceed 4 GiB is rewritten: its memory becomes a 32-bit
//! one, pointers stay 64-bit numbers, and an access first branches away if the upper half of the address is not zero. That
//! branch is not on the way to the data, and speculation past it stays inside the reservation. An address that was checked
//! and has not changed is not checked again.
//!
//! Nothing the guest can see changes: an access traps if and only if it did before, with the same trap, because every address of 2³²
//! and more lies outside a memory of at most 4 GiB. Instruction counts change, so code that counts fuel is left alone.

mod facts;
mod operators;

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{BlockType, CodeSection, Function, Instruction, MemArg, Module, ValType};
use wasmparser::{DataKind, FunctionBody, Operator, Parser, Payload, TypeRef};

use self::facts::{Facts, Known};
use self::operators::{Access, access, can_stay};
use super::CompileError;

/// Pages of 64 KiB that 32 bits reach.
const MAX_PAGES: u64 = 1 << 16;
/// The largest address of 32 bits.
const LAST: i64 = 0xffff_ffff;

/// The module with a 32-bit memory, or `None` where that cannot be done: memory may exceed 4 GiB, or is used by instructions
/// other than loads and stores. `wasm` must have been validated.
pub(super) fn narrow(wasm: &[u8]) -> Result<Option<Vec<u8>>, CompileError> {
    let invalid = |error: String| CompileError::Invalid(error);
    let Some(functions) = survey(wasm).map_err(|error| invalid(error.to_string()))? else { return Ok(None) };
    let mut module = Module::new();
    let mut narrowing = Narrowing { functions: functions.into_iter(), in_data: false };
    narrowing.parse_core_module(&mut module, Parser::new(0), wasm).map_err(|error| invalid(error.to_string()))?;
    Ok(Some(module.finish()))
}

/// What a function takes and gives.
struct Signature {
    parameters: u32,
    results: BlockType,
}

/// The signatures of the functions defined here, or `None` if the module cannot be narrowed.
fn survey(wasm: &[u8]) -> wasmparser::Result<Option<Vec<Signature>>> {
    let (mut types, mut functions) = (Vec::new(), Vec::new());
    let mut narrowable = false;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    for (_, ty) in group?.into_types_and_offsets() {
                        let signature = match &ty.composite_type.inner {
                            wasmparser::CompositeInnerType::Func(ty) => {
                                let results = match ty.results() {
                                    [] => Some(BlockType::Empty),
                                    [one] => value_type(*one).map(BlockType::Result),
                                    _ => None,
                                };
                                results.map(|results| (ty.params().len() as u32, results))
                            }
                            _ => None,
                        };
                        types.push(signature);
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    if let TypeRef::Memory(_) = import?.ty {
                        return Ok(None);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for index in section {
                    let Some(&Some((parameters, results))) = types.get(index? as usize) else { return Ok(None) };
                    functions.push(Signature { parameters, results });
                }
            }
            Payload::MemorySection(memories) => {
                if memories.count() != 1 {
                    return Ok(None);
                }
                for memory in memories {
                    let memory = memory?;
                    narrowable = memory.memory64
                        && !memory.shared
                        && memory.page_size_log2.is_none()
                        && memory.maximum.is_some_and(|maximum| maximum <= MAX_PAGES);
                }
            }
            Payload::DataSection(section) => {
                for data in section {
                    if let DataKind::Active { offset_expr, .. } = data?.kind {
                        let mut operators = offset_expr.get_operators_reader().into_iter();
                        // An offset of more than 32 bits may be the end of a memory of 4 GiB, and no smaller one is.
                        let first = operators.next().transpose()?;
                        let plain = matches!(first, Some(Operator::I64Const { value }) if (0..=LAST).contains(&value))
                            && matches!(operators.next().transpose()?, Some(Operator::End));
                        if !plain {
                            return Ok(None);
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    if !can_stay(&operator?) {
                        return Ok(None);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(narrowable.then_some(functions))
}

fn value_type(ty: wasmparser::ValType) -> Option<ValType> {
    Some(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(_) => return None,
    })
}

/// Locals added to a function.
struct Scratch {
    address: u32,
}

impl Scratch {
    /// In the order of their indices.
    const TYPES: [ValType; 5] = [ValType::I64, ValType::I32, ValType::I64, ValType::F32, ValType::F64];

    fn value(&self, ty: ValType) -> u32 {
        let place = Self::TYPES.iter().skip(1).position(|known| *known == ty).unwrap_or(0);
        self.address + 1 + place as u32
    }
}

struct Narrowing {
    functions: std::vec::IntoIter<Signature>,
    in_data: bool,
}

impl Reencode for Narrowing {
    type Error = Infallible;

    fn memory_type(
        &mut self,
        ty: wasmparser::MemoryType,
    ) -> Result<wasm_encoder::MemoryType, reencode::Error<Infallible>> {
        let ty = reencode::utils::memory_type(self, ty);
        Ok(wasm_encoder::MemoryType { memory64: false, ..ty })
    }

    fn parse_data_section(
        &mut self,
        data: &mut wasm_encoder::DataSection,
        section: wasmparser::DataSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        self.in_data = true;
        let parsed = reencode::utils::parse_data_section(self, data, section);
        self.in_data = false;
        parsed
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Result<Instruction<'a>, reencode::Error<Infallible>> {
        match operator {
            // Offsets of data segments, which have been looked at.
            Operator::I64Const { value } if self.in_data => Ok(Instruction::I32Const(value as u32 as i32)),
            operator => reencode::utils::instruction(self, operator),
        }
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        let signature = self.functions.next().ok_or(reencode::Error::InvalidCodeSectionSize)?;
        let mut locals = Vec::new();
        let mut count = signature.parameters;
        for group in body.get_locals_reader()? {
            let (number, ty) = group?;
            count += number;
            locals.push((number, self.val_type(ty)?));
        }
        let scratch = Scratch { address: count };
        locals.extend(Scratch::TYPES.map(|ty| (1, ty)));
        let mut function = Function::new(locals);
        // Accesses out of reach leave the outer block at its end; everything else leaves by the inner one.
        function.instruction(&Instruction::Block(BlockType::Empty));
        function.instruction(&Instruction::Block(signature.results));
        let mut facts = Facts::default();
        let mut depth = 0_u32;
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
                Operator::End => depth = depth.saturating_sub(1),
                _ => {}
            }
            match access(&operator) {
                Some(found) => {
                    let instruction = self.instruction(operator)?;
                    put_access(&mut function, &mut facts, found, &instruction, &scratch, depth + 1);
                }
                None => {
                    facts.follow(&operator);
                    let is_size = matches!(operator, Operator::MemorySize { .. });
                    function.instruction(&self.instruction(operator)?);
                    if is_size {
                        function.instruction(&Instruction::I64ExtendI32U);
                    }
                }
            }
        }
        // The body's own `end` has closed the inner block.
        function.instruction(&Instruction::Return);
        function.instruction(&Instruction::End);
        put_trap(&mut function);
        function.instruction(&Instruction::End);
        code.function(&function);
        Ok(())
    }
}

/// A load or store whose address is on the stack as 64 bits. `out` is the label of the outer block.
fn put_access(
    function: &mut Function,
    facts: &mut Facts,
    access: Access,
    instruction: &Instruction<'_>,
    scratch: &Scratch,
    out: u32,
) {
    if access.stores.is_some() {
        facts.pop();
    }
    let address = facts.pop();
    if let Some(ty) = access.stores {
        function.instruction(&Instruction::LocalSet(scratch.value(ty)));
    } else {
        facts.stack.push(if access.small { Known::Small } else { Known::Nothing });
    }
    if !facts.is_small(address) {
        function
            .instruction(&Instruction::LocalTee(scratch.address))
            .instruction(&Instruction::I64Const(LAST))
            .instruction(&Instruction::I64GtU)
            .instruction(&Instruction::BrIf(out))
            .instruction(&Instruction::LocalGet(scratch.address));
        if let Known::Local { index, version } = address
            && facts.version(index) == version
        {
            facts.small.insert(index);
        }
    }
    function.instruction(&Instruction::I32WrapI64);
    if let Some(ty) = access.stores {
        function.instruction(&Instruction::LocalGet(scratch.value(ty)));
    }
    if u32::try_from(access.memarg.offset).is_ok() {
        function.instruction(instruction);
    } else {
        // No address is small enough for this offset.
        if access.stores.is_some() {
            function.instruction(&Instruction::Drop);
        }
        function.instruction(&Instruction::Drop);
        put_trap(function);
    }
}

/// The trap of an access outside memory: the last byte that 32 bits reach is the first of four.
fn put_trap(function: &mut Function) {
    let beyond = MemArg { offset: LAST as u64, align: 0, memory_index: 0 };
    function
        .instruction(&Instruction::I32Const(0))
        .instruction(&Instruction::I32Load(beyond))
        .instruction(&Instruction::Drop)
        .instruction(&Instruction::Unreachable);
}

#[cfg(test)]
mod tests;
