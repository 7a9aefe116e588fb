//! Turns in which the host fails, or the store is damaged.

use holon_protocol::{Address, AssignmentId, ItemId, Nonce, wire};

use super::*;
use crate::hydrate::{Message, Scheduled};
use crate::log::Link;
use crate::machine::{EVALUATION_STACK_BYTES, Engine, EngineOptions, Halt};

const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);
const MODULE: &str = r#"(module
  (memory (export "memory") 1)
  (data (i32.const 16) "{\"ok\":true,\"response\":{\"Output\":1}}")
  (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "holon_handle") (param i32 i32 i32 i32) (result i64)
    (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 37))))"#;

fn entry(nonce: u8) -> Scheduled {
    let id = ItemId::from_bytes([nonce; 32]);
    let timestamp = Timestamp(1000 + u64::from(nonce));
    let link = Link::at(AssignmentId::from(id), nonce.into(), timestamp.0);
    Scheduled {
        message: Message { id: Some(id.to_string()), timestamp, ..Message::default() },
        link,
        message_id: id.into(),
        identity: Identity::Id(id),
        deduplicated: true,
        is_process: nonce == 0,
        unchecked: None,
    }
}

fn runner(results: &Arc<Results>) -> Runner {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let owner = wire::Owner { address: Address::from_bytes([2; 32]), key: String::new() };
    let process = Process::of_module(&engine, &wat::parse_str(MODULE).unwrap(), PROCESS, owner);
    let given_up = Arc::new(GivenUp::new(Duration::from_secs(60)));
    let generation = results.generation();
    let surroundings = Surroundings { generation, results: results.clone(), metrics: Metrics::new(), given_up };
    Runner::new(Arc::new(process), None, surroundings, None).unwrap()
}

#[test]
fn whatever_fails_in_the_host_leaves_the_process_alone_for_a_while() {
    let key = Key { timestamp: Timestamp(1), ordinate: 1, cron: None };
    let given_up = GivenUp::new(Duration::from_secs(600));
    let panics = whatever_happens::<()>(|| panic!("on {}", "purpose")).unwrap_err();
    assert!(panics.lost() && panics.to_string().contains("on purpose"), "{panics}");
    for (failure, seconds) in [
        (panics, 600),
        (HostFailure::Engine("broken".into()), 1200),
        (HostFailure::Diverged { index: 3 }, 2400),
        (HostFailure::WallClock { limit: Duration::from_secs(1) }, 4800),
        (HostFailure::Lost, 60),
        (HostFailure::System(std::io::ErrorKind::OutOfMemory.into()), 60),
        (HostFailure::Stopped(Stopped::Memory), 60),
        (HostFailure::Halt(Halt { reason: "missing".into() }), 2),
    ] {
        let Error::Parked(found) = parked(&given_up, PROCESS, Some(&key), &failure) else { panic!("{failure}") };
        assert_eq!((found.until.0 - found.since.0) / 1000, seconds, "{failure}");
        assert_eq!(given_up.refusal(PROCESS, Some(&key)), Some(*found.clone()));
        assert_eq!(found.halted, matches!(failure, HostFailure::Halt(_)));
    }
    let stopping = HostFailure::Stopped(Stopped::Closing);
    assert!(matches!(parked(&given_up, PROCESS, Some(&key), &stopping), Error::Stopping));
}

#[test]
fn a_turn_that_finds_the_store_damaged_ends_and_writes_nothing() {
    let test = || {
        let dir = tempfile::tempdir().unwrap();
        let results = Arc::new(Results::open(&dir.path().join("results")).unwrap());
        let mut first = runner(&results);
        first.stream.feed((0..6).map(entry).collect(), Vec::new(), None);
        results.damage(PROCESS, ItemId::from_bytes([3; 32]));
        let interrupted = first.turn().unwrap_err();
        assert!(interrupted.lost && matches!(interrupted.error, Error::Replaced(PROCESS)), "{interrupted:?}");
        assert!(!first.is_current());
        assert_eq!(results.last(PROCESS).unwrap(), None);
        // From the start, everything comes again, and what comes twice is recognised.
        let mut second = runner(&results);
        let twice = Scheduled { identity: entry(2).identity, message_id: entry(2).message_id, ..entry(6) };
        second.stream.feed((0..6).map(entry).chain([twice]).collect(), Vec::new(), None);
        while second.turn().unwrap() == Turn::More {}
        assert_eq!(results.last(PROCESS).unwrap().map(|key| key.ordinate), Some(5));
        assert_eq!(second.stream.link().map(|link| link.nonce), Some(Nonce(6)));
    };
    std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES).spawn(test).unwrap().join().unwrap();
}
