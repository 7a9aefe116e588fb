//! One order per process, whatever comes at the same time.

use std::collections::HashSet;

use futures_util::future::join_all;
use holon_protocol::Signer;
use reqwest::StatusCode;

use crate::network::{Network, assert_unbroken, message};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_entry_zero_of_its_own_log_and_messages_follow() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let first = network.message(process, &[("Action", "Ping")], "1");
    assert_eq!(network.su.schedule(&first).await, first.id());
    let log = network.su.log(process).await;
    assert_unbroken(process, &log);
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].message.as_ref().unwrap().id, process.into());
    assert_eq!(log[0].assignment.tags.get("Message"), None);
    assert_eq!(log[1].message.as_ref().unwrap().id, first.id());
    assert_eq!(log[1].assignment.tags.get("Message"), Some(first.id().to_string().as_str()));
    let names: Vec<_> = log[1].assignment.tags.iter().map(|tag| tag.name.as_str()).collect();
    let expected = "Process Epoch Nonce Hash-Chain Block-Height Timestamp Data-Protocol Type Variant Message";
    assert_eq!(names.join(" "), expected);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_posts_to_several_processes_each_get_one_unbroken_order() {
    let network = Network::start().await;
    let mut processes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        processes.push(network.spawn_tagged(&[("Name", name)]).await);
    }
    let signer = Signer::generate_ed25519().unwrap();
    let items: Vec<_> =
        (0..400).map(|index| message(&signer, processes[index % 4], &[("Index", &index.to_string())], "x")).collect();
    join_all(items.iter().map(|item| network.su.schedule(item))).await;
    for process in processes {
        let log = network.su.log(process).await;
        assert_unbroken(process, &log);
        let ids: HashSet<_> = log.iter().map(|entry| entry.message.as_ref().unwrap().id).collect();
        assert_eq!((log.len(), ids.len()), (101, 101));
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_copies_posted_at_once_one_is_taken() {
    const ITEMS: usize = 60;
    const COPIES: usize = 8;
    let network = Network::start().await;
    let process = network.spawn().await;
    // Half are found by their id, half by their content: copies of pushed messages come from different messengers.
    let items: Vec<Vec<_>> = (0..ITEMS)
        .map(|index| {
            let data = index.to_string();
            let copy = network.message(process, &[], &data);
            let pushed = || {
                let messenger = Signer::generate_ed25519().unwrap();
                message(&messenger, process, &[("From-Process", "p")], &data)
            };
            (0..COPIES).map(|_| if index % 2 == 0 { copy.clone() } else { pushed() }).collect()
        })
        .collect();
    for (index, copies) in items.iter().enumerate() {
        let answers = join_all(copies.iter().map(|item| network.su.post("", item.raw().clone()))).await;
        let mut taken = 0;
        for answer in answers {
            if answer.status() == StatusCode::OK {
                taken += 1;
                continue;
            }
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
            let expected = if index % 2 == 0 { "Message already exists" } else { "Deep hash already exists" };
            let text = answer.text().await.unwrap();
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(taken, 1, "item {index}");
    }
    let log = network.su.log(process).await;
    assert_eq!(log.len(), ITEMS + 1);
    assert_unbroken(process, &log);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_wallet_signs_assignments_that_verify() {
    let network = Network::start_with(|options| options.wallet = crate::shapes::rsa_wallet()).await;
    let process = network.spawn().await;
    let item = network.message(process, &[], "x");
    network.su.schedule(&item).await;
    let log = network.su.log(process).await;
    assert_unbroken(process, &log);
    let assignment = log[1].assignment.id;
    assert_eq!(log[1].assignment.owner.address, network.wallet.address());
    crate::settle::wait_until_published(&network, assignment.into()).await;
    let raw = network.weave.gateway().node(assignment.into()).await.unwrap().unwrap();
    assert_eq!(raw.tags, log[1].assignment.tags);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_content_of_pushed_messages_is_refused_and_of_users_is_not() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let from = [("From-Process", "p"), ("Pushed-For", "a")];
    let first = network.message(process, &from, "same");
    network.su.schedule(&first).await;
    // Another messenger, another chain of pushes, another order of tags: the same content.
    let other = Signer::generate_ed25519().unwrap();
    let again = message(&other, process, &[("Pushed-For", "b"), ("From-Process", "p")], "same");
    let answer = network.su.post("", again.raw().clone()).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.text().await.unwrap().contains("Deep hash already exists"));
    network.su.schedule(&message(&other, process, &from, "different")).await;
    for _ in 0..2 {
        // The same content from a user: a new item, as ids come from signatures.
        let signer = Signer::generate_ed25519().unwrap();
        network.su.schedule(&message(&signer, process, &[], "same")).await;
    }
    assert_eq!(network.su.log(process).await.len(), 5);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_may_go_to_two_processes() {
    let network = Network::start().await;
    let (one, two) = (network.spawn().await, network.spawn_tagged(&[("Name", "two")]).await);
    for process in [one, two] {
        network.su.schedule(&network.message(process, &[("From-Process", "p")], "same")).await;
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_item_is_answered_like_the_first_time_when_configured() {
    let network = Network::start_with(|options| options.idempotent_posts = true).await;
    let process = network.spawn().await;
    let item = network.message(process, &[], "x");
    for _ in 0..2 {
        let answer = network.su.post("", item.raw().clone()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["nonce"], "1", "its place is that of the first time");
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["id"], item.id().to_string());
    }
    assert_eq!(network.su.log(process).await.len(), 2);
    network.stop().await;
}
