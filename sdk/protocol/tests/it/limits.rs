//! Memory and compute limits in tags.

use holon_protocol::process::{Process, parse_compute_limit, parse_memory_limit};
use holon_protocol::{ModuleId, Tags};
use proptest::prelude::*;

#[test]
fn memory_limits_are_read_as_deployed_units_read_them() {
    for (text, bytes) in [
        ("1-gb", Some(1 << 30)),
        ("500-mb", Some(524_288_000)),
        ("512-mb", Some(512 << 20)),
        ("1 gb", Some(1 << 30)),
        ("1   GB", Some(1 << 30)),
        ("16Gb", Some(16 << 30)),
        ("1.5-kb", Some(1536)),
        ("0.3kb", Some(307)),
        ("2tb", Some(2 << 40)),
        ("1pb", Some(1 << 50)),
        ("7b", Some(7)),
        ("1024", Some(1024)),
        ("1024 bytes", Some(1024)),
        ("-5", Some(5)),
        ("+5kb", Some(5 << 10)),
        ("0-gb", Some(0)),
        ("1.9", Some(1)),
        ("1.gb", Some(1)),
        (" 1gb", Some(1)),
        ("1gb ", Some(1)),
        ("1-gib", Some(1)),
        ("1--gb", Some(1)),
        ("999999999999999999999999999", Some(u64::MAX)),
        ("999999999999999999999999999pb", Some(u64::MAX)),
        ("", None),
        ("-", None),
        ("gb", None),
        (".5gb", None),
        ("--5", None),
        ("NaN", None),
        ("é", None),
        ("aé", None),
    ] {
        assert_eq!(parse_memory_limit(text), bytes, "{text:?}");
    }
}

#[test]
fn compute_limits_are_leading_integers() {
    for (text, limit) in [
        ("9000000000000", Some(9_000_000_000_000)),
        ("12abc", Some(12)),
        ("0", Some(0)),
        ("-1", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(parse_compute_limit(text), limit, "{text:?}");
    }
}

#[test]
fn a_process_is_read_from_its_tags() {
    let id = ModuleId::from_bytes([3; 32]);
    let tags: Tags = [
        ("Module", id.to_string().as_str()),
        ("Module", "second"),
        ("Scheduler", "not an address"),
        ("Authority", " a , b,,"),
        ("Authority", "c"),
        ("On-Boot", "Data"),
    ]
    .into_iter()
    .collect();
    let process = Process::from_tags(&tags);
    assert_eq!(process.module, Some(id));
    assert_eq!(process.scheduler, None);
    assert_eq!(process.authorities, ["a", "b", "c"]);
    assert_eq!(process.on_boot.as_deref(), Some("Data"));
}

proptest! {
    #[test]
    fn any_text_is_a_limit_or_none(text in ".{0,20}") {
        parse_memory_limit(&text);
        parse_compute_limit(&text);
    }

    #[test]
    fn whole_numbers_of_units_are_exact(number in 0u64..1 << 20, unit in 1u32..4) {
        let name = ["", "kb", "mb", "gb"][unit as usize];
        prop_assert_eq!(parse_memory_limit(&format!("{number}-{name}")), Some(number << (10 * unit)));
        prop_assert_eq!(parse_memory_limit(&number.to_string()), Some(number));
        prop_assert_eq!(parse_compute_limit(&number.to_string()), Some(number));
    }
}
