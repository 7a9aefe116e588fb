//! Foreign text as ids, limits, and the JSON of schedulers and compute units: refused, or read and written stably.
#![no_main]

use std::fmt::Debug;

use holon_protocol::process::{parse_compute_limit, parse_memory_limit};
use holon_protocol::result::EvaluationResult;
use holon_protocol::wire::{Entry, Page, Process};
use holon_protocol::{ItemId, base64url};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn stable<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    let Ok(value) = serde_json::from_str::<T>(text) else { return };
    let written = serde_json::to_string(&value).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<T>(&written).expect("and read again"), value);
}

fuzz_target!(|text: &str| {
    stable::<Entry>(text);
    stable::<Page>(text);
    stable::<Process>(text);
    stable::<EvaluationResult>(text);

    let _ = (parse_memory_limit(text), parse_compute_limit(text));
    if let Ok(id) = text.parse::<ItemId>() {
        assert_eq!(id.to_string().parse::<ItemId>(), Ok(id));
        assert_eq!(id.to_string()[..42], text[..42]);
    }
    if let Ok(bytes) = base64url::decode(text) {
        assert_eq!(base64url::decode(base64url::encode(&bytes)), Ok(bytes));
    }
});
