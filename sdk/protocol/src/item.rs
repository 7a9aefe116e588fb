//! ANS-104 data items: parsing without copying, verification, building (spec 01 §3, §6, §8).

use bytes::Bytes;

use crate::deep_hash::{BlobHash, Value, deep_hash};
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
    /// No signature type has an owner and a signature of these lengths.
    #[error("an owner of {owner} and a signature of {signature} bytes belong to no signature type")]
    Lengths {
        /// Length of the owner in bytes.
        owner: usize,
        /// Length of the signature in bytes.
        signature: usize,
    },
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
        let raw = raw.into();
        let mut reader = Reader { bytes: &raw, at: 0 };
        let number = u16::from_le_bytes(*reader.array("signature type")?);
        let signature_type = SignatureType::from_number(number).ok_or(ItemError::SignatureType(number))?;
        reader.skip(signature_type.signature_len(), "signature")?;
        reader.skip(signature_type.owner_len(), "owner")?;
        let target = reader.optional("target")?;
        let anchor = reader.optional("anchor")?;
        let tags_start = reader.at;
        let count = u64::from_le_bytes(*reader.array("tag count")?);
        let tag_bytes = u64::from_le_bytes(*reader.array("tag length")?);
        // Both are attacker-controlled and must be checked before anything is allocated.
        if count > MAX_TAGS as u64 {
            return Err(ItemError::TooManyTags(count));
        }
        let length = usize::try_from(tag_bytes).ok().filter(|&length| length <= MAX_TAG_BYTES);
        let tags = reader.skip(length.ok_or(ItemError::TagBytes(tag_bytes))?, "tags")?;
        let tags = Tags::decode(tags, count)?;
        check_lengths(&tags)?;
        let data_start = reader.at;
        Ok(Self { signature_type, target, anchor, tags_start, data_start, tags, raw })
    }

    /// Puts an item together from fields that lie apart, as a gateway gives them, and verifies it.
    ///
    /// Two things are not among the fields. The signature type follows from the lengths, and where two types have the
    /// same lengths, from which of them verifies. The tags are encoded as [`Tags::encode`] does; a signer who encoded
    /// them in another way made an item that only its own bytes can verify.
    ///
    /// # Errors
    /// [`ItemError::Lengths`] when no signature type has such an owner and signature, else as [`Self::parse_verified`].
    pub fn assemble(parts: &Parts<'_>) -> Result<Self, ItemError> {
        let (owner, signature) = (parts.owner.len(), parts.signature.len());
        let mut last = ItemError::Lengths { owner, signature };
        for kind in kinds_of(owner, signature) {
            match Self::parse_verified(parts.encode(kind)) {
                Ok(item) => return Ok(item),
                Err(error) => last = error,
            }
        }
        Err(last)
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
        self.payload_with(Value::Blob(&self.raw[self.data_start..]))
    }

    fn payload_with(&self, data: Value<'_>) -> [u8; 48] {
        payload(
            self.signature_type,
            self.owner(),
            self.target.as_ref().map_or(&[], |target| target),
            self.anchor.as_ref().map_or(&[], |anchor| anchor),
            self.tag_bytes(),
            data,
        )
    }
}

/// Fields of a signed item that lie apart: see [`DataItem::assemble`].
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Signature.
    pub signature: &'a [u8],
    /// Public key.
    pub owner: &'a [u8],
    /// Target.
    pub target: Option<[u8; 32]>,
    /// Anchor.
    pub anchor: Option<[u8; 32]>,
    /// Tags.
    pub tags: &'a Tags,
    /// Data.
    pub data: &'a [u8],
}

impl Parts<'_> {
    /// Checks the signature over these fields, without putting an item together.
    ///
    /// # Errors
    /// As [`DataItem::assemble`].
    pub fn verify(&self) -> Result<(), ItemError> {
        if self.tags.len() > MAX_TAGS {
            return Err(ItemError::TooManyTags(self.tags.len() as u64));
        }
        check_lengths(self.tags)?;
        let tags = self.tags.encode();
        if tags.len() > MAX_TAG_BYTES {
            return Err(ItemError::TagBytes(tags.len() as u64));
        }
        let field = |field: &Option<[u8; 32]>| field.map_or(Vec::new(), |bytes| bytes.to_vec());
        let (target, anchor) = (field(&self.target), field(&self.anchor));
        let (owner, signature) = (self.owner.len(), self.signature.len());
        let mut last = ItemError::Lengths { owner, signature };
        for kind in kinds_of(owner, signature) {
            let payload = payload(kind, self.owner, &target, &anchor, &tags, Value::Blob(self.data));
            match crate::signature::verify(kind, self.owner, &payload, self.signature) {
                Ok(()) => return Ok(()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Checks the signature over these fields, whose `data` is empty, and data of which only the hash is known.
    ///
    /// # Errors
    /// As [`DataItem::assemble`].
    pub fn verify_hashed(&self, data: BlobHash) -> Result<(), ItemError> {
        let (owner, signature) = (self.owner.len(), self.signature.len());
        let mut last = ItemError::Lengths { owner, signature };
        for kind in kinds_of(owner, signature) {
            // The limits of the format hold here, too.
            let item = DataItem::parse(self.encode(kind))?;
            let payload = item.payload_with(Value::Hashed(data));
            match crate::signature::verify(kind, item.owner(), &payload, item.signature()) {
                Ok(()) => return Ok(()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    fn encode(&self, kind: SignatureType) -> Vec<u8> {
        let tags = self.tags.encode();
        // Type, presence bytes, target, anchor and the two lengths of the tags take less than 128 bytes.
        let length = self.signature.len() + self.owner.len() + tags.len() + self.data.len() + 128;
        let mut raw = Vec::with_capacity(length);
        raw.extend_from_slice(&(kind as u16).to_le_bytes());
        raw.extend_from_slice(self.signature);
        raw.extend_from_slice(self.owner);
        for field in [self.target, self.anchor] {
            raw.push(u8::from(field.is_some()));
            raw.extend_from_slice(field.as_ref().map_or(&[], |field| field));
        }
        raw.extend_from_slice(&(self.tags.len() as u64).to_le_bytes());
        raw.extend_from_slice(&(tags.len() as u64).to_le_bytes());
        raw.extend_from_slice(&tags);
        raw.extend_from_slice(self.data);
        raw
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
        if self.tags.len() > MAX_TAGS {
            return Err(ItemError::TooManyTags(self.tags.len() as u64).into());
        }
        check_lengths(&self.tags)?;
        let tags = self.tags.encode();
        if tags.len() > MAX_TAG_BYTES {
            return Err(ItemError::TagBytes(tags.len() as u64).into());
        }

        let signature_type = signer.signature_type();
        let target = self.target.as_ref().map_or(&[] as &[u8], |target| target);
        let anchor = self.anchor.as_ref().map_or(&[] as &[u8], |anchor| anchor);
        let data = Value::Blob(&self.data);
        let signature = signer.sign(&payload(signature_type, signer.owner(), target, anchor, &tags, data))?;

        let parts = Parts {
            signature: &signature,
            owner: signer.owner(),
            target: self.target,
            anchor: self.anchor,
            tags: &self.tags,
            data: &self.data,
        };
        let raw = parts.encode(signature_type);
        let data_start = raw.len() - self.data.len();
        Ok(DataItem {
            signature_type,
            target: self.target,
            anchor: self.anchor,
            tags_start: data_start - tags.len() - 16,
            data_start,
            tags: self.tags,
            raw: raw.into(),
        })
    }
}

fn payload(kind: SignatureType, owner: &[u8], target: &[u8], anchor: &[u8], tags: &[u8], data: Value<'_>) -> [u8; 48] {
    let kind = (kind as u16).to_string();
    let fields: [&[u8]; 7] = [b"dataitem", b"1", kind.as_bytes(), owner, target, anchor, tags];
    deep_hash(&Value::List(fields.map(Value::Blob).into_iter().chain([data]).collect()))
}

/// The signature types with keys and signatures of these lengths.
fn kinds_of(owner: usize, signature: usize) -> impl Iterator<Item = SignatureType> {
    let kinds = (1..=4).filter_map(SignatureType::from_number);
    kinds.filter(move |kind| kind.owner_len() == owner && kind.signature_len() == signature)
}

fn check_lengths(tags: &Tags) -> Result<(), ItemError> {
    let check =
        |part, length, limit| if length > limit { Err(ItemError::TagLength { part, length, limit }) } else { Ok(()) };
    tags.iter().try_for_each(|tag| {
        check("name", tag.name.len(), MAX_TAG_NAME_BYTES)?;
        check("value", tag.value.len(), MAX_TAG_VALUE_BYTES)
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], ItemError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or(ItemError::Truncated { field })?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], ItemError> {
        self.skip(N, field)?.first_chunk().ok_or(ItemError::Truncated { field })
    }

    fn optional(&mut self, field: &'static str) -> Result<Option<[u8; 32]>, ItemError> {
        match self.array(field)? {
            [0] => Ok(None),
            [1] => self.array(field).map(|bytes| Some(*bytes)),
            [value] => Err(ItemError::Presence { field, value: *value }),
        }
    }
}
