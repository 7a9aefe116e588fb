//! What readers and posters see while the disk is slow, and when it fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use holon_protocol::{DataItem, ItemId, Nonce, ProcessId, Signer};
use holon_su::Options;
use holon_su::log::{FjallLog, LogStore, Record, StoreError, Unsettled, Write};
use holon_su::sequencer::{ContentHash, Head};

use crate::network::{DEADLINE, Scheduler, Weave, eventually, message};

/// The real store, whose syncs can be held up and can fail.
struct Disk {
    inner: FjallLog,
    held: Mutex<bool>,
    released: Condvar,
    fails: AtomicBool,
    /// Where looks at the settle queue began.
    looks: Mutex<Vec<u64>>,
}

impl Disk {
    fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }
}

impl LogStore for Disk {
    fn append(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.inner.append(writes)
    }
    fn sync(&self) -> Result<(), StoreError> {
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| *held).unwrap());
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Backend("the disk is on fire".into()));
        }
        self.inner.sync()
    }
    fn head(&self, process: ProcessId) -> Result<Option<Head>, StoreError> {
        self.inner.head(process)
    }
    fn record(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Record>, StoreError> {
        self.inner.record(process, nonce)
    }
    fn records(
        &self,
        process: ProcessId,
        first: Nonce,
        last: Nonce,
        visit: &mut dyn FnMut(Record) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.records(process, first, last, visit)
    }
    fn item(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Bytes>, StoreError> {
        self.inner.item(process, nonce)
    }
    fn find(&self, process: ProcessId, id: ItemId) -> Result<Option<Nonce>, StoreError> {
        self.inner.find(process, id)
    }
    fn has_content(&self, process: ProcessId, content: &ContentHash) -> Result<bool, StoreError> {
        self.inner.has_content(process, content)
    }
    fn container(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Bytes>, StoreError> {
        self.inner.container(process, nonce)
    }
    fn unsettled(&self, from: u64, limit: usize) -> Result<Vec<Unsettled>, StoreError> {
        self.looks.lock().unwrap().push(from);
        self.inner.unsettled(from, limit)
    }
    fn unsettleable(&self, limit: usize) -> Result<Vec<(Unsettled, String)>, StoreError> {
        self.inner.unsettleable(limit)
    }
}

struct Setup {
    su: Scheduler,
    disk: Arc<Disk>,
    process: ProcessId,
    user: Signer,
    weave: Weave,
    _folder: tempfile::TempDir,
}

async fn setup() -> Setup {
    let weave = Weave::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (wallet, user) = (Signer::generate_ed25519().unwrap(), Signer::generate_ed25519().unwrap());
    let disk = Arc::new(Disk {
        inner: FjallLog::open(folder.path()).unwrap(),
        held: Mutex::new(false),
        released: Condvar::new(),
        fails: AtomicBool::new(false),
        looks: Mutex::default(),
    });
    let options = Options::new(folder.path(), wallet.clone(), weave.url.clone());
    let su = Scheduler::start_over(disk.clone(), options).await;
    let process = DataItem::builder()
        .tag("Data-Protocol", "ao")
        .tag("Type", "Process")
        .tag("Module", wallet.address().to_string())
        .tag("Scheduler", wallet.address().to_string())
        .sign(&user)
        .unwrap();
    su.schedule(&process).await;
    let process: ProcessId = process.id().into();
    let (gateway, log) = (weave.gateway(), su.log(process).await);
    let settled = log[0].assignment.id;
    eventually("the process is settled", || async { gateway.node(settled.into()).await.unwrap().is_some() }).await;
    Setup { su, disk, process, user, weave, _folder: folder }
}

/// Waits until the store has this many entries, durable or not.
async fn appended(disk: &Disk, process: ProcessId, entries: u64) {
    eventually("entries are appended", || async { disk.head(process).unwrap().unwrap().nonce.0 + 1 >= entries }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_an_entry_before_it_is_synced_and_its_poster_waits() {
    let Setup { su, disk, process, user, weave, _folder } = setup().await;
    let before = su.log(process).await;
    disk.hold(true);
    let item = message(&user, process, &[], "x");
    let post = tokio::spawn(su.client.post(&su.url).body(item.raw().clone()).send());
    appended(&disk, process, 2).await;
    let duplicate = tokio::spawn(su.client.post(&su.url).body(item.raw().clone()).send());

    assert_eq!(su.log(process).await, before);
    assert_eq!(su.get(&format!("/{}?process-id={process}", item.id())).await.status(), 400);
    assert_eq!(su.json(&format!("/{process}/latest")).await["message"]["id"], process.to_string());
    let page = su.page(process, "&from-nonce=0").await;
    assert!(page.edges.is_empty() && !page.page_info.has_next_page);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!post.is_finished() && !duplicate.is_finished());
    assert!(weave.gateway().node(item.id()).await.unwrap().is_none(), "what may be lost must not be published");

    disk.hold(false);
    let answer = tokio::time::timeout(DEADLINE, post).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(duplicate.await.unwrap().unwrap().status(), 400);
    assert_eq!(su.log(process).await.len(), 2);
    su.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_arrive_during_a_sync_share_the_next_one() {
    let Setup { su, disk, process, user, .. } = setup().await;
    disk.hold(true);
    let posts: Vec<_> = (0..50)
        .map(|index| {
            let item = message(&user, process, &[], &index.to_string());
            tokio::spawn(su.client.post(&su.url).body(item.raw().clone()).send())
        })
        .collect();
    appended(&disk, process, 2).await;
    disk.hold(false);
    for post in posts {
        assert_eq!(post.await.unwrap().unwrap().status(), 200);
    }
    let log = su.log(process).await;
    assert_eq!(log.len(), 51);
    crate::network::assert_unbroken(process, &log);
    su.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_sync_fails_nothing_is_acknowledged_any_more_and_the_service_asks_to_stop() {
    let Setup { su, disk, process, user, .. } = setup().await;
    let before = su.log(process).await;
    disk.hold(true);
    let posts: Vec<_> = (0..10)
        .map(|index| {
            let item = message(&user, process, &[], &index.to_string());
            tokio::spawn(su.client.post(&su.url).body(item.raw().clone()).send())
        })
        .collect();
    appended(&disk, process, 2).await;
    disk.fails.store(true, Ordering::SeqCst);
    disk.hold(false);
    for post in posts {
        assert_eq!(post.await.unwrap().unwrap().status(), 503);
    }
    tokio::time::timeout(DEADLINE, su.running.stopping().cancelled()).await.unwrap();
    disk.fails.store(false, Ordering::SeqCst);
    let answer = su.post("", message(&user, process, &[], "later").raw().clone()).await;
    assert_eq!(answer.status(), 503);
    let other = DataItem::builder().target(ItemId::from_bytes([9; 32])).tag("Data-Protocol", "ao");
    let other = other.tag("Type", "Message").sign(&user).unwrap();
    assert_eq!(su.post("", other.raw().clone()).await.status(), 503);
    assert_eq!(su.log(process).await, before, "readers keep seeing what is durable, and only that");
    su.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_is_not_looked_at_again() {
    let Setup { su, disk, process, user, weave, _folder } = setup().await;
    let gateway = weave.gateway();
    for number in 1..=20 {
        let item = message(&user, process, &[], &number.to_string());
        su.schedule(&item).await;
        eventually("it is settled", || async { gateway.node(item.id()).await.unwrap().is_some() }).await;
    }
    // The last look finds nothing behind the process and its messages.
    let last = || disk.looks.lock().unwrap().last().copied();
    eventually("a look behind them", || async { last() == Some(21) }).await;
    let looked = disk.looks.lock().unwrap().len();
    let item = message(&user, process, &[], "one more");
    su.schedule(&item).await;
    eventually("a look behind it", || async { last() == Some(22) }).await;
    assert!(gateway.node(item.id()).await.unwrap().is_some());
    assert!(disk.looks.lock().unwrap()[looked..].iter().all(|from| *from >= 21), "{:?}", disk.looks);
    su.running.stop().await.unwrap();
}
