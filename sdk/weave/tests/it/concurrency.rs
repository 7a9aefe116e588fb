//! Many at once: nothing is lost, nothing is counted twice.

use std::sync::Arc;

use crate::harness::{Weave, ed25519, item};

#[tokio::test(flavor = "multi_thread")]
async fn items_uploaded_at_the_same_time_are_all_there_once() {
    let weave = Arc::new(Weave::with(|_| {}).await);
    let signer = ed25519();
    let items: Vec<_> = (0..100).map(|number| item(&signer, &[("Batch", "one")], format!("item {number}"))).collect();
    let uploads = items.iter().flat_map(|each| [each.clone(), each.clone()]).map(|each| {
        let weave = weave.clone();
        tokio::spawn(async move { weave.upload(&each).await })
    });
    for upload in uploads.collect::<Vec<_>>() {
        upload.await.unwrap();
    }
    for (number, each) in items.iter().enumerate() {
        assert_eq!(weave.text(&format!("/raw/{}", each.id())).await, format!("item {number}"));
    }
    let found = weave.find(r#"tags: [{name: "Batch", values: ["one"]}], first: 100"#).await;
    assert_eq!(found.len(), 100);
    assert!(weave.text("/metrics").await.contains("weave_items_total 100"));
}
