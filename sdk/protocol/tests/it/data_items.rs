//! Data items: vectors, limits, round trips.

use holon_protocol::item::{ItemError, MAX_TAGS, Parts};
use holon_protocol::signature::SignatureType;
use holon_protocol::{DataItem, ItemId, Tags, base64url};
use proptest::prelude::*;

use crate::generated;
use crate::vectors::{bytes, ed25519, list, tags, text, to_hex};

/// Signature types of the vectors that this implementation refuses.
const UNSUPPORTED: [u64; 2] = [5, 7];

#[test]
fn every_valid_vector_is_read_and_verified() {
    let mut accepted = 0;
    for vector in list("items", 15) {
        let name = text(vector, "name");
        let raw = bytes(vector, "raw");
        assert_eq!(raw.len() as u64, vector["byte_length"].as_u64().unwrap(), "{name}");
        let kind = vector["signature_type"].as_u64().unwrap();
        if UNSUPPORTED.contains(&kind) {
            assert_eq!(DataItem::parse(raw).unwrap_err(), ItemError::SignatureType(kind as u16), "{name}");
            continue;
        }
        let item = DataItem::parse_verified(raw.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(item.signature_type() as u16, kind as u16, "{name}");
        assert_eq!(item.id().to_string(), text(vector, "id"), "{name}");
        assert_eq!(base64url::encode(item.signature()), text(vector, "signature"), "{name}");
        assert_eq!(base64url::encode(item.owner()), text(vector, "owner"), "{name}");
        assert_eq!(item.owner_address().to_string(), text(vector, "owner_sha256_address"), "{name}");
        assert_eq!(item.ao_address(), text(vector, "ao_address"), "{name}");
        let spelled = |field: Option<[u8; 32]>| field.map(base64url::encode).unwrap_or_default();
        assert_eq!(spelled(item.target()), text(vector, "target"), "{name}");
        assert_eq!(spelled(item.anchor()), text(vector, "anchor_b64url"), "{name}");
        assert_eq!(item.anchor().is_some(), vector["anchor_utf8"].is_string(), "{name}");
        assert_eq!(*item.tags(), tags(&vector["tags"]), "{name}");
        assert_eq!(to_hex(item.tag_bytes()), text(vector, "raw_tags_hex"), "{name}");
        assert_eq!(base64url::encode(item.data()), text(vector, "data"), "{name}");
        assert_eq!(String::from_utf8_lossy(&item.data()), text(vector, "data_utf8"), "{name}");
        assert_eq!(to_hex(item.signing_payload()), text(vector, "signing_payload_deep_hash_hex"), "{name}");
        assert_eq!(item.raw(), &raw, "{name}");
        accepted += 1;
    }
    assert_eq!(accepted, 13);
}

#[test]
fn borderline_vectors_get_the_verdict_of_the_specification() {
    let (mut accepted, mut rejected) = (0, 0);
    for vector in list("edge_items", 12) {
        let raw = bytes(vector, "raw");
        assert_eq!(raw.len() as u64, vector["byte_length"].as_u64().unwrap());
        let outcome = DataItem::parse_verified(raw);
        match text(vector, "expected") {
            "accept" => {
                assert!(outcome.is_ok(), "{}: {:?}", vector["name"], outcome);
                accepted += 1;
            }
            _ => {
                assert!(outcome.is_err(), "{}", vector["name"]);
                rejected += 1;
            }
        }
    }
    assert_eq!((accepted, rejected), (7, 5));
}

#[test]
fn every_invalid_vector_is_refused_for_its_own_reason() {
    for vector in list("negative_items", 24) {
        let name = text(vector, "name");
        assert_eq!(text(vector, "expected"), "reject");
        let error = DataItem::parse_verified(bytes(vector, "raw")).expect_err(name);
        let fits = match name {
            "too_many_tags_129" => error == ItemError::TooManyTags(129),
            "tag_name_1025_bytes" => matches!(error, ItemError::TagLength { part: "name", length: 1025, limit: 1024 }),
            "tag_value_3073_bytes" => {
                matches!(error, ItemError::TagLength { part: "value", length: 3073, limit: 3072 })
            }
            "tag_bytes_over_4096" => matches!(error, ItemError::TagBytes(4097..)),
            "truncated_signature" => error == ItemError::Truncated { field: "signature" },
            "truncated_owner" => error == ItemError::Truncated { field: "owner" },
            "truncated_tags" => error == ItemError::Truncated { field: "tags" },
            "empty" => error == ItemError::Truncated { field: "signature type" },
            "target_presence_byte_2" => error == ItemError::Presence { field: "target", value: 2 },
            "anchor_presence_byte_2" => error == ItemError::Presence { field: "anchor", value: 2 },
            "unknown_signature_type" => error == ItemError::SignatureType(99),
            name if name.starts_with("tag_count") || name.starts_with("avro") => matches!(error, ItemError::Tags(_)),
            _ => matches!(error, ItemError::Signature(_)),
        };
        assert!(fits, "{name}: {error:?}");
    }
}

#[test]
fn lengths_that_only_an_attacker_declares_are_refused_before_anything_is_read() {
    let item = DataItem::builder().tag("a", "b").sign(&ed25519(false)).unwrap();
    let mut raw = item.raw().to_vec();
    let counts = 2 + 64 + 32 + 2;
    raw[counts..counts + 8].fill(0xff);
    assert_eq!(DataItem::parse(raw.clone()).unwrap_err(), ItemError::TooManyTags(u64::MAX));
    raw[counts..counts + 16].fill(0xff);
    raw[counts..counts + 8].copy_from_slice(&1u64.to_le_bytes());
    assert_eq!(DataItem::parse(raw).unwrap_err(), ItemError::TagBytes(u64::MAX));
}

#[test]
fn the_limits_hold_for_what_we_make() {
    let signer = ed25519(false);
    let many = |count: usize| DataItem::builder().tags(vec![holon_protocol::Tag::new("a", ""); count]).sign(&signer);
    assert!(many(MAX_TAGS).is_ok());
    assert!(many(MAX_TAGS + 1).is_err());
    let long = |name: usize, value: usize| {
        DataItem::builder().tag("n".repeat(name), "v".repeat(value)).sign(&signer).map(|item| item.raw().clone())
    };
    assert!(DataItem::parse_verified(long(1012, 3072).unwrap()).is_ok());
    assert!(long(1024, 3072).is_err());
    assert!(long(1025, 0).is_err());
    assert!(long(0, 3073).is_err());
}

#[test]
fn parsing_and_slicing_share_the_buffer() {
    let item = DataItem::builder().data("some data").sign(&ed25519(true)).unwrap();
    let parsed = DataItem::parse(item.raw().clone()).unwrap();
    assert_eq!(parsed.raw().as_ptr(), item.raw().as_ptr());
    let end = parsed.raw().as_ptr_range().end;
    assert_eq!(parsed.data().as_ptr_range().end, end);
}

#[test]
fn errors_say_what_would_be_right() {
    assert_eq!(
        DataItem::parse(vec![99, 0]).unwrap_err().to_string(),
        "signature type 99 is not supported; 1 (arweave), 2 (ed25519), 3 (ethereum) and 4 (solana) are"
    );
    assert_eq!(DataItem::parse(vec![1, 0, 7]).unwrap_err().to_string(), "data item ends inside signature");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_signed_item_is_read_back_as_it_was_built(fields in generated::fields(), signer in generated::signer()) {
        let built = fields.builder().sign(&signer).unwrap();
        let item = DataItem::parse_verified(built.raw().clone()).unwrap();
        prop_assert_eq!(item.signature_type(), signer.signature_type());
        prop_assert_eq!(item.owner(), signer.owner());
        prop_assert_eq!(item.owner_address(), signer.address());
        prop_assert_eq!(item.target(), fields.target);
        prop_assert_eq!(item.anchor(), fields.anchor);
        prop_assert_eq!(item.tags(), &fields.tags);
        prop_assert_eq!(item.data(), fields.data);
        prop_assert_eq!(item.id(), built.id());
        prop_assert_eq!(item.raw(), built.raw());
        prop_assert_eq!(item.tag_bytes(), item.tags().encode());
        prop_assert_eq!(item.signing_payload(), built.signing_payload());
    }

    #[test]
    fn no_flipped_bit_survives(item in generated::item(), at: prop::sample::Index, bit in 0u32..8) {
        let mut raw = item.raw().to_vec();
        let at = at.index(raw.len());
        raw[at] ^= 1 << bit;
        prop_assert!(DataItem::parse_verified(raw).is_err());
    }

    #[test]
    fn no_cut_or_extended_item_survives(item in generated::item(), at: prop::sample::Index, more in 1usize..40) {
        let raw = item.raw();
        prop_assert!(DataItem::parse_verified(raw.slice(..at.index(raw.len()))).is_err());
        let mut longer = raw.to_vec();
        longer.resize(raw.len() + more, 0);
        prop_assert!(DataItem::parse_verified(longer).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_keep_their_bytes(
        kind in 1u16..5,
        presence in prop::sample::select(vec![[0u8, 0], [0, 1], [1, 0], [1, 1]]),
        count in 0u64..3,
        tail in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let kind = SignatureType::from_number(kind).unwrap();
        let mut raw = (kind as u16).to_le_bytes().to_vec();
        raw.resize(2 + kind.signature_len() + kind.owner_len(), 7);
        for present in presence {
            raw.push(present);
            raw.resize(raw.len() + usize::from(present) * 32, 9);
        }
        raw.extend_from_slice(&count.to_le_bytes());
        raw.extend_from_slice(&((tail.len() / 2) as u64).to_le_bytes());
        raw.extend_from_slice(&tail);
        if let Ok(item) = DataItem::parse(raw.clone()) {
            prop_assert_eq!(item.raw(), &raw);
            prop_assert_eq!(item.tag_bytes(), &tail[..tail.len() / 2]);
            prop_assert_eq!(Tags::decode(item.tag_bytes(), count).unwrap(), item.tags().clone());
        }
    }

    #[test]
    fn ids_differ_between_signers(fields in generated::fields(), a in generated::ed25519(), b in generated::ed25519()) {
        prop_assume!(a.owner() != b.owner());
        let id = |signer| -> ItemId { fields.builder().sign(signer).unwrap().id() };
        prop_assert_ne!(id(&a), id(&b));
    }
}

#[test]
fn an_item_whose_fields_lie_apart_is_put_together_to_the_same_bytes() {
    let mut put_together = 0;
    for vector in list("items", 15) {
        let Ok(item) = DataItem::parse_verified(bytes(vector, "raw")) else { continue };
        let data = item.data();
        let parts = Parts {
            signature: item.signature(),
            owner: item.owner(),
            target: item.target(),
            anchor: item.anchor(),
            tags: item.tags(),
            data: &data,
        };
        match DataItem::assemble(&parts) {
            Ok(same) => {
                assert_eq!(same.raw(), item.raw(), "{}", vector["name"]);
                put_together += 1;
            }
            // Only a signer with another encoding of tags makes an item that its fields cannot give back.
            Err(error) => assert_ne!(item.tags().encode(), item.tag_bytes(), "{}: {error}", vector["name"]),
        }
        // Whatever is changed, the signature says so.
        let other = Tags::from_iter([("Action", "Forged")]);
        let forged = [
            Parts { data: b"forged", ..parts },
            Parts { tags: &other, ..parts },
            Parts { target: Some([7; 32]), ..parts },
            Parts { anchor: Some([7; 32]), ..parts },
        ];
        for forged in forged {
            assert!(matches!(DataItem::assemble(&forged), Err(ItemError::Signature(_))), "{}", vector["name"]);
        }
        let cut = Parts { signature: &parts.signature[1..], ..parts };
        assert!(matches!(DataItem::assemble(&cut), Err(ItemError::Lengths { .. })));
    }
    assert!(put_together >= 10, "{put_together}");
}
