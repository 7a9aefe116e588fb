//! What survives a restart, and what a damaged store costs.

use crate::network::Network;

#[tokio::test(flavor = "multi_thread")]
async fn stored_results_are_served_after_a_restart_without_evaluation() {
    let mut network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(network.send(process, "Add").await);
    }
    network.count(process, messages[4]).await;
    let before = network.outputs(process).await;
    network.stop_cu().await;
    let asked = network.proxy.seen.lock().unwrap().len();
    network.start_cu().await;
    for (message, expected) in messages.iter().zip(2..) {
        assert_eq!(network.count(process, *message).await, expected.to_string());
    }
    assert_eq!(network.outputs(process).await, before);
    assert_eq!(network.proxy.seen.lock().unwrap().len(), asked, "the scheduler was asked");
    // The next message needs the state, which a replay gives without adding results.
    let next = network.send(process, "Add").await;
    assert_eq!(network.count(process, next).await, "7");
    assert_eq!(network.outputs(process).await.len(), 7);
    assert!(!network.get("/metrics").await.text().await.unwrap().contains("ao_cu_replay_divergences_total 1"));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_rebuilt_by_replay() {
    let mut network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(network.send(process, "Add").await);
    }
    network.count(process, messages[4]).await;
    let before = network.outputs(process).await;
    network.stop_cu().await;
    let file = network.folder.path().join("cu/results/db");
    let length = std::fs::metadata(&file).unwrap().len() as usize;
    std::fs::write(&file, vec![0xa5; length]).unwrap();
    network.start_cu().await;
    assert_eq!(network.outputs(process).await, Vec::<String>::new());
    assert_eq!(network.count(process, messages[4]).await, "6");
    assert_eq!(network.outputs(process).await, before);
    assert_eq!(network.count(process, messages[0]).await, "2");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_memory_was_dropped_comes_back() {
    // No memory at all may stay, and a dry run wants to see everything.
    let network = Network::start_with(|options| {
        options.live_memory_bytes = 0;
        options.dry_run_max_age = std::time::Duration::ZERO;
    })
    .await;
    let process = network.spawn(&[]).await;
    for expected in 2..6 {
        let message = network.send(process, "Add").await;
        assert_eq!(network.count(process, message).await, expected.to_string());
        assert_eq!(network.peek(process).await, expected.to_string());
    }
    assert_eq!(network.outputs(process).await, ["1", "2", "3", "4", "5"]);
    network.stop().await;
}
