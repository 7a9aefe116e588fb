//! Time and blocks, by hand.

use std::time::Duration;

use holon_devnet::{BEGINNING, Error, Network, Timestamp};
use serde_json::Value;

use crate::{COUNTER, start, wasm};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

async fn status(network: &Network, ticker: holon_devnet::ProcessId) -> (Value, Value) {
    let output = network.dry_run(ticker).action("Status").await.unwrap().ok().unwrap().result.output;
    (output["Ticks"].clone(), output["Last"].clone())
}

#[tokio::test]
async fn time_stands_still_until_it_is_moved() {
    let network = start().await;
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let first = network.send(counter).action("Increment").await.unwrap();
    network.advance(24 * 60 * MINUTE).await.unwrap();
    let second = network.send(counter).action("Increment").await.unwrap();
    network.result(counter, second).await.unwrap();

    let scheduler = network.client().scheduler_of(counter).await.unwrap();
    let entry = |message| {
        let scheduler = &scheduler;
        async move { scheduler.entry(counter, message).await.unwrap().assignment.tags.get("Timestamp").unwrap().to_owned() }
    };
    let (first, second) = (entry(first).await, entry(second).await);
    // The process itself was the first entry, and times of a log only grow.
    assert_eq!(first, Timestamp(BEGINNING.0 + 1).to_string());
    assert_eq!(second, Timestamp(BEGINNING.0 + 24 * 3_600_000).to_string());
    assert_eq!(network.now().to_string(), second);
    let error = network.advance_to(BEGINNING).await.unwrap_err();
    assert!(matches!(error, Error::Past { .. }), "{error}");
    network.stop().await.unwrap();
}

#[tokio::test]
async fn crons_fire_at_once_when_time_is_advanced_and_what_they_send_arrives() {
    let network = start().await;
    let every = "1-minute".parse().unwrap();
    let ticker = network.deploy(wasm("ticker")).cron(every, [("Action", "Tick")]).await.unwrap();
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    network.send(ticker).action("Subscribe").result().await.unwrap().ok().unwrap();
    let wallet = network.wallet().address().to_string();

    // The schedule counts from the last message on, which came a millisecond after the process.
    network.advance(10 * MINUTE + SECOND).await.unwrap();
    assert_eq!(status(&network, ticker).await, (10.into(), (BEGINNING.0 + 600_001).into()));
    // To half a minute nothing more, and a whole hour at once.
    network.advance(MINUTE / 2).await.unwrap();
    assert_eq!(status(&network, ticker).await.0, 10);
    network.advance(60 * MINUTE).await.unwrap();
    assert_eq!(status(&network, ticker).await.0, 70);

    // Each tick was pushed to the wallet that subscribed: it is on Arweave.
    let gateway = network.client().gateway().unwrap();
    let mut query = holon_arweave::Query { recipients: vec![wallet], first: Some(100), ..Default::default() };
    query.tags.push(("Action".into(), vec!["Tick".into()]));
    assert_eq!(gateway.nodes(&query).await.unwrap().nodes.len(), 70);
    assert_eq!(network.dry_run(counter).action("Get").await.unwrap().output, "0");
    network.stop().await.unwrap();
}

#[tokio::test]
async fn blocks_are_made_when_told_and_wake_who_waits_for_them() {
    let network = start().await;
    let ticker = network.deploy(wasm("ticker")).cron("2-blocks".parse().unwrap(), [("Action", "Tick")]).await.unwrap();
    network.send(ticker).action("Status").result().await.unwrap();
    let height = network.height().await.unwrap();
    assert_eq!(status(&network, ticker).await.0, 0);
    for blocks in 1..=3 {
        assert_eq!(network.mine(1).await.unwrap().0, height.0 + blocks);
    }
    network.advance(MINUTE).await.unwrap();
    assert_eq!(network.mine(4).await.unwrap(), network.height().await.unwrap());
    network.advance(MINUTE).await.unwrap();
    network.send(ticker).action("Status").result().await.unwrap();
    let ticks = status(&network, ticker).await.0.as_u64().unwrap();
    let made = network.height().await.unwrap().0 - height.0;
    assert!(made >= 9 && (made / 2 - 1..=made / 2).contains(&ticks), "{ticks} ticks in {made} blocks");
    network.stop().await.unwrap();
}

#[tokio::test]
async fn time_passes_by_itself_when_told() {
    let network = Network::builder().real_time().start().await.unwrap();
    let ticker = network.deploy(wasm("ticker")).cron("1-second".parse().unwrap(), [("Action", "Tick")]).await.unwrap();
    let deadline = tokio::time::Instant::now() + MINUTE;
    while status(&network, ticker).await.0 == 0 {
        assert!(tokio::time::Instant::now() < deadline, "no tick in a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    network.stop().await.unwrap();
}
