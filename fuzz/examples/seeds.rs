//! Writes the conformance vectors as seeds into `fuzz/corpus/<target>/`.

use std::fs;
use std::path::Path;

use holon_protocol::{DataItem, base64url};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let vectors: Value = serde_json::from_slice(&fs::read(root.join("../tests/vectors/data-items.json"))?)?;
    let list = |key: &str| vectors[key].as_array().cloned().unwrap_or_default();
    let mut count = 0;
    let mut seed = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        count += 1;
        fs::write(folder.join(name), bytes)
    };

    for key in ["items", "edge_items", "negative_items", "bundles"] {
        for vector in list(key) {
            let name = format!("{key}-{}", vector["name"].as_str().unwrap_or_default());
            let raw = base64url::decode(vector["raw"].as_str().unwrap_or_default())?;
            if key == "bundles" {
                seed("bundle", &name, &raw)?;
                continue;
            }
            seed("item", &name, &raw)?;
            if let Ok(item) = DataItem::parse(raw) {
                seed("tags", &name, &[&[item.tags().len() as u8], item.tag_bytes()].concat())?;
            }
        }
    }
    for (index, vector) in list("avro_tags").iter().enumerate() {
        let hex = vector["encoded_hex"].as_str().unwrap_or_default();
        let tags = vector["tags"].as_array().map_or(0, Vec::len) as u8;
        let bytes: Result<Vec<u8>, _> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16)).collect();
        seed("tags", &format!("avro-{index}"), &[&[tags], &bytes?[..]].concat())?;
    }
    for (name, json) in vectors["su_json"].as_object().into_iter().flatten() {
        seed("wire", name, json.to_string().as_bytes())?;
    }
    for (index, text) in ["1-gb", "0.5 mb", "9000000000000"].iter().enumerate() {
        seed("wire", &format!("limit-{index}"), text.as_bytes())?;
    }
    seed("wire", "id", "A".repeat(43).as_bytes())?;
    let result = r#"{"Messages":[],"Assignments":[],"Spawns":[],"Output":"","GasUsed":0}"#;
    seed("wire", "result", result.as_bytes())?;

    let jwk = &vectors["keys"]["arweave_rsa4096"]["jwk"];
    seed("jwk", "rsa", jwk.to_string().as_bytes())?;
    let scalar = base64url::encode([7; 32]);
    seed("jwk", "ed25519", format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{scalar}"}}"#).as_bytes())?;
    let solana = format!(r#"{{"kty":"OKP","crv":"Ed25519","holon_type":"solana","d":"{scalar}"}}"#);
    seed("jwk", "solana", solana.as_bytes())?;
    seed("jwk", "secp256k1", format!(r#"{{"kty":"EC","crv":"secp256k1","d":"{scalar}"}}"#).as_bytes())?;
    println!("{count} seeds");
    Ok(())
}
