//! The counter's behaviour, natively.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use counter::Counter;
use holon_process::testing::Native;

fn value(process: &mut Native<Counter>) -> String {
    let mut message = process.message("1234", "Get", "1234");
    message.read_only = true;
    let answer = process.apply(message);
    assert_eq!(answer.error, None);
    assert_eq!(answer.output, answer.messages[0].data.as_str());
    answer.messages[0].data.clone()
}

#[test]
fn it_starts_at_zero() {
    assert_eq!(value(&mut Native::new()), "0");
}

#[test]
fn it_adds_one_when_the_message_has_no_data() {
    let mut process = Native::new();
    for data in ["", " "] {
        assert_eq!(process.send("Increment", data).error, None);
    }
    assert_eq!(value(&mut process), "2");
}

#[test]
fn it_adds_the_data_and_says_the_new_number() {
    let mut process = Native::<Counter>::new();
    assert_eq!(process.send("Increment", "40").output, "40");
    assert_eq!(process.send("Increment", " -3\n").output, "37");
    assert_eq!(value(&mut process), "37");
}

#[test]
fn anything_but_a_whole_number_is_an_error_and_changes_nothing() {
    let mut process = Native::<Counter>::new();
    process.send("Increment", "5");
    for data in ["x", "1.5", "0x10", "99999999999999999999", "1 2", "ä\u{301}".repeat(100).as_str()] {
        let error = process.send("Increment", data).error.unwrap();
        assert!(error.starts_with("the data must be empty or a whole number"), "{error}");
    }
    assert_eq!(value(&mut process), "5");
}

#[test]
fn it_never_wraps_around() {
    let mut process = Native::<Counter>::new();
    process.send("Increment", &i64::MAX.to_string());
    assert!(process.send("Increment", "1").error.is_some());
    assert_eq!(value(&mut process), i64::MAX.to_string());
}

#[test]
fn get_answers_the_sender() {
    let mut process = Native::<Counter>::new();
    process.send("Increment", "7");
    let answer = process.send_from("alice", "Get", "");
    let reply = &answer.messages[0];
    assert_eq!((reply.target.as_str(), reply.data.as_str(), reply.tag("Action")), ("alice", "7", Some("Count")));
}

#[test]
fn the_committed_module_is_small() {
    const LIMIT_BYTES: usize = 60 << 10;
    let bytes = include_bytes!("../counter.wasm").len();
    assert!(bytes <= LIMIT_BYTES, "the module has {bytes} bytes, {LIMIT_BYTES} are promised");
}
