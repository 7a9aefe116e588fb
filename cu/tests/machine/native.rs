//! Our own format: texts in, text out, memory kept.

use std::sync::Arc;

use holon_cu::machine::{Limits, Machine, MachineError, NoDrive, Outcome};
use serde_json::json;

use super::{LIMITS, call, machine, native, on_evaluation_thread};

/// Counts calls in memory, answers `{"ok":true,"response":{"Output":<digit>}}`; a message that begins with `!` counts too but
/// fails, one that begins with `x` traps after counting, `l` loops, `g` grows memory by a page.
const COUNTER: &str = r#"
(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 1024))
  (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":0}}")
  (data (i32.const 200) "{\"ok\":true,\"response\":{\"Error\":\"no\"}}")
  (func (export "holon_alloc") (param $len i32) (result i32)
    global.get $next
    (global.set $next (i32.add (global.get $next) (local.get $len))))
  (func (export "holon_handle") (param $m i32) (param $ml i32) (param $e i32) (param $el i32) (result i64)
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (if (i32.eq (i32.load8_u (local.get $m)) (i32.const 120)) (then unreachable))
    (if (i32.eq (i32.load8_u (local.get $m)) (i32.const 108)) (then (loop $forever (br $forever))))
    (if (i32.eq (i32.load8_u (local.get $m)) (i32.const 103))
      (then (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))))
    (if (i32.eq (i32.load8_u (local.get $m)) (i32.const 33)) (then (return (i64.const 0xc800000025))))
    (i32.store8 (i32.const 132) (i32.add (i32.const 48) (i32.load (i32.const 8))))
    (i64.const 0x6400000023)))
"#;

fn output(machine: &mut Machine, message: &str) -> Outcome {
    machine.apply(&call(message, "{}")).unwrap().outcome
}

fn count(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Ok(response) => response.output.unwrap().as_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn state_moves_on_with_good_messages_only() {
    on_evaluation_thread(|| {
        let mut machine = machine(&native(COUNTER));
        assert_eq!(count(output(&mut machine, "a")), 1);
        assert_eq!(count(output(&mut machine, "a")), 2);
        assert!(matches!(output(&mut machine, "!"), Outcome::Error(response) if response.error == Some(json!("no"))));
        assert_eq!(
            output(&mut machine, "x"),
            Outcome::Thrown(json!("wasm trap: wasm `unreachable` instruction executed"))
        );
        assert_eq!(count(output(&mut machine, "a")), 3);
        let before = machine.memory_bytes();
        assert_eq!(count(output(&mut machine, "g")), 4);
        assert_eq!(machine.memory_bytes(), before + 65_536);
        assert!(matches!(output(&mut machine, "!"), Outcome::Error(_)));
        assert_eq!(machine.memory_bytes(), before + 65_536);
        assert_eq!(count(output(&mut machine, "a")), 5);
    });
}

#[test]
fn a_fork_sees_its_moment_and_changes_nothing() {
    on_evaluation_thread(|| {
        let mut machine = machine(&native(COUNTER));
        assert_eq!(count(output(&mut machine, "a")), 1);
        let fork = machine.fork().unwrap();
        for _ in 0..3 {
            assert_eq!(count(output(&mut machine, "a")), count(output(&mut machine, "a")) - 1);
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for message in ["a", "x", "g", "a"] {
                        let evaluation = fork.apply(&call(message, "{}")).unwrap();
                        assert_eq!(matches!(evaluation.outcome, Outcome::Thrown(_)), message == "x");
                        if message != "x" {
                            assert_eq!(count(evaluation.outcome), 2);
                        }
                    }
                });
            }
        });
        assert_eq!(count(output(&mut machine, "a")), 8);
    });
}

#[test]
fn gas_is_the_same_every_time_and_its_limit_ends_a_loop_at_the_same_place() {
    on_evaluation_thread(|| {
        let module = native(COUNTER);
        let gas = |machine: &mut Machine, message: &str| machine.apply(&call(message, "{}")).unwrap().gas_used;
        let (mut first, mut second) = (machine(&module), machine(&module));
        assert_eq!(gas(&mut first, "a"), gas(&mut second, "a"));
        assert!(gas(&mut first, "a") > 0);
        let limits = Limits { compute: 100_000, ..LIMITS };
        let mut limited = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap();
        let evaluation = limited.apply(&call("l", "{}")).unwrap();
        assert_eq!(evaluation.outcome, Outcome::Thrown(json!("out of gas!")));
        assert_eq!(evaluation.gas_used, 100_000);
        assert_eq!(count(output(&mut limited, "a")), 1);
    });
}

#[test]
fn a_limit_is_exact_though_the_engine_looks_at_it_only_now_and_then() {
    on_evaluation_thread(|| {
        // One straight piece of code, which ends without any place where the engine would look.
        let steps = "(global.set 0 (i32.add (global.get 0) (i32.const 1)))".repeat(20_000);
        let text = format!(
            r#"(module (memory (export "memory") 1) (global (mut i32) (i32.const 0))
                 (data (i32.const 0) "{{\"ok\":true,\"response\":{{\"Output\":0}}}}")
                 (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
                 (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) {steps} (i64.const 35)))"#
        );
        let module = native(&text);
        let run = |compute| {
            let limits = Limits { compute, ..LIMITS };
            let evaluation = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap().apply(&call("a", "{}")).unwrap();
            (evaluation.outcome, evaluation.gas_used)
        };
        let (free, needed) = run(LIMITS.compute);
        assert!(matches!(free, Outcome::Ok(_)) && needed > 80_000, "{free:?} for {needed}");
        assert_eq!(run(needed), (free, needed));
        for limit in [needed - 1, needed / 2, 1, 0] {
            assert_eq!(run(limit), (Outcome::Thrown(json!("out of gas!")), limit));
        }
    });
}

#[test]
fn the_memory_limit_bounds_growth_and_start() {
    on_evaluation_thread(|| {
        let module = native(COUNTER);
        let limits = Limits { memory_bytes: 3 * 65_536, ..LIMITS };
        let mut machine = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap();
        assert_eq!(count(output(&mut machine, "g")), 1);
        assert!(matches!(output(&mut machine, "g"), Outcome::Thrown(_)));
        assert_eq!(count(output(&mut machine, "a")), 2);
        let limits = Limits { memory_bytes: 65_536, ..LIMITS };
        assert!(matches!(
            Machine::new(&module, limits, Arc::new(NoDrive)),
            Err(MachineError::Memory { bytes: 131_072, limit: 65_536 })
        ));
    });
}

#[test]
fn not_a_number_is_the_same_on_every_processor() {
    on_evaluation_thread(|| {
        let module = native(
            r#"(module (memory (export "memory") 1)
                 (data (i32.const 0) "{\"ok\":true,\"response\":{\"Output\":0}}")
                 (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
                 (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
                   (if (i64.eq (i64.reinterpret_f64 (f64.div (f64.load (i32.const 512)) (f64.load (i32.const 512))))
                               (i64.const 0x7ff8000000000000))
                     (then (i32.store8 (i32.const 32) (i32.const 49))))
                   (i64.const 35)))"#,
        );
        assert_eq!(count(output(&mut machine(&module), "a")), 1);
    });
}

#[test]
fn instance_state_outside_memory_does_not_survive_a_message() {
    on_evaluation_thread(|| {
        // Counts calls in a global, or in a table: neither is part of a process's state.
        let body = |count: &str| {
            format!(
                r#"(module (memory (export "memory") 1) (global $n (mut i32) (i32.const 0)) (table $t 10 funcref) (func $f)
                     (elem declare func $f)
                     (data (i32.const 0) "{{\"ok\":true,\"response\":{{\"Output\":0}}}}")
                     (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
                     (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
                       {count}
                       (i64.const 35)))"#
            )
        };
        let global = "(global.set $n (i32.add (global.get $n) (i32.const 1)))
                      (i32.store8 (i32.const 32) (i32.add (i32.const 48) (global.get $n)))";
        let table =
            "(i32.store8 (i32.const 32) (i32.add (i32.const 49) (i32.eqz (ref.is_null (table.get $t (i32.const 1))))))
                     (table.set $t (i32.const 1) (ref.func $f))";
        for code in [global, table] {
            let mut machine = machine(&native(&body(code)));
            for _ in 0..3 {
                assert_eq!(count(output(&mut machine, "a")), 1, "{code}");
            }
            let fork = machine.fork().unwrap();
            for _ in 0..2 {
                assert_eq!(count(fork.apply(&call("a", "{}")).unwrap().outcome), 1, "{code}");
            }
        }
    });
}
