//! Modules that mean harm get an error, and the program goes on.

use std::{sync::Arc, time::Duration};

use holon_cu::machine::{
    CompileError, Engine, EngineOptions, Format, HostFailure, Limits, MAX_FUNCTION_BYTES, MAX_MODULE_BYTES,
    MAX_RESULT_BYTES, Machine, MachineError, NoDrive, Outcome,
};

use super::{ENGINE, LIMITS, call, machine, native, on_evaluation_thread};

fn compile(text: &str, format: Format) -> Result<(), CompileError> {
    ENGINE.compile(&wat::parse_str(text).unwrap(), format).map(|_| ())
}

/// A native module around a body of `holon_handle`, with other items before it.
fn around(items: &str, body: &str) -> String {
    format!(
        r#"(module {items}
             (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
             (func $handle (export "holon_handle") (param i32 i32 i32 i32) (result i64) {body}))"#
    )
}

const MEMORY: &str = r#"(memory (export "memory") 1)"#;

#[test]
fn bytes_that_are_no_module_are_refused() {
    for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0", b"\0asm\x01\0\0\0\x07\xff\xff\xff\xff\x0f", &[0xff; 1000]] {
        for format in Format::ALL {
            assert!(ENGINE.compile(bytes, format).is_err());
        }
    }
    assert!(matches!(
        ENGINE.compile(&vec![0; MAX_MODULE_BYTES + 1], Format::Native),
        Err(CompileError::TooLarge { .. })
    ));
}

#[test]
fn a_single_huge_function_is_not_compiled() {
    let body = "(drop (i32.const 1))".repeat(MAX_FUNCTION_BYTES / 3 + 1);
    assert!(matches!(
        compile(&around(MEMORY, &format!("{body} (i64.const 0)")), Format::Native),
        Err(CompileError::FunctionTooLarge { .. })
    ));
}

#[test]
fn damaged_modules_never_panic() {
    let good = wat::parse_str(around(MEMORY, "(i64.const 0)")).unwrap();
    for at in 8..good.len() {
        for byte in [0, 1, 7, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = byte;
            let _ = ENGINE.compile(&bad, Format::Native);
        }
        let _ = ENGINE.compile(&good[..at], Format::Native);
    }
}

#[test]
fn imports_and_exports_of_another_shape_are_refused() {
    let imports = [
        r#"(import "env" "emscripten_date_now" (func (result f64)))"#,
        r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#,
        r#"(import "holon" "anything" (func))"#,
        r#"(import "env" "memory" (memory 1))"#,
        r#"(import "env" "table" (table 1 funcref))"#,
        r#"(import "env" "g" (global (mut i32)))"#,
    ];
    for import in imports {
        let with_memory = if import.contains("(memory") { import.to_owned() } else { format!("{import} {MEMORY}") };
        assert!(
            matches!(compile(&around(&with_memory, "(i64.const 0)"), Format::Native), Err(CompileError::Format { .. })),
            "{import}"
        );
    }
    assert!(matches!(compile(&around(MEMORY, "(i64.const 0)"), Format::Emscripten4), Err(CompileError::Format { .. })));
    assert!(matches!(compile(&format!("(module {MEMORY})"), Format::Native), Err(CompileError::Format { .. })));
    // An official import with another type, next to exports that look right.
    let official = |import: &str| {
        format!(
            r#"(module {import} {MEMORY}
                 (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
                 (func (export "emscripten_stack_get_end") (result i32) i32.const 0)
                 (func (export "emscripten_stack_get_current") (result i32) i32.const 0)
                 (func (export "_emscripten_stack_restore") (param i32))
                 (func (export "_emscripten_stack_alloc") (param i32) (result i32) i32.const -16)
                 (func (export "setThrew") (param i32 i32))
                 (func (export "handle") (param i32 i32) (result i32) i32.const -1))"#
        )
    };
    let wrong = official(r#"(import "env" "exit" (func (param i64)))"#);
    assert!(matches!(compile(&wrong, Format::Emscripten4), Err(CompileError::Format { .. })));
    // The right type passes; its stack lies outside memory, which ends the message and nothing else.
    let right = official(r#"(import "env" "exit" (func (param i32)))"#);
    let module = ENGINE.compile(&wat::parse_str(right).unwrap(), Format::Emscripten4).unwrap();
    on_evaluation_thread(move || {
        let evaluation = machine(&module).apply(&call("{}", "{}")).unwrap();
        assert_eq!(evaluation.outcome, Outcome::Thrown("wasm trap: out of bounds memory access".into()));
    });
}

#[test]
fn features_that_break_determinism_are_off() {
    for items in [
        r#"(memory (export "memory") 1 1 shared)"#,
        r#"(memory (export "memory") 1) (func (drop (i32.atomic.load (i32.const 0))))"#,
        r#"(memory (export "memory") 1) (func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))"#,
        r#"(memory (export "memory") 1) (memory 1)"#,
    ] {
        assert!(compile(&around(items, "(i64.const 0)"), Format::Native).is_err(), "{items}");
    }
}

#[test]
fn bombs_in_memory_and_tables_do_not_go_off() {
    on_evaluation_thread(|| {
        let huge = native(&around(r#"(memory (export "memory") 65536)"#, "(i64.const 0)"));
        assert!(matches!(
            Machine::new(&huge, LIMITS, Arc::new(NoDrive)),
            Err(MachineError::Memory { .. } | MachineError::Host(_))
        ));
        let table = native(&around(&format!("{MEMORY} (table 10000000 funcref)"), "(i64.const 0)"));
        assert!(matches!(Machine::new(&table, LIMITS, Arc::new(NoDrive)), Err(MachineError::SetUp(_))));
        let wide = r#"(module (memory (export "memory") i64 0x1000000000000)
                        (func (export "handle") (param i64 i64) (result i64) i64.const 0))"#;
        assert!(compile(wide, Format::Emscripten64Draft0215).is_err());
    });
}

#[test]
fn results_outside_memory_or_beyond_the_limit_end_the_message() {
    on_evaluation_thread(|| {
        for (result, memory_pages) in
            [(-1_i64, 1), (1 << 32, 1), (0xffff_0000_0000_0000_u64 as i64, 1), (MAX_RESULT_BYTES as i64 + 1, 1100)]
        {
            let items = format!(r#"(memory (export "memory") {memory_pages})"#);
            let mut machine = machine(&native(&around(&items, &format!("(i64.const {result})"))));
            let outcome = machine.apply(&call("{}", "{}")).unwrap().outcome;
            assert!(matches!(outcome, Outcome::Thrown(_)), "{result}: {outcome:?}");
        }
    });
}

#[test]
fn operators_limits_give_no_result() {
    on_evaluation_thread(|| {
        let options = EngineOptions {
            cache_dir: None,
            wall_clock: Duration::from_millis(200),
            memory_ceiling_bytes: 10 * 65_536,
            ..EngineOptions::default()
        };
        let engine = Engine::new(options).unwrap();
        let body = "(if (i32.eqz (i32.load8_u (i32.const 1024))) (then (drop (memory.grow (i32.const 20)))))
                    (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 108)) (then (loop $l (br $l))))
                    (i64.const 0)";
        let module = engine.compile(&wat::parse_str(around(MEMORY, body)).unwrap(), Format::Native).unwrap();
        let limits = Limits { memory_bytes: u64::MAX, compute: u64::MAX };
        let mut machine = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap();
        assert!(matches!(machine.apply(&call("l", "")), Err(HostFailure::WallClock { .. })));
        assert!(matches!(machine.apply(&call("\0", "")), Err(HostFailure::MemoryCeiling { .. })));
        assert!(matches!(machine.apply(&call("a", "")).unwrap().outcome, Outcome::Thrown(_)));
    });
}
