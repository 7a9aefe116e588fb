//! Items from a gateway, bound to their ids: nothing in an answer to `/raw/{id}` or to GraphQL proves that it belongs to
//! the id (spec 03 §4.6), but an id is the hash of a signature, and the signature covers everything else.
//!
//! GraphQL gives the fields of an item's header and `/raw` its data; together they are the signed bytes. Where a gateway
//! leaves fields out, or the signer encoded the tags in an unusual way, the bytes themselves are cut out of the bundle
//! that holds the item.

use bytes::Bytes;
use holon_protocol::deep_hash::BlobHash;
use holon_protocol::item::Parts;
use holon_protocol::{DataItem, ItemId, Tags, base64url};
use sha2::{Digest, Sha256};

use crate::{Error, Gateway, Node, Transaction, merkle};

/// Bytes of the count at the start of a bundle.
const COUNT_BYTES: u64 = 32;
/// Bytes of one header: length and id.
const HEADER_BYTES: u64 = 64;
/// Most items of a bundle among which one is looked for.
pub const MAX_BUNDLE_ITEMS: u64 = 1 << 18;
/// Most bytes of an item besides its data.
const MAX_HEADER_BYTES: u64 = 8 << 10;

/// Data up to this size is hashed without leaving the async thread.
const VERIFY_INLINE_BYTES: usize = 256 * 1024;
/// Largest data of a transaction of the first format of which only the header is wanted, in bytes: its signature covers the
/// data as it is.
const MAX_FIRST_FORMAT_BYTES: u64 = 12 << 20;
/// Largest item of which only the header is wanted that is read whole, in bytes, because its fields do not verify.
const MAX_UNUSUAL_BYTES: u64 = 12 << 20;

/// Something on the weave whose every byte is covered by the signature that its id is the hash of.
#[derive(Debug, Clone)]
pub enum Verified {
    /// A data item.
    Item(DataItem),
    /// A base-layer transaction, and its data.
    Transaction(Box<Transaction>, Bytes),
}

/// What stands at the start of a bundle about one of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    start: u64,
    length: u64,
}

impl Verified {
    /// Everything but the data.
    pub fn header(&self) -> Header {
        match self {
            Self::Item(item) => Header {
                id: item.id(),
                signature: item.signature().to_vec(),
                owner: item.owner().to_vec(),
                target: item.target(),
                anchor: item.anchor().map(Vec::from).unwrap_or_default(),
                tags: item.tags().clone(),
            },
            Self::Transaction(transaction, _) => Header::of(transaction),
        }
    }

    /// The data.
    pub fn data(&self) -> Bytes {
        match self {
            Self::Item(item) => item.data(),
            Self::Transaction(_, data) => data.clone(),
        }
    }
}

/// What a signature covers besides the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The id.
    pub id: ItemId,
    /// The signature.
    pub signature: Vec<u8>,
    /// The signer's public key.
    pub owner: Vec<u8>,
    /// The target.
    pub target: Option<[u8; 32]>,
    /// An item's anchor, a transaction's `last_tx`; empty without one.
    pub anchor: Vec<u8>,
    /// The tags; bytes of a transaction's that are not UTF-8 are replaced.
    pub tags: Tags,
}

impl Header {
    fn of(transaction: &Transaction) -> Self {
        Self {
            id: transaction.id,
            signature: transaction.signature.clone(),
            owner: transaction.owner.clone(),
            target: transaction.target,
            anchor: transaction.last_tx.clone(),
            tags: transaction.text_tags(),
        }
    }
}

impl Gateway {
    /// The item that `node` describes, verified. At most `limit` bytes of data are read.
    ///
    /// # Errors
    /// [`Error::Forged`] when what the gateway gives does not verify.
    pub async fn item(&self, node: &Node, limit: u64) -> Result<DataItem, Error> {
        let reason = match self.assembled(node, limit).await? {
            Ok(item) => return Ok(item),
            Err(reason) => reason,
        };
        match node.bundled_in {
            Some(bundle) => match self.member(bundle, node.id, limit).await? {
                Some(item) => Ok(item),
                None => Err(Error::Forged { id: node.id, reason }),
            },
            None => Err(Error::Forged { id: node.id, reason }),
        }
    }

    /// The item or base-layer transaction that `node` describes, verified. At most `limit` bytes of data are read.
    ///
    /// # Errors
    /// [`Error::Forged`] when what the gateway gives does not verify.
    pub async fn verified(&self, node: &Node, limit: u64) -> Result<Verified, Error> {
        // What is in no bundle is on the base layer, or has not been bundled yet.
        if node.bundled_in.is_none()
            && let Some(Ok(found)) = self.verified_transaction(node.id, limit).await?
        {
            return Ok(found);
        }
        let forged = match self.item(node, limit).await {
            Ok(item) => return Ok(Verified::Item(item)),
            Err(error @ Error::Forged { .. }) => error,
            Err(error) => return Err(error),
        };
        match node.bundled_in {
            None => Err(forged),
            Some(_) => self.verified_transaction(node.id, limit).await?.unwrap_or(Err(forged)),
        }
    }

    /// Everything but the data of the item or base-layer transaction that `node` describes, verified. Of a transaction the
    /// data is not read at all; of an item, whose signature covers it, at most `limit` bytes are, and none are kept.
    ///
    /// # Errors
    /// [`Error::Forged`] when what the gateway gives does not verify.
    pub async fn header(&self, node: &Node, limit: u64) -> Result<Header, Error> {
        if let Some(Ok(transaction)) = self.transaction_header(node.id).await? {
            // The data of the first format is signed itself.
            if transaction.format != 1 {
                return Ok(Header::of(&transaction));
            }
            let verified = self.verified_transaction(node.id, limit.min(MAX_FIRST_FORMAT_BYTES)).await?;
            return match verified {
                Some(found) => found.map(|found| found.header()),
                None => Err(Error::NotFound(node.id)),
            };
        }
        if node.data_bytes.is_some_and(|bytes| bytes > limit) {
            return Err(self.too_large(node.id, limit));
        }
        let data = self.digest_within(node.id, limit).await?;
        let reason = match node.verify_hashed(data) {
            Ok(header) => return Ok(header),
            Err(reason) => reason,
        };
        match node.bundled_in {
            Some(bundle) => match self.member(bundle, node.id, limit.min(MAX_UNUSUAL_BYTES)).await? {
                Some(item) => Ok(Verified::Item(item).header()),
                None => Err(Error::Forged { id: node.id, reason }),
            },
            None => Err(Error::Forged { id: node.id, reason }),
        }
    }

    /// A base-layer transaction, verified without its data: `None` when there is none, the inner error when what the gateway
    /// gives does not verify. The signature of the first format covers the data, so it has not been verified.
    async fn transaction_header(&self, id: ItemId) -> Result<Option<Result<Transaction, Error>>, Error> {
        let Some(json) = self.transaction(id).await? else { return Ok(None) };
        let failed = |reason: String| Error::Forged { id, reason };
        let read = || {
            let transaction = Transaction::header_from_json(json.to_string().as_bytes());
            let transaction = transaction.map_err(|error| failed(error.to_string()))?;
            if transaction.id != id {
                return Err(failed(format!("the gateway answered about {}", transaction.id)));
            }
            if transaction.format != 1 {
                transaction.verify().map_err(|error| failed(error.to_string()))?;
            }
            Ok(transaction)
        };
        Ok(Some(read()))
    }

    /// A base-layer transaction with its data; as [`Self::transaction_header`].
    async fn verified_transaction(&self, id: ItemId, limit: u64) -> Result<Option<Result<Verified, Error>>, Error> {
        let mut transaction = match self.transaction_header(id).await? {
            Some(Ok(transaction)) => transaction,
            Some(Err(error)) => return Ok(Some(Err(error))),
            None => return Ok(None),
        };
        if transaction.data_size > limit {
            return Err(self.too_large(id, limit));
        }
        let data = match transaction.data_size {
            0 => Bytes::new(),
            size => self.raw_within(id, size).await?,
        };
        let failed = |reason: String| Ok(Some(Err(Error::Forged { id, reason })));
        let root = data_root(data.clone()).await;
        if transaction.format == 1 {
            // Its data is signed itself; the root is not.
            transaction.data = data.clone();
            transaction.data_size = data.len() as u64;
            transaction.data_root = root;
            if let Err(error) = transaction.verify() {
                return failed(error.to_string());
            }
        } else if transaction.data_size != data.len() as u64 || transaction.data_root != root {
            return failed("its data is not what its data_root says".into());
        }
        Ok(Some(Ok(Verified::Transaction(Box::new(transaction), data))))
    }

    fn too_large(&self, id: ItemId, limit: u64) -> Error {
        Error::TooLarge { url: format!("{}raw/{id}", self.url()), limit }
    }

    /// An item of a bundle, verified, with at most `limit` bytes of data; `None` when the bundle does not hold it. Only the
    /// bundle's headers and the item are read.
    pub async fn member(&self, bundle: ItemId, id: ItemId, limit: u64) -> Result<Option<DataItem>, Error> {
        let Some(member) = self.members(bundle).await?.into_iter().find(|(found, _)| *found == id) else {
            return Ok(None);
        };
        let Member { start, length } = member.1;
        if length > limit.saturating_add(MAX_HEADER_BYTES) {
            return Err(self.too_large(bundle, limit));
        }
        let raw = self.range(bundle, start, start + length).await?;
        match DataItem::parse_verified(raw) {
            Ok(item) if item.id() == id => Ok(Some(item)),
            Ok(item) => Err(Error::Forged { id, reason: format!("bundle {bundle} holds {} in its place", item.id()) }),
            Err(error) => Err(Error::Forged { id, reason: format!("in bundle {bundle}: {error}") }),
        }
    }

    /// Ids of the items of a bundle, in order, as its headers say; empty when it is no bundle.
    pub async fn bundle_ids(&self, bundle: ItemId) -> Result<Vec<ItemId>, Error> {
        Ok(self.members(bundle).await?.into_iter().map(|(id, _)| id).collect())
    }

    async fn members(&self, bundle: ItemId) -> Result<Vec<(ItemId, Member)>, Error> {
        let count = self.range(bundle, 0, COUNT_BYTES).await?;
        let Some(count) = integer(&count).filter(|count| (1..=MAX_BUNDLE_ITEMS).contains(count)) else {
            return Ok(Vec::new());
        };
        let headers = self.range(bundle, COUNT_BYTES, COUNT_BYTES + count * HEADER_BYTES).await?;
        let mut start = COUNT_BYTES + count * HEADER_BYTES;
        let mut members = Vec::with_capacity(headers.len() / HEADER_BYTES as usize);
        for header in headers.chunks_exact(HEADER_BYTES as usize) {
            let (Some(length), Some(id)) = (integer(&header[..32]), header.last_chunk::<32>()) else {
                return Ok(Vec::new());
            };
            members.push((ItemId::from_bytes(*id), Member { start, length }));
            start = match start.checked_add(length) {
                Some(next) => next,
                None => return Ok(Vec::new()),
            };
        }
        Ok(members)
    }

    /// The item from the fields of its node and its data, verified; the inner error says why they do not make one. At most
    /// `limit` bytes of data are read, and not more than the node says there are.
    pub async fn assembled(&self, node: &Node, limit: u64) -> Result<Result<DataItem, String>, Error> {
        if node.signature.is_empty() || node.owner.key.is_empty() {
            return Ok(Err("the gateway gives no signature or no key".into()));
        }
        let data = match node.data_bytes {
            Some(0) => Bytes::new(),
            Some(bytes) if bytes > limit => return Err(self.too_large(node.id, limit)),
            Some(bytes) => match self.raw_within(node.id, bytes).await {
                Err(Error::TooLarge { .. }) => {
                    return Ok(Err(format!("its data is larger than the {bytes} bytes that the gateway says")));
                }
                data => data?,
            },
            None => self.raw_within(node.id, limit).await?,
        };
        if data.len() <= VERIFY_INLINE_BYTES {
            return Ok(node.item(&data));
        }
        let node = node.clone();
        let assembled = tokio::task::spawn_blocking(move || node.item(&data)).await;
        Ok(assembled.unwrap_or_else(|error| Err(error.to_string())))
    }
}

/// The root of data, computed elsewhere if it takes a while.
async fn data_root(data: Bytes) -> Option<[u8; 32]> {
    if data.len() <= VERIFY_INLINE_BYTES {
        return merkle::data_root(&data);
    }
    // A panic there would be one here.
    tokio::task::spawn_blocking(move || merkle::data_root(&data)).await.unwrap_or_default()
}

impl Node {
    /// The item that these fields and `data` make, verified. Takes as long as hashing the data.
    ///
    /// # Errors
    /// Why they do not make the item with this id.
    pub fn item(&self, data: &[u8]) -> Result<DataItem, String> {
        self.with_parts(data, |parts| match DataItem::assemble(parts) {
            Ok(item) if item.id() == self.id => Ok(item),
            Ok(item) => Err(format!("its signature is that of {}", item.id())),
            Err(error) => Err(error.to_string()),
        })
    }

    /// What these fields say, verified with the hash of the data.
    ///
    /// # Errors
    /// Why they are not those of the item with this id.
    pub fn verify_hashed(&self, data: BlobHash) -> Result<Header, String> {
        self.with_parts(&[], |parts| {
            let id = ItemId::from_bytes(Sha256::digest(parts.signature).into());
            if id != self.id {
                return Err(format!("its signature is that of {id}"));
            }
            parts.verify_hashed(data).map_err(|error| error.to_string())?;
            Ok(Header {
                id,
                signature: parts.signature.to_vec(),
                owner: parts.owner.to_vec(),
                target: parts.target,
                anchor: parts.anchor.map(Vec::from).unwrap_or_default(),
                tags: self.tags.clone(),
            })
        })
    }

    fn with_parts<T>(&self, data: &[u8], look: impl FnOnce(&Parts<'_>) -> Result<T, String>) -> Result<T, String> {
        let field = |text: &str| base64url::decode(text).unwrap_or_default();
        let optional = |text: &str| match text.is_empty() {
            true => Some(None),
            false => base64url::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).map(Some),
        };
        let (Some(target), Some(anchor)) = (optional(&self.recipient), optional(&self.anchor)) else {
            return Err("target or anchor has not 32 bytes".into());
        };
        let (signature, owner) = (field(&self.signature), field(&self.owner.key));
        look(&Parts { signature: &signature, owner: &owner, target, anchor, tags: &self.tags, data })
    }
}

/// A 32-byte little-endian number, if it is small enough to be a length.
fn integer(bytes: &[u8]) -> Option<u64> {
    let (low, high) = bytes.split_first_chunk::<8>()?;
    (high.len() == 24 && high.iter().all(|&byte| byte == 0)).then(|| u64::from_le_bytes(*low))
}
