//! What strangers publish or send cannot make the messenger call addresses inside, sign for others, or fill its memory
//! (spec 04 §17). Each attack is shown to work where the operator takes the guard away.

use holon_mu::Options;
use holon_protocol::{Address, DataItem, ItemId, ProcessId};
use serde_json::{Value, json};

use crate::network::{MODULE, Network, idle, post};
use crate::peer::{Answer, Peer};

const A: ProcessId = ProcessId::from_bytes([1; 32]);
const STRANGER: Address = Address::from_bytes([78; 32]);

/// Somebody inside who must not be called.
fn victim() -> Peer {
    Peer::start(|_| Answer::Json(200, json!({ "id": MODULE, "timestamp": 1 })))
}

fn node(id: u8, owner: Address, tags: Value) -> Value {
    json!({
        "id": ItemId::from_bytes([id; 32]), "anchor": "", "signature": "", "recipient": "",
        "owner": { "address": owner, "key": "" }, "tags": tags, "block": null,
    })
}

/// A process of a stranger whose scheduler says that it is at `url`.
fn publish(network: &Network, process: u8, url: &str) -> ProcessId {
    let tag = |name: &str, value: &str| json!({ "name": name, "value": value });
    let protocol = tag("Data-Protocol", "ao");
    let scheduler = tag("Scheduler", &STRANGER.to_string());
    let location = [protocol.clone(), tag("Type", "Scheduler-Location"), tag("Url", url), tag("Time-To-Live", "1000")];
    network.state.lock().unwrap().published = vec![
        node(
            process,
            Address::from_bytes([79; 32]),
            json!([protocol, tag("Type", "Process"), scheduler, tag("Module", "m")]),
        ),
        node(200, STRANGER, json!(location)),
    ];
    ProcessId::from_bytes([process; 32])
}

#[tokio::test]
async fn a_scheduler_that_a_stranger_publishes_inside_is_never_called() {
    let network = Network::start();
    let victim = victim();
    let port = victim.url().port().unwrap();
    let urls = [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://0x7f.1:{port}"),
        format!("http://[::1]:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        "http://169.254.169.254/latest/meta-data".into(),
        "http://10.0.0.1".into(),
        "file:///etc/passwd".into(),
        "ftp://example.com".into(),
    ];
    let messenger = network.messenger().await;
    for (number, url) in urls.iter().enumerate() {
        let process = publish(&network, 100 + u8::try_from(number).unwrap(), url);
        let (status, body) = post(&messenger, "/", network.message(process, url).raw().clone()).await;
        assert!(matches!(status, 404 | 502), "{url}: {status} {body}");
        assert_eq!(victim.calls().len(), 0, "{url}");
    }
    // A message of a process to such a one stays here as well.
    network.process(1);
    let process = publish(&network, 150, &urls[0]);
    let message = json!({ "Target": process, "Anchor": "0".repeat(32), "Data": "x", "Tags": [] });
    let result = json!({ "Messages": [message], "Spawns": [], "Assignments": [] });
    network.state.lock().unwrap().results.insert("lure".into(), result);
    assert_eq!(post(&messenger, "/", network.message(A, "lure").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(victim.calls().len(), 0);
    messenger.stop().await.unwrap();

    // Without the guard the same is called.
    let open = Options { allow_private_urls: true, ..network.options() };
    let messenger = network.messenger_with(open).await;
    let process = publish(&network, 160, &urls[0]);
    let _ = post(&messenger, "/", network.message(process, "x").raw().clone()).await;
    assert!(!victim.calls().is_empty(), "the attack works where the operator allows it");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_compute_unit_cannot_redirect_a_read_to_an_address_inside() {
    let network = Network::start();
    network.process(1);
    let victim = victim();
    let redirect = |times: usize| {
        let mut state = network.state.lock().unwrap();
        state.instead.extend((0..times).map(|_| ("GET /result/", Answer::Redirect(307, victim.url().to_string()))));
    };
    let messenger = network.messenger().await;
    redirect(2);
    assert_eq!(post(&messenger, "/", network.message(A, "x").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(victim.calls().len(), 0);
    messenger.stop().await.unwrap();

    let messenger = network.messenger_with(Options { allow_private_urls: true, ..network.options() }).await;
    redirect(1);
    assert_eq!(post(&messenger, "/", network.message(A, "y").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert!(!victim.calls().is_empty(), "the attack works where the operator allows it");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_monitor_must_be_signed_and_for_the_process_in_the_path() {
    let network = Network::start();
    network.process(1);
    network.process(2);
    let messenger = network.messenger().await;
    let item = DataItem::builder().target(A).data(b" ".to_vec()).sign(&network.client).unwrap();
    let mut forged = item.raw().to_vec();
    forged[10] ^= 1;
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), forged).await.0, 400);
    let other = ProcessId::from_bytes([2; 32]);
    assert_eq!(post(&messenger, &format!("/monitor/{other}"), item.raw().clone()).await.0, 400);
    assert_eq!(network.compute.asked("GET", "/cron/").len(), 0);
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_process_claims_about_its_origin_is_replaced() {
    let network = Network::start();
    network.process(1);
    network.process(2);
    let claims = ["From-Process", "From-Module", "Pushed-For"].map(|name| json!({ "name": name, "value": MODULE }));
    let entry =
        json!({ "Target": ProcessId::from_bytes([2; 32]), "Anchor": "0".repeat(32), "Data": "x", "Tags": claims });
    let spawn_tags: Vec<_> = claims.iter().cloned().chain([json!({ "name": "Module", "value": MODULE })]).collect();
    let result = json!({ "Messages": [entry], "Spawns": [{ "Tags": spawn_tags, "Data": "" }], "Assignments": [] });
    network.state.lock().unwrap().results.insert("lie".into(), result);
    let messenger = network.messenger().await;
    let item = network.message(A, "lie");
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    idle(&messenger).await;
    let posted: Vec<_> = network.scheduler.asked("POST", "/").into_iter().skip(1).collect();
    let items: Vec<_> = posted.iter().map(|call| DataItem::parse_verified(call.body.clone()).unwrap()).collect();
    assert_eq!(items.len(), 3, "message, process, notice");
    for item in &items {
        let values = |name: &str| {
            item.tags().iter().filter(|tag| tag.name == name).map(|tag| tag.value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(values("From-Process"), [A.to_string()], "{:?}", item.tags());
        assert!(!values("Pushed-For").contains(&MODULE.to_string()));
    }
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn what_strangers_answer_is_cut() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let long = "x".repeat(1_000_000);
    network.state.lock().unwrap().instead = vec![("POST /", Answer::Json(400, json!({ "error": long })))];
    let (status, body) = post(&messenger, "/", network.message(A, "x").raw().clone()).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().len() < 5_000);
    messenger.stop().await.unwrap();
}
