//! Which pages changed since which tree was computed, so that only those are hashed again.
//!
//! ```text
//!  tree computed ──changed──► contents that a fork looks at ──changed──► contents now
//!                             (its tree may appear any time)
//! ```
//!
//! Trees are computed on forks, beside the stream, and the stream goes on meanwhile: so contents know not only the pages
//! changed since the last tree that is there, but also those since the moments for which somebody may still compute one.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, OnceLock},
};

use crate::machine::PageTree;

/// Earlier moments that contents remember at most: the newest, and the one whose tree is there.
const MAX_EARLIER: usize = 4;

/// A set of pages, small where little changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageSet {
    /// Bits of 64 pages each, without empty ones.
    words: BTreeMap<u32, u64>,
}

/// What some contents know about their tree and earlier ones.
#[derive(Debug, Clone)]
pub(super) struct Lineage {
    own: Arc<OnceLock<PageTree>>,
    /// The newest first. The tree of the last one is there.
    earlier: Vec<Earlier>,
}

#[derive(Debug, Clone)]
struct Earlier {
    tree: Arc<OnceLock<PageTree>>,
    changed: PageSet,
}

impl PageSet {
    pub fn insert(&mut self, pages: Range<u32>) {
        let mut page = pages.start;
        while page < pages.end {
            let count = (64 - page % 64).min(pages.end - page);
            let bits = (u64::MAX >> (64 - count)) << (page % 64);
            *self.words.entry(page / 64).or_default() |= bits;
            page += count;
        }
    }

    /// Ranges of pages, ascending, with a gap between any two.
    pub fn ranges(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for (word, bits) in &self.words {
            let mut bits = *bits;
            let mut page = word * 64;
            while bits != 0 {
                page += bits.trailing_zeros();
                bits >>= bits.trailing_zeros();
                let count = bits.trailing_ones();
                match ranges.last_mut() {
                    Some(last) if last.end == page => last.end += count,
                    _ => ranges.push(page..page + count),
                }
                page += count;
                bits = bits.checked_shr(count).unwrap_or(0);
            }
        }
        ranges
    }

    /// How many pages.
    pub fn len(&self) -> usize {
        self.words.values().map(|bits| bits.count_ones() as usize).sum()
    }
}

impl Lineage {
    /// Of contents that are all zeros.
    pub fn of_zeros(bytes: u64) -> Self {
        let zeros = Earlier { tree: Arc::new(OnceLock::from(PageTree::zeroed(bytes))), changed: PageSet::default() };
        Self { own: Arc::default(), earlier: vec![zeros] }
    }

    /// Of a copy, whose contents will go their own way.
    pub fn descend(&self) -> Self {
        let mut earlier = vec![Earlier { tree: Arc::clone(&self.own), changed: PageSet::default() }];
        earlier.extend_from_slice(&self.earlier);
        let mut copy = Self { own: Arc::default(), earlier };
        copy.prune();
        copy
    }

    /// These pages may have changed, or memory has grown (by no pages that are not zero).
    pub fn change(&mut self, pages: Range<u32>) {
        if self.own.get().is_some() || Arc::strong_count(&self.own) > 1 {
            *self = self.descend();
        }
        self.prune();
        for earlier in &mut self.earlier {
            earlier.changed.insert(pages.clone());
        }
    }

    /// The tree of these contents, if it is there.
    pub fn tree(&self) -> Option<&PageTree> {
        self.own.get()
    }

    /// The newest earlier tree that is there, with the pages that may have changed since.
    pub fn nearest(&self) -> Option<(&PageTree, &PageSet)> {
        self.earlier.iter().find_map(|earlier| earlier.tree.get().map(|tree| (tree, &earlier.changed)))
    }

    /// Keeps the tree of these contents.
    pub fn keep(&self, tree: PageTree) -> &PageTree {
        self.own.get_or_init(|| tree)
    }

    fn prune(&mut self) {
        if let Some(there) = self.earlier.iter().position(|earlier| earlier.tree.get().is_some()) {
            self.earlier.truncate(there + 1);
        }
        // A moment that nobody else remembers gets no tree any more.
        self.earlier.retain(|earlier| earlier.tree.get().is_some() || Arc::strong_count(&earlier.tree) > 1);
        while self.earlier.len() > MAX_EARLIER {
            self.earlier.remove(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::machine::{PAGE_BYTES, PageHash};

    /// Under Miri every hash of the tree takes milliseconds.
    const PAGES: u32 = if cfg!(miri) { 24 } else { 200 };

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn a_set_has_the_pages_that_were_put_in(ranges in proptest::collection::vec((0..PAGES, 0..150_u32), 0..12)) {
            let (mut set, mut model) = (PageSet::default(), BTreeSet::new());
            for (start, len) in ranges {
                set.insert(start..start + len);
                model.extend(start..start + len);
            }
            let found = set.ranges();
            prop_assert!(found.iter().all(|range| !range.is_empty()));
            prop_assert!(found.is_sorted_by(|a, b| a.end < b.start));
            prop_assert_eq!(found.into_iter().flatten().collect::<BTreeSet<u32>>(), model.clone());
            prop_assert_eq!(set.len(), model.len());
        }

        /// A stream of contents with copies that compute their trees late, early or never.
        #[test]
        fn a_tree_from_the_nearest_one_is_the_tree_of_the_contents(
            steps in proptest::collection::vec((0..5_u8, any::<prop::sample::Index>(), 0..PAGES, 1..9_u32, any::<u8>()), 1..if cfg!(miri) { 12 } else { 40 }),
        ) {
            let mut line = vec![(vec![0_u8; PAGES as usize], Lineage::of_zeros(u64::from(PAGES) * PAGE_BYTES as u64))];
            for (kind, which, start, len, value) in steps {
                let newest = line.len() - 1;
                match kind {
                    // Writing to the newest, which nobody else looks at.
                    0 | 1 => {
                        let end = (start + len).min(PAGES);
                        line[newest].0[start as usize..end as usize].fill(value);
                        line[newest].1.change(start..end);
                    }
                    2 => {
                        let copy = (line[newest].0.clone(), line[newest].1.descend());
                        line.push(copy);
                    }
                    3 => check(&line[which.index(line.len())])?,
                    _ if newest > 0 => drop(line.remove(which.index(newest))),
                    _ => {}
                }
                prop_assert!(line.iter().all(|(_, lineage)| lineage.earlier.len() <= MAX_EARLIER + 1));
            }
            for contents in &line {
                check(contents)?;
            }
        }
    }

    fn check((contents, lineage): &(Vec<u8>, Lineage)) -> Result<(), TestCaseError> {
        // The hash stands for the contents; what it is made of does not matter here.
        let hash = |page: u32| match contents[page as usize] {
            0 => PageHash::ZERO,
            value => PageHash::from_bytes([value; 32]),
        };
        let bytes = u64::from(PAGES) * PAGE_BYTES as u64;
        let updates = |pages: &mut dyn Iterator<Item = u32>| pages.map(|page| (page, hash(page))).collect::<Vec<_>>();
        let whole = PageTree::zeroed(bytes).updated(bytes, &updates(&mut (0..PAGES)));
        if lineage.tree().is_none() {
            let (tree, changed) = lineage.nearest().ok_or_else(|| TestCaseError::fail("no tree to begin with"))?;
            let tree = tree.updated(bytes, &updates(&mut changed.ranges().into_iter().flatten()));
            lineage.keep(tree);
        }
        prop_assert_eq!(lineage.tree(), Some(&whole));
        Ok(())
    }

    #[test]
    fn trees_computed_beside_the_stream_are_used_by_it() {
        let bytes = 200 * PAGE_BYTES as u64;
        let mut now = Lineage::of_zeros(bytes);
        now.change(0..150);
        for turn in 0..20 {
            let fork = now;
            now = fork.descend();
            now.change(turn..turn + 1);
            // Only now is the fork's tree ready.
            fork.keep(PageTree::zeroed(bytes));
            now.change(100 + turn..101 + turn);
            assert_eq!(now.nearest().unwrap().1.len(), 2, "turn {turn}");
            assert_eq!(now.earlier.len(), 1);
        }
    }
}
