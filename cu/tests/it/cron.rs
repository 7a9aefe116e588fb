//! Cron messages, with block times from a real gateway.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::network::Network;

fn cursors(body: &Value) -> Vec<Value> {
    use base64::Engine;
    let edges = body["edges"].as_array().unwrap();
    let decode = |edge: &Value| {
        let cursor = edge["cursor"].as_str().unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(cursor).unwrap()).unwrap()
    };
    edges.iter().map(decode).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_messages_fire_between_the_messages_of_the_log() {
    let network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "X-Echo")]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let crons = loop {
        let (status, body) = network.json(&format!("/cron/{process}")).await;
        assert_eq!(status, 200, "{body}");
        if body["edges"].as_array().unwrap().len() >= 2 {
            break body;
        }
        assert!(Instant::now() < deadline, "no cron message fired");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let seen = &crons["edges"][0]["node"]["Output"];
    let keys: Vec<&String> = seen.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Owner", "Target", "From", "Tags", "Timestamp", "Block-Height", "Cron", "Read-Only"]);
    assert_eq!(seen["Owner"], network.user.address().to_string());
    let first = cursors(&crons);
    assert!(first.iter().all(|cursor| cursor["cron"] == "0-1-second" && cursor["ordinate"] == "0"), "{first:?}");
    // Going on from the last cursor gives later ones only.
    let last = crons["edges"].as_array().unwrap().last().unwrap()["cursor"].as_str().unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(last.as_bytes()).collect();
    let (_, later) = network.json(&format!("/cron/{process}?from={encoded}")).await;
    let newest = first.last().unwrap()["timestamp"].as_u64();
    assert!(cursors(&later).iter().all(|cursor| cursor["timestamp"].as_u64() > newest), "{later}");
    // A message stands among them at its time, and those after it carry its nonce.
    let message = network.send(process, "Add").await;
    network.result(process, message).await;
    let (_, all) = network.json(&format!("/results/{process}?limit=1000")).await;
    let times: Vec<u64> = cursors(&all).iter().map(|cursor| cursor["timestamp"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_fires_the_same_cron_messages() {
    let mut network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Add")]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while network.json(&format!("/cron/{process}")).await.1["edges"].as_array().unwrap().len() < 3 {
        assert!(Instant::now() < deadline, "no cron message fired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let message = network.send(process, "Add").await;
    let count = network.count(process, message).await;
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu/results")).unwrap();
    network.start_cu().await;
    assert_eq!(network.count(process, message).await, count);
    network.stop().await;
}
