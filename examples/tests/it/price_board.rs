//! The board wakes by itself, its oracle answers, strangers are not believed.

use std::time::Duration;

use holon_devnet::Network;
use holon_examples::price_board::{answer, deploy, look, wandering};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_hour_of_prices_passes_in_a_moment() {
    let network = Network::start().await.unwrap();
    let oracle = network.new_wallet().unwrap();
    let board = deploy(&network, "10-minutes".parse().unwrap(), &oracle).await.unwrap();
    let prices = 3;

    let work = async {
        for tick in 1..=6 {
            network.advance(Duration::from_secs(601)).await.unwrap();
            // The oracle is outside of the network: it answers in its own time.
            let deadline = tokio::time::Instant::now() + PATIENCE;
            loop {
                let shown = look(&network, board).await.unwrap();
                assert_eq!(shown.ticks, tick);
                let told: usize = shown.quotes.values().map(|quote| quote.history.len()).sum();
                if told == prices * tick as usize {
                    break;
                }
                assert!(tokio::time::Instant::now() < deadline, "tick {tick}: {told} prices told");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::select! {
        ended = answer(network.client(), board, &oracle, wandering) => panic!("the oracle ended: {ended:?}"),
        () = work => {}
    }

    let shown = look(&network, board).await.unwrap();
    let expected: Vec<_> = (1..=6).map(|tick| wandering(tick)[0].1.to_string()).collect();
    assert_eq!(shown.quotes["AMBER"].history, expected);
    assert_eq!(&shown.quotes["AMBER"].high, expected.iter().max().unwrap());

    let stranger = network.new_wallet().unwrap();
    let lie = network.send(board).action("Price").tag("Name", "AMBER").tag("Price", 1).signed_by(&stranger);
    assert!(lie.result().await.unwrap().error.unwrap().contains("no source"));
    assert_eq!(look(&network, board).await.unwrap(), shown);
    network.stop().await.unwrap();
}
