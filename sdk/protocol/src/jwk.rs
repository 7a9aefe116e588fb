//! Private keys as JSON Web Keys. The texts are wiped when they are dropped.

use pkcs1::UintRef;
use pkcs1::der::Encode;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::base64url;
use crate::rsa::MODULUS_BYTES;
use crate::signer::SignerError;

/// What `holon_type` says of an Ed25519 key that signs as Solana wallets do.
const SOLANA: &str = "solana";
/// Bytes that the text of the largest key takes at most; one allocation leaves no copies behind.
const TEXT_BYTES: usize = 8192;

/// The members of every supported key type, absent ones being `None`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Jwk {
    pub(crate) kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holon_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dp: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dq: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qi: Option<Secret>,
}

/// A text that is wiped when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self(base64url::encode(bytes)))
    }
}

impl Jwk {
    pub(crate) fn from_json(json: &str) -> Result<Self, SignerError> {
        // The position only: the parser's own message may quote a secret.
        serde_json::from_str(json)
            .map_err(|error| wallet(format!("it is not a JWK (line {}, column {})", error.line(), error.column())))
    }

    pub(crate) fn to_json(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(Vec::with_capacity(TEXT_BYTES));
        // Strings in a struct cannot fail to serialise into memory.
        let written = serde_json::to_writer(&mut *text, self);
        debug_assert!(written.is_ok());
        Zeroizing::new(String::from_utf8(std::mem::take(&mut *text)).unwrap_or_default())
    }

    pub(crate) fn rsa(pkcs1: &[u8]) -> Self {
        let Ok(key) = pkcs1::RsaPrivateKey::try_from(pkcs1) else { return Self::default() };
        let text = |part: UintRef<'_>| Some(base64url::encode(part.as_bytes()));
        Self {
            kty: "RSA".to_owned(),
            n: text(key.modulus),
            e: text(key.public_exponent),
            d: Secret::of(key.private_exponent.as_bytes()),
            p: Secret::of(key.prime1.as_bytes()),
            q: Secret::of(key.prime2.as_bytes()),
            dp: Secret::of(key.exponent1.as_bytes()),
            dq: Secret::of(key.exponent2.as_bytes()),
            qi: Secret::of(key.coefficient.as_bytes()),
            ..Self::default()
        }
    }

    pub(crate) fn ed25519(seed: &[u8; 32], owner: &[u8], solana: bool) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            holon_type: solana.then(|| SOLANA.to_owned()),
            x: Some(base64url::encode(owner)),
            d: Secret::of(seed),
            ..Self::default()
        }
    }

    pub(crate) fn secp256k1(scalar: &[u8; 32], owner: &[u8]) -> Self {
        let (x, y) = owner.get(1..).unwrap_or_default().split_at(owner.len() / 2);
        Self {
            kty: "EC".to_owned(),
            crv: Some("secp256k1".to_owned()),
            x: Some(base64url::encode(x)),
            y: Some(base64url::encode(y)),
            d: Secret::of(scalar),
            ..Self::default()
        }
    }

    /// The RSA key in PKCS#1.
    pub(crate) fn to_pkcs1(&self) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        let parts = [
            ("n", self.n.as_ref()),
            ("e", self.e.as_ref()),
            ("d", secret(&self.d)),
            ("p", secret(&self.p)),
            ("q", secret(&self.q)),
            ("dp", secret(&self.dp)),
            ("dq", secret(&self.dq)),
            ("qi", secret(&self.qi)),
        ];
        let mut bytes: [Zeroizing<Vec<u8>>; 8] = Default::default();
        for ((name, text), bytes) in parts.into_iter().zip(&mut bytes) {
            *bytes = decode(name, text)?;
            if bytes.len() > MODULUS_BYTES {
                return Err(wallet(format!("{name} has {} bytes; at most {MODULUS_BYTES} are possible", bytes.len())));
            }
        }
        let malformed = |error| wallet(format!("the RSA key is malformed: {error}"));
        let [n, e, d, p, q, dp, dq, qi] = &bytes;
        let key = pkcs1::RsaPrivateKey {
            modulus: UintRef::new(n).map_err(malformed)?,
            public_exponent: UintRef::new(e).map_err(malformed)?,
            private_exponent: UintRef::new(d).map_err(malformed)?,
            prime1: UintRef::new(p).map_err(malformed)?,
            prime2: UintRef::new(q).map_err(malformed)?,
            exponent1: UintRef::new(dp).map_err(malformed)?,
            exponent2: UintRef::new(dq).map_err(malformed)?,
            coefficient: UintRef::new(qi).map_err(malformed)?,
            other_prime_infos: None,
        };
        key.to_der().map(Zeroizing::new).map_err(malformed)
    }

    /// The 32 bytes of `d`.
    pub(crate) fn secret_scalar(&self) -> Result<Zeroizing<[u8; 32]>, SignerError> {
        let bytes = decode("d", secret(&self.d))?;
        let scalar = bytes.as_slice().try_into();
        scalar.map(Zeroizing::new).map_err(|_| wallet(format!("d has {} bytes; 32 are needed", bytes.len())))
    }

    pub(crate) fn is_solana(&self) -> Result<bool, SignerError> {
        match self.holon_type.as_deref() {
            None => Ok(false),
            Some(SOLANA) => Ok(true),
            Some(other) => Err(wallet(format!("holon_type {other:?} is unknown; only {SOLANA:?} is known"))),
        }
    }

    /// Public members may be left out, but must not contradict the secret.
    pub(crate) fn check_public(&self, expected: &[(&str, &[u8])]) -> Result<(), SignerError> {
        for &(name, expected) in expected {
            let text = if name == "x" { self.x.as_ref() } else { self.y.as_ref() };
            if text.is_some() && *decode(name, text)? != expected {
                return Err(wallet(format!("{name} does not belong to d")));
            }
        }
        Ok(())
    }
}

fn secret(text: &Option<Secret>) -> Option<&String> {
    text.as_ref().map(|text| &text.0)
}

fn decode(name: &str, text: Option<&String>) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let text = text.ok_or_else(|| wallet(format!("{name} is missing")))?;
    // The decoder's message would say which character of a secret is wrong.
    base64url::decode(text).map(Zeroizing::new).map_err(|_| wallet(format!("{name} is not base64url")))
}

fn wallet(reason: String) -> SignerError {
    SignerError::Wallet(reason)
}
