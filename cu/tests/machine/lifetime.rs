//! Modules whose state is more than memory and numbers: each message gets a fresh instance, set up like the first.

use holon_cu::machine::{Format, Machine, Module, Outcome};
use serde_json::json;

use super::{ENGINE, call, machine, native, on_evaluation_thread};

/// The digit that the first function of the table gives when the message comes, and then changes the table: so it must be 1
/// every time. `x` traps after the change. Memory counts the messages, which is the second digit.
const CHANGES_ITS_TABLE: &str = r#"
(module
  (memory (export "memory") 1)
  (type $digit (func (result i32)))
  (func $one (type $digit) i32.const 1)
  (func $two (type $digit) i32.const 2)
  (table 1 funcref)
  (elem (i32.const 0) $one)
  (elem $passive func $two)
  (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":[0,0]}}")
  (func (export "holon_alloc") (param $len i32) (result i32)
    ;; Apart for texts of different lengths, which message and environment are.
    (i32.add (i32.const 1024) (i32.mul (i32.const 16) (local.get $len))))
  (func (export "holon_handle") (param $m i32) (param i32 i32 i32) (result i64)
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (i32.store8 (i32.const 133) (i32.add (i32.const 48) (call_indirect (type $digit) (i32.const 0))))
    (i32.store8 (i32.const 135) (i32.add (i32.const 48) (i32.load (i32.const 8))))
    (table.init $passive (i32.const 0) (i32.const 0) (i32.const 1))
    (elem.drop $passive)
    (if (i32.eq (i32.load8_u (local.get $m)) (i32.const 120)) (then unreachable))
    (i64.const 0x6400000027)))
"#;

fn output(machine: &mut Machine, message: &str) -> serde_json::Value {
    match machine.apply(&call(message, "{}")).unwrap().outcome {
        Outcome::Ok(response) => response.output.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_changed_table_and_a_dropped_segment_are_forgotten_and_memory_is_kept() {
    on_evaluation_thread(|| {
        let mut machine = machine(&native(CHANGES_ITS_TABLE));
        assert_eq!(output(&mut machine, "a"), json!([1, 1]));
        assert_eq!(output(&mut machine, "a"), json!([1, 2]));
        assert!(matches!(machine.apply(&call("x", "{}")).unwrap().outcome, Outcome::Thrown(_)));
        assert_eq!(output(&mut machine, "a"), json!([1, 3]));
        let fork = machine.fork().unwrap();
        for _ in 0..2 {
            let Outcome::Ok(response) = fork.apply(&call("a", "{}")).unwrap().outcome else { panic!() };
            assert_eq!(response.output, Some(json!([1, 4])));
        }
        assert_eq!(output(&mut machine, "a"), json!([1, 4]));
    });
}

/// A 32-bit official module around `items` and the body of `handle`. Its constructors put a function into the table, and its
/// stack begins where `emscripten_stack_init` says.
fn official(items: &str, handle: &str) -> Module {
    let text = format!(
        r#"(module {items}
             (memory (export "memory") 2)
             (type $digit (func (result i32)))
             (func $one (type $digit) i32.const 1)
             (elem declare func $one)
             (table 1 funcref)
             (global $stack (mut i32) (i32.const 0))
             (data (i32.const 512) "{{\"ok\":true,\"response\":{{\"Output\":[0,0]}}}}\00")
             (func (export "emscripten_stack_init") (global.set $stack (i32.const 131072)))
             (func (export "emscripten_stack_get_end") (result i32) i32.const 65536)
             (func (export "emscripten_stack_get_current") (result i32) global.get $stack)
             (func (export "_emscripten_stack_restore") (param i32) (global.set $stack (local.get 0)))
             (func (export "_emscripten_stack_alloc") (param i32) (result i32)
               (global.set $stack (i32.and (i32.sub (global.get $stack) (local.get 0)) (i32.const -16)))
               global.get $stack)
             (func (export "setThrew") (param i32 i32))
             (func (export "__wasm_call_ctors")
               (i32.store (i32.const 1024) (i32.const 0))
               (table.set (i32.const 0) (ref.func $one)))
             (func (export "handle") (param $m i32) (param i32) (result i32) {handle}))"#
    );
    ENGINE.compile(&wat::parse_str(text).unwrap(), Format::Emscripten4).unwrap()
}

#[test]
fn what_constructors_put_into_a_table_is_there_for_every_message() {
    let handle = "(i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
                  (i32.store8 (i32.const 545) (i32.add (i32.const 48) (call_indirect (type $digit) (i32.const 0))))
                  (i32.store8 (i32.const 547) (i32.add (i32.const 48) (i32.load (i32.const 1024))))
                  (table.set (i32.const 0) (ref.null func))
                  (i32.const 512)";
    let module = official("", handle);
    on_evaluation_thread(move || {
        let mut machine = machine(&module);
        for count in 1..4 {
            assert_eq!(output(&mut machine, "a"), json!([1, count]));
        }
        let Outcome::Ok(response) = machine.fork().unwrap().apply(&call("a", "{}")).unwrap().outcome else { panic!() };
        assert_eq!(response.output, Some(json!([1, 4])));
    });
}
