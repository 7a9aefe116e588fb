//! ANS-104 bundles (spec 01 §9).

use bytes::Bytes;

use crate::item::{DataItem, ItemError};
use crate::{ItemId, Tags};

/// Bytes of the count before the headers.
const COUNT_BYTES: usize = 32;
/// Bytes of a header: length and id.
const HEADER_BYTES: usize = 64;

/// Why bytes are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The header is cut, announces more items than fit, or lengths do not add up.
    #[error("not a bundle: {0}")]
    Malformed(&'static str),
    /// An item is invalid.
    #[error("item {index} of the bundle: {source}")]
    Item {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        source: ItemError,
    },
    /// An item's id is not the one its header announces.
    #[error("item {index} of the bundle has another id than its header says")]
    Id {
        /// Its place, from 0.
        index: usize,
    },
}

/// Where an item lies in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Announced id.
    pub id: ItemId,
    /// Offset from the start of the bundle, in bytes.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

/// A bundle whose layout has been checked; its items have not been opened.
#[derive(Debug, Clone)]
pub struct Bundle {
    raw: Bytes,
    entries: Vec<Entry>,
}

impl Bundle {
    /// Checks the layout: count, header lengths, total length.
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, BundleError> {
        let raw = raw.into();
        let count = raw.first_chunk().ok_or(BundleError::Malformed("the count is cut"))?;
        let count = little_endian(count).ok_or(BundleError::Malformed("the count is too large"))?;
        // Before anything is allocated: the count is attacker-controlled.
        if count > (raw.len() - COUNT_BYTES) / HEADER_BYTES {
            return Err(BundleError::Malformed("there are fewer headers than the count says"));
        }
        let mut offset = COUNT_BYTES + count * HEADER_BYTES;
        let mut entries = Vec::with_capacity(count);
        for header in raw[COUNT_BYTES..offset].chunks_exact(HEADER_BYTES) {
            let (Some(length), Some(id)) = (header.first_chunk(), header.last_chunk()) else {
                return Err(BundleError::Malformed("a header is cut"));
            };
            let length = little_endian(length).ok_or(BundleError::Malformed("a length is too large"))?;
            entries.push(Entry { id: ItemId::from_bytes(*id), offset, length });
            offset = offset.checked_add(length).ok_or(BundleError::Malformed("the lengths are too large"))?;
        }
        if offset != raw.len() {
            return Err(BundleError::Malformed("the lengths do not add up to the length of the bundle"));
        }
        Ok(Self { raw, entries })
    }

    /// Writes a bundle of `items`.
    pub fn encode(items: &[DataItem]) -> Bytes {
        let total: usize = items.iter().map(|item| HEADER_BYTES + item.raw().len()).sum();
        let mut out = Vec::with_capacity(COUNT_BYTES + total);
        write_integer(&mut out, items.len());
        for item in items {
            write_integer(&mut out, item.raw().len());
            out.extend_from_slice(item.id().as_bytes());
        }
        for item in items {
            out.extend_from_slice(item.raw());
        }
        out.into()
    }

    /// Where the items are.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The bytes.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Item `index`, parsed, verified and compared with its announced id. Shares the buffer.
    ///
    /// # Errors
    /// `Malformed` when there is no such item.
    pub fn item(&self, index: usize) -> Result<DataItem, BundleError> {
        let item = self.item_unverified(index)?;
        item.verify().map_err(|source| BundleError::Item { index, source: source.into() })?;
        Ok(item)
    }

    /// Item `index`, parsed and compared with its announced id, but its signature is not verified: for bytes that were
    /// verified before they were stored.
    ///
    /// # Errors
    /// `Malformed` when there is no such item.
    pub fn item_unverified(&self, index: usize) -> Result<DataItem, BundleError> {
        let entry = self.entries.get(index).ok_or(BundleError::Malformed("there is no item at this place"))?;
        let raw = self.raw.slice(entry.offset..entry.offset + entry.length);
        let item = DataItem::parse(raw).map_err(|source| BundleError::Item { index, source })?;
        if item.id() != entry.id {
            return Err(BundleError::Id { index });
        }
        Ok(item)
    }

    /// Every item, verified; the first invalid one is an error.
    pub fn items(&self) -> Result<Vec<DataItem>, BundleError> {
        (0..self.entries.len()).map(|index| self.item(index)).collect()
    }
}

/// Whether tags say that the data is a bundle: `Bundle-Format: binary` and `Bundle-Version: 2.0.0`.
pub fn is_bundle(tags: &Tags) -> bool {
    tags.contains("Bundle-Format", "binary") && tags.contains("Bundle-Version", "2.0.0")
}

/// A 32-byte integer, if it fits an address space.
fn little_endian(bytes: &[u8; 32]) -> Option<usize> {
    let (low, high) = bytes.split_first_chunk::<8>()?;
    if high.iter().any(|&byte| byte != 0) {
        return None;
    }
    usize::try_from(u64::from_le_bytes(*low)).ok()
}

fn write_integer(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u64).to_le_bytes());
    out.extend_from_slice(&[0; 24]);
}
