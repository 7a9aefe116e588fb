//! Entries as server-sent events.

use std::time::Duration;

use holon_protocol::{ItemId, ProcessId};
use serde_json::Value;

use crate::network::Network;

/// Longest wait for an event.
const DEADLINE: Duration = Duration::from_secs(30);

async fn next(response: &mut reqwest::Response, text: &mut String) -> Value {
    loop {
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.strip_prefix("event: scheduled\ndata: ").map(|data| serde_json::from_str(data).unwrap());
            *text = rest.to_owned();
            if let Some(data) = data {
                return data;
            }
        }
        let chunk = tokio::time::timeout(DEADLINE, response.chunk()).await.expect("an event in time");
        text.push_str(std::str::from_utf8(&chunk.unwrap().expect("the answer stays open")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_told_of_entries_once_they_are_durable() {
    let network = Network::start().await;
    let quiet = network.spawn().await;
    let (mut all, mut only) =
        (network.su.get("/events").await, network.su.get(&format!("/events?process-id={quiet}")).await);
    assert_eq!(all.headers()["content-type"], "text/event-stream");
    let process = network.spawn_tagged(&[("Name", "loud")]).await;
    let first = network.message(process, &[], "1");
    let second = network.message(quiet, &[], "2");
    network.su.schedule(&first).await;
    network.su.schedule(&second).await;
    let mut text = String::new();
    let expected: [(ProcessId, ItemId, u64); 3] =
        [(process, process.into(), 0), (process, first.id(), 1), (quiet, second.id(), 1)];
    for (process, message, nonce) in expected {
        let mut event = next(&mut all, &mut text).await;
        if event["process"] == quiet.to_string() && event["nonce"] == 0 {
            // It was told of late: the reader was there already.
            event = next(&mut all, &mut text).await;
        }
        assert_eq!(event["process"], process.to_string());
        assert_eq!((&event["message"], &event["nonce"]), (&message.to_string().into(), &nonce.into()), "{event}");
        // What is told can be read.
        let log = network.su.log(process).await;
        let entry = log.iter().find(|entry| entry.assignment.id.to_string() == event["assignment"]);
        assert_eq!(entry.unwrap().message.as_ref().unwrap().id, message);
    }
    let mut text = String::new();
    let mut event = next(&mut only, &mut text).await;
    if event["nonce"] == 0 {
        event = next(&mut only, &mut text).await;
    }
    assert_eq!(event["message"], second.id().to_string());
    assert_eq!(network.su.get("/events?process-id=nobody").await.status(), 400);
    network.stop().await;
}
