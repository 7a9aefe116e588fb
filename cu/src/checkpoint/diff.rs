//! What a checkpoint has to write: pages that changed since the last one, and the leaves of the page table that they are in.

use std::collections::{BTreeMap, HashMap};

use super::Error;
use super::chunk::{PackId, Packer, Place};
use super::lineage::Base;
use super::manifest::{LeafRef, MAX_PACKS, Manifest, PackRef, SegmentRef};
use super::pages::Stored;
use super::save::{EVALUATOR, NEW_PACKS, Snapshot};
use super::table::{Content, LEAF_PAGES, Leaf};
use crate::machine::{PAGE_BYTES, PageHash, PageTree};

/// Stored bytes for each byte that is needed, before everything is written anew.
const WASTE: u64 = 4;
/// Waste that never matters, in bytes.
const WASTE_FREE_BYTES: u64 = 1 << 20;
/// Packs a checkpoint may lie in, whatever its size; and for each MiB one more.
const SPREAD: usize = 64;

/// What is written, before it is.
pub(super) struct Written {
    pub manifest: Manifest,
    pub tree: PageTree,
    pub packs: Vec<(PackId, Vec<u8>)>,
    pub segments: Vec<(SegmentRef, Vec<u8>)>,
    pub stored: Vec<(PageHash, Place)>,
}

/// Segments of a new manifest, and those of them that must be written.
pub(super) struct Segments {
    pub list: Vec<SegmentRef>,
    pub new: Vec<(SegmentRef, Vec<u8>)>,
}

/// What changed since the last checkpoint.
pub(super) struct Diff {
    tree: PageTree,
    initial: PageTree,
    root: crate::machine::StateRoot,
    pub changed: Vec<(u32, PageHash)>,
    /// What stays where it is.
    pub base: Option<Manifest>,
    /// Whether nothing may be referred to that was stored before.
    pub anew: bool,
}

impl Diff {
    /// What `snapshot` has otherwise than the last checkpoint, `base`; without one, than the module's initial memory. Nothing that
    /// is stored is referred to if it is to be written `anew`.
    pub fn new(snapshot: &Snapshot, base: Option<&Base>, anew: bool) -> Result<Self, Error> {
        let tree = snapshot.fork.tree()?;
        let root = snapshot.fork.state_root(&snapshot.history)?;
        let initial = snapshot.process.initial_tree()?;
        let anew = anew || base.is_some_and(|base| is_wasteful(&base.manifest));
        let base = base.filter(|_| !anew);
        let changed = tree.changed_since(base.map_or(&initial, |base| &base.tree));
        Ok(Self { tree, initial, root, changed, base: base.map(|base| base.manifest.clone()), anew })
    }

    /// The numbers of the leaves that change.
    pub fn touched(&self) -> impl Iterator<Item = u32> + '_ {
        self.changed.chunk_by(|(a, _), (b, _)| a / LEAF_PAGES == b / LEAF_PAGES).map(|pages| pages[0].0 / LEAF_PAGES)
    }

    /// The manifest, and the packs that are not stored yet.
    pub fn write(
        self,
        snapshot: &Snapshot,
        mut leaves: BTreeMap<u32, Leaf>,
        segments: Segments,
        known: &HashMap<PageHash, Stored>,
    ) -> Result<Written, Error> {
        let (mut packs, mut refs) = match self.base {
            Some(base) => (base.packs, base.leaves),
            None => (Vec::new(), Vec::new()),
        };
        // Packs of other processes come first, so that the numbers of the new ones are known.
        let mut numbers: HashMap<PackId, u32> =
            packs.iter().zip(0..).filter(|(pack, _)| pack.used > 0).map(|(pack, number)| (pack.id, number)).collect();
        let mut elsewhere: HashMap<PageHash, Place> = HashMap::new();
        for (hash, stored) in known {
            let room = packs.len() + NEW_PACKS < MAX_PACKS as usize;
            let number = match numbers.get(&stored.pack) {
                Some(number) => *number,
                None if room => {
                    let number = packs.len() as u32;
                    packs.push(PackRef { id: stored.pack, bytes: stored.pack_bytes, used: 0 });
                    numbers.insert(stored.pack, number);
                    number
                }
                None => continue,
            };
            elsewhere.insert(*hash, Place { pack: number, offset: stored.offset, bytes: stored.bytes });
        }
        let first_new = packs.len() as u32;
        let mut packer = Packer::new(first_new)?;
        let mut change: Vec<i64> = vec![0; packs.len()];
        let mut charge = |place: &Place, sign: i64| {
            let at = place.pack as usize;
            if change.len() <= at {
                change.resize(at + 1, 0);
            }
            change[at] += sign * i64::from(place.bytes);
        };
        let mut stored = Vec::new();
        let mut page = Box::new([0; PAGE_BYTES]);
        for pages in self.changed.chunk_by(|(a, _), (b, _)| a / LEAF_PAGES == b / LEAF_PAGES) {
            let number = pages[0].0 / LEAF_PAGES;
            let mut leaf = leaves.remove(&number).unwrap_or_default();
            for (index, hash) in pages {
                let within = (index % LEAF_PAGES) as u8;
                if let Some(Content::Stored(_, place)) = leaf.get(within) {
                    charge(&place, -1);
                }
                let content = if self.initial.page(*index) == *hash {
                    None
                } else if *hash == PageHash::ZERO {
                    Some(Content::Zero)
                } else {
                    let place = match elsewhere.get(hash) {
                        Some(place) => *place,
                        None => {
                            snapshot.fork.read_page(*index, &mut page)?;
                            let place = packer.add(&page[..])?;
                            elsewhere.insert(*hash, place);
                            stored.push((*hash, place));
                            place
                        }
                    };
                    charge(&place, 1);
                    Some(Content::Stored(*hash, place))
                };
                leaf.set(within, content);
            }
            let at = refs.binary_search_by_key(&number, |leaf| leaf.number);
            if let Ok(at) = at {
                charge(&refs[at].place, -1);
            }
            if leaf.is_empty() {
                if let Ok(at) = at {
                    refs.remove(at);
                }
                continue;
            }
            let contents = leaf.write();
            let place = packer.add(&contents)?;
            charge(&place, 1);
            let hash = blake3::hash(&contents).into();
            let reference = LeafRef { number, hash, bytes: contents.len() as u32, place };
            match at {
                Ok(at) => refs[at] = reference,
                Err(at) => refs.insert(at, reference),
            }
        }
        let mut new_packs = Vec::new();
        for pack in packer.finish() {
            let id: PackId = blake3::hash(&pack).into();
            packs.push(PackRef { id, bytes: pack.len() as u32, used: 0 });
            new_packs.push((id, pack));
        }
        change.resize(packs.len(), 0);
        for (pack, change) in packs.iter_mut().zip(change) {
            pack.used = used_after(pack.used, change);
            if pack.used == 0 {
                *pack = PackRef { id: [0; 32], bytes: 0, used: 0 };
            }
        }
        let manifest = Manifest {
            process: snapshot.process.id,
            module: snapshot.process.module_id(),
            evaluator: EVALUATOR.to_owned(),
            resume: snapshot.resume.clone(),
            history: snapshot.history,
            root: self.root,
            memory_bytes: self.tree.memory_bytes(),
            segments: segments.list,
            packs,
            leaves: refs,
        };
        Ok(Written { manifest, tree: self.tree, packs: new_packs, segments: segments.new, stored })
    }
}

/// Bytes of a pack that are used after a change. What is stored once may be used any number of times: a pack whose use is too much
/// to be counted counts as used until it is not referred to by a later manifest anew.
fn used_after(used: u32, change: i64) -> u32 {
    match used {
        u32::MAX => u32::MAX,
        used => u32::try_from((i64::from(used) + change).max(0)).unwrap_or(u32::MAX),
    }
}

/// Whether so much of what the packs hold is not needed any more, or it lies in so many, that everything is written anew.
fn is_wasteful(manifest: &Manifest) -> bool {
    let live = || manifest.packs.iter().filter(|pack| pack.used > 0);
    let (stored, used) =
        live().fold((0, 0), |(stored, used), pack| (stored + u64::from(pack.bytes), used + u64::from(pack.used)));
    let spread = SPREAD + usize::try_from(used >> 20).unwrap_or(usize::MAX / 2);
    stored > used * WASTE + WASTE_FREE_BYTES
        || live().count() > spread
        || manifest.packs.len() + NEW_PACKS > MAX_PACKS as usize
}

/// The leaf about these pages.
pub(super) fn find_leaf(leaves: &[LeafRef], number: u32) -> Option<LeafRef> {
    leaves.binary_search_by_key(&number, |leaf| leaf.number).ok().map(|at| leaves[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_that_is_used_more_than_can_be_counted_stays_used() {
        assert_eq!(used_after(10, 20), 30);
        assert_eq!(used_after(10, -10), 0);
        assert_eq!(used_after(10, -20), 0);
        assert_eq!(used_after(10, i64::from(u32::MAX)), u32::MAX);
        // A page of 4096 bytes that 2²⁰ + 5 pages of a memory are, and then only five.
        let many = used_after(0, 4096 * ((1 << 20) + 5));
        assert_ne!(used_after(many, -(4096 << 20)), 0);
    }
}
