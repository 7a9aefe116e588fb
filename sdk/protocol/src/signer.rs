//! Wallets that sign.

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PSS_SHA256;
use ed25519_dalek::Signer as _;
use pkcs8::PrivateKeyInfo;
use zeroize::Zeroizing;

use crate::Address;
use crate::jwk::Jwk;
use crate::rsa::{EXPONENT, MODULUS_BYTES};
use crate::signature::{SignatureType, ethereum_digest, hex};

/// A private key, cheap to clone. Its `Debug` shows the address only.
#[derive(Clone)]
pub struct Signer(Arc<Wallet>);

struct Wallet {
    key: Key,
    owner: Vec<u8>,
    address: Address,
}

enum Key {
    Rsa {
        pair: KeyPair,
        /// The same key in PKCS#1, because the pair does not give its parts away.
        pkcs1: Zeroizing<Vec<u8>>,
    },
    Ed25519 {
        key: ed25519_dalek::SigningKey,
        solana: bool,
    },
    Secp256k1(k256::ecdsa::SigningKey),
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
        let failed = |what: &dyn std::fmt::Display| SignerError::Crypto(format!("no RSA key was made: {what}"));
        let pair = KeyPair::generate(KeySize::Rsa4096).map_err(|error| failed(&error))?;
        let pkcs8 = pair.as_der().map_err(|error| failed(&error))?;
        let pkcs8 = PrivateKeyInfo::try_from(pkcs8.as_ref()).map_err(|error| failed(&error))?;
        Self::from_rsa(pkcs8.private_key)
    }

    /// A new Ed25519 key (signature type 2).
    pub fn generate_ed25519() -> Result<Self, SignerError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|error| SignerError::Crypto(error.to_string()))?;
        Ok(Self::from_ed25519_seed(&seed, false))
    }

    /// Reads a JWK: `kty: RSA` (type 1), `kty: OKP, crv: Ed25519` (type 2; type 4 when `holon_type` is `solana`) or
    /// `kty: EC, crv: secp256k1` (type 3).
    pub fn from_jwk(json: &str) -> Result<Self, SignerError> {
        let jwk = Jwk::from_json(json)?;
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Self::from_rsa(&jwk.to_pkcs1()?),
            ("OKP", Some("Ed25519")) => {
                let signer = Self::from_ed25519_seed(&*jwk.secret_scalar()?, jwk.is_solana()?);
                jwk.check_public(&[("x", signer.owner())])?;
                Ok(signer)
            }
            ("EC", Some("secp256k1")) => {
                let signer = Self::from_secp256k1(&*jwk.secret_scalar()?)?;
                let owner = signer.owner();
                jwk.check_public(&[("x", &owner[1..33]), ("y", &owner[33..])])?;
                Ok(signer)
            }
            (kty, crv) => Err(SignerError::Wallet(format!(
                "a key of the kind \"{kty}\" (curve \"{}\") is not supported; RSA, OKP with Ed25519 and EC with secp256k1 are",
                crv.unwrap_or_default()
            ))),
        }
    }

    /// The key as JWK text. Secret: never log it.
    pub fn to_jwk(&self) -> Zeroizing<String> {
        match &self.0.key {
            Key::Rsa { pkcs1, .. } => Jwk::rsa(pkcs1),
            Key::Ed25519 { key, solana } => Jwk::ed25519(&Zeroizing::new(key.to_bytes()), self.owner(), *solana),
            Key::Secp256k1(key) => Jwk::secp256k1(&Zeroizing::new(key.to_bytes().into()), self.owner()),
        }
        .to_json()
    }

    /// An Ed25519 key from its 32-byte seed, signing as type 2 or as type 4 (Solana).
    pub fn from_ed25519_seed(seed: &[u8; 32], solana: bool) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let owner = key.verifying_key().to_bytes().to_vec();
        Self::new(Key::Ed25519 { key, solana }, owner)
    }

    /// An Ethereum key from its 32-byte scalar.
    pub fn from_secp256k1(scalar: &[u8; 32]) -> Result<Self, SignerError> {
        let key = k256::ecdsa::SigningKey::from_slice(scalar).map_err(|_| {
            SignerError::Wallet("the secp256k1 scalar is zero or not below the group's order".to_owned())
        })?;
        let owner = key.verifying_key().to_encoded_point(false).as_bytes().to_vec();
        Ok(Self::new(Key::Secp256k1(key), owner))
    }

    /// The signature type of items this key signs.
    pub fn signature_type(&self) -> SignatureType {
        match self.0.key {
            Key::Rsa { .. } => SignatureType::Arweave,
            Key::Ed25519 { solana: false, .. } => SignatureType::Ed25519,
            Key::Ed25519 { solana: true, .. } => SignatureType::Solana,
            Key::Secp256k1(_) => SignatureType::Ethereum,
        }
    }

    /// The owner field: the public key as it stands in items.
    pub fn owner(&self) -> &[u8] {
        &self.0.owner
    }

    /// Wire address.
    pub fn address(&self) -> Address {
        self.0.address
    }

    /// Signs the 48-byte payload of a data item.
    pub fn sign(&self, payload: &[u8; 48]) -> Result<Vec<u8>, SignerError> {
        match &self.0.key {
            Key::Rsa { pair, .. } => sign_pss(pair, payload),
            Key::Ed25519 { key, solana: false } => Ok(key.sign(payload).to_vec()),
            Key::Ed25519 { key, solana: true } => Ok(key.sign(&hex(payload)).to_vec()),
            Key::Secp256k1(key) => {
                // The library normalises `s` to the low half.
                let (signature, recovery) = key
                    .sign_prehash_recoverable(&ethereum_digest(payload))
                    .map_err(|error| SignerError::Crypto(error.to_string()))?;
                let mut bytes = signature.to_vec();
                bytes.push(27 + recovery.to_byte());
                Ok(bytes)
            }
        }
    }

    /// RSASSA-PSS-SHA-256 over `message`; an error for keys that are not RSA. For L1 transactions.
    pub fn sign_rsa_pss(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        match &self.0.key {
            Key::Rsa { pair, .. } => sign_pss(pair, message),
            _ => Err(SignerError::Crypto("an RSA key is needed for this signature".to_owned())),
        }
    }

    fn new(key: Key, owner: Vec<u8>) -> Self {
        let address = crate::address::wire(&owner);
        Self(Arc::new(Wallet { key, owner, address }))
    }

    fn from_rsa(pkcs1: &[u8]) -> Result<Self, SignerError> {
        let key = pkcs1::RsaPrivateKey::try_from(pkcs1)
            .map_err(|error| SignerError::Wallet(format!("the RSA key is malformed: {error}")))?;
        let owner = key.modulus.as_bytes();
        if owner.len() != MODULUS_BYTES || owner[0] & 0x80 == 0 || key.public_exponent.as_bytes() != EXPONENT {
            return Err(SignerError::Wallet("the RSA key must have 4096 bits and the exponent AQAB".to_owned()));
        }
        let pair = KeyPair::from_der(pkcs1)
            .map_err(|error| SignerError::Wallet(format!("the parts of the RSA key do not fit each other: {error}")))?;
        Ok(Self::new(Key::Rsa { pair, pkcs1: Zeroizing::new(pkcs1.to_vec()) }, owner.to_vec()))
    }
}

/// Salt of 32 bytes.
fn sign_pss(pair: &KeyPair, message: &[u8]) -> Result<Vec<u8>, SignerError> {
    let mut signature = vec![0; MODULUS_BYTES];
    pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(|error| SignerError::Crypto(error.to_string()))?;
    Ok(signature)
}
