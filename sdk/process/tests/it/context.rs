//! What a handler learns about its message, and what becomes of what it says.

use holon_process::{
    Caller, Context, Error, Handlers, Outgoing, Process, Quantity, Tag, Value, bail, ensure, json,
    testing::{Answer, Native},
};
use serde::Deserialize;

struct Desk {
    asked: u32,
}

#[derive(Deserialize)]
struct Pay {
    recipient: String,
    quantity: Quantity,
}

#[derive(Deserialize)]
struct Settings {
    limit: u32,
    names: Vec<String>,
}

impl Process for Desk {
    fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self { asked: 0 })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Who", Self::who)
            .on("Close", |_, ctx| {
                ctx.require_owner()?;
                ctx.output("closed");
                Ok(())
            })
            .on("Reply", |_, ctx| ctx.reply(Outgoing::new().action("Answer").data("x")).map(drop))
            .on("Forward", |_, ctx| ctx.forward("third", Outgoing::new()).map(drop))
            .on("Log", |desk, ctx| {
                desk.asked += 1;
                ctx.log("first line");
                ctx.log(format!("asked {}", desk.asked));
                match ctx.message().data_str() {
                    Some("fail") => bail!("it was to fail"),
                    Some("output") => ctx.output(json!({"n": 1})),
                    _ => {}
                }
                Ok(())
            })
            .on("Random", |_, ctx| {
                let numbers = [ctx.random().next_u64(), ctx.random().next_u64()];
                ctx.output(numbers.map(|number| number.to_string()));
                Ok(())
            })
            .on("Refuse", |_, ctx| {
                ctx.send(Outgoing::new().to("third").data("too early"))?;
                let why = Error::new(ctx.message().data_str().unwrap_or("no"));
                ctx.refuse(&why)
            })
            .on("Bad-Output", |_, ctx| {
                ctx.output(std::collections::BTreeMap::from([(vec![1], 2)]));
                Ok(())
            })
            .on_typed("Pay", |_, ctx, pay: Pay| {
                ensure!(!pay.quantity.is_zero(), "{} gets nothing", pay.recipient);
                ctx.output(format!("{} to {}", pay.quantity, pay.recipient));
                Ok(())
            })
            .on_json("Set", |_, ctx, settings: Settings| {
                ctx.output(json!([settings.limit, settings.names]));
                Ok(())
            })
            .on_cron("Tick", |_, ctx| {
                ctx.output(format!("{:?} {}", ctx.caller(), ctx.is_from_owner()));
                Ok(())
            });
    }
}

impl Desk {
    fn who(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.output(match ctx.caller() {
            Caller::Wallet(address) => format!("the wallet {address}"),
            Caller::Process { id, authority } => format!("the process {id} by {authority}"),
            other => format!("{other:?}"),
        });
        Ok(())
    }
}

fn ask(from: &str, owner: &str, action: &str, tags: &[(&'static str, &'static str)], data: &str) -> Answer {
    let mut desk = Native::<Desk>::new();
    let mut message = desk.message(from, action, data);
    message.owner = owner.to_owned().into();
    message.tags.extend(tags.iter().map(|(name, value)| Tag::new(*name, *value)));
    desk.apply(message)
}

#[test]
fn a_direct_message_and_a_trusted_push_are_told_apart() {
    assert_eq!(ask("alice", "alice", "Who", &[], "").output, "the wallet alice");
    assert_eq!(ask("shop", "authority", "Who", &[], "").output, "the process shop by authority");
    let forged = ask("shop", "mallory", "Who", &[], "");
    assert!(forged.error.unwrap().contains("claims to be from shop but was signed by mallory"));
}

#[test]
fn only_the_owner_passes_and_not_who_claims_to_be_it() {
    assert_eq!(ask("owner", "owner", "Close", &[], "").output, "closed");
    assert!(ask("alice", "alice", "Close", &[], "").error.unwrap().contains("only the owner of this process, owner,"));
    assert!(ask("owner", "mallory", "Close", &[], "").error.unwrap().starts_with("message is not trusted"));
}

#[test]
fn the_owner_of_a_spawned_process_is_its_parent() {
    let (mut desk, _) = Native::<Desk>::with(vec![Tag::new("From-Process", "parent")], "");
    assert!(desk.send_from("owner", "Close", "").error.is_some());
    let mut message = desk.message("parent", "Close", "");
    message.owner = "authority".into();
    assert_eq!(desk.apply(message).output, "closed");
}

#[test]
fn an_item_that_was_for_somebody_else_is_refused() {
    let mut desk = Native::<Desk>::new();
    let mut message = desk.message("alice", "Who", "");
    message.target = "another".into();
    assert!(desk.apply(message).error.unwrap().starts_with("assignment is not taken: the item was for another"));
}

#[test]
fn replies_go_where_aos_sends_them() {
    // The same answers as `msg.reply` of the published aos 2.0.6 gives.
    let reply = |tags: &[(&'static str, &'static str)]| {
        let answer = ask("other", "other", "Reply", tags, "");
        let sent = &answer.messages[0];
        let own: Vec<(String, String)> =
            sent.own_tags().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        (sent.target.clone(), own)
    };
    let own = |tags: &[(&str, &str)]| tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    assert_eq!(reply(&[]), ("other".to_owned(), own(&[("Action", "Answer")])));
    assert_eq!(reply(&[("Reference", "7")]), ("other".to_owned(), own(&[("X-Reference", "7"), ("Action", "Answer")])));
    let all = [("Reference", "7"), ("X-Reference", "9"), ("X-Origin", "orig"), ("Reply-To", "elsewhere")];
    let expected = own(&[("X-Origin", "orig"), ("X-Reference", "9"), ("Action", "Answer")]);
    assert_eq!(reply(&all), ("elsewhere".to_owned(), expected));
}

#[test]
fn a_refusal_is_an_answer_in_place_of_everything_else() {
    let answer = ask("shop", "authority", "Refuse", &[("Reference", "7")], "not today");
    assert_eq!((answer.error, answer.messages.len(), &answer.output), (None, 1, &Value::from("not today")));
    let refusal = &answer.messages[0];
    assert_eq!((refusal.target.as_str(), refusal.data.as_str()), ("shop", "not today"));
    let tags = [("X-Reference", "7"), ("Action", "Refuse-Error"), ("Message-Id", "message-1"), ("Error", "not today")];
    assert_eq!(refusal.own_tags(), tags);
    // An item's tags are bounded; its data says all.
    let long = "ü".repeat(9_000);
    let answer = ask("a", "a", "Refuse", &[], &long);
    assert_eq!(answer.error, None);
    assert_eq!(
        (answer.messages[0].tag("Error").unwrap().chars().count(), answer.messages[0].data.len()),
        (500, 18_000)
    );
}

#[test]
fn messages_are_forwarded_as_aos_does() {
    let answer = ask("other", "other", "Forward", &[("Reference", "7"), ("X-Foo", "1")], "data");
    let sent = &answer.messages[0];
    assert_eq!((sent.target.as_str(), sent.data.as_str()), ("third", "data"));
    let tags =
        [("Reply-To", "other"), ("X-Reference", "7"), ("X-Origin", "other"), ("Action", "Forward"), ("X-Foo", "1")];
    assert_eq!(sent.own_tags(), tags);
}

#[test]
fn log_lines_reach_the_output_of_good_and_of_failed_messages() {
    let lines = "first line\nasked 1";
    assert_eq!(ask("a", "a", "Log", &[], "").output, json!({"data": lines, "print": true, "prompt": ""}));
    let with_output = json!({"data": lines, "output": {"n": 1}, "print": true, "prompt": ""});
    assert_eq!(ask("a", "a", "Log", &[], "output").output, with_output);
    let failed = ask("a", "a", "Log", &[], "fail");
    assert_eq!(failed.error.as_deref(), Some("it was to fail"));
    assert_eq!(failed.output["data"], lines);
}

#[test]
fn random_numbers_follow_from_the_message_alone() {
    let mut desk = Native::<Desk>::new();
    let first = desk.send("Random", "").output;
    let second = desk.send("Random", "").output;
    assert_ne!(first, second);
    assert_ne!(first[0], first[1]);
    let mut again = Native::<Desk>::new();
    assert_eq!([again.send("Random", "").output, again.send("Random", "").output], [first, second]);
}

#[test]
fn an_output_without_json_fails_the_message() {
    assert!(ask("a", "a", "Bad-Output", &[], "").error.unwrap().starts_with("the output has no JSON"));
}

#[test]
fn typed_messages_are_read_from_tags_and_errors_name_them() {
    let pay = |tags: &[(&'static str, &'static str)]| ask("a", "a", "Pay", tags, "");
    assert_eq!(pay(&[("Recipient", "bob"), ("Quantity", "5")]).output, "5 to bob");
    assert_eq!(pay(&[("Recipient", "bob")]).error.unwrap(), "the tag Quantity is missing");
    let refused = pay(&[("Recipient", "bob"), ("Quantity", "-5")]).error.unwrap();
    assert!(refused.starts_with("the tag Quantity: expected a quantity"), "{refused}");
    assert_eq!(pay(&[("Recipient", "bob"), ("Quantity", "0")]).error.unwrap(), "bob gets nothing");
}

#[test]
fn typed_messages_are_read_from_json_data() {
    let set = |data: &str| ask("a", "a", "Set", &[], data);
    assert_eq!(set(r#"{"limit":3,"names":["a","b"]}"#).output, json!([3, ["a", "b"]]));
    let refused = set(r#"{"limit":3}"#).error.unwrap();
    assert!(refused.starts_with("the data is not the JSON it should be: missing field `names`"), "{refused}");
}

#[test]
fn what_is_for_the_schedule_is_for_nobody_else() {
    let mut desk = Native::<Desk>::new();
    let refused = desk.send("Tick", "").error.unwrap();
    assert_eq!(refused, "the action \"Tick\" is for the schedule of this process only");
    let mut tick = desk.message("owner", "Tick", "");
    (tick.id, tick.cron) = (None, true);
    assert_eq!(desk.apply(tick).output, Value::from("Schedule true"));
}
