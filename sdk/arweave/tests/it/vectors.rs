//! The vectors of `tests/vectors/arweave.json`, made with arweave-js.

use bytes::Bytes;
use holon_arweave::Transaction;
use holon_arweave::merkle::{self, Tree};
use holon_arweave::transaction::TransactionError;
use holon_protocol::{Signer, Tags, base64url};
use serde_json::Value;

fn vectors(file: &str) -> Value {
    let path = format!("{}/../../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

fn generated(length: usize) -> Bytes {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn data_of(case: &Value) -> Bytes {
    match case["data"]["generated_length"].as_u64() {
        Some(length) => generated(length as usize),
        None => Bytes::copy_from_slice(case["data"]["utf8"].as_str().unwrap().as_bytes()),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    base64url::decode(value.as_str().unwrap()).unwrap()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn trees_have_the_published_roots_leaves_and_paths() {
    let vectors = vectors("arweave.json");
    let cases = vectors["merkle"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let (name, data) = (case["name"].as_str().unwrap(), data_of(case));
        let tree = Tree::of(&data).unwrap();
        assert_eq!(base64url::encode(tree.root()), case["data_root"].as_str().unwrap(), "{name}");
        assert_eq!(data.len().to_string(), case["data_size"].as_str().unwrap(), "{name}");

        let leaves = case["leaves"].as_array().unwrap();
        assert_eq!(tree.leaves().len(), leaves.len(), "{name}");
        for (leaf, expected) in tree.leaves().iter().zip(leaves) {
            assert_eq!(leaf.start, expected["min_byte_range"].as_u64().unwrap(), "{name}");
            assert_eq!(leaf.end, expected["max_byte_range"].as_u64().unwrap(), "{name}");
            assert_eq!(hex(leaf.data_hash), expected["data_hash_hex"].as_str().unwrap(), "{name}");
        }

        let (chunks, expected) = (tree.chunks(&data), case["chunks_to_upload"].as_array().unwrap());
        assert_eq!(chunks.len(), expected.len(), "{name}");
        for (chunk, expected) in chunks.iter().zip(expected) {
            assert_eq!(chunk.start, expected["start"].as_u64().unwrap(), "{name}");
            assert_eq!(chunk.end, expected["end"].as_u64().unwrap(), "{name}");
            assert_eq!((chunk.end - 1).to_string(), expected["offset"].as_str().unwrap(), "{name}");
            assert_eq!(base64url::encode(&chunk.data_path), expected["data_path"].as_str().unwrap(), "{name}");
        }
    }
}

#[test]
fn every_path_proves_its_chunk_and_nothing_else() {
    for case in vectors("arweave.json")["merkle"].as_array().unwrap() {
        let (name, data) = (case["name"].as_str().unwrap(), data_of(case));
        let tree = Tree::of(&data).unwrap();
        let size = data.len() as u64;
        for chunk in tree.chunks(&data) {
            for offset in [chunk.start, (chunk.start + chunk.end) / 2, chunk.end - 1] {
                let leaf =
                    merkle::verify_chunk(&tree.root(), offset, size, &chunk.data_path, &chunk.bytes).expect(name);
                assert_eq!((leaf.start, leaf.end), (chunk.start, chunk.end), "{name}");
            }
            let refused = |root: &merkle::Hash, offset: u64, path: &[u8], bytes: &[u8]| {
                merkle::verify_chunk(root, offset, size, path, bytes).expect_err(name)
            };
            refused(&[7; 32], chunk.start, &chunk.data_path, &chunk.bytes);
            refused(&tree.root(), chunk.start, &chunk.data_path, &chunk.bytes[1..]);
            refused(&tree.root(), chunk.start, &chunk.data_path[1..], &chunk.bytes);
            refused(&tree.root(), chunk.start, &[], &chunk.bytes);
            for at in (0..chunk.data_path.len()).step_by(17) {
                let mut path = chunk.data_path.clone();
                path[at] ^= 1;
                refused(&tree.root(), chunk.start, &path, &chunk.bytes);
            }
            let mut bytes = chunk.bytes.to_vec();
            bytes[0] ^= 1;
            refused(&tree.root(), chunk.start, &chunk.data_path, &bytes);
        }
    }
}

#[test]
fn empty_data_has_no_tree() {
    assert_eq!(merkle::data_root(&[]), None);
}

#[test]
fn published_transactions_verify_and_keep_their_json_form() {
    let vectors = vectors("arweave.json");
    let cases = vectors["transactions"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let (name, json) = (case["name"].as_str().unwrap(), &case["post_tx_json"]);
        let transaction = Transaction::from_json(json.to_string().as_bytes()).expect(name);
        transaction.verify().expect(name);
        assert_eq!(
            hex(transaction.signing_message()),
            case["signing_payload_deep_hash_hex"].as_str().unwrap(),
            "{name}"
        );
        if let Some(address) = case["owner_address"].as_str() {
            assert_eq!(transaction.owner_address().to_string(), address, "{name}");
        }
        let again = transaction.to_json(true);
        for (field, value) in json.as_object().unwrap() {
            assert_eq!(&again[field], value, "{name}: {field}");
        }
    }
}

#[test]
fn published_chunk_posts_prove_their_bytes() {
    for case in vectors("arweave.json")["transactions"].as_array().unwrap() {
        let Some(length) = case["generated_data_length"].as_u64() else { continue };
        let data = generated(length as usize);
        for post in case["chunk_posts"].as_array().unwrap() {
            let root: merkle::Hash = bytes(&post["data_root"]).try_into().unwrap();
            let offset: u64 = post["offset"].as_str().unwrap().parse().unwrap();
            let (end, size) = (offset as usize + 1, post["chunk_length"].as_u64().unwrap() as usize);
            let leaf = merkle::verify_chunk(&root, offset, length, &bytes(&post["data_path"]), &data[end - size..end])
                .unwrap();
            assert_eq!(hex(leaf.data_hash), post["chunk_sha256_hex"].as_str().unwrap());
        }
    }
}

#[test]
fn published_negatives_are_refused_for_their_reason() {
    let vectors = vectors("arweave.json");
    let cases = vectors["negative_transactions"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let transaction = Transaction::from_json(case["post_tx_json"].to_string().as_bytes()).expect(name);
        let error = transaction.verify().expect_err(name);
        let expected = match name {
            "reward_changed" => matches!(error, TransactionError::Signature),
            "id_mismatch" => matches!(error, TransactionError::Id),
            "data_does_not_match_data_root" => matches!(error, TransactionError::DataRoot),
            other => panic!("unknown case {other}"),
        };
        assert!(expected, "{name}: {error}");
    }
}

#[test]
fn texts_that_are_no_transactions_say_why() {
    let vectors = vectors("arweave.json");
    let good = &vectors["transactions"][0]["post_tx_json"];
    let with = |field: &str, value: Value| {
        let mut json = good.clone();
        json[field] = value;
        json.to_string()
    };
    let cases = [
        ("".to_owned(), "not a transaction"),
        ("[]".to_owned(), "not a transaction"),
        ("{}".to_owned(), "not a transaction"),
        (with("format", 3.into()), "format 3"),
        (with("denomination", "1".into()), "denomination"),
        (with("id", "short".into()), "id"),
        (with("owner", "!".into()), "owner"),
        (with("owner", "AQAB".into()), "owner"),
        (with("quantity", "-1".into()), "not a transaction"),
        (with("quantity", "1".into()), "quantity"),
        (with("reward", "1e3".into()), "not a transaction"),
        (with("target", "AQAB".into()), "target"),
        (with("data_size", "99999999999999999999999999".into()), "data_size"),
        (with("data_size", "0".into()), "data_size"),
        (with("data_root", "".into()), "data_size"),
        (with("last_tx", base64url::encode([1; 49]).into()), "last_tx"),
        (with("tags", serde_json::json!([{ "name": base64url::encode([b'n'; 2049]), "value": "" }])), "tags"),
    ];
    for (json, reason) in cases {
        let error = Transaction::from_json(json.as_bytes()).and_then(|transaction| transaction.verify()).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
}

#[test]
fn our_transactions_verify_and_break_when_changed() {
    let key = vectors("data-items.json")["keys"]["arweave_rsa4096"]["jwk"].to_string();
    let signer = Signer::from_jwk(&key).unwrap();
    let tags: Tags = [("Content-Type", "text/plain"), ("Ünïcode", "✓")].into_iter().collect();
    let signed = Transaction::data("some data", &tags, &[7; 48], 5).sign(&signer).unwrap();
    signed.verify().unwrap();
    assert_eq!(signed.text_tags(), tags);
    let read = Transaction::from_json(signed.to_json(true).to_string().as_bytes()).unwrap();
    assert_eq!(read, signed);
    let mut changed = signed.clone();
    changed.tags[0].value = b"text/html".to_vec();
    assert!(matches!(changed.verify(), Err(TransactionError::Signature)));

    // Format 1: fields instead of a deep hash.
    let mut legacy = Transaction { format: 1, ..signed };
    legacy.signature = signer.sign_rsa_pss(&legacy.signing_message()).unwrap();
    legacy.id = holon_protocol::ItemId::from_bytes(sha256(&legacy.signature));
    legacy.verify().unwrap();
    // Size and root are not signed: what they are said to be does not matter.
    let mut said = legacy.to_json(true);
    said["data_size"] = "7".into();
    said["data_root"] = "".into();
    assert_eq!(Transaction::from_json(said.to_string().as_bytes()).unwrap(), legacy);
    assert!(matches!(Transaction { data_size: 7, ..legacy.clone() }.verify(), Err(TransactionError::DataRoot)));
    said["data"] = base64url::encode("other data").into();
    let other = Transaction::from_json(said.to_string().as_bytes()).unwrap();
    assert!(matches!(other.verify(), Err(TransactionError::Signature)));
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
