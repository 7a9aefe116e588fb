//! Wallets, prices, accounts, health, reset.

use serde_json::json;

use crate::harness::{Weave, ed25519, item};

#[tokio::test]
async fn balances_are_minted_and_set() {
    let weave = Weave::start().await;
    let address = ed25519().address().to_string();
    let balance = format!("/wallet/{address}/balance");
    assert_eq!(weave.text(&balance).await, "0");
    assert_eq!(weave.text(&format!("/mint/{address}/1000000000000")).await, "1000000000000");
    assert_eq!(weave.text(&format!("/mint/{address}/5")).await, "1000000000005");
    assert_eq!(weave.text(&balance).await, "1000000000005");
    assert_eq!(weave.text(&format!("/account/balance/{address}")).await, "1000000000005");
    assert_eq!(weave.text(&format!("/account/balance/arweave?address={address}")).await, "1000000000005");
    let request = weave.client.patch(format!("{}{balance}", weave.url)).json(&json!({ "balance": 7 }));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(weave.text(&balance).await, "7");
    let (status, _) = weave.post_json("/wallet", &json!({ "address": address, "balance": "99" })).await;
    assert_eq!(status, 200);
    assert_eq!(weave.text(&balance).await, "99");
}

#[tokio::test]
async fn prices_are_digits() {
    let weave = Weave::start().await;
    let address = ed25519().address();
    for path in ["/price/100".to_owned(), format!("/price/100/{address}"), "/price/arweave/100".to_owned()] {
        assert!(weave.text(&path).await.bytes().all(|byte| byte.is_ascii_digit()), "{path}");
    }
}

#[tokio::test]
async fn health_and_metrics_answer() {
    let weave = Weave::start().await;
    weave.upload(&item(&ed25519(), &[], "x")).await;
    assert_eq!(weave.status("/health").await, 200);
    assert!(weave.text("/metrics").await.contains("weave_items_total 1"));
    assert_eq!(weave.json("/peers").await, json!([]));
    assert!(weave.text("/time").await.parse::<u64>().unwrap() > 1_600_000_000);
}

#[tokio::test]
async fn a_reset_keeps_what_a_network_cannot_do_without() {
    let weave = Weave::start().await;
    let signer = ed25519();
    let location = item(&signer, &[("Type", "Scheduler-Location"), ("Url", "http://x")], "l");
    let module = item(&signer, &[("Type", "Module")], vec![7; 600_000]);
    let process = item(&signer, &[("Type", "Process"), ("Module", &module.id().to_string())], "p");
    let message = item(&signer, &[("Type", "Message")], "m");
    for each in [&location, &module, &process, &message] {
        weave.upload(each).await;
    }
    weave.text(&format!("/mint/{}/5", signer.address())).await;
    assert_eq!(weave.text("/reset").await, "reset done");
    assert_eq!(weave.status(&format!("/{}", message.id())).await, 404);
    assert_eq!(weave.text(&format!("/wallet/{}/balance", signer.address())).await, "0");
    assert_eq!(weave.get(&format!("/{}", module.id())).await.bytes().await.unwrap().len(), 600_000);
    assert_eq!(
        weave.find(r#"tags: [{name: "Type", values: ["Scheduler-Location"]}]"#).await,
        [location.id().to_string()]
    );
    assert_eq!(weave.text(&format!("/raw/{}", process.id())).await, "p");
    assert_eq!(
        weave.find("first: 10, sort: HEIGHT_ASC").await,
        [&location, &module, &process].map(|item| item.id().to_string())
    );
    weave.upload(&message).await;
    assert_eq!(weave.text(&format!("/{}", message.id())).await, "m");
}
