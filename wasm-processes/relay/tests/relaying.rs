//! The relay's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use holon_process::Tag;
use holon_process::testing::{Answer, Native};
use relay::Relay;

fn send(process: &mut Native<Relay>, action: &str, tags: &[(&str, &str)]) -> Answer {
    let mut message = process.message("1234", action, "");
    message.tags.extend(tags.iter().map(|(name, value)| Tag::new(*name, *value)));
    process.apply(message)
}

#[test]
fn a_message_goes_to_and_fro_until_no_hop_is_left() {
    let mut process = Native::<Relay>::new();
    let answer = send(&mut process, "Relay", &[("Left", "2"), ("Next", "there")]);
    let hop = &answer.messages[0];
    assert_eq!((answer.messages.len(), hop.target.as_str(), hop.tag("Left")), (1, "there", Some("1")));
    // The one there sends it back.
    assert_ne!(hop.tag("Next").unwrap(), "there");
    let arrived = send(&mut process, "Relay", &[("Left", "0")]);
    assert_eq!((arrived.output, arrived.messages.len()), ("arrived 1".into(), 0));
}

#[test]
fn a_fan_has_the_width_that_was_asked_for() {
    let mut process = Native::<Relay>::new();
    let answer = send(&mut process, "Fan", &[("Width", "1000"), ("Next", "there")]);
    assert!(answer.messages.len() == 1000 && answer.messages.iter().all(|message| message.target == "there"));
    for width in ["10001", "-1", "many"] {
        assert!(send(&mut process, "Fan", &[("Width", width)]).error.is_some(), "{width}");
    }
    assert!(send(&mut process, "Fan", &[]).error.is_some());
}
