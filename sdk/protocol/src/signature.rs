//! Signature types of data items and how each is verified (spec 01 §4).

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
    let _ = (kind, owner, payload, signature);
    todo!()
}

/// Verifies RSASSA-PSS with SHA-256 and any salt length, exponent 65537, over `message` (not yet hashed). `modulus` is
/// 512 bytes, big-endian, and its top bit must be set. Also used for L1 transactions.
pub fn verify_rsa_pss(modulus: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    let _ = (modulus, message, signature);
    todo!()
}
