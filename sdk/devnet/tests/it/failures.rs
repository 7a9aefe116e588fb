//! Units that are away for a while.

use std::time::Duration;

use holon_devnet::{Error, Unit};

use crate::{COUNTER, start, wasm};

#[tokio::test]
async fn every_unit_comes_back_with_its_data_at_its_address() {
    let network = start().await;
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let mut value = 0;
    for unit in Unit::ALL {
        value += 1;
        let sent = network.send(counter).action("Increment").await.unwrap();
        assert_eq!(network.result(counter, sent).await.unwrap().output, value.to_string());
        network.restart(unit).await.unwrap();
        let again = network.result(counter, sent).await;
        assert_eq!(again.unwrap_or_else(|error| panic!("after {unit}: {error}")).output, value.to_string());
    }
    network.idle().await.unwrap();
    network.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_scheduled_while_the_compute_unit_was_away_is_evaluated_and_pushed_afterwards() {
    let network = start().await;
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let token = network.deploy(wasm("token")).tag("Initial-Supply", 10).await.unwrap();
    network.down(Unit::Compute).await.unwrap();
    let transfer = network.send(token).action("Transfer").tag("Recipient", counter).tag("Quantity", 1);
    let sent = transfer.await.unwrap();
    let error = network.result(token, sent).await.unwrap_err();
    assert!(matches!(error, Error::Client(_)), "{error}");
    network.up(Unit::Compute).await.unwrap();
    network.idle().await.unwrap();
    assert!(network.result(token, sent).await.unwrap().message("Credit-Notice").is_some());
    assert_eq!(network.client().results(counter).page().await.unwrap().edges.len(), 1);
    network.stop().await.unwrap();
}

#[tokio::test]
async fn who_needs_a_unit_that_is_down_is_told_so() {
    let network = start().await;
    network.down(Unit::Gateway).await.unwrap();
    network.down(Unit::Gateway).await.unwrap();
    let error = network.mine(1).await.unwrap_err();
    assert!(matches!(error, Error::Down(Unit::Gateway)) && error.to_string().contains("network.up"), "{error}");
    network.down(Unit::Messenger).await.unwrap();
    // Time passes without a messenger, only nothing is pushed.
    network.advance(Duration::from_secs(1)).await.unwrap();
    network.up(Unit::Gateway).await.unwrap();
    network.up(Unit::Messenger).await.unwrap();
    network.mine(1).await.unwrap();
    network.stop().await.unwrap();
}
