//! Logs: what is checked, what is completed, what is skipped.

use std::time::{Duration, Instant};

use holon_cu::Unverifiable;
use holon_protocol::assignment::Assignment;
use holon_protocol::{DataItem, MessageId, ProcessId, wire};
use serde_json::{Value, json};

use crate::network::Network;

/// Sets the value of a tag in a list of tags.
fn set(tags: &mut Value, name: &str, value: &str) {
    for tag in tags.as_array_mut().unwrap() {
        if tag["name"] == name {
            tag["value"] = json!(value);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_changed_is_refused_and_nothing_is_recorded() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(network.send(process, "Add").await);
    }
    let zeros = "A".repeat(43);
    type Change = fn(&mut Value, &str);
    let cases: [(&str, Change); 7] = [
        ("HashChain invalid on message", |page, zeros| {
            set(&mut page["edges"][2]["node"]["assignment"]["tags"], "Hash-Chain", zeros);
        }),
        ("HashChain invalid on message", |page, zeros| {
            // Another assignment id breaks the link of the next entry, or is not that of its signature.
            set(&mut page["edges"][0]["node"]["assignment"]["tags"], "Hash-Chain", zeros);
        }),
        ("nonce 2 of assignment", |page, _| {
            page["edges"].as_array_mut().unwrap().remove(1);
        }),
        ("timestamp 1 of assignment", |page, _| {
            set(&mut page["edges"][2]["node"]["assignment"]["tags"], "Timestamp", "1");
        }),
        ("timestamp 4000000000000 of assignment", |page, _| {
            set(&mut page["edges"][2]["node"]["assignment"]["tags"], "Timestamp", "4000000000000");
        }),
        ("id of item", |page, _| {
            let signature = page["edges"][1]["node"]["message"]["signature"].clone();
            page["edges"][2]["node"]["message"]["signature"] = signature;
        }),
        ("assigned message of item", |page, _| {
            let message = page["edges"][1]["node"]["message"].clone();
            page["edges"][2]["node"]["message"] = message;
        }),
    ];
    let last = messages[2];
    let path = format!("/result/{last}?process-id={process}");
    for (error, change) in cases {
        let zeros = zeros.clone();
        network.proxy.tamper(move |_, json| {
            if json.get("edges").is_some() {
                change(json, &zeros);
            }
        });
        let (status, body) = network.json(&path).await;
        assert!(status == 422 && body["error"].as_str().unwrap().starts_with(error), "{error}: {status} {body}");
        assert_eq!(network.outputs(process).await, Vec::<String>::new(), "{error}");
    }
    network.proxy.honest();
    assert_eq!(network.count(process, last).await, "4");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scheduler_says_otherwise_than_it_was_signed_is_refused_and_nothing_is_recorded() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut last = process.into();
    for _ in 0..3 {
        last = network.send(process, "Add").await;
    }
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 4] = [
        ("message ", |node| node["message"]["data"] = json!("somewhat else")),
        ("message ", |node| set(&mut node["message"]["tags"], "Action", "X-Echo")),
        ("message ", |node| node["message"]["anchor"] = json!("A".repeat(43))),
        ("assignment ", |node| set(&mut node["assignment"]["tags"], "Block-Height", "000000000001")),
    ];
    let path = format!("/result/{last}?process-id={process}");
    for slot in ["2", "3"] {
        for (what, change) in cases {
            network.proxy.tamper(move |_, json| {
                let lie = |node: &mut Value| {
                    let tags = node["assignment"]["tags"].as_array().unwrap();
                    if tags.contains(&json!({ "name": "Nonce", "value": slot })) {
                        change(node);
                    }
                };
                match json.get("edges").is_some() {
                    true => json["edges"].as_array_mut().unwrap().iter_mut().for_each(|edge| lie(&mut edge["node"])),
                    false if json.get("assignment").is_some() => lie(json),
                    false => {}
                }
            });
            let (status, body) = network.json(&path).await;
            let error = body["error"].as_str().unwrap();
            let start = format!("slot {slot} of process {process}: {what}");
            assert!(status == 422 && error.starts_with(&start) && error.contains("is forged"), "{status} {body}");
            assert_eq!(network.outputs(process).await, Vec::<String>::new(), "{what}");
        }
    }
    network.proxy.honest();
    assert_eq!(network.count(process, last).await, "4");
    // The only missing entry, which comes with the answer about the message.
    let next = network.send(process, "Add").await;
    network.proxy.tamper(|_, json| {
        if json.get("assignment").is_some() {
            json["message"]["data"] = json!("somewhat else");
        }
    });
    let (status, body) = network.json(&format!("/result/{next}?process-id={process}")).await;
    assert!(status == 422 && body["error"].as_str().unwrap().starts_with("slot 4 of "), "{status} {body}");
    network.proxy.honest();
    assert_eq!(network.count(process, next).await, "5");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_shows_no_anchors_is_read_as_ever_and_a_process_sees_the_same() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let echo = |anchor: [u8; 32]| {
        let item = DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message");
        item.tag("Variant", "ao.TN.1").tag("Action", "X-Echo").anchor(anchor).sign(&network.user).unwrap()
    };
    for (anchor, seen) in [([b'7'; 32], json!("7".repeat(32))), ([0xff; 32], Value::Null)] {
        for shows in [true, false] {
            let mut item = echo(anchor);
            if !shows {
                network.proxy.tamper(|_, json| {
                    let hide = |node: &mut Value| {
                        for part in ["message", "assignment"] {
                            let anchor = &mut node[part]["anchor"];
                            let bytes = holon_protocol::base64url::decode(anchor.as_str().unwrap_or_default()).unwrap();
                            *anchor = json!(String::from_utf8(bytes).ok().filter(|text| !text.is_empty()));
                        }
                    };
                    match json.get("edges").is_some() {
                        true => {
                            json["edges"].as_array_mut().unwrap().iter_mut().for_each(|edge| hide(&mut edge["node"]))
                        }
                        false if json.get("assignment").is_some() => hide(json),
                        false => {}
                    }
                });
                // Another item than before, with the same anchor.
                let again = DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message");
                let again = again.tag("Variant", "ao.TN.1").tag("Action", "X-Echo").tag("Again", "yes");
                item = again.anchor(anchor).sign(&network.user).unwrap();
            }
            network.schedule(&item).await;
            let output = network.result(process, item.id().into()).await["Output"].clone();
            assert_eq!(output["Anchor"], seen, "{shows}: {output}");
            network.proxy.honest();
        }
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assigned_item_is_fetched_and_seen_once() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let item =
        DataItem::builder().tag("Action", "X-Echo").tag("Topic", "news").data("hello").sign(&network.user).unwrap();
    network.publish(&item).await;
    let first = network.assign(process, item.id(), "").await;
    let seen = network.result(process, first).await["Output"].clone();
    assert_eq!((&seen["Id"], &seen["Data"]), (&json!(item.id()), &json!("hello")));
    assert_eq!((&seen["Target"], &seen["Nonce"]), (&json!(""), &json!(1)));
    assert!(seen.get("Forwarded-By").is_none());
    let count = network.send(process, "Add").await;
    assert_eq!(network.count(process, count).await, "3");
    // A second assignment of the item is skipped; its result is that of the message before it.
    let second = network.assign(process, item.id(), "").await;
    assert_eq!(network.result(process, second).await["Output"], "3");
    let count = network.send(process, "Add").await;
    assert_eq!(network.count(process, count).await, "4");
    assert_eq!(network.outputs(process).await.len(), 4);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_fields_of_an_assigned_item_are_left_out() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    for (exclude, absent) in [("Data", vec!["Data"]), ("Data,Anchor", vec!["Data", "Anchor"])] {
        let item = DataItem::builder().tag("Action", "X-Echo").tag("For", exclude).data("hello");
        let item = item.sign(&network.user).unwrap();
        network.publish(&item).await;
        let assignment = network.assign(process, item.id(), exclude).await;
        let seen = network.result(process, assignment).await["Output"].clone();
        for field in ["Data", "Anchor", "Signature"] {
            assert_eq!(seen.get(field).is_none(), absent.contains(&field), "{exclude}: {seen}");
        }
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_pushed_twice_is_seen_once() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let pushed = |data: &'static str| {
        let item = DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message");
        item.tag("Variant", "ao.TN.1").tag("From-Process", "p").data(data)
    };
    let first = pushed("same").sign(&network.user).unwrap();
    // The same content from another wallet is another item with the same deep hash.
    let again = pushed("same").sign(&network.cu_wallet).unwrap();
    let other = pushed("other").sign(&network.user).unwrap();
    network.schedule(&first).await;
    network.schedule(&again).await;
    network.schedule(&other).await;
    assert_eq!(network.count(process, first.id().into()).await, "2");
    assert_eq!(network.count(process, other.id().into()).await, "3");
    assert_eq!(network.count(process, again.id().into()).await, "2");
    assert_eq!(network.outputs(process).await, ["1", "2", "3"]);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_read_in_pages() {
    let network = Network::start_with(|options| options.page_size = 7).await;
    let process = network.spawn(&[]).await;
    let mut last = process.into();
    for _ in 0..40 {
        last = network.send(process, "Add").await;
    }
    assert_eq!(network.count(process, last).await, "41");
    assert_eq!(network.outputs(process).await.len(), 41);
    let page = format!("/{process}?");
    let pages = network.proxy.count(&page);
    assert!((6..=7).contains(&pages), "{pages}");
    // One more message needs no page: the scheduler's answer about it holds the entry.
    let next = network.send(process, "Add").await;
    assert_eq!(network.count(process, next).await, "42");
    assert_eq!(network.proxy.count(&page), pages);
    network.stop().await;
}

/// Changes entry `slot` wherever the scheduler tells of it.
fn change_slot(network: &Network, slot: &'static str, mut change: impl FnMut(&mut Value) + Send + 'static) {
    network.proxy.tamper(move |_, json| {
        let mut change = |node: &mut Value| {
            let tags = node["assignment"]["tags"].as_array().unwrap();
            if tags.contains(&json!({ "name": "Nonce", "value": slot })) {
                change(node);
            }
        };
        match json.get("edges").is_some() {
            true => json["edges"].as_array_mut().unwrap().iter_mut().for_each(|edge| change(&mut edge["node"])),
            false if json.get("assignment").is_some() => change(json),
            false => {}
        }
    });
}

/// Takes away what is needed to check a message, and lies about it.
fn uncheckable_lie(node: &mut Value) {
    node["message"]["anchor"] = Value::Null;
    node["message"]["data"] = json!("a lie \u{fffd}");
}

/// A process with a message of bytes that are no text, which no JSON holds.
async fn with_bytes(network: &Network) -> (ProcessId, MessageId) {
    let process = network.spawn(&[]).await;
    let message = DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message");
    let message = message.tag("Action", "X-Echo").data(vec![b'a', 0xff]).sign(&network.user).unwrap();
    network.schedule(&message).await;
    (process, message.id().into())
}

/// Status, header `Unchecked` and body of a result; while the gateway does not know a message yet, again.
async fn result(network: &Network, process: ProcessId, message: MessageId) -> (u16, Option<String>, Value) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = network.get(&format!("/result/{message}?process-id={process}")).await;
        let unchecked = answer.headers().get("unchecked").map(|value| value.to_str().unwrap().to_owned());
        let (status, body) = crate::network::answer(answer).await;
        if !body.to_string().contains("is not on Arweave") || Instant::now() > deadline {
            return (status, unchecked, body);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn unchecked_messages(network: &Network) -> u64 {
    let text = network.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with("ao_cu_unchecked_messages_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scheduler_lets_nobody_check_is_believed_but_marked() {
    let network = Network::start().await;
    let (process, bytes) = with_bytes(&network).await;
    let (status, unchecked, body) = result(&network, process, bytes).await;
    assert_eq!((status, unchecked.as_deref()), (200, Some("message")), "{body}");
    let plain = network.send(process, "Add").await;
    assert_eq!(result(&network, process, plain).await.1, None);
    change_slot(&network, "3", uncheckable_lie);
    let lied = network.send(process, "X-Echo").await;
    let (status, unchecked, body) = result(&network, process, lied).await;
    assert_eq!((status, unchecked.as_deref()), (200, Some("message")), "{body}");
    assert!(body.to_string().contains("a lie"), "{body}");
    // The mark is stored with the result.
    assert_eq!(result(&network, process, lied).await.1.as_deref(), Some("message"));
    assert_eq!(result(&network, process, plain).await.1, None);
    assert_eq!(unchecked_messages(&network).await, 2);
    // An assignment that shows no anchor is not checked either.
    change_slot(&network, "4", |node| node["assignment"]["anchor"] = Value::Null);
    let next = network.send(process, "Add").await;
    assert_eq!(result(&network, process, next).await.1.as_deref(), Some("message"));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scheduler_lets_nobody_check_is_compared_with_what_was_signed_if_the_operator_wants_that() {
    let network = Network::start_with(|options| options.unverifiable = Unverifiable::Fetch).await;
    let (process, bytes) = with_bytes(&network).await;
    let (status, unchecked, body) = result(&network, process, bytes).await;
    assert_eq!((status, unchecked), (200, None), "{body}");
    // Honest words with less in them are found to be true, lies are not.
    change_slot(&network, "2", |node| {
        node["message"]["anchor"] = Value::Null;
        node["assignment"]["anchor"] = Value::Null;
    });
    let anchorless = DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message");
    let anchorless = anchorless.tag("Action", "Add").sign(&network.user).unwrap();
    network.schedule(&anchorless).await;
    assert_eq!(result(&network, process, anchorless.id().into()).await.0, 200);
    let lied = network.send(process, "X-Echo").await;
    type Change = fn(&mut Value);
    let lies: [(&str, Change); 3] = [
        ("has other data", uncheckable_lie),
        ("has other anchor", |node| node["message"]["anchor"] = Value::Null),
        ("says something else", |node| {
            node["assignment"]["anchor"] = Value::Null;
            set(&mut node["assignment"]["tags"], "Block-Height", "000000000001");
        }),
    ];
    for (what, lie) in lies {
        change_slot(&network, "3", lie);
        let (status, _, body) = result(&network, process, lied).await;
        let error = body["error"].as_str().unwrap();
        let start = format!("slot 3 of process {process}: ");
        assert!(status == 422 && error.starts_with(&start) && error.contains(what), "{what}: {status} {body}");
    }
    network.proxy.honest();
    assert_eq!(result(&network, process, lied).await.0, 200);
    assert_eq!(unchecked_messages(&network).await, 0);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scheduler_lets_nobody_check_is_refused_if_the_operator_wants_that() {
    let network = Network::start_with(|options| options.unverifiable = Unverifiable::Refuse).await;
    let (process, bytes) = with_bytes(&network).await;
    let (status, _, body) = result(&network, process, bytes).await;
    let error = format!("slot 1 of process {process}: the scheduler does not say all that its signatures cover");
    assert!(status == 422 && body["error"].as_str().unwrap().starts_with(&error), "{status} {body}");
    // What comes before it counts.
    assert_eq!(network.count(process, process.into()).await, "1");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_scheduler_of_a_process_assigns_to_it() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let message = network.send(process, "Add").await;
    let stranger = network.user.clone();
    change_slot(&network, "1", move |node| {
        let tags = serde_json::from_value(node["assignment"]["tags"].clone()).unwrap();
        let item = Assignment::from_tags(&tags).unwrap().item([0xfe; 32]).sign(&stranger).unwrap();
        node["assignment"] = serde_json::to_value(wire::Assignment::new(&item, true)).unwrap();
    });
    let (status, body) = network.json(&format!("/result/{message}?process-id={process}")).await;
    let error = body["error"].as_str().unwrap();
    assert!(status == 422 && error.contains("which is not the scheduler of the process"), "{status} {body}");
    network.proxy.honest();
    assert_eq!(network.count(process, message).await, "2");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scheduler_says_about_a_process_is_what_its_owner_signed() {
    let network = Network::start().await;
    let process = network.spawn(&[("Allowed", "nobody")]).await;
    type Change = fn(&mut Value);
    let lies: [Change; 3] = [
        |record| set(&mut record["tags"], "Allowed", "everybody"),
        |record| record["anchor"] = json!("A".repeat(43)),
        |record| record["target"] = json!("A".repeat(43)),
    ];
    for lie in lies {
        network.proxy.tamper(move |path, json| {
            if path.starts_with("/processes/") {
                lie(json);
            }
        });
        let (status, body) = network.json(&format!("/result/{process}?process-id={process}")).await;
        let start = format!("slot 0 of process {process}: message {process} is forged");
        assert!(status == 422 && body["error"].as_str().unwrap().starts_with(&start), "{status} {body}");
    }
    network.proxy.honest();
    assert_eq!(network.count(process, process.into()).await, "1");
    network.stop().await;
}
