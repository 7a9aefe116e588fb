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

use std::collections::HashSet;
use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{BlockType, CodeSection, Function, Instruction, MemArg, Module, ValType};
use wasmparser::{DataKind, FunctionBody, Operator, Parser, Payload, TypeRef};

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
                        let plain = matches!(operators.next().transpose()?, Some(Operator::I64Const { .. }))
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

/// Whether the instruction either leaves memory alone or is a plain load or store.
fn can_stay(operator: &Operator<'_>) -> bool {
    use Operator as O;
    if access(operator).is_some() {
        return true;
    }
    // An allow list: whatever is not known here may use an address.
    matches!(
        operator,
        O::Unreachable
            | O::Nop
            | O::Block { .. }
            | O::Loop { .. }
            | O::If { .. }
            | O::Else
            | O::End
            | O::Br { .. }
            | O::BrIf { .. }
            | O::BrTable { .. }
            | O::Return
            | O::Call { .. }
            | O::CallIndirect { .. }
            | O::Drop
            | O::Select
            | O::TypedSelect { .. }
            | O::LocalGet { .. }
            | O::LocalSet { .. }
            | O::LocalTee { .. }
            | O::GlobalGet { .. }
            | O::GlobalSet { .. }
            | O::I32Const { .. }
            | O::I64Const { .. }
            | O::F32Const { .. }
            | O::F64Const { .. }
            | O::MemorySize { .. }
    ) || numeric(operator).is_some()
}

/// Operands of a numeric instruction (each gives one result), if it is one.
fn numeric(operator: &Operator<'_>) -> Option<usize> {
    use Operator as O;
    Some(match operator {
        O::I32Eqz
        | O::I64Eqz
        | O::I32Clz
        | O::I32Ctz
        | O::I32Popcnt
        | O::I64Clz
        | O::I64Ctz
        | O::I64Popcnt
        | O::F32Abs
        | O::F32Neg
        | O::F32Ceil
        | O::F32Floor
        | O::F32Trunc
        | O::F32Nearest
        | O::F32Sqrt
        | O::F64Abs
        | O::F64Neg
        | O::F64Ceil
        | O::F64Floor
        | O::F64Trunc
        | O::F64Nearest
        | O::F64Sqrt
        | O::I32WrapI64
        | O::I32TruncF32S
        | O::I32TruncF32U
        | O::I32TruncF64S
        | O::I32TruncF64U
        | O::I64ExtendI32S
        | O::I64ExtendI32U
        | O::I64TruncF32S
        | O::I64TruncF32U
        | O::I64TruncF64S
        | O::I64TruncF64U
        | O::F32ConvertI32S
        | O::F32ConvertI32U
        | O::F32ConvertI64S
        | O::F32ConvertI64U
        | O::F32DemoteF64
        | O::F64ConvertI32S
        | O::F64ConvertI32U
        | O::F64ConvertI64S
        | O::F64ConvertI64U
        | O::F64PromoteF32
        | O::I32ReinterpretF32
        | O::I64ReinterpretF64
        | O::F32ReinterpretI32
        | O::F64ReinterpretI64
        | O::I32Extend8S
        | O::I32Extend16S
        | O::I64Extend8S
        | O::I64Extend16S
        | O::I64Extend32S
        | O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U => 1,
        O::I32Eq
        | O::I32Ne
        | O::I32LtS
        | O::I32LtU
        | O::I32GtS
        | O::I32GtU
        | O::I32LeS
        | O::I32LeU
        | O::I32GeS
        | O::I32GeU
        | O::I64Eq
        | O::I64Ne
        | O::I64LtS
        | O::I64LtU
        | O::I64GtS
        | O::I64GtU
        | O::I64LeS
        | O::I64LeU
        | O::I64GeS
        | O::I64GeU
        | O::F32Eq
        | O::F32Ne
        | O::F32Lt
        | O::F32Gt
        | O::F32Le
        | O::F32Ge
        | O::F64Eq
        | O::F64Ne
        | O::F64Lt
        | O::F64Gt
        | O::F64Le
        | O::F64Ge
        | O::I32Add
        | O::I32Sub
        | O::I32Mul
        | O::I32DivS
        | O::I32DivU
        | O::I32RemS
        | O::I32RemU
        | O::I32And
        | O::I32Or
        | O::I32Xor
        | O::I32Shl
        | O::I32ShrS
        | O::I32ShrU
        | O::I32Rotl
        | O::I32Rotr
        | O::I64Add
        | O::I64Sub
        | O::I64Mul
        | O::I64DivS
        | O::I64DivU
        | O::I64RemS
        | O::I64RemU
        | O::I64And
        | O::I64Or
        | O::I64Xor
        | O::I64Shl
        | O::I64ShrS
        | O::I64ShrU
        | O::I64Rotl
        | O::I64Rotr
        | O::F32Add
        | O::F32Sub
        | O::F32Mul
        | O::F32Div
        | O::F32Min
        | O::F32Max
        | O::F32Copysign
        | O::F64Add
        | O::F64Sub
        | O::F64Mul
        | O::F64Div
        | O::F64Min
        | O::F64Max
        | O::F64Copysign => 2,
        _ => return None,
    })
}

/// A load or store.
#[derive(Debug, Clone, Copy)]
struct Access {
    memarg: wasmparser::MemArg,
    /// The type stored; none for a load.
    stores: Option<ValType>,
    /// Whether what is loaded has at most 32 bits and is not sign-extended.
    small: bool,
}

fn access(operator: &Operator<'_>) -> Option<Access> {
    use Operator as O;
    let load = |memarg: &wasmparser::MemArg, small| Some(Access { memarg: *memarg, stores: None, small });
    let store = |memarg: &wasmparser::MemArg, ty| Some(Access { memarg: *memarg, stores: Some(ty), small: false });
    match operator {
        O::I32Load { memarg }
        | O::I64Load { memarg }
        | O::F32Load { memarg }
        | O::F64Load { memarg }
        | O::I32Load8S { memarg }
        | O::I32Load8U { memarg }
        | O::I32Load16S { memarg }
        | O::I32Load16U { memarg }
        | O::I64Load8S { memarg }
        | O::I64Load16S { memarg }
        | O::I64Load32S { memarg } => load(memarg, false),
        O::I64Load8U { memarg } | O::I64Load16U { memarg } | O::I64Load32U { memarg } => load(memarg, true),
        O::I32Store { memarg } | O::I32Store8 { memarg } | O::I32Store16 { memarg } => store(memarg, ValType::I32),
        O::I64Store { memarg } | O::I64Store8 { memarg } | O::I64Store16 { memarg } | O::I64Store32 { memarg } => {
            store(memarg, ValType::I64)
        }
        O::F32Store { memarg } => store(memarg, ValType::F32),
        O::F64Store { memarg } => store(memarg, ValType::F64),
        _ => None,
    }
}

/// What is known about a number on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// Below 2³².
    Small,
    /// What the local held when it had been written this often.
    Local {
        index: u32,
        version: u32,
    },
}

/// What is known at a point of a function. Where nothing is known about the stack it simply ends early.
#[derive(Default)]
struct Facts {
    stack: Vec<Known>,
    versions: Vec<u32>,
    /// Locals below 2³².
    small: HashSet<u32>,
}

impl Facts {
    fn pop(&mut self) -> Known {
        self.stack.pop().unwrap_or(Known::Nothing)
    }

    fn drop(&mut self, count: usize) {
        self.stack.truncate(self.stack.len().saturating_sub(count));
    }

    fn version(&self, index: u32) -> u32 {
        self.versions.get(index as usize).copied().unwrap_or(0)
    }

    fn is_small(&self, known: Known) -> bool {
        match known {
            Known::Nothing => false,
            Known::Small => true,
            Known::Local { index, version } => self.version(index) == version && self.small.contains(&index),
        }
    }

    fn assign(&mut self, index: u32, value: Known) {
        let small = self.is_small(value);
        let at = index as usize;
        if self.versions.len() <= at {
            self.versions.resize(at + 1, 0);
        }
        self.versions[at] += 1;
        if small {
            self.small.insert(index);
        } else {
            self.small.remove(&index);
        }
    }

    /// Control may arrive here from elsewhere.
    fn forget(&mut self) {
        self.stack.clear();
        self.small.clear();
    }

    /// After an instruction that is no access.
    fn follow(&mut self, operator: &Operator<'_>) {
        use Operator as O;
        match operator {
            O::LocalGet { local_index } => {
                let (index, version) = (*local_index, self.version(*local_index));
                self.stack.push(Known::Local { index, version });
            }
            O::LocalSet { local_index } => {
                let value = self.pop();
                self.assign(*local_index, value);
            }
            O::LocalTee { local_index } => {
                let value = self.pop();
                self.assign(*local_index, value);
                let (index, version) = (*local_index, self.version(*local_index));
                self.stack.push(Known::Local { index, version });
            }
            O::I64Const { value } => {
                self.stack.push(if (0..=LAST).contains(value) { Known::Small } else { Known::Nothing });
            }
            O::I32Const { .. } | O::F32Const { .. } | O::F64Const { .. } | O::GlobalGet { .. } => {
                self.stack.push(Known::Nothing);
            }
            O::MemorySize { .. } => self.stack.push(Known::Small),
            O::GlobalSet { .. } | O::Drop => self.drop(1),
            O::Nop => {}
            O::I64ExtendI32U => {
                self.drop(1);
                self.stack.push(Known::Small);
            }
            O::I64And => {
                let (a, b) = (self.pop(), self.pop());
                let small = self.is_small(a) || self.is_small(b);
                self.stack.push(if small { Known::Small } else { Known::Nothing });
            }
            O::BrIf { .. } => self.drop(1),
            O::Block { .. } | O::If { .. } | O::Call { .. } | O::CallIndirect { .. } => self.stack.clear(),
            _ => match numeric(operator) {
                Some(operands) => {
                    self.drop(operands);
                    self.stack.push(Known::Nothing);
                }
                None => self.forget(),
            },
        }
    }
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
            // Offsets of data segments; one past the memory's end stays so, because instantiation then fails either way.
            Operator::I64Const { value } if self.in_data => {
                Ok(Instruction::I32Const(u32::try_from(value).unwrap_or(u32::MAX) as i32))
            }
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
mod tests {
    use proptest::prelude::*;
    use wasmtime::{Config, Engine, Instance, Store, Trap};

    use super::*;

    const PAGE: i64 = 65_536;

    /// What calling `run` with two numbers gave: its result or trap, and memory.
    fn run(wasm: &[u8], arguments: (i64, i64)) -> (Result<i64, Trap>, Vec<u8>) {
        let mut config = Config::new();
        config.wasm_memory64(true).memory_reservation(16 << 30).memory_may_move(false).consume_fuel(true);
        let engine = Engine::new(&config).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(1 << 20).unwrap();
        let module = wasmtime::Module::from_binary(&engine, wasm).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<(i64, i64), i64>(&mut store, "run").unwrap();
        let result = run.call(&mut store, arguments).map_err(|error| *error.downcast_ref::<Trap>().unwrap());
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        (result, memory.data(&store).to_vec())
    }

    fn module(body: &str) -> Vec<u8> {
        let text = format!(
            r#"(module (memory (export "memory") i64 1 3) (data (i64.const 8) "\01\02\03\04\05\06\07\08\ff\ff\ff\ff")
                 (func (export "run") (param i64 i64) (result i64) (local i64 i64) {body}))"#
        );
        wat::parse_str(text).unwrap()
    }

    fn narrowed(wasm: &[u8]) -> Vec<u8> {
        let narrowed = narrow(wasm).unwrap().unwrap();
        wasmparser::validate(&narrowed).unwrap();
        narrowed
    }

    #[test]
    fn every_access_traps_where_it_did_and_reads_what_it_did() {
        let loads = ["load", "load8_u", "load8_s", "load16_u", "load16_s", "load32_u", "load32_s"];
        let stores = ["store", "store8", "store16", "store32"];
        let addresses =
            [0, 8, PAGE - 8, PAGE - 7, PAGE - 1, PAGE, LAST - 7, LAST, LAST + 1, LAST + 9, i64::MAX, -1, -8, i64::MIN];
        for offset in ["0", "4", "65535", "4294967295", "4294967296", "18446744073709551615"] {
            let bodies = loads.map(|load| format!("(i64.{load} offset={offset} (local.get 0))")).into_iter().chain(
                stores.map(|store| format!("(i64.{store} offset={offset} (local.get 0) (local.get 1)) (local.get 0)")),
            );
            for body in bodies {
                let wasm = module(&body);
                let other = narrowed(&wasm);
                for address in addresses {
                    let arguments = (address, 0x1122_3344_5566_7788);
                    assert!(run(&wasm, arguments) == run(&other, arguments), "{body} at {address:#x}");
                }
            }
        }
    }

    #[test]
    fn a_local_that_changed_is_checked_again() {
        for body in [
            "(drop (i64.load (local.get 0))) (local.set 0 (local.get 1)) (i64.load (local.get 0))",
            "(drop (i64.load (local.get 0))) (drop (local.tee 0 (local.get 1))) (i64.load (local.get 0))",
            "(local.get 0) (drop (i64.load (local.get 0))) (local.set 0 (local.get 1)) (i64.load)",
            "(if (i64.eqz (local.get 1)) (then (drop (i64.load (local.get 0))))) (i64.load (local.get 0))",
            "(block (br_if 0 (i64.ne (local.get 1) (i64.const 7))) (drop (i64.load (local.get 0)))) (i64.load (local.get 0))",
            "(loop (drop (i64.load (local.get 0))) (local.set 0 (i64.add (local.get 0) (i64.const 0x40000000)))
               (br_if 0 (i64.ne (local.tee 2 (i64.add (local.get 2) (i64.const 1))) (i64.const 9)))) (local.get 2)",
        ] {
            let wasm = module(body);
            let other = narrowed(&wasm);
            for arguments in [(16, 0), (16, 7), (16, LAST + 1), (LAST + 17, 0), (LAST + 17, 7), (0, -1)] {
                assert!(run(&wasm, arguments) == run(&other, arguments), "{body} with {arguments:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_narrowed_is_left_alone() {
        for text in [
            r#"(module (memory (export "memory") i64 1))"#,
            r#"(module (memory (export "memory") i64 1 65537))"#,
            r#"(module (memory (export "memory") 1 2))"#,
            r#"(module (memory i64 1 2) (func (drop (memory.grow (i64.const 1)))))"#,
            r#"(module (memory i64 1 2) (data (i64.add (i64.const 1) (i64.const 1)) "a"))"#,
            r#"(module (import "a" "b" (global i64)) (memory i64 1 2) (data (global.get 0) "a"))"#,
            r#"(module (memory i64 1 2) (func (memory.fill (i64.const 1) (i32.const 1) (i64.const 1))))"#,
        ] {
            assert_eq!(narrow(&wat::parse_str(text).unwrap()).unwrap(), None, "{text}");
        }
    }

    /// Statements over four locals, as text.
    fn program() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            (0..PAGE + 64).prop_map(|number| number),
            Just(LAST),
            Just(LAST + 1),
            Just(-1),
            (0i64..64).prop_map(|number| LAST - 32 + number),
        ];
        let leaf = prop_oneof![
            (0u32..4).prop_map(|local| format!("(local.get {local})")),
            number.prop_map(|number| format!("(i64.const {number})")),
        ];
        let expression = leaf.prop_recursive(3, 12, 3, |inner| {
            let load = prop::sample::select(vec!["load", "load8_u", "load16_s", "load32_u", "load32_s"]);
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(i64.add {a} {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(i64.and {a} {b})")),
                (inner.clone(), inner.clone(), inner.clone())
                    .prop_map(|(a, b, c)| format!("(select {a} {b} (i64.eqz {c}))")),
                inner.clone().prop_map(|a| format!("(i64.extend_i32_u (i32.wrap_i64 {a}))")),
                (0u32..4, inner.clone()).prop_map(|(local, a)| format!("(local.tee {local} {a})")),
                (load, 0u32..40, inner).prop_map(|(load, offset, a)| format!("(i64.{load} offset={offset} {a})")),
            ]
        });
        let store = prop::sample::select(vec!["store", "store8", "store16", "store32"]);
        let statement = prop_oneof![
            (0u32..4, expression.clone()).prop_map(|(local, a)| format!("(local.set {local} {a})")),
            (store, 0u32..40, expression.clone(), expression.clone())
                .prop_map(|(store, offset, a, b)| format!("(i64.{store} offset={offset} {a} {b})")),
            expression.clone().prop_map(|a| format!("(drop {a})")),
        ];
        let block = statement.prop_recursive(3, 24, 4, move |inner| {
            let body = prop::collection::vec(inner, 0..4).prop_map(|body| body.join(" "));
            prop_oneof![
                (expression.clone(), body.clone(), body.clone())
                    .prop_map(|(a, b, c)| format!("(if (i64.eqz {a}) (then {b}) (else {c}))")),
                (expression.clone(), body.clone(), body.clone())
                    .prop_map(|(a, b, c)| format!("(block {b} (br_if 0 (i64.eqz {a})) {c})")),
                (expression.clone(), body.clone()).prop_map(|(a, b)| format!("(loop {b} (br_if 0 (i64.eqz {a})))")),
                (expression.clone(), body)
                    .prop_map(|(a, b)| format!("{b} (if (i64.eqz {a}) (then (return (local.get 1))))")),
            ]
        });
        prop::collection::vec(block, 1..6).prop_map(|body| format!("{} (local.get 0)", body.join(" ")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn random_programs_do_the_same(body in program(), first in any::<i64>(), second in 0..PAGE) {
            let wasm = module(&body);
            let other = narrowed(&wasm);
            for arguments in [(first, second), (second, first), (second, 8)] {
                let (one, two) = (run(&wasm, arguments), run(&other, arguments));
                // An endless loop ends at another place, because instructions were added.
                if one.0 != Err(Trap::OutOfFuel) && two.0 != Err(Trap::OutOfFuel) {
                    prop_assert!(one == two, "{:?} and {:?}", one.0, two.0);
                }
            }
        }
    }
}
