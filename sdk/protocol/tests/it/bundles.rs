//! Bundles: vectors and round trips.

use holon_protocol::bundle::{BundleError, is_bundle};
use holon_protocol::{Bundle, DataItem, Tags};
use proptest::prelude::*;

use crate::generated;
use crate::vectors::{bytes, list, text};

#[test]
fn bundle_vectors_get_their_verdict() {
    let (mut accepted, mut rejected) = (0, 0);
    for vector in list("bundles", 7) {
        let name = text(vector, "name");
        let raw = bytes(vector, "raw");
        let opened = Bundle::parse(raw.clone()).and_then(|bundle| bundle.items().map(|items| (bundle, items)));
        if text(vector, "expected") != "accept" {
            let error = opened.expect_err(name);
            assert_eq!(matches!(error, BundleError::Id { index: 0 }), name == "header_id_mismatch", "{name}: {error}");
            rejected += 1;
            continue;
        }
        let (bundle, items) = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = vector["items"].as_array().unwrap();
        assert_eq!(items.len() as u64, vector["count"].as_u64().unwrap(), "{name}");
        assert_eq!(items.len(), expected.len(), "{name}");
        for ((item, entry), expected) in items.iter().zip(bundle.entries()).zip(expected) {
            assert_eq!(item.id().to_string(), text(expected, "id"), "{name}");
            assert_eq!(entry.id, item.id(), "{name}");
            assert_eq!(entry.length as u64, expected["size"].as_u64().unwrap(), "{name}");
            assert_eq!(entry.offset as u64, expected["offset"].as_u64().unwrap(), "{name}");
        }
        assert_eq!(Bundle::encode(&items), raw, "{name}");
        accepted += 1;
    }
    assert_eq!((accepted, rejected), (3, 4));
}

#[test]
fn a_nested_bundle_is_opened_like_any_other() {
    let vector = list("items", 15).iter().find(|vector| vector["name"] == "nested_bundle_data_item").unwrap();
    let item = DataItem::parse_verified(bytes(vector, "raw")).unwrap();
    assert!(is_bundle(item.tags()));
    assert_eq!(Bundle::parse(item.data()).unwrap().items().unwrap().len(), 2);
}

#[test]
fn both_bundle_tags_are_needed() {
    let tags = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Tags>();
    assert!(is_bundle(&tags(&[("Bundle-Version", "2.0.0"), ("x", ""), ("Bundle-Format", "binary")])));
    assert!(!is_bundle(&tags(&[("Bundle-Format", "binary")])));
    assert!(!is_bundle(&tags(&[("Bundle-Format", "binary"), ("Bundle-Version", "1.0.0")])));
    assert!(!is_bundle(&tags(&[("Bundle-Format", "Binary"), ("Bundle-Version", "2.0.0")])));
}

#[test]
fn hostile_headers_are_refused() {
    let malformed = |raw: Vec<u8>| matches!(Bundle::parse(raw), Err(BundleError::Malformed(_)));
    assert!(malformed(vec![]));
    assert!(malformed(vec![0; 31]));
    assert!(malformed(vec![0; 33]));
    assert!(malformed(vec![0xff; 32]));
    let mut upper_byte = vec![0; 32];
    upper_byte[8] = 1;
    assert!(malformed(upper_byte));
    let mut overflowing = vec![0; 32 + 2 * 64];
    overflowing[0] = 2;
    overflowing[32..40].fill(0xff);
    overflowing[96..104].fill(0xff);
    assert!(malformed(overflowing));
}

#[test]
fn an_item_that_is_not_there_is_an_error() {
    let bundle = Bundle::parse(Bundle::encode(&[])).unwrap();
    assert!(matches!(bundle.item(0), Err(BundleError::Malformed(_))));
}

#[test]
fn a_forged_item_is_found_when_it_is_opened() {
    let item = DataItem::builder().data("true").sign(&crate::vectors::ed25519(false)).unwrap();
    let mut raw = Bundle::encode(&[item.clone(), item]).to_vec();
    *raw.last_mut().unwrap() ^= 1;
    let bundle = Bundle::parse(raw).unwrap();
    assert!(bundle.item(0).is_ok());
    assert!(matches!(bundle.item(1), Err(BundleError::Item { index: 1, .. })));
    assert!(bundle.items().is_err());
    assert!(bundle.item_unverified(1).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn items_survive_a_bundle(items in prop::collection::vec(generated::item(), 0..5)) {
        let raw = Bundle::encode(&items);
        let bundle = Bundle::parse(raw.clone()).unwrap();
        let opened = bundle.items().unwrap();
        prop_assert_eq!(opened.len(), items.len());
        for (opened, item) in opened.iter().zip(&items) {
            prop_assert_eq!(opened.raw(), item.raw());
        }
        prop_assert_eq!(Bundle::encode(&opened), raw);
    }

    #[test]
    fn arbitrary_layouts_are_refused_or_cover_every_byte(
        lengths in prop::collection::vec(0u64..40, 0..4),
        data in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut raw = (lengths.len() as u64).to_le_bytes().to_vec();
        raw.resize(32, 0);
        for length in &lengths {
            raw.extend_from_slice(&length.to_le_bytes());
            raw.resize(raw.len() + 56, 0);
        }
        raw.extend_from_slice(&data);
        let total: u64 = lengths.iter().sum();
        prop_assert_eq!(Bundle::parse(raw).is_ok(), total == data.len() as u64);
    }
}
