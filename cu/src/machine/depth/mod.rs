//! Calls inside each other end at the same call everywhere.
//!
//! How deep calls go before the native stack is used up depends on the compiler, its version and the processor, so units would disagree about
//! a message that ends there. So some functions count, of every circle of calls at least one (`graph`): on entry each takes from the room
//! that is left what its code makes of it at most, and that of those it calls until the next one counts; it puts it back when
//! it returns. Room runs out before the native stack does. What can be called without coming to one that counts takes so
//! much and no more, which is looked at before a module is compiled.
//!
//! What a call takes is reckoned from the module alone: its variables, the values on its operand stack, the length of its code, and what
//! the host puts between two calls where it is asked to call back. What compiled functions take in truth is compared with it (`frames`):
//! the native stack has place for [`NATIVE_PER_BYTE`] times as much, and a module of which a function takes more is not run.

mod frames;
mod graph;
mod operands;

use std::collections::HashMap;

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, Encode, InstructionSink};
use wasmparser::{
    BinaryReaderError, CompositeInnerType, ConstExpr, ElementItems, ExternalKind, FuncToValidate, FuncType,
    FuncValidatorAllocations, FunctionBody, Operator, Parser, Payload, TableInit, TypeRef, ValType, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

pub(super) use self::frames::{NATIVE_PER_BYTE, check as check_frames};
use self::graph::Graph;
use self::operands::Operands;
use super::{
    CompileError,
    sections::{self, Sections},
};

/// Export of the room that is left. The host sets it to [`ROOM_BYTES`] before a message.
pub(super) const ROOM_EXPORT: &str = "holon:stack:room";
/// What functions that count can take together, in bytes as reckoned here.
pub(super) const ROOM_BYTES: i32 = 16 << 20;
/// What can be taken by calls before the first that counts.
pub(super) const MAX_STRAIGHT_BYTES: u64 = 2 << 20;

/// What a call takes whatever it does: addresses, registers, alignment.
const PER_CALL: u64 = 96;
/// What a variable takes, or a value that is handed over.
const PER_VALUE: u64 = 8;
/// The same of 128 bits.
const PER_VECTOR: u64 = 16;
/// How many bytes of code keep one byte of what they compute at the same time.
const CODE_PER_BYTE: u64 = 4;
/// What the host takes between a call of an import and the call that it makes in turn.
const HOST: u64 = 4096;

/// What is to be done to a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// For each of its own functions, if it counts, what it takes together with those below it.
    counted: Vec<Option<u32>>,
    /// What each takes by itself.
    pub frames: Frames,
}

/// What is reckoned for the functions of a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frames {
    /// How many functions are imported.
    imported: usize,
    /// Bytes of each function defined in the module.
    bytes: Vec<u64>,
}

/// Whether the host calls the module back before it returns from an import.
fn calls_back(name: &str) -> bool {
    name.starts_with("invoke_")
        || name.starts_with("__asyncjs__")
        || matches!(name, "_mmap_js" | "_tzset_js" | "_mktime_js" | "system")
}

fn value_bytes(ty: ValType) -> u64 {
    if ty == ValType::V128 { PER_VECTOR } else { PER_VALUE }
}

/// Parameters and results of a function.
type Shape = (Box<[ValType]>, Box<[ValType]>);

/// A function's type.
struct Signature {
    /// The same for equal types.
    class: u32,
    parameters: u64,
    /// Parameters and results.
    bytes: u64,
}

/// What is known of a module.
#[derive(Default)]
struct Survey {
    types: Vec<Option<Signature>>,
    classes: HashMap<Shape, u32>,
    /// Type of each function, imported ones first.
    functions: Vec<u32>,
    imported: usize,
    /// Imported functions that call back.
    reenter: Vec<u32>,
    /// Functions that may be called without being named: those in tables, and exported ones, which the host calls.
    escaped: Vec<u32>,
    /// For each function defined here what a call takes, and whom it calls.
    bodies: Vec<(u64, Calls)>,
}

/// Whom a function calls.
#[derive(Default)]
struct Calls {
    named: Vec<u32>,
    /// Classes of the types under which it calls functions from tables.
    indirect: Vec<u32>,
    /// By reference.
    anybody: bool,
}

impl Plan {
    /// Looks at a module, whose imports have their names.
    pub fn of(wasm: &[u8]) -> Result<Self, CompileError> {
        let survey = Survey::of(wasm).map_err(|error| CompileError::Invalid(error.to_string()))?;
        let (graph, takes) = survey.graph();
        let own = survey.imported..survey.imported + survey.bodies.len();
        let found = graph.analyse(&takes, |node| own.contains(&node));
        if found.straight > MAX_STRAIGHT_BYTES {
            return Err(CompileError::TooCostly {
                what: "bytes of stack for calls that nobody counts",
                found: found.straight,
                limit: MAX_STRAIGHT_BYTES,
            });
        }
        let counted: Vec<Option<u32>> = found.counting[own]
            .iter()
            .map(|takes| takes.map(|takes| u32::try_from(takes).unwrap_or(u32::MAX)))
            .collect();
        let bytes = survey.bodies.iter().map(|(bytes, _)| *bytes).collect();
        Ok(Self { counted, frames: Frames { imported: survey.imported, bytes } })
    }

    /// The module, which may have been changed otherwise, with functions that count. None where no function may come to call itself.
    pub fn apply(&self, wasm: &[u8]) -> Result<Option<Vec<u8>>, CompileError> {
        if self.counted.iter().all(Option::is_none) {
            return Ok(None);
        }
        self.rewrite(wasm).map(Some).map_err(|error| CompileError::Invalid(error.to_string()))
    }

    fn rewrite(&self, wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
        let mut globals = 0;
        let mut blocks = Blocks::default();
        let (mut functions, mut bodies) = (Vec::new(), Vec::new());
        for payload in parser().parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        for ty in group?.into_types() {
                            blocks.results.push(match &ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => ty.results().into(),
                                _ => Box::default(),
                            });
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        globals += u32::from(matches!(import?.ty, TypeRef::Global(_)));
                    }
                }
                Payload::FunctionSection(section) => {
                    functions = section.into_iter().collect::<Result<Vec<u32>, _>>()?
                }
                Payload::GlobalSection(section) => globals += section.count(),
                Payload::CodeSectionEntry(body) => bodies.push(body),
                _ => {}
            }
        }
        let mut code = Vec::with_capacity(wasm.len() + wasm.len() / 8);
        (bodies.len() as u32).encode(&mut code);
        let mut counting = Vec::new();
        for (index, body) in bodies.iter().enumerate() {
            // What was added to the module since it was looked at calls nobody.
            match (self.counted.get(index).copied().flatten(), functions.get(index)) {
                (Some(takes), Some(ty)) => {
                    counting.clear();
                    let block = blocks.returning(*ty);
                    count(wasm, body, globals, i32::try_from(takes).unwrap_or(i32::MAX), block, &mut counting)?;
                    counting.as_slice().encode(&mut code);
                }
                _ => wasm[body.range()].encode(&mut code),
            }
        }
        let mut all = Sections::parse(wasm)?;
        if blocks.added > 0 {
            all.append(sections::TYPE, blocks.added, &blocks.bytes);
        }
        let mut room = vec![I32, MUTABLE, I32_CONST];
        ROOM_BYTES.encode(&mut room);
        room.push(END);
        all.append(sections::GLOBAL, 1, &room);
        let mut export = Vec::new();
        ROOM_EXPORT.encode(&mut export);
        export.push(GLOBAL_KIND);
        globals.encode(&mut export);
        all.append(sections::EXPORT, 1, &export);
        all.replace(sections::CODE, code);
        Ok(all.encode())
    }
}

const I32: u8 = 0x7F;
const MUTABLE: u8 = 1;
const GLOBAL_KIND: u8 = 3;
const BR: u8 = 0x0C;
const END: u8 = 0x0B;
const I32_CONST: u8 = 0x41;

/// Types of blocks that take nothing and give what functions of a type return.
#[derive(Default)]
struct Blocks {
    /// What functions of each type return.
    results: Vec<Box<[ValType]>>,
    /// Types that were added, with how many there are.
    bytes: Vec<u8>,
    added: u32,
    indices: HashMap<u32, u32>,
}

impl Blocks {
    fn returning(&mut self, ty: u32) -> BlockType {
        let results = self.results.get(ty as usize).map_or(&[][..], |results| results);
        let encoded: Vec<_> = results.iter().filter_map(|ty| RoundtripReencoder.val_type(*ty).ok()).collect();
        match encoded.as_slice() {
            [] => BlockType::Empty,
            [one] => BlockType::Result(*one),
            several => {
                let index = *self.indices.entry(ty).or_insert_with(|| {
                    self.bytes.extend_from_slice(&[0x60, 0]);
                    several.encode(&mut self.bytes);
                    self.added += 1;
                    self.results.len() as u32 + self.added - 1
                });
                BlockType::FunctionType(index)
            }
        }
    }
}

/// Copies a body, which takes `takes` from the room in global `room` as long as it runs:
///
/// ```text
/// room -= takes; if room < 0: trap
/// block
///   the body, in which to return is to leave the block
/// end
/// room += takes
/// ```
fn count(
    wasm: &[u8],
    body: &FunctionBody<'_>,
    room: u32,
    takes: i32,
    block: BlockType,
    out: &mut Vec<u8>,
) -> Result<(), BinaryReaderError> {
    let mut operators = body.get_operators_reader()?;
    let first = operators.original_position();
    out.extend_from_slice(&wasm[body.range().start..first]);
    InstructionSink::new(out)
        .global_get(room)
        .i32_const(takes)
        .i32_sub()
        .global_set(room)
        .global_get(room)
        .i32_const(0)
        .i32_lt_s()
        .if_(BlockType::Empty)
        .unreachable()
        .end()
        .block(block);
    let (mut copied, mut depth) = (first, 0_u32);
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            Operator::End => depth = depth.saturating_sub(1),
            Operator::Return => {
                out.extend_from_slice(&wasm[copied..at]);
                out.push(BR);
                depth.encode(out);
                copied = operators.original_position();
            }
            _ => {}
        }
    }
    operators.finish()?;
    // The body's own `end` is the block's.
    out.extend_from_slice(&wasm[copied..body.range().end]);
    InstructionSink::new(out).global_get(room).i32_const(takes).i32_add().global_set(room).end();
    Ok(())
}

fn parser() -> Parser {
    let mut parser = Parser::new(0);
    parser.set_features(WasmFeatures::all());
    parser
}

impl Survey {
    fn of(wasm: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut found = Self::default();
        // What is allowed is for the engine to say, but for other memories than the module's own: one is added later (`polls`), which must
        // not be there for what is validated here.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        for payload in parser().parse_all(wasm) {
            let payload = payload?;
            if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
                found.see(function, &body)?;
                continue;
            }
            match payload {
                Payload::TypeSection(section) => {
                    for group in section {
                        for ty in group?.into_types() {
                            let signature = match &ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(found.signature(ty)),
                                _ => None,
                            };
                            found.types.push(signature);
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        if let TypeRef::Func(ty) = import.ty {
                            if calls_back(import.name) {
                                found.reenter.push(found.functions.len() as u32);
                            }
                            found.functions.push(ty);
                        }
                    }
                    found.imported = found.functions.len();
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        found.functions.push(ty?);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        if let TableInit::Expr(value) = table?.init {
                            found.see_constant(&value)?;
                        }
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        found.see_constant(&global?.init_expr)?;
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            found.escaped.push(export.index);
                        }
                    }
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        match element?.items {
                            ElementItems::Functions(functions) => {
                                for function in functions {
                                    found.escaped.push(function?);
                                }
                            }
                            ElementItems::Expressions(_, values) => {
                                for value in values {
                                    found.see_constant(&value?)?;
                                }
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        found.escaped.sort_unstable();
        found.escaped.dedup();
        Ok(found)
    }

    fn signature(&mut self, ty: &FuncType) -> Signature {
        let bytes = |types: &[ValType]| types.iter().map(|ty| value_bytes(*ty)).sum::<u64>();
        let new = self.classes.len() as u32;
        let class = *self.classes.entry((ty.params().into(), ty.results().into())).or_insert(new);
        let parameters = bytes(ty.params());
        Signature { class, parameters, bytes: parameters + bytes(ty.results()) }
    }

    fn signature_of(&self, function: u32) -> Option<&Signature> {
        self.types.get(*self.functions.get(function as usize)? as usize)?.as_ref()
    }

    /// A constant may be a function, which is then known to whoever has the value.
    fn see_constant(&mut self, value: &ConstExpr<'_>) -> Result<(), BinaryReaderError> {
        for operator in value.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.escaped.push(function_index);
            }
        }
        Ok(())
    }

    fn see(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), BinaryReaderError> {
        let this = (self.imported + self.bodies.len()) as u32;
        let mut calls = Calls::default();
        let mut escaped = Vec::new();
        let mut validator = function.into_validator(FuncValidatorAllocations::default());
        validator.read_locals(&mut body.get_binary_reader())?;
        let mut operands = Operands::new(validator);
        // At a call what is handed over, and comes back, has a place of its own beside the values that are kept meanwhile.
        let mut most = 0;
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            let mut hands_over = |signature: Option<&Signature>| {
                most = most.max(operands.height() + signature.map_or(0, |signature| signature.bytes));
            };
            match operator {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    hands_over(self.signature_of(function_index));
                    calls.named.push(function_index);
                }
                Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                    if let Some(Some(signature)) = self.types.get(type_index as usize) {
                        hands_over(Some(signature));
                        calls.indirect.push(signature.class);
                    }
                }
                Operator::CallRef { type_index } | Operator::ReturnCallRef { type_index } => {
                    hands_over(self.types.get(type_index as usize).and_then(Option::as_ref));
                    calls.anybody = true;
                }
                Operator::RefFunc { function_index } => escaped.push(function_index),
                _ => {}
            }
            operands.pass(&operator, offset)?;
        }
        most = most.max(operands.most());
        for list in [&mut calls.named, &mut calls.indirect] {
            list.sort_unstable();
            list.dedup();
        }
        let mut variables = self.signature_of(this).map_or(0, |signature| signature.parameters);
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            variables += u64::from(count) * value_bytes(ty);
        }
        let code = body.range().len() as u64 / CODE_PER_BYTE;
        self.escaped.append(&mut escaped);
        self.bodies.push((PER_CALL + variables + most + code, calls));
        Ok(())
    }

    /// Who calls whom, and what each takes. After the functions come two kinds of nodes that take nothing: one for each class of types,
    /// which calls the escaped functions of such a type, and one that calls all of them.
    fn graph(&self) -> (Graph, Vec<u64>) {
        let (functions, classes) = (self.functions.len() as u32, self.classes.len() as u32);
        let anybody = functions + classes;
        let mut of_class: Vec<Vec<u32>> = vec![Vec::new(); classes as usize];
        for function in &self.escaped {
            if let Some(signature) = self.signature_of(*function) {
                of_class[signature.class as usize].push(*function);
            }
        }
        let reenters = |function: &u32| self.reenter.binary_search(function).is_ok();
        let class_reenters: Vec<bool> = of_class.iter().map(|functions| functions.iter().any(reenters)).collect();
        let any_reenters = class_reenters.contains(&true);
        let mut graph = Graph::default();
        let mut takes = vec![0; self.imported];
        for function in 0..self.imported as u32 {
            graph.add(reenters(&function).then_some(anybody));
        }
        for (bytes, calls) in &self.bodies {
            // What the host takes counts for whoever asks it: an import cannot count.
            let host = calls.named.iter().any(reenters)
                || calls.indirect.iter().any(|class| class_reenters[*class as usize])
                || calls.anybody && any_reenters;
            takes.push(bytes + if host { HOST } else { 0 });
            let classes = calls.indirect.iter().map(|class| functions + class);
            graph.add(calls.named.iter().copied().chain(classes).chain(calls.anybody.then_some(anybody)));
        }
        for functions in of_class {
            graph.add(functions);
        }
        graph.add(self.escaped.iter().copied());
        takes.resize(graph.len(), 0);
        (graph, takes)
    }
}

#[cfg(test)]
mod tests;
