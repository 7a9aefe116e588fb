//! Live results as server-sent events.

use std::time::Duration;

use holon_protocol::ProcessId;
use serde_json::{Value, json};

use crate::network::Network;

/// Longest wait for an event.
const DEADLINE: Duration = Duration::from_secs(30);

/// An open answer.
pub struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    pub async fn open(network: &Network, process: ProcessId, query: &str, last: Option<&str>) -> Self {
        let url = format!("{}/events/{process}{query}", network.cu.as_ref().unwrap().url());
        let mut request = network.client.get(url);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// Kind and data of the next event.
    async fn next(&mut self) -> (String, Value) {
        let (kind, _, data) = self.next_with_id().await;
        (kind, data)
    }

    async fn next_with_id(&mut self) -> (String, Option<String>, Value) {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (found, id) = (field("event: ").zip(field("data: ")), field("id: "));
                self.text = rest.to_owned();
                if let Some((kind, data)) = found {
                    return (kind, id, serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("an event in time");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap().expect("the answer stays open")).unwrap());
        }
    }

    pub async fn result(&mut self) -> Value {
        let (kind, data) = self.next().await;
        assert_eq!(kind, "result", "{data}");
        data
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_told_every_result_once_in_order_and_continues_where_it_was() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    network.send(process, "Add").await;
    let mut first = Events::open(&network, process, "?from=0", None).await;
    let mut told = Vec::new();
    for nonce in 0..2 {
        let result = first.result().await;
        assert_eq!((&result["nonce"], &result["cron"]), (&nonce.into(), &Value::Null));
        told.push(result);
    }
    assert_eq!(told[1]["result"]["Output"], "2");
    // A second reader hears only what is new; nobody asks for results, and failed ones are told as well.
    let mut second = Events::open(&network, process, "", None).await;
    assert_eq!(second.next().await, ("ready".to_owned(), json!({ "cursor": told[1]["cursor"] })));
    network.send(process, "X-Fail").await;
    network.send(process, "Add").await;
    for reader in [&mut first, &mut second] {
        let failed = reader.result().await;
        assert_eq!((&failed["nonce"], &failed["result"]["Error"]), (&2.into(), &"failed on purpose".into()));
        assert_eq!(reader.result().await["result"]["Output"], "3");
    }
    // A connection that broke continues after the last event, whatever its URL says.
    drop(first);
    let last = told[0]["cursor"].as_str().unwrap();
    let mut again = Events::open(&network, process, "?from=0", Some(last)).await;
    assert_eq!(again.result().await, told[1]);
    let refused = network.get(&format!("/events/{process}?from=nonsense")).await;
    assert_eq!(refused.status(), 400);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_the_first_result_misses_nothing() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut events = Events::open(&network, process, "", None).await;
    let (kind, id, data) = events.next_with_id().await;
    assert_eq!((kind.as_str(), id.as_deref()), ("ready", data["cursor"].as_str()));
    drop(events);
    // As a browser does: the same address, and the last id it was told.
    network.send(process, "Add").await;
    let mut again = Events::open(&network, process, "", id.as_deref()).await;
    assert_eq!(again.result().await["result"]["Output"], "2");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_go_on_says_why_and_then_goes_on() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    network.send(process, "Add").await;
    let mut events = Events::open(&network, process, "?from=0", None).await;
    events.result().await;
    events.result().await;
    network.proxy.tamper(|_, json| {
        if let Some(chain) = json.pointer_mut("/edges/0/node/assignment/tags") {
            *chain = Value::Array(Vec::new());
        }
    });
    network.send(process, "Add").await;
    let (kind, data) = events.next().await;
    assert_eq!(kind, "held", "{data}");
    assert!(data["error"].as_str().is_some_and(|reason| !reason.is_empty()), "{data}");
    network.proxy.honest();
    assert_eq!(events.result().await["result"]["Output"], "3");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_process_that_nobody_knows_are_not_found() {
    let network = Network::start().await;
    let nobody = ProcessId::from_bytes([0x5a; 32]);
    let (status, body) = network.json(&format!("/events/{nobody}")).await;
    assert_eq!(status, 404, "{body}");
    assert!(body["error"].as_str().unwrap().contains("is known to no scheduler"), "{body}");
    network.stop().await;
}
