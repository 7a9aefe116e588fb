//! Base-layer transactions: the published ones, inline and in chunks that come in any order.

use bytes::Bytes;
use holon_arweave::Transaction;
use holon_arweave::merkle::{self, Tree};
use holon_protocol::{Signer, Tags, base64url};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Weave, generated, rsa, vectors};

fn tags(tags: &[(&str, &str)]) -> Tags {
    tags.iter().copied().collect()
}

pub fn chunk_posts(data: &Bytes) -> Vec<Value> {
    let tree = Tree::of(data).unwrap();
    let post = |chunk: merkle::Chunk| {
        json!({
            "data_root": base64url::encode(tree.root()),
            "data_size": data.len().to_string(),
            "data_path": base64url::encode(&chunk.data_path),
            "offset": (chunk.end - 1).to_string(),
            "chunk": base64url::encode(&chunk.bytes),
        })
    };
    tree.chunks(data).into_iter().map(post).collect()
}

/// A transaction whose data travels as chunks.
pub fn header_of(transaction: &Transaction) -> Value {
    transaction.to_json(false)
}

#[tokio::test]
async fn the_published_transactions_are_taken_and_the_negatives_are_not() {
    let weave = Weave::start().await;
    let vectors = vectors("arweave.json");
    for case in vectors["transactions"].as_array().unwrap() {
        let json = &case["post_tx_json"];
        assert_eq!(weave.post_json("/tx", json).await, (200, "OK".to_owned()), "{}", case["name"]);
        assert_eq!(weave.post_json("/tx", json).await.0, 208, "{}", case["name"]);
        let id = json["id"].as_str().unwrap();
        let stored = weave.json(&format!("/tx/{id}")).await;
        for field in ["id", "last_tx", "owner", "tags", "target", "quantity", "data_size", "data_root", "reward"] {
            assert_eq!(stored[field], json[field], "{}: {field}", case["name"]);
        }
        assert_eq!(stored["data"], "");
        for field in ["id", "owner", "target", "quantity", "reward", "signature", "last_tx"] {
            assert_eq!(weave.text(&format!("/tx/{id}/{field}")).await, json[field].as_str().unwrap());
        }
        assert_eq!(weave.json(&format!("/tx/{id}/tags")).await, json["tags"]);
        let status = weave.json(&format!("/tx/{id}/status")).await;
        assert!(status["number_of_confirmations"].as_u64().unwrap() >= 1);
        let height = status["block_height"].as_u64().unwrap();
        assert_eq!(weave.json(&format!("/block/height/{height}")).await["txs"], json!([id]));
        if !json["data"].as_str().unwrap().is_empty() {
            let data = base64url::decode(json["data"].as_str().unwrap()).unwrap();
            assert_eq!(weave.get(&format!("/{id}")).await.bytes().await.unwrap(), data);
            assert_eq!(weave.text(&format!("/tx/{id}/data")).await, json["data"].as_str().unwrap());
            assert_eq!(weave.get(&format!("/tx/{id}/data.txt")).await.bytes().await.unwrap(), data);
        }
    }
    let height = weave.height().await;
    for case in vectors["negative_transactions"].as_array().unwrap() {
        let mut json = case["post_tx_json"].clone();
        assert_eq!(weave.post_json("/tx", &json).await.0, 400, "{}", case["name"]);
        // Also when the id is one that nobody has seen.
        json["signature"] = base64url::encode([1; 512]).into();
        assert_eq!(weave.post_json("/tx", &json).await.0, 400, "{}", case["name"]);
    }
    assert_eq!(weave.height().await, height);
}

/// The JSON of a transaction with these fields, signed anew.
pub fn signed_with(signer: &Signer, fields: &Value) -> Value {
    let mut json = Transaction::data("data", &Tags::default(), &[], 0).sign(signer).unwrap().to_json(true);
    for (name, value) in fields.as_object().unwrap() {
        json[name] = value.clone();
    }
    let unsigned = Transaction::from_json(json.to_string().as_bytes()).unwrap();
    let signature = signer.sign_rsa_pss(&unsigned.signing_message()).unwrap();
    json["id"] = base64url::encode(Sha256::digest(&signature)).into();
    json["signature"] = base64url::encode(&signature).into();
    json
}

#[tokio::test]
async fn a_large_claim_leaves_room_for_the_offsets_of_others() {
    let weave = Weave::start().await;
    let claim = signed_with(&rsa(), &json!({ "data": "", "data_size": (1_u64 << 40).to_string() }));
    assert_eq!(weave.post_json("/tx", &claim).await.0, 200);
    let transaction = Transaction::data("x", &tags(&[]), &[], 0).sign(&rsa()).unwrap();
    assert_eq!(weave.post_json("/tx", &transaction.to_json(true)).await.0, 200);
    let place = weave.json(&format!("/tx/{}/offset", transaction.id)).await;
    let offset = (1_u64 << 40) + 1;
    assert_eq!(place["offset"], offset.to_string());
    assert_eq!(weave.json(&format!("/chunk/{offset}")).await["chunk"], base64url::encode("x"));
}

#[tokio::test]
async fn in_format_1_size_and_root_are_those_of_the_data_whatever_is_said() {
    let weave = Weave::start().await;
    let said = [
        json!({ "format": 1, "data_size": "18446744073709551615", "data_root": base64url::encode([7; 32]) }),
        json!({ "format": 1, "data_size": "0", "data_root": "" , "reward": "1"}),
        json!({ "format": 1, "data": "", "data_size": "9", "data_root": base64url::encode([7; 32]) }),
    ];
    for fields in said {
        let data = if fields["data"] == "" { &b""[..] } else { b"data" };
        let json = signed_with(&rsa(), &fields);
        let (status, answer) = weave.post_json("/tx", &json).await;
        assert_eq!(status, 200, "{answer}");
        let stored = weave.json(&format!("/tx/{}", json["id"].as_str().unwrap())).await;
        assert_eq!(stored["data_size"], data.len().to_string());
        let root = merkle::data_root(data).map(base64url::encode).unwrap_or_default();
        assert_eq!(stored["data_root"], root);
    }
}

#[tokio::test]
async fn data_in_chunks_is_there_when_the_last_one_has_come_in_whatever_order() {
    let signer = rsa();
    let data = generated(700_000);
    let posts = chunk_posts(&data);
    assert_eq!(posts.len(), 3);
    // Where the header comes among the chunks, and the order of these.
    for (header_at, order) in [(0, [0, 1, 2]), (0, [2, 0, 1]), (1, [1, 2, 0]), (3, [2, 1, 0])] {
        let weave = Weave::start().await;
        let transaction = Transaction::data(data.clone(), &tags(&[("Content-Type", "x/y")]), &[], 0).sign(&signer);
        let transaction = transaction.unwrap();
        let id = transaction.id;
        for step in 0..=order.len() {
            let complete = step == order.len() && header_at < step;
            let expected = if complete { 200 } else { 404 };
            assert_eq!(weave.status(&format!("/{id}")).await, expected, "{header_at} {order:?} {step}");
            if step == header_at {
                assert_eq!(weave.post_json("/tx", &header_of(&transaction)).await.0, 200);
            }
            if step < order.len() {
                assert_eq!(weave.post_json("/chunk", &posts[order[step]]).await, (200, "{}".to_owned()));
                assert_eq!(weave.post_json("/chunk", &posts[order[step]]).await.0, 200, "again");
            }
        }
        let response = weave.get(&format!("/{id}")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "x/y");
        assert_eq!(response.bytes().await.unwrap(), data, "{header_at} {order:?}");
    }
}

#[tokio::test]
async fn chunks_are_read_back_by_any_offset_in_them_with_their_proof() {
    let weave = Weave::start().await;
    let signer = rsa();
    // Something before it, so that the weave does not begin with it.
    let first = Transaction::data("something else", &tags(&[]), &[], 0).sign(&signer).unwrap();
    assert_eq!(weave.post_json("/tx", &first.to_json(true)).await.0, 200);
    let data = generated(600_000);
    let transaction = Transaction::data(data.clone(), &tags(&[]), &[], 0).sign(&signer).unwrap();
    assert_eq!(weave.post_json("/tx", &header_of(&transaction)).await.0, 200);
    for post in chunk_posts(&data) {
        assert_eq!(weave.post_json("/chunk", &post).await.0, 200);
    }
    let place = weave.json(&format!("/tx/{}/offset", transaction.id)).await;
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let (end, size) = (number(&place["offset"]), number(&place["size"]));
    assert_eq!(size, data.len() as u64);
    let start = end - size + 1;
    assert_eq!(start, 15, "14 bytes lie before it");

    let (mut at, mut read) = (start, Vec::new());
    while at <= end {
        let chunk = weave.json(&format!("/chunk/{at}")).await;
        let bytes = base64url::decode(chunk["chunk"].as_str().unwrap()).unwrap();
        let path = base64url::decode(chunk["data_path"].as_str().unwrap()).unwrap();
        let root = transaction.data_root.unwrap();
        merkle::verify_chunk(&root, at - start, size, &path, &bytes).unwrap();
        let middle = weave.json(&format!("/chunk/{}", at + bytes.len() as u64 / 2)).await;
        assert_eq!(middle, chunk);
        at += bytes.len() as u64;
        read.extend(bytes);
    }
    assert_eq!(read, data);
    let one = weave.json("/chunk/14").await;
    assert_eq!(base64url::decode(one["chunk"].as_str().unwrap()).unwrap(), b"something else");
    assert_eq!(weave.status(&format!("/chunk/{}", end + 1)).await, 404);
    assert_eq!(weave.status("/chunk/0").await, 404);
}

#[tokio::test]
async fn exactly_one_chunk_of_data_works_inline_though_its_tree_has_two_leaves() {
    let weave = Weave::start().await;
    let data = generated(256 * 1024);
    let transaction = Transaction::data(data.clone(), &tags(&[]), &[], 0).sign(&rsa()).unwrap();
    assert_eq!(weave.post_json("/tx", &transaction.to_json(true)).await.0, 200);
    assert_eq!(weave.get(&format!("/{}", transaction.id)).await.bytes().await.unwrap(), data);
}

#[tokio::test]
async fn two_transactions_share_the_data_that_they_have_in_common() {
    let weave = Weave::start().await;
    let (signer, data) = (rsa(), generated(300_000));
    let one = Transaction::data(data.clone(), &tags(&[("N", "1")]), &[], 0).sign(&signer).unwrap();
    let two = Transaction::data(data.clone(), &tags(&[("N", "2")]), &[], 0).sign(&signer).unwrap();
    assert_eq!(weave.post_json("/tx", &header_of(&one)).await.0, 200);
    for post in chunk_posts(&data) {
        weave.post_json("/chunk", &post).await;
    }
    assert_eq!(weave.post_json("/tx", &header_of(&two)).await.0, 200);
    for id in [one.id, two.id] {
        assert_eq!(weave.get(&format!("/{id}")).await.bytes().await.unwrap(), data);
    }
}

#[tokio::test]
async fn wallets_know_their_last_transaction() {
    let weave = Weave::start().await;
    let signer = rsa();
    let path = format!("/wallet/{}/last_tx", signer.address());
    assert_eq!(weave.text(&path).await, "");
    let transaction = Transaction::data("x", &tags(&[]), &[], 0).sign(&signer).unwrap();
    weave.post_json("/tx", &transaction.to_json(true)).await;
    assert_eq!(weave.text(&path).await, transaction.id.to_string());
}

#[tokio::test]
async fn items_are_no_transactions_but_have_a_status() {
    let weave = Weave::start().await;
    let item = crate::harness::item(&crate::harness::ed25519(), &[], "x");
    weave.upload(&item).await;
    assert_eq!(weave.status(&format!("/tx/{}", item.id())).await, 404);
    let status = weave.json(&format!("/tx/{}/status", item.id())).await;
    assert_eq!(status["number_of_confirmations"], 1);
}
