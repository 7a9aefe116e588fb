//! Narrowed modules against the modules they come from.

use proptest::prelude::*;
use wasmtime::{Config, Engine, Instance, Store, Trap};

use super::*;

const PAGE: i64 = 65_536;

/// What calling `run` with two numbers gave: its result or trap, and memory.
fn run(wasm: &[u8], arguments: (i64, i64)) -> (Result<i64, Trap>, Vec<u8>) {
    let mut config = Config::new();
    config.wasm_memory64(true).memory_reservation(16 << 30).memory_may_move(false).consume_fuel(true);
    let engine = Engine::new(&config).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(1 << 20).unwrap();
    let module = wasmtime::Module::from_binary(&engine, wasm).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<(i64, i64), i64>(&mut store, "run").unwrap();
    let result = run.call(&mut store, arguments).map_err(|error| *error.downcast_ref::<Trap>().unwrap());
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    (result, memory.data(&store).to_vec())
}

fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") i64 1 3) (data (i64.const 8) "\01\02\03\04\05\06\07\08\ff\ff\ff\ff")
             (func (export "run") (param i64 i64) (result i64) (local i64 i64) {body}))"#
    );
    wat::parse_str(text).unwrap()
}

fn narrowed(wasm: &[u8]) -> Vec<u8> {
    let narrowed = narrow(wasm).unwrap().unwrap();
    wasmparser::validate(&narrowed).unwrap();
    narrowed
}

#[test]
fn every_access_traps_where_it_did_and_reads_what_it_did() {
    let loads = ["load", "load8_u", "load8_s", "load16_u", "load16_s", "load32_u", "load32_s"];
    let stores = ["store", "store8", "store16", "store32"];
    let addresses =
        [0, 8, PAGE - 8, PAGE - 7, PAGE - 1, PAGE, LAST - 7, LAST, LAST + 1, LAST + 9, i64::MAX, -1, -8, i64::MIN];
    for offset in ["0", "4", "65535", "4294967295", "4294967296", "18446744073709551615"] {
        let bodies = loads.map(|load| format!("(i64.{load} offset={offset} (local.get 0))")).into_iter().chain(
            stores.map(|store| format!("(i64.{store} offset={offset} (local.get 0) (local.get 1)) (local.get 0)")),
        );
        for body in bodies {
            let wasm = module(&body);
            let other = narrowed(&wasm);
            for address in addresses {
                let arguments = (address, 0x1122_3344_5566_7788);
                assert!(run(&wasm, arguments) == run(&other, arguments), "{body} at {address:#x}");
            }
        }
    }
}

#[test]
fn a_local_that_changed_is_checked_again() {
    for body in [
        "(drop (i64.load (local.get 0))) (local.set 0 (local.get 1)) (i64.load (local.get 0))",
        "(drop (i64.load (local.get 0))) (drop (local.tee 0 (local.get 1))) (i64.load (local.get 0))",
        "(local.get 0) (drop (i64.load (local.get 0))) (local.set 0 (local.get 1)) (i64.load)",
        "(if (i64.eqz (local.get 1)) (then (drop (i64.load (local.get 0))))) (i64.load (local.get 0))",
        "(block (br_if 0 (i64.ne (local.get 1) (i64.const 7))) (drop (i64.load (local.get 0)))) (i64.load (local.get 0))",
        "(loop (drop (i64.load (local.get 0))) (local.set 0 (i64.add (local.get 0) (i64.const 0x40000000)))
           (br_if 0 (i64.ne (local.tee 2 (i64.add (local.get 2) (i64.const 1))) (i64.const 9)))) (local.get 2)",
    ] {
        let wasm = module(body);
        let other = narrowed(&wasm);
        for arguments in [(16, 0), (16, 7), (16, LAST + 1), (LAST + 17, 0), (LAST + 17, 7), (0, -1)] {
            assert!(run(&wasm, arguments) == run(&other, arguments), "{body} with {arguments:?}");
        }
    }
}

#[test]
fn data_at_the_end_of_four_gibibytes_stays_there() {
    let wasm = wat::parse_str(r#"(module (memory i64 65536 65536) (data (i64.const 0xffffffff) "a"))"#).unwrap();
    let narrowed = narrowed(&wasm);
    let other = wasmparser::Parser::new(0).parse_all(&narrowed).find_map(|payload| match payload.unwrap() {
        wasmparser::Payload::DataSection(section) => match section.into_iter().next().unwrap().unwrap().kind {
            DataKind::Active { offset_expr, .. } => offset_expr.get_operators_reader().into_iter().next(),
            DataKind::Passive => None,
        },
        _ => None,
    });
    assert!(matches!(other, Some(Ok(Operator::I32Const { value: -1 }))), "{other:?}");
}

#[test]
fn what_cannot_be_narrowed_is_left_alone() {
    for text in [
        r#"(module (memory (export "memory") i64 1))"#,
        r#"(module (memory (export "memory") i64 1 65537))"#,
        r#"(module (memory (export "memory") 1 2))"#,
        r#"(module (memory i64 1 2) (func (drop (memory.grow (i64.const 1)))))"#,
        r#"(module (memory i64 65536 65536) (data (i64.const 0x100000000) "a"))"#,
        r#"(module (memory i64 65536 65536) (data (i64.const -1) "a"))"#,
        r#"(module (memory i64 1 2) (data (i64.add (i64.const 1) (i64.const 1)) "a"))"#,
        r#"(module (import "a" "b" (global i64)) (memory i64 1 2) (data (global.get 0) "a"))"#,
        r#"(module (memory i64 1 2) (func (memory.fill (i64.const 1) (i32.const 1) (i64.const 1))))"#,
    ] {
        assert_eq!(narrow(&wat::parse_str(text).unwrap()).unwrap(), None, "{text}");
    }
}

/// Statements over four locals, as text.
fn program() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (0..PAGE + 64).prop_map(|number| number),
        Just(LAST),
        Just(LAST + 1),
        Just(-1),
        (0i64..64).prop_map(|number| LAST - 32 + number),
    ];
    let leaf = prop_oneof![
        (0u32..4).prop_map(|local| format!("(local.get {local})")),
        number.prop_map(|number| format!("(i64.const {number})")),
    ];
    let expression = leaf.prop_recursive(3, 12, 3, |inner| {
        let load = prop::sample::select(vec!["load", "load8_u", "load16_s", "load32_u", "load32_s"]);
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(i64.add {a} {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(i64.and {a} {b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(select {a} {b} (i64.eqz {c}))")),
            inner.clone().prop_map(|a| format!("(i64.extend_i32_u (i32.wrap_i64 {a}))")),
            (0u32..4, inner.clone()).prop_map(|(local, a)| format!("(local.tee {local} {a})")),
            (load, 0u32..40, inner).prop_map(|(load, offset, a)| format!("(i64.{load} offset={offset} {a})")),
        ]
    });
    let store = prop::sample::select(vec!["store", "store8", "store16", "store32"]);
    let statement = prop_oneof![
        (0u32..4, expression.clone()).prop_map(|(local, a)| format!("(local.set {local} {a})")),
        (store, 0u32..40, expression.clone(), expression.clone())
            .prop_map(|(store, offset, a, b)| format!("(i64.{store} offset={offset} {a} {b})")),
        expression.clone().prop_map(|a| format!("(drop {a})")),
    ];
    let block = statement.prop_recursive(3, 24, 4, move |inner| {
        let body = prop::collection::vec(inner, 0..4).prop_map(|body| body.join(" "));
        prop_oneof![
            (expression.clone(), body.clone(), body.clone())
                .prop_map(|(a, b, c)| format!("(if (i64.eqz {a}) (then {b}) (else {c}))")),
            (expression.clone(), body.clone(), body.clone())
                .prop_map(|(a, b, c)| format!("(block {b} (br_if 0 (i64.eqz {a})) {c})")),
            (expression.clone(), body.clone()).prop_map(|(a, b)| format!("(loop {b} (br_if 0 (i64.eqz {a})))")),
            (expression.clone(), body)
                .prop_map(|(a, b)| format!("{b} (if (i64.eqz {a}) (then (return (local.get 1))))")),
        ]
    });
    prop::collection::vec(block, 1..6).prop_map(|body| format!("{} (local.get 0)", body.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_programs_do_the_same(body in program(), first in any::<i64>(), second in 0..PAGE) {
        let wasm = module(&body);
        let other = narrowed(&wasm);
        for arguments in [(first, second), (second, first), (second, 8)] {
            let (one, two) = (run(&wasm, arguments), run(&other, arguments));
            // An endless loop ends at another place, because instructions were added.
            if one.0 != Err(Trap::OutOfFuel) && two.0 != Err(Trap::OutOfFuel) {
                prop_assert!(one == two, "{:?} and {:?}", one.0, two.0);
            }
        }
    }
}
