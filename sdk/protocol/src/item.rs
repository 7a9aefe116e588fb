//! ANS-104 data items: parsing without copying, verification, building (spec 01 §3, §6, §8).

use bytes::Bytes;

use crate::signature::{InvalidSignature, SignatureType};
use crate::signer::{Signer, SignerError};
use crate::tags::{DecodeTagsError, Tag, Tags};
use crate::{Address, ItemId};

/// Most tags an item may have.
pub const MAX_TAGS: usize = 128;
/// Most bytes the encoded tags may take.
pub const MAX_TAG_BYTES: usize = 4096;
/// Most bytes of a tag name.
pub const MAX_TAG_NAME_BYTES: usize = 1024;
/// Most bytes of a tag value.
pub const MAX_TAG_VALUE_BYTES: usize = 3072;

/// Why bytes are not an acceptable data item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// The signature type is unknown or not supported.
    #[error("signature type {0} is not supported; 1 (arweave), 2 (ed25519), 3 (ethereum) and 4 (solana) are")]
    SignatureType(u16),
    /// The bytes end inside a field.
    #[error("data item ends inside {field}")]
    Truncated {
        /// The field that is cut.
        field: &'static str,
    },
    /// A presence byte is neither 0 nor 1.
    #[error("{field} presence byte is {value}; 0 or 1 is needed")]
    Presence {
        /// `target` or `anchor`.
        field: &'static str,
        /// The byte found.
        value: u8,
    },
    /// More tags than allowed.
    #[error("{0} tags; at most {MAX_TAGS} are allowed")]
    TooManyTags(u64),
    /// The tags take more bytes than allowed.
    #[error("tags take {0} bytes; at most {MAX_TAG_BYTES} are allowed")]
    TagBytes(u64),
    /// A tag name or value is too long.
    #[error("tag {part} of {length} bytes; at most {limit} are allowed")]
    TagLength {
        /// `name` or `value`.
        part: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The tags are not well-formed Avro or their number is not the declared one.
    #[error(transparent)]
    Tags(#[from] DecodeTagsError),
    /// The signature is wrong.
    #[error(transparent)]
    Signature(#[from] InvalidSignature),
}

/// A data item: its bytes, and where its fields are. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct DataItem {
    raw: Bytes,
    signature_type: SignatureType,
    target: Option<[u8; 32]>,
    anchor: Option<[u8; 32]>,
    tags_start: usize,
    data_start: usize,
    tags: Tags,
}

impl DataItem {
    /// Parses and checks everything but the signature (steps 1 to 7 of spec 01 §8).
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, ItemError> {
        let _ = raw.into();
        todo!()
    }

    /// Parses and verifies: what a unit must do with an item from outside.
    pub fn parse_verified(raw: impl Into<Bytes>) -> Result<Self, ItemError> {
        let item = Self::parse(raw)?;
        item.verify()?;
        Ok(item)
    }

    /// Verifies the signature.
    pub fn verify(&self) -> Result<(), InvalidSignature> {
        crate::signature::verify(self.signature_type, self.owner(), &self.signing_payload(), self.signature())
    }

    /// Starts an item to be signed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// SHA-256 of the signature.
    pub fn id(&self) -> ItemId {
        use sha2::Digest;
        ItemId::from_bytes(sha2::Sha256::digest(self.signature()).into())
    }

    /// The bytes as received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Signature type.
    pub fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// Signature field.
    pub fn signature(&self) -> &[u8] {
        &self.raw[2..2 + self.signature_type.signature_len()]
    }

    /// Owner field: the public key.
    pub fn owner(&self) -> &[u8] {
        let start = 2 + self.signature_type.signature_len();
        &self.raw[start..start + self.signature_type.owner_len()]
    }

    /// Wire address of the owner.
    pub fn owner_address(&self) -> Address {
        crate::address::wire(self.owner())
    }

    /// ao address of the owner: what a process sees.
    pub fn ao_address(&self) -> String {
        crate::address::ao(self.owner())
    }

    /// Target: an id or an address.
    pub fn target(&self) -> Option<[u8; 32]> {
        self.target
    }

    /// Anchor.
    pub fn anchor(&self) -> Option<[u8; 32]> {
        self.anchor
    }

    /// Decoded tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Tag bytes as received: these, not a re-encoding, are what is signed.
    pub fn tag_bytes(&self) -> &[u8] {
        &self.raw[self.tags_start + 16..self.data_start]
    }

    /// Data, sharing the item's buffer.
    pub fn data(&self) -> Bytes {
        self.raw.slice(self.data_start..)
    }

    /// The 48 bytes that are signed (spec 01 §6).
    pub fn signing_payload(&self) -> [u8; 48] {
        todo!()
    }
}

/// An item to be signed.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    target: Option<[u8; 32]>,
    anchor: Option<[u8; 32]>,
    tags: Tags,
    data: Bytes,
}

/// Why an item could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The item would break a limit of the format.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// The key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl Builder {
    /// Sets the target.
    pub fn target(mut self, target: impl Into<ItemId>) -> Self {
        self.target = Some(*target.into().as_bytes());
        self
    }

    /// Sets the target to raw bytes (a wallet address, say).
    pub fn target_bytes(mut self, target: [u8; 32]) -> Self {
        self.target = Some(target);
        self
    }

    /// Sets the anchor.
    pub fn anchor(mut self, anchor: [u8; 32]) -> Self {
        self.anchor = Some(anchor);
        self
    }

    /// Appends a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push(name, value);
        self
    }

    /// Appends tags.
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.0.extend(tags);
        self
    }

    /// Sets the data.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// Signs. The limits of spec 01 §8 hold for what we make too.
    pub fn sign(self, signer: &Signer) -> Result<DataItem, BuildError> {
        let _ = signer;
        todo!()
    }
}
