//! Reading the outbox of a result: what is used, what is skipped and why (spec 04 §9, §10.1, §16).

use holon_mu::crank::outgoing::{NotAResult, Outgoing, read};
use holon_mu::json::JsonText;
use holon_protocol::{ItemId, Tag};
use serde_json::{Value, json};

const TARGET: ItemId = ItemId::from_bytes([2; 32]);

fn result(messages: Value, spawns: Value, assignments: Value) -> Outgoing {
    let result = json!({ "Messages": messages, "Spawns": spawns, "Assignments": assignments, "Output": "x" });
    read(&result.into()).unwrap()
}

fn read_text(result: &str) -> Outgoing {
    read(&JsonText::parse(result.as_bytes()).unwrap()).unwrap()
}

fn entry(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Value {
    let mut entry = json!({
        "Target": TARGET, "Anchor": "00000000000000000000000000000001", "Data": "hi",
        "Tags": [{ "name": "A", "value": "1" }],
    });
    change(entry.as_object_mut().unwrap());
    entry
}

#[test]
fn unusable_messages_are_skipped_one_by_one_with_a_reason() {
    type Change = fn(&mut serde_json::Map<String, Value>);
    let table: &[(Change, &str)] = &[
        (|e| drop(e.remove("Target")), "Target is missing"),
        (|e| drop(e.insert("Target".into(), Value::Null)), "Target is null"),
        (|e| drop(e.insert("Target".into(), json!("0x1234"))), "43 base64url characters"),
        (|e| drop(e.remove("Tags")), "Tags must be an array"),
        (|e| drop(e.insert("Tags".into(), json!({}))), "Tags must be an array"),
        (|e| drop(e.insert("Tags".into(), json!([{ "value": "x" }]))), "no name"),
        (|e| drop(e.insert("Tags".into(), json!([{ "name": 1, "value": "x" }]))), "no name"),
        (|e| drop(e.insert("Tags".into(), json!([{ "name": "A", "value": ["x"] }]))), "value of tag \"A\" is an array"),
        (|e| drop(e.insert("Tags".into(), json!([{ "name": "A" }]))), "value of tag \"A\" is missing"),
        (|e| drop(e.insert("Tags".into(), json!([{ "name": "A", "value": null }]))), "value of tag \"A\" is null"),
        (|e| drop(e.remove("Anchor")), "Anchor is missing"),
        (|e| drop(e.insert("Anchor".into(), Value::Null)), "Anchor is null"),
        (|e| drop(e.insert("Anchor".into(), json!(""))), "Anchor has 0 bytes"),
        (|e| drop(e.insert("Anchor".into(), json!("abc"))), "Anchor has 3 bytes"),
        (|e| drop(e.insert("Anchor".into(), json!("1".repeat(33)))), "Anchor has 33 bytes"),
        (|e| drop(e.insert("Anchor".into(), json!("é".repeat(17)))), "Anchor has 34 bytes"),
    ];
    for (change, reason) in table {
        let good = entry(|_| {});
        let outgoing = result(json!([good, entry(change), good]), json!([]), json!([]));
        assert_eq!(outgoing.messages.len(), 2, "{reason}");
        let [skipped] = &outgoing.skipped[..] else { panic!("{reason}: {:?}", outgoing.skipped) };
        assert_eq!(skipped.entry, "Messages[1]");
        assert!(skipped.reason.contains(reason), "{:?} does not say {reason:?}", skipped.reason);
    }
    let outgoing = result(json!([null, 1, "x", [], entry(|_| {})]), json!([]), json!([]));
    assert_eq!((outgoing.messages.len(), outgoing.skipped.len()), (1, 4));
}

#[test]
fn values_that_have_a_text_are_used_by_it() {
    let data = |data: Value| {
        result(json!([entry(|e| drop(e.insert("Data".into(), data)))]), json!([]), json!([])).messages[0].data.clone()
    };
    assert_eq!(data(json!("text")), "text");
    assert_eq!(data(json!(1.5)), "1.5");
    assert_eq!(data(json!(true)), "true");
    assert_eq!(data(json!({ "b": [1, 2], "a": "x y" })), r#"{"b":[1,2],"a":"x y"}"#);
    assert_eq!(data(json!([1, "a"])), r#"[1,"a"]"#);
    assert_eq!(data(Value::Null), " ");
    assert_eq!(data(json!("")), " ");
    assert_eq!(result(json!([entry(|e| drop(e.remove("Data")))]), json!([]), json!([])).messages[0].data, " ");

    let tagged = entry(|e| {
        e.insert(
            "Tags".into(),
            json!([{ "name": "N", "value": 7 }, { "name": "B", "value": false }, { "name": "", "value": "" }]),
        );
    });
    let outgoing = result(json!([tagged]), json!([]), json!([]));
    assert_eq!(outgoing.messages[0].tags.0, [Tag::new("N", "7"), Tag::new("B", "false"), Tag::new("", "")]);

    let anchor = |anchor: &str| {
        let entry = entry(|e| drop(e.insert("Anchor".into(), json!(anchor))));
        result(json!([entry]), json!([]), json!([])).messages[0].anchor.clone()
    };
    assert_eq!(anchor("7"), "00000000000000000000000000000007");
    let text = "é".repeat(16);
    assert_eq!(anchor(&text), text, "32 bytes of any text are an anchor");
}

#[test]
fn a_spawn_needs_tags_with_a_module_and_no_anchor() {
    let outgoing = result(
        json!([]),
        json!([{ "Tags": [{ "name": "Module", "value": "m" }] }, { "Tags": [] }, { "Data": "x" }]),
        json!([]),
    );
    assert_eq!((outgoing.spawns.len(), outgoing.spawns[0].data.as_str()), (1, " "));
    assert_eq!(outgoing.skipped[0].reason, "No Module tag found on 'Process' DataItem");
    assert_eq!(outgoing.skipped[1].entry, "Spawns[2]");
}

#[test]
fn an_assignment_names_processes_layer_and_exclusions() {
    let id = |byte: u8| ItemId::from_bytes([byte; 32]).to_string();
    let outgoing = result(
        json!([]),
        json!([]),
        json!([
            { "Processes": [id(1), "bad", id(2)], "Message": id(9), "BaseLayer": true, "Exclude": ["Data", "Tags"] },
            { "Processes": [id(3)], "Message": id(9) },
            { "Processes": [id(3)], "Message": "bad" },
            { "Processes": "x", "Message": id(9) },
            { "Processes": [id(3)], "Message": id(9), "Exclude": ["a&b"] },
            { "Processes": [id(3)], "Message": id(9), "Exclude": "Data" },
            { "Processes": [id(9)], "Message": id(9) },
        ]),
    );
    let made: Vec<_> = outgoing
        .assignments
        .iter()
        .map(|assign| (assign.process.to_string(), assign.base_layer, assign.exclude.join(",")))
        .collect();
    let exclude = "Data,Tags".to_owned();
    assert_eq!(made, [(id(1), true, exclude.clone()), (id(2), true, exclude), (id(3), false, String::new())]);
    let skipped: Vec<_> = outgoing.skipped.iter().map(|skipped| skipped.entry.as_str()).collect();
    assert_eq!(skipped, [0, 2, 3, 4, 5, 6].map(|number| format!("Assignments[{number}]")));
    assert!(outgoing.skipped[5].reason.contains("cannot be assigned to itself"));
}

#[test]
fn all_three_arrays_must_be_there_and_other_members_do_not_matter() {
    for missing in ["Messages", "Spawns", "Assignments"] {
        let mut result = json!({ "Messages": [], "Spawns": [], "Assignments": [], "Error": "x", "Patches": 1 });
        assert_eq!(read(&result.clone().into()), Ok(Outgoing::default()));
        result[missing] = json!("x");
        assert_eq!(read(&result.clone().into()), Err(NotAResult(missing)));
        result.as_object_mut().unwrap().remove(missing);
        assert_eq!(read(&result.clone().into()), Err(NotAResult(missing)));
    }
    for other in [json!(null), json!([]), json!("busy"), json!({ "message": "in progress" })] {
        assert_eq!(read(&other.into()), Err(NotAResult("Messages")));
    }
}

#[test]
fn however_much_is_wrong_with_a_result_little_is_kept_of_it() {
    let bad: Vec<_> = (0..1_000).map(|_| json!("0")).collect();
    let entries: Vec<_> = (0..100).map(|_| json!({ "Message": TARGET, "Processes": bad })).collect();
    let outgoing = read(&json!({ "Messages": [], "Spawns": [], "Assignments": entries }).into()).unwrap();
    assert_eq!((outgoing.assignments.len(), outgoing.skipped.len()), (0, 100));
    assert!(outgoing.skipped.iter().all(|skipped| skipped.reason.contains("999 more")));
    let kept: usize = outgoing.skipped.iter().map(|skipped| skipped.text.capacity() + skipped.reason.capacity()).sum();
    assert!(kept < 500_000, "{kept} bytes");

    let good: Vec<_> = (0..1_000).map(|_| ItemId::from_bytes([5; 32])).collect();
    let entries: Vec<_> = (0..12).map(|_| json!({ "Message": TARGET, "Processes": good })).collect();
    let outgoing = read(&json!({ "Messages": [], "Spawns": [], "Assignments": entries }).into()).unwrap();
    assert_eq!((outgoing.assignments.len(), outgoing.skipped.len()), (10_000, 2));

    let many: Vec<_> = (0..33).map(|field| format!("F{field}")).collect();
    for exclude in [json!(many), json!(["x".repeat(65)])] {
        let entry = json!({ "Message": TARGET, "Processes": [TARGET], "Exclude": exclude });
        let outgoing = read(&json!({ "Messages": [], "Spawns": [], "Assignments": [entry] }).into()).unwrap();
        assert_eq!((outgoing.assignments.len(), outgoing.skipped.len()), (0, 1), "{exclude}");
    }
}

/// A result of three messages; the members of the one in the middle.
fn around(members: &str) -> String {
    let message = |members: &str| format!(r#"{{"Target":"{TARGET}","Anchor":"1",{members}}}"#);
    let messages = [r#""Tags":[],"Data":"before""#, members, r#""Tags":[],"Data":"after""#].map(message).join(",");
    format!(r#"{{"Messages":[{messages}],"Spawns":[],"Assignments":[]}}"#)
}

#[test]
fn what_no_item_can_be_made_of_is_skipped_with_its_reason() {
    let tagged = |tags: Value| entry(|e| drop(e.insert("Tags".into(), tags)));
    let many: Vec<_> = (0..200).map(|number| json!({ "name": number.to_string(), "value": "" })).collect();
    let long = json!([{ "name": "A", "value": "x".repeat(3_073) }]);
    let messages = json!([tagged(long.clone()), entry(|_| {}), tagged(json!(many))]);
    let spawn = |scheduler: &str| json!({ "Tags": [{ "name": "Module", "value": "m" }, { "name": "Scheduler", "value": scheduler }] });
    let mut too_long = spawn(&TARGET.to_string());
    too_long["Tags"].as_array_mut().unwrap().extend(long.as_array().unwrap().clone());
    let outgoing = result(messages, json!([spawn("nonsense"), too_long, spawn(&TARGET.to_string())]), json!([]));
    assert_eq!((outgoing.messages.len(), outgoing.spawns.len()), (1, 1));
    let skipped: Vec<_> = outgoing.skipped.iter().map(|it| (it.entry.as_str(), it.reason.as_str())).collect();
    for ((entry, reason), (place, word)) in skipped.iter().zip([
        ("Messages[0]", "3073"),
        ("Messages[2]", "tags"),
        ("Spawns[0]", "Scheduler"),
        ("Spawns[1]", "3073"),
    ]) {
        assert!(*entry == place && reason.contains(word), "{entry}: {reason}");
    }
    assert_eq!(skipped.len(), 4);
    assert!(outgoing.skipped[2].text.contains("nonsense"));
}

#[test]
fn numbers_count_by_their_digits() {
    for number in
        ["100000000000000000000", "123456789012345678901234567890", "1E2", "1.0", "-0", "0.1e1", "1e400", "1.10"]
    {
        let outgoing = read_text(&around(&format!(r#""Tags":[{{"name":"N","value":{number}}}],"Data":{number}"#)));
        let message = &outgoing.messages[1];
        assert_eq!((message.data.as_str(), message.tags.get("N")), (number, Some(number)));
    }
    let outgoing = read_text(&around(r#""Tags":[],"Data": { "b" : [ 1.10 , 1E2,"a  b\u0041\" \\" ],"a":1e400 }"#));
    assert_eq!(outgoing.messages[1].data, r#"{"b":[1.10,1E2,"a  bA\" \\"],"a":1e400}"#);
}

#[test]
fn an_odd_value_spoils_no_other_entry() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (members, data) in [
        (
            r#""Tags":[],"Data":"half of \ud800 a pair, \uDC00\ud83d\ude00\ud83d""#,
            "half of \u{fffd} a pair, \u{fffd}\u{1f600}\u{fffd}",
        ),
        (&format!(r#""Tags":[],"Data":{deep}"#), deep.as_str()),
        (r#""Tags":[],"Data":{"\ud800":"\ud800\n"}"#, "{\"\u{fffd}\":\"\u{fffd}\\n\"}"),
        (r#""\ud800":1e400,"Tags":[],"Tags":[],"Data":1,"D\u0061ta":2"#, "2"),
    ] {
        let outgoing = read_text(&around(members));
        let sent: Vec<_> = outgoing.messages.iter().map(|message| message.data.as_str()).collect();
        assert!(sent == ["before", data, "after"], "{}: {:?}", &members[..60.min(members.len())], outgoing.skipped);
    }
    for members in [
        &format!(r#""Tags":{deep},"Data":"x""#),
        &format!(r#""Tags":[{{"name":"A","value":{deep}}}],"Data":"x""#),
        r#""Tags":[{"name":1e400,"value":"x"}],"Data":"x""#,
        r#""Tags":[],"Target":"\ud800","Data":"x""#,
    ] {
        let outgoing = read_text(&around(members));
        let sent: Vec<_> = outgoing.messages.iter().map(|message| message.data.as_str()).collect();
        assert!(sent == ["before", "after"] && outgoing.skipped[0].entry == "Messages[1]", "{sent:?}");
    }
    // What is not pushed may be anything.
    let output = format!(r#"{{"Output":{deep},"Patches":[1e400,"\ud800"],{}"#, &around(r#""Tags":[]"#)[1..]);
    assert_eq!(read_text(&output).messages.len(), 3);
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_a_byte_order_mark_is_passed_over() {
    let mut result = "\u{feff}".as_bytes().to_vec();
    result.extend_from_slice(around(r#""Tags":[],"Data":"?""#).as_bytes());
    let at = result.iter().position(|byte| *byte == b'?').unwrap();
    result[at] = 0xff;
    let outgoing = read(&JsonText::parse(&result).unwrap()).unwrap();
    assert_eq!(outgoing.messages[1].data, "\u{fffd}");
    for nonsense in ["", "{", "{} x", "<html>", "{\"a\":01}", "\u{feff}\u{feff}{}"] {
        assert!(JsonText::parse(nonsense.as_bytes()).is_err(), "{nonsense}");
    }
}
