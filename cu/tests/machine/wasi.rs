//! Modules of WASI's shape, with pointers of either width.

use std::sync::Arc;

use holon_cu::machine::{CompileError, Format, Limits, Machine, Module, NoDrive, Outcome};
use serde_json::json;

use super::{ENGINE, LIMITS, call, machine, on_evaluation_thread};

const FORMATS: [Format; 2] = [Format::Wasi32, Format::Wasi64];
/// Where the answer begins; its three digits follow 34 bytes later.
const ANSWER: u32 = 512;
const DIGITS: u32 = ANSWER + 33;

/// A module whose `handle` leaves a number below 1000. `p` stands for the type of pointers.
fn guest(format: Format, items: &str, body: &str) -> Vec<u8> {
    let (pointer, memory) = if format == Format::Wasi64 { ("i64", "i64 2") } else { ("i32", "2") };
    let digit = |place: u32, divisor: u32| {
        let number = format!("(i32.rem_u (i32.div_u (local.get $number) (i32.const {divisor})) (i32.const 10))");
        format!("(i32.store8 (p.const {}) (i32.add (i32.const 48) {number}))", DIGITS + place)
    };
    let text = format!(
        r#"(module {items}
             (memory (export "memory") {memory})
             (data (p.const {ANSWER}) "{{\"ok\":true,\"response\":{{\"Output\":\"000\"}}}}\00")
             (func (export "malloc") (param $size p) (result p) (local $at p)
               (local.set $at (p.add (p.load (p.const 8)) (p.const 4096)))
               (p.store (p.const 8) (p.add (p.load (p.const 8)) (local.get $size)))
               (local.get $at))
             (func (export "handle") (param $message p) (param $environment p) (result p) (local $number i32)
               (local.set $number {body})
               {}{}{}
               (p.const {ANSWER})))"#,
        digit(0, 100),
        digit(1, 10),
        digit(2, 1),
    );
    wat::parse_str(instantiated(&text, pointer)).unwrap()
}

/// `p` as a type or the beginning of an instruction becomes a type of pointers.
fn instantiated(text: &str, pointer: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('"').enumerate() {
        // Not inside strings.
        let part = if index % 2 == 1 { part.to_owned() } else { part.replace("(p.", &format!("({pointer}.")) };
        // Twice, since neighbours share the space between them.
        let spaced = format!(" {pointer} ");
        let part = part.replace(" p)", &format!(" {pointer})")).replace(" p ", &spaced).replace(" p ", &spaced);
        out += if index > 0 { "\"" } else { "" };
        out += &part;
    }
    out
}

fn compiled(format: Format, items: &str, body: &str) -> Module {
    ENGINE.compile(&guest(format, items, body), format).unwrap_or_else(|error| panic!("{error}"))
}

fn number(machine: &mut Machine, message: &str) -> u32 {
    match machine.apply(&call(message, "environment")).unwrap().outcome {
        Outcome::Ok(response) => response.output.unwrap().as_str().unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn texts_are_allocated_by_the_guest_and_end_with_a_zero() {
    for format in FORMATS {
        // The first letter of the message, the distance between both texts, and the zero after the environment.
        let body = "(i32.add (i32.load8_u (local.get $message))
                      (i32.add (i32.load8_u (p.add (local.get $environment) (p.const 11)))
                        (i32.load8_u (p.sub (local.get $environment) (p.const 2)))))";
        let module = compiled(format, "", body);
        on_evaluation_thread(move || {
            let mut machine = machine(&module);
            for _ in 0..3 {
                assert_eq!(number(&mut machine, "abc"), u32::from(b'a') + u32::from(b'c'), "{format}");
            }
        });
    }
}

#[test]
fn a_reactor_is_initialised_once_and_a_command_never_started() {
    for format in FORMATS {
        let items = r#"(func (export "_initialize") (i32.store (p.const 16) (i32.add (i32.load (p.const 16)) (i32.const 7))))
                       (func (export "_start") (i32.store (p.const 16) (i32.const 99)))"#;
        let module = compiled(format, items, "(i32.load (p.const 16))");
        on_evaluation_thread(move || {
            let mut machine = machine(&module);
            assert_eq!([number(&mut machine, "a"), number(&mut machine, "a")], [7, 7], "{format}");
        });
    }
}

#[test]
fn there_is_no_clock_and_randomness_is_that_of_the_message() {
    for format in FORMATS {
        let items = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 p) (result i32)))
                       (import "wasi_snapshot_preview1" "random_get" (func $random (param p p) (result i32)))"#;
        let clock = compiled(format, items, "(call $clock (i32.const 0) (i64.const 1) (p.const 64))");
        let random = compiled(
            format,
            items,
            "(i32.add (call $random (p.const 64) (p.const 9)) (i32.rem_u (i32.load (p.const 68)) (i32.const 1000)))",
        );
        on_evaluation_thread(move || {
            assert_eq!(number(&mut machine(&clock), "a"), 1);
            let once = |message| number(&mut machine(&random), message);
            assert_eq!(once("a"), once("a"), "{format}");
            let different: std::collections::BTreeSet<u32> = ["a", "b", "c", "d"].map(once).into();
            assert!(different.len() > 1, "{format}");
        });
    }
}

#[test]
fn files_are_in_memory_and_output_goes_nowhere() {
    for format in FORMATS {
        let size = if format == Format::Wasi64 { 8 } else { 4 };
        let items = r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 p p p) (result i32)))
                       (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 p) (result i32)))
                       (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param p p) (result i32)))
                       (import "env" "__syscall_rmdir" (func $rmdir (param p) (result i32)))
                       (data (p.const 700) "/tmp\00")"#;
        // 5 bytes written, no strings, ESPIPE 70, and a folder that is removed and then not there: 0 and −44.
        let body = format!(
            "(block (result i32)
               (p.store (p.const 64) (p.const 600)) (p.store (p.const {}) (p.const 5))
               (drop (call $write (i32.const 1) (p.const 64) (p.const 1) (p.const 96)))
               (drop (call $environ (p.const 104) (p.const 112)))
               (i32.add (i32.add (i32.load (p.const 96)) (i32.load (p.const 104)))
                 (i32.add (call $seek (i32.const 1) (i64.const 0) (i32.const 0) (p.const 104))
                   (i32.sub (call $rmdir (p.const 700)) (call $rmdir (p.const 700))))))",
            64 + size
        );
        let module = compiled(format, items, &body);
        on_evaluation_thread(move || assert_eq!(number(&mut machine(&module), "a"), 5 + 70 + 44, "{format}"));
    }
}

#[test]
fn exits_are_results_and_memory_is_limited() {
    for format in FORMATS {
        let items = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
        let exit = compiled(format, items, "(call $exit (i32.const 3)) (i32.const 0)");
        let grow = compiled(
            format,
            "",
            if format == Format::Wasi64 {
                "(i32.add (i32.const 1) (i32.wrap_i64 (memory.grow (i64.const 1))))"
            } else {
                "(i32.add (i32.const 1) (memory.grow (i32.const 1)))"
            },
        );
        on_evaluation_thread(move || {
            let outcome = machine(&exit).apply(&call("a", "")).unwrap().outcome;
            let expected = json!({ "name": "ExitStatus", "message": "Program terminated with exit(3)", "status": 3 });
            assert_eq!(outcome, Outcome::Thrown(expected), "{format}");
            let limits = Limits { memory_bytes: 3 * 65_536, ..LIMITS };
            let mut machine = Machine::new(&grow, limits, Arc::new(NoDrive)).unwrap();
            // Two pages before the first, then no more.
            assert_eq!([number(&mut machine, "a"), number(&mut machine, "a")], [3, 0], "{format}");
        });
    }
}

#[test]
fn instructions_are_counted_below_the_limit_nobody_reaches() {
    for format in FORMATS {
        let module = compiled(format, "", "(loop $again (br $again)) (i32.const 0)");
        on_evaluation_thread(move || {
            let limits = Limits { compute: 100_000, ..LIMITS };
            let mut machine = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap();
            let outcome = machine.apply(&call("a", "")).unwrap().outcome;
            assert_eq!(outcome, Outcome::Thrown("out of gas!".into()), "{format}");
        });
    }
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason() {
    let refused = |items: &str, body: &str, reason: &str| {
        for format in FORMATS {
            match ENGINE.compile(&guest(format, items, body), format) {
                Err(CompileError::Format { reason: given, .. }) => assert!(given.contains(reason), "{given}"),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("{format}: {items} {body}"),
            }
        }
    };
    let caught = "(block (result i32) try (result i32) i32.const 0 catch_all i32.const 1 end)";
    refused("", caught, "exception-handling instructions");
    refused(r#"(import "wasi_snapshot_preview1" "sock_send" (func))"#, "(i32.const 0)", "sock_send");
    refused(r#"(import "env" "invoke_vi" (func (param p i32)))"#, "(i32.const 0)", "emscripten_stack_get_current");
    let other = guest(Format::Wasi32, "", "(i32.const 0)");
    assert!(matches!(ENGINE.compile(&other, Format::Wasi64), Err(CompileError::Format { .. })));
}
