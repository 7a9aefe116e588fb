//! Hash chain, dedupe hashes, addresses, assignments.

use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::kind::{self, Kind};
use holon_protocol::{AssignmentId, DataItem, ProcessId, Tag, Tags, address, dedupe, deep_hash};
use proptest::prelude::*;

use crate::generated;
use crate::vectors::{VECTORS, ed25519, ethereum, hex, rsa, tags, text, to_hex};

#[test]
fn the_hash_chain_vectors_hold() {
    let vector = &VECTORS["ao_hashes"]["hash_chain"];
    let process: ProcessId = text(vector, "process_id").parse().unwrap();
    let steps = vector["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    let mut chain = HashChain::first(process);
    for step in steps {
        assert_eq!(chain.to_string(), text(step, "hash_chain"));
        assert_eq!(text(step, "hash_chain").parse::<HashChain>().unwrap(), chain);
        if let Some(id) = step["assignment_id"].as_str() {
            chain = chain.next(id.parse::<AssignmentId>().unwrap());
        }
    }
}

#[test]
fn the_dedupe_vectors_hold() {
    let vector = &VECTORS["ao_hashes"]["dedupe_deep_hash"];
    let target: ProcessId = text(vector, "target").parse().unwrap();
    let (anchor, data) = (text(vector, "anchor_utf8").as_bytes(), text(vector, "data_utf8").as_bytes());
    let all = tags(&vector["tags"]);
    assert_eq!(all.len(), 5);
    assert_eq!(dedupe::scheduler(target.as_bytes(), anchor, &all, data), text(vector, "ordered"));
    assert_eq!(dedupe::scheduler_unordered(target.as_bytes(), anchor, &all, data), text(vector, "unordered"));

    // The evaluator's hash of tags that are already in order and without `Pushed-For` differs in its alphabet only.
    let sorted = tags(&vector["tags_after_filter_and_sort"]);
    let evaluated = dedupe::evaluator(target.as_bytes(), anchor, &sorted, data);
    assert_eq!(evaluated.replace('+', "-").replace('/', "_"), text(vector, "ordered"));
    assert_eq!(evaluated.len(), 64);
    assert_ne!(dedupe::evaluator(target.as_bytes(), anchor, &all, data), evaluated);
}

#[test]
fn tags_that_become_empty_hash_unlike_tags_that_were() {
    let pushed: Tags = [("Pushed-For", "x")].into_iter().collect();
    let empty = Tags::default();
    let expected = |tags: &[u8]| {
        holon_protocol::base64url::encode(deep_hash::deep_hash_blobs(&[
            b"dataitem",
            b"1",
            b"1",
            b"",
            b"",
            b"",
            tags,
            b"data",
        ]))
    };
    for hash in [dedupe::scheduler, dedupe::scheduler_unordered] {
        assert_eq!(hash(b"", b"", &empty, b"data"), expected(b""));
        assert_eq!(hash(b"", b"", &pushed, b"data"), expected(&[0]));
    }
}

#[test]
fn the_keys_have_their_addresses() {
    let keys = &VECTORS["keys"];
    assert_eq!(keys.as_object().unwrap().len(), 3);

    let (rsa, vector) = (rsa(), &keys["arweave_rsa4096"]);
    assert_eq!(holon_protocol::base64url::encode(rsa.owner()), text(vector, "owner"));
    assert_eq!(rsa.address().to_string(), text(vector, "address"));
    assert_eq!(address::ao(rsa.owner()), text(vector, "address"));

    let (ethereum, vector) = (ethereum(), &keys["ethereum"]);
    assert_eq!(to_hex(ethereum.owner()), text(vector, "public_key_uncompressed_hex"));
    assert_eq!(address::ao(ethereum.owner()), text(vector, "address_eip55"));
    assert_eq!(ethereum.address().to_string(), text(vector, "owner_sha256_address"));

    let (ed25519, vector) = (ed25519(true), &keys["ed25519_and_solana"]);
    assert_eq!(ed25519.owner(), hex(text(vector, "public_key_hex")));
    assert_eq!(ed25519.address().to_string(), text(vector, "owner_sha256_address"));
    assert_eq!(address::ao(ed25519.owner()), text(vector, "owner_sha256_address"));
}

#[test]
fn from_is_the_claimed_process_unless_the_claim_is_empty() {
    let from = |tags: &[(&str, &str)]| address::from_and_forwarded_by("me", &tags.iter().copied().collect());
    assert_eq!(from(&[]), ("me".to_owned(), None));
    assert_eq!(from(&[("from-process", "p")]), ("me".to_owned(), None));
    assert_eq!(from(&[("From-Process", "p"), ("From-Process", "q")]), ("p".to_owned(), Some("me".to_owned())));
    assert_eq!(from(&[("From-Process", "")]), ("me".to_owned(), Some("me".to_owned())));
}

#[test]
fn the_first_type_that_means_something_decides() {
    let kind = |tags: &[(&str, &str)]| kind::of(&tags.iter().copied().collect());
    let ao = ("Data-Protocol", "ao");
    assert_eq!(kind(&[ao, ("Type", "Message")]), Some(Kind::Message));
    assert_eq!(kind(&[("Type", "Other"), ("Type", "Process"), ("Type", "Message"), ao]), Some(Kind::Process));
    assert_eq!(kind(&[("Data-Protocol", "x"), ao, ("Type", "Message"), ("Type", "Process")]), Some(Kind::Message));
    assert_eq!(kind(&[("Type", "Message")]), None);
    assert_eq!(kind(&[ao, ("Type", "Module")]), None);
    assert_eq!(kind(&[ao, ("type", "Message")]), None);
}

#[test]
fn assignments_of_the_vectors_are_read_and_written_back() {
    let edges = VECTORS["su_json"]["list_default"]["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 3);
    let mut previous: Option<(AssignmentId, HashChain)> = None;
    for (nonce, edge) in edges.iter().enumerate() {
        let assignment = &edge["node"]["assignment"];
        let all = tags(&assignment["tags"]);
        let read = Assignment::from_tags(&all).unwrap();
        assert_eq!(read.to_tags(), all);
        assert_eq!(read.nonce.0, nonce as u64);
        assert_eq!(read.message.is_none(), nonce == 0);
        let chain = previous.map_or_else(|| HashChain::first(read.process), |(id, chain)| chain.next(id));
        assert_eq!(read.hash_chain, chain);
        previous = Some((text(assignment, "id").parse().unwrap(), chain));
    }
}

#[test]
fn an_assignment_without_a_tag_names_the_tag() {
    let whole = tags(&VECTORS["su_json"]["list_default"]["edges"][1]["node"]["assignment"]["tags"]);
    assert!(Assignment::from_tags(&whole).unwrap().message.is_some());
    let refused_for = |tags: &Tags| Assignment::from_tags(tags).unwrap_err().tag;
    // The first tag of a name counts.
    let starting_with = |tag: Tag| std::iter::once(tag).chain(whole.0.clone()).collect::<Tags>();
    for name in ["Process", "Epoch", "Nonce", "Hash-Chain", "Block-Height", "Timestamp"] {
        assert_eq!(refused_for(&whole.iter().filter(|tag| tag.name != name).cloned().collect()), name);
        for bad in ["", "+1", "-1", " 1", "1.0", "99999999999999999999"] {
            assert_eq!(refused_for(&starting_with(Tag::new(name, bad))), name, "{bad:?}");
        }
    }
    assert_eq!(refused_for(&starting_with(Tag::new("Message", "no id"))), "Message");
}

proptest! {
    #[test]
    fn assignments_survive_their_tags_and_their_item(assignment in generated::assignment(), anchor: [u8; 32]) {
        prop_assert_eq!(&Assignment::from_tags(&assignment.to_tags()).unwrap(), &assignment);
        let item = assignment.item(anchor).sign(&ed25519(false)).unwrap();
        let item = DataItem::parse_verified(item.raw().clone()).unwrap();
        prop_assert_eq!(Assignment::from_tags(item.tags()).unwrap(), assignment);
        prop_assert_eq!((item.target(), item.anchor(), item.data().len()), (None, Some(anchor), 0));
    }

    #[test]
    fn the_scheduler_hash_ignores_order_and_pushed_for(tags in generated::tags(), value in ".{0,8}", at: prop::sample::Index) {
        let hash = |tags: &Tags| dedupe::scheduler(b"t", b"a", tags, b"d");
        prop_assume!(!tags.is_empty());
        let mut reversed = tags.clone();
        reversed.0.reverse();
        prop_assert_eq!(hash(&tags), hash(&reversed));
        let mut pushed = tags.clone();
        pushed.0.insert(at.index(tags.len() + 1), Tag::new("Pushed-For", value));
        prop_assert_eq!(hash(&tags), hash(&pushed));
        prop_assert_eq!(
            dedupe::scheduler_unordered(b"t", b"a", &tags, b"d"),
            dedupe::scheduler_unordered(b"t", b"a", &pushed, b"d")
        );
        prop_assert_ne!(dedupe::evaluator(b"t", b"a", &tags, b"d"), dedupe::evaluator(b"t", b"a", &pushed, b"d"));
    }
}
