//! What must be known about a module before it is compiled, and the changes made to it.
//!
//! A process's state must not depend on how long an instance lives: memory can be rolled back and moved, everything
//! else of an instance cannot. So mutable globals get exported here, to be set back to their values after set-up before
//! each message, and a module that changes tables or drops segments gets a fresh instance for every message
//! ([`Lifetime::OneMessage`]).

use std::borrow::Cow;

use wasm_encoder::Encode;
use wasmparser::{ElementKind, ExternalKind, GlobalType, Operator, Parser, Payload, TypeRef, ValType, WasmFeatures};

use super::{
    CompileError, Format, MAX_MODULE_BYTES,
    cost::Cost,
    depth, metering, minified,
    sections::{self, Sections},
};

/// Prefix of the exports that are added to modules, here and in `metering`.
const RESERVED_PREFIX: &str = "holon:";
/// Prefix of the exports added here; the rest is the global's index.
pub(super) const GLOBAL_PREFIX: &str = "holon:global:";
/// More mutable globals than this are not reset one by one.
const MAX_RESET_GLOBALS: usize = 64;
/// Changes whenever this file, `metering`, `depth`, `minified`, `narrow` or `polls` changes what it produces, so that no old compiled module is used.
pub(super) const REWRITE_VERSION: u32 = 9;

/// How long an instance may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// As long as memory can be rolled back in place.
    ManyMessages,
    /// Its state is more than memory and numbers.
    OneMessage,
}

/// A module ready to be compiled.
pub(super) struct Inspected<'a> {
    /// The module, with its mutable globals exported, and counting its gas where its format says so.
    pub wasm: Cow<'a, [u8]>,
    pub lifetime: Lifetime,
    /// See [`Cost`].
    pub cost: u64,
    /// What is reckoned for its functions.
    pub frames: depth::Frames,
}

/// Checks `wasm` against limits and format, and prepares it.
pub(super) fn inspect(wasm: &[u8], format: Format) -> Result<Inspected<'_>, CompileError> {
    if wasm.len() > MAX_MODULE_BYTES {
        return Err(CompileError::TooLarge { bytes: wasm.len(), limit: MAX_MODULE_BYTES });
    }
    if format == Format::Emscripten1 {
        let named = minified::give_names(wasm, format)?;
        let Inspected { wasm, lifetime, cost, frames } = inspect_named(&named, format)?;
        return Ok(Inspected { wasm: Cow::Owned(wasm.into_owned()), lifetime, cost, frames });
    }
    inspect_named(wasm, format)
}

fn inspect_named(wasm: &[u8], format: Format) -> Result<Inspected<'_>, CompileError> {
    let invalid = |error: wasmparser::BinaryReaderError| CompileError::Invalid(error.to_string());
    let wrong = |reason: String| CompileError::Format { format: format.as_str(), reason };

    let mut module = Summary::default();
    let mut parser = Parser::new(0);
    // Everything this scan has to understand; the engine's own validation decides what is allowed. Of memories it may allow several, because
    // one is added (`polls`); that code names no other than its own is seen where it is validated before (`depth::Plan::of`).
    parser.set_features(WasmFeatures::all().difference(WasmFeatures::MULTI_MEMORY));
    for payload in parser.parse_all(wasm) {
        module.see(payload.map_err(invalid)?).map_err(|refusal| match refusal {
            Refusal::Parse(error) => invalid(error),
            Refusal::Module(error) => error,
        })?;
    }
    if module.exceptions {
        return Err(wrong(
            "it has exception-handling instructions, which this unit's engine does not compile".to_owned(),
        ));
    }
    if module.start {
        return Err(wrong("it has a start function".to_owned()));
    }
    if module.memories.len() != 1 {
        return Err(wrong(format!("it defines {} memories instead of one", module.memories.len())));
    }
    if module.memory_imported {
        return Err(wrong("it imports a memory".to_owned()));
    }
    let profile = format.profile();
    let wide = profile.wide;
    if module.memories[0] != wide {
        return Err(wrong(format!("its memory is not {}-bit", if wide { 64 } else { 32 })));
    }
    if !module.memory_exported {
        return Err(wrong("it does not export `memory`".to_owned()));
    }
    if let Some(name) = &module.reserved_name {
        return Err(wrong(format!("it exports {name:?}, a reserved name")));
    }

    let number = |ty: &GlobalType| {
        matches!(ty.content_type, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 | ValType::V128)
    };
    let few = module.mutable.len() <= MAX_RESET_GLOBALS;
    let resettable = few && module.mutable.iter().all(|(_, ty)| number(ty));
    let lifetime = if resettable && !module.beyond_memory { Lifetime::ManyMessages } else { Lifetime::OneMessage };
    // Also where they are not reset: the state root lists them.
    let numbers = module.mutable.iter().filter(|(_, ty)| few && number(ty)).map(|(index, _)| *index);
    let mut changed = Cow::Borrowed(wasm);
    if numbers.clone().next().is_some() {
        changed = Cow::Owned(export_globals(wasm, numbers).map_err(invalid)?);
    }
    if profile.instrumented {
        changed = Cow::Owned(metering::instrument(&changed, format)?);
    }
    // Last, so that neither what is reset nor what is billed knows of it.
    let plan = depth::Plan::of(wasm)?;
    if let Some(counting) = plan.apply(&changed)? {
        changed = Cow::Owned(counting);
    }
    Ok(Inspected { wasm: changed, lifetime, cost: module.cost.total(), frames: plan.frames })
}

enum Refusal {
    Parse(wasmparser::BinaryReaderError),
    Module(CompileError),
}

impl From<wasmparser::BinaryReaderError> for Refusal {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Refusal::Parse(error)
    }
}

#[derive(Default)]
struct Summary {
    globals: u32,
    /// Mutable globals defined here, with their indices.
    mutable: Vec<(u32, GlobalType)>,
    /// Defined memories: whether 64-bit.
    memories: Vec<bool>,
    memory_exported: bool,
    memory_imported: bool,
    reserved_name: Option<String>,
    start: bool,
    cost: Cost,
    /// State outside memory and globals is changed: tables, dropped segments.
    beyond_memory: bool,
    /// Exceptions are thrown or caught with instructions of their own.
    exceptions: bool,
}

impl Summary {
    fn see(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        self.cost.section(&payload).map_err(Refusal::Module)?;
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    match import?.ty {
                        TypeRef::Global(_) => self.globals += 1,
                        TypeRef::Memory(_) => self.memory_imported = true,
                        _ => {}
                    }
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memories.push(memory?.memory64);
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let ty = global?.ty;
                    if ty.mutable {
                        self.mutable.push((self.globals, ty));
                    }
                    self.globals += 1;
                }
            }
            Payload::ExportSection(exports) => self.see_exports(exports)?,
            Payload::StartSection { .. } => self.start = true,
            Payload::ElementSection(elements) => {
                for element in elements {
                    self.beyond_memory |= matches!(element?.kind, ElementKind::Passive);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let mut function = self.cost.begin(&body).map_err(Refusal::Module)?;
                for operator in body.get_operators_reader()? {
                    let operator = operator?;
                    function.see(&operator, &self.cost);
                    self.exceptions |= matches!(
                        operator,
                        Operator::Try { .. } | Operator::TryTable { .. } | Operator::Throw { .. } | Operator::ThrowRef
                    );
                    self.beyond_memory |= matches!(
                        operator,
                        Operator::TableSet { .. }
                            | Operator::TableGrow { .. }
                            | Operator::TableFill { .. }
                            | Operator::TableCopy { .. }
                            | Operator::TableInit { .. }
                            | Operator::ElemDrop { .. }
                            | Operator::DataDrop { .. }
                    );
                }
                self.cost.end(&function).map_err(Refusal::Module)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn see_exports(&mut self, exports: wasmparser::ExportSectionReader<'_>) -> Result<(), Refusal> {
        for export in exports {
            let export = export?;
            self.memory_exported |= export.name == "memory" && export.kind == ExternalKind::Memory;
            if export.name.starts_with(RESERVED_PREFIX) {
                self.reserved_name = Some(export.name.to_owned());
            }
        }
        Ok(())
    }
}

fn export_globals(wasm: &[u8], globals: impl Iterator<Item = u32>) -> Result<Vec<u8>, wasmparser::BinaryReaderError> {
    const GLOBAL_KIND: u8 = 3;
    let mut sections = Sections::parse(wasm)?;
    let mut entries = Vec::new();
    let mut count = 0;
    for index in globals {
        format!("{GLOBAL_PREFIX}{index}").as_str().encode(&mut entries);
        entries.push(GLOBAL_KIND);
        index.encode(&mut entries);
        count += 1;
    }
    sections.append(sections::EXPORT, count, &entries);
    Ok(sections.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(text: &str) -> Result<(Vec<u8>, Lifetime), CompileError> {
        let wasm = wat::parse_str(text).unwrap();
        inspect(&wasm, Format::Native).map(|found| (found.wasm.into_owned(), found.lifetime))
    }

    #[test]
    fn mutable_globals_become_exports_and_the_module_stays_valid() {
        let (wasm, lifetime) = native(
            r#"(module (global i32 (i32.const 1)) (global (mut i32) (i32.const 2)) (global (mut f64) (f64.const 3))
                 (memory (export "memory") 1) (func (export "f")))"#,
        )
        .unwrap();
        assert_eq!(lifetime, Lifetime::ManyMessages);
        wasmparser::validate(&wasm).unwrap();
        let text = String::from_utf8_lossy(&wasm);
        assert!(text.contains("holon:global:1") && text.contains("holon:global:2") && !text.contains("holon:global:0"));
    }

    #[test]
    fn a_module_that_changes_its_table_lives_for_one_message() {
        let (_, lifetime) = native(
            r#"(module (table 1 funcref) (memory (export "memory") 1)
                 (func (export "f") (table.set (i32.const 0) (ref.null func))))"#,
        )
        .unwrap();
        assert_eq!(lifetime, Lifetime::OneMessage);
    }

    #[test]
    fn a_start_function_or_a_wrong_memory_is_refused() {
        for text in [
            r#"(module (memory (export "memory") 1) (func $f) (start $f))"#,
            r#"(module (memory (export "memory") i64 1))"#,
            r#"(module (memory 1))"#,
            r#"(module)"#,
            r#"(module (memory (export "memory") 1) (global (export "holon:global:0") i32 (i32.const 0)))"#,
        ] {
            assert!(matches!(native(text), Err(CompileError::Format { .. })), "{text}");
        }
        assert!(matches!(inspect(b"\0asm nonsense", Format::Native), Err(CompileError::Invalid(_))));
    }
}
