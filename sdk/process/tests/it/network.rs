//! Several processes in memory.

use std::time::Duration;

use holon_process::{
    Assign, Context, Error, Handlers, Outgoing, Process, Spawn,
    testing::{BLOCK_MS, Network},
};

/// Answers `Ask` with its name, and remembers who asked.
struct Named {
    name: String,
    asked_by: Vec<String>,
}

impl Process for Named {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self { name: ctx.process().tag("Name").unwrap_or("nobody").to_owned(), asked_by: Vec::new() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Ask", |named, ctx| {
            named.asked_by.push(ctx.from().to_owned());
            ctx.reply(Outgoing::new().action("Name").data(&named.name)).map(drop)
        });
    }
}

/// Asks others, spawns them, hands items on, and counts its schedule.
#[derive(Default)]
struct Curious {
    names: Vec<String>,
    children: Vec<String>,
    ticks: Vec<u64>,
    blocks: u32,
}

impl Process for Curious {
    fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Go", |_, ctx| {
                let whom = ctx.message().require("Whom")?;
                ctx.send(Outgoing::new().to(whom).action("Ask")).map(drop)
            })
            .on("Name", |curious, ctx| {
                curious.names.push(ctx.message().data_str().unwrap_or_default().to_owned());
                Ok(())
            })
            .on("Make", |_, ctx| ctx.spawn(Spawn::new("named").tag("Name", "child")).map(drop))
            .on("Spawned", |curious, ctx| {
                let child = ctx.message().require("Process")?;
                curious.children.push(child.to_owned());
                ctx.send(Outgoing::new().to(child).action("Ask")).map(drop)
            })
            .on("Hand-On", |_, ctx| {
                let message = ctx.message();
                ctx.assign(Assign::new(message.require("Item")?).to(message.require("Whom")?))
            })
            .on("Loop", |_, ctx| ctx.send(Outgoing::new().to(ctx.process_id()).action("Loop")).map(drop))
            .on_cron("Tick", |curious, ctx| {
                curious.ticks.push(ctx.now());
                Ok(())
            })
            .on_cron("Block", |curious, _| {
                curious.blocks += 1;
                Ok(())
            });
    }
}

#[test]
fn messages_reach_processes_of_other_types_and_their_answers_come_back() {
    let mut network = Network::new();
    let named = network.spawn::<Named>("owner").tag("Name", "ada").boot();
    let curious = network.spawn::<Curious>("owner").boot();
    network.send("alice", &curious).action("Go").tag("Whom", &named).deliver();
    assert_eq!(network.state::<Curious>(&curious).names, ["ada"]);
    assert_eq!(network.state::<Named>(&named).asked_by, [curious]);
    assert_eq!(network.refused().count(), 0);
}

#[test]
fn what_is_sent_to_a_wallet_is_a_letter() {
    let mut network = Network::new();
    let named = network.spawn::<Named>("owner").tag("Name", "ada").boot();
    network.send("alice", &named).action("Ask").deliver();
    let letters = network.letters("alice");
    assert_eq!((letters[0].from.as_str(), letters[0].message.data.as_str()), (named.as_str(), "ada"));
}

#[test]
fn a_spawned_process_lives_trusts_its_parent_and_is_reported() {
    let mut network = Network::new();
    network.module::<Named>("named");
    let curious = network.spawn::<Curious>("owner").boot();
    network.send("alice", &curious).action("Make").deliver();
    assert_eq!(network.refused().next(), None);
    let state = network.state::<Curious>(&curious);
    assert_eq!(state.names, ["child"]);
    assert_eq!(network.state::<Named>(&state.children[0]).asked_by, [curious]);
}

#[test]
fn an_assigned_item_arrives_and_is_refused_by_default() {
    let mut network = Network::new();
    let named = network.spawn::<Named>("owner").boot();
    let curious = network.spawn::<Curious>("owner").boot();
    network.send("alice", &curious).action("Go").tag("Whom", &named).deliver();
    let item =
        network.deliveries().iter().rfind(|delivery| delivery.to == curious).unwrap().message.id.clone().unwrap();
    network.send("alice", &curious).action("Hand-On").tag("Item", &*item).tag("Whom", &named).deliver();
    let refused = network.refused().next().unwrap();
    assert_eq!(refused.to, named);
    assert!(refused.answer.error.as_ref().unwrap().starts_with("assignment is not taken"));
}

#[test]
fn schedules_fire_when_time_is_moved_on() {
    let mut network = Network::new();
    let curious = network
        .spawn::<Curious>("owner")
        .tag("Cron-Interval", "10-seconds")
        .tag("Cron-Tag-Action", "Tick")
        .tag("Cron-Interval", "2-blocks")
        .tag("Cron-Tag-Action", "Block")
        .boot();
    let begun = network.now_ms();
    network.advance(Duration::from_secs(9));
    assert!(network.state::<Curious>(&curious).ticks.is_empty());
    network.advance(Duration::from_secs(21));
    assert_eq!(network.state::<Curious>(&curious).ticks, [begun + 10_000, begun + 20_000, begun + 30_000]);
    network.advance(Duration::from_millis(4 * BLOCK_MS));
    assert_eq!(network.state::<Curious>(&curious).blocks, 2);
    assert_eq!(network.refused().count(), 0);
}

#[test]
fn a_dry_run_is_answered_and_delivers_nothing() {
    let mut network = Network::new();
    let named = network.spawn::<Named>("owner").tag("Name", "ada").boot();
    assert_eq!(network.send("1234", &named).action("Ask").dry_run().messages[0].data, "ada");
    assert!(network.state::<Named>(&named).asked_by.is_empty());
    assert!(network.letters("1234").is_empty());
}

#[test]
fn a_forged_sender_is_refused() {
    let mut network = Network::new();
    let named = network.spawn::<Named>("owner").boot();
    let answer = network.send("mallory", &named).action("Ask").claiming("bank").deliver();
    assert!(answer.error.unwrap().contains("claims to be from bank but was signed by mallory"));
}

#[test]
fn two_networks_do_exactly_the_same() {
    let run = || {
        let mut network = Network::new();
        network.module::<Named>("named");
        let curious = network.spawn::<Curious>("owner").boot();
        network.send("alice", &curious).action("Make").deliver();
        network.advance(Duration::from_secs(5));
        network.deliveries().to_vec()
    };
    assert_eq!(run(), run());
}

#[test]
#[should_panic(expected = "do processes answer each other?")]
fn processes_that_talk_for_ever_are_found() {
    let mut network = Network::new();
    let curious = network.spawn::<Curious>("owner").boot();
    network.send("alice", &curious).action("Loop").deliver();
}
