//! Items from a gateway, bound to their ids: nothing in an answer to `/raw/{id}` or to GraphQL proves that it belongs to
//! the id (spec 03 §4.6), but an id is the hash of a signature, and the signature covers everything else.
//!
//! GraphQL gives the fields of an item's header and `/raw` its data; together they are the signed bytes. Where a gateway
//! leaves fields out, or the signer encoded the tags in an unusual way, the bytes themselves are cut out of the bundle
//! that holds the item.

use bytes::Bytes;
use holon_protocol::item::Parts;
use holon_protocol::{DataItem, ItemId, base64url};

use crate::{Error, Gateway, Node, Transaction, merkle};

/// Bytes of the count at the start of a bundle.
const COUNT_BYTES: u64 = 32;
/// Bytes of one header: length and id.
const HEADER_BYTES: u64 = 64;
/// Most items of a bundle among which one is looked for.
pub const MAX_BUNDLE_ITEMS: u64 = 1 << 20;

/// Data up to this size is hashed without leaving the async thread.
const VERIFY_INLINE_BYTES: usize = 256 * 1024;

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

impl Gateway {
    /// The item that `node` describes, verified. At most `limit` bytes of data are read.
    ///
    /// # Errors
    /// [`Error::Forged`] when what the gateway gives does not verify.
    pub async fn item(&self, node: &Node, limit: u64) -> Result<DataItem, Error> {
        let reason = match self.assemble(node, limit).await? {
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

    /// The item or base-layer transaction that `node` describes, verified.
    ///
    /// # Errors
    /// [`Error::Forged`] when what the gateway gives does not verify.
    pub async fn verified(&self, node: &Node, limit: u64) -> Result<Verified, Error> {
        let forged = match self.item(node, limit).await {
            Ok(item) => return Ok(Verified::Item(item)),
            Err(error @ Error::Forged { .. }) => error,
            Err(error) => return Err(error),
        };
        let (id, Some(json)) = (node.id, self.transaction(node.id).await?) else { return Err(forged) };
        let failed = |reason: String| Error::Forged { id, reason };
        let transaction = Transaction::header_from_json(json.to_string().as_bytes());
        let mut transaction = transaction.map_err(|error| failed(error.to_string()))?;
        let data = match transaction.data_size {
            0 => Bytes::new(),
            _ => self.raw_within(id, limit).await?,
        };
        if transaction.format == 1 {
            // Its data is signed itself; the root is not.
            transaction.data = data.clone();
            transaction.data_size = data.len() as u64;
            transaction.data_root = merkle::data_root(&data);
        } else if transaction.data_size != data.len() as u64 || transaction.data_root != merkle::data_root(&data) {
            return Err(failed("its data is not what its data_root says".into()));
        }
        if transaction.id != id {
            return Err(failed(format!("the gateway answered about {}", transaction.id)));
        }
        transaction.verify().map_err(|error| failed(error.to_string()))?;
        Ok(Verified::Transaction(Box::new(transaction), data))
    }

    /// An item of a bundle, verified; `None` when the bundle does not hold it. Only the bundle's headers and the item are
    /// read.
    pub async fn member(&self, bundle: ItemId, id: ItemId, limit: u64) -> Result<Option<DataItem>, Error> {
        let Some(member) = self.members(bundle).await?.into_iter().find(|(found, _)| *found == id) else {
            return Ok(None);
        };
        let Member { start, length } = member.1;
        if length > limit {
            return Err(Error::TooLarge { url: format!("{}raw/{bundle}", self.url()), limit });
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

    /// The item from the fields of its node and its data; the inner error says why they do not make one.
    async fn assemble(&self, node: &Node, limit: u64) -> Result<Result<DataItem, String>, Error> {
        if node.signature.is_empty() || node.owner.key.is_empty() {
            return Ok(Err("the gateway gives no signature or no key".into()));
        }
        let data = match node.data_bytes {
            Some(0) => Bytes::new(),
            _ => self.raw_within(node.id, limit).await?,
        };
        if data.len() <= VERIFY_INLINE_BYTES {
            return Ok(node.item(&data));
        }
        let node = node.clone();
        let assembled = tokio::task::spawn_blocking(move || node.item(&data)).await;
        Ok(assembled.unwrap_or_else(|error| Err(error.to_string())))
    }
}

impl Node {
    /// The item that these fields and `data` make, verified. Takes as long as hashing the data.
    ///
    /// # Errors
    /// Why they do not make the item with this id.
    pub fn item(&self, data: &[u8]) -> Result<DataItem, String> {
        let field = |text: &str| base64url::decode(text).unwrap_or_default();
        let optional = |text: &str| match text.is_empty() {
            true => Some(None),
            false => base64url::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).map(Some),
        };
        let (Some(target), Some(anchor)) = (optional(&self.recipient), optional(&self.anchor)) else {
            return Err("target or anchor has not 32 bytes".into());
        };
        let (signature, owner) = (field(&self.signature), field(&self.owner.key));
        let parts = Parts { signature: &signature, owner: &owner, target, anchor, tags: &self.tags, data };
        match DataItem::assemble(&parts) {
            Ok(item) if item.id() == self.id => Ok(item),
            Ok(item) => Err(format!("its signature is that of {}", item.id())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A 32-byte little-endian number, if it is small enough to be a length.
fn integer(bytes: &[u8]) -> Option<u64> {
    let (low, high) = bytes.split_first_chunk::<8>()?;
    (high.len() == 24 && high.iter().all(|&byte| byte == 0)).then(|| u64::from_le_bytes(*low))
}
