//! How the owner of an item appears: to gateways and schedulers as a wire address, to processes as an ao address
//! (spec 01 §7).

use sha2::{Digest, Sha256};
use sha3::Keccak256;

use crate::Address;

/// Wire address of an owner field: SHA-256, for every signature type.
pub fn wire(owner: &[u8]) -> Address {
    Address::from_bytes(Sha256::digest(owner).into())
}

/// What a process sees as `Owner`: the EIP-55 address for a 65-byte key, the wire address text otherwise.
pub fn ao(owner: &[u8]) -> String {
    match owner.split_first() {
        Some((_, point)) if point.len() == 64 => eip55(point),
        _ => wire(owner).to_string(),
    }
}

/// The checksummed Ethereum address of an uncompressed point without its leading `04`.
fn eip55(point: &[u8]) -> String {
    let hash = Keccak256::digest(point);
    let hex = crate::signature::hex(&hash[12..]);
    let checksum = Keccak256::digest(&hex);
    let mut address = String::with_capacity(42);
    address.push_str("0x");
    for (index, digit) in hex.into_iter().enumerate() {
        let byte = checksum[index / 2];
        let nibble = if index % 2 == 0 { byte >> 4 } else { byte & 0xf };
        address.push(char::from(if nibble >= 8 { digit.to_ascii_uppercase() } else { digit }));
    }
    address
}

/// `From` and `Forwarded-By` of a message (spec 01 §7): the first `From-Process` value if it is not empty, else the
/// owner; `Forwarded-By` is the owner whenever a `From-Process` tag exists.
pub fn from_and_forwarded_by(owner: &str, tags: &crate::Tags) -> (String, Option<String>) {
    let claimed = tags.get("From-Process");
    let from = claimed.filter(|from| !from.is_empty()).unwrap_or(owner);
    (from.to_owned(), claimed.map(|_| owner.to_owned()))
}
