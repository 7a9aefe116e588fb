//! A board of prices: at every tick of its schedule it asks its sources, and keeps what they tell, as highs, lows and a short history.

use std::collections::{BTreeMap, VecDeque};

use holon_process::{Context, Error, Handlers, Outgoing, Process, Quantity, ensure, excerpt};
use serde::{Deserialize, Serialize};

/// Most things with a price.
pub const QUOTE_LIMIT: usize = 200;
/// How many prices of each are kept.
pub const HISTORY_LIMIT: usize = 60;
/// Longest name, in bytes.
pub const NAME_LIMIT_BYTES: usize = 32;

/// The state: who is asked, and what was told.
#[derive(Debug)]
pub struct Board {
    sources: Vec<String>,
    ticks: u64,
    quotes: BTreeMap<String, Quote>,
}

/// What is known of one thing.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Quote {
    /// The newest price.
    pub price: Quantity,
    /// The highest ever.
    pub high: Quantity,
    /// The lowest ever.
    pub low: Quantity,
    /// When the newest price was told, in milliseconds.
    pub at: u64,
    /// The newest prices, oldest first.
    pub history: VecDeque<Quantity>,
}

/// A message `Price`.
#[derive(Deserialize)]
struct Price {
    name: String,
    price: Quantity,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    ticks: u64,
    quotes: &'a BTreeMap<String, Quote>,
}

impl Process for Board {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let sources = ctx.process().tag("Sources").unwrap_or_default();
        let sources = sources.split(',').map(str::trim).filter(|source| !source.is_empty()).map(str::to_owned);
        Ok(Self { sources: sources.collect(), ticks: 0, quotes: BTreeMap::new() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Board", Self::board).on_typed("Price", Self::price).on_cron("Tick", Self::tick);
    }
}

impl Board {
    /// What is known.
    pub fn quotes(&self) -> &BTreeMap<String, Quote> {
        &self.quotes
    }

    fn board(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let shown = Shown { ticks: self.ticks, quotes: &self.quotes };
        ctx.reply(Outgoing::new().action("Board").json(&shown)?)?;
        ctx.output(&shown);
        Ok(())
    }

    /// Asks every source. A process cannot look anything up by itself: what it knows comes as messages.
    fn tick(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        self.ticks += 1;
        for source in &self.sources {
            ctx.send(Outgoing::new().to(source).action("Get-Price").tag("Tick", self.ticks))?;
        }
        ctx.output(format!("tick {}", self.ticks));
        Ok(())
    }

    fn price(&mut self, ctx: &mut Context<'_>, told: Price) -> Result<(), Error> {
        ensure!(self.sources.iter().any(|source| source == ctx.from()), "{} is no source of this board", ctx.from());
        ensure!(
            !told.name.is_empty() && told.name.len() <= NAME_LIMIT_BYTES,
            "a name has 1 to {NAME_LIMIT_BYTES} bytes, not {}: \"{}\"",
            told.name.len(),
            excerpt(&told.name)
        );
        let known = self.quotes.contains_key(&told.name);
        ensure!(known || self.quotes.len() < QUOTE_LIMIT, "the board is full: it has {QUOTE_LIMIT} lines");
        let at = ctx.now();
        let quote = self.quotes.entry(told.name.clone()).or_insert_with(|| Quote {
            price: told.price,
            high: told.price,
            low: told.price,
            at,
            history: VecDeque::new(),
        });
        (quote.price, quote.at) = (told.price, at);
        (quote.high, quote.low) = (quote.high.max(told.price), quote.low.min(told.price));
        if quote.history.len() == HISTORY_LIMIT {
            quote.history.pop_front();
        }
        quote.history.push_back(told.price);
        ctx.output(format!("{} {}", told.name, told.price));
        Ok(())
    }
}

holon_process::export!(Board);
