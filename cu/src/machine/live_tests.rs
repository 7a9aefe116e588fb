//! Tests of machines in trouble and at rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use std::sync::atomic::{AtomicU8, Ordering};

use holon_protocol::Tags;

use super::*;
use crate::machine::memory::fault::{self, Ask};
use crate::machine::{DriveContext, DriveFile, Engine, EngineOptions, Evaluation, Format, NoDrive, Outcome, Waiting};

static NO_TAGS: Tags = Tags(Vec::new());
const CALL: Call<'static> =
    Call { message: "{}", environment: "{}", block_height: 0, process_tags: &NO_TAGS, module_tags: &NO_TAGS };

/// Counts messages in a byte of memory and answers with the digit.
fn counting() -> Module {
    let text = r#"(module (memory (export "memory") 1)
        (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":0}}")
        (func (export "holon_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
          (i32.store8 (i32.const 132) (i32.add (i32.load8_u (i32.const 132)) (i32.const 1)))
          (i64.const 0x6400000023)))"#;
    let engine = Engine::new(EngineOptions::default()).unwrap();
    engine.compile(&wat::parse_str(text).unwrap(), Format::Native).unwrap()
}

fn counter() -> Machine {
    machine(&counting())
}

fn machine(module: &Module) -> Machine {
    Machine::new(module, Limits { memory_bytes: 1 << 20, compute: 1 << 20 }, Arc::new(NoDrive)).unwrap()
}

fn apply(apply: impl FnOnce(&Call<'_>) -> Result<Evaluation, HostFailure>) -> Result<u64, HostFailure> {
    match apply(&CALL)?.outcome {
        Outcome::Ok(response) => Ok(response.output.unwrap().as_u64().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn count(machine: &mut Machine) -> Result<u64, HostFailure> {
    apply(|call| machine.apply(call))
}

fn dry_run(fork: &Fork) -> Result<u64, HostFailure> {
    apply(|call| fork.apply(call))
}

#[test]
fn a_machine_that_lost_its_memory_says_so_until_it_is_dropped() {
    let mut machine = counter();
    assert_eq!(count(&mut machine).unwrap(), 1);
    machine.condition = Condition::Lost;
    for _ in 0..2 {
        let failure = count(&mut machine).unwrap_err();
        assert!(matches!(failure, HostFailure::Lost) && failure.lost() && !failure.retryable());
        assert!(matches!(machine.fork(), Err(MachineError::Host(HostFailure::Lost))));
        assert!(machine.is_lost());
    }
}

#[test]
fn messages_that_replay_differently_lose_the_memory() {
    let mut machine = counter();
    assert_eq!(count(&mut machine).unwrap(), 1);
    machine.since[0].fingerprint ^= 1;
    machine.condition = Condition::Stale;
    assert!(matches!(count(&mut machine), Err(HostFailure::Diverged { index: 0 })));
    assert!(machine.is_lost());
    assert!(matches!(count(&mut machine), Err(HostFailure::Lost)));
}

#[test]
fn what_could_not_be_committed_is_committed_before_the_next_message() {
    let mut machine = counter();
    assert_eq!(count(&mut machine).unwrap(), 1);
    machine.condition = Condition::Uncommitted;
    assert_eq!(machine.copy_memory()[132], b'1');
    assert_eq!(count(&mut machine).unwrap(), 2);
    assert!(machine.condition == Condition::Ready && machine.since.len() == 1);
    machine.condition = Condition::Uncommitted;
    assert_eq!(machine.fork().unwrap().copy_memory().unwrap()[132], b'2');
}

/// Gives every reader another byte.
struct Fickle(AtomicU8);

impl Drive for Fickle {
    fn open(
        &self,
        _: &str,
        _: &DriveContext<'_>,
        _: &mut Waiting<'_>,
    ) -> Result<Option<Arc<dyn DriveFile>>, HostFailure> {
        Ok(Some(Arc::new(vec![self.0.fetch_add(1, Ordering::Relaxed)])))
    }
}

#[test]
fn a_message_that_used_the_drive_is_committed_before_another_one_and_never_replayed() {
    // It answers with the digit that it reads; a message with a long environment fails.
    let text = r#"(module
        (import "env" "__asyncjs__weavedrive_open" (func $open (param i32 i32) (result i32)))
        (import "env" "__asyncjs__weavedrive_read" (func $read (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 2048) "{\"ok\":true,\"response\":{\"Output\":0}}\00/block/5\00")
        (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
        (func (export "emscripten_stack_get_end") (result i32) (i32.const 1024))
        (func (export "emscripten_stack_get_current") (result i32) (i32.const 8192))
        (func (export "_emscripten_stack_restore") (param i32))
        (func (export "_emscripten_stack_alloc") (param i32) (result i32) (i32.const 4096))
        (func (export "setThrew") (param i32 i32))
        (func (export "handle") (param i32 i32) (result i32)
          (if (i32.load8_u (i32.const 4098)) (then (unreachable)))
          (drop (call $read (call $open (i32.const 2084) (i32.const 0)) (i32.const 2080) (i32.const 1)))
          (i32.const 2048)))"#;
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let module = engine.compile(&wat::parse_str(text).unwrap(), Format::Emscripten4).unwrap();
    let limits = Limits { memory_bytes: 1 << 20, compute: 1 << 30 };
    let mut machine = Machine::new(&module, limits, Arc::new(Fickle(b'1'.into()))).unwrap();
    assert_eq!(count(&mut machine).unwrap(), 1);
    for ask in [Ask::File, Ask::Write, Ask::Space, Ask::Map, Ask::Discard, Ask::Keep] {
        let before = count(&mut machine).unwrap();
        fault::refuse(ask, 0);
        // The memory is shared, so that a commit that fails leaves it whole.
        let image = Arc::clone(&machine.image);
        let answer = count(&mut machine);
        let refused = fault::grant();
        drop(image);
        if refused == 0 || answer.is_err() {
            continue;
        }
        assert_eq!((answer.unwrap(), machine.since.len()), (before + 1, 1), "{ask:?}");
        // A message that fails is rolled back, to after the one that has a result.
        let failed = machine.apply(&Call { environment: "a longer text", ..CALL }).unwrap();
        assert!(!matches!(failed.outcome, Outcome::Ok(_)), "{failed:?}");
        assert_eq!(machine.copy_memory()[2080], b'0' + (before + 1) as u8, "{ask:?}");
        return;
    }
    panic!("no commit failed");
}

#[test]
fn a_commit_that_fails_loses_a_memory_only_if_nobody_shares_it() {
    let mut machine = counter();
    assert_eq!(count(&mut machine).unwrap(), 1);
    // The first commit copies the module's initial memory, which all its machines share.
    machine.seat.module.initial().unwrap().image.break_writes();
    machine.rest().unwrap();
    assert_eq!(count(&mut machine).unwrap(), 2);
    machine.image.break_writes();
    let fork = Arc::clone(&machine.image);
    assert_eq!(machine.fork().unwrap().copy_memory().unwrap()[132], b'2');
    drop(fork);
    assert_eq!(count(&mut machine).unwrap(), 3);
    machine.image.break_writes();
    assert!(matches!(machine.rest(), Err(HostFailure::Lost)));
    assert!(machine.is_lost());
}

#[test]
fn a_machine_that_rests_holds_what_it_wrote_and_goes_on_where_it_was() {
    let mut machine = counter();
    assert_eq!(machine.resident_bytes(), 0);
    for number in 1..4 {
        assert_eq!(count(&mut machine).unwrap(), number);
        assert!(machine.resident_bytes() >= INSTANCE_BYTES);
        machine.rest().unwrap();
        assert!(machine.live.is_none());
        assert_eq!(machine.resident_bytes(), PAGE_BYTES as u64);
    }
    // A dry run wants a file; resting again lets go of it.
    let fork = machine.fork().unwrap();
    let root = fork.state_root(&[0; 32]).unwrap();
    assert_eq!(dry_run(&fork).unwrap(), 4);
    drop(fork);
    assert!(machine.resident_bytes() > PAGE_BYTES as u64);
    machine.rest().unwrap();
    assert_eq!(machine.resident_bytes(), PAGE_BYTES as u64);
    assert_eq!(machine.fork().unwrap().state_root(&[0; 32]).unwrap(), root);
    assert_eq!(count(&mut machine).unwrap(), 4);
}

/// Every refusal of the operating system at every moment, with forks that look on: the machine goes on where it was, or says that it is
/// lost.
#[test]
fn whatever_the_operating_system_refuses_a_machine_counts_on_or_is_lost() {
    let module = counting();
    let mut lost = 0;
    for ask in [Ask::File, Ask::Write, Ask::Space, Ask::Map, Ask::Discard, Ask::Keep] {
        for (granted, forks) in (0..12).flat_map(|granted| [(granted, false), (granted, true)]) {
            let what = format!("{ask:?} after {granted}, forks: {forks}");
            let mut machine = machine(&module);
            machine.set_commit_policy(CommitPolicy::EAGER);
            let (mut counted, mut looking) = (0, Vec::new());
            fault::refuse(ask, granted);
            for round in 0..7 {
                if round == 5 {
                    fault::grant();
                }
                if forks && let Ok(fork) = machine.fork() {
                    if let Ok(answer) = dry_run(&fork) {
                        assert_eq!(answer, counted + 1, "{what} in round {round}");
                    }
                    looking.push((fork, counted));
                }
                if round % 3 == 2 {
                    // Whether it can rest does not matter.
                    let _ = machine.rest();
                }
                match count(&mut machine) {
                    Ok(answer) => {
                        counted += 1;
                        assert_eq!(answer, counted, "{what} in round {round}");
                    }
                    Err(_) if machine.is_lost() => break,
                    Err(failure) => assert!(round < 5, "{what} in round {round}: {failure}"),
                }
            }
            fault::grant();
            for (fork, seen) in &looking {
                assert_eq!(dry_run(fork).unwrap(), seen + 1, "{what}");
            }
            if machine.is_lost() {
                // Only an image that nobody else looks at can be torn.
                assert!(ask == Ask::Write, "{what}");
                lost += 1;
            } else {
                assert_eq!(count(&mut machine).unwrap(), counted + 1, "{what}");
            }
        }
    }
    assert!(lost > 0, "nothing was torn");
}

#[test]
fn a_memory_larger_than_the_module_allows_is_not_restored() {
    let pages = |bytes: u64| {
        let text = r#"(module (memory (export "memory") 1 3)
            (func (export "holon_alloc") (param i32) (result i32) i32.const 1024)
            (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) (i64.const 0)))"#;
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let module = engine.compile(&wat::parse_str(text).unwrap(), Format::Native).unwrap();
        let limits = Limits { memory_bytes: 1 << 20, compute: 1 << 20 };
        let restored = Machine::restore_pages(&module, limits, Arc::new(NoDrive), bytes, std::iter::empty());
        (restored.map(|machine| machine.memory_bytes()), Machine::check_memory(&module, limits, bytes))
    };
    const MODULE_BYTES: u64 = 3 << 16;
    assert!(matches!(pages(MODULE_BYTES), (Ok(MODULE_BYTES), Ok(()))));
    let (restored, checked) = pages(MODULE_BYTES + (1 << 16));
    assert!(matches!(restored, Err(MachineError::Memory { limit: MODULE_BYTES, .. })), "{restored:?}");
    assert!(matches!(checked, Err(MachineError::Memory { limit: MODULE_BYTES, .. })), "{checked:?}");
}

#[test]
fn an_instance_that_waits_for_the_next_dry_run_shows_no_image() {
    let mut machine = counter();
    machine.set_commit_policy(CommitPolicy::EAGER);
    assert_eq!(count(&mut machine).unwrap(), 1);
    for seen in 1..4 {
        let fork = machine.fork().unwrap();
        assert_eq!(dry_run(&fork).unwrap(), seen + 1);
        // With the page that it wrote, where the kernel says which those are.
        let idle = machine.seat.idle_bytes();
        assert!((INSTANCE_BYTES..=INSTANCE_BYTES + (1 << 16)).contains(&idle), "{idle}: it is kept, and used again");
        // The machine's own instance only.
        assert_eq!(fork.image.mappings(), 1);
        assert_eq!(count(&mut machine).unwrap(), seen + 1);
        let whole = machine.resident_bytes();
        drop(fork);
        assert!(machine.resident_bytes() < whole, "pages are kept for nobody");
    }
}

#[test]
fn a_dry_run_that_outlasts_the_rest_of_its_process_leaves_nothing_behind() {
    let mut machine = counter();
    assert_eq!(count(&mut machine).unwrap(), 1);
    let fork = machine.fork().unwrap();
    assert_eq!(dry_run(&fork).unwrap(), 2);
    assert_ne!(machine.seat.idle_bytes(), 0);
    machine.rest().unwrap();
    assert_eq!(machine.seat.idle_bytes(), 0);
    // This one is under way when the process goes to rest.
    assert_eq!(dry_run(&fork).unwrap(), 2);
    assert_eq!(machine.seat.idle_bytes(), 0);
    assert_eq!(count(&mut machine).unwrap(), 2);
    assert_eq!(dry_run(&machine.fork().unwrap()).unwrap(), 3);
    assert_ne!(machine.seat.idle_bytes(), 0, "whoever is awake keeps it again");
}

#[test]
fn what_a_live_instance_has_written_is_counted() {
    let mut machine = counter();
    machine.set_commit_policy(CommitPolicy::EAGER);
    for number in 1..4 {
        assert_eq!(count(&mut machine).unwrap(), number);
    }
    // Message, environment and counter, in the file and in the instance's own pages.
    let private = machine.live.as_ref().unwrap().private_bytes();
    assert!(private >= PAGE_BYTES as u64);
    assert_eq!(machine.resident_bytes(), machine.image.resident_bytes() + INSTANCE_BYTES + private);
    assert!(machine.image.resident_bytes() >= private);
}

/// In a process of its own, whose address space is limited: every memory reserves some gigabytes of it.
#[test]
fn a_computer_without_address_space_says_so_and_can_go_on_when_there_is_some() {
    const CHILD: &str = "HOLON_TEST_ADDRESS_SPACE";
    let name = "machine::live::tests::a_computer_without_address_space_says_so_and_can_go_on_when_there_is_some";
    if std::env::var_os(CHILD).is_none() {
        let program = std::env::current_exe().unwrap();
        let child = std::process::Command::new(program).args(["--exact", name]).env(CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        return;
    }
    let module = counting();
    let mut first = machine(&module);
    assert_eq!(count(&mut first).unwrap(), 1);
    let free = getrlimit(Resource::As);
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    let current = Some(pages * rustix::param::page_size() as u64 + (256 << 20));
    setrlimit(Resource::As, Rlimit { current, ..free }).unwrap();
    // What is there goes on; nothing is added.
    assert_eq!(count(&mut first).unwrap(), 2);
    let mut second = machine(&module);
    let failure = count(&mut second).unwrap_err();
    assert!(matches!(failure, HostFailure::System(_)) && !failure.lost(), "{failure:?}");
    assert!(matches!(dry_run(&first.fork().unwrap()), Err(HostFailure::System(_))));
    assert_eq!(count(&mut first).unwrap(), 3);
    setrlimit(Resource::As, free).unwrap();
    assert_eq!(count(&mut second).unwrap(), 1);
    assert_eq!(dry_run(&first.fork().unwrap()).unwrap(), 4);
}

/// Guest code that writes to a page of its own, which is closed for it to ask whether it may go on, and cannot be opened again.
#[test]
fn a_guest_that_the_operating_system_keeps_from_going_on_is_tried_again() {
    let text = r#"(module (memory (export "memory") 1)
        (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":0}}\00")
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "handle") (param i32 i32) (result i32) (local i32)
          (i32.store8 (i32.const 132) (i32.add (i32.load8_u (i32.const 132)) (i32.const 1)))
          (loop (br_if 0 (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 2000000000))))
          (i32.const 100)))"#;
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let compute = crate::machine::UNREACHABLE_FUEL;
    let module = engine.compile_for(&wat::parse_str(text).unwrap(), Format::Wasi32, compute).unwrap();
    let mut machine = Machine::new(&module, Limits { memory_bytes: 1 << 20, compute }, Arc::new(NoDrive)).unwrap();
    assert_eq!(count(&mut machine).unwrap(), 1);
    fault::refuse(Ask::Protect, 0);
    let failure = count(&mut machine).unwrap_err();
    assert!(matches!(failure, HostFailure::System(_)) && !failure.lost() && failure.retryable(), "{failure}");
    // Nor does it begin with a page that it could not write to.
    assert!(matches!(count(&mut machine), Err(HostFailure::System(_))));
    assert_eq!(fault::grant(), 2);
    assert_eq!(count(&mut machine).unwrap(), 2);
}
