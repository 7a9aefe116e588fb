//! Results as compute units write them that are not ours (spec 04 §16: unusable entries are skipped one by one).

use holon_protocol::{DataItem, ProcessId};
use serde_json::Value;

use crate::network::{Network, eventually, idle, post};
use crate::peer::Answer;

const P: ProcessId = ProcessId::from_bytes([1; 32]);
const Q: ProcessId = ProcessId::from_bytes([2; 32]);

/// A result with messages to `Q`, each with this data as it stands.
fn result(data: &[&str]) -> String {
    let messages: Vec<_> = (data.iter().enumerate())
        .map(|(anchor, data)| format!(r#"{{"Target":"{Q}","Anchor":"{anchor}","Tags":[],"Data":{data}}}"#))
        .collect();
    format!(r#"{{"Messages":[{}],"Spawns":[],"Assignments":[],"Output":1e400}}"#, messages.join(","))
}

#[tokio::test]
async fn a_result_with_odd_values_is_pushed_all_the_same() {
    let network = Network::start();
    network.process(1);
    network.process(2);
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let emitted = ["\"first\"", r#""\ud800""#, "123456789012345678901234567890", &deep, "\"last\""];
    network.state.lock().unwrap().instead.push(("GET /result/", Answer::Text(result(&emitted))));
    let messenger = network.messenger().await;
    assert_eq!(post(&messenger, "/", network.message(P, "go").raw().clone()).await.0, 202);
    idle(&messenger).await;
    let sent: Vec<_> = network.log(Q).iter().map(|item| String::from_utf8(item.data().to_vec()).unwrap()).collect();
    assert_eq!(sent, ["first", "\u{fffd}", "123456789012345678901234567890", &deep, "last"]);
}

#[tokio::test]
async fn an_edge_of_a_cron_page_that_has_no_result_does_not_hold_up_the_others() {
    let network = Network::start();
    network.process(1);
    network.process(2);
    let edges = [
        format!(r#"{{"cursor":"a","node":{}}}"#, result(&["\"first\""])),
        r#"{"cursor":"b"}"#.to_owned(),
        format!(r#"{{"cursor":"c","node":{}}}"#, result(&["1.0"])),
    ];
    {
        let mut state = network.state.lock().unwrap();
        state.instead.push(("GET /cron/", Answer::Text(format!(r#"{{"edges":[{}]}}"#, edges.join(",")))));
        state.cron = ["a", "b", "c"].map(|cursor| (cursor.to_owned(), Value::Null)).to_vec();
    }
    let messenger = network.messenger().await;
    let item = DataItem::builder().target(P).data(b" ".to_vec()).sign(&network.client).unwrap();
    assert_eq!(post(&messenger, &format!("/monitor/{P}"), item.raw().clone()).await.0, 200);
    eventually("both usable results are pushed", || (network.log(Q).len() == 2).then_some(())).await;
    assert_eq!(network.log(Q)[1].data(), b"1.0".as_slice());
    let polls = || network.compute.asked("GET", "/cron/");
    eventually("what follows is asked for", || polls().iter().find(|call| call.path.contains("from=c")).cloned()).await;
}
