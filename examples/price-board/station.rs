//! A board of prices and its oracle: the board is a process that wakes by its schedule, the oracle a service outside that is asked
//! by it and answers with signed messages.

use anyhow::{Context, Result};
use futures_util::{StreamExt, pin_mut};
use holon_client::live::Live;
use holon_client::{CronInterval, outgoing};
use holon_devnet::{Network, ProcessId, Signer};
use serde::Deserialize;

static BOARD: &[u8] = include_bytes!("../../wasm-processes/price-board/price-board.wasm");

/// What the board shows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown {
    /// How often it woke.
    pub ticks: u64,
    /// The lines, by name.
    pub quotes: std::collections::BTreeMap<String, Quote>,
}

/// A line of the board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Quote {
    /// The newest price.
    pub price: String,
    /// The highest ever.
    pub high: String,
    /// The lowest ever.
    pub low: String,
    /// The newest prices, oldest first.
    pub history: Vec<String>,
}

/// Deploys a board that asks `oracle`.
///
/// # Errors
/// When the network refuses it.
pub async fn deploy(network: &Network, every: CronInterval, oracle: &Signer) -> Result<ProcessId> {
    let board = network.deploy(BOARD).tag("Name", "price board").tag("Sources", oracle.address());
    Ok(board.cron(every, [("Action", "Tick")]).await?)
}

/// What the board shows now.
///
/// # Errors
/// When it does not answer.
pub async fn look(network: &Network, board: ProcessId) -> Result<Shown> {
    let answer = network.dry_run(board).action("Board").await?.ok()?;
    serde_json::from_value(answer.result.output).context("the board shows something else")
}

/// Answers the board's questions for as long as it can be followed. `prices` knows them for each tick.
///
/// # Errors
/// When the network refuses to tell or to take something.
pub async fn answer(
    client: &holon_client::Network,
    board: ProcessId,
    oracle: &Signer,
    prices: impl Fn(u64) -> Vec<(&'static str, u64)>,
) -> Result<()> {
    let own = oracle.address().to_string();
    let results = client.follow(board).from("0").stream();
    pin_mut!(results);
    while let Some(told) = results.next().await {
        let Live::Result(told) = told? else { continue };
        let questions = outgoing(&told.result).into_iter();
        for question in questions.filter(|question| question.target == own) {
            let Some(tick) = question.tags.get("Tick").and_then(|tick| tick.parse().ok()) else { continue };
            for (name, price) in prices(tick) {
                let message = client.message(board).action("Price").tag("Name", name).tag("Price", price.to_string());
                message.send(oracle).await?;
            }
        }
    }
    Ok(())
}

/// Prices of three things that do not exist, which wander but are the same every time.
pub fn wandering(tick: u64) -> Vec<(&'static str, u64)> {
    let step = |name: u64, tick: u64| (tick * 2_654_435_761 + name * 40_503) % 1_000;
    let price = |name: u64, base: u64| base + (0..8).map(|back| step(name, tick.saturating_sub(back))).sum::<u64>() / 8;
    vec![("AMBER", price(1, 1_000)), ("BRASS", price(2, 400)), ("CORAL", price(3, 7_500))]
}
