//! Code that runs is stopped, or asked whether it may go on, wherever it is.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use holon_cu::machine::{
    CompileError, Engine, EngineOptions, Format, HostFailure, Limits, Machine, MachineError, NoDrive, Outcome, Pacer,
    Progress, Stopped, UNREACHABLE_FUEL, set_pacer,
};

use super::{call, on_evaluation_thread, recursion::official};

/// A module without a host's own counting, whose message `x` does `work`; every other is answered with how many there have been.
fn module(items: &str, work: &str) -> String {
    format!(
        r#"(module {items}
             (memory (export "memory") 2 512)
             (data (i32.const 64) "{{\"ok\":true,\"response\":{{\"Output\":0}}}}\00")
             (global $free (mut i32) (i32.const 1024))
             (func (export "malloc") (param i32) (result i32)
               (global.set $free (i32.add (global.get $free) (local.get 0)))
               (i32.sub (global.get $free) (local.get 0)))
             (func (export "handle") (param i32 i32) (result i32) (local i32)
               (i32.store8 (i32.const 96) (i32.add (i32.const 1) (i32.load8_u (i32.const 96))))
               (if (i32.eq (i32.load8_u (local.get 0)) (i32.const 120)) (then {work}))
               (i32.const 64)))"#
    )
}

fn build(text: &str, format: Format, compute: u64, wall_clock: Duration) -> (Engine, Machine) {
    let engine = Engine::new(EngineOptions { wall_clock, ..EngineOptions::default() }).unwrap();
    let module = engine.compile_for(&wat::parse_str(text).unwrap(), format, compute).unwrap();
    let machine = Machine::new(&module, Limits { memory_bytes: 64 << 20, compute }, Arc::new(NoDrive)).unwrap();
    (engine, machine)
}

/// The number in an answer.
fn output(machine: &mut Machine, message: &str) -> Result<String, HostFailure> {
    let Outcome::Ok(response) = machine.apply(&call(message, "")).map(|evaluation| evaluation.outcome)? else {
        panic!("the message failed");
    };
    Ok(response.output.unwrap().to_string())
}

/// Items of a module and what its message does, which takes for ever, or as good as.
fn endless() -> Vec<(String, String)> {
    // Each function calls the next one twice.
    let doubling = |last: &str| {
        let calls = |number: u32| format!("(func $f{number} (call $f{0}) (call $f{0}))", number + 1);
        (0..60).map(calls).chain([format!("(func $f60 {last})")]).collect::<String>()
    };
    let mut all: Vec<(String, String)> = [
        ("", "(loop (br 0))"),
        ("", "(loop (local.set 2 (i32.add (local.get 2) (i32.const 1))) (br_if 0 (i32.const 1)))"),
        ("", "(loop (br_table 0 0 0 (local.get 2)))"),
        ("", "(loop (block (br_if 1 (i32.eqz (i32.load (i32.const 0)))) (br 1)))"),
        ("", "(loop (loop (br 1)))"),
        ("", "(loop $a (loop) (br $a))"),
        ("", "(loop $a (loop) (loop) (br_if $a (i32.const 1)))"),
        ("", "(loop $a (loop (br_if $a (i32.const 1))))"),
        ("", "(loop $a (i32.store (i32.const 512) (i32.const 7)) (br $a))"),
        ("(func $g)", "(loop (call $g) (br 0))"),
        (
            "(table funcref (elem $g)) (type $t (func)) (func $g)",
            "(loop (call_indirect (type $t) (i32.const 0)) (br 0))",
        ),
        ("(func $g (loop (br 0)))", "(call $g)"),
        ("(func $g (loop) (loop (br 0)))", "(call $g)"),
    ]
    .map(|(items, work)| (items.to_owned(), work.to_owned()))
    .into();
    all.push((doubling(""), "(call $f0)".to_owned()));
    all.push((doubling("(i32.store (i32.const 512) (i32.const 7))"), "(call $f0)".to_owned()));
    all.push((doubling("(loop)"), "(call $f0)".to_owned()));
    // Long without any loop: instructions that take long, short functions called often, long ones without calls.
    let fill = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 33554432))";
    all.push((String::new(), format!("(drop (memory.grow (i32.const 510))) {}", fill.repeat(20_000))));
    let leaf =
        format!("(func $g (i32.const 520) (f64.load (i32.const 64)) {} (f64.store))", "(f64.sqrt)".repeat(400_000));
    all.push((leaf, "(call $g)".repeat(90_000)));
    // Calls of short functions on the way back from many calls inside each other, and in front of them a condition that is never true.
    let short = format!("(func $s (i32.const 520) (f64.load (i32.const 64)) {} (f64.store))", "(f64.sqrt)".repeat(200));
    let calls = "(call $s) (if (i32.eqz (local.get 0)) (then (call $s)))".repeat(10_000);
    let back = format!(
        "{short} (func $f (param i32) (if (i32.gt_u (local.get 0) (i32.const 1)) (then (call $f (i32.sub (local.get 0) (i32.const 1))))) {calls})"
    );
    all.push((back, "(call $f (i32.const 250))".to_owned()));
    all
}

/// How long stopping may take, on a busy computer; a message has 150 ms, and is asked every 100.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn whatever_runs_on_is_stopped_and_leaves_nothing_behind() {
    on_evaluation_thread(|| {
        for (items, work) in endless() {
            for compute in [UNREACHABLE_FUEL, UNREACHABLE_FUEL - 1] {
                let limit = Duration::from_millis(150);
                let (_engine, mut machine) = build(&module(&items, &work), Format::Wasi32, compute, limit);
                let what = &work[..work.len().min(100)];
                assert_eq!(output(&mut machine, "a").unwrap(), "1");
                let begun = Instant::now();
                let ended = output(&mut machine, "x");
                assert!(matches!(ended, Err(HostFailure::WallClock { .. })), "{what}: {ended:?}");
                assert!(begun.elapsed() < STOPPED_WITHIN, "{what}: {:?}", begun.elapsed());
                // It is not counted, and the next ones are.
                assert_eq!(output(&mut machine, "a").unwrap(), "2");
                // Nor is one on a fork.
                let forked = machine.fork().unwrap().apply(&call("x", ""));
                assert!(matches!(forked, Err(HostFailure::WallClock { .. })), "{what}");
                assert_eq!(output(&mut machine, "a").unwrap(), "3");
            }
        }
    });
}

#[test]
fn modules_with_a_64_bit_memory_are_stopped_whichever_way_they_are_compiled() {
    let text = |maximum: &str| {
        format!(
            r#"(module (memory (export "memory") i64 2 {maximum})
                 (data (i64.const 64) "{{\"ok\":true,\"response\":{{\"Output\":7}}}}\00")
                 (table i64 1 funcref)
                 (func (export "malloc") (param i64) (result i64) (i64.const 1024))
                 (func (export "handle") (param i64 i64) (result i64)
                   (if (i64.eqz (i64.load8_u (i64.const 512))) (then (i64.store8 (i64.const 512) (i64.const 1))
                     (return (i64.const 64))))
                   (loop (br 0)) (unreachable)))"#
        )
    };
    on_evaluation_thread(move || {
        // Narrowed, too large to be narrowed, and counting fuel.
        for (maximum, compute) in [("16", UNREACHABLE_FUEL), ("", UNREACHABLE_FUEL), ("16", UNREACHABLE_FUEL - 1)] {
            let (_engine, mut machine) = build(&text(maximum), Format::Wasi64, compute, Duration::from_millis(150));
            assert_eq!(output(&mut machine, "a").unwrap(), "7");
            let begun = Instant::now();
            assert!(matches!(output(&mut machine, "a"), Err(HostFailure::WallClock { .. })));
            assert!(begun.elapsed() < STOPPED_WITHIN);
        }
    });
}

#[test]
fn a_protected_call_inside_another_is_stopped_through_the_host() {
    // As many protected calls as the message is long, in the last of which it runs on.
    let deeper = "(if (i32.eq (local.get 0) (i32.const 1)) (then (loop (br 0))))
        (call $invoke (i32.const 1) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))";
    let text = official(1, "", deeper);
    on_evaluation_thread(move || {
        for compute in [UNREACHABLE_FUEL, UNREACHABLE_FUEL - 1] {
            let (_engine, mut machine) = build(&text, Format::Emscripten4, compute, Duration::from_millis(150));
            for _ in 0..2 {
                let failure = machine.apply(&call(&"x".repeat(20), "{}")).unwrap_err();
                assert!(matches!(failure, HostFailure::WallClock { .. }), "{failure}");
            }
        }
    });
}

#[test]
fn a_set_up_that_runs_on_is_stopped() {
    let text = r#"(module (memory (export "memory") 1)
         (func (export "_initialize") (loop (br 0)))
         (func (export "malloc") (param i32) (result i32) (i32.const 1024))
         (func (export "handle") (param i32 i32) (result i32) (i32.const 0)))"#;
    on_evaluation_thread(move || {
        for compute in [UNREACHABLE_FUEL, UNREACHABLE_FUEL - 1] {
            let options = EngineOptions { wall_clock: Duration::from_millis(150), ..EngineOptions::default() };
            let engine = Engine::new(options).unwrap();
            let module = engine.compile_for(&wat::parse_str(text).unwrap(), Format::Wasi32, compute).unwrap();
            let made = Machine::new(&module, Limits { memory_bytes: 1 << 20, compute }, Arc::new(NoDrive)).map(drop);
            assert!(matches!(made, Err(MachineError::Host(HostFailure::WallClock { .. }))), "{made:?}");
        }
    });
}

#[test]
fn memory_limits_are_about_the_modules_own_memory() {
    // It has none at first.
    let text = r#"(module (memory (export "memory") 0)
         (func (export "malloc") (param i32) (result i32) (unreachable))
         (func (export "handle") (param i32 i32) (result i32) (i32.const 0)))"#;
    on_evaluation_thread(move || {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        for compute in [UNREACHABLE_FUEL, UNREACHABLE_FUEL - 1] {
            let module = engine.compile_for(&wat::parse_str(text).unwrap(), Format::Wasi32, compute).unwrap();
            let mut machine = Machine::new(&module, Limits { memory_bytes: 1000, compute }, Arc::new(NoDrive)).unwrap();
            let outcome = machine.apply(&call("x", "")).unwrap().outcome;
            assert!(matches!(outcome, Outcome::Thrown(_)), "{outcome:?}");
        }
    });
}

#[test]
fn memories_that_nobody_can_name_stay_unnamed() {
    let around = |items: &str, body: &str| {
        format!(
            r#"(module {items} (func (export "malloc") (param i32) (result i32) (i32.const 1024))
                 (func (export "handle") (param i32 i32) (result i32) {body} (i32.const 0)))"#
        )
    };
    // Those of another memory are what they would be with the index of the one that is added.
    for (items, body) in [
        (r#"(memory (export "memory") 1) (memory $other 1)"#, "(drop (i32.load $other (i32.const 0)))"),
        (r#"(import "env" "memory" (memory $other 1)) (memory (export "memory") 1)"#, ""),
    ] {
        let wasm = wat::parse_str(around(items, body)).unwrap();
        refused(&wasm);
    }
    let own = r#"(memory (export "memory") 1)"#;
    // Each with the bytes in which it names memory 0, and where in them.
    for (items, body, bytes, at) in [
        ("", "(i32.load offset=77 (i32.const 0)) (nop) (drop)", &[0x28, 2, 77][..], None),
        ("", "(drop (memory.size))", &[0x3f, 0], Some(1)),
        ("", "(drop (memory.grow (i32.const 1)))", &[0x40, 0], Some(1)),
        ("", "(memory.fill (i32.const 1) (i32.const 2) (i32.const 3))", &[0xfc, 11, 0], Some(2)),
        ("", "(memory.copy (i32.const 1) (i32.const 2) (i32.const 3))", &[0xfc, 10, 0, 0], Some(2)),
        ("", "(memory.copy (i32.const 1) (i32.const 2) (i32.const 3))", &[0xfc, 10, 0, 0], Some(3)),
        (r#"(data $d "x")"#, "(memory.init $d (i32.const 1) (i32.const 0) (i32.const 1))", &[0xfc, 8, 0, 0], Some(3)),
        (r#"(export "other" (memory 0))"#, "", b"other\x02\0", Some(6)),
    ] {
        let mut wasm = wat::parse_str(around(&format!("{own} {items}"), body)).unwrap();
        let found = wasm.windows(bytes.len()).rposition(|found| found == bytes).unwrap();
        match at {
            Some(at) => wasm[found + at] = 1,
            // The flag, and the memory where the offset was; the offset is what came next.
            None => {
                wasm[found + 1] |= 0x40;
                wasm[found + 2] = 1;
            }
        }
        refused(&wasm);
    }
    // One byte of data for memory 1.
    let mut wasm = wat::parse_str(around(own, "")).unwrap();
    wasm.extend([11, 8, 1, 2, 1, 0x41, 0, 0x0b, 1, b'a']);
    refused(&wasm);
}

fn refused(wasm: &[u8]) {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    for compute in [UNREACHABLE_FUEL, 1000] {
        let refused = engine.compile_for(wasm, Format::Wasi32, compute).err();
        assert!(matches!(refused, Some(CompileError::Format { .. } | CompileError::Invalid(_))), "{refused:?}");
    }
}

/// What a pacer does when it is asked.
struct Asked {
    times: Cell<u32>,
    answer: fn(u32) -> Result<Duration, Stopped>,
}

impl Pacer for Asked {
    fn pace(&self, progress: &Progress) -> Result<Duration, Stopped> {
        assert_eq!(progress.memory_bytes, 2 << 16);
        self.times.set(self.times.get() + 1);
        (self.answer)(self.times.get())
    }

    fn leave(&self, _: &Progress) {}

    fn stopped(&self) -> Option<Stopped> {
        None
    }
}

/// Has a message run that takes some seconds, on code that is stopped in either way.
fn paced(
    answer: fn(u32) -> Result<Duration, Stopped>,
    wall_clock: Duration,
    check: fn(Result<String, HostFailure>, u32),
) {
    on_evaluation_thread(move || {
        for compute in [UNREACHABLE_FUEL, UNREACHABLE_FUEL - 1] {
            // Counts up to a few thousand million, and puts what it came to where the answer has its number.
            let work = "(loop (local.set 2 (i32.add (local.get 2) (i32.const 1)))
                          (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
                          (br_if 0 (i32.lt_u (local.get 2) (i32.const 800000000))))
                        (if (i32.eq (i32.load (i32.const 512)) (i32.const 800000000))
                          (then (i32.store8 (i32.const 96) (i32.const 55))))";
            let (_engine, mut machine) = build(&module("", work), Format::Wasi32, compute, wall_clock);
            let pacer = Rc::new(Asked { times: Cell::new(0), answer });
            set_pacer(Some(pacer.clone()));
            let answer = output(&mut machine, "x");
            set_pacer(None);
            let next = if answer.is_ok() { "8" } else { "1" };
            assert_eq!(output(&mut machine, "a").unwrap(), next);
            check(answer, pacer.times.get());
        }
    });
}

#[test]
fn who_is_asked_and_goes_on_comes_to_the_same() {
    let wait = |_| {
        // Others have their turn meanwhile: this thread sleeps in the middle of the guest's loop.
        std::thread::sleep(Duration::from_millis(20));
        Ok(Duration::ZERO)
    };
    paced(wait, Duration::from_secs(120), |answer, times| {
        assert_eq!(answer.unwrap(), "7");
        assert!(times >= 2, "{times}");
    });
}

#[test]
fn pauses_are_not_the_messages_time() {
    let wait = |times| Ok(if times == 1 { Duration::from_secs(1000) } else { Duration::ZERO });
    paced(wait, Duration::from_millis(250), |answer, times| {
        assert_eq!(answer.unwrap(), "7");
        assert!(times >= 2, "{times}");
    });
}

#[test]
fn who_asks_in_vain_because_of_a_bug_says_so() {
    // Without a message: the hook that prints it is everybody's.
    let panic = |_| std::panic::resume_unwind(Box::new("nobody knows"));
    on_evaluation_thread(move || {
        let (_engine, mut machine) =
            build(&module("", "(loop (br 0))"), Format::Wasi32, UNREACHABLE_FUEL, Duration::from_secs(120));
        set_pacer(Some(Rc::new(Asked { times: Cell::new(0), answer: panic })));
        let failure = output(&mut machine, "x").unwrap_err();
        set_pacer(None);
        assert!(matches!(&failure, HostFailure::Engine(reason) if reason.contains("nobody knows")), "{failure}");
    });
}

#[test]
fn who_is_told_to_end_ends_at_once() {
    let stop = |_| Err(Stopped::Memory);
    paced(stop, Duration::from_secs(120), |answer, times| {
        assert!(matches!(answer, Err(HostFailure::Stopped(Stopped::Memory))), "{answer:?}");
        assert_eq!(times, 1);
    });
}
