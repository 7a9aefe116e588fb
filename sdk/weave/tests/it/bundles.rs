//! What is inside bundles is found, at any depth, and what is broken in them is skipped.

use holon_arweave::Transaction;
use holon_protocol::{Bundle, DataItem, Tags, base64url};
use serde_json::json;

use crate::harness::{Weave, ed25519, generated, item, rsa, vectors};
use crate::transactions::{chunk_posts, header_of};

const BUNDLE: [(&str, &str); 2] = [("Bundle-Format", "binary"), ("Bundle-Version", "2.0.0")];

async fn parent(weave: &Weave, id: impl ToString) -> serde_json::Value {
    let query = "query ($id: ID!) { transaction(id: $id) { bundledIn { id } parent { id } block { height } } }";
    weave.graphql(query, json!({ "id": id.to_string() })).await["transaction"].clone()
}

#[tokio::test]
async fn items_inside_items_are_served_and_know_what_is_around_them() {
    let weave = Weave::start().await;
    let signer = ed25519();
    let leaf = item(&signer, &[("Content-Type", "text/plain")], generated(300_000));
    let sibling = item(&signer, &[("Name", "sibling")], "sibling");
    let inner = item(&signer, &BUNDLE, Bundle::encode(&[leaf.clone(), sibling.clone()]));
    let outer = item(&signer, &BUNDLE, Bundle::encode(&[inner.clone(), item(&signer, &[], "other")]));
    weave.upload(&outer).await;

    assert_eq!(weave.get(&format!("/{}", leaf.id())).await.bytes().await.unwrap(), generated(300_000));
    assert_eq!(weave.text(&format!("/raw/{}", sibling.id())).await, "sibling");
    assert_eq!(weave.get(&format!("/raw/{}", inner.id())).await.bytes().await.unwrap(), inner.data());
    assert_eq!(parent(&weave, leaf.id()).await["bundledIn"]["id"], inner.id().to_string());
    assert_eq!(parent(&weave, leaf.id()).await["parent"]["id"], inner.id().to_string());
    assert_eq!(parent(&weave, inner.id()).await["bundledIn"]["id"], outer.id().to_string());
    assert_eq!(parent(&weave, outer.id()).await["bundledIn"], json!(null));
    assert_eq!(parent(&weave, leaf.id()).await["block"], parent(&weave, outer.id()).await["block"]);

    let range = weave.client.get(format!("{}/{}", weave.url, leaf.id())).header("range", "bytes=299990-");
    assert_eq!(range.send().await.unwrap().bytes().await.unwrap(), generated(300_000).slice(299_990..));
    assert_eq!(weave.find(&format!("bundledIn: [\"{}\"]", inner.id())).await.len(), 2);
}

#[tokio::test]
async fn a_bundle_in_a_transaction_is_opened_inline_and_after_its_last_chunk() {
    let (signer, wallet) = (ed25519(), rsa());
    let tags: Tags = BUNDLE.into_iter().collect();
    for size in [1_000, 400_000] {
        let weave = Weave::start().await;
        let inside = item(&signer, &[("Name", "inside")], generated(size));
        let data = Bundle::encode(std::slice::from_ref(&inside));
        let transaction = Transaction::data(data.clone(), &tags, &[], 0).sign(&wallet).unwrap();
        if size < 10_000 {
            assert_eq!(weave.post_json("/tx", &transaction.to_json(true)).await.0, 200);
        } else {
            let mut posts = chunk_posts(&data);
            let last = posts.pop().unwrap();
            for post in posts {
                assert_eq!(weave.post_json("/chunk", &post).await.0, 200);
            }
            assert_eq!(weave.post_json("/tx", &header_of(&transaction)).await.0, 200);
            assert_eq!(weave.status(&format!("/{}", inside.id())).await, 404);
            assert_eq!(weave.post_json("/chunk", &last).await.0, 200);
        }
        assert_eq!(weave.get(&format!("/{}", inside.id())).await.bytes().await.unwrap(), generated(size));
        let around = parent(&weave, inside.id()).await;
        assert_eq!(around["bundledIn"]["id"], transaction.id.to_string());
        assert_eq!(around["block"], parent(&weave, transaction.id).await["block"]);
        assert_eq!(weave.find(r#"tags: [{name: "Name", values: ["inside"]}]"#).await.len(), 1);
    }
}

#[tokio::test]
async fn a_bundle_that_waits_for_data_gets_it_from_another_transaction_too() {
    let (signer, wallet, weave) = (ed25519(), rsa(), Weave::start().await);
    let inside = item(&signer, &[], "inside");
    let data = Bundle::encode(std::slice::from_ref(&inside));
    let bundle = Transaction::data(data.clone(), &BUNDLE.into_iter().collect(), &[], 0).sign(&wallet).unwrap();
    assert_eq!(weave.post_json("/tx", &header_of(&bundle)).await.0, 200);
    assert_eq!(weave.status(&format!("/{}", inside.id())).await, 404);
    let plain = Transaction::data(data, &Tags::default(), &[], 0).sign(&wallet).unwrap();
    assert_eq!(weave.post_json("/tx", &plain.to_json(true)).await.0, 200);
    assert_eq!(weave.text(&format!("/{}", inside.id())).await, "inside");
    assert_eq!(parent(&weave, inside.id()).await["bundledIn"]["id"], bundle.id.to_string());
}

#[tokio::test]
async fn what_is_broken_inside_is_skipped() {
    let weave = Weave::start().await;
    let signer = ed25519();
    let good = item(&signer, &[], "good");
    let mut forged = item(&signer, &[], "forged").raw().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = DataItem::parse(forged).unwrap();
    let bundle = item(&signer, &BUNDLE, Bundle::encode(&[forged.clone(), good.clone()]));
    weave.upload(&bundle).await;
    assert_eq!(weave.status(&format!("/{}", good.id())).await, 200);
    assert_eq!(weave.status(&format!("/{}", forged.id())).await, 404);

    let nonsense = item(&signer, &BUNDLE, "this is no bundle");
    weave.upload(&nonsense).await;
    assert_eq!(weave.text(&format!("/{}", nonsense.id())).await, "this is no bundle");
}

#[tokio::test]
async fn an_item_that_came_alone_learns_where_it_is_bundled() {
    let weave = Weave::start().await;
    let signer = ed25519();
    let single = item(&signer, &[("Name", "single")], "x");
    weave.upload(&single).await;
    assert_eq!(parent(&weave, single.id()).await["bundledIn"], json!(null));
    let bundle = item(&signer, &BUNDLE, Bundle::encode(std::slice::from_ref(&single)));
    weave.upload(&bundle).await;
    assert_eq!(parent(&weave, single.id()).await["bundledIn"]["id"], bundle.id().to_string());
    assert_eq!(weave.find(r#"tags: [{name: "Name", values: ["single"]}]"#).await.len(), 1);
    assert_eq!(weave.find(&format!("bundledIn: [\"{}\"]", bundle.id())).await, [single.id().to_string()]);
}

#[tokio::test]
async fn the_published_bundles_are_opened() {
    let weave = Weave::start().await;
    for case in vectors("data-items.json")["bundles"].as_array().unwrap() {
        let raw = base64url::decode(case["raw"].as_str().unwrap()).unwrap();
        let Ok(bundle) = Bundle::parse(raw.clone()) else { continue };
        let ids: Vec<_> = (0..bundle.entries().len()).filter_map(|at| bundle.item(at).ok()).collect();
        weave.upload(&item(&ed25519(), &BUNDLE, raw)).await;
        for inner in ids {
            let data = weave.get(&format!("/raw/{}", inner.id())).await.bytes().await.unwrap();
            assert_eq!(data, inner.data(), "{}", case["name"]);
        }
    }
}

#[tokio::test]
async fn nesting_ends_at_a_limit_without_harm() {
    let weave = Weave::start().await;
    let signer = ed25519();
    let mut item_now = item(&signer, &[("Name", "innermost")], "x");
    for _ in 0..20 {
        item_now = item(&signer, &BUNDLE, Bundle::encode(std::slice::from_ref(&item_now)));
    }
    weave.upload(&item_now).await;
    assert!(weave.find(r#"tags: [{name: "Name", values: ["innermost"]}]"#).await.is_empty());
    assert_eq!(weave.find("first: 100").await.len(), 17, "the outermost and 16 inside");
}
