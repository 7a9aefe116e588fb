//! Units that are away for a while.

use std::time::Duration;

use holon_client::scheduler::Range;
use holon_devnet::{Error, MessageId, Network, ProcessId, Unit};

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

/// Messages that are under way at the same time, and how often units crash meanwhile.
const AT_ONCE: usize = 12;
const CRASHES: usize = 6;
/// Longest until everybody has an answer after a crash.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pays one unit, and sends the same item until somebody has it, as clients do whose answer was lost.
async fn pay(network: &Network, token: ProcessId, to: ProcessId) -> MessageId {
    let payment = network.client().message(token).action("Transfer").tag("Recipient", to.to_string());
    let item = payment.tag("Quantity", "1").sign(network.wallet()).await.unwrap();
    while network.client().post(&item).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    item.id().into()
}

/// Entries of the log behind the process itself.
async fn logged(network: &Network, process: ProcessId) -> usize {
    let scheduler = network.client().scheduler_of(process).await.unwrap();
    let range = Range { limit: Some(1000), ..Range::default() };
    scheduler.log(process, range).await.unwrap().edges.len() - 1
}

#[tokio::test]
async fn what_was_acknowledged_is_there_once_after_crashes_and_so_is_what_follows_from_it() {
    let network = start().await;
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let token = network.deploy(wasm("token")).tag("Initial-Supply", 1_000_000).await.unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..CRASHES {
        let payments = (0..AT_ONCE).map(|number| {
            let network = &network;
            // Spread over the crash.
            async move {
                tokio::time::sleep(Duration::from_millis(2 * number as u64)).await;
                pay(network, token, counter).await
            }
        });
        let crash = async {
            tokio::time::sleep(Duration::from_millis(6 + 3 * round as u64)).await;
            match [Unit::Scheduler, Unit::Compute, Unit::Messenger].get(round % 4) {
                Some(&unit) => {
                    network.kill(unit).await.unwrap();
                    network.up(unit).await.unwrap();
                }
                None => network.power_cut().await.unwrap(),
            }
        };
        let both = async { tokio::join!(futures_util::future::join_all(payments), crash).0 };
        acknowledged.extend(tokio::time::timeout(PATIENCE, both).await.expect("not all were answered"));
    }
    network.idle().await.unwrap();

    let scheduler = network.client().scheduler_of(token).await.unwrap();
    for message in &acknowledged {
        scheduler.entry(token, *message).await.unwrap();
    }
    // Each is in the log once, was carried out once, and its notice reached the counter once.
    assert_eq!((acknowledged.len(), logged(&network, token).await), (AT_ONCE * CRASHES, AT_ONCE * CRASHES));
    let balance = network.dry_run(token).action("Balance").tag("Recipient", counter).await.unwrap();
    assert_eq!(balance.output, acknowledged.len().to_string());
    assert_eq!(logged(&network, counter).await, acknowledged.len());
    network.stop().await.unwrap();
}
