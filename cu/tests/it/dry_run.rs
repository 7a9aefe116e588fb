//! Dry runs: on a copy of the state, leaving no trace.

use serde_json::json;

use crate::network::{Network, answer, dry};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sees_the_newest_state_and_changes_nothing() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    assert_eq!(network.peek(process).await, "1");
    for expected in 2..6 {
        network.send(process, "Add").await;
        // Longer than the age that states may have by default.
        let (_, body) = network.dry_run(process, "", dry(process, "Add")).await;
        assert!(body["Output"].is_string(), "{body}");
        let url = format!("{}/dry-run?process-id={process}", network.cu.as_ref().unwrap().url());
        let fresh = network.client.post(url).header("x-max-age", "0").json(&dry(process, "X-Get"));
        let (_, body) = answer(fresh.send().await.unwrap()).await;
        assert_eq!(body["Output"], json!(expected.to_string()));
    }
    assert_eq!(network.outputs(process).await, ["1", "2", "3", "4", "5"]);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_can_look_at_the_past_and_at_failures() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..4 {
        messages.push(network.send(process, "Add").await);
    }
    for (message, expected) in [(messages[3], "5"), (messages[0], "2"), (messages[2], "4"), (messages[0], "2")] {
        let (status, body) = network.dry_run(process, &format!("&to={message}"), dry(process, "X-Get")).await;
        assert_eq!((status, &body["Output"]), (200, &json!(expected)), "{body}");
    }
    let (status, body) = network.dry_run(process, "", dry(process, "X-Fail")).await;
    assert_eq!((status, &body["Error"]), (200, &json!("failed on purpose")));
    let (status, body) = network.dry_run(process, "", dry(process, "X-Trap")).await;
    assert!(status == 200 && body["Error"].is_string(), "{body}");
    assert_eq!(network.peek(process).await, "5");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sees_a_dry_run_as_such() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let (status, body) = network.dry_run(process, "", dry(process, "X-Echo")).await;
    assert_eq!(status, 200, "{body}");
    let seen = &body["Output"];
    assert_eq!((&seen["Owner"], &seen["From"], &seen["Read-Only"]), (&json!("1234"), &json!("1234"), &json!(true)));
    assert_eq!((&seen["Cron"], &seen["Target"]), (&json!(false), &json!(process)));
    assert!(seen["Timestamp"].is_u64() && seen["Block-Height"].is_u64() && seen.get("Nonce").is_none(), "{seen}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_dry_runs_of_one_client_are_refused() {
    let network = Network::start_with(|options| options.rate_limit_requests = 2).await;
    let process = network.spawn(&[]).await;
    for action in ["a", "b"] {
        assert_eq!(network.dry_run(process, "", dry(process, action)).await.0, 200);
    }
    let (status, body) = network.dry_run(process, "", dry(process, "c")).await;
    assert_eq!((status, body), (429, json!({ "error": "Rate limit exceeded" })));
    // What is known already is not counted.
    assert_eq!(network.dry_run(process, "", dry(process, "a")).await.0, 200);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_in_the_past_counts_before_the_replay_it_needs() {
    let network = Network::start_with(|options| options.rate_limit_requests = 1).await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(network.send(process, "Add").await);
    }
    assert_eq!(network.count(process, messages[2]).await, "4");
    let past = |at: usize| format!("&to={}", messages[at]);
    assert_eq!(network.dry_run(process, &past(0), dry(process, "X-Get")).await.1["Output"], json!("2"));
    let pages = network.proxy.count(&format!("/{process}"));
    assert_eq!(network.dry_run(process, &past(1), dry(process, "X-Get")).await.0, 429);
    assert_eq!(network.proxy.count(&format!("/{process}")), pages, "the log was read for it");
    network.stop().await;
}
