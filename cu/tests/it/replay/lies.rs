//! Gateways and schedulers that lie are found out at the slot.

use std::sync::{Arc, Mutex};

use holon_arweave::{Gateway, GatewayOptions, Query, Uploader};
use holon_cu::replay::ReplayError;
use holon_protocol::assignment::Assignment;
use holon_protocol::{DataItem, ItemId, Nonce, Signer};
use serde_json::{Value, json};

use super::liar::{Liar, Lie, about, at_slot, edges, nonce, set_edges, set_tag};
use super::{bundle_up, replay, settled};
use crate::network::Network;

#[tokio::test(flavor = "multi_thread")]
async fn a_weave_that_lies_is_found_out_at_the_slot() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(network.send(process, "Add").await.to_string());
    }
    settled(&network, process, 5).await;
    let honest = replay(&network.gateway, process, None).await.unwrap();
    let third = messages[2].clone();
    let liar = Liar::start(network.gateway.clone());

    // What is only untidy changes nothing.
    liar.answers(|_, body| {
        let mut edges = edges(body);
        edges.reverse();
        edges.extend(edges.clone());
        set_edges(body, edges);
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root);

    // Without its first entry a log cannot even be begun.
    liar.answers(|_, body| at_slot(body, 0, |_| false));
    let error = replay(&liar.url, process, None).await.unwrap_err().to_string();
    assert_eq!(error, format!("slot 0 of process {process}: no assignment is on Arweave, but there is one for slot 1"));

    let (one, two) = (third.clone(), third.clone());
    let cases: Vec<(u64, &str, Lie)> = vec![
        (3, "no assignment is on Arweave, but there is one for slot ", Box::new(|_, body| at_slot(body, 3, |_| false))),
        (
            3,
            "is forged: ",
            Box::new(|_, body| {
                at_slot(body, 3, |node| {
                    set_tag(node, "Timestamp", "1");
                    true
                });
            }),
        ),
        (
            // One that is good says that it stands elsewhere: that other place has one, and its own has none.
            4,
            "no assignment is on Arweave, but there is one for slot 5",
            Box::new(|_, body| {
                at_slot(body, 4, |node| {
                    set_tag(node, "Nonce", "3");
                    true
                });
            }),
        ),
        (
            3,
            "is forged: ",
            Box::new(move |path, body| {
                if path == format!("/raw/{one}") {
                    *body = json!("other data");
                }
            }),
        ),
        (
            3,
            " is not on Arweave",
            Box::new(move |_, body| {
                let kept = edges(body).into_iter().filter(|edge| edge["node"]["id"] != two.as_str()).collect();
                set_edges(body, kept);
            }),
        ),
    ];
    for (at, (slot, fault, lie)) in cases.into_iter().enumerate() {
        liar.answers(lie);
        let error = replay(&liar.url, process, None).await.unwrap_err();
        let (text, start) = (error.to_string(), format!("slot {slot} of process {process}: "));
        assert!(matches!(error, ReplayError::Log(_)), "case {at}: {text}");
        assert!(text.starts_with(&start) && text.contains(fault), "case {at}: {text}");
        // What lies before it is good.
        assert_eq!(replay(&liar.url, process, Some(2)).await.unwrap().slot, Nonce(2), "case {at}");
    }

    // A tail that is missing cannot be seen; the log ends there.
    liar.answers(|_, body| at_slot(body, 5, |_| false));
    assert_eq!(replay(&liar.url, process, None).await.unwrap().slot, Nonce(4));
    let error = replay(&liar.url, process, Some(5)).await.unwrap_err();
    assert!(error.to_string().contains("ends with slot 4; 5 was asked for"), "{error}");
    network.stop().await;
}

/// Publishes an assignment that no scheduler's log holds.
async fn publish_assignment(network: &Network, by: &Signer, says: &Assignment) -> ItemId {
    let item = says.item([0x5a; 32]).sign(by).unwrap();
    Uploader::new(network.gateway.clone()).unwrap().upload(&item).await.unwrap();
    item.id()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_lies_is_found_out_at_the_slot() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut last = None;
    for _ in 0..3 {
        last = Some(network.send(process, "Add").await);
    }
    settled(&network, process, 3).await;
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let query = Query::default().tag("Process", process.to_string()).tag("Nonce", "3");
    let node = gateway.nodes(&query).await.unwrap().nodes.remove(0);
    let third = Assignment::from_tags(&node.tags).unwrap();
    // Another wallet's assignment is nobody's business.
    publish_assignment(&network, &network.user, &third).await;
    assert_eq!(replay(&network.gateway, process, None).await.unwrap().slot, Nonce(3));
    // One that the gateway changes is not the scheduler's: without a later one, the log ends before it.
    let liar = Liar::start(network.gateway.clone());
    let scheduler = network.su_wallet.address().to_string();
    liar.answers(move |_, body| {
        at_slot(body, 3, |node| {
            node["owner"]["address"] = json!(scheduler);
            node["owner"]["key"] = json!(holon_protocol::base64url::encode([9; 32]));
            true
        });
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().slot, Nonce(2));
    let error = replay(&liar.url, process, Some(3)).await.unwrap_err().to_string();
    assert!(error.starts_with("slot 3 of process ") && error.contains("is forged"), "{error}");
    // A fourth entry that does not continue the chain.
    let fourth = Assignment {
        nonce: Nonce(4),
        timestamp: holon_protocol::Timestamp(third.timestamp.0 + 1),
        message: last,
        ..third.clone()
    };
    publish_assignment(&network, &network.su_wallet, &fourth).await;
    let error = replay(&network.gateway, process, None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("slot 4 of process {process}: HashChain invalid")), "{error}");
    assert_eq!(replay(&network.gateway, process, Some(3)).await.unwrap().slot, Nonce(3));
    // A second assignment of one slot.
    let second = publish_assignment(&network, &network.su_wallet, &third).await;
    let error = replay(&network.gateway, process, None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("slot 3 of process {process}: the scheduler signed two")), "{error}");
    assert!(error.contains(&second.to_string()) && error.contains(&node.id.to_string()), "{error}");
    assert_eq!(replay(&network.gateway, process, Some(2)).await.unwrap().slot, Nonce(2));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_what_was_assigned_is_read_from_the_items_and_not_from_what_a_gateway_says_of_them() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    // Its anchor and its sender look different when it is assigned.
    let sent = network.message(process, "X-Echo", &[("From-Process", "somebody")]);
    network.schedule(&sent).await;
    let news = DataItem::builder().tag("Action", "X-Echo").anchor([b'1'; 32]).data("news").sign(&network.user).unwrap();
    network.publish(&news).await;
    network.assign(process, news.id(), "").await;
    settled(&network, process, 2).await;
    bundle_up(&network, &[sent.clone(), news.clone()]).await;
    let honest = replay(&network.gateway, process, None).await.unwrap();
    let liar = Liar::start(network.gateway.clone());
    let sent = [sent.id().to_string()];
    liar.answers(move |_, body| about(body, &sent, |node| node["recipient"] = json!("")));
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root, "sent");
    let (news, me) = ([news.id().to_string()], process.to_string());
    liar.answers(move |_, body| {
        about(body, &news, |node| {
            node["recipient"] = json!(me);
            node["tags"].as_array_mut().unwrap().push(json!({ "name": "Type", "value": "Message" }));
        });
        // Nor does the gateway know the bundle in which the scheduler put the assignment.
        let mut edges = edges(body);
        for edge in edges.iter_mut().filter(|edge| nonce(edge).is_some()) {
            edge["node"]["bundledIn"] = Value::Null;
        }
        set_edges(body, edges);
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root, "assigned");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_would_say_whether_an_item_was_assigned_must_be_the_schedulers() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let letter = network.message(process, "X-Echo", &[("From-Process", "somebody")]);
    network.publish(&letter).await;
    network.assign(process, letter.id(), "").await;
    network.send(process, "Add").await;
    settled(&network, process, 2).await;
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let query = Query::default().tag("Process", process.to_string()).tag("Nonce", "1");
    let container = gateway.placed_nodes(&query).await.unwrap().nodes[0].bundled_in.unwrap().to_string();
    let liar = Liar::start(network.gateway.clone());
    liar.answers(move |_, body| {
        about(body, std::slice::from_ref(&container), |node| set_tag(node, "Bundle-Version", "2.0.0 "))
    });
    // A bundle that is hidden says nothing, and nothing else that is signed tells that the letter was not sent.
    let sent = replay(&liar.url, process, None).await.unwrap();
    assert_ne!(sent.state_root, replay(&network.gateway, process, None).await.unwrap().state_root);
    liar.answers({
        let container = gateway.placed_nodes(&query).await.unwrap().nodes[0].bundled_in.unwrap().to_string();
        move |_, body| {
            about(body, std::slice::from_ref(&container), |node| {
                node["anchor"] = json!(holon_protocol::base64url::encode([9; 32]));
            });
        }
    });
    let error = replay(&liar.url, process, None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("slot 1 of process {process}: bundle ")), "{error}");
    assert!(error.contains("which is said to hold the assignment, is forged"), "{error}");
    network.stop().await;
}

/// A node like this one that nobody signed.
fn forged(node: &Value, nonce: &str, number: usize) -> Value {
    use sha2::Digest;
    let mut node = node.clone();
    let mut signature = [0xab; 64];
    signature[..8].copy_from_slice(&number.to_le_bytes());
    node["signature"] = json!(holon_protocol::base64url::encode(signature));
    node["id"] = json!(holon_protocol::base64url::encode(sha2::Sha256::digest(signature)));
    set_tag(&mut node, "Nonce", nonce);
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_in_the_schedulers_name_never_stand_in_the_way_of_its_assignments() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    for _ in 0..5 {
        network.send(process, "Add").await;
    }
    settled(&network, process, 5).await;
    let honest = replay(&network.gateway, process, None).await.unwrap();
    let liar = Liar::start(network.gateway.clone());
    let template = Arc::new(Mutex::new(Value::Null));
    let learned = template.clone();
    liar.answers(move |_, body| {
        if let Some(edge) = edges(body).into_iter().find(|edge| nonce(edge) == Some(2)) {
            *learned.lock().unwrap() = edge["node"].clone();
        }
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root);
    let template = template.lock().unwrap().clone();
    // The slot after the last, one far away, and some that there are; in front of every answer, and as the only newest ones.
    let few: Vec<Value> =
        (0..).zip(["6", "1000000000000", "2", "3", "0", "6"]).map(|(n, at)| forged(&template, at, n)).collect();
    let stranger = {
        let says = Assignment::from_tags(&serde_json::from_value(template["tags"].clone()).unwrap()).unwrap();
        let says = Assignment { nonce: Nonce(3), ..says };
        publish_assignment(&network, &network.user, &says).await.to_string()
    };
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let stranger = gateway.graphql(&json!({ "query": format!(
        "{{ transactions(ids: [\"{stranger}\"]) {{ edges {{ node {{ id anchor signature recipient owner {{ address key }} \
         tags {{ name value }} data {{ size }} }} }} }} }}") })).await.unwrap();
    let mut stranger = stranger["transactions"]["edges"][0]["node"].clone();
    stranger["owner"]["address"] = json!(network.su_wallet.address());
    liar.floods(move |_| vec![few.iter().cloned().chain([stranger.clone()]).collect()]);
    let report = replay(&liar.url, process, None).await.unwrap();
    assert_eq!((report.slot, &report.state_root), (Nonce(5), &honest.state_root));
    // More of them for one slot than pages are read for many.
    let nodes: Vec<Value> = (0..1200).map(|number| forged(&template, "2", number)).collect();
    let pages: Vec<Vec<Value>> = nodes.chunks(100).map(<[Value]>::to_vec).collect();
    liar.floods(move |tags| match tags.to_string().contains("\"2\"") {
        true => pages.clone(),
        false => Vec::new(),
    });
    let report = replay(&liar.url, process, None).await.unwrap();
    assert_eq!((report.slot, &report.state_root), (Nonce(5), &honest.state_root));
    // More than are read for one slot, whichever end is read from: the link of the chain tells which one is meant.
    let nodes: Vec<Value> = (0..5200).map(|number| forged(&template, "2", number)).collect();
    let pages: Vec<Vec<Value>> = nodes.chunks(100).map(<[Value]>::to_vec).collect();
    liar.floods(move |tags| match tags.to_string() {
        tags if tags.contains("\"2\"") && !tags.contains("Hash-Chain") => pages.clone(),
        _ => Vec::new(),
    });
    let report = replay(&liar.url, process, None).await.unwrap();
    assert_eq!((report.slot, &report.state_root), (Nonce(5), &honest.state_root));
    // A gap is a gap although the newest assignments are nobody's.
    let far: Vec<Value> = (0..100).map(|number| forged(&template, &(1_000_000 + number).to_string(), number)).collect();
    liar.floods(move |tags| match tags.to_string().contains("Nonce") {
        true => Vec::new(),
        false => vec![far.clone(); 2],
    });
    liar.answers(|_, body| at_slot(body, 4, |_| false));
    let error = replay(&liar.url, process, None).await.unwrap_err().to_string();
    assert!(
        error.ends_with(
            "slot 4 of process {process}: no assignment is on Arweave, but there is one for slot 5"
                .replace("{process}", &process.to_string())
                .as_str()
        ),
        "{error}"
    );
    network.stop().await;
}
