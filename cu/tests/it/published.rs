//! Checkpoints on Arweave: published in the network's form, found, and used only when the operator's policy and their
//! contents allow it.

use std::io::Read;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use flate2::read::GzEncoder;
use holon_arweave::{Gateway, GatewayOptions, Query};
use holon_cu::{CheckpointPolicy, CheckpointStore, Options};
use holon_protocol::{DataItem, ProcessId, Signer};
use serde_json::Value;

use crate::checkpoints::evaluated;
use crate::network::Network;

/// Another wallet that the operator lists.
fn other() -> &'static Signer {
    static OTHER: OnceLock<Signer> = OnceLock::new();
    OTHER.get_or_init(|| Signer::generate_ed25519().unwrap())
}

fn nothing_local(options: &mut Options) {
    options.checkpoint_store = CheckpointStore::None;
    options.checkpoint_owners = vec![other().address()];
}

/// A unit that knows a process with nonces 0 to 5 only by hearsay: what it stored is gone.
async fn forgetful(change: fn(&mut Options)) -> (Network, ProcessId, Value, Vec<u8>) {
    let mut network = Network::start_with(change).await;
    let process = network.spawn(&[]).await;
    for _ in 0..5 {
        network.send(process, "Add").await;
    }
    let (status, root) = network.json(&format!("/root/{process}?slot=5")).await;
    assert_eq!(status, 200, "{root}");
    let memory = network.get(&format!("/state/{process}?slot=5")).await.bytes().await.unwrap().to_vec();
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu/results")).unwrap();
    (network, process, root, memory)
}

/// Publishes what somebody says about slot 5.
async fn claim(network: &Network, process: ProcessId, at: &Value, memory: &[u8], root: Option<&str>, signer: &Signer) {
    let mut data = Vec::new();
    GzEncoder::new(memory, flate2::Compression::best()).read_to_end(&mut data).unwrap();
    let mut item = DataItem::builder()
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Checkpoint")
        .tag("Module", network.module.to_string())
        .tag("Process", process.to_string())
        .tag("Nonce", "5")
        .tag("Timestamp", at["timestamp"].to_string())
        .tag("Content-Encoding", "gzip");
    if let Some(root) = root {
        item = item.tag("State-Root", root);
    }
    network.publish(&item.data(data).sign(signer).unwrap()).await;
}

/// Sends one more message; gives how many were evaluated for it.
async fn goes_on(network: &Network, process: ProcessId) -> u64 {
    let message = network.send(process, "Add").await;
    assert_eq!(network.count(process, message).await, "7");
    evaluated(network).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_checkpoint_has_the_networks_tags_and_starts_a_unit_that_knows_nothing() {
    let mut network = Network::start_with(|options| {
        options.publish_checkpoints = true;
        options.publish_evaluation = Duration::ZERO;
        options.publish_throttle = Duration::from_secs(3600);
        options.checkpoint_policy = CheckpointPolicy::Own;
    })
    .await;
    let process = network.spawn(&[]).await;
    for _ in 0..3 {
        network.send(process, "Add").await;
    }
    assert_eq!(network.json(&format!("/root/{process}")).await.0, 200);
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let query = Query::default().tag("Type", "Checkpoint").tag("Process", process.to_string());
    let deadline = Instant::now() + Duration::from_secs(30);
    let node = loop {
        if let Some(node) = gateway.nodes(&query).await.unwrap().nodes.pop() {
            break node;
        }
        assert!(Instant::now() < deadline, "nothing is published");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let names: Vec<&str> = node.tags.0.iter().map(|tag| tag.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "Data-Protocol",
            "Variant",
            "Type",
            "Module",
            "Process",
            "Nonce",
            "Timestamp",
            "Block-Height",
            "Content-Type",
            "SHA-256",
            "Content-Encoding",
            "Unit-Identifier",
            "Ordinate",
            "Assignment",
            "Hash-Chain",
            "State-Root",
            "Evaluator",
        ]
    );
    let nonce: u64 = node.tags.get("Nonce").unwrap().parse().unwrap();
    let root = network.json(&format!("/root/{process}?slot={nonce}")).await.1;
    assert_eq!(node.tags.get("State-Root"), root["stateRoot"].as_str());
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu")).unwrap();
    network.start_cu().await;
    let message = network.send(process, "Add").await;
    assert_eq!(network.count(process, message).await, "5");
    assert_eq!(evaluated(&network).await, 4 - nonce);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_the_reference_which_names_no_root_is_used_only_when_its_signer_is_trusted() {
    let listed = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Listed;
    };
    let trusted = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Trusted;
    };
    let (mut network, process, at, memory) = forgetful(listed).await;
    claim(&network, process, &at, &memory, None, other()).await;
    network.start_cu().await;
    assert_eq!(goes_on(&network, process).await, 7, "it was used although it names no root");
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu/results")).unwrap();
    network.loosen(trusted);
    network.start_cu().await;
    let message = network.send(process, "Add").await;
    assert_eq!(network.count(process, message).await, "8");
    assert_eq!(evaluated(&network).await, 2);
    // What was before is evaluated when somebody asks.
    assert_eq!(network.count(process, process.into()).await, "1");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_with_another_memory_than_its_root_says_is_refused() {
    let change = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Listed;
    };
    let (mut network, process, at, mut memory) = forgetful(change).await;
    memory[16] = 100;
    claim(&network, process, &at, &memory, at["stateRoot"].as_str(), other()).await;
    network.start_cu().await;
    assert_eq!(goes_on(&network, process).await, 7);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signer_with_a_wrong_memory_does_not_keep_others_from_being_used() {
    let change = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Listed;
    };
    // Whoever is tried first.
    for bad_is_other in [false, true] {
        let (mut network, process, at, memory) = forgetful(change).await;
        let (bad, good) = match bad_is_other {
            true => (other(), &network.cu_wallet),
            false => (&network.cu_wallet, other()),
        };
        let mut wrong = memory.clone();
        wrong[16] = 100;
        let root = at["stateRoot"].as_str();
        claim(&network, process, &at, &wrong, root, bad).await;
        claim(&network, process, &at, &memory, root, good).await;
        network.start_cu().await;
        assert_eq!(goes_on(&network, process).await, 1, "the bad one is the listed one: {bad_is_other}");
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_checkpoint_is_not_even_looked_at() {
    let change = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Listed;
    };
    let (mut network, process, at, memory) = forgetful(change).await;
    claim(&network, process, &at, &memory, at["stateRoot"].as_str(), &network.user).await;
    network.start_cu().await;
    assert_eq!(goes_on(&network, process).await, 7);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_needs_as_many_different_signers_of_one_root() {
    let change = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Quorum(2);
    };
    let (mut network, process, at, memory) = forgetful(change).await;
    let root = at["stateRoot"].as_str();
    claim(&network, process, &at, &memory, root, other()).await;
    network.start_cu().await;
    assert_eq!(goes_on(&network, process).await, 7, "one signer is not enough");
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu/results")).unwrap();
    claim(&network, process, &at, &memory, root, &network.cu_wallet).await;
    network.start_cu().await;
    let message = network.send(process, "Add").await;
    assert_eq!(network.count(process, message).await, "8");
    assert_eq!(evaluated(&network).await, 2);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signers_that_disagree_are_no_quorum() {
    let change = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Quorum(2);
    };
    let (mut network, process, at, memory) = forgetful(change).await;
    let lie = holon_protocol::base64url::encode([7; 32]);
    claim(&network, process, &at, &memory, at["stateRoot"].as_str(), other()).await;
    claim(&network, process, &at, &memory, Some(&lie), &network.cu_wallet).await;
    network.start_cu().await;
    assert_eq!(goes_on(&network, process).await, 7);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_verified_is_replayed() {
    let change = |options: &mut Options| {
        nothing_local(options);
        options.checkpoint_policy = CheckpointPolicy::Verified;
    };
    let (mut network, process, at, memory) = forgetful(change).await;
    claim(&network, process, &at, &memory, at["stateRoot"].as_str(), other()).await;
    network.start_cu().await;
    assert_eq!(goes_on(&network, process).await, 7);
    network.stop().await;
}
