//! Which pages are stored already, by whatever process: they are referred to, not stored again.
//!
//! What is not remembered here is stored once more, so forgetting costs space only.

use super::chunk::PackId;
use crate::machine::PageHash;
use crate::recent::Recent;

/// Pages remembered: some 20 MB.
const LIMIT: usize = 1 << 18;

/// Where a page is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The pack.
    pub pack: PackId,
    /// Length of the pack.
    pub pack_bytes: u32,
    /// First byte of the page in it.
    pub offset: u32,
    /// Bytes there.
    pub bytes: u32,
}

/// Stored pages by their hash.
#[derive(Debug)]
pub struct Pages(Recent<PageHash, Stored>);

impl Default for Pages {
    fn default() -> Self {
        Self(Recent::new(LIMIT))
    }
}

impl Pages {
    /// Where a page is stored.
    pub fn find(&self, hash: &PageHash) -> Option<Stored> {
        self.0.get(hash).copied()
    }

    /// Remembers where a page is stored.
    pub fn add(&mut self, hash: PageHash, stored: Stored) {
        self.0.insert(hash, stored);
    }

    /// Forgets the pages of packs that are gone.
    pub fn keep(&mut self, there: impl Fn(&PackId) -> bool) {
        self.0.retain(|stored| there(&stored.pack));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_late_are_remembered() {
        let hash = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            PageHash::from_bytes(bytes)
        };
        let stored =
            |number: usize| Stored { pack: [number as u8; 32], pack_bytes: 9, offset: number as u32, bytes: 1 };
        let mut pages = Pages::default();
        for number in 0..2 * LIMIT {
            pages.add(hash(number), stored(number));
        }
        assert!(pages.0.len() <= LIMIT);
        assert_eq!(pages.find(&hash(2 * LIMIT - 1)), Some(stored(2 * LIMIT - 1)));
        assert_eq!(pages.find(&hash(2 * LIMIT - LIMIT / 2)), Some(stored(2 * LIMIT - LIMIT / 2)));
        assert_eq!(pages.find(&hash(0)), None);
        pages.keep(|pack| pack[0] != 255);
        assert_eq!(pages.find(&hash(2 * LIMIT - 1)), None);
        assert!(pages.find(&hash(2 * LIMIT - 2)).is_some());
    }
}
