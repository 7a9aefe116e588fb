//! The conformance suite of outbox backends.

use bytes::Bytes;
use holon_mu::crank::descent::Descent;
use holon_mu::crank::outgoing::Skipped;
use holon_mu::crank::task::{ProcessRecord, Purpose, Signed, Task, TaskId, Work};
use holon_mu::outbox::{
    Changes, Charge, DeadLetter, Durability, LETTER_BYTES, Letter, LetterId, LocalOutbox, Monitor, Monitoring, Outbox,
    OutboxError, PostgresOptions, PostgresOutbox,
};
use holon_mu::trace::{Event, Kind, Made, What};
use holon_protocol::{Address, ItemId, ProcessId, Timestamp};

use crate::memory::MemoryOutbox;

fn process(byte: u8) -> ProcessId {
    ProcessId::from_bytes([byte; 32])
}

fn pull(byte: u8) -> Task {
    let message = ItemId::from_bytes([byte; 32]).into();
    let root = Some(ItemId::from_bytes([9; 32]));
    Task { root, descent: Descent::default(), work: Work::Pull { message, process: process(byte), nonce: None } }
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

/// Stores new tasks; their ids.
async fn add(outbox: &impl Outbox, new: Vec<Task>, durability: Durability) -> Vec<TaskId> {
    let before = outbox.tasks(None, 1_000).await.unwrap();
    outbox.commit(Changes { new, ..Changes::default() }, durability).await.unwrap();
    let after = outbox.tasks(None, 1_000).await.unwrap();
    after.into_iter().filter(|task| !before.contains(task)).map(|(id, _)| id).collect()
}

/// What every backend must do. `reopen` closes an outbox and opens it again.
async fn conforms<O: Outbox>(first: O, reopen: impl AsyncFn(O) -> O) {
    let outbox = first;
    assert_eq!(outbox.tasks(None, 10).await.unwrap(), []);
    assert_eq!(outbox.task(TaskId(1)).await.unwrap(), None);

    // Everything of a commit is there at once, tasks in their order.
    let changes = Changes {
        new: vec![pull(3), send(b"bytes \x00\xff"), pull(4)],
        dead: vec![letter("one"), letter("two")],
        processes: vec![(process(1), record())],
        claims: vec![process(1).into()],
        monitors: vec![
            (process(1), Monitoring::Put(Monitor::default())),
            (
                process(2),
                Monitoring::Put(Monitor { cursor: Some("c\0".into()), from_birth: true, ..Monitor::default() }),
            ),
        ],
        ..Changes::default()
    };
    outbox.commit(changes, Durability::Synced).await.unwrap();
    let ids = |tasks: Vec<(TaskId, Task)>| tasks.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let [first, second, third] = ids(outbox.tasks(None, 10).await.unwrap())[..] else { panic!("three were stored") };
    assert!(first < second && second < third);
    assert_eq!(ids(outbox.tasks(None, 2).await.unwrap()), [first, second]);
    assert_eq!(ids(outbox.tasks(Some(first), 10).await.unwrap()), [second, third]);
    assert_eq!(outbox.task(first).await.unwrap(), Some(pull(3)));

    // It survives closing, buffered or synced, bytes included. What comes later has greater ids.
    let fourth = add(&outbox, vec![pull(5)], Durability::Buffered).await[0];
    let outbox = reopen(outbox).await;
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), [first, second, third, fourth]);
    assert_eq!(outbox.task(second).await.unwrap(), Some(send(b"bytes \x00\xff")));
    assert_eq!(outbox.process(process(1)).await.unwrap(), Some(record()));
    assert_eq!(outbox.process(process(2)).await.unwrap(), None);
    assert!(outbox.is_claimed(process(1).into()).await.unwrap());
    assert!(!outbox.is_claimed(process(2).into()).await.unwrap());
    assert_eq!(outbox.monitors().await.unwrap().len(), 2);
    let monitor = Monitor { cursor: Some("c\0".into()), from_birth: true, ..Monitor::default() };
    assert_eq!(outbox.monitor(process(2)).await.unwrap(), Some(monitor.clone()));

    // A stage replaces the one before; what is removed is gone, with its bytes.
    let changes = Changes {
        remove: vec![second, third],
        put: vec![(first, send(b"now signed"))],
        monitors: vec![(process(1), Monitoring::End)],
        dead: vec![letter("three")],
        ..Changes::default()
    };
    outbox.commit(changes, Durability::Synced).await.unwrap();
    let fifth = add(&outbox, vec![pull(6)], Durability::Synced).await[0];
    let outbox = reopen(outbox).await;
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), [first, fourth, fifth]);
    assert!(fourth < fifth);
    assert_eq!(outbox.task(first).await.unwrap(), Some(send(b"now signed")));
    assert_eq!(outbox.task(second).await.unwrap(), None);
    assert_eq!(outbox.monitor(process(1)).await.unwrap(), None);
    let reasons = |letters: Vec<DeadLetter>| letters.into_iter().map(|letter| letter.reason).collect::<Vec<_>>();
    assert_eq!(reasons(outbox.dead_letters(None, 10).await.unwrap()), ["one", "two", "three"]);
    assert_eq!(reasons(outbox.dead_letters(None, 2).await.unwrap()), ["two", "three"]);
    let last = outbox.dead_letters(None, 1).await.unwrap()[0].id;
    assert_eq!(reasons(outbox.dead_letters(Some(last), 2).await.unwrap()), ["one", "two"]);

    // A birth does not change what is known of a monitor.
    let off = Monitor { off: true, ..Monitor::default() };
    let born = Monitor { from_birth: true, ..Monitor::default() };
    let changes = Changes { monitors: vec![(process(5), Monitoring::Put(off.clone()))], ..Changes::default() };
    outbox.commit(changes, Durability::Synced).await.unwrap();
    let births = vec![(process(2), born.clone()), (process(5), born.clone()), (process(6), born.clone())];
    outbox.commit(Changes { births, ..Changes::default() }, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    assert_eq!(outbox.monitor(process(2)).await.unwrap(), Some(monitor.clone()));
    assert_eq!(outbox.monitor(process(5)).await.unwrap(), Some(off));
    assert_eq!(outbox.monitor(process(6)).await.unwrap(), Some(born.clone()));
    let put = vec![(process(5), Monitoring::Put(born.clone()))];
    outbox.commit(Changes { monitors: put, ..Changes::default() }, Durability::Synced).await.unwrap();
    assert_eq!(outbox.monitor(process(5)).await.unwrap(), Some(born));

    // An intent is stored like any other task.
    let intents = Changes { intents: vec![pull(7)], ..Changes::default() };
    let intent = outbox.commit(intents, Durability::Synced).await.unwrap().intents[0];
    assert_eq!(outbox.task(intent).await.unwrap(), Some(pull(7)));
    outbox.commit(Changes { remove: vec![intent], ..Changes::default() }, Durability::Synced).await.unwrap();

    // A cursor moves from where it is.
    let to = Monitor { cursor: Some("d".into()), from_birth: true, ..Monitor::default() };
    let moved = Monitoring::Move { from: monitor, to: to.clone() };
    let moves = |monitoring| Changes { monitors: vec![(process(2), monitoring)], ..Changes::default() };
    outbox.commit(moves(moved.clone()), Durability::Synced).await.unwrap();
    assert_eq!(outbox.monitor(process(2)).await.unwrap(), Some(to));

    // What would change what is not there is refused as a whole.
    let left = ids(outbox.tasks(None, 10).await.unwrap());
    for refused in [
        Changes { remove: vec![second], ..Changes::default() },
        Changes { put: vec![(second, pull(1))], ..Changes::default() },
        Changes { dug_up: vec![LetterId(u64::from(u32::MAX))], ..Changes::default() },
        moves(moved),
    ] {
        let refused =
            Changes { new: vec![pull(8)], dead: vec![letter("four")], claims: vec![process(9).into()], ..refused };
        let result = outbox.commit(refused, Durability::Synced).await;
        assert!(matches!(result, Err(OutboxError::Lost)), "{result:?}");
    }
    // What is claimed is not claimed again, and nothing that goes with it is stored.
    let claims = vec![process(8).into(), process(1).into()];
    let refused = Changes { new: vec![pull(8)], claims, ..Changes::default() };
    let result = outbox.commit(refused, Durability::Synced).await;
    assert!(matches!(result, Err(OutboxError::Claimed)), "{result:?}");
    assert!(!outbox.is_claimed(process(8).into()).await.unwrap());
    let outbox = reopen(outbox).await;
    assert_eq!(ids(outbox.tasks(None, 10).await.unwrap()), left);
    assert_eq!(outbox.dead_letters(None, 10).await.unwrap().len(), 3);
    assert!(!outbox.is_claimed(process(9).into()).await.unwrap());
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
    let new = vec![send(b"signed once")];
    outbox.commit(Changes { new, dug_up: vec![id], ..Changes::default() }, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    assert_eq!(outbox.dead_letter(id).await.unwrap(), None);
    assert_eq!(outbox.dead_letters(None, 10).await.unwrap().len(), 1);
    let again = outbox.tasks(None, 2).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(outbox.task(again[0].0).await.unwrap(), Some(send(b"signed once")));
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
    let charge = |more, total| Charge::More { more, total };
    let accounts = vec![(item(1), charge(7, 7)), (item(2), charge(8, 8)), (item(3), charge(9, 9))];
    outbox.commit(Changes { traces, accounts, ..Changes::default() }, Durability::Synced).await.unwrap();
    let outbox = reopen(outbox).await;
    let traces = vec![(item(3), event(2_000, made(3, 50))), (item(1), event(2_000, What::Duplicate))];
    let accounts = vec![(item(2), charge(1, 9)), (item(3), Charge::Afresh)];
    outbox.commit(Changes { traces, accounts, ..Changes::default() }, Durability::Synced).await.unwrap();
    let of_first = [event(1_000, made(1, 50)), event(1_000, What::Scheduled), event(2_000, What::Duplicate)];
    assert_eq!(outbox.trace(item(1)).await.unwrap(), of_first);
    assert_eq!(outbox.traced(process(50), 10).await.unwrap(), [item(3), item(1)]);
    assert_eq!(outbox.traced(process(50), 1).await.unwrap(), [item(3)]);
    assert_eq!(outbox.accounts().await.unwrap(), [(item(1), 7), (item(2), 9), (item(3), 0)]);

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

#[tokio::test]
async fn the_shared_outbox_conforms() {
    let url = holon_peers::postgres::shared().unwrap();
    let fresh = async || {
        let schema = holon_peers::postgres::schema();
        let options = PostgresOptions { schema: schema.clone(), ..PostgresOptions::new(url.as_str()) };
        (PostgresOutbox::open(options.clone()).await.unwrap(), options)
    };
    let reopen = |options: PostgresOptions| {
        async move |outbox: PostgresOutbox| {
            outbox.shared().unwrap().leave().await.unwrap();
            drop(outbox);
            PostgresOutbox::open(options.clone()).await.unwrap()
        }
    };
    let (outbox, options) = fresh().await;
    conforms(outbox, reopen(options)).await;
    let (outbox, options) = fresh().await;
    keeps_dead_letters(outbox, reopen(options)).await;
    let (outbox, options) = fresh().await;
    keeps_traces(outbox, reopen(options)).await;
}

#[tokio::test]
async fn dead_letters_of_a_shared_outbox_give_way_where_most_of_them_are() {
    let options = PostgresOptions {
        schema: holon_peers::postgres::schema(),
        ..PostgresOptions::new(holon_peers::postgres::shared().unwrap())
    };
    let outbox = PostgresOutbox::open(options).await.unwrap();
    let of = |emitter: Option<u8>, reason: &str| {
        let entry = Skipped { entry: "Messages[0]".into(), reason: reason.into(), text: "{}".into() };
        let letter = Letter::Entry { emitter: emitter.map(process), entry };
        DeadLetter { letter, ..self::letter(reason) }
    };
    let task = DeadLetter { letter: Letter::Task(Box::new(pull(1))), ..letter("a task, older than all others") };
    let mut dead = vec![task, of(Some(1), "the only one")];
    dead.extend((0..9).map(|number| of(Some(2), &format!("of a storm {number}"))));
    dead.extend((0..3).map(|number| of(Some(3), &format!("of a shower {number}"))));
    dead.push(of(None, "of nobody"));
    outbox.commit(Changes { dead, ..Changes::default() }, Durability::Synced).await.unwrap();
    let left = async |room: u64| {
        outbox.make_room(false, room).await.unwrap();
        let left = outbox.dead_letters(None, 100).await.unwrap();
        left.into_iter().skip(1).map(|letter| letter.reason).collect::<Vec<_>>()
    };
    // A letter is a little larger than what is counted for it at least.
    let room = |letters: u64| letters * (LETTER_BYTES + 1024);
    assert_eq!(left(room(14)).await.len(), 14, "there is room for all");
    let (storm, shower) = (|number| format!("of a storm {number}"), |number| format!("of a shower {number}"));
    let (only, nobody) = ("the only one".to_owned(), "of nobody".to_owned());
    let kept = [only.clone(), storm(5), storm(6), storm(7), storm(8), shower(0), shower(1), shower(2), nobody.clone()];
    assert_eq!(left(room(9)).await, kept, "the storm gives way, oldest first");
    assert_eq!(left(room(4)).await.len(), 4);
    let kept = left(room(4)).await;
    assert_eq!(kept, [only, storm(8), shower(2), nobody], "whoever has one keeps it while another has more");
    let kept = outbox.dead_letters(None, 100).await.unwrap();
    assert!(kept[0].is_retryable(), "what can be taken up again has a room of its own");
    outbox.make_room(true, 0).await.unwrap();
    let kept = outbox.dead_letters(None, 100).await.unwrap();
    assert!(kept.len() == 4 && !kept.iter().any(DeadLetter::is_retryable));
}

#[tokio::test]
async fn what_a_shared_outbox_remembers_of_processes_gives_way_to_what_is_newer() {
    let options = PostgresOptions {
        schema: holon_peers::postgres::schema(),
        ..PostgresOptions::new(holon_peers::postgres::shared().unwrap())
    };
    let outbox = PostgresOutbox::open(options).await.unwrap();
    for (known, byte) in [(false, 1), (false, 2), (true, 1), (false, 3), (false, 4), (false, 5)] {
        let off = byte != 2;
        let changes = Changes {
            processes: vec![(process(byte), record())],
            claims: if known { Vec::new() } else { vec![process(byte).into()] },
            monitors: vec![(process(byte), Monitoring::Put(Monitor { off, ..Monitor::default() }))],
            ..Changes::default()
        };
        outbox.commit(changes, Durability::Synced).await.unwrap();
    }
    outbox.forget(3, 3, 2).await.unwrap();
    for byte in 1..=5 {
        let kept = byte > 2;
        assert_eq!(outbox.process(process(byte)).await.unwrap().is_some(), kept, "process {byte}");
        assert_eq!(outbox.is_claimed(process(byte).into()).await.unwrap(), kept, "claim {byte}");
        let kept = byte == 2 || byte > 3;
        assert_eq!(outbox.monitor(process(byte)).await.unwrap().is_some(), kept, "monitor {byte}");
    }
    outbox.forget(3, 3, 2).await.unwrap();
    assert!(outbox.is_claimed(process(3).into()).await.unwrap(), "no more than has to be");
    // Turned off once more, 4 is newer than 5.
    let monitors = vec![(process(4), Monitoring::Put(Monitor { off: true, ..Monitor::default() }))];
    outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await.unwrap();
    outbox.forget(3, 3, 1).await.unwrap();
    assert!(outbox.monitor(process(4)).await.unwrap().is_some() && outbox.monitor(process(5)).await.unwrap().is_none());
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
