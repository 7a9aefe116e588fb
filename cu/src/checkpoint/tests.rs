//! Checkpoints of real processes: written, damaged, collected, read.

use std::sync::Arc;
use std::time::Duration;

use holon_protocol::{Address, AssignmentId, ItemId, Nonce, ProcessId, Timestamp, wire};
use holon_unit::tasks::Tasks;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use url::Url;

use super::chunk::PackId;
use super::manifest::{MAX_MANIFEST_BYTES, Manifest};
use super::name::Name;
use super::store::Store;
use super::store::tests::stores;
use super::*;
use crate::given_up::GivenUp;
use crate::hydrate::{Identity, Message, Scheduled};
use crate::log::{Goal, Link};
use crate::machine::{EVALUATION_STACK_BYTES, Engine, EngineOptions, StateRoot};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::runner::{Keeping, Runner, Surroundings, Turn};

/// Counts messages, and fills another page with noise for each.
const MODULE: &str = r#"(module
  (memory (export "memory") 4)
  (data (i32.const 16) "{\"ok\":true,\"response\":{\"Output\":1}}")
  (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) (local $at i32) (local $end i32) (local $x i64)
    (i64.store (i32.const 512) (local.tee $x (i64.add (i64.load (i32.const 512)) (i64.const 1))))
    (local.set $at (i32.add (i32.const 8192)
                            (i32.mul (i32.rem_u (i32.wrap_i64 (local.get $x)) (i32.const 50)) (i32.const 4096))))
    (local.set $end (i32.add (local.get $at) (i32.const 4096)))
    (loop $next
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
      (i64.store (local.get $at) (local.get $x))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end))))
    (i64.const 0x1000000023)))"#;

fn on_evaluation_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES);
        builder.spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

fn entry(process: ProcessId, nonce: u64) -> Scheduled {
    let mut id = *process.as_bytes();
    id[24..].copy_from_slice(&nonce.to_le_bytes());
    let id = ItemId::from_bytes(id);
    let timestamp = Timestamp(2000 + nonce);
    let link = Link::at(AssignmentId::from(id), nonce, timestamp.0);
    Scheduled {
        message: Message { id: Some(id.to_string()), timestamp, ..Message::default() },
        link,
        message_id: id.into(),
        identity: Identity::Id(id),
        deduplicated: false,
        is_process: nonce == 0,
        unchecked: None,
    }
}

/// A unit without a network: a store, results, and processes of one module.
struct World {
    engine: Engine,
    store: Store,
    results: Arc<Results>,
    checkpoints: Checkpoints,
    folder: tempfile::TempDir,
}

impl World {
    fn new(store: Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let results = Arc::new(Results::open(&folder.path().join("results")).unwrap());
        let checkpoints = Checkpoints::upon(store.clone(), results.clone(), Tasks::new());
        Self { engine: Engine::new(EngineOptions::default()).unwrap(), store, results, checkpoints, folder }
    }

    fn in_memory() -> Self {
        let place = Place::Url("memory://".parse::<Url>().unwrap());
        Self::new(Store::open(&place, std::path::Path::new("/")).unwrap().unwrap())
    }

    /// The same store after a restart, which knows nothing about it.
    fn restarted(self) -> Self {
        let checkpoints = Checkpoints::upon(self.store.clone(), self.results.clone(), Tasks::new());
        Self { checkpoints, ..self }
    }

    /// The same with an empty result store.
    fn forgetful(self) -> Self {
        let results = Arc::new(Results::open(&self.folder.path().join("other results")).unwrap());
        Self { results, ..self }.restarted()
    }

    fn process(&self, number: u8) -> Arc<Process> {
        let owner = wire::Owner { address: Address::from_bytes([2; 32]), key: String::new() };
        let wasm = wat::parse_str(MODULE).unwrap();
        Arc::new(Process::of_module(&self.engine, &wasm, ProcessId::from_bytes([number; 32]), owner))
    }

    fn runner(&self, process: &Arc<Process>, restored: Option<Restored>) -> Runner {
        let surroundings = Surroundings {
            generation: self.results.generation(),
            results: self.results.clone(),
            metrics: Metrics::new(),
            given_up: Arc::new(GivenUp::new(Duration::from_secs(60))),
        };
        let keeping = Keeping {
            checkpoints: self.checkpoints.clone(),
            evaluation: Duration::MAX,
            messages: u64::MAX,
            gas: u64::MAX,
            publishing: None,
        };
        on_evaluation_thread(|| Runner::new(process.clone(), restored, surroundings, Some(keeping))).unwrap()
    }

    /// A process that has evaluated everything up to `nonce`.
    fn live(&self, number: u8, nonce: u64) -> Runner {
        let mut runner = self.runner(&self.process(number), None);
        go_on(&mut runner, nonce);
        runner
    }

    async fn save(&self, runner: &mut Runner) -> bool {
        let turn = self.checkpoints.turn(runner.lineage()).await.unwrap();
        let snapshot = on_evaluation_thread(|| runner.snapshot()).unwrap();
        turn.save(snapshot).await
    }

    async fn restore(&self, number: u8, reach: Reach) -> Option<Runner> {
        let process = self.process(number);
        let restored = self.checkpoints.restore(&process, reach, |job| async { on_evaluation_thread(job) }).await?;
        Some(self.runner(&process, Some(restored)))
    }

    /// Whether the newest checkpoint of a process is the state after `nonce`.
    async fn has(&self, number: u8, nonce: u64) -> bool {
        let Some(mut found) = self.restore(number, Reach::Newest).await else { return false };
        assert_eq!(root(&mut found), root(&mut World::in_memory().live(number, nonce)));
        true
    }

    async fn paths(&self, folder: &str) -> Vec<String> {
        self.store.list(folder).await.unwrap().into_iter().map(|object| object.path).collect()
    }

    async fn damage(&self, folder: &str) {
        for path in self.paths(folder).await {
            let bytes = self.store.get(&path, u64::MAX).await.unwrap();
            self.store.put(&path, bytes.iter().map(|byte| byte ^ 0x55).collect()).await.unwrap();
        }
    }

    async fn delete(&self, folder: &str) {
        for path in self.paths(folder).await {
            self.store.delete(&path).await.unwrap();
        }
    }
}

fn go_on(runner: &mut Runner, nonce: u64) {
    let process = runner.process.id;
    let first = runner.stream.link().map_or(0, |link| link.nonce.0 + 1);
    runner.stream.feed((first..=nonce).map(|nonce| entry(process, nonce)).collect(), Vec::new(), None);
    on_evaluation_thread(|| while runner.turn().unwrap() == Turn::More {});
}

fn root(runner: &mut Runner) -> StateRoot {
    on_evaluation_thread(|| runner.root()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_gives_a_process_back_and_keeps_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (stores, _bucket) = stores(folder.path());
    for store in stores {
        let world = World::new(store);
        let mut runner = world.live(1, 2);
        for nonce in [9, 30, 31, 75] {
            go_on(&mut runner, nonce);
            assert!(world.save(&mut runner).await);
        }
        let world = world.restarted();
        world.checkpoints.collect(Duration::ZERO).await.unwrap();
        assert!(world.has(1, 75).await);
        let mut earlier = world.restore(1, Reach::State(Goal::Slot(Nonce(33)))).await.unwrap();
        assert_eq!(root(&mut earlier), root(&mut World::in_memory().live(1, 31)));
        // What was seen comes with it.
        assert!(world.forgetful().has(1, 75).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_to_be_rotten_is_not_referred_to() {
    let world = World::in_memory();
    assert!(world.save(&mut world.live(1, 20)).await);
    world.damage("packs").await;
    let world = world.restarted();
    assert!(!world.has(1, 20).await);
    // The log gives it again, and the same pages are stored again.
    let mut again = world.live(1, 20);
    assert!(world.save(&mut again).await);
    assert!(world.restarted().has(1, 20).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_process_whose_last_checkpoint_broke_writes_the_next_one_anew() {
    for how in ["damaged and found out", "packs gone", "segments gone"] {
        let world = World::in_memory();
        let mut runner = world.live(1, 20);
        assert!(world.save(&mut runner).await);
        match how {
            "packs gone" => world.delete("packs").await,
            "segments gone" => world.delete("identities").await,
            _ => {
                world.damage("packs").await;
                assert!(world.restore(1, Reach::Newest).await.is_none());
            }
        }
        // One page of a leaf that is stored, and enough identities to be put together with those there.
        go_on(&mut runner, 45);
        assert!(world.save(&mut runner).await, "{how}");
        let world = world.forgetful();
        assert!(world.has(1, 45).await, "{how}");
        let mut found = world.restore(1, Reach::Newest).await.unwrap();
        go_on(&mut found, 46);
        assert!(world.save(&mut found).await, "{how}");
        assert!(world.restarted().has(1, 46).await, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_that_were_too_many_to_be_kept_come_from_the_result_store() {
    let world = World::in_memory();
    let mut runner = world.live(1, 20);
    for nonce in [20, 40] {
        go_on(&mut runner, nonce);
        let turn = world.checkpoints.turn(runner.lineage()).await.unwrap();
        let mut snapshot = on_evaluation_thread(|| runner.snapshot()).unwrap();
        snapshot.identities = None;
        assert!(turn.save(snapshot).await);
    }
    assert!(world.forgetful().has(1, 40).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_written_is_remembered_until_one_is() {
    let world = World::in_memory();
    let mut runner = world.live(1, 3);
    // What it has seen is neither kept nor stored.
    let turn = world.checkpoints.turn(runner.lineage()).await.unwrap();
    let mut snapshot = on_evaluation_thread(|| runner.snapshot()).unwrap();
    snapshot.identities = None;
    snapshot.history = [7; 32];
    assert!(!turn.save(snapshot).await);
    assert!(runner.lineage().has_failed() && runner.lineage().failed_lately());
    assert_eq!(runner.since().messages, 0);
    assert!(world.save(&mut runner).await);
    assert!(!runner.lineage().has_failed() && world.has(1, 3).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_is_collected_and_what_retained_checkpoints_need_stays() {
    let world = World::in_memory();
    let (mut one, mut other) = (world.live(1, 0), world.live(2, 0));
    for nonce in [5, 60, 61, 130, 131, 132, 200] {
        for runner in [&mut one, &mut other] {
            go_on(runner, nonce);
            assert!(world.save(runner).await);
        }
    }
    world.store.put("packs/rubbish", vec![1]).await.unwrap();
    world.store.put("identities/rubbish", vec![1]).await.unwrap();
    let before = world.paths("packs").await.len() + world.paths("identities").await.len();
    assert_eq!(world.checkpoints.collect(Duration::from_secs(3600)).await.unwrap().objects, 0, "all are young");
    let collected = world.checkpoints.collect(Duration::ZERO).await.unwrap();
    let after = world.paths("packs").await.len() + world.paths("identities").await.len();
    assert!(collected.objects > 2 && before - after == collected.objects, "{collected:?} of {before}");
    assert_eq!(world.checkpoints.collect(Duration::ZERO).await.unwrap().objects, 0);
    drop((one, other));
    let world = world.forgetful();
    for number in [1, 2] {
        for name in world.checkpoints.names(ProcessId::from_bytes([number; 32])).await.unwrap() {
            let nonce = name.nonce.unwrap();
            let mut found = world.restore(number, Reach::State(Goal::Slot(nonce))).await.unwrap();
            assert_eq!(found.stream.link().unwrap().nonce, nonce);
            assert_eq!(root(&mut found), root(&mut World::in_memory().live(number, nonce.0)));
        }
    }
    // When the last of them is gone, so is everything.
    world.delete("checkpoints").await;
    world.checkpoints.collect(Duration::ZERO).await.unwrap();
    assert!(world.paths("packs").await.is_empty() && world.paths("identities").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_collected_while_there_is_a_checkpoint_of_another_version() {
    let world = World::in_memory();
    let mut runner = world.live(1, 20);
    assert!(world.save(&mut runner).await);
    drop(runner);
    let [path] = world.paths("checkpoints").await.try_into().unwrap();
    let ours = world.store.get(&path, u64::MAX).await.unwrap();
    let mut theirs = ours.to_vec();
    theirs[7] += 1;
    world.store.put(&path, theirs).await.unwrap();
    let packs = world.paths("packs").await;
    let world = world.forgetful();
    let refused = world.checkpoints.collect(Duration::ZERO).await;
    assert!(matches!(&refused, Err(Error::Unknown { path: named, .. }) if *named == path), "{refused:?}");
    assert_eq!(world.paths("packs").await, packs);
    // One that is damaged holds up nothing.
    world.store.put(&path, ours[..ours.len() - 1].to_vec()).await.unwrap();
    assert!(world.checkpoints.collect(Duration::ZERO).await.unwrap().objects > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_process_keeps_what_its_next_checkpoint_will_refer_to() {
    let world = World::in_memory();
    let mut fresh = world.live(1, 20);
    assert!(world.save(&mut fresh).await);
    let mut restored = world.live(2, 20);
    assert!(world.save(&mut restored).await);
    restored = world.restore(2, Reach::Newest).await.unwrap();
    world.delete("checkpoints").await;
    assert_eq!(world.checkpoints.collect(Duration::ZERO).await.unwrap().objects, 0);
    for (number, runner) in [(1, &mut fresh), (2, &mut restored)] {
        go_on(runner, 21);
        assert!(world.save(runner).await);
        assert!(world.has(number, 21).await);
    }
    let small: usize = world.paths("packs").await.len();
    assert!(small >= 3, "the second checkpoints add to the first: {small}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_collected_is_not_found_in_the_index() {
    let world = World::in_memory();
    assert!(world.save(&mut world.live(1, 20)).await);
    world.delete("checkpoints").await;
    assert!(world.checkpoints.collect(Duration::ZERO).await.unwrap().objects > 0);
    assert!(world.save(&mut world.live(1, 20)).await);
    assert!(world.restarted().has(1, 20).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_kept_although_others_seem_to_be_newer() {
    let world = World::in_memory();
    let mut runner = world.live(1, 3);
    assert!(world.save(&mut runner).await);
    let process = ProcessId::from_bytes([1; 32]);
    for nonce in 5000..5004 {
        let root = StateRoot::from_bytes([nonce as u8; 32]);
        let name = Name { timestamp: Timestamp(9000 + nonce), nonce: Some(Nonce(nonce)), after_cron: false, root };
        world.store.put(&format!("{}/{}", Name::folder(process), name.text()), vec![0]).await.unwrap();
    }
    for nonce in 4..8 {
        go_on(&mut runner, nonce);
        assert!(world.save(&mut runner).await);
        assert!(world.has(1, nonce).await, "the checkpoint after {nonce} is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_memory_that_may_not_be_is_refused_before_its_pages_are_read() {
    let world = World::in_memory();
    assert!(world.save(&mut world.live(1, 3)).await);
    let path = world.paths("checkpoints").await.remove(0);
    let mut manifest = Manifest::read(&world.store.get(&path, MAX_MANIFEST_BYTES as u64).await.unwrap()).unwrap();
    manifest.memory_bytes = 1 << 40;
    let name = Name::of(&manifest).unwrap();
    world.store.put(&path, manifest.write()).await.unwrap();
    world.delete("packs").await;
    let run = |job: Box<dyn FnOnce() -> Result<Restored, Error> + Send>| async { on_evaluation_thread(job) };
    let refused = world.checkpoints.restore_one(&world.process(1), &name, &run).await.err();
    assert!(matches!(refused, Some(Error::Machine(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lineage_has_its_turn_when_it_has_none_and_few_others_have() {
    let world = World::in_memory();
    let runners = [world.live(1, 1), world.live(2, 1), world.live(3, 1)];
    let [one, two, three] = [0, 1, 2].map(|at: usize| runners[at].lineage());
    let first = world.checkpoints.try_turn(one).unwrap();
    assert!(world.checkpoints.try_turn(one).is_none(), "one at a time");
    let _second = world.checkpoints.try_turn(two).unwrap();
    assert!(world.checkpoints.try_turn(three).is_none(), "{SAVES} at a time");
    let waiting = tokio::spawn({
        let (checkpoints, one) = (world.checkpoints.clone(), one.clone());
        async move { checkpoints.turn(&one).await.is_ok() }
    });
    drop(first);
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap());
    assert!(world.checkpoints.try_turn(three).is_some());
}

/// A store that takes its time, so that everything happens while something else does.
fn slow() -> Store {
    let wait = Duration::from_millis(2);
    let config = ThrottleConfig {
        wait_put_per_call: wait,
        wait_get_per_call: wait,
        wait_delete_per_call: wait,
        wait_list_per_call: wait,
        ..ThrottleConfig::default()
    };
    Store::of(Arc::new(ThrottledStore::new(InMemory::new(), config)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn checkpoints_written_read_and_dropped_while_others_are_collected_can_all_be_used() {
    let world = Arc::new(World::new(slow()));
    let collecting = tokio::spawn({
        let world = world.clone();
        async move {
            let mut objects = 0;
            loop {
                objects += world.checkpoints.collect(Duration::ZERO).await.unwrap().objects;
                if Arc::strong_count(&world) == 2 {
                    return objects;
                }
            }
        }
    });
    let mut processes = Vec::new();
    for number in 1..4 {
        let world = world.clone();
        processes.push(tokio::spawn(async move {
            let mut runner = world.live(number, 0);
            for round in 1..25 {
                go_on(&mut runner, round * 7);
                assert!(world.save(&mut runner).await);
                match round % 5 {
                    // It comes back from its checkpoint.
                    1 => {
                        drop(runner);
                        runner = world.restore(number, Reach::Newest).await.unwrap();
                        assert_eq!(runner.stream.link().unwrap().nonce.0, round * 7);
                    }
                    // All its checkpoints are lost, and it writes the same ones again.
                    3 => {
                        drop(runner);
                        world.delete(&Name::folder(ProcessId::from_bytes([number; 32]))).await;
                        runner = world.live(number, round * 7);
                        assert!(world.save(&mut runner).await);
                    }
                    _ => {}
                }
            }
        }));
    }
    for process in processes {
        process.await.unwrap();
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while Arc::strong_count(&world) > 2 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(collecting.await.unwrap() > 10);
    let world = Arc::into_inner(world).unwrap().forgetful();
    for number in 1..4 {
        assert!(world.has(number, 24 * 7).await, "process {number}");
    }
    // And nothing is left that nobody needs.
    let mut needed: Vec<PackId> = Vec::new();
    for path in world.paths("checkpoints").await {
        let manifest = Manifest::read(&world.store.get(&path, MAX_MANIFEST_BYTES as u64).await.unwrap()).unwrap();
        needed.extend(manifest.packs.iter().filter(|pack| pack.used > 0).map(|pack| pack.id));
    }
    world.checkpoints.collect(Duration::ZERO).await.unwrap();
    for path in world.paths("packs").await {
        assert!(needed.iter().any(|pack| pack_path(pack) == path), "{path}");
    }
}
