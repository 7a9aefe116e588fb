//! A day at the market, on a network of its own.

use anyhow::Result;
use holon_devnet::Network;
use holon_examples::token_swap::Market;

#[tokio::main]
async fn main() -> Result<()> {
    let network = Network::start().await?;
    let market = Market::open(&network).await?;
    println!("gold    {}\nsilver  {}\npool    {}\n", market.gold, market.silver, market.pool);

    let trader = network.new_wallet()?;
    let gift = network.send(market.gold).action("Transfer").tag("Recipient", trader.address()).tag("Quantity", 100_000);
    gift.result().await?.ok()?;
    show(&network, &market, &trader, "a trader comes with 100 000 gold").await?;

    for part in [10_000, 40_000, 50_000] {
        let quote = market.quote(&network, market.gold, part).await?;
        market.swap(&network, &trader, market.gold, part, quote).await?;
        show(&network, &market, &trader, &format!("{part} gold buy {quote} silver")).await?;
    }
    let all = market.balance(&network, market.silver, trader.address()).await?;
    market.swap(&network, &trader, market.silver, all, u128::MAX).await?;
    show(&network, &market, &trader, "asking for the impossible: everything comes back").await?;
    market.swap(&network, &trader, market.silver, all, 1).await?;
    show(&network, &market, &trader, "back to gold: what is missing stayed in the pool").await?;
    Ok(network.stop().await?)
}

async fn show(network: &Network, market: &Market, trader: &holon_devnet::Signer, what: &str) -> Result<()> {
    let (gold, silver) = market.reserves(network).await?;
    let of = async |token| market.balance(network, token, trader.address()).await;
    println!("{what}");
    println!("  trader {:>9} gold {:>9} silver", of(market.gold).await?, of(market.silver).await?);
    println!("  pool   {gold:>9} gold {silver:>9} silver    1 gold = {:.4} silver\n", silver as f64 / gold as f64);
    Ok(())
}
