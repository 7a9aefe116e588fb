//! The relay's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use holon_process::Tag;
use holon_process::testing::Native;
use relay::Relay;

fn token(process: &mut Native<Relay>, name: &str, hops: &str) -> holon_process::testing::Answer {
    let mut message = process.message("1234", "Token", name);
    message.tags.push(Tag::new("Hops", hops));
    process.apply(message)
}

#[test]
fn a_token_goes_to_everybody_next_with_one_hop_less() {
    let mut process = Native::<Relay>::new();
    assert_eq!(process.send("Connect", "one\n two").output, "2");
    let answer = token(&mut process, "ball", "3");
    assert_eq!(answer.output, "ball");
    let sent: Vec<_> =
        answer.messages.iter().map(|sent| (sent.target.as_str(), sent.tag("Hops"), sent.data.as_str())).collect();
    assert_eq!(sent, [("one", Some("2"), "ball"), ("two", Some("2"), "ball")]);
}

#[test]
fn a_token_without_hops_stays_and_is_counted() {
    let mut process = Native::<Relay>::new();
    process.send("Connect", "one");
    assert!(token(&mut process, "ball", "0").messages.is_empty());
    assert!(token(&mut process, "ball", "many").error.is_some());
    assert_eq!(process.send("Count", "").output, "1");
}

#[test]
fn a_beat_is_a_token_of_its_own() {
    let mut process = Native::<Relay>::new();
    process.send("Connect", "one");
    let names: Vec<_> = (0..2).map(|_| process.send("Beat", "").messages[0].data.clone()).collect();
    assert_eq!(names, ["beat 1", "beat 2"]);
}

#[test]
fn generations_spawn_one_less() {
    let tags = vec![Tag::new("Generations", "3"), Tag::new("Module", "m")];
    let (_, answer) = Native::<Relay>::with(tags, "");
    let [spawn] = &answer.spawns[..] else { panic!("{answer:?}") };
    assert_eq!(
        (spawn.tag("Generations"), spawn.tag("Module"), spawn.tag("Authority")),
        (Some("2"), Some("m"), Some("authority"))
    );
    assert!(Native::<Relay>::with(vec![Tag::new("Generations", "0")], "").1.spawns.is_empty());
}
