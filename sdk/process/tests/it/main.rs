//! What a process written with this crate looks like from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod context;
mod network;

use holon_process::{
    Assign, Context, Error, Handlers, Outgoing, Process, Spawn, Tag, json,
    outbox::{OUTBOX_LIMIT, TAG_BYTES_LIMIT},
    runtime::Runtime,
    testing::{Assigned, Native},
};

struct Board {
    title: String,
    posts: Vec<String>,
}

impl Process for Board {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let title = ctx.message().tag("Title").unwrap_or("untitled");
        if title == "forbidden" {
            return Err(Error::new("this title is not allowed"));
        }
        Ok(Self { title: title.to_owned(), posts: Vec::new() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Post", Self::post).on("Flood", Self::flood).on("Grow", Self::grow).on("Title", Self::title);
    }
}

impl Board {
    fn post(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let text = ctx.message().data_str().unwrap_or_default().to_owned();
        self.posts.push(text.clone());
        ctx.reply(Outgoing::new().action("Posted").data(self.posts.len()))?;
        ctx.send(Outgoing::new().to("reader").data(&text))?;
        if text == "bad" {
            return Err(Error::new("bad words are not posted"));
        }
        ctx.output(json!({ "posts": self.posts.len() }));
        Ok(())
    }

    fn flood(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            ctx.send(Outgoing::new().to("reader"))?;
        }
    }

    fn grow(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.spawn(Spawn::new("other-module").data("x=1").tag("Name", "child"))?;
        ctx.assign(Assign::new("item").to("reader").to("writer"))
    }

    fn title(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.output(self.title.as_str());
        Ok(())
    }
}

fn tags<'t>(tags: &'t [Tag<'_>]) -> Vec<(&'t str, &'t str)> {
    tags.iter().map(|tag| (&*tag.name, &*tag.value)).collect()
}

#[test]
fn messages_carry_the_protocol_tags_a_reference_and_its_padded_anchor() {
    let mut process = Native::<Board>::new();
    let mut message = process.message("alice", "Post", "hi");
    message.tags.push(Tag::new("Reference", "42"));
    let answer = process.apply(message);
    assert_eq!(answer.error, None);
    assert_eq!(answer.output, json!({"posts": 1}));
    let reply = &answer.messages[0];
    assert_eq!((reply.target.as_str(), reply.data.as_str()), ("alice", "1"));
    assert_eq!(reply.anchor, "00000000000000000000000000000001");
    assert_eq!(
        tags(&reply.tags),
        [
            ("Data-Protocol", "ao"),
            ("Variant", "ao.TN.1"),
            ("Type", "Message"),
            ("Reference", "1"),
            ("X-Reference", "42"),
            ("Action", "Posted"),
        ]
    );
    assert_eq!(answer.messages[1].anchor, "00000000000000000000000000000002");
}

#[test]
fn an_error_sends_nothing_and_leaves_state_and_references_as_they_were() {
    let mut process = Native::<Board>::new();
    process.send("Post", "one");
    let failed = process.send("Post", "bad");
    assert_eq!(failed.error.as_deref(), Some("bad words are not posted"));
    assert!(failed.messages.is_empty());
    assert_eq!(process.state().unwrap().posts, ["one"]);
    assert_eq!(process.send("Post", "two").messages[0].anchor, "00000000000000000000000000000003");
}

#[test]
fn spawns_and_assignments_are_shaped_for_the_messenger() {
    let answer = Native::<Board>::new().send("Grow", "");
    assert_eq!(answer.error, None);
    assert_eq!(answer.spawns[0].data, "x=1");
    assert_eq!(
        tags(&answer.spawns[0].tags),
        [
            ("Data-Protocol", "ao"),
            ("Variant", "ao.TN.1"),
            ("Type", "Process"),
            ("From-Process", "process"),
            ("From-Module", "module"),
            ("Module", "other-module"),
            ("Reference", "1"),
            ("Authority", "authority"),
            ("Name", "child"),
        ]
    );
    let processes = vec!["reader".to_owned(), "writer".to_owned()];
    assert_eq!(answer.assignments, [Assigned { processes, message: "item".to_owned() }]);
}

#[test]
fn boot_reads_the_tags_of_the_process() {
    let (mut process, boot) = Native::<Board>::with(vec![Tag::new("Title", "news")], "");
    assert_eq!(boot.error, None);
    assert_eq!(process.send("Title", "").output, "news");
}

#[test]
fn a_boot_that_fails_is_an_error_and_leaves_no_state() {
    let (process, boot) = Native::<Board>::with(vec![Tag::new("Title", "forbidden")], "");
    assert_eq!(boot.error.as_deref(), Some("this title is not allowed"));
    assert!(process.state().is_none());
}

#[test]
fn unknown_and_missing_actions_are_errors_that_name_the_known_ones() {
    let mut process = Native::<Board>::new();
    let error = process.send("Dance", "").error.unwrap();
    assert_eq!(error, "no handler for the action \"Dance\"; this process answers Flood, Grow, Post, Title");
    let mut message = process.message("owner", "", "");
    message.tags.clear();
    assert!(process.apply(message).error.unwrap().starts_with("the message has no Action tag"));
}

#[test]
fn a_message_pushed_by_a_stranger_is_refused() {
    let mut process = Native::<Board>::new();
    let mut message = process.message("other-process", "Post", "hi");
    message.owner = "stranger".into();
    assert!(process.apply(message.clone()).error.unwrap().starts_with("message is not trusted"));
    message.owner = "authority".into();
    assert_eq!(process.apply(message).error, None);
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut process = Native::<Board>::new();
    let mut message = process.message("1234", "Post", "hi");
    message.read_only = true;
    assert_eq!(process.apply(message).output, json!({"posts": 1}));
    assert!(process.state().unwrap().posts.is_empty());
}

#[test]
fn outbox_and_tags_are_bounded() {
    let mut process = Native::<Board>::new();
    let error = process.send("Flood", "").error.unwrap();
    assert!(error.contains(&OUTBOX_LIMIT.to_string()), "{error}");
    let mut message = process.message("owner", "Post", "hi");
    message.tags.push(Tag::new("Reference", "x".repeat(TAG_BYTES_LIMIT)));
    let error = process.apply(message).error.unwrap();
    assert!(error.contains(&TAG_BYTES_LIMIT.to_string()), "{error}");
}

#[test]
fn texts_that_are_not_json_are_answered_not_panicked_on() {
    let mut runtime = Runtime::<Board>::default();
    for (message, environment) in [("", "{}"), ("{", "{}"), ("{}", "[]x"), ("{\"Tags\":1}", "{}"), ("null", "{}")] {
        let mut answer = String::new();
        runtime.handle(message.as_bytes(), environment.as_bytes(), &mut answer);
        let answer: holon_process::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["ok"], false, "{message} {environment}");
    }
}
