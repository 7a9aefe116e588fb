//! Code that runs is stopped, or asked whether it may go on, wherever it is.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use holon_cu::machine::{
    CompileError, Engine, EngineOptions, Format, HostFailure, Limits, Machine, NoDrive, Outcome, Pacer, Progress,
    Stopped, UNREACHABLE_FUEL, set_pacer,
};

use super::{call, on_evaluation_thread};

/// A module without a host's own counting, whose message `x` does `work`; every other is answered with how many there have been.
fn module(items: &str, work: &str) -> String {
    format!(
        r#"(module {items}
             (memory (export "memory") 2 2)
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
    let machine = Machine::new(&module, Limits { memory_bytes: 1 << 20, compute }, Arc::new(NoDrive)).unwrap();
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
fn endless() -> Vec<(String, &'static str)> {
    // Each function calls the next one twice.
    let doubling = |last: &str| {
        let calls = |number: u32| format!("(func $f{number} (call $f{0}) (call $f{0}))", number + 1);
        (0..60).map(calls).chain([format!("(func $f60 {last})")]).collect::<String>()
    };
    let cases = [
        ("", "(loop (br 0))"),
        ("", "(loop (local.set 2 (i32.add (local.get 2) (i32.const 1))) (br_if 0 (i32.const 1)))"),
        ("", "(loop (br_table 0 0 0 (local.get 2)))"),
        ("", "(loop (block (br_if 1 (i32.eqz (i32.load (i32.const 0)))) (br 1)))"),
        ("", "(loop (loop (br 1)))"),
        ("", "(loop $a (i32.store (i32.const 512) (i32.const 7)) (br $a))"),
        ("(func $g)", "(loop (call $g) (br 0))"),
        (
            "(table funcref (elem $g)) (type $t (func)) (func $g)",
            "(loop (call_indirect (type $t) (i32.const 0)) (br 0))",
        ),
        ("(func $g (loop (br 0)))", "(call $g)"),
    ];
    let mut all: Vec<(String, &str)> = cases.map(|(items, work)| (items.to_owned(), work)).into();
    all.push((doubling(""), "(call $f0)"));
    all.push((doubling("(i32.store (i32.const 512) (i32.const 7))"), "(call $f0)"));
    all
}

#[test]
fn whatever_runs_on_is_stopped_and_leaves_nothing_behind() {
    on_evaluation_thread(|| {
        for (items, work) in endless() {
            for compute in [UNREACHABLE_FUEL, UNREACHABLE_FUEL - 1] {
                let limit = Duration::from_millis(150);
                let (_engine, mut machine) = build(&module(&items, work), Format::Wasi32, compute, limit);
                assert_eq!(output(&mut machine, "a").unwrap(), "1");
                let begun = Instant::now();
                let failure = output(&mut machine, "x").unwrap_err();
                assert!(matches!(failure, HostFailure::WallClock { .. }), "{work}: {failure}");
                assert!(begun.elapsed() < Duration::from_secs(20), "{work}");
                // It is not counted, and the next ones are.
                assert_eq!(output(&mut machine, "a").unwrap(), "2");
                assert!(matches!(output(&mut machine, "x"), Err(HostFailure::WallClock { .. })));
                assert_eq!(output(&mut machine, "a").unwrap(), "3");
            }
        }
    });
}

#[test]
fn memories_that_nobody_can_name_stay_unnamed() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let handle = r#"(func (export "malloc") (param i32) (result i32) (i32.const 1024))"#;
    for text in [
        // Written out as text they are refused before; so in bytes, in front of a memory of its own.
        format!(
            r#"(module (memory (export "memory") 1) (memory $other 1) {handle}
                     (func (export "handle") (param i32 i32) (result i32) (i32.load $other (i32.const 0))))"#
        ),
        format!(
            r#"(module (import "env" "memory" (memory $other 1)) (memory (export "memory") 1) {handle}
                     (func (export "handle") (param i32 i32) (result i32) (i32.load $other (i32.const 0))))"#
        ),
    ] {
        let wasm = wat::parse_str(&text).unwrap();
        for compute in [UNREACHABLE_FUEL, 1000] {
            let refused = engine.compile_for(&wasm, Format::Wasi32, compute).err();
            assert!(matches!(refused, Some(CompileError::Format { .. } | CompileError::Invalid(_))), "{refused:?}");
        }
    }
    // A load from memory 1, where there is none but what is added.
    let mut wasm = wat::parse_str(format!(
        r#"(module (memory (export "memory") 1) {handle}
             (func (export "handle") (param i32 i32) (result i32) (i32.load offset=77 (i32.const 0))))"#
    ))
    .unwrap();
    let at = wasm.windows(3).position(|bytes| bytes == [0x28, 2, 77]).unwrap();
    // The flag, and the memory where the offset was; the offset is where the function ended.
    wasm[at + 1] |= 0x40;
    wasm[at + 2] = 1;
    for compute in [UNREACHABLE_FUEL, 1000] {
        let refused = engine.compile_for(&wasm, Format::Wasi32, compute).err();
        assert!(matches!(refused, Some(CompileError::Invalid(_))), "{refused:?}");
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
fn who_is_told_to_end_ends_at_once() {
    let stop = |_| Err(Stopped::Memory);
    paced(stop, Duration::from_secs(120), |answer, times| {
        assert!(matches!(answer, Err(HostFailure::Stopped(Stopped::Memory))), "{answer:?}");
        assert_eq!(times, 1);
    });
}
