//! The Merkle tree over the pages of a linear memory (`docs/src/state-root.md`).
//!
//! ```text
//!              root                     A leaf is the BLAKE3 hash of a page. Leaves are padded with zero pages to a power of
//!            /      \                   two. A subtree of zero pages is not stored, and a tree made from another one shares
//!        node        zero subtree       every subtree in which nothing changed.
//!       /    \
//!    page    page
//! ```

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// Bytes of a page of the tree. Not a Wasm page, which is 16 of them.
pub const PAGE_BYTES: usize = 4096;
/// Levels above the leaves at most: page numbers are 32-bit.
const MAX_DEPTH: u32 = 32;
/// Inner nodes are keyed hashes, so that none can be taken for a page. The key is the BLAKE3 hash of this text.
const INNER_KEY: &str = "holon page tree v1";

/// BLAKE3 hash of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageHash([u8; 32]);

/// Hashes of all pages of a memory at one moment. Cloning is cheap; zero pages cost nothing, nor does what a tree has in common
/// with the one it was made from.
#[derive(Clone)]
pub struct PageTree {
    memory_bytes: u64,
    top: Node,
}

/// A subtree, whose depth follows from its place. Zero pages are always [`Node::Zero`], so equal memories have equal trees.
#[derive(Clone)]
enum Node {
    Zero,
    Page(PageHash),
    Inner(Arc<Inner>),
}

struct Inner {
    hash: [u8; 32],
    left: Node,
    right: Node,
}

/// Number of the first page and length in pages of the subtree at some place.
#[derive(Clone, Copy)]
struct Place {
    first: u64,
    depth: u32,
}

impl PageHash {
    /// Of 4096 zeros.
    pub const ZERO: PageHash = PageHash([
        0xb6, 0xfb, 0x73, 0xfc, 0x46, 0x93, 0x8c, 0x98, 0x1e, 0x2b, 0x0b, 0x4b, 0x1e, 0xf2, 0x82, 0xad, 0xcf, 0xc8,
        0x98, 0x54, 0xd0, 0x1b, 0xfe, 0x39, 0x72, 0xfd, 0xc4, 0x78, 0x5b, 0x41, 0xb2, 0xc7,
    ]);

    /// Hashes a page.
    pub fn of(page: &[u8; PAGE_BYTES]) -> Self {
        if page.as_chunks::<16>().0.iter().all(|word| u128::from_ne_bytes(*word) == 0) {
            return Self::ZERO;
        }
        Self(blake3::hash(page).into())
    }

    /// The hash with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// base64url without padding, 43 characters.
impl fmt::Display for PageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageHash({self})")
    }
}

impl PageTree {
    /// Of a memory of zeros. A last page that is not whole counts as filled up with zeros.
    pub fn zeroed(memory_bytes: u64) -> Self {
        Self { memory_bytes, top: Node::Zero }
    }

    /// Length of the memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Hash at the top.
    pub fn root(&self) -> [u8; 32] {
        self.top.hash(depth(self.memory_bytes))
    }

    /// Hash of a page; that of zeros beyond the end.
    pub fn page(&self, index: u32) -> PageHash {
        let mut depth = depth(self.memory_bytes);
        if depth < MAX_DEPTH && index >> depth != 0 {
            return PageHash::ZERO;
        }
        let mut node = &self.top;
        loop {
            match node {
                Node::Zero => return PageHash::ZERO,
                Node::Page(hash) => return *hash,
                Node::Inner(inner) => {
                    depth -= 1;
                    node = if index >> depth & 1 == 0 { &inner.left } else { &inner.right };
                }
            }
        }
    }

    /// Pages that are not zero, ascending.
    pub fn nonzero(&self) -> impl Iterator<Item = (u32, PageHash)> {
        let mut stack = vec![(&self.top, self.whole())];
        std::iter::from_fn(move || {
            while let Some((node, place)) = stack.pop() {
                match node {
                    Node::Zero => {}
                    Node::Page(hash) => return Some((place.first as u32, *hash)),
                    Node::Inner(inner) => {
                        let (left, right) = place.halves();
                        stack.extend([(&inner.right, right), (&inner.left, left)]);
                    }
                }
            }
            None
        })
    }

    /// Pages of this memory whose contents are not those of `older`, ascending; zero pages included. Takes time for what
    /// differs, if one tree was made from the other.
    pub fn changed_since(&self, older: &PageTree) -> Vec<(u32, PageHash)> {
        let (depth, older_depth) = (depth(self.memory_bytes), depth(older.memory_bytes));
        let mut old = older.top.clone();
        for level in older_depth..depth {
            old = Node::over(old, Node::Zero, level + 1);
        }
        for _ in depth..older_depth {
            old = old.halves().0;
        }
        let mut changed = Vec::new();
        self.top.changed(&old, self.whole(), &mut changed);
        changed
    }

    /// The tree of a memory that has grown to `memory_bytes` (or is as long as before) and then got the pages `updates`, which
    /// are in ascending order, without repetition, and inside.
    pub fn updated(&self, memory_bytes: u64, updates: &[(u32, PageHash)]) -> Self {
        debug_assert!(memory_bytes >= self.memory_bytes, "memory does not shrink");
        debug_assert!(updates.is_sorted_by(|a, b| a.0 < b.0));
        let mut top = self.top.clone();
        for level in depth(self.memory_bytes)..depth(memory_bytes) {
            top = Node::over(top, Node::Zero, level + 1);
        }
        let mut tree = Self { memory_bytes, top };
        tree.top = tree.top.updated(tree.whole(), updates);
        tree
    }

    fn whole(&self) -> Place {
        Place { first: 0, depth: depth(self.memory_bytes) }
    }
}

/// Equal if the memories are.
impl PartialEq for PageTree {
    fn eq(&self, other: &Self) -> bool {
        self.memory_bytes == other.memory_bytes && self.top.same(&other.top)
    }
}

impl Eq for PageTree {}

impl fmt::Debug for PageTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = BASE64_URL_SAFE_NO_PAD.encode(self.root());
        f.debug_struct("PageTree").field("memory_bytes", &self.memory_bytes).field("root", &root).finish()
    }
}

impl Place {
    fn halves(self) -> (Self, Self) {
        let depth = self.depth.saturating_sub(1);
        (Self { first: self.first, depth }, Self { first: self.first + (1 << depth), depth })
    }
}

impl Node {
    fn page(hash: PageHash) -> Self {
        if hash == PageHash::ZERO { Node::Zero } else { Node::Page(hash) }
    }

    /// The node over two subtrees, itself at `depth`.
    fn over(left: Node, right: Node, depth: u32) -> Self {
        if let (Node::Zero, Node::Zero) = (&left, &right) {
            return Node::Zero;
        }
        let hash = join(&left.hash(depth - 1), &right.hash(depth - 1));
        Node::Inner(Arc::new(Inner { hash, left, right }))
    }

    fn hash(&self, depth: u32) -> [u8; 32] {
        match self {
            Node::Zero => ZEROS[depth as usize],
            Node::Page(hash) => hash.0,
            Node::Inner(inner) => inner.hash,
        }
    }

    fn halves(&self) -> (Node, Node) {
        match self {
            Node::Inner(inner) => (inner.left.clone(), inner.right.clone()),
            Node::Zero | Node::Page(_) => (Node::Zero, Node::Zero),
        }
    }

    /// Whether two nodes at the same depth are over the same pages.
    fn same(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Zero, Node::Zero) => true,
            (Node::Page(a), Node::Page(b)) => a == b,
            (Node::Inner(a), Node::Inner(b)) => Arc::ptr_eq(a, b) || a.hash == b.hash,
            _ => false,
        }
    }

    fn changed(&self, old: &Node, place: Place, found: &mut Vec<(u32, PageHash)>) {
        if self.same(old) {
            return;
        }
        if place.depth == 0 {
            found.push((place.first as u32, PageHash(self.hash(0))));
            return;
        }
        let ((left, right), (old_left, old_right)) = (self.halves(), old.halves());
        let (left_place, right_place) = place.halves();
        left.changed(&old_left, left_place, found);
        right.changed(&old_right, right_place, found);
    }

    fn updated(&self, place: Place, updates: &[(u32, PageHash)]) -> Self {
        let Some((_, hash)) = updates.first() else { return self.clone() };
        if place.depth == 0 {
            return Node::page(*hash);
        }
        let (left_place, right_place) = place.halves();
        let (to_left, to_right) =
            updates.split_at(updates.partition_point(|(index, _)| u64::from(*index) < right_place.first));
        let (left, right) = self.halves();
        let (new_left, new_right) = (left.updated(left_place, to_left), right.updated(right_place, to_right));
        if new_left.same(&left) && new_right.same(&right) {
            return self.clone();
        }
        Node::over(new_left, new_right, place.depth)
    }
}

static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::hash(INNER_KEY.as_bytes()).into());

/// Hashes of subtrees of zero pages, by depth.
static ZEROS: LazyLock<[[u8; 32]; MAX_DEPTH as usize + 1]> = LazyLock::new(|| {
    let mut hashes = [PageHash::ZERO.0; MAX_DEPTH as usize + 1];
    for depth in 1..hashes.len() {
        hashes[depth] = join(&hashes[depth - 1], &hashes[depth - 1]);
    }
    hashes
});

fn join(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    blake3::keyed_hash(&KEY, &both).into()
}

/// Levels above the leaves: leaves are padded to a power of two, at least one.
fn depth(memory_bytes: u64) -> u32 {
    let pages = memory_bytes.div_ceil(PAGE_BYTES as u64).max(1);
    // Not reached by any memory: 2³² pages are 16 TiB.
    pages.next_power_of_two().trailing_zeros().min(MAX_DEPTH)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    fn page(value: u8) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        page[17] = value;
        page
    }

    /// Values that pages have here.
    const VALUES: u8 = 4;
    /// Most pages at first, and added at once: under Miri every hash takes milliseconds.
    const MOST: (usize, usize) = if cfg!(miri) { (6, 4) } else { (40, 20) };

    /// Hash of a page of one of the values, made once.
    fn hash_of(value: u8) -> [u8; 32] {
        static HASHES: LazyLock<[[u8; 32]; VALUES as usize]> =
            LazyLock::new(|| std::array::from_fn(|value| blake3::hash(&page(value as u8)).into()));
        HASHES[usize::from(value)]
    }

    /// As `docs/src/state-root.md` says it, level by level over all pages.
    fn naive_root(pages: &[u8]) -> [u8; 32] {
        let key: [u8; 32] = blake3::hash(b"holon page tree v1").into();
        let mut level: Vec<[u8; 32]> = pages.iter().map(|value| hash_of(*value)).collect();
        level.resize(pages.len().max(1).next_power_of_two(), hash_of(0));
        while level.len() > 1 {
            level = level.chunks(2).map(|pair| blake3::keyed_hash(&key, &pair.concat()).into()).collect();
        }
        level[0]
    }

    fn bytes(pages: usize) -> u64 {
        (pages * PAGE_BYTES) as u64
    }

    #[test]
    fn the_hash_of_a_zero_page_is_what_hashing_one_gives() {
        let hash: [u8; 32] = blake3::hash(&[0; PAGE_BYTES]).into();
        assert_eq!(PageHash::ZERO.0, hash, "{:02x?}", hash);
        assert_eq!(PageHash::of(&[0; PAGE_BYTES]), PageHash::ZERO);
        assert_eq!(PageHash::of(&page(1)).0, *blake3::hash(&page(1)).as_bytes());
    }

    #[test]
    fn no_pages_have_the_root_of_one_zero_page() {
        assert_eq!(PageTree::zeroed(0).root(), PageHash::ZERO.0);
        assert_eq!(PageTree::zeroed(bytes(1)).root(), PageHash::ZERO.0);
        assert_eq!(PageTree::zeroed(1 << 44).root(), ZEROS[32]);
    }

    #[test]
    fn what_does_not_change_is_shared() {
        let tree = PageTree::zeroed(bytes(64)).updated(bytes(64), &[(3, PageHash::of(&page(1)))]);
        let same = tree.updated(bytes(64), &[(3, PageHash::of(&page(1))), (9, PageHash::ZERO)]);
        let (Node::Inner(before), Node::Inner(after)) = (&tree.top, &same.top) else { panic!() };
        assert!(Arc::ptr_eq(before, after));
        let other = tree.updated(bytes(64), &[(40, PageHash::of(&page(2)))]);
        let (Node::Inner(before), Node::Inner(after)) = (&tree.top, &other.top) else { panic!() };
        let (Node::Inner(before), Node::Inner(after)) = (&before.left, &after.left) else { panic!() };
        assert!(Arc::ptr_eq(before, after));
        let cleared = other.updated(bytes(64), &[(3, PageHash::ZERO), (40, PageHash::ZERO)]);
        assert!(matches!(cleared.top, Node::Zero));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(Vec<(usize, u8)>),
        Grow(usize),
        BackTo(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => proptest::collection::vec((any::<usize>(), prop_oneof![Just(0), 0..VALUES]), 0..12).prop_map(Step::Write),
            1 => (0..MOST.1).prop_map(Step::Grow),
            1 => any::<usize>().prop_map(Step::BackTo),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 3 } else { 64 }, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn the_root_depends_on_contents_and_not_on_how_they_came_about(
            first in 0..MOST.0,
            steps in proptest::collection::vec(step(), 1..if cfg!(miri) { 6 } else { 20 }),
        ) {
            let mut states = vec![(vec![0; first], PageTree::zeroed(bytes(first)))];
            for step in steps {
                let (mut pages, tree) = states[states.len() - 1].clone();
                let mut updates = std::collections::BTreeMap::new();
                match step {
                    Step::Write(writes) => {
                        for (at, value) in writes {
                            if !pages.is_empty() {
                                let at = at % pages.len();
                                pages[at] = value;
                                updates.insert(at as u32, PageHash(hash_of(value)));
                            }
                        }
                    }
                    Step::Grow(by) => pages.resize(pages.len() + by, 0),
                    Step::BackTo(state) => {
                        let state = states[state % states.len()].clone();
                        states.push(state);
                        continue;
                    }
                }
                let updates: Vec<_> = updates.into_iter().collect();
                let tree = tree.updated(bytes(pages.len()), &updates);
                states.push((pages, tree));
            }
            for (pages, tree) in &states {
                prop_assert_eq!(tree.root(), naive_root(pages));
                prop_assert_eq!(tree.memory_bytes(), bytes(pages.len()));
                let nonzero: Vec<u32> = tree.nonzero().map(|(index, _)| index).collect();
                let expected: Vec<u32> = (0..pages.len() as u32).filter(|index| pages[*index as usize] != 0).collect();
                prop_assert_eq!(nonzero, expected);
                for (index, value) in pages.iter().enumerate() {
                    prop_assert_eq!(tree.page(index as u32), PageHash(hash_of(*value)));
                }
                prop_assert_eq!(tree.page(pages.len() as u32), PageHash::ZERO);
                prop_assert_eq!(tree.page(u32::MAX), PageHash::ZERO);
            }
            for ((old_pages, old), (pages, tree)) in states.iter().zip(states.iter().rev()) {
                let value = |index: usize| old_pages.get(index).copied().unwrap_or(0);
                let expected: Vec<(u32, PageHash)> = (0..pages.len())
                    .filter(|index| pages[*index] != value(*index))
                    .map(|index| (index as u32, PageHash(hash_of(pages[index]))))
                    .collect();
                let mut changed = tree.changed_since(old);
                // What the longer, older memory had in the padding of the shorter one.
                changed.retain(|(index, _)| (*index as usize) < pages.len());
                prop_assert_eq!(changed, expected);
                prop_assert_eq!(tree == old, pages == old_pages);
            }
        }
    }
}
