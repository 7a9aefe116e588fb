//! The board in a terminal, on a network of its own.

use std::time::Duration;

use anyhow::Result;
use holon_devnet::Network;
use holon_examples::price_board::{Quote, answer, deploy, look, wandering};

/// Bars of a history, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Prices shown of a history.
const SHOWN: usize = 30;

#[tokio::main]
async fn main() -> Result<()> {
    println!("starting a network with a board that wakes every two seconds … Ctrl-C ends it");
    let network = Network::builder().real_time().start().await?;
    let oracle = network.new_wallet()?;
    let board = deploy(&network, "2-seconds".parse()?, &oracle).await?;
    let screen = async || -> Result<()> {
        loop {
            let shown = look(&network, board).await?;
            println!("\n{board}  tick {}", shown.ticks);
            for (name, quote) in &shown.quotes {
                println!(
                    "  {name:<8} {:>6}   low {:>6}   high {:>6}   {}",
                    quote.price,
                    quote.low,
                    quote.high,
                    bars(quote)
                );
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    tokio::select! {
        shown = screen() => shown?,
        answered = answer(network.client(), board, &oracle, wandering) => answered?,
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(network.stop().await?)
}

fn bars(quote: &Quote) -> String {
    let prices: Vec<u64> = quote.history.iter().filter_map(|price| price.parse().ok()).collect();
    let prices = &prices[prices.len().saturating_sub(SHOWN)..];
    let (low, high) = (prices.iter().min().copied().unwrap_or(0), prices.iter().max().copied().unwrap_or(0));
    let height = |price: &u64| (price - low) as usize * (BARS.len() - 1) / ((high - low).max(1) as usize);
    prices.iter().map(|price| BARS[height(price)]).collect()
}
