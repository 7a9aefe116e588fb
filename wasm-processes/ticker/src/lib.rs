//! Tells its subscribers, whenever its schedule says so, what time it is.

use std::collections::BTreeSet;

use holon_process::{Context, Error, Handlers, Outgoing, Process, ensure};
use serde::Serialize;

/// Most subscribers: a tick is sent to each in one result.
pub const SUBSCRIBER_LIMIT: usize = 900;

/// The state: who wants to know, and how often it has ticked.
#[derive(Debug, Default)]
pub struct Ticker {
    subscribers: BTreeSet<String>,
    ticks: u64,
    last: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    ticks: u64,
    last: u64,
    subscribers: usize,
}

impl Process for Ticker {
    fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Subscribe", |ticker, ctx| ticker.subscribe(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Unsubscribe", Self::unsubscribe)
            .on("Status", Self::status)
            .on_cron("Tick", Self::tick);
    }
}

impl Ticker {
    /// How often it has ticked.
    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    fn subscribe(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let known = self.subscribers.contains(ctx.from());
        ensure!(
            known || self.subscribers.len() < SUBSCRIBER_LIMIT,
            "there are {SUBSCRIBER_LIMIT} subscribers, which is all it can tell"
        );
        ctx.reply(Outgoing::new().action("Subscribed").tag("Ticks", self.ticks))?;
        ctx.output(format!("{} subscribed", ctx.from()));
        self.subscribers.insert(ctx.from().to_owned());
        Ok(())
    }

    fn unsubscribe(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        self.subscribers.remove(ctx.from());
        ctx.reply(Outgoing::new().action("Unsubscribed").tag("Ticks", self.ticks))?;
        ctx.output(format!("{} unsubscribed", ctx.from()));
        Ok(())
    }

    fn status(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let last = self.last.unwrap_or_default();
        let (ticks, subscribers) = (self.ticks, self.subscribers.len());
        ctx.reply(
            Outgoing::new().action("Status").tag("Ticks", ticks).tag("Last", last).tag("Subscribers", subscribers),
        )?;
        ctx.output(Status { ticks, last, subscribers });
        Ok(())
    }

    fn tick(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let message = ctx.message();
        self.ticks += 1;
        self.last = message.timestamp;
        for subscriber in &self.subscribers {
            ctx.send(
                Outgoing::new()
                    .to(subscriber)
                    .action("Tick")
                    .tag("Tick", self.ticks)
                    .tag("Timestamp", ctx.now())
                    .tag("Block-Height", message.block_height.unwrap_or_default()),
            )?;
        }
        ctx.output(format!("tick {}", self.ticks));
        Ok(())
    }
}

holon_process::export!(Ticker);
