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
    let cases: [(&str, Change); 6] = [
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
            if json["edges"].as_array().is_some_and(|edges| edges.len() > 2) {
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
async fn what_a_scheduler_says_otherwise_than_it_was_signed_is_refused_and_only_what_comes_before_it_is_recorded() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut last = process.into();
    for _ in 0..3 {
        last = network.send(process, "Add").await;
    }
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 5] = [
        ("message ", |node| node["message"]["data"] = json!("somewhat else")),
        ("message ", |node| set(&mut node["message"]["tags"], "Action", "X-Echo")),
        ("message ", |node| node["message"]["anchor"] = json!("A".repeat(43))),
        ("assignment ", |node| set(&mut node["assignment"]["tags"], "Block-Height", "000000000001")),
        ("assignment ", |node| set(&mut node["assignment"]["tags"], "Timestamp", "1")),
    ];
    let path = format!("/result/{last}?process-id={process}");
    for (slot, before) in [("2", &["1", "2"][..]), ("3", &["1", "2", "3"])] {
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
            assert_eq!(network.outputs(process).await, before, "{what}");
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

/// A process with a cron each second, an `Add` two and a half seconds later, which the unit has not heard of, and a time between.
async fn with_crons(network: &Network, message: DataItem) -> (ProcessId, u64) {
    let process = message.target().map(ProcessId::from_bytes).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    network.schedule(&message).await;
    let entry = network.client.get(format!("{}/{}?process-id={process}", network.su.url(), message.id())).send().await;
    let entry: Value = entry.unwrap().json().await.unwrap();
    let tags: holon_protocol::Tags = serde_json::from_value(entry["assignment"]["tags"].clone()).unwrap();
    (process, Assignment::from_tags(&tags).unwrap().timestamp.0 - 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_messages_before_an_entry_fire_only_if_what_the_scheduler_says_of_it_is_what_it_signed() {
    let network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Add")]).await;
    let (process, before) = with_crons(&network, network.message(process, "Add", &[])).await;
    let path = format!("/cron/{process}?to={before}");
    type Change = fn(&mut Value);
    let lies: [(&str, Change); 3] = [
        ("is forged", |node| set(&mut node["assignment"]["tags"], "Block-Height", "000000000099")),
        ("is forged", |node| node["message"]["data"] = json!("somewhat else")),
        ("HashChain invalid", |node| set(&mut node["assignment"]["tags"], "Hash-Chain", &"A".repeat(43))),
    ];
    for (what, lie) in lies {
        change_slot(&network, "1", lie);
        let (status, body) = network.json(&path).await;
        assert!(status == 422 && body["error"].as_str().unwrap().contains(what), "{what}: {status} {body}");
        // What comes before the lie counts, no cron because of it does.
        assert_eq!(network.outputs(process).await, ["1"], "{what}");
    }
    network.proxy.honest();
    let (status, body) = network.json(&path).await;
    assert_eq!(status, 200, "{body}");
    let fired = body["edges"].as_array().unwrap().len();
    assert!(fired >= 2, "{body}");
    assert_eq!(network.outputs(process).await.len(), 1 + fired);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_messages_before_an_entry_that_cannot_be_checked_fire_as_the_operator_wants() {
    type Loosen = fn(&mut holon_cu::Options);
    let modes: [(Loosen, bool); 3] = [
        (|_| {}, true),
        (|options| options.unverifiable = Unverifiable::Fetch, true),
        (|options| options.unverifiable = Unverifiable::Refuse, false),
    ];
    for (at, (mode, fires)) in modes.into_iter().enumerate() {
        let network = Network::start_with(mode).await;
        let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Add")]).await;
        let message = DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message");
        let message = message.tag("Action", "Add").data(vec![b'a', 0xff]).sign(&network.user).unwrap();
        let (process, before) = with_crons(&network, message).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let (status, body) = loop {
            let (status, body) = network.json(&format!("/cron/{process}?to={before}")).await;
            if !body.to_string().contains("is not on Arweave") || Instant::now() > deadline {
                break (status, body);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let outputs = network.outputs(process).await;
        match fires {
            true => assert!(status == 200 && outputs.len() >= 3, "{at}: {status} {body} {outputs:?}"),
            false => {
                let error = format!("slot 1 of process {process}: the scheduler does not say all");
                assert!(status == 422 && body["error"].as_str().unwrap().starts_with(&error), "{status} {body}");
                assert_eq!(outputs, ["1"]);
            }
        }
        network.stop().await;
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_another_process_is_only_seen_as_what_it_is() {
    for mode in [Unverifiable::Mark, Unverifiable::Fetch] {
        let network = Network::start_with(match mode {
            Unverifiable::Fetch => |options| options.unverifiable = Unverifiable::Fetch,
            _ => |_| {},
        })
        .await;
        let (process, other) = (network.spawn(&[]).await, network.spawn(&[]).await);
        let transfer = network.message(other, "X-Echo", &[]);
        network.publish(&transfer).await;
        let assignment = network.assign(process, transfer.id(), "").await;
        let shown = transfer.clone();
        change_slot(&network, "1", move |node| {
            let mut message = wire::Item::new(&shown, false);
            message.anchor = Some(shown.anchor().map(holon_protocol::base64url::encode).unwrap_or_default());
            node["message"] = serde_json::to_value(message).unwrap();
        });
        let (status, body) = network.json(&format!("/result/{assignment}?process-id={process}")).await;
        let error = format!("message {} in slot 1 was sent to \"{other}\", not to process {process}", transfer.id());
        assert!(status == 422 && body["error"] == error, "{status} {body}");
        // Nor with another target, which the signature does not cover.
        change_slot(&network, "1", {
            let shown = transfer.clone();
            move |node| {
                let mut message = wire::Item::new(&shown, false);
                (message.anchor, message.target) = (None, Some(process.to_string()));
                node["message"] = serde_json::to_value(message).unwrap();
            }
        });
        let (status, unchecked, body) = result(&network, process, assignment).await;
        match mode {
            Unverifiable::Fetch => assert!(status == 422 && body.to_string().contains("has other "), "{status} {body}"),
            _ => assert_eq!((status, unchecked.as_deref()), (200, Some("message")), "{body}"),
        }
        if mode == Unverifiable::Fetch {
            network.proxy.honest();
            let seen = network.result(process, assignment).await["Output"].clone();
            assert_eq!(seen["Target"], json!(other));
        }
        network.stop().await;
    }
}

/// Changes what the scheduler says about processes.
fn change_record(network: &Network, mut change: impl FnMut(&mut Value) + Send + 'static) {
    network.proxy.tamper(move |path, json| {
        if path.starts_with("/processes/") {
            change(json);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_process_that_nobody_can_check_is_compared_with_how_its_log_begins() {
    let mut network = Network::start().await;
    let process = network.spawn(&[("Allowed", "nobody")]).await;
    let message = network.send(process, "Add").await;
    type Change = fn(&mut Value);
    let lies: [(&str, Change); 3] = [
        ("tags", |record| {
            (record["data"], record["anchor"]) = (Value::Null, Value::Null);
            set(&mut record["tags"], "Allowed", "everybody");
        }),
        ("height", |record| record["block"] = json!("000000000001")),
        ("time", |record| record["timestamp"] = json!(1)),
    ];
    let refused = async |network: &Network, message: MessageId, what: &str| {
        let (status, body) = network.json(&format!("/result/{message}?process-id={process}")).await;
        let error = format!("slot 0 of process {process}: what the scheduler says about the process differs from how");
        let text = body["error"].as_str().unwrap();
        assert!(status == 422 && text.starts_with(&error) && text.ends_with(what), "{status} {body}");
    };
    for (what, lie) in lies {
        change_record(&network, lie);
        refused(&network, message, what).await;
    }
    network.proxy.honest();
    let (status, unchecked, body) = result(&network, process, message).await;
    assert_eq!((status, unchecked), (200, None), "{body}");
    // After a restart from a checkpoint as well.
    network.stop_cu().await;
    network.start_cu().await;
    let message = network.send(process, "Add").await;
    for (what, lie) in lies {
        change_record(&network, lie);
        refused(&network, message, what).await;
    }
    network.stop().await;
}

/// Takes away what is needed to check a process, and lies about it wherever the scheduler tells of it.
fn uncheckable_process(network: &Network, name: &'static str, value: &'static str) {
    network.proxy.tamper(move |path, json| {
        let lie = |item: &mut Value| {
            (item["data"], item["anchor"]) = (Value::Null, Value::Null);
            set(&mut item["tags"], name, value);
        };
        if path.starts_with("/processes/") {
            lie(json);
        } else if let Some(edges) = json.get_mut("edges") {
            for edge in edges.as_array_mut().unwrap() {
                let message = &mut edge["node"]["message"];
                if message["tags"]
                    .as_array()
                    .is_some_and(|tags| tags.contains(&json!({ "name": "Type", "value": "Process" })))
                {
                    lie(message);
                }
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_result_of_a_process_that_nobody_can_check_says_so() {
    for mode in [Unverifiable::Mark, Unverifiable::Fetch, Unverifiable::Refuse] {
        let network = Network::start_with(match mode {
            Unverifiable::Mark => |_| {},
            Unverifiable::Fetch => |options| options.unverifiable = Unverifiable::Fetch,
            Unverifiable::Refuse => |options| options.unverifiable = Unverifiable::Refuse,
        })
        .await;
        let process = network.spawn(&[("Allowed", "nobody")]).await;
        let message = network.send(process, "Add").await;
        uncheckable_process(&network, "Allowed", "everybody");
        let (status, unchecked, body) = result(&network, process, message).await;
        match mode {
            Unverifiable::Mark => assert_eq!((status, unchecked.as_deref()), (200, Some("message")), "{body}"),
            Unverifiable::Fetch => {
                assert!(status == 422 && body.to_string().contains("has other tags"), "{status} {body}");
            }
            Unverifiable::Refuse => {
                assert!(status == 422 && body.to_string().contains("does not say all"), "{status} {body}");
            }
        }
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_scheduler_is_no_wallet_is_not_scheduled_by_anybody() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let message = network.send(process, "Add").await;
    let stranger = network.user.clone();
    uncheckable_process(&network, "Scheduler", "nobody");
    let lie = network.proxy.tamper.lock().unwrap().take();
    let mut lie = lie.unwrap();
    network.proxy.tamper(move |path, json| {
        lie(path, json);
        let sign = |node: &mut Value| {
            let tags = serde_json::from_value(node["assignment"]["tags"].clone()).unwrap();
            let item = Assignment::from_tags(&tags).unwrap().item([0xfe; 32]).sign(&stranger).unwrap();
            node["assignment"] = serde_json::to_value(wire::Assignment::new(&item, true)).unwrap();
        };
        if let Some(edges) = json.get_mut("edges") {
            edges.as_array_mut().unwrap().iter_mut().for_each(|edge| sign(&mut edge["node"]));
        }
    });
    let (status, body) = network.json(&format!("/result/{message}?process-id={process}")).await;
    let error = body["error"].as_str().unwrap();
    assert!(status == 422 && error.contains("which is not the scheduler of the process"), "{status} {body}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_shows_anchors_in_pages_only_is_checked_there() {
    let network = Network::start_with(|options| options.unverifiable = Unverifiable::Refuse).await;
    let process = network.spawn(&[]).await;
    assert_eq!(network.count(process, process.into()).await, "1");
    network.proxy.tamper(|_, json| {
        if json.get("assignment").is_some() {
            json["assignment"]["anchor"] = Value::Null;
        }
    });
    let message = network.send(process, "Add").await;
    let (status, unchecked, body) = result(&network, process, message).await;
    assert_eq!((status, unchecked), (200, None), "{body}");
    network.stop().await;
}
