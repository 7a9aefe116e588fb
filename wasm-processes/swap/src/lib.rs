//! A pool of two tokens: who pays one of them in gets the other one out, at the price that keeps the product of the two
//! reserves constant.
//!
//! Money moves by the tokens' own messages only: a `Credit-Notice` with `X-Action` says what it was paid for, a `Transfer` pays
//! out. What cannot be done is paid back at once.

use holon_process::{Context, Error, Handlers, Outgoing, Process, Quantity, ensure, excerpt};
use serde::{Deserialize, Serialize};

/// Of what is paid in, this much stays in the pool, in ten-thousandths.
pub const FEE_PER_10_000: u128 = 30;
const WHOLE: u128 = 10_000;

/// The state: the two tokens, and how much of them there is.
#[derive(Debug)]
pub struct Swap {
    tokens: [String; 2],
    reserves: [Quantity; 2],
    trades: u64,
}

/// What the process was created with.
#[derive(Deserialize)]
struct About {
    token_a: String,
    token_b: String,
}

/// What a token says it got for us.
#[derive(Deserialize)]
struct Credit {
    sender: String,
    quantity: Quantity,
    #[serde(rename = "X-Action")]
    action: Option<String>,
    /// The least that is wanted out of a swap.
    #[serde(rename = "X-Minimum")]
    minimum: Option<Quantity>,
}

#[derive(Deserialize)]
struct Ask {
    token: String,
    quantity: Quantity,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info<'a> {
    token_a: &'a str,
    token_b: &'a str,
    reserve_a: Quantity,
    reserve_b: Quantity,
    trades: u64,
}

impl Process for Swap {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let About { token_a, token_b } = ctx.process().read()?;
        ensure!(token_a != token_b, "Token-A and Token-B must be two tokens");
        Ok(Self { tokens: [token_a, token_b], reserves: [Quantity::ZERO; 2], trades: 0 })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Info", Self::info)
            .on_typed("Quote", Self::quote)
            .on_typed("Credit-Notice", Self::credited)
            // What we pay out is told to us, too.
            .on("Debit-Notice", |_, _| Ok(()));
    }
}

impl Swap {
    /// How much there is of both tokens.
    pub fn reserves(&self) -> [Quantity; 2] {
        self.reserves
    }

    fn place_of(&self, token: &str) -> Result<usize, Error> {
        let place = self.tokens.iter().position(|known| known == token);
        place.ok_or_else(|| Error::new(format!("{} is none of the two tokens exchanged here", excerpt(token))))
    }

    fn info(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let ([token_a, token_b], [reserve_a, reserve_b]) = (&self.tokens, self.reserves);
        let info = Info { token_a, token_b, reserve_a, reserve_b, trades: self.trades };
        ctx.reply(Outgoing::new().action("Info").json(&info)?)?;
        ctx.output(&info);
        Ok(())
    }

    fn quote(&mut self, ctx: &mut Context<'_>, ask: Ask) -> Result<(), Error> {
        let out = self.price(self.place_of(&ask.token)?, ask.quantity)?;
        ctx.reply(Outgoing::new().action("Quote").tag("Quantity", out).data(out))?;
        ctx.output(out);
        Ok(())
    }

    /// How much of the other token `quantity` of the one at `place` buys. Rounded down: the pool never loses.
    fn price(&self, place: usize, quantity: Quantity) -> Result<Quantity, Error> {
        let (from, to) = (self.reserves[place], self.reserves[1 - place]);
        ensure!(!from.is_zero() && !to.is_zero(), "the pool is empty");
        let kept = quantity.times_ratio(Quantity::new(WHOLE - FEE_PER_10_000), Quantity::new(WHOLE))?;
        to.times_ratio(kept, from.plus(kept)?)
    }

    /// A token says that it has something for us. Only the two tokens are believed: anybody may send such a message.
    fn credited(&mut self, ctx: &mut Context<'_>, credit: Credit) -> Result<(), Error> {
        let place = self.place_of(ctx.from())?;
        let done = match credit.action.as_deref() {
            Some("Provide") => self.provide(ctx, place, &credit),
            Some("Swap") => self.swap(ctx, place, &credit),
            _ => Err(Error::new("say with X-Action what it is for: Provide or Swap")),
        };
        let Err(error) = done else { return Ok(()) };
        ctx.send(
            Outgoing::new()
                .to(&self.tokens[place])
                .action("Transfer")
                .tag("Recipient", &credit.sender)
                .tag("Quantity", credit.quantity)
                .tag("X-Action", "Refund")
                .tag("X-Reason", error.to_string()),
        )?;
        ctx.output(format!("{} paid back: {error}", credit.quantity));
        Ok(())
    }

    fn provide(&mut self, ctx: &mut Context<'_>, place: usize, credit: &Credit) -> Result<(), Error> {
        ensure!(credit.sender == ctx.environment().owner(), "only the owner fills this pool");
        self.reserves[place] = self.reserves[place].plus(credit.quantity)?;
        ctx.output(format!("{} provided", credit.quantity));
        Ok(())
    }

    fn swap(&mut self, ctx: &mut Context<'_>, place: usize, credit: &Credit) -> Result<(), Error> {
        let out = self.price(place, credit.quantity)?;
        let least = credit.minimum.unwrap_or(Quantity::new(1)).max(Quantity::new(1));
        ensure!(out >= least, "it buys {out}, and at least {least} is wanted");
        let paid_in = self.reserves[place].plus(credit.quantity)?;
        let left = self.reserves[1 - place].minus(out)?;
        ctx.send(
            Outgoing::new()
                .to(&self.tokens[1 - place])
                .action("Transfer")
                .tag("Recipient", &credit.sender)
                .tag("Quantity", out)
                .tag("X-Action", "Swapped")
                .tag("X-Paid", credit.quantity),
        )?;
        self.reserves[place] = paid_in;
        self.reserves[1 - place] = left;
        self.trades += 1;
        ctx.output(format!("{} for {out}", credit.quantity));
        Ok(())
    }
}

holon_process::export!(Swap);
