//! What one call of an import may do is bounded, and what it moves costs gas.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use holon_cu::machine::{Format, Limits, Machine, NoDrive, Outcome, Pacer, Progress, Stopped, set_pacer};

use super::{ENGINE, call, on_evaluation_thread};

/// What a 32-bit official module's `handle` gives, with `compute` instructions: a number that `body` leaves.
fn number(body: &str, compute: u64) -> Outcome {
    let text = format!(
        r#"(module
             (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
             (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
             (import "env" "_emscripten_memcpy_js" (func $copy (param i32 i32 i32)))
             (import "env" "__syscall_faccessat" (func $access (param i32 i32 i32 i32) (result i32)))
             (memory (export "memory") 32)
             (data (i32.const 512) "{{\"ok\":true,\"response\":{{\"Output\":000}}}}\00")
             (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
             (func (export "emscripten_stack_get_end") (result i32) i32.const 4096)
             (func (export "emscripten_stack_get_current") (result i32) i32.const 8192)
             (func (export "_emscripten_stack_restore") (param i32))
             (func (export "_emscripten_stack_alloc") (param i32) (result i32) i32.const 4096)
             (func (export "setThrew") (param i32 i32))
             (func $vector (param $at i32) (param $start i32) (param $len i32)
               (i32.store (local.get $at) (local.get $start))
               (i32.store (i32.add (local.get $at) (i32.const 4)) (local.get $len)))
             (func (export "handle") (param i32 i32) (result i32) (local $result i32)
               {body}
               (local.set $result)
               (i32.store8 (i32.const 544) (i32.const 49))
               (i32.store8 (i32.const 545) (i32.add (i32.const 48) (i32.div_u (local.get $result) (i32.const 10))))
               (i32.store8 (i32.const 546) (i32.add (i32.const 48) (i32.rem_u (local.get $result) (i32.const 10))))
               (i32.const 512)))"#
    );
    let module = ENGINE.compile(&wat::parse_str(text).unwrap(), Format::Emscripten4).unwrap();
    on_evaluation_thread(move || {
        let limits = Limits { memory_bytes: 1 << 30, compute };
        Machine::new(&module, limits, Arc::new(NoDrive)).unwrap().apply(&call("{}", "{}")).unwrap().outcome
    })
}

fn errno(body: &str) -> u64 {
    match number(body, 1 << 32) {
        Outcome::Ok(response) => response.output.unwrap().as_u64().unwrap() - 100,
        other => panic!("{other:?}"),
    }
}

const EINVAL: u64 = 28;
const ENAMETOOLONG: u64 = 37;

/// Vectors from 16384 on, many of the same megabyte.
fn vectors(count: u32) -> String {
    (0..count)
        .map(|index| format!("(call $vector (i32.const {}) (i32.const 65536) (i32.const 1048576))", 16384 + 8 * index))
        .collect()
}

#[test]
fn scattered_reads_and_writes_take_as_many_vectors_and_bytes_as_posix_lets_them() {
    for call in ["$fd_write (i32.const 1)", "$fd_read (i32.const 0)"] {
        let with = |count: u32| format!("(call {call} (i32.const 16384) (i32.const {count}) (i32.const 256))");
        assert_eq!(errno(&with(1024)), 0);
        assert_eq!(errno(&with(1025)), EINVAL);
        assert_eq!(errno(&with(u32::MAX)), EINVAL);
        assert_eq!(errno(&format!("{}{}", vectors(4), with(4))), 0);
        // 2 GiB.
        let body = "(call $vector (i32.const 16384) (i32.const 0) (i32.const 0x7fffffff))
                    (call $vector (i32.const 16392) (i32.const 0) (i32.const 1))";
        assert_eq!(errno(&format!("{body}{}", with(2))), EINVAL);
    }
}

#[test]
fn bytes_moved_by_imports_cost_gas() {
    let write = format!("{}(call $fd_write (i32.const 1) (i32.const 16384) (i32.const 8) (i32.const 256))", vectors(8));
    let copy = "(call $copy (i32.const 65536) (i32.const 65600) (i32.const 1048576)) (i32.const 0)";
    for (body, bytes) in [(write.as_str(), 8 << 20), (copy, 1 << 20)] {
        assert_eq!(number(body, bytes), Outcome::Thrown("out of gas!".into()));
        assert!(matches!(number(body, bytes + 10_000), Outcome::Ok(_)));
    }
}

#[test]
fn endless_paths_are_too_long() {
    let fill = "(memory.fill (i32.const 65536) (i32.const 120) (i32.const 1048576))";
    let body = format!(
        "{fill}(i32.sub (i32.const 0) (call $access (i32.const -100) (i32.const 65536) (i32.const 0) (i32.const 0)))"
    );
    assert_eq!(errno(&body), ENAMETOOLONG);
}

/// Counts how often it is asked, and what the evaluation held.
#[derive(Default)]
struct Counting {
    asked: Cell<u32>,
    most_bytes: Cell<u64>,
}

impl Pacer for Counting {
    fn pace(&self, progress: &Progress) -> Result<Duration, Stopped> {
        self.asked.set(self.asked.get() + 1);
        self.most_bytes.set(self.most_bytes.get().max(progress.memory_bytes));
        Ok(Duration::ZERO)
    }

    fn leave(&self, _: &Progress) {}

    fn stopped(&self) -> Option<Stopped> {
        None
    }
}

#[test]
fn others_have_their_turn_while_very_much_randomness_is_made() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1000)
        (data (i32.const 64) "{\"ok\":true,\"response\":{\"Output\":7}}\00")
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "handle") (param i32 i32) (result i32)
          (drop (call $random (i32.const 65536) (i32.const 60000000)))
          (i32.const 64)))"#;
    let module = ENGINE.compile(&wat::parse_str(text).unwrap(), Format::Wasi32).unwrap();
    on_evaluation_thread(move || {
        let pacer = Rc::new(Counting::default());
        set_pacer(Some(pacer.clone()));
        let mut machine = super::machine(&module);
        assert!(matches!(machine.apply(&call("{}", "{}")).unwrap().outcome, Outcome::Ok(_)));
        // Once for each megabyte, however fast the computer is.
        assert!(pacer.asked.get() >= 57, "{}", pacer.asked.get());
    });
}

#[test]
fn files_count_as_memory_of_the_evaluation() {
    let text = r#"(module
        (import "env" "__syscall_openat" (func $open (param i32 i32 i32 i32) (result i32)))
        (import "env" "__syscall_ftruncate64" (func $truncate (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 60)
        (data (i32.const 64) "{\"ok\":true,\"response\":{\"Output\":7}}\00")
        (data (i32.const 128) "/tmp/a\00")
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "handle") (param i32 i32) (result i32)
          (if (call $truncate (call $open (i32.const -100) (i32.const 128) (i32.const 66) (i32.const 0)) (i32.const 9000000) (i32.const 0))
            (then (unreachable)))
          (drop (call $random (i32.const 65536) (i32.const 3000000)))
          (i32.const 64)))"#;
    let module = ENGINE.compile(&wat::parse_str(text).unwrap(), Format::Wasi32).unwrap();
    on_evaluation_thread(move || {
        let pacer = Rc::new(Counting::default());
        set_pacer(Some(pacer.clone()));
        let outcome = super::machine(&module).apply(&call("{}", "{}")).unwrap().outcome;
        assert!(matches!(outcome, Outcome::Ok(_)), "{outcome:?}");
        assert_eq!(pacer.most_bytes.get(), 60 * 65_536 + 9_000_000);
    });
}
