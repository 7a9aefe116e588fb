//! The conformance suite of outbox backends.

use bytes::Bytes;
use holon_mu::crank::descent::Descent;
use holon_mu::crank::outgoing::Skipped;
use holon_mu::crank::task::{ProcessRecord, Purpose, Signed, Task, TaskId, Work};
use holon_mu::outbox::{Changes, DeadLetter, Durability, Letter, LetterId, LocalOutbox, Monitor, Outbox};
use holon_mu::trace::{Event, Kind, Made, What};
use holon_protocol::{Address, ItemId, ProcessId, Timestamp};

use crate::memory::MemoryOutbox;

fn process(byte: u8) -> ProcessId {
    ProcessId::from_bytes([byte; 32])
}

fn pull(byte: u8) -> Task {
    let message = ItemId::from_bytes([byte; 32]).into();
    let root = Some(ItemId::from_bytes([9; 32]));
    Task { root, descent: Descent::default(), work: Work::Pull { message, process: process(byte) } }
}

fn send(raw: &'static [u8]) -> Task {
    let signed = Signed {
        item: ItemId::from_bytes([7; 32]),
        emitter: process(1),
        raw: Bytes::from_static(raw),
        purpose: Purpose::Message { process: process(2) },
    };
    let descent = Descent::of_origin(ItemId::from_bytes([7; 32])).below(ItemId::from_bytes([8; 32]));
    Task { root: None, descent, work: Work::Send(signed) }
}

fn letter(text: &str) -> DeadLetter {
    let entry = Skipped { entry: "Messages[0]".into(), reason: text.into(), text: "{}".into() };
    let letter = Letter::Entry { emitter: Some(process(1)), entry };
    DeadLetter { id: LetterId::default(), at: Timestamp(5), reason: text.into(), letter }
}

fn record() -> ProcessRecord {
    ProcessRecord { module: "m".into(), scheduler: Address::from_bytes([3; 32]), cron: true }
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
            (process(2), Some(Monitor { cursor: Some("c".into()), from_birth: true, off: false })),
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
    assert_eq!(
        outbox.monitor(process(2)).await.unwrap(),
        Some(Monitor { cursor: Some("c".into()), from_birth: true, off: false })
    );

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
    assert_eq!(reasons(outbox.dead_letters(None, 10).await.unwrap()), ["one", "two", "three"]);
    assert_eq!(reasons(outbox.dead_letters(None, 2).await.unwrap()), ["two", "three"]);
    let last = outbox.dead_letters(None, 1).await.unwrap()[0].id;
    assert_eq!(reasons(outbox.dead_letters(Some(last), 2).await.unwrap()), ["one", "two"]);

    // A birth does not change what is known of a monitor.
    let off = Monitor { off: true, ..Monitor::default() };
    let born = Monitor { from_birth: true, ..Monitor::default() };
    let changes = Changes { monitors: vec![(process(5), Some(off.clone()))], ..Changes::default() };
    outbox.commit(changes, Durability::Synced).await.unwrap();
    let births = vec![(process(2), born.clone()), (process(5), born.clone()), (process(6), born.clone())];
    outbox.commit(Changes { births, ..Changes::default() }, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    assert_eq!(outbox.monitor(process(2)).await.unwrap().unwrap().cursor.as_deref(), Some("c"));
    assert_eq!(outbox.monitor(process(5)).await.unwrap(), Some(off));
    assert_eq!(outbox.monitor(process(6)).await.unwrap(), Some(born));

    // Removing what is not there changes nothing.
    outbox.commit(Changes { remove: vec![TaskId(1)], ..Changes::default() }, Durability::Synced).await.unwrap();
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), [300, 400, 70_001]);
}

/// A task that was given up keeps its bytes, and is gone once it is taken up again.
async fn keeps_dead_letters<O: Outbox>(outbox: O, reopen: impl AsyncFn(O) -> O) {
    let task = Letter::Task(Box::new(send(b"signed once")));
    let dead = vec![letter("entry"), DeadLetter { letter: task, ..letter("task") }];
    outbox.commit(Changes { dead, ..Changes::default() }, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    let id = outbox.dead_letters(None, 1).await.unwrap()[0].id;
    let kept = outbox.dead_letter(id).await.unwrap().unwrap();
    assert_eq!((kept.id, kept.letter), (id, Letter::Task(Box::new(send(b"signed once")))));
    let put = vec![(TaskId(1), send(b"signed once"))];
    outbox.commit(Changes { put, dug_up: vec![id], ..Changes::default() }, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    assert_eq!(outbox.dead_letter(id).await.unwrap(), None);
    assert_eq!(outbox.dead_letters(None, 10).await.unwrap().len(), 1);
    assert_eq!(outbox.task(TaskId(1)).await.unwrap(), Some(send(b"signed once")));
}

/// Events are found by item and by process, in order, until they are forgotten.
async fn keeps_traces<O: Outbox>(outbox: O, reopen: impl AsyncFn(O) -> O) {
    let item = |byte| ItemId::from_bytes([byte; 32]);
    let event = |at, what| Event { at: Timestamp(at), what };
    let made = |byte, to: u8| {
        let descent = Descent::of_origin(item(byte));
        What::Made(Made { kind: Kind::Message, descent, emitter: None, to: item(to) })
    };
    let traces = vec![
        (item(1), event(1_000, made(1, 50))),
        (item(1), event(1_000, What::Scheduled)),
        (item(2), event(1_000, made(2, 51))),
    ];
    let accounts = vec![(item(1), Some(7)), (item(2), Some(8))];
    outbox.commit(Changes { traces, accounts, ..Changes::default() }, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    let traces = vec![(item(3), event(2_000, made(3, 50))), (item(1), event(2_000, What::Duplicate))];
    let accounts = vec![(item(1), None), (item(2), Some(9))];
    outbox.commit(Changes { traces, accounts, ..Changes::default() }, Durability::Synced).await.unwrap();
    let of_first = [event(1_000, made(1, 50)), event(1_000, What::Scheduled), event(2_000, What::Duplicate)];
    assert_eq!(outbox.trace(item(1)).await.unwrap(), of_first);
    assert_eq!(outbox.traced(process(50), 10).await.unwrap(), [item(3), item(1)]);
    assert_eq!(outbox.traced(process(50), 1).await.unwrap(), [item(3)]);
    assert_eq!(outbox.accounts().await.unwrap(), [(item(2), 9)]);

    assert_eq!(outbox.forget_traces(Timestamp(2_000), 2).await.unwrap(), 2);
    assert_eq!(outbox.forget_traces(Timestamp(2_000), 10).await.unwrap(), 1);
    assert_eq!(outbox.forget_traces(Timestamp(2_000), 10).await.unwrap(), 0);
    let outbox = reopen(outbox).await;
    assert_eq!(outbox.trace(item(1)).await.unwrap(), [event(2_000, What::Duplicate)]);
    assert_eq!(outbox.trace(item(2)).await.unwrap(), []);
    assert_eq!(outbox.traced(process(50), 10).await.unwrap(), [item(3)]);
}

#[tokio::test]
async fn the_memory_outbox_conforms() {
    let reopen = async |outbox: MemoryOutbox| {
        outbox.crash(usize::MAX);
        outbox
    };
    conforms(MemoryOutbox::default(), reopen).await;
    keeps_dead_letters(MemoryOutbox::default(), reopen).await;
    keeps_traces(MemoryOutbox::default(), reopen).await;
}

#[tokio::test]
async fn the_local_outbox_conforms() {
    let folders: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let reopen = |number: usize| {
        let folder = folders[number].path();
        async move |outbox: LocalOutbox| {
            drop(outbox);
            crate::outbox::open(folder).await
        }
    };
    let fresh = |number: usize| LocalOutbox::open(folders[number].path()).unwrap();
    conforms(fresh(0), reopen(0)).await;
    keeps_dead_letters(fresh(1), reopen(1)).await;
    keeps_traces(fresh(2), reopen(2)).await;
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
