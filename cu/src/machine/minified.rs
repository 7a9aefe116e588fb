//! Gives a module of the first format the names that the others use (spec 06 §4.2).
//!
//! Its imports and exports are single letters, handed out in an order that only one version of the compiler ever
//! produced. A module is taken for one of those when names and types of all its imports are the known ones; for any other the
//! letters could mean anything.

use std::collections::BTreeMap;

use wasm_encoder::Encode;
use wasmparser::{ExternalKind, Parser, Payload, TypeRef, ValType, WasmFeatures};

use super::{
    CompileError, Format,
    sections::{self, Sections},
};

/// Module of all imports but gas.
const MODULE: &str = "a";
const ENV: &str = "env";
const WASI: &str = "wasi_snapshot_preview1";

/// Letter, module, name, and type: parameters, then the result (i is i32, d is f64).
const IMPORTS: [(&str, &str, &str, &str, &str); 30] = [
    ("a", ENV, "_emscripten_date_now", "", "d"),
    ("b", ENV, "setTempRet0", "i", ""),
    ("c", WASI, "fd_close", "i", "i"),
    ("d", ENV, "__syscall_fcntl64", "iii", "i"),
    ("e", ENV, "__syscall_unlinkat", "iii", "i"),
    ("f", WASI, "fd_write", "iiii", "i"),
    ("g", ENV, "__syscall_openat", "iiii", "i"),
    ("h", ENV, "getTempRet0", "", "i"),
    ("i", ENV, "_mktime_js", "i", "i"),
    ("j", ENV, "_tzset_js", "iii", ""),
    ("k", ENV, "emscripten_memcpy_big", "iii", ""),
    ("l", ENV, "exit", "i", ""),
    ("m", ENV, "system", "i", "i"),
    ("n", ENV, "strftime", "iiii", "i"),
    ("o", WASI, "fd_seek", "iiiii", "i"),
    ("p", ENV, "_emscripten_throw_longjmp", "", ""),
    ("q", ENV, "emscripten_resize_heap", "i", "i"),
    ("r", ENV, "__syscall_lstat64", "ii", "i"),
    ("s", ENV, "__syscall_renameat", "iiii", "i"),
    ("t", ENV, "__syscall_rmdir", "i", "i"),
    ("u", WASI, "environ_get", "ii", "i"),
    ("v", WASI, "environ_sizes_get", "ii", "i"),
    ("w", ENV, "__syscall_dup3", "iii", "i"),
    ("x", ENV, "invoke_vii", "iii", ""),
    ("y", WASI, "fd_read", "iiii", "i"),
    ("z", ENV, "__syscall_ioctl", "iii", "i"),
    ("A", ENV, "_emscripten_get_now_is_monotonic", "", "i"),
    ("B", ENV, "_gmtime_js", "ii", ""),
    ("C", ENV, "_localtime_js", "ii", ""),
    ("D", ENV, "abort", "", ""),
];

const EXPORTS: [(&str, &str); 11] = [
    ("E", "memory"),
    ("F", "__wasm_call_ctors"),
    ("G", "handle"),
    ("H", "main"),
    ("I", "__indirect_function_table"),
    ("J", "malloc"),
    ("K", "__errno_location"),
    ("L", "setThrew"),
    ("M", "stackSave"),
    ("N", "stackRestore"),
    ("O", "stackAlloc"),
];

/// The module with names instead of letters.
pub(super) fn give_names(wasm: &[u8], format: Format) -> Result<Vec<u8>, CompileError> {
    let invalid = |error: wasmparser::BinaryReaderError| CompileError::Invalid(error.to_string());
    let wrong = |reason: String| CompileError::Format { format: format.as_str(), reason };
    let mut types = Vec::new();
    let mut imports = Vec::new();
    let mut exports = Vec::new();
    let mut parser = Parser::new(0);
    parser.set_features(WasmFeatures::all());
    for payload in parser.parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group.map_err(invalid)?.into_types() {
                        let function = match ty.composite_type.inner {
                            wasmparser::CompositeInnerType::Func(function) => Some(function),
                            _ => None,
                        };
                        types.push(function);
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imports.push(import.map_err(invalid)?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export.map_err(invalid)?);
                }
            }
            _ => {}
        }
    }

    let mut missing: BTreeMap<&str, _> = IMPORTS.iter().map(|import| (import.0, import)).collect();
    let mut section = Vec::new();
    (imports.len() as u32).encode(&mut section);
    for import in &imports {
        const FUNCTION_KIND: u8 = 0;
        let TypeRef::Func(index) = import.ty else {
            return Err(wrong(format!("its import {}.{} is not a function", import.module, import.name)));
        };
        let (module, name) = if import.module == MODULE {
            let Some((_, module, name, parameters, results)) = missing.remove(import.name) else {
                return Err(wrong(format!("its import {MODULE}.{} is not one of the known ones", import.name)));
            };
            let known = types
                .get(index as usize)
                .and_then(Option::as_ref)
                .is_some_and(|ty| is(ty.params(), parameters) && is(ty.results(), results));
            if !known {
                return Err(wrong(format!("its import {MODULE}.{} does not have the type of {name}", import.name)));
            }
            (*module, *name)
        } else {
            (import.module, import.name)
        };
        module.encode(&mut section);
        name.encode(&mut section);
        section.push(FUNCTION_KIND);
        index.encode(&mut section);
    }
    if let Some((letter, (_, _, name, _, _))) = missing.first_key_value() {
        return Err(wrong(format!("it does not import {MODULE}.{letter}, which would be {name}")));
    }
    let mut all = Sections::parse(wasm).map_err(invalid)?;
    all.replace(sections::IMPORT, section);

    let mut section = Vec::new();
    (exports.len() as u32).encode(&mut section);
    for export in &exports {
        let kind = match export.kind {
            ExternalKind::Func => 0,
            ExternalKind::Table => 1,
            ExternalKind::Memory => 2,
            ExternalKind::Global => 3,
            _ => return Err(wrong(format!("its export {} is of another kind", export.name))),
        };
        if EXPORTS.iter().any(|(_, name)| *name == export.name) {
            return Err(wrong(format!("it exports {}, which should be a letter", export.name)));
        }
        let name = EXPORTS.iter().find(|(letter, _)| *letter == export.name).map_or(export.name, |(_, name)| name);
        name.encode(&mut section);
        section.push(kind);
        export.index.encode(&mut section);
    }
    all.replace(sections::EXPORT, section);
    Ok(all.encode())
}

fn is(types: &[ValType], letters: &str) -> bool {
    let wanted = letters.chars().map(|letter| if letter == 'd' { ValType::F64 } else { ValType::I32 });
    types.iter().copied().eq(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
        let of = |letters: &str, word: &str| -> String {
            letters.chars().map(|letter| format!("({word} {}) ", if letter == 'd' { "f64" } else { "i32" })).collect()
        };
        let mut imports = IMPORTS
            .iter()
            .map(|(letter, _, _, parameters, results)| {
                format!(r#"(import "a" "{letter}" (func {}{}))"#, of(parameters, "param"), of(results, "result"))
            })
            .collect();
        change(&mut imports);
        let text = format!(r#"(module {} (memory (export "E") 1) (func (export "F")))"#, imports.concat());
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn letters_become_names() {
        let wasm = module(|imports| imports.push(r#"(import "metering" "usegas" (func (param i32)))"#.to_owned()));
        let named = give_names(&wasm, Format::Emscripten1).unwrap();
        wasmparser::validate(&named).unwrap();
        let text = String::from_utf8_lossy(&named);
        for name in ["_emscripten_date_now", "abort", "usegas", "memory", "__wasm_call_ctors"] {
            assert!(text.contains(name), "{name}");
        }
    }

    #[test]
    fn a_module_of_another_compiler_is_refused() {
        for (change, reason) in [
            ((|imports| drop(imports.pop())) as fn(&mut Vec<String>), "does not import a.D"),
            (|imports| imports[29] = r#"(import "a" "D" (func (param i32)))"#.to_owned(), "type of abort"),
            (|imports| imports.push(r#"(import "a" "P" (func))"#.to_owned()), "not one of the known"),
            (|imports| imports.push(r#"(import "env" "g" (global i32))"#.to_owned()), "not a function"),
            (|imports| imports.push(r#"(func (export "handle"))"#.to_owned()), "should be a letter"),
        ] {
            let error = give_names(&module(change), Format::Emscripten1).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
