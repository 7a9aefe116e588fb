//! What the messenger signs, tag by tag (spec 04 §10, §16), against the recorded items of the reference.

use holon_mu::crank::compose::{Claims, Emitter, Unsigned, message, notice, spawn};
use holon_mu::crank::outgoing::{self, Message, Spawn};
use holon_mu::crank::task::ProcessRecord;
use holon_mu::json::JsonText;
use holon_protocol::{Address, ItemId, ProcessId, Tag, Tags};
use serde_json::{Value, json};

const EMITTER: ProcessId = ProcessId::from_bytes([1; 32]);
const TARGET: ItemId = ItemId::from_bytes([2; 32]);
const ROOT: ItemId = ItemId::from_bytes([3; 32]);
const SCHEDULER: Address = Address::from_bytes([4; 32]);
const SPAWNED: ProcessId = ProcessId::from_bytes([5; 32]);
const MODULE: &str = "the-module";

fn emitter() -> Emitter {
    Emitter {
        process: EMITTER,
        record: ProcessRecord { module: MODULE.into(), scheduler: SCHEDULER, cron: false },
        claims: Claims::Replaced,
    }
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().copied().collect()
}

fn pairs(tags: &Tags) -> Vec<(String, String)> {
    tags.iter().map(|Tag { name, value }| (name.clone(), value.clone())).collect()
}

/// A recorded case with its placeholders filled in.
fn recorded(case: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/client-traffic.json");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (placeholder, value) in [
        ("<EMITTER MODULE>", MODULE.to_owned()),
        ("<EMITTER>", EMITTER.to_string()),
        ("<ROOT MESSAGE>", ROOT.to_string()),
        ("<TARGET>", TARGET.to_string()),
        ("<SCHEDULER OF EMITTER>", SCHEDULER.to_string()),
        ("<NEW PROCESS>", SPAWNED.to_string()),
        ("<MODULE>", MODULE.to_owned()),
    ] {
        text = text.replace(placeholder, &value);
    }
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let cases = vectors["messengerUnitOutbound"].as_array().unwrap().clone();
    cases.into_iter().find(|found| found["case"] == case).unwrap_or_else(|| panic!("no recorded case {case:?}"))
}

fn recorded_tags(value: &Value) -> Vec<(String, String)> {
    let pair = |pair: &Value| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned());
    value.as_array().unwrap().iter().map(pair).collect()
}

fn without(mut tags: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    tags.retain(|(found, other)| !(found == name && other == value));
    tags
}

#[test]
fn a_message_is_the_recorded_one_without_the_forged_pushed_for() {
    let case = recorded("message from a process result, 2024-2025 builds");
    let emitted: Vec<Value> = recorded_tags(&case["resultTags"])
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let item = &case["toScheduler"]["item"];
    let entry = json!({
        "Target": item["target"], "Anchor": item["anchor"], "Data": item["data"], "Tags": emitted,
    });
    let Unsigned { target, anchor, tags, data } =
        message(&emitter(), &outgoing::message(JsonText::from(entry).json()).unwrap(), Some(ROOT)).unwrap();
    assert_eq!(pairs(&tags), without(recorded_tags(&item["tags"]), "Pushed-For", "spoofpf"));
    assert_eq!(target, Some(TARGET));
    assert_eq!(anchor.unwrap(), item["anchor"].as_str().unwrap().as_bytes());
    assert_eq!(data, item["data"].as_str().unwrap());
}

#[test]
fn a_cron_message_is_the_recorded_one() {
    let case = recorded("cron message (no Pushed-For)");
    let item = &case["toScheduler"]["item"];
    let entry = json!({
        "Target": TARGET, "Anchor": "9", "Data": "cronmsg", "Tags": [{ "name": "A", "value": "1" }],
    });
    let made = message(&emitter(), &outgoing::message(JsonText::from(entry).json()).unwrap(), None).unwrap();
    assert_eq!(pairs(&made.tags), recorded_tags(&item["tags"]));
    assert_eq!(made.anchor.unwrap(), item["anchor"].as_str().unwrap().as_bytes());
    assert_eq!(made.data, item["data"].as_str().unwrap());
}

/// Tags of the recorded spawn as its process emitted them.
fn recorded_spawn() -> Tags {
    let emitter = EMITTER.to_string();
    tags(&[
        ("Data-Protocol", "ao"),
        ("Variant", "ao.TN.1"),
        ("Type", "Process"),
        ("From-Process", &emitter),
        ("From-Module", MODULE),
        ("Module", MODULE),
        ("Reference", "3"),
        ("Name", "child"),
    ])
}

#[test]
fn a_spawn_is_the_recorded_one_with_one_from_process_that_is_ours() {
    let case = recorded("spawn from a process result, 2024-2025 builds");
    let item = &case["toScheduler"]["item"];
    let made = spawn(&emitter(), &Spawn { tags: recorded_spawn(), data: "spawn data".into() }, Some(ROOT)).unwrap();
    // The emitter's own From-Process, first in the recording, is not believed.
    assert_eq!(pairs(&made.tags), recorded_tags(&item["tags"])[1..].to_vec());
    assert_eq!((made.target, made.anchor, made.data.as_str()), (None, None, "spawn data"));
}

#[test]
fn a_notice_is_the_recorded_one_with_from_process_before_process() {
    let case = recorded("Spawned notice, 2024-2025 builds");
    let item = &case["toScheduler"]["item"];
    let made = notice(&emitter(), SPAWNED, &recorded_spawn()).unwrap();
    let mut expected = recorded_tags(&item["tags"]);
    let from = expected.remove(0);
    let process = expected.iter().position(|(name, _)| name == "Process").unwrap();
    expected.insert(process, from);
    assert_eq!(pairs(&made.tags), expected);
    assert_eq!((made.target, made.anchor, made.data.as_str()), (Some(EMITTER.into()), None, " "));
}

#[test]
fn a_forged_origin_never_reaches_a_spawn() {
    let emitted = tags(&[
        ("From-Process", "forged"),
        ("Pushed-For", "forged"),
        ("Module", "m"),
        ("From-Module", "forged"),
        ("Scheduler", &SCHEDULER.to_string()),
        ("Scheduler", "second"),
        ("Variant", "ao.N.1"),
        ("Type", "Message"),
        ("Data-Protocol", "zone"),
        ("A", "1"),
    ]);
    let made = spawn(&emitter(), &Spawn { tags: emitted, data: " ".into() }, Some(ROOT)).unwrap();
    let (emitter, root, scheduler) = (EMITTER.to_string(), ROOT.to_string(), SCHEDULER.to_string());
    let expected = tags(&[
        ("Module", "m"),
        ("From-Module", MODULE),
        ("Scheduler", &scheduler),
        ("A", "1"),
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Variant", "ao.TN.1"),
        ("From-Process", &emitter),
        ("Pushed-For", &root),
    ]);
    assert_eq!(pairs(&made.tags), pairs(&expected));
}

#[test]
fn a_spawn_without_from_module_and_scheduler_gets_both_and_no_root_means_no_pushed_for() {
    let made = spawn(&emitter(), &Spawn { tags: tags(&[("Module", "m")]), data: " ".into() }, None).unwrap();
    let (emitter, scheduler) = (EMITTER.to_string(), SCHEDULER.to_string());
    let expected = tags(&[
        ("Module", "m"),
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Variant", "ao.TN.1"),
        ("From-Process", &emitter),
        ("From-Module", MODULE),
        ("Scheduler", &scheduler),
    ]);
    assert_eq!(pairs(&made.tags), pairs(&expected));
}

#[test]
fn a_notice_keeps_the_emitters_process_and_action_before_ours() {
    let emitted = tags(&[
        ("Process", "theirs"),
        ("Action", "Theirs"),
        ("From-Process", "forged"),
        ("Pushed-For", "forged"),
        ("Data-Protocol", "zone"),
        ("Reference", "7"),
    ]);
    let made = notice(&emitter(), SPAWNED, &emitted).unwrap();
    let (emitter, spawned) = (EMITTER.to_string(), SPAWNED.to_string());
    let expected = tags(&[
        ("Process", "theirs"),
        ("Action", "Theirs"),
        ("Data-Protocol", "zone"),
        ("Reference", "7"),
        ("Data-Protocol", "ao"),
        ("Variant", "ao.TN.1"),
        ("Type", "Message"),
        ("From-Process", &emitter),
        ("Process", &spawned),
        ("Action", "Spawned"),
    ]);
    assert_eq!(pairs(&made.tags), pairs(&expected));
}

#[test]
fn a_message_over_the_limits_of_an_item_is_refused_before_signing() {
    let big = |tags: Tags| {
        let entry = Message { target: TARGET, anchor: "0".repeat(32), tags, data: " ".into() };
        message(&emitter(), &entry, Some(ROOT))
    };
    assert!(big(tags(&[("A", &"x".repeat(3000))])).is_ok());
    assert!(big(tags(&[("A", &"x".repeat(3073))])).is_err());
    assert!(big(tags(&[(&"x".repeat(1025), "v")])).is_err());
    assert!(big(tags(&[("A", &"x".repeat(3000)), ("B", &"x".repeat(1000))])).is_err());
    assert!(big((0..122).map(|index| (index.to_string(), "v")).collect()).is_ok());
    assert!(big((0..123).map(|index| (index.to_string(), "v")).collect()).is_err());
}

#[test]
fn a_tag_named_type_reaches_the_process_but_does_not_say_what_the_item_is() {
    let given = tags(&[("type", "Process"), ("Module", MODULE), ("X", "y"), ("type", "again")]);
    let names = |tags: &Tags| tags.iter().map(|tag| tag.name.clone()).collect::<Vec<_>>();
    let kept = Message { target: TARGET, anchor: "0".repeat(32), tags: given.clone(), data: " ".into() };
    let item = message(&emitter(), &kept, Some(ROOT)).unwrap();
    let spawned = spawn(&emitter(), &Spawn { tags: given.clone(), data: " ".into() }, None).unwrap();
    let told = notice(&emitter(), SPAWNED, &given).unwrap();
    for (tags, kind) in [(item.tags, "Message"), (spawned.tags, "Process"), (told.tags, "Message")] {
        // Schedulers take the first of either name.
        let first = tags.iter().find(|tag| tag.name == "Type" || tag.name == "type").unwrap();
        assert_eq!((first.name.as_str(), first.value.as_str()), ("Type", kind));
        let names = names(&tags);
        assert_eq!(names[names.len() - 2..], ["type", "type"]);
        let values: Vec<_> = tags.iter().filter(|tag| tag.name == "type").map(|tag| tag.value.as_str()).collect();
        assert_eq!(values, ["Process", "again"]);
    }
}
