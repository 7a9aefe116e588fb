//! The memory engine against the naive one that copies everything, under random good, failing and trapping messages, growth,
//! forks and restarts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ScopedJoinHandle},
};

use holon_cu::machine::{
    CommitPolicy, EVALUATION_STACK_BYTES, Fork, Limits, Machine, MachineError, NoDrive, Outcome, PAGE_BYTES, PageHash,
};
use proptest::{prelude::*, test_runner::TestRunner};

use super::{LIMITS, call, machine, native, on_evaluation_thread};

const PAGE: usize = 65_536;
const MAX_PAGES: usize = 24;
const TEXT_AT: usize = 1024;

/// A message is a letter, then address, length and value in hexadecimal (8, 8 and 2 digits). The guest grows by a page if the letter is
/// `g`, `h` or `i`, fills the range with the value, and then answers (`w`, `g`), reports an error (`e`, `h`) or traps (`t`, `i`). With
/// `s` it adds up all of memory, as often as the length says, and traps if that gives different sums.
const GUEST: &str = r#"
(module
  (memory (export "memory") 3 24)
  (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":0}}")
  (data (i32.const 200) "{\"ok\":true,\"response\":{\"Error\":\"no\"}}")
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
  (func $sum (result i64) (local $at i32) (local $sum i64)
    (local.set $at (i32.const 4096))
    (loop $next
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.load (local.get $at))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 64)))
                             (i32.shl (memory.size) (i32.const 16)))))
    (local.get $sum))
  (func $watch (param $times i32) (local $sum i64)
    (local.set $sum (call $sum))
    (loop $next
      (if (i64.ne (local.get $sum) (call $sum)) (then unreachable))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
  (func $is (param $letter i32) (param $a i32) (param $b i32) (result i32)
    (i32.or (i32.eq (local.get $letter) (local.get $a)) (i32.eq (local.get $letter) (local.get $b))))
  (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) (local $letter i32)
    (local.set $letter (i32.load8_u (i32.const 1024)))
    (if (i32.eq (local.get $letter) (i32.const 115))
      (then (call $watch (call $hex (i32.const 1033) (i32.const 8))) (return (i64.const 0x6400000023))))
    (if (i32.and (i32.ge_u (local.get $letter) (i32.const 103)) (i32.le_u (local.get $letter) (i32.const 105)))
      (then (drop (memory.grow (i32.const 1)))))
    (memory.fill (call $hex (i32.const 1025) (i32.const 8)) (call $hex (i32.const 1041) (i32.const 2))
                 (call $hex (i32.const 1033) (i32.const 8)))
    (if (call $is (local.get $letter) (i32.const 101) (i32.const 104)) (then (return (i64.const 0xc800000025))))
    (if (call $is (local.get $letter) (i32.const 116) (i32.const 105)) (then unreachable))
    (i64.const 0x6400000023)))
"#;

#[derive(Debug, Clone)]
enum Step {
    /// A letter, and where in memory to write what (as fractions of its length).
    Message { letter: char, at: f64, len: usize, value: u8 },
    /// The same on a fork.
    DryRun { letter: char, at: f64, len: usize, value: u8 },
    /// Keep a fork for the rest of the run.
    Fork,
    /// Start again from a copy of memory.
    Restart,
    /// Start again from the pages that the module does not begin with.
    RestartFromPages,
    /// Let go of the instance.
    Rest,
    /// Compute the root.
    Root,
    /// Many small messages, so that the machine commits on its own account.
    Burst { letter: char, count: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let letter = prop_oneof![
        8 => Just('w'), 3 => Just('e'), 2 => Just('t'), 1 => Just('g'), 1 => Just('h'), 1 => Just('i')
    ];
    let place = (letter, 0.0..1.0_f64, prop_oneof![1..64_usize, 1..3 * PAGE], any::<u8>());
    let message = |(letter, at, len, value)| Step::Message { letter, at, len, value };
    let dry_run = |(letter, at, len, value)| Step::DryRun { letter, at, len, value };
    prop_oneof![
        12 => place.clone().prop_map(message),
        3 => place.prop_map(dry_run),
        2 => Just(Step::Fork),
        1 => Just(Step::Restart),
        1 => Just(Step::RestartFromPages),
        1 => Just(Step::Rest),
        2 => Just(Step::Root),
        1 => (prop_oneof![Just('w'), Just('e')], 1..300_usize).prop_map(|(letter, count)| Step::Burst { letter, count }),
    ]
}

/// What the guest does, on a plain vector; the text for it too.
fn apply(memory: &mut Vec<u8>, letter: char, at: f64, len: usize, value: u8) -> String {
    let before = memory.len();
    let grown = if matches!(letter, 'g' | 'h' | 'i') && before < MAX_PAGES * PAGE { before + PAGE } else { before };
    // Data of the module itself stays below.
    let low = 4096;
    let start = low + ((grown - low) as f64 * at) as usize;
    let len = len.min(grown - start);
    let text = format!("{letter}{start:08x}{len:08x}{value:02x}");
    memory.resize(grown, 0);
    memory[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text.as_bytes());
    memory[start..start + len].fill(value);
    text
}

fn agrees(letter: char, outcome: &Outcome) -> bool {
    match letter {
        'w' | 'g' => matches!(outcome, Outcome::Ok(_)),
        'e' | 'h' => matches!(outcome, Outcome::Error(_)),
        _ => matches!(outcome, Outcome::Thrown(_)),
    }
}

/// The page tree's root as `docs/src/state-root.md` defines it, over all of memory.
fn naive_root(memory: &[u8]) -> [u8; 32] {
    let key: [u8; 32] = blake3::hash(b"holon page tree v1").into();
    let mut level: Vec<[u8; 32]> = memory.chunks(PAGE_BYTES).map(|page| blake3::hash(page).into()).collect();
    level.resize(level.len().max(1).next_power_of_two(), blake3::hash(&[0; PAGE_BYTES]).into());
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| blake3::keyed_hash(&key, &pair.concat()).into()).collect();
    }
    level[0]
}

fn assert_root(fork: &Fork, memory: &[u8]) {
    let tree = fork.tree().unwrap();
    assert_eq!(tree.memory_bytes() as usize, memory.len());
    assert_eq!(tree.root(), naive_root(memory));
    let nonzero: Vec<u32> = tree.nonzero().map(|(index, _)| index).collect();
    let expected: Vec<u32> = (0..)
        .zip(memory.chunks(PAGE_BYTES))
        .filter(|(_, page)| page.iter().any(|byte| *byte != 0))
        .map(|(index, _)| index)
        .collect();
    assert_eq!(nonzero, expected);
}

fn run(steps: &[Step]) {
    let module = native(GUEST);
    let mut machine = machine(&module);
    let mut model = machine.copy_memory();
    let mut forks: Vec<(Fork, Vec<u8>)> = Vec::new();
    let message = |machine: &mut Machine, model: &mut Vec<u8>, letter, at, len, value| {
        let mut after = model.clone();
        let text = apply(&mut after, letter, at, len, value);
        let outcome = machine.apply(&call(&text, "")).unwrap().outcome;
        assert!(agrees(letter, &outcome), "{letter}: {outcome:?}");
        if matches!(letter, 'w' | 'g') {
            *model = after;
        }
    };
    for step in steps {
        match *step {
            Step::Message { letter, at, len, value } => message(&mut machine, &mut model, letter, at, len, value),
            Step::Burst { letter, count } => {
                for index in 0..count {
                    let at = (index as f64 * 0.37).fract();
                    message(&mut machine, &mut model, letter, at, 40, index as u8);
                }
            }
            Step::DryRun { letter, at, len, value } => {
                let text = apply(&mut model.clone(), letter, at, len, value);
                let fork = machine.fork().unwrap();
                for _ in 0..2 {
                    assert!(agrees(letter, &fork.apply(&call(&text, "")).unwrap().outcome));
                }
            }
            Step::Fork => {
                forks.push((machine.fork().unwrap(), model.clone()));
                if forks.len() > 4 {
                    forks.remove(0);
                }
            }
            Step::Restart => machine = Machine::restore(&module, LIMITS, Arc::new(NoDrive), &model).unwrap(),
            Step::RestartFromPages => {
                let fork = machine.fork().unwrap();
                let own = fork.tree().unwrap().changed_since(&module.initial_tree().unwrap());
                let pages = own.into_iter().map(|(index, hash)| {
                    let mut page = Box::new([0; PAGE_BYTES]);
                    fork.read_page(index, &mut page)?;
                    assert_eq!(PageHash::of(&page), hash);
                    Ok((index, page))
                });
                let memory_bytes = fork.memory_bytes();
                machine = Machine::restore_pages(&module, LIMITS, Arc::new(NoDrive), memory_bytes, pages).unwrap();
            }
            Step::Rest => machine.rest().unwrap(),
            Step::Root => assert_root(&machine.fork().unwrap(), &model),
        }
        assert!(machine.copy_memory() == model, "memory differs after {step:?}");
        assert_eq!(machine.memory_bytes() as usize, model.len());
        for (fork, memory) in &forks {
            assert!(fork.copy_memory().unwrap() == *memory, "a fork changed after {step:?}");
            assert!(fork.memory_bytes() as usize == memory.len());
        }
    }
    assert_root(&machine.fork().unwrap(), &model);
    for (fork, memory) in &forks {
        assert_root(fork, memory);
    }
    // A fork still runs on its own moment when everything else is gone.
    drop(machine);
    for (fork, _) in &forks {
        assert!(agrees('w', &fork.apply(&call("w00001000000000100ff", "")).unwrap().outcome));
    }
}

#[test]
fn memory_equals_that_of_an_engine_that_copies() {
    on_evaluation_thread(|| {
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() });
        runner
            .run(&proptest::collection::vec(step(), 1..40), |steps| {
                run(&steps);
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn a_memory_that_cannot_be_the_modules_is_refused() {
    let module = native(GUEST);
    let limits = Limits { memory_bytes: (8 * PAGE) as u64, ..LIMITS };
    for bytes in [0, 2 * PAGE, 3 * PAGE + 1, 3 * PAGE + PAGE_BYTES] {
        let restored = Machine::restore(&module, limits, Arc::new(NoDrive), &vec![1; bytes]);
        assert!(matches!(restored, Err(MachineError::SetUp(_))), "{bytes}");
        let restored = Machine::restore_pages(&module, limits, Arc::new(NoDrive), bytes as u64, std::iter::empty());
        assert!(matches!(restored, Err(MachineError::SetUp(_))), "{bytes}");
    }
    for bytes in [(9 * PAGE) as u64, 1 << 40, !0xffff] {
        let restored = Machine::restore_pages(&module, limits, Arc::new(NoDrive), bytes, std::iter::empty());
        assert!(matches!(restored, Err(MachineError::Memory { .. })), "{bytes}");
    }
    let restored = Machine::restore(&module, limits, Arc::new(NoDrive), &vec![1; 9 * PAGE]);
    assert!(matches!(restored, Err(MachineError::Memory { .. })));
    let beyond = |index| std::iter::once(Ok((index, Box::new([1; PAGE_BYTES]))));
    for index in [3 * 16, u32::MAX] {
        let restored = Machine::restore_pages(&module, limits, Arc::new(NoDrive), (3 * PAGE) as u64, beyond(index));
        assert!(matches!(restored, Err(MachineError::SetUp(_))), "{index}");
    }
    let broken = std::iter::once(Err(std::io::Error::other("the disk is gone")));
    let restored = Machine::restore_pages(&module, limits, Arc::new(NoDrive), (3 * PAGE) as u64, broken);
    assert!(matches!(restored, Err(MachineError::System(_))));
}

/// What is committed meanwhile must not show through in pages of a running dry run that it has not written itself.
#[test]
fn a_dry_run_sees_one_moment_however_much_is_committed_while_it_runs() {
    on_evaluation_thread(|| {
        let module = native(GUEST);
        let mut machine = machine(&module);
        machine.set_commit_policy(CommitPolicy::EAGER);
        for _ in 3..MAX_PAGES {
            machine.apply(&call("g00002000000000100ff", "")).unwrap();
        }
        let running = AtomicUsize::new(0);
        thread::scope(|scope| {
            let mut runs = Vec::new();
            let mut written = 0_usize;
            for round in 0..8_usize {
                let fork = machine.fork().unwrap();
                let before = fork.copy_memory().unwrap();
                let started = running.load(Ordering::Acquire);
                let running = &running;
                let look = move || {
                    running.fetch_add(1, Ordering::AcqRel);
                    let outcome = fork.apply(&call("s000000000000020000", "")).unwrap().outcome;
                    running.fetch_add(1, Ordering::AcqRel);
                    assert!(matches!(outcome, Outcome::Ok(_)), "round {round}: {outcome:?}");
                    assert!(fork.copy_memory().unwrap() == before, "round {round}");
                };
                let builder = thread::Builder::new().stack_size(EVALUATION_STACK_BYTES);
                runs.push(builder.spawn_scoped(scope, look).unwrap());
                while running.load(Ordering::Acquire) == started {
                    thread::yield_now();
                }
                // Until it ends, and some more.
                let mut more = 20;
                while more > 0 {
                    let at = 8192 + written * 7919 % (MAX_PAGES * PAGE - 16384);
                    let text = format!("w{at:08x}00000800{:02x}", written % 251);
                    machine.apply(&call(&text, "")).unwrap();
                    written += 1;
                    if runs.iter().all(ScopedJoinHandle::is_finished) || runs.len() < 3 {
                        more -= 1;
                    }
                }
            }
            assert!(written > 160);
            runs.into_iter().for_each(|run| run.join().unwrap());
        });
    });
}
