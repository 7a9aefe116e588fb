//! What a process is comes back from a checkpoint: after a restart, after eviction, at any slot; and only if it is sound.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holon_cu::CheckpointStore;
use holon_protocol::ProcessId;
use serde_json::Value;

use crate::guest;
use crate::network::Network;

/// Everything below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn manifests(network: &Network, process: ProcessId) -> Vec<PathBuf> {
    let mut found = files(&network.folder.path().join(format!("cu/checkpoints/checkpoints/{process}")));
    found.sort();
    found
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn root(network: &Network, process: ProcessId, query: &str) -> Value {
    let (status, body) = network.json(&format!("/root/{process}{query}")).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// Messages that were evaluated since the unit was started.
pub async fn evaluated(network: &Network) -> u64 {
    let text = network.get("/metrics").await.text().await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with("ao_cu_ao_process_total_evaluations_total{"));
    lines
        .filter(|line| line.contains("primary"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_checkpoint_and_evaluates_nothing_twice() {
    let mut network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Tick")]).await;
    for _ in 0..5 {
        network.send(process, "Add").await;
    }
    let last = network.send(process, "Add").await;
    network.count(process, last).await;
    let before = root(&network, process, "?slot=6").await;
    assert_eq!(before["nonce"], 6);
    network.stop_cu().await;
    assert_eq!(manifests(&network, process).len(), 1);
    network.start_cu().await;
    assert_eq!(root(&network, process, "?slot=6").await["stateRoot"], before["stateRoot"]);
    let replayed = evaluated(&network).await;
    assert!(replayed <= 1, "{replayed} messages were evaluated again");
    let next = network.send(process, "Add").await;
    let count: u64 = network.count(process, next).await.parse().unwrap();
    assert!(count >= 8, "{count}");
    // Against a unit that has never heard of checkpoints, with the same log.
    let slot = root(&network, process, "?slot=7").await;
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu/checkpoints")).unwrap();
    std::fs::remove_dir_all(network.folder.path().join("cu/results")).unwrap();
    network.start_cu().await;
    assert_eq!(root(&network, process, "?slot=7").await["stateRoot"], slot["stateRoot"]);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_killed_goes_on_from_an_older_checkpoint() {
    let mut network = Network::start_with(|options| {
        options.checkpoint_messages = 4;
        options.checkpoint_evaluation = Duration::from_secs(3600);
    })
    .await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..9 {
        let message = network.send(process, "Add").await;
        network.count(process, message).await;
        messages.push(message);
    }
    until("a checkpoint in the background", || !manifests(&network, process).is_empty()).await;
    let before = root(&network, process, "").await;
    let outputs = network.outputs(process).await;
    // What a kill leaves: the files as they are, with nothing that is done at the end.
    let kept = network.folder.path().join("kept");
    let copied = std::process::Command::new("cp")
        .args(["-r", network.folder.path().join("cu/checkpoints").to_str().unwrap(), kept.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(copied.success());
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu")).unwrap();
    std::fs::create_dir_all(network.folder.path().join("cu")).unwrap();
    std::fs::rename(&kept, network.folder.path().join("cu/checkpoints")).unwrap();
    network.start_cu().await;
    assert_eq!(root(&network, process, "").await["stateRoot"], before["stateRoot"]);
    let replayed = evaluated(&network).await;
    assert!((1..8).contains(&replayed), "{replayed} of 10 messages were evaluated again");
    // Results from before the checkpoint are gone with the store; asking for one brings it back.
    assert_eq!(network.count(process, messages[1]).await, "3");
    for (message, expected) in messages.iter().zip(2..) {
        assert_eq!(network.count(process, *message).await, expected.to_string());
    }
    assert_eq!(network.outputs(process).await, outputs);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_before_a_checkpoint_is_still_recognised() {
    let mut network = Network::start().await;
    let process = network.spawn(&[]).await;
    let item = network.message(process, "Add", &[]);
    network.publish(&item).await;
    let first = network.assign(process, item.id(), "").await;
    assert_eq!(network.count(process, first).await, "2");
    network.stop_cu().await;
    // The store that knew it is lost; the checkpoint knows it, too.
    std::fs::remove_dir_all(network.folder.path().join("cu/results")).unwrap();
    network.start_cu().await;
    network.assign(process, item.id(), "").await;
    let next = network.send(process, "Add").await;
    assert_eq!(network.count(process, next).await, "3");
    assert_eq!(evaluated(&network).await, 1);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_passed_over() {
    let mut network = Network::start().await;
    let process = network.spawn(&[]).await;
    for _ in 0..3 {
        network.send(process, "Add").await;
    }
    let before = root(&network, process, "").await;
    network.stop_cu().await;
    let folder = network.folder.path().join("cu/checkpoints");
    let pack = files(&folder.join("packs")).pop().unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x55;
    }
    std::fs::write(&pack, bytes).unwrap();
    network.start_cu().await;
    assert_eq!(root(&network, process, "").await["stateRoot"], before["stateRoot"]);
    assert_eq!(evaluated(&network).await, 4);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_at_any_slot_is_the_one_that_was_there() {
    let network = Network::start_with(|options| options.checkpoint_messages = 3).await;
    let process = network.spawn(&[]).await;
    let mut roots = vec![root(&network, process, "?slot=0").await];
    for _ in 0..8 {
        let message = network.send(process, "Add").await;
        network.count(process, message).await;
        roots.push(root(&network, process, "").await);
    }
    until("checkpoints in the background", || !manifests(&network, process).is_empty()).await;
    for (slot, expected) in roots.iter().enumerate() {
        let found = root(&network, process, &format!("?slot={slot}")).await;
        assert_eq!(found, *expected);
        let answer = network.get(&format!("/state/{process}?slot={slot}")).await;
        assert_eq!(answer.headers()["state-root"], expected["stateRoot"].as_str().unwrap());
        assert_eq!(answer.headers()["nonce"], slot.to_string());
        let memory = answer.bytes().await.unwrap();
        assert_eq!(memory.len() as u64, expected["memoryBytes"].as_u64().unwrap());
        assert_eq!(u32::from_le_bytes(memory[16..20].try_into().unwrap()), slot as u32 + 1);
    }
    assert_eq!(network.json(&format!("/root/{process}?slot=99")).await.0, 404);
    assert_eq!(network.json(&format!("/root/{process}?slot=x")).await.0, 400);
    network.stop().await;
}

/// What `/metrics` says that live processes take, in bytes.
async fn live_bytes(network: &Network) -> u64 {
    let text = network.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with("ao_cu_live_memory_bytes ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_stays_when_its_checkpoint_cannot_be_written_until_it_is_too_much() {
    static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
    let mut network = Network::start_with(|options| options.live_memory_bytes = LIMIT.load(Ordering::Relaxed)).await;
    let large = format!("(memory (export \"memory\") 64) (data (i32.const 2000000) \"{}\")", "a".repeat(2 << 20));
    let text = guest::text().replace("(memory (export \"memory\") 4)", &large);
    let format = "wasm32-unknown-unknown-holon1";
    let module = network.publish_module(&wat::parse_str(text).unwrap(), format, &[]).await;
    let process = network.spawn_module(module, &[]).await;
    let last = network.send(process, "Add").await;
    assert_eq!(network.count(process, last).await, "2");
    assert_eq!(network.peek(process).await, "2");
    let bytes = live_bytes(&network).await;
    assert!(bytes > 2 << 20);
    network.stop_cu().await;
    // Packs can be written, manifests cannot.
    let folder = network.folder.path().join("cu/checkpoints");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("checkpoints"), "").unwrap();
    let tried = || !files(&folder.join("packs")).is_empty();
    for (limit, again) in [(bytes - bytes / 25, 0), (bytes / 2, 3)] {
        LIMIT.store(limit, Ordering::Relaxed);
        network.start_cu().await;
        // Evaluated from the log, and committed, so that there is too much.
        let message = network.send(process, "Add").await;
        network.count(process, message).await;
        network.peek(process).await;
        until("the attempt to write a checkpoint", tried).await;
        let before = evaluated(&network).await;
        let message = network.send(process, "Add").await;
        let count: u64 = network.count(process, message).await.parse().unwrap();
        let more = evaluated(&network).await - before;
        // Either it is still there, or everything is evaluated again; it is never wrong.
        assert!(if again == 0 { more == 1 } else { more == count }, "{more} evaluations for {count}");
        network.stop_cu().await;
        std::fs::remove_dir_all(folder.join("packs")).unwrap();
    }
    network.start_cu().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_nobody_waits_for_any_more_makes_room() {
    let network = Network::start_with(|options| options.checkpoint_store = CheckpointStore::None).await;
    let (silent, other) = (network.spawn(&[]).await, network.spawn(&[]).await);
    for process in [silent, other] {
        for _ in 0..3 {
            let message = network.send(process, "Add").await;
            network.count(process, message).await;
        }
    }
    let expected = root(&network, other, "?slot=1").await;
    *network.proxy.silent.lock().unwrap() = Some(silent.to_string());
    let asked = network.proxy.seen.lock().unwrap().len();
    let url = network.cu.as_ref().unwrap().url();
    // As many as there are at the same time.
    let waiting =
        [0, 1].map(|slot| tokio::spawn(network.client.get(format!("{url}/root/{silent}?slot={slot}")).send()));
    until("replays that get no answer", || {
        let seen = network.proxy.seen.lock().unwrap();
        seen[asked..].iter().filter(|path| path.contains(&silent.to_string())).count() >= 2
    })
    .await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    let answer = tokio::time::timeout(Duration::from_secs(30), root(&network, other, "?slot=1")).await;
    assert_eq!(answer.expect("abandoned replays hold their places"), expected);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_do_not_fit_come_and_go_through_checkpoints() {
    // No memory may stay at all.
    let network = Network::start_with(|options| options.live_memory_bytes = 0).await;
    let mut processes = Vec::new();
    for _ in 0..6 {
        processes.push(network.spawn(&[]).await);
    }
    for expected in 2..6 {
        for process in &processes {
            let message = network.send(*process, "Add").await;
            assert_eq!(network.count(*process, message).await, expected.to_string());
        }
    }
    until("checkpoints of all", || processes.iter().all(|process| !manifests(&network, *process).is_empty())).await;
    // Every process was brought back without evaluating what it had been before.
    let evaluations = evaluated(&network).await;
    assert_eq!(evaluations, 6 * 5);
    // They have most pages in common, which are stored once.
    let packs = files(&network.folder.path().join("cu/checkpoints/packs"));
    // What was being written when they were listed has its own name by now.
    let bytes: u64 = packs.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
    assert!(bytes < 64 << 10, "{bytes} bytes for {} packs", packs.len());
    network.stop().await;
}
