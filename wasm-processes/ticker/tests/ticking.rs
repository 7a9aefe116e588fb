//! The ticker's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use holon_process::{Context, Error, Handlers, Outgoing, Process, testing::Network};
use ticker::{SUBSCRIBER_LIMIT, Ticker};

/// Subscribes to a ticker and keeps the times it is told.
struct Listener {
    ticker: String,
    times: Vec<u64>,
}

impl Process for Listener {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let ticker = ctx.process().tag("Ticker").ok_or("name the ticker")?.to_owned();
        ctx.send(Outgoing::new().to(&ticker).action("Subscribe"))?;
        Ok(Self { ticker, times: Vec::new() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Subscribed", |_, _| Ok(())).on("Tick", |listener, ctx| {
            if ctx.from() != listener.ticker {
                return Err("another ticker".into());
            }
            listener.times.push(ctx.message().require("Timestamp")?.parse()?);
            Ok(())
        });
    }
}

fn ticking() -> (Network, String) {
    let mut network = Network::new();
    let ticker =
        network.spawn::<Ticker>("operator").tag("Cron-Interval", "10-seconds").tag("Cron-Tag-Action", "Tick").boot();
    (network, ticker)
}

#[test]
fn subscribers_are_told_the_time_whenever_the_schedule_says_so() {
    let (mut network, ticker) = ticking();
    let listener = network.spawn::<Listener>("operator").tag("Ticker", &ticker).boot();
    network.send("alice", &ticker).action("Subscribe").deliver();
    let begun = network.now_ms();
    network.advance(Duration::from_secs(35));
    let times = [begun + 10_000, begun + 20_000, begun + 30_000];
    assert_eq!(network.state::<Listener>(&listener).times, times);
    let letters = network.letters("alice");
    let tick = &letters.last().unwrap().message;
    let height = network.height().to_string();
    let tags = [("Action", "Tick"), ("Tick", "3"), ("Timestamp", &times[2].to_string()), ("Block-Height", &height)];
    assert_eq!(tick.own_tags(), tags);
    assert_eq!(network.refused().count(), 0);
}

#[test]
fn who_unsubscribes_is_left_alone() {
    let (mut network, ticker) = ticking();
    network.send("alice", &ticker).action("Subscribe").deliver();
    network.advance(Duration::from_secs(10));
    network.send("alice", &ticker).action("Unsubscribe").deliver();
    network.advance(Duration::from_secs(20));
    let ticks = network.letters("alice").into_iter().filter(|letter| letter.message.tag("Action") == Some("Tick"));
    assert_eq!((ticks.count(), network.state::<Ticker>(&ticker).ticks()), (1, 3));
}

#[test]
fn nobody_but_the_schedule_makes_it_tick() {
    let (mut network, ticker) = ticking();
    for from in ["operator", "mallory"] {
        let answer = network.send(from, &ticker).action("Tick").deliver();
        assert_eq!(answer.error.unwrap(), "the action \"Tick\" is for the schedule of this process only");
    }
    assert_eq!(network.send("1234", &ticker).action("Status").dry_run().output["Ticks"], 0);
}

#[test]
fn the_number_of_subscribers_is_bounded() {
    let (mut network, ticker) = ticking();
    for number in 0..SUBSCRIBER_LIMIT {
        network.send(&format!("subscriber-{number}"), &ticker).action("Subscribe").deliver();
    }
    let refused = network.send("late", &ticker).action("Subscribe").deliver();
    assert_eq!(refused.messages[0].tag("Action"), Some("Subscribe-Error"));
    let again = network.send("subscriber-0", &ticker).action("Subscribe").deliver();
    assert_eq!(again.messages[0].tag("Action"), Some("Subscribed"));
    network.advance(Duration::from_secs(10));
    let told = network.letters("subscriber-899").last().unwrap().message.clone();
    assert_eq!(told.tag("Action"), Some("Tick"));
}
