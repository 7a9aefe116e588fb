//! ANS-104 bundles (spec 01 §9).

use bytes::Bytes;

use crate::item::{DataItem, ItemError};
use crate::{ItemId, Tags};

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
        let _ = raw.into();
        todo!()
    }

    /// Writes a bundle of `items`.
    pub fn encode(items: &[DataItem]) -> Bytes {
        let _ = items;
        todo!()
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
        let _ = index;
        todo!()
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
