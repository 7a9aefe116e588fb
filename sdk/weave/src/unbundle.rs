//! Opening bundles: every valid item inside, at any depth (spec 01 §9, spec 03 §6.1).
//!
//! Bundles of strangers may hold anything, so invalid items are skipped, not errors.

use bytes::Bytes;
use holon_protocol::{Bundle, DataItem, ItemId, Tags};

/// Deepest nesting that is opened.
pub const MAX_DEPTH: usize = 16;
/// Most items taken out of one upload, over all depths.
pub const MAX_ITEMS: usize = 100_000;
/// Largest data that is searched for items, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 1024 * 1024 * 1024;

/// An item found inside.
#[derive(Debug, Clone)]
pub struct Inner {
    /// The item, verified.
    pub item: DataItem,
    /// What is directly around it.
    pub parent: ItemId,
    /// Where its data starts in the outermost data.
    pub data_offset: u64,
    /// Bytes of its data.
    pub data_size: u64,
}

/// Whether tags say that the data is a bundle.
pub fn is_bundle(tags: &Tags) -> bool {
    holon_protocol::bundle::is_bundle(tags)
}

/// Everything inside `data`, which belongs to `parent`. Nothing when its tags say that it is no bundle.
pub fn open(parent: ItemId, tags: &Tags, data: &Bytes) -> Vec<Inner> {
    let mut found = Vec::new();
    // Work list instead of recursion: parent, its data, where that starts, depth.
    let mut work = vec![(parent, data.clone(), 0_u64, 0_usize)];
    if !is_bundle(tags) || data.len() as u64 > MAX_BUNDLE_BYTES {
        return found;
    }
    while let Some((parent, data, start, depth)) = work.pop() {
        let bundle = match Bundle::parse(data) {
            Ok(bundle) => bundle,
            Err(error) => {
                tracing::debug!(%parent, %error, "data tagged as a bundle is none");
                continue;
            }
        };
        for (index, entry) in bundle.entries().iter().enumerate() {
            if found.len() >= MAX_ITEMS {
                tracing::warn!(%parent, "the bundle holds more than {MAX_ITEMS} items; the rest is not indexed");
                return found;
            }
            let item = match bundle.item(index) {
                Ok(item) => item,
                Err(error) => {
                    tracing::debug!(%parent, id = %entry.id, %error, "invalid item in a bundle skipped");
                    continue;
                }
            };
            let data = item.data();
            let data_offset = start + (entry.offset + item.raw().len() - data.len()) as u64;
            if depth + 1 < MAX_DEPTH && is_bundle(item.tags()) {
                work.push((item.id(), data.clone(), data_offset, depth + 1));
            }
            found.push(Inner { parent, data_offset, data_size: data.len() as u64, item });
        }
    }
    found
}
