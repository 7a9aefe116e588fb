//! base64url, ids, Avro tags, deep hash.

use holon_protocol::deep_hash::{Value as Nested, deep_hash};
use holon_protocol::{ItemId, Tag, Tags, base64url};
use proptest::prelude::*;
use serde_json::Value;

use crate::generated;
use crate::vectors::{hex, list, tags, text, to_hex};

#[test]
fn base64url_vectors_hold() {
    for vector in list("base64url", 4) {
        assert_eq!(base64url::encode(hex(text(vector, "hex"))), text(vector, "text"));
        assert_eq!(to_hex(base64url::decode(text(vector, "text")).unwrap()), text(vector, "hex"));
    }
}

#[test]
fn base64url_takes_padding_and_nothing_foreign() {
    assert_eq!(base64url::decode("_w==").unwrap(), [0xff]);
    assert_eq!(base64url::decode("_w").unwrap(), [0xff]);
    for bad in ["_", "AAAAA", "_w\n", " _w", "/w", "+w", "_w=a", "=", "A===", "é"] {
        assert!(base64url::decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn every_spelling_of_an_id_is_one_id() {
    let canonical = base64url::encode([0xff; 32]);
    assert!(canonical.ends_with('8'));
    for last in ['8', '9', '-', '_'] {
        let id: ItemId = format!("{}{last}", &canonical[..42]).parse().unwrap();
        assert_eq!(id.to_string(), canonical);
        assert_eq!(serde_json::to_value(id).unwrap(), Value::from(canonical.clone()));
    }
}

#[test]
fn ids_of_another_length_are_refused() {
    for bad in ["", &"A".repeat(42), &"A".repeat(44), &format!("{}=", "A".repeat(43)), &"A".repeat(1000)] {
        assert!(bad.parse::<ItemId>().is_err(), "{bad:?}");
    }
    assert!("é".repeat(1000).parse::<ItemId>().unwrap_err().text.chars().count() <= 64);
}

#[test]
fn avro_vectors_hold() {
    for vector in list("avro_tags", 6) {
        let tags = tags(&vector["tags"]);
        let encoded = tags.encode();
        assert_eq!(to_hex(&encoded), text(vector, "encoded_hex"));
        assert_eq!(encoded.len() as u64, vector["encoded_length"].as_u64().unwrap());
        assert_eq!(Tags::decode(&encoded, tags.len() as u64).unwrap(), tags);
    }
}

#[test]
fn malformed_tags_are_refused() {
    for (bytes, count, why) in [
        ("", 1, "nothing for a count of 1"),
        ("00", 1, "an empty array for a count of 1"),
        ("0000", 0, "two bytes for a count of 0"),
        ("8000", 0, "a long zero for a count of 0"),
        ("020261026200", 0, "a tag for a count of 0"),
        ("020261026200", 2, "one tag for a count of 2"),
        ("0202610262020261026200", 1, "two blocks for a count of 1"),
        ("0202610262", 1, "no terminator"),
        ("02026102620000", 1, "bytes after the terminator"),
        ("02016100026200", 1, "a negative length"),
        ("0202ff026200", 1, "a name that is not UTF-8"),
        ("020261047800", 1, "a value that runs past the end"),
        ("feffffffffffffffff0102610262", 1, "a huge count"),
        ("ffffffffffffffffff0102610262", 1, "the most negative count"),
        ("02feffffffffffffffff01", 1, "a huge length"),
        ("8080808080808080800202", 1, "a number of more than 64 bits"),
        ("808080808080808080808000", 1, "a number of eleven bytes"),
        ("0102", 1, "a block that ends after its size"),
    ] {
        assert!(Tags::decode(&hex(bytes), count).is_err(), "{why}");
    }
}

#[test]
fn other_legal_avro_forms_are_read() {
    let one = Tags(vec![Tag::new("a", "b")]);
    for (bytes, why) in [
        ("0108026102620000"[..14].to_owned(), "a negative count and a block size"),
        ("8200026102620000"[..14].to_owned(), "a count in two bytes"),
        ("02820061026200".to_owned(), "a length in two bytes"),
        ("02026102628000".to_owned(), "a terminator in two bytes"),
        ("82808080808080808000026102620000"[..30].to_owned(), "a count in ten bytes"),
    ] {
        assert_eq!(Tags::decode(&hex(&bytes), 1).as_ref(), Ok(&one), "{why}");
    }
    assert_eq!(Tags::decode(&hex("00"), 0).unwrap(), Tags::default());
}

#[test]
fn deep_hash_vectors_hold() {
    fn hash(input: &Value) -> [u8; 48] {
        fn leaves(value: &Value) -> Vec<Vec<u8>> {
            match value {
                Value::Array(values) => values.iter().flat_map(leaves).collect(),
                value => vec![hex(text(value, "hex"))],
            }
        }
        fn nest<'a>(value: &Value, leaves: &mut std::slice::Iter<'a, Vec<u8>>) -> Nested<'a> {
            match value {
                Value::Array(values) => Nested::List(values.iter().map(|value| nest(value, leaves)).collect()),
                _ => Nested::Blob(leaves.next().unwrap()),
            }
        }
        let leaves = leaves(input);
        deep_hash(&nest(input, &mut leaves.iter()))
    }
    for vector in list("deep_hash", 5) {
        assert_eq!(to_hex(hash(&vector["input"])), text(vector, "sha384_hex"), "{}", vector["name"]);
    }
}

proptest! {
    #[test]
    fn bytes_survive_base64url(bytes: Vec<u8>) {
        prop_assert_eq!(base64url::decode(base64url::encode(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn ids_survive_text_and_json(bytes: [u8; 32]) {
        let id = ItemId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse::<ItemId>().unwrap(), id);
        prop_assert_eq!(serde_json::from_value::<ItemId>(serde_json::to_value(id).unwrap()).unwrap(), id);
    }

    #[test]
    fn tags_survive_avro_and_json(tags in generated::tags()) {
        prop_assert_eq!(Tags::decode(&tags.encode(), tags.len() as u64).unwrap(), tags.clone());
        prop_assert_eq!(serde_json::from_str::<Tags>(&serde_json::to_string(&tags).unwrap()).unwrap(), tags);
    }

    #[test]
    fn tags_in_any_blocks_are_the_same_tags((tags, bytes) in generated::tags_in_blocks()) {
        prop_assert_eq!(Tags::decode(&bytes, tags.len() as u64).unwrap(), tags);
    }

    #[test]
    fn arbitrary_tag_bytes_are_refused_or_survive(bytes: Vec<u8>, count in 0u64..4) {
        if let Ok(tags) = Tags::decode(&bytes, count) {
            prop_assert_eq!(tags.len() as u64, count);
            prop_assert_eq!(Tags::decode(&tags.encode(), count).unwrap(), tags);
        }
    }
}
