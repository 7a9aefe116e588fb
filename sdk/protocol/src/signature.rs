//! Signature types of data items and how each is verified (spec 01 §4).

use k256::ecdsa::RecoveryId;
use sha3::{Digest, Keccak256};

/// A signature type this implementation knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum SignatureType {
    /// RSA-PSS with a 4096-bit key.
    Arweave = 1,
    /// Ed25519 over the payload.
    Ed25519 = 2,
    /// secp256k1, Ethereum personal message.
    Ethereum = 3,
    /// Ed25519 over the hex text of the payload.
    Solana = 4,
}

impl SignatureType {
    /// The type with this number on the wire.
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::Arweave, Self::Ed25519, Self::Ethereum, Self::Solana].into_iter().find(|kind| *kind as u16 == number)
    }

    /// Length of the signature field in bytes.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Arweave => 512,
            Self::Ed25519 | Self::Solana => 64,
            Self::Ethereum => 65,
        }
    }

    /// Length of the owner field in bytes.
    pub const fn owner_len(self) -> usize {
        match self {
            Self::Arweave => 512,
            Self::Ed25519 | Self::Solana => 32,
            Self::Ethereum => 65,
        }
    }
}

/// The signature does not belong to this owner and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature verification failed")]
pub struct InvalidSignature;

/// Verifies a data item signature of any type over its 48-byte payload.
pub fn verify(kind: SignatureType, owner: &[u8], payload: &[u8; 48], signature: &[u8]) -> Result<(), InvalidSignature> {
    match kind {
        SignatureType::Arweave => crate::rsa::verify_pss(owner, payload, signature),
        SignatureType::Ed25519 => verify_ed25519(owner, payload, signature),
        SignatureType::Ethereum => verify_ethereum(owner, payload, signature),
        SignatureType::Solana => verify_ed25519(owner, &hex(payload), signature),
    }
}

/// Verifies RSASSA-PSS with SHA-256 and any salt length, exponent 65537, over `message` (not yet hashed). `modulus` is
/// 512 bytes, big-endian, and its top bit must be set. Also used for L1 transactions.
pub fn verify_rsa_pss(modulus: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    crate::rsa::verify_pss(modulus, message, signature)
}

/// Lower-case hex, as ASCII.
pub(crate) fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]).collect()
}

/// The digest that an Ethereum wallet signs for a payload.
pub(crate) fn ethereum_digest(payload: &[u8; 48]) -> [u8; 32] {
    Keccak256::new().chain_update(b"\x19Ethereum Signed Message:\n48").chain_update(payload).finalize().into()
}

/// Small-order keys and small-order or non-canonical `R` and `S` are refused by the library's strict check; a
/// non-canonical spelling of the key has to be refused here.
fn verify_ed25519(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    let owner: &[u8; 32] = owner.try_into().map_err(|_| InvalidSignature)?;
    let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| InvalidSignature)?;
    if !is_canonical_y(owner) || !is_canonical_y(signature.r_bytes()) {
        return Err(InvalidSignature);
    }
    let key = ed25519_dalek::VerifyingKey::from_bytes(owner).map_err(|_| InvalidSignature)?;
    key.verify_strict(message, &signature).map_err(|_| InvalidSignature)
}

/// Whether the y coordinate of an encoded point is below 2^255 - 19. (The only other non-canonical spellings, a sign
/// bit on x = 0, are of small order.)
fn is_canonical_y(point: &[u8; 32]) -> bool {
    let all_ones = point[31] & 0x7f == 0x7f && point[1..31].iter().all(|&byte| byte == 0xff);
    !(all_ones && point[0] >= 0xed)
}

/// Stricter than wallets' libraries, which ignore `v`: otherwise flipping it would give one message a second valid id.
fn verify_ethereum(owner: &[u8], payload: &[u8; 48], signature: &[u8]) -> Result<(), InvalidSignature> {
    let (&v, rs) = signature.split_last().ok_or(InvalidSignature)?;
    let recovery = match v {
        27 | 28 => RecoveryId::new(v == 28, false),
        _ => return Err(InvalidSignature),
    };
    if owner.len() != 65 || owner[0] != 4 {
        return Err(InvalidSignature);
    }
    let signature = k256::ecdsa::Signature::from_slice(rs).map_err(|_| InvalidSignature)?;
    if signature.normalize_s().is_some() {
        return Err(InvalidSignature);
    }
    let key = k256::ecdsa::VerifyingKey::recover_from_prehash(&ethereum_digest(payload), &signature, recovery)
        .map_err(|_| InvalidSignature)?;
    if key.to_encoded_point(false).as_bytes() == owner { Ok(()) } else { Err(InvalidSignature) }
}
