//! The room's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use chatroom::{Chatroom, HISTORY_LIMIT, MEMBER_LIMIT, NICKNAME_LIMIT_CHARS, TEXT_LIMIT_BYTES};
use holon_process::{
    Context, Error, Handlers, Outgoing, Process, json,
    testing::{Answer, Network},
};

/// Joins a room and answers "ping" with "pong".
struct Bot {
    room: String,
    heard: Vec<String>,
}

impl Process for Bot {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let room = ctx.process().tag("Room").ok_or("name the room")?.to_owned();
        ctx.send(Outgoing::new().to(&room).action("Register").tag("Nickname", "bot"))?;
        Ok(Self { room, heard: Vec::new() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Registered", |_, _| Ok(())).on("Broadcasted", |bot, ctx| {
            let text = ctx.message().data_str().unwrap_or_default();
            bot.heard.push(format!("{}: {text}", ctx.message().require("Broadcaster")?));
            if text == "ping" {
                ctx.send(Outgoing::new().to(&bot.room).action("Broadcast").data("pong"))?;
            }
            Ok(())
        });
    }
}

fn room() -> (Network, String) {
    let mut network = Network::new();
    let room = network.spawn::<Chatroom>("operator").boot();
    (network, room)
}

fn tell(network: &mut Network, room: &str, from: &str, action: &str, data: &str) -> Answer {
    network.send(from, room).action(action).data(data).deliver()
}

fn refusal(answer: &Answer) -> &str {
    assert_eq!((answer.error.as_ref(), answer.messages.len()), (None, 1));
    assert!(answer.messages[0].tag("Action").unwrap().ends_with("-Error"), "{answer:?}");
    answer.messages[0].tag("Error").unwrap()
}

#[test]
fn what_a_member_says_is_sent_to_every_member_with_who_said_it() {
    let (mut network, room) = room();
    network.send("alice", &room).action("Register").tag("Nickname", "Al").deliver();
    let registered = tell(&mut network, &room, "bob", "Register", "");
    assert_eq!(
        (registered.messages[0].tag("Action"), registered.messages[0].data.as_str()),
        (Some("Registered"), "Registered.")
    );
    let answer = network.send("alice", &room).action("Broadcast").tag("X-Mood", "good").data(" hello ").deliver();
    let receivers: Vec<_> = answer.messages.iter().map(|message| message.target.as_str()).collect();
    assert_eq!(receivers, ["alice", "bob"]);
    let tags = [("Action", "Broadcasted"), ("Broadcaster", "alice"), ("Nickname", "Al"), ("X-Mood", "good")];
    assert_eq!((answer.messages[1].own_tags(), answer.messages[1].data.as_str()), (tags.to_vec(), "hello"));
    assert_eq!(answer.output["data"], "Al: hello");
}

#[test]
fn who_is_not_here_says_and_hears_nothing() {
    let (mut network, room) = room();
    tell(&mut network, &room, "alice", "Register", "");
    let answer = tell(&mut network, &room, "mallory", "Broadcast", "spam");
    assert_eq!(refusal(&answer), "mallory is no member of this room; register first");
    tell(&mut network, &room, "bob", "Register", "");
    tell(&mut network, &room, "bob", "Unregister", "");
    assert_eq!(tell(&mut network, &room, "alice", "Broadcast", "alone?").messages.len(), 1);
    assert_eq!(refusal(&tell(&mut network, &room, "bob", "Unregister", "")), "bob is no member of this room");
}

#[test]
fn registering_again_changes_the_nickname_and_not_the_number_of_copies() {
    let (mut network, room) = room();
    tell(&mut network, &room, "alice", "Register", "");
    network.send("alice", &room).action("Register").tag("Nickname", "Al").deliver();
    let members = network.send("1234", &room).action("Members").dry_run();
    assert_eq!(members.output, json!([{"Address": "alice", "Nickname": "Al"}]));
}

#[test]
fn everything_is_bounded() {
    let (mut network, room) = room();
    for number in 0..MEMBER_LIMIT {
        tell(&mut network, &room, &format!("member-{number}"), "Register", "");
    }
    assert!(refusal(&tell(&mut network, &room, "late", "Register", "")).starts_with("the room is full"));
    assert_eq!(tell(&mut network, &room, "member-0", "Broadcast", "all of you").messages.len(), MEMBER_LIMIT);
    let long = "x".repeat(TEXT_LIMIT_BYTES + 1);
    assert!(refusal(&tell(&mut network, &room, "member-0", "Broadcast", &long)).starts_with("4096 bytes"));
    assert!(refusal(&tell(&mut network, &room, "member-0", "Broadcast", " ")).starts_with("the data is what to say"));
    for nickname in ["x".repeat(NICKNAME_LIMIT_CHARS + 1), "a\nb".to_owned()] {
        let answer = network.send("member-0", &room).action("Register").tag("Nickname", nickname).deliver();
        assert!(refusal(&answer).starts_with("a nickname has at most"));
    }
}

#[test]
fn newcomers_can_read_what_was_said_lately() {
    let (mut network, room) = room();
    tell(&mut network, &room, "alice", "Register", "");
    for number in 0..=HISTORY_LIMIT {
        tell(&mut network, &room, "alice", "Broadcast", &number.to_string());
    }
    let history = network.send("1234", &room).action("History").dry_run().output;
    let said: Vec<_> = history.as_array().unwrap().iter().map(|said| said["Data"].as_str().unwrap()).collect();
    assert_eq!((said.len(), said[0], said[HISTORY_LIMIT - 1]), (HISTORY_LIMIT, "1", "100"));
}

#[test]
fn processes_talk_in_it_too() {
    let (mut network, room) = room();
    tell(&mut network, &room, "alice", "Register", "");
    let bot = network.spawn::<Bot>("operator").tag("Room", &room).boot();
    assert_eq!(network.state::<Chatroom>(&room).members()[1].address, bot);
    tell(&mut network, &room, "alice", "Broadcast", "ping");
    assert_eq!(network.state::<Bot>(&bot).heard, ["alice: ping".to_owned(), format!("{bot}: pong")]);
    assert_eq!(network.letters("alice").last().unwrap().message.tag("Nickname"), Some("bot"));
    assert_eq!(network.refused().count(), 0);
}
