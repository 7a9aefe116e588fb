//! How the owner of an item appears: to gateways and schedulers as a wire address, to processes as an ao address
//! (spec 01 §7).

use crate::Address;

/// Wire address of an owner field: SHA-256, for every signature type.
pub fn wire(owner: &[u8]) -> Address {
    use sha2::Digest;
    Address::from_bytes(sha2::Sha256::digest(owner).into())
}

/// What a process sees as `Owner`: the EIP-55 address for a 65-byte key, the wire address text otherwise.
pub fn ao(owner: &[u8]) -> String {
    let _ = owner;
    todo!()
}

/// `From` and `Forwarded-By` of a message (spec 01 §7): the first `From-Process` value if it is not empty, else the
/// owner; `Forwarded-By` is the owner whenever a `From-Process` tag exists.
pub fn from_and_forwarded_by(owner: &str, tags: &crate::Tags) -> (String, Option<String>) {
    let claimed = tags.get("From-Process");
    let from = claimed.filter(|from| !from.is_empty()).unwrap_or(owner);
    (from.to_owned(), claimed.map(|_| owner.to_owned()))
}
