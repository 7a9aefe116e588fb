//! Calls inside each other: how deep they may go depends on the module and on nothing else, and what goes deeper is a result like any
//! other.

use std::sync::Arc;

use holon_cu::machine::{CompileError, Evaluation, Format, Limits, Machine, NoDrive, Outcome, UNREACHABLE_FUEL};

use super::{ENGINE, call, native, on_evaluation_thread};

const EXHAUSTED: &str = "wasm trap: call stack exhausted";
/// Room for calls, and what one takes at least, in bytes as the machine reckons them.
const ROOM: u64 = 16 << 20;
const PER_CALL: u64 = 96;

/// A 32-bit official module whose `handle` goes as many calls deep as the message's length times `step`, by `body`, which has the number of
/// calls left in local 0 and is function 1 of its table.
pub fn official(step: usize, items: &str, body: &str) -> String {
    format!(
        r#"(module
             (import "env" "invoke_vii" (func $invoke (param i32 i32 i32)))
             (import "env" "_emscripten_throw_longjmp" (func $throw))
             (memory (export "memory") 2)
             (data (i32.const 2048) "{{\"ok\":true,\"response\":{{\"Output\":7}}}}\00")
             (table (export "__indirect_function_table") 3 funcref) (elem (i32.const 1) $deep $throws)
             (func $throws (param i32 i32) (call $throw))
             (func (export "dynCall_vii") (param i32 i32 i32)
               (call_indirect (param i32 i32) (local.get 1) (local.get 2) (local.get 0)))
             (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
             (func (export "emscripten_stack_get_end") (result i32) (i32.const 1024))
             (func (export "emscripten_stack_get_current") (result i32) (i32.const 65536))
             (func (export "_emscripten_stack_restore") (param i32))
             ;; The environment lies apart from the message.
             (func (export "_emscripten_stack_alloc") (param i32) (result i32)
               (select (i32.const 120000) (i32.const 65536) (i32.eq (local.get 0) (i32.const 3))))
             (func (export "setThrew") (param i32 i32))
             {items}
             (func $deep (param i32 i32) (if (local.get 0) (then {body})))
             (func $length (result i32) (local $at i32)
               (loop $more (local.set $at (i32.add (local.get $at) (i32.const 1)))
                 (br_if $more (i32.load8_u (i32.add (local.get $at) (i32.const 65536)))))
               (local.get $at))
             (func (export "handle") (param i32 i32) (result i32)
               (call $deep (i32.mul (call $length) (i32.const {step})) (i32.const 0))
               (i32.const 2048)))"#
    )
}

const PLAIN: &str = "(call $deep (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))";

/// What a module of this text makes of a message of this length, counting instructions or not.
fn apply(text: &str, compute: u64, length: usize) -> Evaluation {
    let format = Format::Emscripten4;
    let module = ENGINE.compile_for(&wat::parse_str(text).unwrap(), format, compute).unwrap();
    on_evaluation_thread(move || {
        let limits = Limits { memory_bytes: 1 << 30, compute };
        let mut machine = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap();
        let first = machine.apply(&call(&"x".repeat(length), "{}")).unwrap();
        // The next message finds all of the room again.
        let after = machine.apply(&call("x", "{}")).unwrap();
        assert!(matches!(after.outcome, Outcome::Ok(_)), "{after:?}");
        first
    })
}

fn is_exhausted(evaluation: &Evaluation) -> bool {
    match &evaluation.outcome {
        Outcome::Ok(_) => false,
        outcome => {
            assert_eq!(outcome, &Outcome::Thrown(EXHAUSTED.into()));
            true
        }
    }
}

/// The longest message that ends well, of those up to a length that does not.
fn longest(text: &str, compute: u64, mut too_long: usize) -> usize {
    let mut good = 1;
    assert!(is_exhausted(&apply(text, compute, too_long)), "not even {too_long} exhausts it");
    while good + 1 < too_long {
        let middle = good.midpoint(too_long);
        if is_exhausted(&apply(text, compute, middle)) { too_long = middle } else { good = middle }
    }
    good
}

#[test]
fn calls_end_at_the_same_depth_whether_or_not_instructions_are_counted() {
    const STEP: usize = 100;
    let text = official(STEP, "", PLAIN);
    let depth = longest(&text, UNREACHABLE_FUEL, 4000);
    assert_eq!(depth, longest(&text, UNREACHABLE_FUEL - 1, 4000));
    // As many as the room has place for.
    let takes = ROOM / (depth * STEP) as u64;
    assert!((PER_CALL..2 * PER_CALL).contains(&takes), "{depth} hundred calls, of {takes} bytes each");
}

#[test]
fn variables_make_the_depth_smaller_even_if_the_compiler_needs_none_of_them() {
    let plain = longest(&official(100, "", PLAIN), UNREACHABLE_FUEL, 4000);
    let text = official(100, "", PLAIN)
        .replace("(func $deep (param i32 i32)", "(func $deep (param i32 i32) (local i64 i64 i64 i64)");
    let fewer = longest(&text, UNREACHABLE_FUEL, 4000);
    assert!(fewer < plain * 9 / 10, "{fewer} of {plain}");
}

#[test]
fn values_that_wait_on_the_operand_stack_make_the_depth_smaller() {
    // Four hundred results of 16 bytes each are kept until the call inside has returned.
    let (vectors, adds) = ("(call $vector)".repeat(400), "(v128.xor)".repeat(400));
    let items = "(func $vector (result v128) (v128.load (i32.const 4096)))
        (func $again (param i32) (result v128) (call $deep (local.get 0) (i32.const 0)) (v128.const i32x4 0 0 0 0))";
    let body =
        format!("(i32.const 4096){vectors}(call $again (i32.sub (local.get 0) (i32.const 1))){adds}(v128.store)");
    let text = official(100, items, &body);
    let depth = longest(&text, UNREACHABLE_FUEL, 4000);
    let takes = ROOM / (depth * 100) as u64;
    assert!((400 * 16..400 * 16 * 5 / 4).contains(&takes), "{depth} hundred calls, of {takes} bytes each");
    // However far beyond that it would go.
    assert!(is_exhausted(&apply(&text, UNREACHABLE_FUEL, 30_000)));
}

/// Values which the compiler moves out of a loop, because nothing in it changes them: each takes six bytes of code and sixteen of stack.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_module_whose_code_takes_more_native_stack_than_it_counts_is_not_run() {
    let once =
        |constant: i32, splat: &str| format!("(v128.xor ({splat} (i32.add (local.get 0) (i32.const {constant}))))");
    let sum = |count: i32| {
        let one = |of: i32| once(of / 2, if of % 2 == 0 { "i32x4.splat" } else { "i16x8.splat" });
        (0..count).map(one).collect::<String>()
    };
    let module = |count: i32| {
        let body = format!(
            "(loop $more (call $deep (local.get 1) (i32.const 0)) (v128.load (i32.const 4096)) {} (local.set $kept)
               (v128.store (i32.const 4096) (local.get $kept)) (br_if $more (i32.load (i32.const 4096))))",
            sum(count)
        );
        let text = official(1, "", &body)
            .replace("(func $deep (param i32 i32)", "(func $deep (param i32 i32) (local $kept v128)");
        ENGINE.compile(&wat::parse_str(text).unwrap(), Format::Emscripten4)
    };
    assert!(module(4).is_ok());
    let refused = module(2000).err();
    assert!(matches!(refused, Some(CompileError::TooCostly { .. })), "{refused:?}");
}

#[test]
fn endless_recursion_of_every_kind_is_a_result_and_the_process_goes_on() {
    let kinds = [
        ("", "(loop $again (call $deep (i32.const 1) (i32.const 0)) (br $again))"),
        ("", "(call_indirect (param i32 i32) (i32.const 1) (i32.const 0) (i32.const 1))"),
        ("", "(call $invoke (i32.const 1) (i32.const 1) (i32.const 0))"),
        ("(func $other (call $deep (i32.const 1) (i32.const 0)))", "(call $other)"),
    ];
    for (items, body) in kinds {
        // Only where the message is not the short one.
        let body = format!("(if (i32.gt_u (call $length) (i32.const 5)) (then {body}))");
        let text = official(1, items, &body);
        for compute in [UNREACHABLE_FUEL, 1 << 40] {
            assert!(is_exhausted(&apply(&text, compute, 10)), "{body}");
        }
    }
}

#[test]
fn what_a_longjmp_leaves_behind_is_put_back() {
    // Each of a hundred thousand protected calls is left by a longjmp, at a place where much of the room is taken.
    let items = "(func $inner (param i32) (if (local.get 0) (then (call $inner (i32.sub (local.get 0) (i32.const 1)))) (else (call $throw))))
        (func $outer (param i32 i32) (call $inner (i32.const 100)))";
    let body = "(local.set 1 (i32.const 100000))
        (loop $more
          (call $invoke (i32.const 1) (i32.const 0) (i32.const 0))
          (call $invoke (i32.const 2) (i32.const 0) (i32.const 0))
          (br_if $more (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))";
    let text = official(1, items, body).replace("$deep $throws)", "$deep $outer)");
    assert!(!is_exhausted(&apply(&text, UNREACHABLE_FUEL, 3)));
}

#[test]
fn native_modules_recurse_as_deep_and_are_billed_for_it() {
    let text = |body: &str| {
        format!(
            r#"(module (memory (export "memory") 1)
                 (data (i32.const 100) "{{\"ok\":true,\"response\":{{\"Output\":7}}}}")
                 (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
                 (func $sum (param i32) (result i64)
                   (if (i32.eqz (local.get 0)) (then (return (i64.const 0))))
                   (i64.add (i64.const 1) (call $sum (i32.sub (local.get 0) (i32.const 1)))))
                 (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
                   (if (i64.ne (call $sum (i32.const {body})) (i64.const {body})) (then (unreachable)))
                   (i64.const 0x6400000023)))"#
        )
    };
    let gas = |depth: &str| {
        let module = native(&text(depth));
        on_evaluation_thread(move || {
            let evaluation = super::machine(&module).apply(&call("{}", "{}")).unwrap();
            (is_exhausted(&evaluation), evaluation.gas_used)
        })
    };
    let (few, more, exhausted) = (gas("1000"), gas("2000"), gas("1000000"));
    assert!(!few.0 && !more.0 && exhausted.0);
    assert_eq!((more.1 - few.1) % 1000, 0, "each call costs the same");
    // And up to the same call on every computer.
    assert_eq!(exhausted, gas("1000000"));
}
