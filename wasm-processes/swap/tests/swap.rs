//! The pool's behaviour, natively, with two real tokens.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use holon_process::{Quantity, testing::Network};
use swap::Swap;
use token::Token;

struct Market {
    network: Network,
    gold: String,
    silver: String,
    pool: String,
}

impl Market {
    /// 1 000 gold against 4 000 silver; bob has 100 gold.
    fn new() -> Self {
        let mut network = Network::new();
        let gold = network.spawn::<Token>("alice").tag("Initial-Supply", 10_000).boot();
        let silver = network.spawn::<Token>("alice").tag("Initial-Supply", 10_000).boot();
        let pool = network.spawn::<Swap>("alice").tag("Token-A", &gold).tag("Token-B", &silver).boot();
        let mut market = Self { network, gold, silver, pool };
        let (gold, silver, pool) = (market.gold.clone(), market.silver.clone(), market.pool.clone());
        market.pay("alice", &gold, &pool, 1_000, &[("X-Action", "Provide")]);
        market.pay("alice", &silver, &pool, 4_000, &[("X-Action", "Provide")]);
        market.pay("alice", &gold, "bob", 100, &[]);
        market
    }

    fn pay(&mut self, from: &str, token: &str, to: &str, quantity: u64, tags: &[(&str, &str)]) {
        let mut sending =
            self.network.send(from, token).action("Transfer").tag("Recipient", to).tag("Quantity", quantity);
        for (name, value) in tags {
            sending = sending.tag(*name, *value);
        }
        sending.deliver();
    }

    fn has(&self, who: &str) -> (u128, u128) {
        let of = |token| self.network.state::<Token>(token).balance_of(who).units();
        (of(&self.gold), of(&self.silver))
    }

    fn swap(&mut self, quantity: u64, tags: &[(&str, &str)]) {
        let (gold, pool) = (self.gold.clone(), self.pool.clone());
        self.pay("bob", &gold, &pool, quantity, tags);
    }

    /// The pool has what it thinks it has, and nothing was lost or made.
    fn check(&self) {
        let [gold, silver] = self.network.state::<Swap>(&self.pool).reserves().map(Quantity::units);
        assert_eq!(self.has(&self.pool), (gold, silver));
        let all = ["alice", "bob", &self.pool].map(|who| self.has(who));
        assert_eq!(all.iter().fold((0, 0), |sum, has| (sum.0 + has.0, sum.1 + has.1)), (10_000, 10_000));
    }
}

#[test]
fn what_is_paid_in_comes_out_as_the_other_token_at_the_quoted_price() {
    let mut market = Market::new();
    let ask = market.network.send("bob", &market.pool).action("Quote").tag("Token", &market.gold).tag("Quantity", 100);
    // 99 of 100 after the fee: 4 000 · 99 / 1 099, rounded down.
    assert_eq!(ask.dry_run().output, "360");
    market.swap(100, &[("X-Action", "Swap"), ("X-Minimum", "360")]);
    assert_eq!(market.has("bob"), (0, 360));
    market.check();
    // And back, for less than was paid.
    let (silver, pool) = (market.silver.clone(), market.pool.clone());
    market.pay("bob", &silver, &pool, 360, &[("X-Action", "Swap")]);
    assert_eq!(market.has("bob"), (98, 0));
    market.check();
    assert_eq!(market.network.refused().count(), 0);
}

#[test]
fn what_cannot_be_done_is_paid_back() {
    let mut market = Market::new();
    for tags in
        [&[("X-Action", "Swap"), ("X-Minimum", "361")][..], &[("X-Action", "Provide")], &[("X-Action", "Marry")], &[]]
    {
        market.swap(100, tags);
        assert_eq!(market.has("bob"), (100, 0), "{tags:?}");
        market.check();
    }
    let letters = market.network.letters("bob");
    let refund = letters.iter().rev().find(|letter| letter.message.tag("Action") == Some("Credit-Notice")).unwrap();
    assert!(refund.message.tag("X-Reason").unwrap().contains("X-Action"), "{refund:?}");
}

#[test]
fn nobody_gets_anything_for_a_notice_that_no_token_sent() {
    let mut market = Market::new();
    let forged = market.network.send("bob", &market.pool).action("Credit-Notice").tag("Sender", "bob");
    let answer = forged.tag("Quantity", 50).tag("X-Action", "Swap").deliver();
    assert!(answer.error.unwrap().contains("none of the two tokens"));
    // Nor for one of a token that he made himself.
    let fool = market.network.spawn::<Token>("bob").tag("Initial-Supply", 50).boot();
    let pool = market.pool.clone();
    market.pay("bob", &fool, &pool, 50, &[("X-Action", "Swap")]);
    assert_eq!(market.has("bob"), (100, 0));
    market.check();
}

#[test]
fn an_empty_pool_gives_everything_back() {
    let mut network = Network::new();
    let gold = network.spawn::<Token>("bob").tag("Initial-Supply", 5).boot();
    let silver = network.spawn::<Token>("bob").boot();
    let pool = network.spawn::<Swap>("alice").tag("Token-A", &gold).tag("Token-B", &silver).boot();
    let pay = network.send("bob", &gold).action("Transfer").tag("Recipient", &pool).tag("Quantity", 5);
    pay.tag("X-Action", "Swap").deliver();
    assert_eq!(network.state::<Token>(&gold).balance_of("bob").units(), 5);
}
