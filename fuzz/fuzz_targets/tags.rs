//! Foreign bytes as tags: refused, or tags that survive their canonical form. The first byte is the declared count.
#![no_main]

use holon_protocol::assignment::Assignment;
use holon_protocol::process::{Process, parse_compute_limit, parse_memory_limit};
use holon_protocol::{Tags, dedupe, kind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&count, bytes)) = input.split_first() else { return };
    let Ok(tags) = Tags::decode(bytes, u64::from(count)) else { return };
    assert_eq!(tags.len(), usize::from(count));
    let encoded = tags.encode();
    assert!(encoded.len() <= bytes.len().max(1), "the canonical form is the shortest");
    assert_eq!(Tags::decode(&encoded, tags.len() as u64).as_ref(), Ok(&tags));

    let json = serde_json::to_string(&tags).expect("tags are JSON");
    assert_eq!(serde_json::from_str::<Tags>(&json).expect("and read back"), tags);

    if let Ok(assignment) = Assignment::from_tags(&tags) {
        assert_eq!(Assignment::from_tags(&assignment.to_tags()).as_ref(), Ok(&assignment));
    }
    let mut reversed = tags.clone();
    reversed.0.reverse();
    assert_eq!(dedupe::scheduler(b"", b"", &tags, b""), dedupe::scheduler(b"", b"", &reversed, b""));
    let _ = (Process::from_tags(&tags), kind::of(&tags));
    for tag in &tags {
        let _ = (parse_memory_limit(&tag.value), parse_compute_limit(&tag.value));
    }
});
