use super::*;

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Which functions count.
fn counted(text: &str) -> Vec<bool> {
    let counted: Vec<bool> = Plan::of(&wasm(text)).unwrap().counted.iter().map(Option::is_some).collect();
    if counted.contains(&true) { counted } else { Vec::new() }
}

#[test]
fn in_every_circle_of_calls_a_function_counts_and_nowhere_else() {
    // In a circle of the second and the third.
    let one_of_two = |text: &str| {
        let counted = counted(text);
        assert!(!counted[0] && counted[1..].contains(&true) && counted.len() >= 3, "{text}: {counted:?}");
    };
    assert_eq!(counted("(module (func (call 1)) (func))"), [] as [bool; 0]);
    assert_eq!(counted("(module (func (call 1)) (func (call 1)) (func))"), [false, true, false]);
    one_of_two("(module (func (call 1)) (func (call 2)) (func (call 1)))");
    // Through a table: who calls a function of the type, or the function of the type that calls back.
    let table = "(table 3 funcref) (elem (i32.const 0) $a $other)
        (func $other (param i32) (call $caller)) (func $caller (call_indirect (type $t) (i32.const 0)))
        (func $a (type $t) (call $caller))";
    one_of_two(&format!("(module (type $t (func)) {table})"));
    // Equal types are one type, whatever their number.
    let table = table.replace("(func $a (type $t)", "(func $a (type $u)");
    one_of_two(&format!("(module (type $t (func)) (type $u (func)) {table})"));
    // By a reference, which may be to any function that was given out.
    let reference = "(module (type $t (func)) (elem declare func $f) (global funcref (ref.func $g))
        (func $h (call $f)) (func $f (call_ref $t (ref.func $f))) (func $g (call $f)))";
    one_of_two(reference);
}

#[test]
fn the_host_is_on_the_way_of_calls_that_come_back() {
    let module = |import: &str| {
        format!(
            r#"(module (import "env" "{import}" (func $import (param i32 i32 i32)))
                 (func (export "exported") (call $import (i32.const 0) (i32.const 0) (i32.const 0)))
                 (func (call $import (i32.const 0) (i32.const 0) (i32.const 0))))"#
        )
    };
    assert_eq!(counted(&module("_emscripten_memcpy_js")), [] as [bool; 0]);
    assert_eq!(counted(&module("invoke_vii")), [true, false]);
    let plan = Plan::of(&wasm(&module("invoke_vii"))).unwrap();
    assert!(plan.counted[0].unwrap() as u64 >= HOST + PER_CALL + 3 * PER_VALUE, "{plan:?}");
}

#[test]
fn variables_code_and_what_is_handed_over_take_room() {
    let takes = |text: &str| u64::from(Plan::of(&wasm(text)).unwrap().counted[0].unwrap());
    let plain = takes("(module (func (call 0)))");
    assert_eq!(plain, PER_CALL + 4 / CODE_PER_BYTE);
    assert_eq!(
        takes("(module (func (local i32 f64 v128) (call 0)))") - plain,
        2 * PER_VALUE + PER_VECTOR + 6 / CODE_PER_BYTE
    );
    let nops = "(nop)".repeat(4000);
    assert_eq!(takes(&format!("(module (func {nops} (call 0)))")) - plain, 4000 / CODE_PER_BYTE);
    // Its parameter, and the one that it hands over, which it may keep as well.
    assert_eq!(takes("(module (func (param i64) (call 0 (local.get 0))))") - plain, 3 * PER_VALUE);
}

#[test]
fn all_values_that_are_kept_at_the_same_time_take_room_each_for_its_size() {
    let takes = |body: &str| {
        let items = "(func $vector (result v128) (v128.const i32x4 0 0 0 0)) (func $number (result i32) (i32.const 0))";
        Plan::of(&wasm(&format!("(module (func {body} (call 0)) {items})"))).unwrap().frames.bytes[0]
    };
    // How much more than with nothing, apart from so many bytes of code.
    let kept = |body: &str, code_bytes: u64| takes(body) - takes("") - code_bytes / CODE_PER_BYTE;
    let (vectors, drops) = ("(call $vector)".repeat(400), "(drop)".repeat(400));
    assert_eq!(kept(&format!("{vectors}{drops}"), 1200), 400 * PER_VECTOR);
    assert_eq!(kept(&format!("{vectors}(call 0){drops}"), 1200), 400 * PER_VECTOR);
    // What is on its way to a call or back has a place of its own beside them.
    assert_eq!(kept(&format!("{vectors}(call $number)(drop){drops}"), 1200), 400 * PER_VECTOR + PER_VALUE);
    // What is taken away in between is not there at the same time.
    assert_eq!(kept(&"(call $number)(drop)".repeat(400), 1200), PER_VALUE);
    // Through blocks, branches and code that cannot be reached.
    let block = "(block $out (result i32 v128 i64)
        (i32.const 1) (call $vector) (i64.const 1) (br_if $out (i32.const 0)) (br $out) (i64.const 7))";
    let within = 2 * PER_VALUE + PER_VECTOR + PER_VALUE;
    let outside = "(block (result i32) (br 0 (i32.const 1)) (drop) (call $number))";
    assert_eq!(kept(&format!("{block} (drop)(drop)(drop)"), 20), within);
    assert_eq!(kept(&format!("{block} {outside}{outside} (drop)(drop)(drop)(drop)(drop)"), 40), within + PER_VALUE);
}

#[test]
fn too_much_stack_without_recursion_is_refused_before_compiling() {
    let chain = |count: usize| {
        let locals = "(local ".to_owned() + &"i64 ".repeat(1000) + ")";
        (1..count).map(|next| format!("(func {locals} (call {next}))")).collect::<String>() + "(func)"
    };
    let least = MAX_STRAIGHT_BYTES as usize / 8000 - 10;
    assert_eq!(counted(&format!("(module {})", chain(least))), [] as [bool; 0]);
    let refused = Plan::of(&wasm(&format!("(module {})", chain(least + 20))));
    assert!(matches!(refused, Err(CompileError::TooCostly { limit: MAX_STRAIGHT_BYTES, .. })), "{refused:?}");
}

#[test]
fn what_counts_is_valid_however_it_returns() {
    for text in [
        "(module (func (call 0)))",
        "(module (func (param i32) (result i32) (return (call 0 (local.get 0)))))",
        "(module (func (param i32) (result i32 i64) (if (local.get 0) (then (return (i32.const 1) (i64.const 2)))) (call 0 (i32.const 1))))",
        "(module (func (param i32) (result i32) (block (loop (if (local.get 0) (then (return (i32.const 1))) (else (br 3 (i32.const 5)))))) (call 0 (i32.const 1))))",
        "(module (func (param i32) (result f64) (block (result f64) (br_table 0 1 0 (f64.const 1) (local.get 0))) (drop) (call 0 (i32.const 1))))",
        "(module (func (result funcref) (unreachable) (call 0)))",
        "(module (func (result v128) (br 0 (call 0))))",
        "(module (func (result i32 f32) (call 0)) (func (result i32 f32) (call 1)) (func (result f32 i32) (call 2)))",
        "(module (global i32 (i32.const 1)) (memory 1) (data (i32.const 0) \"abc\") (func (call 0) (drop (global.get 0))))",
    ] {
        let wasm = wasm(text);
        wasmparser::validate(&wasm).unwrap_or_else(|error| panic!("{error}: {text}"));
        let changed = Plan::of(&wasm).unwrap().apply(&wasm).unwrap().unwrap();
        wasmparser::validate(&changed).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(changed.windows(ROOM_EXPORT.len()).any(|bytes| bytes == ROOM_EXPORT.as_bytes()));
    }
}

#[test]
fn modules_that_are_none_are_refused_without_a_panic() {
    let good = wasm(
        r#"(module (type $t (func (param i32) (result i32))) (import "env" "invoke_ii" (func (param i32 i32) (result i32)))
             (table 2 funcref) (elem (i32.const 0) $f) (export "f" (func $f))
             (func $f (type $t) (local i64) (return (call_indirect (type $t) (local.get 0) (call $f (i32.const 0))))))"#,
    );
    for at in 8..good.len() {
        for byte in [0, 1, 7, 0x0b, 0x0f, 0x40, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = byte;
            if let Ok(plan) = Plan::of(&bad) {
                let _ = plan.apply(&bad);
            }
        }
    }
}
