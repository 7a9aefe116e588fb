//! The board's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use holon_process::testing::Network;
use price_board::{Board, HISTORY_LIMIT, QUOTE_LIMIT};

fn board(network: &mut Network) -> String {
    let spawning = network.spawn::<Board>("alice").tag("Sources", "oracle, other,");
    spawning.tag("Cron-Interval", "1-minute").tag("Cron-Tag-Action", "Tick").boot()
}

fn tell(network: &mut Network, board: &str, from: &str, name: &str, price: impl ToString) -> Option<String> {
    let sending = network.send(from, board).action("Price").tag("Name", name);
    sending.tag("Price", price.to_string()).deliver().error
}

#[test]
fn every_source_is_asked_at_every_tick() {
    let mut network = Network::new();
    let board = board(&mut network);
    network.advance(Duration::from_secs(181));
    for source in ["oracle", "other"] {
        let asked: Vec<_> = network.letters(source).iter().map(|letter| letter.message.tag("Tick").unwrap()).collect();
        assert_eq!(asked, ["1", "2", "3"]);
    }
    let answer = network.send("bob", &board).action("Tick").deliver();
    assert!(answer.error.is_some(), "only its schedule makes it tick");
}

#[test]
fn what_sources_tell_is_kept_with_highs_lows_and_history() {
    let mut network = Network::new();
    let board = board(&mut network);
    for price in [10, 14, 9, 12] {
        assert_eq!(tell(&mut network, &board, "oracle", "AO", price), None);
    }
    let quote = network.state::<Board>(&board).quotes()["AO"].clone();
    assert_eq!((quote.price.units(), quote.high.units(), quote.low.units()), (12, 14, 9));
    assert_eq!(quote.history.iter().map(|price| price.units()).collect::<Vec<_>>(), [10, 14, 9, 12]);
    for price in 0..HISTORY_LIMIT {
        tell(&mut network, &board, "oracle", "AO", price);
    }
    assert_eq!(network.state::<Board>(&board).quotes()["AO"].history.len(), HISTORY_LIMIT);
}

#[test]
fn strangers_nonsense_and_too_much_are_refused() {
    let mut network = Network::new();
    let board = board(&mut network);
    assert!(tell(&mut network, &board, "mallory", "AO", 1).unwrap().contains("no source"));
    assert!(tell(&mut network, &board, "oracle", "AO", "1.5").unwrap().contains("Price"));
    assert!(tell(&mut network, &board, "oracle", &"x".repeat(33), 1).unwrap().contains("32 bytes"));
    for number in 0..QUOTE_LIMIT {
        assert_eq!(tell(&mut network, &board, "other", &format!("thing {number}"), 1), None);
    }
    assert!(tell(&mut network, &board, "oracle", "one more", 1).unwrap().contains("full"));
    assert_eq!(tell(&mut network, &board, "oracle", "thing 7", 2), None);
}
