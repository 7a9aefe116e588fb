//! A token with the message conventions of ao's tokens: who asks a token of `aos` can ask this one the same.

use std::collections::BTreeMap;

use holon_process::{Context, Error, Handlers, Outgoing, Process, Quantity, ensure};
use serde::Deserialize;

/// Longest account, in bytes. Addresses and ids have 43 characters; those of other chains are longer.
pub const ACCOUNT_LIMIT_BYTES: usize = 128;
/// Most balances in one answer.
pub const PAGE_LIMIT: usize = 1_000;

/// The state: who has how much.
#[derive(Debug)]
pub struct Token {
    about: About,
    /// Accounts that have something.
    balances: BTreeMap<String, Quantity>,
    supply: Quantity,
}

/// What the process was created with.
#[derive(Debug, Deserialize)]
struct About {
    #[serde(default)]
    name: String,
    #[serde(default)]
    ticker: String,
    #[serde(default)]
    logo: String,
    /// Decimal places that interfaces show.
    #[serde(default = "About::usual_denomination")]
    denomination: u8,
    /// What the owner begins with.
    #[serde(default)]
    initial_supply: Quantity,
}

impl About {
    fn usual_denomination() -> u8 {
        12
    }
}

#[derive(Deserialize)]
struct Transfer {
    recipient: String,
    quantity: Quantity,
    /// Whatever it says: nobody is told.
    cast: Option<String>,
}

#[derive(Deserialize)]
struct Mint {
    quantity: Quantity,
    recipient: Option<String>,
}

#[derive(Deserialize)]
struct Burn {
    quantity: Quantity,
}

impl Process for Token {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let about: About = ctx.process().read()?;
        let mut token = Self { balances: BTreeMap::new(), supply: about.initial_supply, about };
        token.set(ctx.environment().owner(), token.supply);
        Ok(token)
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Info", Self::info)
            .on("Balance", Self::balance)
            .on("Balances", Self::balances)
            .on("Total-Supply", Self::total_supply)
            .on("Transfer", |token, ctx| or_refuse(token.transfer(ctx), ctx))
            .on("Mint", |token, ctx| or_refuse(token.mint(ctx), ctx))
            .on("Burn", |token, ctx| or_refuse(token.burn(ctx), ctx));
    }
}

/// A sender that waits for a notice gets an error message instead; nothing was changed before.
fn or_refuse(done: Result<(), Error>, ctx: &mut Context<'_>) -> Result<(), Error> {
    done.or_else(|error| ctx.refuse(&error))
}

impl Token {
    /// What an account has.
    pub fn balance_of(&self, account: &str) -> Quantity {
        self.balances.get(account).copied().unwrap_or_default()
    }

    /// What all accounts have together.
    pub fn supply(&self) -> Quantity {
        self.supply
    }

    fn set(&mut self, account: &str, balance: Quantity) {
        if balance.is_zero() {
            self.balances.remove(account);
        } else {
            self.balances.insert(account.to_owned(), balance);
        }
    }

    fn info(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let About { name, ticker, logo, denomination, .. } = &self.about;
        ctx.reply(
            Outgoing::new()
                .tag("Name", name)
                .tag("Ticker", ticker)
                .tag("Logo", logo)
                .tag("Denomination", *denomination),
        )?;
        ctx.output(format!("{name} ({ticker}), {denomination} decimal places"));
        Ok(())
    }

    fn balance(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let message = ctx.message();
        let account = message.tag("Recipient").or_else(|| message.tag("Target")).unwrap_or(ctx.from());
        let balance = self.balance_of(account);
        ctx.reply(
            Outgoing::new()
                .tag("Balance", balance)
                .tag("Ticker", &self.about.ticker)
                .tag("Account", account)
                .data(balance),
        )?;
        ctx.output(balance);
        Ok(())
    }

    /// All balances in the order of the accounts, from behind the tag `After` on; more follow if the answer has a tag `Next`.
    fn balances(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let after = ctx.message().tag("After").unwrap_or_default();
        let mut rest = self.balances.range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let page: BTreeMap<_, _> = rest.by_ref().take(PAGE_LIMIT).collect();
        let mut answer = Outgoing::new().tag("Ticker", &self.about.ticker).json(&page)?;
        if let (Some(_), Some((last, _))) = (rest.next(), page.last_key_value()) {
            answer = answer.tag("Next", *last);
        }
        ctx.reply(answer)?;
        ctx.output(page);
        Ok(())
    }

    fn total_supply(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.reply(Outgoing::new().action("Total-Supply").tag("Ticker", &self.about.ticker).data(self.supply))?;
        ctx.output(self.supply);
        Ok(())
    }

    fn transfer(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let Transfer { recipient, quantity, cast } = ctx.message().read()?;
        let sender = ctx.from();
        check_account(&recipient)?;
        ensure!(!quantity.is_zero(), "the Quantity must be greater than 0");
        let left = self.take(sender, quantity)?;
        if cast.is_none() {
            ctx.reply(
                Outgoing::new()
                    .action("Debit-Notice")
                    .tag("Recipient", &recipient)
                    .tag("Quantity", quantity)
                    .forward_tags(ctx.message())
                    .data(format!("You transferred {quantity} to {recipient}")),
            )?;
            ctx.send(
                Outgoing::new()
                    .to(&recipient)
                    .action("Credit-Notice")
                    .tag("Sender", sender)
                    .tag("Quantity", quantity)
                    .forward_tags(ctx.message())
                    .data(format!("You received {quantity} from {sender}")),
            )?;
        }
        self.set(sender, left);
        // Cannot be more than the supply, whoever the recipient is.
        let credited = self.balance_of(&recipient).plus(quantity)?;
        self.set(&recipient, credited);
        ctx.output(format!("{quantity} transferred to {recipient}"));
        Ok(())
    }

    fn mint(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let Mint { quantity, recipient } = ctx.message().read()?;
        if ctx.caller().address() != Some(ctx.process_id()) {
            ctx.require_owner()?;
        }
        ensure!(!quantity.is_zero(), "the Quantity must be greater than 0");
        let recipient = recipient.unwrap_or_else(|| ctx.from().to_owned());
        check_account(&recipient)?;
        let supply = self.supply.plus(quantity)?;
        let balance = self.balance_of(&recipient).plus(quantity)?;
        if recipient != ctx.from() {
            ctx.send(
                Outgoing::new()
                    .to(&recipient)
                    .action("Credit-Notice")
                    .tag("Sender", ctx.process_id())
                    .tag("Quantity", quantity)
                    .forward_tags(ctx.message())
                    .data(format!("You received {quantity} newly minted")),
            )?;
        }
        ctx.reply(
            Outgoing::new()
                .action("Mint-Notice")
                .tag("Recipient", &recipient)
                .tag("Quantity", quantity)
                .tag("Total-Supply", supply)
                .data(format!("Successfully minted {quantity}")),
        )?;
        self.supply = supply;
        self.set(&recipient, balance);
        ctx.output(format!("{quantity} minted for {recipient}"));
        Ok(())
    }

    fn burn(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let Burn { quantity } = ctx.message().read()?;
        ensure!(!quantity.is_zero(), "the Quantity must be greater than 0");
        let left = self.take(ctx.from(), quantity)?;
        let supply = self.supply.minus(quantity)?;
        ctx.reply(
            Outgoing::new()
                .action("Burn-Notice")
                .tag("Quantity", quantity)
                .tag("Total-Supply", supply)
                .data(format!("Successfully burned {quantity}")),
        )?;
        self.supply = supply;
        self.set(ctx.from(), left);
        ctx.output(format!("{quantity} burned"));
        Ok(())
    }

    /// What an account has left after giving this much.
    fn take(&self, account: &str, quantity: Quantity) -> Result<Quantity, Error> {
        let balance = self.balance_of(account);
        let left = balance.checked_minus(quantity);
        left.ok_or_else(|| Error::new(format!("Insufficient Balance! {account} has {balance}, not {quantity}")))
    }
}

fn check_account(account: &str) -> Result<(), Error> {
    ensure!(!account.trim().is_empty(), "the Recipient must be a process or a wallet");
    ensure!(
        account.len() <= ACCOUNT_LIMIT_BYTES,
        "the Recipient may have {ACCOUNT_LIMIT_BYTES} bytes, this one has {}",
        account.len()
    );
    Ok(())
}

holon_process::export!(Token);
