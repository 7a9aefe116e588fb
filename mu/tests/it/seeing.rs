//! Seeing: traces, the trace context at other units, dead letters and taking them up again.

use holon_mu::Options;
use holon_protocol::{ItemId, ProcessId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::network::{Network, get, idle, post, request};

const A: ProcessId = ProcessId::from_bytes([1; 32]);
const B: ProcessId = ProcessId::from_bytes([2; 32]);
const WALLET: ItemId = ItemId::from_bytes([90; 32]);

fn message(target: impl serde::Serialize, number: u32, data: &str) -> Value {
    json!({ "Target": target, "Anchor": format!("{number:032}"), "Data": data, "Tags": [] })
}

/// A's "start" leads to B ("middle"), a wallet, and nothing usable; B's "middle" fails after it led to A ("end").
fn network() -> Network {
    let network = Network::start();
    for byte in 1..=2 {
        network.process(byte);
    }
    let mut state = network.state.lock().unwrap();
    let start = vec![message(B, 1, "middle"), message(WALLET, 2, "pay"), json!({ "Target": "nonsense" })];
    state.results.insert("start".into(), json!({ "Messages": start, "Spawns": [], "Assignments": [] }));
    let middle = json!({ "Messages": [message(A, 3, "end")], "Spawns": [], "Assignments": [], "Error": "it broke" });
    state.results.insert("middle".into(), middle);
    drop(state);
    network
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_shows_the_tree_with_process_nonce_times_and_error() {
    let network = network();
    let messenger = network.messenger().await;
    let start = network.message(A, "start");
    assert_eq!(post(&messenger, "/", start.raw().clone()).await.0, 202);
    idle(&messenger).await;

    let trace = get(&messenger, &format!("/trace/{}", start.id())).await;
    assert_eq!(
        (&trace["origin"], &trace["truncated"], &trace["waiting"]),
        (&json!(start.id()), &json!(false), &json!(0))
    );
    let nodes = trace["nodes"].as_array().unwrap();
    let row = |node: &Value| (node["kind"].clone(), node["to"].clone(), node["nonce"].clone(), node["depth"].clone());
    let rows: Vec<_> = nodes.iter().map(row).collect();
    let expected = [
        (json!("message"), json!(A), json!(0), json!(0)),
        (json!("message"), json!(B), json!(0), json!(1)),
        (json!("message"), json!(A), json!(1), json!(2)),
        (json!("wallet-message"), json!(WALLET), json!(null), json!(1)),
    ];
    // The two children of the first may be signed in either order.
    assert_eq!(rows.len(), 4, "{trace}");
    assert_eq!(rows[0], expected[0]);
    for row in &expected {
        assert!(rows.contains(row), "{row:?} in {rows:?}");
    }
    let middle = nodes.iter().find(|node| node["to"] == json!(B)).unwrap();
    assert_eq!(middle["result"]["error"], "it broke");
    assert_eq!((&middle["from"], &middle["parent"]), (&json!(A), &json!(start.id())));
    let times: Vec<_> =
        ["madeAt", "scheduledAt", "evaluatedAt"].iter().map(|time| middle[time].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] > 0, "{times:?}");
    assert_eq!(nodes[0]["result"]["messages"], 2);
    assert_eq!(nodes[0]["result"]["skipped"][0][0], "Messages[2]");

    // From the middle on, and with a limit.
    let below = get(&messenger, &format!("/trace/{}", middle["id"].as_str().unwrap())).await;
    assert_eq!(below["nodes"].as_array().unwrap().len(), 2);
    let cut = get(&messenger, &format!("/trace/{}?limit=2", start.id())).await;
    assert_eq!((cut["nodes"].as_array().unwrap().len(), &cut["truncated"]), (2, &json!(true)));
    assert_eq!(request(&messenger, Method::GET, &format!("/trace/{WALLET}"), "").await.0, 404);
    assert_eq!(request(&messenger, Method::GET, "/trace/x", "").await.0, 400);

    // It is there after a restart.
    messenger.stop().await.unwrap();
    let messenger = network.messenger().await;
    let again = get(&messenger, &format!("/trace/{}", start.id())).await;
    assert_eq!(again["nodes"], trace["nodes"]);

    // The reference's form.
    let page = get(&messenger, &format!("/?debug=1&process={A}&page-size=1")).await;
    assert_eq!(page["pageInfo"]["hasNextPage"], true);
    let page = get(&messenger, &format!("/?debug=1&process={A}&message={}", start.id())).await;
    let edges = page["edges"].as_array().unwrap();
    let relations: Vec<_> = edges.iter().map(|edge| edge["node"]["relation"].as_str().unwrap()).collect();
    assert_eq!(relations, ["root", "descendant", "descendant", "descendant"]);
    assert_eq!(edges[0]["node"]["messageId"], json!(start.id()));
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_thousands_of_children_shows_them_all_or_says_that_it_does_not() {
    const CHILDREN: u32 = 2_300;
    let network = network();
    let wallet = |number: u32| ItemId::from_bytes([100 + (number % 60) as u8; 32]);
    let many = (0..CHILDREN).map(|number| message(wallet(number), number, "pay")).collect::<Vec<_>>();
    let result = json!({ "Messages": many, "Spawns": [], "Assignments": [] });
    network.state.lock().unwrap().results.insert("many".into(), result);
    let messenger = network.messenger().await;
    let start = network.message(A, "many");
    assert_eq!(post(&messenger, "/", start.raw().clone()).await.0, 202);
    idle(&messenger).await;
    let all = get(&messenger, &format!("/trace/{}?limit=10000", start.id())).await;
    assert_eq!((all["nodes"].as_array().unwrap().len(), &all["truncated"]), (CHILDREN as usize + 1, &json!(false)));
    let some = get(&messenger, &format!("/trace/{}?limit=2000", start.id())).await;
    assert_eq!((some["nodes"].as_array().unwrap().len(), &some["truncated"]), (2_000, &json!(true)));
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_units_see_the_clients_trace_in_every_request_of_the_push() {
    let network = network();
    let messenger = network.messenger().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().post(messenger.url());
    let answer = answer.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = answer.body(network.message(A, "start").raw().clone()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    // A message without a trace of its own gets one that is named after it.
    let other = network.message(B, "other");
    assert_eq!(post(&messenger, "/", other.raw().clone()).await.0, 202);
    idle(&messenger).await;
    let calls = [network.scheduler.asked("POST", "/"), network.compute.asked("GET", "/result/")].concat();
    assert_eq!(calls.len(), 4 + 4, "four items scheduled, four results pulled");
    let own: String = other.id().as_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    for call in calls {
        let header = call.traceparent.expect("a traceparent");
        let of_other = call.path.contains(&other.id().to_string()) || call.body == *other.raw();
        let expected = if of_other { &own } else { trace };
        assert!(header.starts_with(&format!("00-{expected}-")) && header.ends_with("-01"), "{header}");
    }
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_listed_and_sent_again_as_it_was_signed() {
    let network = network();
    let messenger = network.messenger().await;
    let start = network.message(A, "start");
    network.state.lock().unwrap().refused = Some("middle");
    assert_eq!(post(&messenger, "/", start.raw().clone()).await.0, 202);
    idle(&messenger).await;
    let letters = get(&messenger, "/dead-letters").await;
    let letters = letters["deadLetters"].as_array().unwrap();
    let dead: Vec<_> = letters.iter().filter(|letter| letter["retryable"] == true).collect();
    let [letter] = dead[..] else { panic!("{letters:?}") };
    assert_eq!(
        (&letter["stage"], &letter["origin"], &letter["parent"]),
        (&json!("send"), &json!(start.id()), &json!(start.id()))
    );
    assert!(letter["reason"].as_str().unwrap().contains("not today"));
    assert!(network.log(B).is_empty());
    let refused = network.scheduler.asked("POST", "/").last().unwrap().body.clone();
    network.state.lock().unwrap().refused = None;

    let (id, entry) = (letter["id"].clone(), letters.iter().find(|letter| letter["retryable"] == false).unwrap());
    messenger.stop().await.unwrap();
    let messenger = network.messenger().await;
    let retry = async |id: &Value| crate::network::retry(&messenger, id).await;
    assert_eq!(retry(&entry["id"]).await, 409, "an entry that cannot be used stays so");
    assert_eq!(retry(&json!(999)).await, 404);
    assert_eq!(retry(&id).await, 202);
    assert_eq!(retry(&id).await, 404, "once");
    idle(&messenger).await;
    assert_eq!(network.log(B).iter().map(|item| item.raw().clone()).collect::<Vec<_>>(), [refused]);
    assert_eq!(network.log(A).len(), 2, "and what follows from it follows");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn only_the_operator_sees_what_becomes_of_messages_and_retries() {
    let network = network();
    let open = Options { public_traces: true, operator_token: Some("secret".to_owned().into()), ..network.options() };
    let closed = Options { public_traces: false, ..open.clone() };
    let looks = [format!("/trace/{WALLET}"), "/dead-letters".into(), "/monitors".into()];
    let messenger = network.messenger_with(closed).await;
    for path in &looks {
        assert_eq!(request(&messenger, Method::GET, path, "").await.0, 401, "{path}");
    }
    assert_eq!(request(&messenger, Method::POST, "/dead-letters/0/retry", "").await.0, 401);
    let hidden = get(&messenger, &format!("/?debug=1&process={A}")).await;
    assert_eq!(hidden, json!({ "pageInfo": { "hasNextPage": false }, "edges": [] }));
    let with_token = reqwest::Client::new().get(format!("{}/dead-letters", messenger.url())).bearer_auth("secret");
    assert_eq!(with_token.send().await.unwrap().status(), 200);
    messenger.stop().await.unwrap();

    let messenger = network.messenger_with(open).await;
    assert_eq!(request(&messenger, Method::GET, &looks[1], "").await.0, 200);
    assert_eq!(request(&messenger, Method::POST, "/dead-letters/0/retry", "").await.0, 401, "looking is not changing");
    messenger.stop().await.unwrap();

    // Without one configured there is one in the data folder, and requests of this computer are nobody special.
    let messenger =
        network.messenger_with(Options { public_traces: false, operator_token: None, ..network.options() }).await;
    assert_eq!(request(&messenger, Method::GET, &looks[1], "").await.0, 401);
    let token = std::fs::read_to_string(network.folder.path().join("operator-token")).unwrap();
    let with_token = reqwest::Client::new().get(format!("{}/dead-letters", messenger.url())).bearer_auth(token.trim());
    assert_eq!(with_token.send().await.unwrap().status(), 200);
    messenger.stop().await.unwrap();
}
