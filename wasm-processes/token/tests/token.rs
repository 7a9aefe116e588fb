//! The token's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use holon_process::{
    Context, Error, Handlers, Outgoing, Process, Quantity, json,
    testing::{Answer, Network},
};
use token::{ACCOUNT_LIMIT_BYTES, PAGE_LIMIT, Token};

/// Sells apples for 10 each to who pays in the token, and pays back what is too much.
struct Shop {
    token: String,
    sold: u32,
}

impl Process for Shop {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let token = ctx.process().tag("Token").ok_or("name the token with the tag Token")?;
        Ok(Self { token: token.to_owned(), sold: 0 })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Credit-Notice", Self::paid).on("Debit-Notice", |_, _| Ok(())).on("Transfer-Error", |_, _| Ok(()));
    }
}

impl Shop {
    fn paid(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        if ctx.from() != self.token {
            return Err("this shop takes only its own token".into());
        }
        let message = ctx.message();
        let paid: Quantity = message.require("Quantity")?.parse()?;
        let price = Quantity::new(10);
        let back = paid.minus(price)?;
        self.sold += 1;
        if !back.is_zero() {
            let buyer = message.require("Sender")?;
            ctx.send(Outgoing::new().to(&self.token).action("Transfer").tag("Recipient", buyer).tag("Quantity", back))?;
        }
        Ok(())
    }
}

const SUPPLY: u64 = 1_000;

fn minted() -> (Network, String) {
    let mut network = Network::new();
    let token = network
        .spawn::<Token>("alice")
        .tag("Name", "Points")
        .tag("Ticker", "PNTS")
        .tag("Logo", "logo-id")
        .tag("Denomination", 3)
        .tag("Initial-Supply", SUPPLY)
        .boot();
    (network, token)
}

fn transfer(network: &mut Network, token: &str, from: &str, to: &str, quantity: &str) -> Answer {
    network.send(from, token).action("Transfer").tag("Recipient", to).tag("Quantity", quantity).deliver()
}

fn balance(network: &Network, token: &str, account: &str) -> u128 {
    network.state::<Token>(token).balance_of(account).units()
}

#[test]
fn info_tells_what_the_token_was_created_with() {
    let (mut network, token) = minted();
    let answer = network.send("bob", &token).action("Info").dry_run();
    let tags = [("Name", "Points"), ("Ticker", "PNTS"), ("Logo", "logo-id"), ("Denomination", "3")];
    assert_eq!(answer.messages[0].own_tags(), tags);
}

#[test]
fn a_transfer_moves_the_quantity_and_tells_both() {
    let (mut network, token) = minted();
    let answer = network
        .send("alice", &token)
        .action("Transfer")
        .tag("Recipient", "bob")
        .tag("Quantity", 40)
        .tag("X-Order", "7")
        .tag("Reference", "3")
        .deliver();
    assert_eq!((balance(&network, &token, "alice"), balance(&network, &token, "bob")), (960, 40));
    let debit = answer.message("Debit-Notice").unwrap();
    assert_eq!(debit.target, "alice");
    let tags =
        [("X-Reference", "3"), ("Action", "Debit-Notice"), ("Recipient", "bob"), ("Quantity", "40"), ("X-Order", "7")];
    assert_eq!(debit.own_tags(), tags);
    let credit = answer.message("Credit-Notice").unwrap();
    assert_eq!(credit.target, "bob");
    assert_eq!(
        credit.own_tags(),
        [("Action", "Credit-Notice"), ("Sender", "alice"), ("Quantity", "40"), ("X-Order", "7")]
    );
}

#[test]
fn a_cast_transfer_tells_nobody() {
    let (mut network, token) = minted();
    let send = network.send("alice", &token).action("Transfer").tag("Recipient", "bob").tag("Quantity", 1);
    assert!(send.tag("Cast", "true").deliver().messages.is_empty());
    assert_eq!(balance(&network, &token, "bob"), 1);
}

#[test]
fn what_cannot_be_transferred_is_answered_with_a_transfer_error() {
    let (mut network, token) = minted();
    for (from, to, quantity, reason) in [
        ("alice", "bob", "1001", "Insufficient Balance! alice has 1000, not 1001"),
        ("nobody", "bob", "1", "Insufficient Balance! nobody has 0, not 1"),
        ("alice", "bob", "0", "the Quantity must be greater than 0"),
        ("alice", "bob", "-5", "the tag Quantity: expected a quantity"),
        ("alice", "bob", "1.5", "the tag Quantity: expected a quantity"),
        ("alice", "bob", "340282366920938463463374607431768211456", "the tag Quantity: expected a quantity"),
        ("alice", " ", "5", "the Recipient must be a process or a wallet"),
        ("alice", &"b".repeat(ACCOUNT_LIMIT_BYTES + 1), "5", "the Recipient may have 128 bytes"),
    ] {
        let answer = transfer(&mut network, &token, from, to, quantity);
        assert_eq!((answer.error, answer.messages.len()), (None, 1), "{quantity}");
        let refusal = &answer.messages[0];
        assert_eq!((refusal.target.as_str(), refusal.tag("Action")), (from, Some("Transfer-Error")));
        assert!(refusal.tag("Message-Id").is_some());
        assert!(refusal.tag("Error").unwrap().starts_with(reason), "{:?}", refusal.tag("Error"));
    }
    let answer = network.send("alice", &token).action("Transfer").tag("Quantity", 5).deliver();
    assert_eq!(answer.messages[0].tag("Error"), Some("the tag Recipient is missing"));
    assert_eq!(balance(&network, &token, "alice"), u128::from(SUPPLY));
}

#[test]
fn a_transfer_to_oneself_changes_nothing() {
    let (mut network, token) = minted();
    transfer(&mut network, &token, "alice", "alice", "1000");
    assert_eq!(balance(&network, &token, "alice"), u128::from(SUPPLY));
}

#[test]
fn balances_are_those_of_the_caller_or_of_whom_it_names() {
    let (mut network, token) = minted();
    transfer(&mut network, &token, "alice", "bob", "7");
    let own = network.send("bob", &token).action("Balance").dry_run();
    let tags = [("Balance", "7"), ("Ticker", "PNTS"), ("Account", "bob")];
    assert_eq!((own.messages[0].own_tags(), own.messages[0].data.as_str()), (tags.to_vec(), "7"));
    for tag in ["Recipient", "Target"] {
        let asked = network.send("bob", &token).action("Balance").tag(tag, "alice").dry_run();
        assert_eq!(asked.messages[0].tag("Balance"), Some("993"));
    }
    let all = network.send("bob", &token).action("Balances").dry_run();
    assert_eq!(all.output, json!({"alice": "993", "bob": "7"}));
    assert_eq!(all.messages[0].data, r#"{"alice":"993","bob":"7"}"#);
}

#[test]
fn an_account_without_anything_is_forgotten() {
    let (mut network, token) = minted();
    transfer(&mut network, &token, "alice", "bob", "1000");
    assert_eq!(network.send("bob", &token).action("Balances").dry_run().output, json!({"bob": "1000"}));
}

#[test]
fn balances_come_in_pages() {
    let (mut network, token) = minted();
    let mut network_of = |index: usize| {
        let recipient = format!("account-{index:05}");
        network.send("alice", &token).action("Mint").tag("Quantity", 1).tag("Recipient", recipient).deliver();
    };
    (0..PAGE_LIMIT).for_each(&mut network_of);
    let first = network.send("bob", &token).action("Balances").dry_run();
    let next = first.messages[0].tag("Next").unwrap().to_owned();
    let second = network.send("bob", &token).action("Balances").tag("After", &next).dry_run();
    assert_eq!(first.output.as_object().unwrap().len(), PAGE_LIMIT);
    assert_eq!(second.output, json!({ "alice": SUPPLY.to_string() }));
    assert_eq!(second.messages[0].tag("Next"), None);
}

#[test]
fn only_the_owner_and_the_token_itself_mint() {
    let (mut network, token) = minted();
    let answer = network.send("alice", &token).action("Mint").tag("Quantity", 5).tag("Recipient", "bob").deliver();
    assert_eq!(answer.message("Mint-Notice").unwrap().tag("Total-Supply"), Some("1005"));
    assert_eq!(answer.message("Credit-Notice").unwrap().target, "bob");
    assert_eq!(balance(&network, &token, "bob"), 5);
    let refused = network.send("mallory", &token).action("Mint").tag("Quantity", 5).deliver();
    assert_eq!(refused.messages[0].tag("Action"), Some("Mint-Error"));
    let forged = network.send("mallory", &token).action("Mint").tag("Quantity", 5).claiming(&token).deliver();
    assert!(forged.error.unwrap().starts_with("message is not trusted"));
    assert_eq!(network.state::<Token>(&token).supply().units(), 1005);
}

#[test]
fn minting_never_wraps_around() {
    let (mut network, token) = minted();
    let answer = network.send("alice", &token).action("Mint").tag("Quantity", Quantity::MAX).deliver();
    let error = answer.messages[0].tag("Error").unwrap();
    assert!(error.contains("more than the largest quantity"), "{error}");
    assert_eq!(network.state::<Token>(&token).supply().units(), u128::from(SUPPLY));
}

#[test]
fn burning_takes_from_the_caller_and_from_the_supply() {
    let (mut network, token) = minted();
    transfer(&mut network, &token, "alice", "bob", "7");
    network.send("bob", &token).action("Burn").tag("Quantity", 3).deliver();
    let supply = network.send("bob", &token).action("Total-Supply").dry_run();
    assert_eq!((supply.messages[0].tag("Action"), supply.messages[0].data.as_str()), (Some("Total-Supply"), "997"));
    let refused = network.send("bob", &token).action("Burn").tag("Quantity", 5).deliver();
    assert_eq!(refused.messages[0].tag("Action"), Some("Burn-Error"));
    assert_eq!(balance(&network, &token, "bob"), 4);
}

#[test]
fn a_process_is_paid_and_pays_back() {
    let (mut network, token) = minted();
    let shop = network.spawn::<Shop>("carol").tag("Token", &token).boot();
    transfer(&mut network, &token, "alice", &shop, "25");
    assert_eq!(network.state::<Shop>(&shop).sold, 1);
    assert_eq!((balance(&network, &token, &shop), balance(&network, &token, "alice")), (10, 990));
    assert_eq!(network.letters("alice").last().unwrap().message.tag("Action"), Some("Credit-Notice"));
    assert_eq!(network.refused().count(), 0);
}

#[test]
fn money_of_another_token_buys_nothing() {
    let (mut network, token) = minted();
    let shop = network.spawn::<Shop>("carol").tag("Token", &token).boot();
    let worthless = network.spawn::<Token>("mallory").tag("Initial-Supply", 100).boot();
    transfer(&mut network, &worthless, "mallory", &shop, "10");
    let refused = network.refused().next().unwrap();
    assert_eq!(refused.answer.error.as_deref(), Some("this shop takes only its own token"));
    assert_eq!(network.state::<Shop>(&shop).sold, 0);
}

#[test]
fn whatever_is_sent_around_the_supply_stays() {
    let (mut network, token) = minted();
    let people = ["alice", "bob", "carol", "dave"];
    let mut random = holon_process::Random::from_parts(&["supply"]);
    for _ in 0..500 {
        let (from, to) = (*random.pick(&people).unwrap(), *random.pick(&people).unwrap());
        let quantity = random.below(600).to_string();
        transfer(&mut network, &token, from, to, &quantity);
        let total: u128 = people.iter().map(|person| balance(&network, &token, person)).sum();
        assert_eq!(total, u128::from(SUPPLY));
    }
}
