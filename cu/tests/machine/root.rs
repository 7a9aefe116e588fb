//! The state root against the example in `docs/src/state-root.md`, whose values another implementation computed.

use holon_cu::machine::{Format, Outcome, PageHash, StateRoot};

use super::{ENGINE, call, machine, native, on_evaluation_thread};

const PAGE: &str = include_str!("../../../docs/src/state-root.md");

/// What the page's example has in the row that begins like this, after the row `after`.
fn value(after: &str, row: &str) -> &'static str {
    let example = PAGE.split_once("## An example").unwrap().1;
    let rest = &example[example.find(after).unwrap()..];
    let line = rest.lines().find(|line| line.starts_with(&format!("| {row}"))).unwrap();
    line.split('`').nth(line.matches('`').count() - 1).unwrap()
}

fn block(name: &str) -> &'static str {
    let example = PAGE.split_once("## An example").unwrap().1;
    let rest = example.split_once(&format!("```{name}\n")).unwrap().1;
    rest.split_once("```").unwrap().0
}

#[test]
fn the_example_of_the_page_has_the_roots_it_says() {
    let text = block("wat");
    let hex: String =
        PAGE.split_once("Its 164 bytes:").unwrap().1.split("```").nth(1).unwrap().split_whitespace().collect();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    assert_eq!(wat::parse_str(text).unwrap(), bytes);
    assert_eq!(PageHash::from_bytes(blake3::hash(&bytes).into()).to_string(), value("| module", "module"));
    assert!(PAGE.contains(&format!("`{}`", PageHash::ZERO)));

    on_evaluation_thread(move || {
        let module = ENGINE.compile(&bytes, Format::Native).unwrap();
        let mut machine = machine(&module);
        let root = |bytes: [u8; 32]| StateRoot::from_bytes(bytes).to_string();
        let fork = machine.fork().unwrap();
        let start = "| after set-up";
        assert_eq!(fork.tree().unwrap().page(1).to_string(), value(start, "leaf of page 1"));
        assert_eq!(root(fork.tree().unwrap().root()), value(start, "tree root"));
        assert_eq!(root([0; 32]), value(start, "history"));
        assert_eq!(fork.state_root(&[0; 32]).unwrap().to_string(), value(start, "state root"));

        assert!(matches!(machine.apply(&call("{}", "{}")).unwrap().outcome, Outcome::Ok(_)));
        let fork = machine.fork().unwrap();
        let then = "| after a message";
        assert_eq!(fork.memory_bytes(), 131_072);
        assert_eq!(root(fork.tree().unwrap().root()), value(then, "tree root"));
        let mut entry = vec![0; 32 + 8];
        entry.extend_from_slice(&1_u64.to_be_bytes());
        entry.extend_from_slice(&[0x11; 32]);
        let history: [u8; 32] = blake3::hash(&entry).into();
        assert_eq!(root(history), value(then, "history"));
        assert_eq!(fork.state_root(&history).unwrap().to_string(), value(then, "state root"));
        assert_eq!(fork.tree().unwrap().nonzero().count(), 3);
    });
}

#[test]
fn globals_of_a_module_that_gets_a_fresh_instance_every_time_count_too() {
    let module = |global: &str, table: &str| {
        native(&format!(
            r#"(module (memory (export "memory") 1) (table $t 2 funcref) (global $g (mut i32) (i32.const {global}))
                 (global (mut funcref) (ref.null func))
                 (data (i32.const 0) "{{\"ok\":true,\"response\":{{}}}}")
                 (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
                 (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
                   (global.set $g (i32.const 99)) {table} (i64.const 25)))"#
        ))
    };
    on_evaluation_thread(move || {
        let changes = "(table.set $t (i32.const 0) (ref.null func))";
        let mut roots = Vec::new();
        for module in [module("1", changes), module("2", changes), module("1", "")] {
            let mut machine = machine(&module);
            let before = machine.fork().unwrap();
            roots.push(before.state_root(&[0; 32]).unwrap());
            for _ in 0..2 {
                assert!(matches!(machine.apply(&call("", "")).unwrap().outcome, Outcome::Ok(_)));
            }
            // The message changed no memory, and the global is what it was.
            assert_eq!(machine.fork().unwrap().state_root(&[0; 32]).unwrap(), roots[roots.len() - 1]);
        }
        roots.sort();
        roots.dedup();
        assert_eq!(roots.len(), 3);
    });
}
