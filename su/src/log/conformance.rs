//! What every log store must do. [`FjallLog`] runs it here; a new backend adds one line.

use std::sync::Arc;

use bytes::Bytes;
use holon_protocol::chain::HashChain;
use holon_protocol::{AssignmentId, BlockHeight, ItemId, MessageId, Nonce, ProcessId, Timestamp};

use super::{EntryKind, FjallLog, LogStore, Record, Unsettled, Write};
use crate::sequencer::ContentHash;

/// Opens the same store again and again, as a program that restarts does.
trait Reopen {
    fn open(&self) -> Arc<dyn LogStore>;
}

struct Folder(tempfile::TempDir);

impl Reopen for Folder {
    fn open(&self) -> Arc<dyn LogStore> {
        Arc::new(FjallLog::open(self.0.path()).unwrap())
    }
}

fn fjall() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

const A: ProcessId = ProcessId::from_bytes([1; 32]);
const B: ProcessId = ProcessId::from_bytes([2; 32]);

/// Distinct ids for each process, position and purpose.
fn id(process: ProcessId, nonce: u64, purpose: u8) -> [u8; 32] {
    let mut id = [purpose; 32];
    id[0] = process.as_bytes()[0];
    id[1..9].copy_from_slice(&nonce.to_be_bytes());
    id
}

fn entry(process: ProcessId, nonce: u64, kind: EntryKind) -> Write {
    let message = match kind {
        EntryKind::Process => process.into(),
        EntryKind::Message | EntryKind::Assigned => MessageId::from_bytes(id(process, nonce, 1)),
    };
    Write::Entry {
        process,
        record: Record {
            nonce: Nonce(nonce),
            kind,
            timestamp: Timestamp(1_000 + nonce * 10),
            block_height: BlockHeight(9),
            assignment: AssignmentId::from_bytes(id(process, nonce, 2)),
            message,
            hash_chain: HashChain::of(id(process, nonce, 3)),
            assignment_bytes: Bytes::from(format!("assignment {nonce}")),
        },
        item: (kind != EntryKind::Assigned).then(|| Bytes::from(format!("item {nonce}"))),
        content: (kind == EntryKind::Message).then(|| ContentHash(format!("content {nonce}"))),
    }
}

fn log(process: ProcessId, length: u64) -> Vec<Write> {
    let kind = |nonce| if nonce == 0 { EntryKind::Process } else { EntryKind::Message };
    (0..length).map(|nonce| entry(process, nonce, kind(nonce))).collect()
}

fn nonces(store: &dyn LogStore, process: ProcessId, first: u64, last: u64) -> Vec<u64> {
    let mut nonces = Vec::new();
    let visit = &mut |record: Record| {
        nonces.push(record.nonce.0);
        Ok(true)
    };
    store.records(process, Nonce(first), Nonce(last), visit).unwrap();
    nonces
}

fn logs_are_kept_apart_and_in_order(backend: &dyn Reopen) {
    let store = backend.open();
    assert_eq!(store.head(A).unwrap(), None);
    store.append(&log(A, 300)).unwrap();
    store.append(&log(B, 2)).unwrap();
    assert_eq!(store.head(A).unwrap().unwrap().nonce, Nonce(299));
    assert_eq!(store.head(B).unwrap().unwrap().nonce, Nonce(1));
    assert_eq!(nonces(store.as_ref(), A, 254, 257), [254, 255, 256, 257]);
    assert_eq!(nonces(store.as_ref(), B, 0, u64::MAX), [0, 1]);
    assert_eq!(nonces(store.as_ref(), A, 5, 4), [0; 0]);
    let Write::Entry { record, item, .. } = entry(A, 7, EntryKind::Message) else { unreachable!() };
    assert_eq!(store.record(A, Nonce(7)).unwrap(), Some(record));
    assert_eq!(store.item(A, Nonce(7)).unwrap(), item);
    assert_eq!(store.record(B, Nonce(7)).unwrap(), None);
    assert_eq!(store.item(B, Nonce(7)).unwrap(), None);
}

fn a_visitor_can_stop(backend: &dyn Reopen) {
    let store = backend.open();
    store.append(&log(A, 10)).unwrap();
    let mut seen = 0;
    let visit = &mut |_| {
        seen += 1;
        Ok(seen < 3)
    };
    store.records(A, Nonce(0), Nonce(9), visit).unwrap();
    assert_eq!(seen, 3);
}

fn ids_and_contents_are_found_in_their_process_only(backend: &dyn Reopen) {
    let store = backend.open();
    store.append(&log(A, 3)).unwrap();
    store.append(&[entry(A, 3, EntryKind::Assigned)]).unwrap();
    let find = |process, bytes| store.find(process, ItemId::from_bytes(bytes)).unwrap();
    assert_eq!(find(A, id(A, 2, 1)), Some(Nonce(2)), "a message");
    assert_eq!(find(A, id(A, 2, 2)), Some(Nonce(2)), "an assignment");
    assert_eq!(find(A, id(A, 3, 2)), Some(Nonce(3)), "an assignment without body");
    assert_eq!(find(A, id(A, 3, 1)), None, "the message of an assignment without body");
    assert_eq!(find(A, *A.as_bytes()), None, "the process itself");
    assert_eq!(find(B, id(A, 2, 1)), None);
    assert!(store.has_content(A, &ContentHash("content 2".into())).unwrap());
    assert!(!store.has_content(B, &ContentHash("content 2".into())).unwrap());
    assert!(!store.has_content(A, &ContentHash("content".into())).unwrap());
}

fn positions_are_found_by_time(backend: &dyn Reopen) {
    let store = backend.open();
    store.append(&log(A, 20)).unwrap();
    for time in 980..1_220 {
        let expected = (1..=15).find(|nonce| 1_000 + nonce * 10 > time).map(Nonce);
        assert_eq!(store.first_after(A, Nonce(1), Nonce(15), Timestamp(time)).unwrap(), expected, "after {time}");
    }
}

fn the_settle_queue_keeps_order_over_restarts(backend: &dyn Reopen) {
    let store = backend.open();
    store.append(&log(A, 3)).unwrap();
    store.append(&log(B, 1)).unwrap();
    let queue = |store: &dyn LogStore| -> Vec<(ProcessId, u64)> {
        store.unsettled(0, 100).unwrap().into_iter().map(|entry| (entry.process, entry.nonce.0)).collect()
    };
    assert_eq!(queue(store.as_ref()), [(A, 0), (A, 1), (A, 2), (B, 0)]);
    assert_eq!(store.unsettled(0, 2).unwrap().len(), 2);
    let all = store.unsettled(0, 100).unwrap();
    assert_eq!(store.unsettled(all[2].sequence, 100).unwrap(), all[2..]);
    store.append(&[Write::Settled(all[0].sequence), Write::Unsettleable(all[3].sequence, "no".into())]).unwrap();
    store.sync().unwrap();
    drop(store);

    let store = backend.open();
    assert_eq!(queue(store.as_ref()), [(A, 1), (A, 2)]);
    let kept = store.unsettleable(10).unwrap();
    assert_eq!(kept, [(Unsettled { sequence: all[3].sequence, process: B, nonce: Nonce(0) }, "no".into())]);
    store.append(&[entry(B, 1, EntryKind::Message)]).unwrap();
    assert_eq!(queue(store.as_ref()), [(A, 1), (A, 2), (B, 1)], "a new entry never takes an old one's place");
    store.append(&[Write::Requeued(all[3].sequence), Write::Requeued(all[0].sequence)]).unwrap();
    assert_eq!(queue(store.as_ref()), [(A, 1), (A, 2), (B, 0), (B, 1)], "what was refused is back in its place");
    assert_eq!(store.unsettled(all[3].sequence, 1).unwrap(), all[3..]);
    assert!(store.unsettleable(10).unwrap().is_empty());
}

fn containers_are_kept(backend: &dyn Reopen) {
    let store = backend.open();
    assert_eq!(store.container(A, Nonce(1)).unwrap(), None);
    let bytes = Bytes::from_static(b"container");
    store.append(&[Write::Container { process: A, nonce: Nonce(1), bytes: bytes.clone() }]).unwrap();
    assert_eq!(store.container(A, Nonce(1)).unwrap(), Some(bytes));
}

fn everything_synced_is_there_after_a_restart(backend: &dyn Reopen) {
    let store = backend.open();
    store.append(&log(A, 50)).unwrap();
    store.sync().unwrap();
    drop(store);
    let store = backend.open();
    assert_eq!(nonces(store.as_ref(), A, 0, u64::MAX), (0..50).collect::<Vec<_>>());
    let mut large = entry(A, 50, EntryKind::Message);
    if let Write::Entry { item, .. } = &mut large {
        *item = Some(vec![7; 10 << 20].into());
    }
    store.append(&[large]).unwrap();
    store.sync().unwrap();
    drop(store);
    let store = backend.open();
    assert_eq!(store.item(A, Nonce(50)).unwrap().unwrap().len(), 10 << 20);
    assert_eq!(store.head(A).unwrap().unwrap().nonce, Nonce(50));
}

macro_rules! conformance {
    ($backend:ident: $($test:ident),* $(,)?) => {
        mod $backend {
            $(#[test]
            fn $test() {
                super::$test(&super::$backend());
            })*
        }
    };
}

conformance!(fjall:
    logs_are_kept_apart_and_in_order,
    a_visitor_can_stop,
    ids_and_contents_are_found_in_their_process_only,
    positions_are_found_by_time,
    the_settle_queue_keeps_order_over_restarts,
    containers_are_kept,
    everything_synced_is_there_after_a_restart,
);

#[test]
fn a_folder_in_use_is_refused() {
    let folder = fjall();
    let _open = folder.open();
    assert!(FjallLog::open(folder.0.path()).is_err());
}
