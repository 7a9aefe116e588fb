//! Page tables: which pages of a memory differ from the module's initial memory, and where they are stored.
//!
//! A table is cut into leaves of [`LEAF_PAGES`] pages. A checkpoint writes the leaves in which something changed and
//! refers to the others, so its cost follows what changed, not how large the memory is.

use super::bytes::{FormatError, Reader};
use super::chunk::Place;
use crate::machine::PageHash;

/// Pages that a leaf is about.
pub const LEAF_PAGES: u32 = 64;
/// Least and most bytes of an entry.
const ENTRY_BYTES: std::ops::RangeInclusive<usize> = 2..=2 + 32 + Place::BYTES;
/// Most bytes of a leaf.
pub const MAX_LEAF_BYTES: usize = 4 + LEAF_PAGES as usize * *ENTRY_BYTES.end();

/// A page that differs from the initial one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It is zero where the initial one is not.
    Zero,
    /// It is stored.
    Stored(PageHash, Place),
}

/// Pages of one leaf, by their number within it, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaf(Vec<(u8, Content)>);

impl Leaf {
    /// Whether no page differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its pages.
    pub fn entries(&self) -> impl Iterator<Item = (u8, Content)> + '_ {
        self.0.iter().copied()
    }

    /// Says what page `number` is; `None` when it is the initial one.
    pub fn set(&mut self, number: u8, content: Option<Content>) {
        match (self.0.binary_search_by_key(&number, |(number, _)| *number), content) {
            (Ok(at), Some(content)) => self.0[at].1 = content,
            (Ok(at), None) => drop(self.0.remove(at)),
            (Err(at), Some(content)) => self.0.insert(at, (number, content)),
            (Err(_), None) => {}
        }
    }

    /// What page `number` is; `None` when it is the initial one.
    pub fn get(&self, number: u8) -> Option<Content> {
        let at = self.0.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.0[at].1)
    }

    /// The stored form.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.0.len() * ENTRY_BYTES.end());
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        for (number, content) in &self.0 {
            out.push(*number);
            match content {
                Content::Zero => out.push(0),
                Content::Stored(hash, place) => {
                    out.push(1);
                    out.extend_from_slice(hash.as_bytes());
                    write_place(&mut out, place);
                }
            }
        }
        out
    }

    /// Reads what [`Self::write`] wrote. `packs` is the number of packs there are.
    pub fn read(bytes: &[u8], packs: u32) -> Result<Self, FormatError> {
        let mut reader = Reader::new("page table", bytes);
        let count = reader.count("pages in a table", 1..=LEAF_PAGES, *ENTRY_BYTES.start())?;
        let mut entries: Vec<(u8, Content)> = Vec::with_capacity(count);
        for _ in 0..count {
            let number = reader.u8()?;
            let least = entries.last().map_or(0, |(last, _)| u64::from(*last) + 1);
            reader.within("page number", number.into(), least, u64::from(LEAF_PAGES) - 1)?;
            let content = reader.option(|reader| {
                let hash = PageHash::from_bytes(reader.array()?);
                let place = read_place(reader, packs, crate::machine::PAGE_BYTES)?;
                Ok(Content::Stored(hash, place))
            })?;
            entries.push((number, content.unwrap_or(Content::Zero)));
        }
        reader.end()?;
        Ok(Self(entries))
    }
}

/// Appends a place.
pub fn write_place(out: &mut Vec<u8>, place: &Place) {
    for number in [place.pack, place.offset, place.bytes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads a place of a chunk that is at most `limit` bytes.
pub fn read_place(reader: &mut Reader<'_>, packs: u32, limit: usize) -> Result<Place, FormatError> {
    let place = Place { pack: reader.u32()?, offset: reader.u32()?, bytes: reader.u32()? };
    reader.within("number of a pack", place.pack.into(), 0, u64::from(packs).saturating_sub(1))?;
    reader.within("bytes of a chunk", place.bytes.into(), 1, limit as u64)?;
    reader.within("end of a chunk", place.end(), 1, super::chunk::PACK_LIMIT_BYTES as u64)?;
    Ok(place)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn place() -> impl Strategy<Value = Place> {
        (0u32..5, 0u32..1000, 1u32..=4096).prop_map(|(pack, offset, bytes)| Place { pack, offset, bytes })
    }

    pub fn leaf() -> impl Strategy<Value = Leaf> {
        let content = prop_oneof![
            Just(Content::Zero),
            (any::<[u8; 32]>(), place()).prop_map(|(hash, place)| Content::Stored(PageHash::from_bytes(hash), place)),
        ];
        prop::collection::btree_map(0..LEAF_PAGES as u8, content, 1..20).prop_map(|map| Leaf(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn a_leaf_is_read_as_it_was_written(leaf in leaf()) {
            prop_assert!(leaf.write().len() <= MAX_LEAF_BYTES);
            prop_assert_eq!(Leaf::read(&leaf.write(), 5), Ok(leaf));
        }

        #[test]
        fn damaged_leaves_never_panic_and_say_only_what_is_possible(leaf in leaf(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = leaf.write();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Leaf::read(&bytes, 5) {
                prop_assert_eq!(read.write(), bytes.clone());
                prop_assert!(read.entries().all(|(number, _)| u32::from(number) < LEAF_PAGES));
            }
            prop_assert!(Leaf::read(&bytes[..cut.index(bytes.len())], 5).is_err());
        }

        #[test]
        fn setting_pages_is_like_a_map(changes in prop::collection::vec((0..LEAF_PAGES as u8, any::<bool>()), 0..60)) {
            let (mut leaf, mut map) = (Leaf::default(), std::collections::BTreeMap::new());
            for (number, there) in changes {
                let content = there.then_some(Content::Zero);
                leaf.set(number, content);
                match content {
                    Some(content) => drop(map.insert(number, content)),
                    None => drop(map.remove(&number)),
                }
                prop_assert_eq!(leaf.get(number), content);
            }
            prop_assert_eq!(leaf.entries().collect::<Vec<_>>(), map.into_iter().collect::<Vec<_>>());
        }
    }
}
