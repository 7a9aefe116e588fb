//! Same log, same results, same state roots: however often memory is committed, wherever a machine rests or is restored, whatever
//! runs beside it, and on whichever thread.

use std::sync::Arc;

use holon_cu::machine::{CommitPolicy, Evaluation, Limits, Machine, Module, NoDrive, Outcome, PAGE_BYTES, StateRoot};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;

use super::{call, conformance::compiled, native, on_evaluation_thread, published};

const PAGE: usize = 65_536;
const LIMITS: Limits = Limits { memory_bytes: 8 * PAGE as u64, compute: 3_000_000 };
const HISTORY: [u8; 32] = [7; 32];

/// A message is a letter, then an address and a value in hexadecimal (8 and 2 digits). The guest counts it, writes the value to 300
/// bytes at the address, and then, by the letter:
///
/// `w` answers; `g` grows memory, and remembers it if that fails; `n` writes what 0/0 gives; `i` uses the table and a global;
/// `e` reports an error, `t` traps, `s` never ends, `r` calls itself for ever, `o` answers from outside memory, `j` with what is
/// no JSON, `d` refuses, `x` with an exhausted buffer: all of these must leave no trace.
///
/// The output is a checksum of all of memory, the global, and the length of memory.
const GUEST: &str = r#"
(module
  (memory (export "memory") 3)
  (type $number (func (result i32)))
  (func $seven (type $number) (i32.const 7))
  (table 1 funcref)
  (elem (i32.const 0) $seven)
  (global $used (mut i32) (i32.const 5))
  (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":\"                \"}}")
  (data (i32.const 200) "{\"ok\":true,\"response\":{\"Error\":\"no\"}}")
  (data (i32.const 300) "{\"ok\":false,\"response\":\"refused\"}")
  (data (i32.const 400) "{\"ok\":true,\"response\":{\"Output\":\"x: not enough memory for buffer allocation\"}}")
  (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
  (func $hex (param $at i32) (param $digits i32) (result i32) (local $value i32) (local $c i32)
    (loop $next
      (local.set $c (i32.load8_u (local.get $at)))
      (local.set $value (i32.or (i32.shl (local.get $value) (i32.const 4))
        (select (i32.sub (local.get $c) (i32.const 48)) (i32.sub (local.get $c) (i32.const 87))
                (i32.lt_u (local.get $c) (i32.const 58)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (local.tee $digits (i32.sub (local.get $digits) (i32.const 1)))))
    (local.get $value))
  (func $checksum (result i64) (local $at i32) (local $sum i64) (local $end i32)
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (loop $next
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (i64.add (local.get $sum) (i64.extend_i32_u (i32.add (global.get $used) (memory.size)))))
  (func $print (param $value i64) (local $at i32) (local $digit i32)
    (local.set $at (i32.const 148))
    (loop $next
      (local.set $digit (i32.and (i32.wrap_i64 (local.get $value)) (i32.const 15)))
      (i32.store8 (local.get $at) (i32.add (i32.const 97) (local.get $digit)))
      (local.set $value (i64.shr_u (local.get $value) (i64.const 4)))
      (br_if $next (i32.gt_u (local.tee $at (i32.sub (local.get $at) (i32.const 1))) (i32.const 132)))))
  (func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
  (func $is (param i32) (result i32) (i32.eq (i32.load8_u (i32.const 1024)) (local.get 0)))
  (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) (local $at i32)
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (global.set $used (i32.add (global.get $used) (i32.const 1)))
    (local.set $at (call $hex (i32.const 1025) (i32.const 8)))
    (memory.fill (local.get $at) (call $hex (i32.const 1033) (i32.const 2)) (i32.const 300))
    (if (call $is (i32.const 103)) (then
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1))
        (then (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))))))
    (if (call $is (i32.const 110)) (then
      (f64.store (local.get $at) (f64.div (f64.convert_i32_s (i32.load (i32.const 0))) (f64.convert_i32_s (i32.load (i32.const 0)))))
      (f32.store offset=8 (local.get $at) (f32.sqrt (f32.neg (f32.const 2))))))
    (if (call $is (i32.const 105)) (then
      (i32.store (local.get $at) (i32.add (global.get $used) (call_indirect (type $number) (i32.const 0))))))
    (if (call $is (i32.const 101)) (then (return (i64.const 0xc800000025))))
    (if (call $is (i32.const 116)) (then unreachable))
    (if (call $is (i32.const 115)) (then (loop $spin (br $spin))))
    (if (call $is (i32.const 114)) (then (drop (call $deep (i32.const 0)))))
    (if (call $is (i32.const 111)) (then (return (i64.const 0xfffffff000000020))))
    (if (call $is (i32.const 106)) (then (return (i64.const 0x00006600000010))))
    (if (call $is (i32.const 100)) (then (return (i64.const 0x12c00000021))))
    (if (call $is (i32.const 120)) (then (return (i64.const 0x1900000004e))))
    (call $print (call $checksum))
    (i64.const 0x6400000034)))
"#;

/// The same guest with an instruction that gives every message a fresh instance.
fn guest(one_message: bool) -> Module {
    let dropping = "(func $never (elem.drop 1)) (elem func $seven) (type $number";
    native(&if one_message { GUEST.replacen("(type $number", dropping, 1) } else { GUEST.to_owned() })
}

/// Something that happens between two messages, and must not be visible.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Fork,
    DryRun,
    Rest,
    Restore,
    RestorePages,
    OtherThread,
}

fn letter() -> impl Strategy<Value = char> {
    prop_oneof![
        10 => Just('w'), 2 => Just('g'), 2 => Just('n'), 2 => Just('i'), 2 => Just('e'), 2 => Just('t'), 1 => Just('s'),
        1 => Just('r'), 1 => Just('o'), 1 => Just('j'), 1 => Just('d'), 1 => Just('x')
    ]
}

fn message() -> impl Strategy<Value = String> {
    (letter(), 4096..3 * PAGE as u32 - 400, any::<u8>())
        .prop_map(|(letter, at, value)| format!("{letter}{at:08x}{value:02x}"))
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        6 => Just(Between::Nothing), 1 => Just(Between::Fork), 1 => Just(Between::DryRun), 1 => Just(Between::Rest),
        1 => Just(Between::Restore), 1 => Just(Between::RestorePages), 1 => Just(Between::OtherThread)
    ]
}

fn policy() -> impl Strategy<Value = CommitPolicy> {
    prop_oneof![Just(CommitPolicy::EAGER), Just(CommitPolicy::default()), (1..12_usize).prop_map(every)]
}

fn every(after_messages: usize) -> CommitPolicy {
    CommitPolicy { after_messages, ..CommitPolicy::LAZY }
}

fn fresh(module: &Module, policy: CommitPolicy) -> Machine {
    let mut machine = Machine::new(module, LIMITS, Arc::new(NoDrive)).unwrap();
    machine.set_commit_policy(policy);
    machine
}

fn root(machine: &mut Machine) -> StateRoot {
    machine.fork().unwrap().state_root(&HISTORY).unwrap()
}

fn restored(machine: &mut Machine, module: &Module) -> Machine {
    let fork = machine.fork().unwrap();
    let changed = fork.tree().unwrap().changed_since(&module.initial_tree().unwrap());
    let pages = changed.into_iter().map(|(index, _)| {
        let mut page = Box::new([0; PAGE_BYTES]);
        fork.read_page(index, &mut page).map(|()| (index, page))
    });
    Machine::restore_pages(module, LIMITS, Arc::new(NoDrive), fork.memory_bytes(), pages).unwrap()
}

/// Applies a log with something in between, and checks every result.
fn replay(
    module: &Module,
    policy: CommitPolicy,
    log: &[String],
    between: &[Between],
    expected: &[Evaluation],
) -> Machine {
    let mut machine = fresh(module, policy);
    for (index, (message, expected)) in log.iter().zip(expected).enumerate() {
        match between.get(index).copied().unwrap_or(Between::Nothing) {
            Between::Nothing => {}
            Between::Fork => drop(machine.fork().unwrap()),
            Between::DryRun => drop(machine.fork().unwrap().apply(&call("g0000800001", "")).unwrap()),
            Between::Rest => machine.rest().unwrap(),
            Between::Restore => {
                machine = Machine::restore(module, LIMITS, Arc::new(NoDrive), &machine.copy_memory()).unwrap();
                machine.set_commit_policy(policy);
            }
            Between::RestorePages => {
                machine = restored(&mut machine, module);
                machine.set_commit_policy(policy);
            }
            Between::OtherThread => {
                let (message, mut moved) = (message.clone(), machine);
                let (moved, found) = on_evaluation_thread(move || {
                    let found = moved.apply(&call(&message, "")).unwrap();
                    (moved, found)
                });
                assert_eq!(&found, expected, "message {index} on another thread");
                machine = moved;
                continue;
            }
        }
        assert_eq!(&machine.apply(&call(message, "")).unwrap(), expected, "message {index}");
    }
    machine
}

/// The results and the roots after each message, committed each time.
fn cold(module: &Module, log: &[String]) -> (Vec<Evaluation>, Vec<StateRoot>) {
    let mut machine = fresh(module, CommitPolicy::EAGER);
    log.iter().map(|message| (machine.apply(&call(message, "")).unwrap(), root(&mut machine))).unzip()
}

#[test]
fn commits_rests_restores_forks_and_threads_change_no_result_and_no_root() {
    on_evaluation_thread(|| {
        let modules = [guest(false), guest(true)];
        let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
        let log = prop::collection::vec((message(), between()), 1..40);
        TestRunner::new(config)
            .run(&(log, policy(), any::<bool>(), any::<prop::sample::Index>()), |(steps, policy, one_message, at)| {
                let module = &modules[usize::from(one_message)];
                let (log, between): (Vec<String>, Vec<Between>) = steps.into_iter().unzip();
                let (expected, roots) = cold(module, &log);
                // Warm, undisturbed.
                let mut warm = replay(module, policy, &log, &[], &expected);
                prop_assert_eq!(root(&mut warm), *roots.last().unwrap());
                // Disturbed between messages.
                let mut disturbed = replay(module, policy, &log, &between, &expected);
                prop_assert_eq!(root(&mut disturbed), *roots.last().unwrap());
                // Cut at any message, and gone on with from there by somebody who has the pages only.
                let cut = at.index(log.len());
                let mut first = replay(module, policy, &log[..cut], &[], &expected);
                let mut second = restored(&mut first, module);
                for (index, message) in log.iter().enumerate().skip(cut) {
                    prop_assert_eq!(&second.apply(&call(message, "")).unwrap(), &expected[index]);
                    prop_assert_eq!(root(&mut second), roots[index]);
                }
                Ok(())
            })
            .unwrap();
    });
}

/// A log with every kind of message, the same each time; but none that exhausts the stack, whose size in frames is the
/// processor's.
fn fixed_log() -> Vec<String> {
    let mut state = 0x9e37_79b9_u32;
    (0..400)
        .map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let letter = b"wwwgnietwsiojdxw"[index % 16] as char;
            let at = 4096 + (state >> 8) % (3 * PAGE as u32 - 4500);
            format!("{letter}{at:08x}{:02x}", state & 0xff)
        })
        .collect()
}

/// Results and root of [`fixed_log`]. They change with the evaluator only: a new version of the engine that changes them is
/// another evaluator, and what it says cannot be compared with what the old one said.
const GOLDEN: [&str; 2] =
    ["O6sbYsCCiJE94KEQAjve8HD7B9UaKTKuGEcT48D0J9E", "x9asEKESlC827AbwYHYNf0T3z7XV-qLmuk4AynYGbDg"];

fn digest(evaluations: &[Evaluation]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for evaluation in evaluations {
        hash.update(format!("{:?}\n", (evaluation.gas_used, &evaluation.returned, &evaluation.outcome)));
    }
    holon_protocol::base64url::encode(hash.finalize())
}

#[test]
fn a_fixed_log_gives_the_recorded_results_and_root_on_every_thread() {
    let module = guest(false);
    let log = Arc::new(fixed_log());
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (module, log) = (module.clone(), Arc::clone(&log));
            let work = move || {
                let mut machine = fresh(&module, every(1 + number * 7));
                let found: Vec<_> = log.iter().map(|message| machine.apply(&call(message, "")).unwrap()).collect();
                (digest(&found), root(&mut machine).to_string(), found)
            };
            std::thread::spawn(move || on_evaluation_thread(work))
        })
        .collect();
    for thread in threads {
        let (results, root, found) = thread.join().unwrap();
        let count = |want: fn(&Outcome) -> bool| found.iter().filter(|found| want(&found.outcome)).count();
        assert_eq!(count(|outcome| matches!(outcome, Outcome::Ok(_))), 250);
        assert_eq!(count(|outcome| matches!(outcome, Outcome::Error(_))), 25);
        let gas = Outcome::Thrown("out of gas!".into());
        assert_eq!(found.iter().filter(|found| found.outcome == gas).count(), 25);
        assert_eq!([results.as_str(), root.as_str()], GOLDEN);
    }
}

#[test]
fn an_official_module_gives_the_same_roots_however_it_is_run() {
    on_evaluation_thread(|| {
        let vector = published::vector("aos2_0_6");
        let environment = vector["envJson"].as_str().unwrap();
        let module = compiled(&vector);
        let limits = super::LIMITS;
        let steps = vector["steps"].as_array().unwrap();
        let text = |step: &Value| step["messageJson"].as_str().unwrap().to_owned();
        let boot = text(&steps[0]);
        let config = ProptestConfig { cases: 3, failure_persistence: None, ..ProptestConfig::default() };
        let log = prop::collection::vec((1..steps.len(), 0..5_u8), 4..16);
        TestRunner::new(config)
            .run(&(log, 1..6_usize), |(log, group)| {
                let run = |policy, disturb: bool| {
                    let mut machine = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap();
                    machine.set_commit_policy(policy);
                    let mut found = vec![machine.apply(&call(&boot, environment)).unwrap()];
                    for (step, disturbance) in &log {
                        match (disturb, disturbance) {
                            (true, 0) => machine.rest().unwrap(),
                            (true, 1) => {
                                machine = Machine::restore(&module, limits, Arc::new(NoDrive), &machine.copy_memory())
                                    .unwrap();
                            }
                            (true, 2) => {
                                let fork = machine.fork().unwrap();
                                fork.apply(&call(&text(&steps[*step]), environment)).unwrap();
                            }
                            _ => {}
                        }
                        found.push(machine.apply(&call(&text(&steps[*step]), environment)).unwrap());
                    }
                    (found, machine.fork().unwrap().state_root(&HISTORY).unwrap())
                };
                let (expected, root) = run(CommitPolicy::EAGER, false);
                for (policy, disturb) in
                    [(every(group), false), (CommitPolicy::LAZY, false), (CommitPolicy::default(), true)]
                {
                    let (found, other) = run(policy, disturb);
                    prop_assert!(found == expected, "results differ");
                    prop_assert_eq!(other, root);
                }
                Ok(())
            })
            .unwrap();
    });
}
