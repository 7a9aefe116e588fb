//! The scheduler's JSON: vectors and round trips.

use holon_protocol::result::EvaluationResult;
use holon_protocol::wire::{Edge, Entry, Item, Page, PageInfo, Process};
use holon_protocol::{Bundle, DataItem};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::generated;
use crate::vectors::{VECTORS, bytes, ed25519};

/// The items in a stored bundle.
fn stored(name: &str) -> Vec<DataItem> {
    let container = DataItem::parse_verified(bytes(&VECTORS["su_json"]["stored_bundles"], name)).unwrap();
    assert!(holon_protocol::bundle::is_bundle(container.tags()));
    Bundle::parse(container.data()).unwrap().items().unwrap()
}

fn entry(name: &str, show_anchor: bool) -> Entry {
    let items = stored(name);
    Entry::new(&items[0], items.get(1), show_anchor)
}

/// What is served must be the vector to the letter, order of members included, and must be read back.
#[track_caller]
fn is_served_as<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(ours: &T, vector: &Value) {
    assert_eq!(serde_json::to_string(ours).unwrap(), vector.to_string());
    assert_eq!(&serde_json::from_value::<T>(vector.clone()).unwrap(), ours);
}

fn page(names: &[(&str, &str)], has_next_page: bool, show_anchor: bool) -> Page {
    let edge = |&(name, cursor): &(&str, &str)| {
        let node = entry(name, show_anchor);
        Edge { cursor: node.assignment.tags.get(cursor).unwrap().to_owned(), node }
    };
    Page { page_info: PageInfo { has_next_page }, edges: names.iter().map(edge).collect() }
}

#[test]
fn every_shape_of_the_vectors_is_served() {
    let json = &VECTORS["su_json"];
    assert_eq!(json.as_object().unwrap().len(), 8);
    assert_eq!(json["stored_bundles"].as_object().unwrap().len(), 3);

    let process = stored("process");
    is_served_as(&Process::new(&process[0], &process[1]), &json["get_processes_id"]);
    is_served_as(&entry("message", false), &json["get_message_by_message_id"]);
    is_served_as(&entry("assignment_only", false), &json["get_by_assignment_id_of_assigned"]);
    let all = [("process", "Timestamp"), ("message", "Timestamp"), ("assignment_only", "Timestamp")];
    is_served_as(&page(&all, false, false), &json["list_default"]);
    is_served_as(&page(&[("message", "Nonce")], true, false), &json["list_from_nonce_0_limit_1"]);
    is_served_as(&entry("message", true).assignment, &json["assignment_with_show_anchor"]);
}

#[test]
fn text_is_lossy_for_messages_and_absent_for_processes() {
    let item = |data: &[u8]| DataItem::builder().data(data.to_vec()).sign(&ed25519(false)).unwrap();
    let message = |data: &[u8]| Item::new(&item(data), false).data.unwrap();
    assert_eq!(message(b""), "");
    assert_eq!(message(&[b'a', 0xe2, 0x82, b'b']), "a\u{fffd}b", "one for a cut character");
    assert_eq!(message(&[0xff, 0xfe]), "\u{fffd}\u{fffd}", "one for each impossible byte");
    assert_eq!(message(&[0xf0, 0x9f, 0x92]), "\u{fffd}");
    assert_eq!(message(&[0xed, 0xa0, 0x80]), "\u{fffd}\u{fffd}\u{fffd}", "one for each byte of a surrogate");
    assert_eq!(Item::new(&item(&[0xff]), true).data, None);
    assert_eq!(Item::new(&item(b"ok"), true).data.as_deref(), Some("ok"));
    assert_eq!(Item::new(&item(b""), true).target, None);
    assert_eq!(Item::new(&item(b""), false).target.as_deref(), Some(""));
}

#[test]
fn anchors_that_are_not_text_are_shown_on_demand_only() {
    let signed = |anchor| DataItem::builder().anchor(anchor).sign(&ed25519(false)).unwrap();
    let anchor = |item: &DataItem, show| Entry::new(item, None, show).assignment.anchor;
    let binary = signed([0xff; 32]);
    assert_eq!(anchor(&binary, false), None);
    assert_eq!(anchor(&binary, true), Some(holon_protocol::base64url::encode([0xff; 32])));
    let text = signed([b'7'; 32]);
    assert_eq!(anchor(&text, false), Some("7".repeat(32)));
    assert_eq!(anchor(&text, true), Some("7".repeat(32)));
    assert_eq!(anchor(&DataItem::builder().sign(&ed25519(false)).unwrap(), true), None);
}

#[test]
fn an_old_style_process_takes_its_position_from_its_bundle() {
    let process = DataItem::builder().data("code").sign(&ed25519(false)).unwrap();
    let container = DataItem::builder()
        .tag("Bundle-Format", "binary")
        .tag("Bundle-Version", "2.0.0")
        .tag("Block-Height", "000001234567")
        .tag("Timestamp", "42")
        .data(Bundle::encode(std::slice::from_ref(&process)))
        .sign(&ed25519(false))
        .unwrap();
    let record = Process::new(&container, &process);
    assert_eq!((record.block.as_str(), record.timestamp.0, record.data), ("000001234567", 42, None));
}

/// Found by fuzzing: what a process returned must not change in its last place on the way to a client.
#[test]
fn fractions_pass_through_unchanged() {
    let text = r#"{"Messages":[],"Assignments":[],"Spawns":[],"Output":944444866650.444444444444}"#;
    let read: EvaluationResult = serde_json::from_str(text).unwrap();
    assert_eq!(read.output, 944_444_866_650.444_5_f64);
    let written = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<EvaluationResult>(&written).unwrap(), read);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn entries_survive_json(
        assignment in generated::assignment(),
        item in generated::item(),
        with_item: bool,
        show_anchor: bool,
        anchor: [u8; 32],
    ) {
        let assignment = assignment.item(anchor).sign(&ed25519(false)).unwrap();
        let entry = Entry::new(&assignment, with_item.then_some(&item), show_anchor);
        prop_assert_eq!(serde_json::from_str::<Entry>(&serde_json::to_string(&entry).unwrap()).unwrap(), entry);
        let process = Process::new(&assignment, &item);
        prop_assert_eq!(serde_json::from_str::<Process>(&serde_json::to_string(&process).unwrap()).unwrap(), process);
    }
}
