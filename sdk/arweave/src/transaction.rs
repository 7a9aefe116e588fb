//! Base-layer transactions (spec 03 §5): JSON form, signature, data binding.

use bytes::Bytes;
use holon_protocol::deep_hash::{Value as Hashed, deep_hash};
use holon_protocol::signature::verify_rsa_pss;
use holon_protocol::signer::SignerError;
use holon_protocol::{Address, ItemId, Signer, Tags, base64url};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::merkle::{self, Hash};

/// Most tags.
pub const MAX_TAGS: usize = 2048;
/// Most bytes of all tag names and values together.
pub const MAX_TAG_BYTES: usize = 2048;
/// Most bytes of `last_tx`.
pub const MAX_LAST_TX_BYTES: usize = 48;
/// Bytes of an owner: an RSA-4096 modulus.
pub const OWNER_BYTES: usize = 512;

/// Why a transaction is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Not the JSON of a transaction.
    #[error("not a transaction: {0}")]
    Json(String),
    /// A format other than 1 and 2.
    #[error("transaction format {0} is not supported; 1 and 2 are")]
    Format(u64),
    /// A denomination, which is not supported.
    #[error("transactions with a denomination are not supported")]
    Denomination,
    /// A field breaks a limit or contradicts another one.
    #[error("transaction field {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The id is not the hash of the signature.
    #[error("the id is not the SHA-256 of the signature")]
    Id,
    /// The signature is wrong.
    #[error("the signature does not belong to this transaction")]
    Signature,
    /// The attached data is not what was signed.
    #[error("the data does not match data_root and data_size")]
    DataRoot,
    /// The key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// A tag as raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTag {
    /// Name.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// A transaction. Fields are decoded; nothing is checked before [`Transaction::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// 1 or 2.
    pub format: u8,
    /// SHA-256 of the signature.
    pub id: ItemId,
    /// Anchor: a recent block's id, the sender's last transaction, or empty.
    pub last_tx: Vec<u8>,
    /// RSA modulus.
    pub owner: Vec<u8>,
    /// Tags.
    pub tags: Vec<RawTag>,
    /// Recipient.
    pub target: Option<[u8; 32]>,
    /// Winston sent.
    pub quantity: u128,
    /// Inline data; empty when it travels as chunks.
    pub data: Bytes,
    /// Bytes of data.
    pub data_size: u64,
    /// Root of the data's tree; `None` without data.
    pub data_root: Option<Hash>,
    /// Winston paid.
    pub reward: u128,
    /// Signature.
    pub signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Json {
    #[serde(default = "legacy")]
    format: u64,
    id: String,
    #[serde(default)]
    last_tx: String,
    owner: String,
    #[serde(default)]
    tags: Vec<JsonTag>,
    #[serde(default)]
    target: String,
    #[serde(default, deserialize_with = "decimal")]
    quantity: u128,
    #[serde(default)]
    data: String,
    #[serde(default, deserialize_with = "decimal")]
    data_size: u128,
    #[serde(default)]
    data_root: String,
    #[serde(default, deserialize_with = "decimal")]
    reward: u128,
    signature: String,
    #[serde(default, deserialize_with = "decimal")]
    denomination: u128,
}

#[derive(Deserialize)]
struct JsonTag {
    name: String,
    value: String,
}

fn legacy() -> u64 {
    1
}

/// Decimal digits in a string, or a number.
fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(u64),
        Text(String),
    }
    match Form::deserialize(deserializer)? {
        Form::Number(number) => Ok(number.into()),
        Form::Text(text) if text.is_empty() => Ok(0),
        Form::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(serde::de::Error::custom)
        }
        Form::Text(text) => Err(serde::de::Error::custom(format!("{text:?} is not a decimal number"))),
    }
}

impl Transaction {
    /// Reads the JSON form. Unknown fields and `data_tree` are ignored; in format 1 also `data_size` and `data_root`: they
    /// are not signed and the data is always inline, so they are made from it.
    pub fn from_json(json: &[u8]) -> Result<Self, TransactionError> {
        let mut transaction = Self::header_from_json(json)?;
        if transaction.format == 1 {
            transaction.data_size = transaction.data.len() as u64;
            transaction.data_root = merkle::data_root(&transaction.data);
        }
        Ok(transaction)
    }

    /// Reads the JSON form of a transaction verified before, whose data may have been left out: `data_size` and `data_root`
    /// are what it says in both formats.
    pub fn header_from_json(json: &[u8]) -> Result<Self, TransactionError> {
        let json: Json = serde_json::from_slice(json).map_err(|error| TransactionError::Json(error.to_string()))?;
        if json.denomination > 0 {
            return Err(TransactionError::Denomination);
        }
        let format = match json.format {
            1 => 1,
            2 => 2,
            other => return Err(TransactionError::Format(other)),
        };
        Ok(Self {
            format,
            id: json.id.parse().map_err(|_| field("id", "43 base64url characters are needed"))?,
            last_tx: bytes("last_tx", &json.last_tx)?,
            owner: bytes("owner", &json.owner)?,
            tags: json
                .tags
                .iter()
                .map(|tag| Ok(RawTag { name: bytes("tags", &tag.name)?, value: bytes("tags", &tag.value)? }))
                .collect::<Result<_, TransactionError>>()?,
            target: hash("target", &json.target)?,
            quantity: json.quantity,
            data: bytes("data", &json.data)?.into(),
            data_size: u64::try_from(json.data_size).map_err(|_| field("data_size", "it is too large"))?,
            data_root: hash("data_root", &json.data_root)?,
            reward: json.reward,
            signature: bytes("signature", &json.signature)?,
        })
    }

    /// The JSON form. `with_data` includes inline data; nodes leave it out of answers for format 2.
    pub fn to_json(&self, with_data: bool) -> Value {
        let optional = |hash: &Option<[u8; 32]>| hash.map(base64url::encode).unwrap_or_default();
        let tags: Vec<Value> = self.encoded_tags();
        json!({
            "format": self.format,
            "id": self.id,
            "last_tx": base64url::encode(&self.last_tx),
            "owner": base64url::encode(&self.owner),
            "tags": tags,
            "target": optional(&self.target),
            "quantity": self.quantity.to_string(),
            "data": if with_data { base64url::encode(&self.data) } else { String::new() },
            "data_size": self.data_size.to_string(),
            "data_root": optional(&self.data_root),
            "data_tree": [],
            "reward": self.reward.to_string(),
            "signature": base64url::encode(&self.signature),
        })
    }

    /// The tags in JSON form: base64url names and values.
    pub fn encoded_tags(&self) -> Vec<Value> {
        let encode =
            |tag: &RawTag| json!({ "name": base64url::encode(&tag.name), "value": base64url::encode(&tag.value) });
        self.tags.iter().map(encode).collect()
    }

    /// A transaction that stores `data`, to be signed. `last_tx` is an anchor from `/tx_anchor`.
    pub fn data(data: impl Into<Bytes>, tags: &Tags, last_tx: &[u8], reward: u128) -> Unsigned {
        let data = data.into();
        Unsigned(Self {
            format: 2,
            id: ItemId::from_bytes([0; 32]),
            last_tx: last_tx.to_vec(),
            owner: Vec::new(),
            tags: tags
                .iter()
                .map(|tag| RawTag { name: tag.name.clone().into_bytes(), value: tag.value.clone().into_bytes() })
                .collect(),
            target: None,
            quantity: 0,
            data_size: data.len() as u64,
            data_root: merkle::data_root(&data),
            data,
            reward,
            signature: Vec::new(),
        })
    }

    /// Address of the sender.
    pub fn owner_address(&self) -> Address {
        holon_protocol::address::wire(&self.owner)
    }

    /// Tags as text; bytes that are not UTF-8 are replaced.
    pub fn text_tags(&self) -> Tags {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.tags.iter().map(|tag| (text(&tag.name), text(&tag.value))).collect()
    }

    /// What the signature covers: for format 2 the 48-byte deep hash, for format 1 the fields themselves.
    pub fn signing_message(&self) -> Vec<u8> {
        let (quantity, reward) = (self.quantity.to_string(), self.reward.to_string());
        let target = self.target.as_ref().map_or(&[][..], |target| target);
        if self.format == 1 {
            let mut message =
                [&self.owner[..], target, &self.data, quantity.as_bytes(), reward.as_bytes(), &self.last_tx].concat();
            for tag in &self.tags {
                message.extend_from_slice(&tag.name);
                message.extend_from_slice(&tag.value);
            }
            return message;
        }
        let data_size = self.data_size.to_string();
        let tags =
            self.tags.iter().map(|tag| Hashed::List(vec![Hashed::Blob(&tag.name), Hashed::Blob(&tag.value)])).collect();
        deep_hash(&Hashed::List(vec![
            Hashed::Blob(b"2"),
            Hashed::Blob(&self.owner),
            Hashed::Blob(target),
            Hashed::Blob(quantity.as_bytes()),
            Hashed::Blob(reward.as_bytes()),
            Hashed::Blob(&self.last_tx),
            Hashed::List(tags),
            Hashed::Blob(data_size.as_bytes()),
            Hashed::Blob(self.data_root.as_ref().map_or(&[][..], |root| root)),
        ]))
        .to_vec()
    }

    /// Checks everything that does not need the network: limits, id, inline data against `data_root`, signature.
    pub fn verify(&self) -> Result<(), TransactionError> {
        self.check_limits()?;
        if <[u8; 32]>::from(Sha256::digest(&self.signature)) != *self.id.as_bytes() {
            return Err(TransactionError::Id);
        }
        if self.format == 1 || !self.data.is_empty() {
            let bound = self.data.len() as u64 == self.data_size && merkle::data_root(&self.data) == self.data_root;
            if !bound {
                return Err(TransactionError::DataRoot);
            }
        }
        verify_rsa_pss(&self.owner, &self.signing_message(), &self.signature).map_err(|_| TransactionError::Signature)
    }

    fn check_limits(&self) -> Result<(), TransactionError> {
        let tag_bytes: usize = self.tags.iter().map(|tag| tag.name.len() + tag.value.len()).sum();
        let rules = [
            (self.owner.len() == OWNER_BYTES, "owner", "512 bytes are needed"),
            (self.last_tx.len() <= MAX_LAST_TX_BYTES, "last_tx", "at most 48 bytes are allowed"),
            (self.tags.len() <= MAX_TAGS, "tags", "at most 2048 tags are allowed"),
            (tag_bytes <= MAX_TAG_BYTES, "tags", "at most 2048 bytes are allowed"),
            (self.quantity == 0 || self.target.is_some(), "quantity", "it needs a target"),
            (self.target != Some(*self.owner_address().as_bytes()), "target", "it is the sender"),
            (
                (self.data_size == 0) == self.data_root.is_none(),
                "data_size",
                "it must be 0 exactly when data_root is empty",
            ),
        ];
        match rules.into_iter().find(|(holds, _, _)| !holds) {
            Some((_, name, reason)) => Err(field(name, reason)),
            None => Ok(()),
        }
    }
}

/// A transaction without a signature.
#[derive(Debug, Clone)]
pub struct Unsigned(Transaction);

impl Unsigned {
    /// Sends `quantity` winston to `target` too.
    pub fn transfer(mut self, target: Address, quantity: u128) -> Self {
        self.0.target = Some(*target.as_bytes());
        self.0.quantity = quantity;
        self
    }

    /// Signs with an RSA key.
    pub fn sign(self, signer: &Signer) -> Result<Transaction, TransactionError> {
        let mut transaction = self.0;
        transaction.owner = signer.owner().to_vec();
        transaction.check_limits()?;
        transaction.signature = signer.sign_rsa_pss(&transaction.signing_message())?;
        transaction.id = ItemId::from_bytes(Sha256::digest(&transaction.signature).into());
        Ok(transaction)
    }
}

fn field(field: &'static str, reason: &'static str) -> TransactionError {
    TransactionError::Field { field, reason }
}

fn bytes(name: &'static str, text: &str) -> Result<Vec<u8>, TransactionError> {
    base64url::decode(text).map_err(|_| field(name, "it is not base64url"))
}

fn hash(name: &'static str, text: &str) -> Result<Option<[u8; 32]>, TransactionError> {
    let bytes = bytes(name, text)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| field(name, "32 bytes or none are needed"))
}
