//! The conformance suite of outbox backends.

use bytes::Bytes;
use holon_mu::crank::outgoing::Skipped;
use holon_mu::crank::task::{ProcessRecord, Purpose, Signed, Task, TaskId, Work};
use holon_mu::outbox::{Changes, DeadLetter, Durability, Letter, LocalOutbox, Monitor, Outbox};
use holon_protocol::{Address, ItemId, ProcessId, Timestamp};

use crate::memory::MemoryOutbox;

fn process(byte: u8) -> ProcessId {
    ProcessId::from_bytes([byte; 32])
}

fn pull(byte: u8) -> Task {
    let message = ItemId::from_bytes([byte; 32]).into();
    Task { root: Some(ItemId::from_bytes([9; 32])), work: Work::Pull { message, process: process(byte) } }
}

fn send(raw: &'static [u8]) -> Task {
    let signed = Signed {
        item: ItemId::from_bytes([7; 32]),
        emitter: process(1),
        raw: Bytes::from_static(raw),
        purpose: Purpose::Message { process: process(2) },
    };
    Task { root: None, work: Work::Send(signed) }
}

fn letter(text: &str) -> DeadLetter {
    let entry = Skipped { entry: "Messages[0]".into(), reason: text.into(), text: "{}".into() };
    DeadLetter { at: Timestamp(5), reason: text.into(), letter: Letter::Entry { emitter: Some(process(1)), entry } }
}

fn record() -> ProcessRecord {
    ProcessRecord { module: "m".into(), scheduler: Address::from_bytes([3; 32]) }
}

/// What every backend must do. `reopen` closes an outbox and opens it again.
async fn conforms<O: Outbox>(first: O, reopen: impl AsyncFn(O) -> O) {
    let outbox = first;
    assert_eq!(outbox.tasks(None, 10).await.unwrap(), []);
    assert_eq!(outbox.task(TaskId(1)).await.unwrap(), None);

    // Everything of a commit is there at once, tasks in the order of their ids.
    let changes = Changes {
        put: vec![(TaskId(300), pull(3)), (TaskId(2), send(b"bytes \x00\xff")), (TaskId(70_000), pull(4))],
        dead: vec![letter("one"), letter("two")],
        processes: vec![(process(1), record())],
        boots: vec![process(1)],
        monitors: vec![
            (process(1), Some(Monitor::default())),
            (process(2), Some(Monitor { cursor: Some("c".into()) })),
        ],
        ..Changes::default()
    };
    outbox.commit(changes, Durability::Synced).await.unwrap();
    let ids = |tasks: Vec<(TaskId, Task)>| tasks.into_iter().map(|(id, _)| id.0).collect::<Vec<_>>();
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), [2, 300, 70_000]);
    assert_eq!(ids(outbox.tasks(None, 2).await.unwrap()), [2, 300]);
    assert_eq!(ids(outbox.tasks(Some(TaskId(2)), 10).await.unwrap()), [300, 70_000]);
    assert_eq!(outbox.task(TaskId(300)).await.unwrap(), Some(pull(3)));

    // It survives closing, buffered or synced, bytes included.
    let changes = Changes { put: vec![(TaskId(400), pull(5))], ..Changes::default() };
    outbox.commit(changes, Durability::Buffered).await.unwrap();
    let outbox = reopen(outbox).await;
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), [2, 300, 400, 70_000]);
    assert_eq!(outbox.task(TaskId(2)).await.unwrap(), Some(send(b"bytes \x00\xff")));
    assert_eq!(outbox.process(process(1)).await.unwrap(), Some(record()));
    assert_eq!(outbox.process(process(2)).await.unwrap(), None);
    assert!(outbox.booted(process(1)).await.unwrap());
    assert!(!outbox.booted(process(2)).await.unwrap());
    assert_eq!(outbox.monitors().await.unwrap().len(), 2);
    assert_eq!(outbox.monitor(process(2)).await.unwrap(), Some(Monitor { cursor: Some("c".into()) }));

    // A stage replaces the one before; what is removed is gone, with its bytes.
    let changes = Changes {
        remove: vec![TaskId(2), TaskId(70_000)],
        put: vec![(TaskId(300), send(b"now signed")), (TaskId(70_001), pull(6))],
        monitors: vec![(process(1), None)],
        dead: vec![letter("three")],
        ..Changes::default()
    };
    outbox.commit(changes, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), [300, 400, 70_001]);
    assert_eq!(outbox.task(TaskId(300)).await.unwrap(), Some(send(b"now signed")));
    assert_eq!(outbox.task(TaskId(2)).await.unwrap(), None);
    assert_eq!(outbox.monitor(process(1)).await.unwrap(), None);
    let reasons = |letters: Vec<DeadLetter>| letters.into_iter().map(|letter| letter.reason).collect::<Vec<_>>();
    assert_eq!(reasons(outbox.dead_letters(10).await.unwrap()), ["one", "two", "three"]);
    assert_eq!(reasons(outbox.dead_letters(2).await.unwrap()), ["two", "three"]);

    // Removing what is not there changes nothing.
    outbox.commit(Changes { remove: vec![TaskId(1)], ..Changes::default() }, Durability::Synced).await.unwrap();
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), [300, 400, 70_001]);
}

#[tokio::test]
async fn the_memory_outbox_conforms() {
    conforms(MemoryOutbox::default(), async |outbox: MemoryOutbox| {
        outbox.crash(usize::MAX);
        outbox
    })
    .await;
}

#[tokio::test]
async fn the_local_outbox_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let reopen = async |outbox: LocalOutbox| {
        drop(outbox);
        crate::outbox::open(folder.path()).await
    };
    conforms(LocalOutbox::open(folder.path()).unwrap(), reopen).await;
}

/// Opens a store that may just be closing.
pub async fn open(folder: &std::path::Path) -> LocalOutbox {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match LocalOutbox::open(folder) {
            Ok(outbox) => return outbox,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
