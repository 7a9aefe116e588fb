//! The recorded shapes (`su_json` of the vectors), served from a store that holds the recorded items.

use holon_protocol::assignment::Assignment;
use holon_protocol::{Bundle, DataItem, Nonce, ProcessId, Signer, base64url};
use holon_su::Options;
use holon_su::log::{EntryKind, FjallLog, LogStore, Record, Write};
use serde_json::Value;

use crate::network::{Scheduler, Weave};

/// The vectors of the data item specification.
pub fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/data-items.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A throw-away RSA-4096 wallet: making one takes a second.
pub fn rsa_wallet() -> Signer {
    Signer::from_jwk(&vectors()["keys"]["arweave_rsa4096"]["jwk"].to_string()).unwrap()
}

fn recorded(container: &Value, process: &mut Option<ProcessId>) -> Write {
    let container = DataItem::parse_verified(base64url::decode(container.as_str().unwrap()).unwrap()).unwrap();
    let items = Bundle::parse(container.data()).unwrap().items().unwrap();
    let signed = Assignment::from_tags(items[0].tags()).unwrap();
    let process = *process.get_or_insert(signed.process);
    let kind = match (&signed.message, items.len()) {
        (None, _) => EntryKind::Process,
        (Some(_), 2) => EntryKind::Message,
        _ => EntryKind::Assigned,
    };
    Write::Entry {
        process,
        record: Record {
            nonce: signed.nonce,
            kind,
            timestamp: signed.timestamp,
            block_height: signed.block_height,
            assignment: items[0].id().into(),
            message: signed.message.unwrap_or(process.into()),
            hash_chain: signed.hash_chain,
            assignment_bytes: items[0].raw().clone(),
        },
        item: items.get(1).map(|item| item.raw().clone()),
        content: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_entries_are_served_exactly() {
    let vectors = vectors();
    let recordings = &vectors["su_json"];
    let folder = tempfile::tempdir().unwrap();
    let mut process = None;
    let log = ["process", "message", "assignment_only"]
        .map(|name| recorded(&recordings["stored_bundles"][name], &mut process));
    let process = process.unwrap();
    {
        let store = FjallLog::open(folder.path()).unwrap();
        store.append(&log).unwrap();
        store.sync().unwrap();
        assert_eq!(store.head(process).unwrap().unwrap().nonce, Nonce(2));
    }
    let weave = Weave::start().await;
    let su = Scheduler::start(Options::new(folder.path(), rsa_wallet(), weave.url.clone())).await;

    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let message = id(&recordings["get_message_by_message_id"]["message"]["id"]);
    let assigned = id(&recordings["get_by_assignment_id_of_assigned"]["assignment"]["id"]);
    let anchored = su.json(&format!("/{process}?process-id={process}&from-nonce=0&limit=1&show-anchor")).await;
    assert_eq!(anchored["edges"][0]["node"]["assignment"], recordings["assignment_with_show_anchor"]);
    for (path, name) in [
        (format!("/processes/{process}"), "get_processes_id"),
        (format!("/{message}?process-id={process}"), "get_message_by_message_id"),
        (format!("/{assigned}?process-id={process}"), "get_by_assignment_id_of_assigned"),
        (format!("/{process}/latest"), "get_by_assignment_id_of_assigned"),
        (format!("/{process}?process-id={process}"), "list_default"),
        (format!("/{process}?process-id={process}&from-nonce=0&limit=1"), "list_from_nonce_0_limit_1"),
    ] {
        assert_eq!(su.json(&path).await, recordings[name], "{path}");
    }
    su.running.stop().await.unwrap();
}
