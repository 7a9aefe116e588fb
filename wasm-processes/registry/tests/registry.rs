//! The registry's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use holon_process::{
    Context, Error, Handlers, Outgoing, Process, json,
    testing::{Answer, Network},
};
use registry::{NAME_LIMIT_CHARS, PAGE_LIMIT, Registry};

/// Greets whoever a name stands for.
struct Greeter {
    registry: String,
}

impl Process for Greeter {
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self { registry: ctx.process().tag("Registry").ok_or("name the registry")?.to_owned() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Greet", |greeter, ctx| {
                let name = ctx.message().require("Name")?;
                ctx.send(Outgoing::new().to(&greeter.registry).action("Resolve").tag("Name", name)).map(drop)
            })
            .on("Resolved", |greeter, ctx| {
                if ctx.from() != greeter.registry {
                    return Err("only the registry resolves".into());
                }
                ctx.send(Outgoing::new().to(ctx.message().require("Address")?).data("hello")).map(drop)
            })
            .on("Resolve-Error", |_, ctx| {
                ctx.log(ctx.message().require("Error")?);
                Ok(())
            });
    }
}

fn network() -> (Network, String) {
    let mut network = Network::new();
    let registry = network.spawn::<Registry>("operator").boot();
    (network, registry)
}

fn tell(network: &mut Network, registry: &str, from: &str, action: &str, tags: &[(&str, &str)]) -> Answer {
    let mut send = network.send(from, registry).action(action);
    for (name, value) in tags {
        send = send.tag(*name, *value);
    }
    send.deliver()
}

fn refusal(answer: &Answer) -> &str {
    assert_eq!(answer.messages.len(), 1);
    assert!(answer.messages[0].tag("Action").unwrap().ends_with("-Error"), "{answer:?}");
    answer.messages[0].tag("Error").unwrap()
}

#[test]
fn who_comes_first_has_the_name() {
    let (mut network, registry) = network();
    let first = tell(&mut network, &registry, "alice", "Register", &[("Name", "points"), ("Address", "token-id")]);
    let expected = [("Action", "Registered"), ("Name", "points"), ("Address", "token-id"), ("Owner", "alice")];
    assert_eq!(first.messages[0].own_tags(), expected);
    let second = tell(&mut network, &registry, "bob", "Register", &[("Name", "points")]);
    assert_eq!(refusal(&second), "the name \"points\" is taken, by alice");
    assert_eq!(network.state::<Registry>(&registry).record("points").unwrap().address, "token-id");
}

#[test]
fn a_name_without_an_address_stands_for_who_registered_it() {
    let (mut network, registry) = network();
    tell(&mut network, &registry, "alice", "Register", &[("Name", "alice")]);
    let resolved = network.send("1234", &registry).action("Resolve").tag("Name", "alice").dry_run();
    assert_eq!((resolved.messages[0].data.as_str(), &resolved.output["Owner"]), ("alice", &json!("alice")));
}

#[test]
fn only_the_owner_changes_passes_on_and_releases() {
    let (mut network, registry) = network();
    tell(&mut network, &registry, "alice", "Register", &[("Name", "shop")]);
    for (action, tags) in [
        ("Update", vec![("Name", "shop"), ("Address", "mallory")]),
        ("Pass-On", vec![("Name", "shop"), ("To", "mallory")]),
        ("Release", vec![("Name", "shop")]),
    ] {
        let answer = tell(&mut network, &registry, "mallory", action, &tags);
        assert_eq!(refusal(&answer), "the name \"shop\" belongs to alice, not to mallory");
    }
    tell(&mut network, &registry, "alice", "Update", &[("Name", "shop"), ("Address", "shop-2")]);
    tell(&mut network, &registry, "alice", "Pass-On", &[("Name", "shop"), ("To", "bob")]);
    let record = network.state::<Registry>(&registry).record("shop").unwrap();
    assert_eq!((record.address.as_str(), record.owner.as_str()), ("shop-2", "bob"));
    assert_eq!(network.letters("bob")[0].message.tag("Action"), Some("Received"));
    tell(&mut network, &registry, "bob", "Release", &[("Name", "shop")]);
    assert_eq!(network.state::<Registry>(&registry).record("shop"), None);
}

#[test]
fn names_are_written_in_one_way() {
    let (mut network, registry) = network();
    for name in ["", "Points", "two words", "-a", "a-", "ünï", &"a".repeat(NAME_LIMIT_CHARS + 1)] {
        let answer = tell(&mut network, &registry, "alice", "Register", &[("Name", name)]);
        assert!(refusal(&answer).starts_with("a name has 1 to 64"), "{name}");
    }
    let answer = tell(&mut network, &registry, "alice", "Register", &[("Name", "a"), ("Address", " ")]);
    assert!(refusal(&answer).starts_with("an address has"));
}

#[test]
fn names_are_listed_by_prefix_and_in_pages() {
    let (mut network, registry) = network();
    for index in 0..=PAGE_LIMIT {
        tell(&mut network, &registry, "alice", "Register", &[("Name", &format!("n-{index:05}")), ("Address", "x")]);
    }
    tell(&mut network, &registry, "alice", "Register", &[("Name", "a"), ("Address", "y")]);
    let page = |network: &mut Network, tags: &[(&str, &str)]| {
        let mut send = network.send("1234", &registry).action("Names");
        for (name, value) in tags {
            send = send.tag(*name, *value);
        }
        send.dry_run()
    };
    let first = page(&mut network, &[("Prefix", "n-")]);
    assert_eq!(first.output.as_object().unwrap().len(), PAGE_LIMIT);
    let next = first.messages[0].tag("Next").unwrap().to_owned();
    let second = page(&mut network, &[("Prefix", "n-"), ("After", &next)]);
    assert_eq!(second.output, json!({ "n-01000": "x" }));
    assert_eq!(second.messages[0].tag("Next"), None);
    assert_eq!(page(&mut network, &[("Prefix", "a")]).output, json!({"a": "y"}));
}

#[test]
fn a_process_resolves_a_name_and_learns_when_there_is_none() {
    let (mut network, registry) = network();
    let greeter = network.spawn::<Greeter>("operator").tag("Registry", &registry).boot();
    tell(&mut network, &registry, "alice", "Register", &[("Name", "alice")]);
    network.send("bob", &greeter).action("Greet").tag("Name", "alice").deliver();
    assert_eq!(network.letters("alice").last().unwrap().message.data, "hello");
    network.send("bob", &greeter).action("Greet").tag("Name", "nobody").deliver();
    let learned = &network.deliveries().last().unwrap().answer;
    assert_eq!(learned.output["data"], "nobody registered the name \"nobody\"");
    assert_eq!(network.refused().count(), 0);
}
