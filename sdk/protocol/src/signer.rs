//! Wallets that sign.

use std::sync::Arc;

use crate::Address;
use crate::signature::SignatureType;

/// A private key, cheap to clone. Its `Debug` shows the address only.
#[derive(Clone)]
pub struct Signer(Arc<Key>);

enum Key {
    // Filled in with each key kind.
}

/// A wallet cannot be read, made or used.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The text is not a JWK this implementation can sign with.
    #[error("not a usable wallet: {0}")]
    Wallet(String),
    /// The key could not be made or did not sign.
    #[error("signing failed: {0}")]
    Crypto(String),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.address())
    }
}

impl Signer {
    /// A new RSA-4096 key (takes about a second).
    pub fn generate_rsa() -> Result<Self, SignerError> {
        todo!()
    }

    /// A new Ed25519 key (signature type 2).
    pub fn generate_ed25519() -> Result<Self, SignerError> {
        todo!()
    }

    /// Reads a JWK: `kty: RSA` (type 1), `kty: OKP, crv: Ed25519` (type 2; type 4 when `holon_type` is `solana`) or
    /// `kty: EC, crv: secp256k1` (type 3).
    pub fn from_jwk(json: &str) -> Result<Self, SignerError> {
        let _ = json;
        todo!()
    }

    /// The key as JWK text. Secret: never log it.
    pub fn to_jwk(&self) -> zeroize::Zeroizing<String> {
        todo!()
    }

    /// An Ed25519 key from its 32-byte seed, signing as type 2 or as type 4 (Solana).
    pub fn from_ed25519_seed(seed: &[u8; 32], solana: bool) -> Self {
        let _ = (seed, solana);
        todo!()
    }

    /// An Ethereum key from its 32-byte scalar.
    pub fn from_secp256k1(scalar: &[u8; 32]) -> Result<Self, SignerError> {
        let _ = scalar;
        todo!()
    }

    /// The signature type of items this key signs.
    pub fn signature_type(&self) -> SignatureType {
        let _ = &self.0;
        todo!()
    }

    /// The owner field: the public key as it stands in items.
    pub fn owner(&self) -> &[u8] {
        todo!()
    }

    /// Wire address.
    pub fn address(&self) -> Address {
        todo!()
    }

    /// Signs the 48-byte payload of a data item.
    pub fn sign(&self, payload: &[u8; 48]) -> Result<Vec<u8>, SignerError> {
        let _ = payload;
        todo!()
    }

    /// RSASSA-PSS-SHA-256 over `message`; an error for keys that are not RSA. For L1 transactions.
    pub fn sign_rsa_pss(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let _ = message;
        todo!()
    }
}
