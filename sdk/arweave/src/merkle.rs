//! The tree that binds a base-layer transaction to its data (spec 03 §5.3, §5.4).

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Largest chunk in bytes.
pub const MAX_CHUNK_BYTES: usize = 256 * 1024;
/// A last chunk smaller than this is balanced with the one before, in bytes.
pub const MIN_CHUNK_BYTES: usize = 32 * 1024;
/// Longest path accepted, in bytes: 64 for the leaf and 96 for each of 64 levels.
pub const MAX_PATH_BYTES: usize = LEAF_BYTES + 64 * BRANCH_BYTES;

const LEAF_BYTES: usize = 64;
const BRANCH_BYTES: usize = 96;

/// A node's id.
pub type Hash = [u8; 32];

/// Where a chunk lies in its transaction's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// SHA-256 of the chunk.
    pub data_hash: Hash,
}

/// A chunk to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// First byte.
    pub start: u64,
    /// One past the last byte; the chunk's `offset` field is one less.
    pub end: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// The proof.
    pub data_path: Vec<u8>,
}

/// A path does not prove anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data path does not lead from this root to a chunk")]
pub struct InvalidPath;

/// The tree over some data.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Hash,
    leaves: Vec<Leaf>,
    paths: Vec<Vec<u8>>,
}

/// The root over `data`; `None` for empty data, which has no tree.
pub fn data_root(data: &[u8]) -> Option<Hash> {
    Tree::of(data).map(|tree| tree.root)
}

impl Tree {
    /// The tree over `data`; `None` for empty data.
    pub fn of(data: &[u8]) -> Option<Self> {
        if data.is_empty() {
            return None;
        }
        let leaves: Vec<Leaf> = split(data.len())
            .into_iter()
            .map(|(start, end)| Leaf {
                start: start as u64,
                end: end as u64,
                data_hash: Sha256::digest(&data[start..end]).into(),
            })
            .collect();
        let (root, paths) = grow(&leaves);
        Some(Self { root, leaves, paths })
    }

    /// The root: `data_root`.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Every leaf in order, an empty last one included.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The chunks of `data`, which must be the data of this tree, that are uploaded: all but an empty one.
    pub fn chunks(&self, data: &Bytes) -> Vec<Chunk> {
        self.leaves
            .iter()
            .zip(&self.paths)
            .filter(|(leaf, _)| leaf.end > leaf.start)
            .filter_map(|(leaf, path)| {
                let range = usize::try_from(leaf.start).ok()?..usize::try_from(leaf.end).ok()?;
                (range.end <= data.len()).then(|| Chunk {
                    start: leaf.start,
                    end: leaf.end,
                    bytes: data.slice(range),
                    data_path: path.clone(),
                })
            })
            .collect()
    }
}

/// Where chunks begin and end. Data that is a multiple of the largest chunk ends with an empty one.
fn split(length: usize) -> Vec<(usize, usize)> {
    let mut ranges = Vec::with_capacity(length / MAX_CHUNK_BYTES + 2);
    let mut start = 0;
    while length - start >= MAX_CHUNK_BYTES {
        let rest = length - start;
        let after = rest - MAX_CHUNK_BYTES;
        let size = if 0 < after && after < MIN_CHUNK_BYTES { rest.div_ceil(2) } else { MAX_CHUNK_BYTES };
        ranges.push((start, start + size));
        start += size;
    }
    ranges.push((start, length));
    ranges
}

/// A node while the tree grows: its leaves are consecutive.
struct Node {
    id: Hash,
    max: u64,
    leaves: std::ops::Range<usize>,
}

/// Builds the tree level by level; the root and the path of each leaf.
fn grow(leaves: &[Leaf]) -> (Hash, Vec<Vec<u8>>) {
    // Steps from each leaf up to the root; paths read the other way.
    let mut steps: Vec<Vec<[u8; BRANCH_BYTES]>> = vec![Vec::new(); leaves.len()];
    let mut level: Vec<Node> = leaves
        .iter()
        .enumerate()
        .map(|(index, leaf)| Node { id: leaf_id(&leaf.data_hash, leaf.end), max: leaf.end, leaves: index..index + 1 })
        .collect();
    while level.len() > 1 {
        let mut above = Vec::with_capacity(level.len().div_ceil(2));
        let mut nodes = level.into_iter();
        while let Some(left) = nodes.next() {
            let Some(right) = nodes.next() else {
                above.push(left);
                break;
            };
            let step = branch_step(&left.id, &right.id, left.max);
            for path in &mut steps[left.leaves.start..right.leaves.end] {
                path.push(step);
            }
            above.push(Node {
                id: branch_id(&left.id, &right.id, left.max),
                max: right.max,
                leaves: left.leaves.start..right.leaves.end,
            });
        }
        level = above;
    }
    let root = level.first().map_or([0; 32], |node| node.id);
    let paths = leaves
        .iter()
        .zip(steps)
        .map(|(leaf, steps)| {
            let mut path: Vec<u8> = steps.iter().rev().flatten().copied().collect();
            path.extend_from_slice(&leaf.data_hash);
            path.extend_from_slice(&number(leaf.end));
            path
        })
        .collect();
    (root, paths)
}

/// Follows `path` from `root` to the chunk that holds byte `offset` of data of `size` bytes.
pub fn verify_path(root: &Hash, offset: u64, size: u64, path: &[u8]) -> Result<Leaf, InvalidPath> {
    let well_formed = path.len() >= LEAF_BYTES
        && path.len() <= MAX_PATH_BYTES
        && (path.len() - LEAF_BYTES).is_multiple_of(BRANCH_BYTES);
    if !well_formed || size == 0 {
        return Err(InvalidPath);
    }
    let (mut id, mut low, mut high, mut offset, mut rest) = (*root, 0_u64, size, offset.min(size - 1), path);
    while let Some((step, below)) = rest.split_first_chunk::<BRANCH_BYTES>() {
        let (left, right, max) = (part(step, 0), part(step, 1), part(step, 2));
        if combine(&[&left, &right, &max]) != id {
            return Err(InvalidPath);
        }
        let border = read_number(&max).ok_or(InvalidPath)?;
        if offset < border {
            (id, high) = (left, high.min(border));
        } else {
            (id, low) = (right, low.max(border));
        }
        if high <= low {
            return Err(InvalidPath);
        }
        offset = offset.min(high - 1);
        rest = below;
    }
    let leaf: &[u8; LEAF_BYTES] = rest.try_into().map_err(|_| InvalidPath)?;
    let (data_hash, end) = (part(leaf, 0), part(leaf, 1));
    if combine(&[&data_hash, &end]) != id || read_number(&end).is_none() {
        return Err(InvalidPath);
    }
    Ok(Leaf { start: low, end: high, data_hash })
}

/// Follows `path` and compares `chunk` with what it proves.
pub fn verify_chunk(root: &Hash, offset: u64, size: u64, path: &[u8], chunk: &[u8]) -> Result<Leaf, InvalidPath> {
    let leaf = verify_path(root, offset, size, path)?;
    let same = leaf.end - leaf.start == chunk.len() as u64 && leaf.data_hash == <Hash>::from(Sha256::digest(chunk));
    if same { Ok(leaf) } else { Err(InvalidPath) }
}

fn leaf_id(data_hash: &Hash, end: u64) -> Hash {
    combine(&[data_hash, &number(end)])
}

fn branch_id(left: &Hash, right: &Hash, border: u64) -> Hash {
    combine(&[left, right, &number(border)])
}

fn branch_step(left: &Hash, right: &Hash, border: u64) -> [u8; BRANCH_BYTES] {
    let mut step = [0; BRANCH_BYTES];
    step[..32].copy_from_slice(left);
    step[32..64].copy_from_slice(right);
    step[64..].copy_from_slice(&number(border));
    step
}

/// Hash of the hashes of `parts`.
fn combine(parts: &[&Hash]) -> Hash {
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(Sha256::digest(part))).finalize().into()
}

/// 32 bytes, big-endian.
fn number(value: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// `None` when the number does not fit 64 bits.
fn read_number(bytes: &Hash) -> Option<u64> {
    let (high, low) = bytes.split_last_chunk::<8>()?;
    high.iter().all(|byte| *byte == 0).then(|| u64::from_be_bytes(*low))
}

fn part<const N: usize>(bytes: &[u8; N], index: usize) -> Hash {
    let mut part = [0; 32];
    part.copy_from_slice(&bytes[index * 32..index * 32 + 32]);
    part
}
