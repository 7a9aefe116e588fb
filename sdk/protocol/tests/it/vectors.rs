//! The conformance vectors, read from the file itself.

use std::sync::LazyLock;

use holon_protocol::{Signer, Tags, base64url};
use serde_json::Value;

/// `tests/vectors/data-items.json` of the project.
pub static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/data-items.json");
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
});

/// A list of the file that must have exactly `count` entries, so that an emptied list cannot pass.
pub fn list(key: &str, count: usize) -> &'static [Value] {
    let list = VECTORS[key].as_array().unwrap();
    assert_eq!(list.len(), count, "entries of {key}");
    list
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value:.200} is not a text"))
}

/// A base64url member.
pub fn bytes(value: &Value, key: &str) -> Vec<u8> {
    base64url::decode(text(value, key)).unwrap()
}

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub fn to_hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn tags(value: &Value) -> Tags {
    serde_json::from_value(value.clone()).unwrap()
}

pub fn rsa() -> Signer {
    Signer::from_jwk(&VECTORS["keys"]["arweave_rsa4096"]["jwk"].to_string()).unwrap()
}

pub fn ethereum() -> Signer {
    let scalar = hex(text(&VECTORS["keys"]["ethereum"], "private_key_hex"));
    Signer::from_secp256k1(&scalar.try_into().unwrap()).unwrap()
}

pub fn ed25519(solana: bool) -> Signer {
    let seed = hex(text(&VECTORS["keys"]["ed25519_and_solana"], "seed_hex"));
    Signer::from_ed25519_seed(&seed.try_into().unwrap(), solana)
}
