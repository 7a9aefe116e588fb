//! Blocks: with time, with uploads, on demand.

use std::time::Duration;

use holon_arweave::Transaction;
use holon_protocol::Tags;
use serde_json::{Value, json};

use crate::harness::{Weave, ed25519, item, rsa, until};

async fn block_of(weave: &Weave, id: impl ToString) -> Value {
    let query = "query ($id: ID!) { transaction(id: $id) { block { id height timestamp previous } } }";
    weave.graphql(query, json!({ "id": id.to_string() })).await["transaction"]["block"].clone()
}

#[tokio::test]
async fn a_new_network_starts_above_the_height_that_evaluators_check() {
    let weave = Weave::start().await;
    let info = weave.json("/info").await;
    assert_eq!(info["height"], 1_500_000);
    assert_eq!(info["blocks"], 1_500_001);
    assert_eq!(info["network"], "ao.local.1");
    assert_eq!(weave.json("/").await, info);
    for field in ["version", "release", "queue_length", "peers", "node_state_latency"] {
        assert!(info[field].is_u64(), "{field}");
    }
    let current = weave.json("/block/current").await;
    assert_eq!(current["indep_hash"], info["current"]);
    assert_eq!(weave.json("/current_block").await, current);
    assert_eq!(weave.json(&format!("/block/hash/{}", info["current"].as_str().unwrap())).await, current);
    assert_eq!(weave.json("/block/height/1500000").await, current);
    assert_eq!(weave.json("/block/height/0").await["indep_hash"], current["previous_block"]);
    assert_eq!(weave.text("/height").await, "1500000");
    assert_eq!(weave.text("/tx_anchor").await.len(), 64);
    assert_eq!(weave.status("/block/height/7").await, 404);
}

#[tokio::test]
async fn blocks_come_with_time() {
    let weave = Weave::with(|options| options.block_interval = Duration::from_millis(30)).await;
    let start = weave.height().await;
    until("three blocks", async || weave.height().await >= start + 3).await;
    let blocks = weave.graphql(
        "query ($min: Int) { blocks(height: {min: $min}, first: 3, sort: HEIGHT_ASC) { edges { node { height id previous timestamp } } } }",
        json!({ "min": start }),
    );
    let blocks = blocks.await["blocks"]["edges"].as_array().unwrap().clone();
    for pair in blocks.windows(2) {
        assert_eq!(pair[1]["node"]["previous"], pair[0]["node"]["id"]);
        assert!(pair[1]["node"]["timestamp"].as_u64() >= pair[0]["node"]["timestamp"].as_u64());
    }
}

#[tokio::test]
async fn an_item_has_a_block_at_once_and_that_block_never_changes() {
    // A tick that does not come during the test: the block stays open.
    let weave = Weave::with(|options| options.block_interval = Duration::from_secs(3600)).await;
    let closed = weave.height().await;
    let one = item(&ed25519(), &[], "1");
    weave.upload(&one).await;
    let block = block_of(&weave, one.id()).await;
    assert_eq!(block["height"], closed + 1, "not in a block that somebody has seen closed");
    assert_eq!(weave.height().await, closed, "and not closed by an upload");
    let shown = weave.json(&format!("/block/height/{}", closed + 1)).await;
    assert_eq!(shown["indep_hash"], block["id"]);

    let two = item(&ed25519(), &[], "2");
    weave.upload(&two).await;
    assert_eq!(block_of(&weave, two.id()).await, block, "items share the open block");

    assert_eq!(weave.json("/mine").await["height"], closed + 1);
    assert_eq!(weave.json("/block/current").await, shown);
    let three = item(&ed25519(), &[], "3");
    weave.upload(&three).await;
    assert_eq!(block_of(&weave, three.id()).await["height"], closed + 2);
}

#[tokio::test]
async fn a_transaction_closes_its_block() {
    let weave = Weave::with(|options| options.block_interval = Duration::from_secs(3600)).await;
    let closed = weave.height().await;
    weave.upload(&item(&ed25519(), &[], "in the open block")).await;
    let transaction = Transaction::data("x", &Tags::default(), &[], 0).sign(&rsa()).unwrap();
    weave.post_json("/tx", &transaction.to_json(true)).await;
    assert_eq!(weave.height().await, closed + 2);
    let status = weave.json(&format!("/tx/{}/status", transaction.id)).await;
    assert_eq!(status["block_height"], closed + 2);
    assert_eq!(status["number_of_confirmations"], 1);
    assert_eq!(weave.json("/mine/3").await["height"], closed + 5);
    let status = weave.json(&format!("/tx/{}/status", transaction.id)).await;
    assert_eq!(status["number_of_confirmations"], 4);
}

#[tokio::test]
async fn in_manual_mode_everything_waits_for_the_miner() {
    let weave = Weave::with(|options| options.auto_mine = false).await;
    let start = weave.height().await;
    let single = item(&ed25519(), &[("Name", "x")], "1");
    weave.upload(&single).await;
    let transaction = Transaction::data("some data", &Tags::default(), &[], 0).sign(&rsa()).unwrap();
    assert_eq!(weave.post_json("/tx", &transaction.to_json(true)).await.0, 200);
    let id = transaction.id;

    assert_eq!(block_of(&weave, single.id()).await, json!(null));
    let pending = weave.get(&format!("/tx/{id}")).await;
    assert_eq!((pending.status().as_u16(), pending.text().await.unwrap()), (202, "Pending".to_owned()));
    assert_eq!(weave.status(&format!("/tx/{id}/status")).await, 202);
    assert_eq!(weave.status(&format!("/tx/{id}/offset")).await, 404);
    assert_eq!(weave.json("/tx/pending").await, json!([id]));
    assert_eq!(weave.json(&format!("/unconfirmed_tx/{id}")).await["id"], json!(id));
    assert_eq!(weave.height().await, start);
    assert_eq!(weave.find("block: {min: 0}").await.len(), 0, "unmined items match no height");
    assert_eq!(weave.text(&format!("/{}", single.id())).await, "1", "data is there all the same");
    // Unmined first when the newest come first, last when the oldest do.
    assert_eq!(weave.find("first: 1").await, [id.to_string()]);

    assert_eq!(weave.json("/mine").await["height"], start + 1);
    assert_eq!(block_of(&weave, single.id()).await["height"], start + 1);
    assert_eq!(weave.json(&format!("/tx/{id}/status")).await["block_height"], start + 1);
    assert_eq!(weave.json(&format!("/tx/{id}/offset")).await, json!({ "offset": "9", "size": "9" }));
    assert_eq!(weave.json("/tx/pending").await, json!([]));
    assert_eq!(weave.status(&format!("/unconfirmed_tx/{id}")).await, 404);
    assert_eq!(weave.json("/block/current").await["txs"], json!([id]));
    assert_eq!(weave.find("block: {min: 0}").await.len(), 2);
    assert_eq!(weave.find(r#"tags: [{name: "Name", values: ["x"]}]"#).await.len(), 1);
}
