//! No coin is lost or made, whatever is traded and whichever unit is away in the middle of it.

use holon_devnet::{Network, Unit};
use holon_examples::token_swap::{Market, POOL};

#[tokio::test]
async fn traders_get_what_was_quoted_or_their_money_back_and_every_coin_is_accounted_for() {
    let network = Network::start().await.unwrap();
    let market = Market::open(&network).await.unwrap();
    assert_eq!(market.reserves(&network).await.unwrap(), POOL);
    let trader = network.new_wallet().unwrap();
    let gift = network.send(market.gold).action("Transfer").tag("Recipient", trader.address()).tag("Quantity", 50_000);
    gift.result().await.unwrap().ok().unwrap();

    for part in [1, 10_000, 20_000] {
        let quote = market.quote(&network, market.gold, part).await.unwrap();
        let before = market.balance(&network, market.silver, trader.address()).await.unwrap();
        market.swap(&network, &trader, market.gold, part, quote).await.unwrap();
        let after = market.balance(&network, market.silver, trader.address()).await.unwrap();
        assert_eq!(after - before, quote, "{part}");
    }
    // More than the pool gives is not given: the money comes back.
    let gold = market.balance(&network, market.gold, trader.address()).await.unwrap();
    market.swap(&network, &trader, market.gold, 1_000, POOL.1).await.unwrap();
    assert_eq!(market.balance(&network, market.gold, trader.address()).await.unwrap(), gold);
    // More than the trader has is not paid.
    let refused = market.swap(&network, &trader, market.gold, gold + 1, 1).await.unwrap_err();
    assert!(refused.to_string().contains("Insufficient Balance"), "{refused}");

    // Units go away in the middle of chains.
    for unit in [Unit::Compute, Unit::Messenger] {
        let pay = network.send(market.gold).action("Transfer").tag("Recipient", market.pool).tag("Quantity", 100);
        pay.tag("X-Action", "Swap").signed_by(&trader).await.unwrap();
        network.restart(unit).await.unwrap();
        network.idle().await.unwrap();
    }
    assert_eq!(market.balance(&network, market.gold, trader.address()).await.unwrap(), gold - 200);

    let (gold, silver) = market.reserves(&network).await.unwrap();
    for (token, reserve, supply) in [(market.gold, gold, 10 * POOL.0), (market.silver, silver, 10 * POOL.1)] {
        assert_eq!(market.balance(&network, token, market.pool).await.unwrap(), reserve, "the pool knows what it has");
        let mut all = reserve;
        for who in [trader.address(), network.wallet().address()] {
            all += market.balance(&network, token, who).await.unwrap();
        }
        assert_eq!(all, supply);
    }
    assert!(gold * silver >= POOL.0 * POOL.1, "the pool never loses");
    network.stop().await.unwrap();
}
