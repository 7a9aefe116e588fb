//! The manifest: what a checkpoint is, and where its parts are stored (`docs/src/checkpoints.md`).

use holon_protocol::chain::HashChain;
use holon_protocol::{AssignmentId, BlockHeight, ModuleId, Nonce, ProcessId, Timestamp};

use super::bytes::{FormatError, Reader, write_option, write_text};
use super::chunk::{PACK_LIMIT_BYTES, PackId, Place};
use super::identities::{MAX_SEGMENT_BYTES, SEGMENT_LIMIT};
use super::table::{LEAF_PAGES, MAX_LEAF_BYTES, read_place, write_place};
use crate::cron::{Block, Fired, WalkState};
use crate::log::Link;
use crate::machine::{PAGE_BYTES, StateRoot};
use crate::results::Key;
use crate::stream::{Position, Resume};

/// First bytes of every manifest.
const KIND: [u8; 6] = *b"holonc";
/// The bytes after them: the version.
const VERSION: [u8; 2] = *b"01";
/// Most bytes of a manifest.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;
/// Most packs a manifest may refer to. A checkpoint that would need more is written anew.
pub const MAX_PACKS: u32 = 1024;
/// Most leaves of a page table: 64 GiB.
const MAX_LEAVES: u32 = 1 << 18;
/// Most segments of identities.
const MAX_SEGMENTS: u32 = 1 << 14;
/// Most cron messages that have fired and were not taken: all that tags can define.
const MAX_FIRED: u32 = 4096;
/// Longest cron id, in bytes.
const MAX_CRON_BYTES: u16 = 8192;
/// Longest id of an evaluator, in bytes.
const MAX_EVALUATOR_BYTES: u16 = 256;
/// Bytes of a hash at the end.
const HASH_BYTES: usize = 32;

/// A pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRef {
    /// Its name.
    pub id: PackId,
    /// Its length.
    pub bytes: u32,
    /// Bytes of it that this checkpoint needs; 0 for a pack that is not needed any more, whose number stays taken.
    pub used: u32,
}

/// A leaf of the page table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafRef {
    /// Which pages it is about: those from this number times [`super::table::LEAF_PAGES`] on.
    pub number: u32,
    /// BLAKE3 hash of its stored form, not compressed.
    pub hash: [u8; 32],
    /// Its length, not compressed.
    pub bytes: u32,
    /// Where it is.
    pub place: Place,
}

/// A segment of identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRef {
    /// BLAKE3 hash, which is its name.
    pub id: [u8; 32],
    /// Identities in it.
    pub count: u32,
    /// Its length, not compressed.
    pub bytes: u32,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The process.
    pub process: ProcessId,
    /// Its module.
    pub module: ModuleId,
    /// What evaluated it.
    pub evaluator: String,
    /// Where it stands.
    pub resume: Resume,
    /// Hash of what it has seen.
    pub history: [u8; 32],
    /// The state root.
    pub root: StateRoot,
    /// Length of its memory.
    pub memory_bytes: u64,
    /// Identities of the messages it has seen, oldest first.
    pub segments: Vec<SegmentRef>,
    /// Packs by number.
    pub packs: Vec<PackRef>,
    /// Leaves by number, ascending.
    pub leaves: Vec<LeafRef>,
}

impl Manifest {
    /// The stored form.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + self.packs.len() * 40 + self.leaves.len() * 52);
        out.extend_from_slice(&KIND);
        out.extend_from_slice(&VERSION);
        out.extend_from_slice(self.process.as_bytes());
        out.extend_from_slice(self.module.as_bytes());
        write_text(&mut out, &self.evaluator, MAX_EVALUATOR_BYTES);
        write_resume(&mut out, &self.resume);
        out.extend_from_slice(&self.history);
        out.extend_from_slice(self.root.as_bytes());
        out.extend_from_slice(&self.memory_bytes.to_le_bytes());
        count(&mut out, self.segments.len());
        for segment in &self.segments {
            out.extend_from_slice(&segment.id);
            numbers(&mut out, [segment.count, segment.bytes]);
        }
        count(&mut out, self.packs.len());
        for pack in &self.packs {
            out.extend_from_slice(&pack.id);
            numbers(&mut out, [pack.bytes, pack.used]);
        }
        count(&mut out, self.leaves.len());
        for leaf in &self.leaves {
            numbers(&mut out, [leaf.number, leaf.bytes]);
            out.extend_from_slice(&leaf.hash);
            write_place(&mut out, &leaf.place);
        }
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let wrong = |reason| FormatError::Wrong { what: "manifest", reason };
        let Some((body, hash)) = bytes.split_last_chunk::<HASH_BYTES>() else { return Err(wrong("it is too short")) };
        let mut reader = Reader::new("manifest", body);
        if reader.array()? != KIND {
            return Err(wrong("it does not begin like one"));
        }
        let version: [u8; 2] = reader.array()?;
        if version != VERSION {
            let found = String::from_utf8_lossy(&version).into_owned();
            return Err(FormatError::Version { what: "manifest", found });
        }
        if blake3::hash(body) != *hash {
            return Err(wrong("its hash is another"));
        }
        let process = ProcessId::from_bytes(reader.array()?);
        let module = ModuleId::from_bytes(reader.array()?);
        let evaluator = reader.text(MAX_EVALUATOR_BYTES)?.to_owned();
        let resume = read_resume(&mut reader)?;
        let history = reader.array()?;
        let root = StateRoot::from_bytes(reader.array()?);
        let memory_bytes = reader.u64()?;
        let mut segments = Vec::with_capacity(reader.count("number of segments", 0..=MAX_SEGMENTS, 40)?);
        for _ in 0..segments.capacity() {
            let segment = SegmentRef { id: reader.array()?, count: reader.u32()?, bytes: reader.u32()? };
            reader.within("identities of a segment", segment.count.into(), 1, SEGMENT_LIMIT.into())?;
            reader.within("bytes of a segment", segment.bytes.into(), 1, MAX_SEGMENT_BYTES)?;
            segments.push(segment);
        }
        let mut packs = Vec::with_capacity(reader.count("number of packs", 0..=MAX_PACKS, 40)?);
        for _ in 0..packs.capacity() {
            let pack = PackRef { id: reader.array()?, bytes: reader.u32()?, used: reader.u32()? };
            reader.within("bytes of a pack", pack.bytes.into(), 0, PACK_LIMIT_BYTES as u64)?;
            packs.push(pack);
        }
        let known = packs.len() as u32;
        let possible = memory_bytes.div_ceil(u64::from(LEAF_PAGES) * PAGE_BYTES as u64).min(MAX_LEAVES.into());
        let mut leaves: Vec<LeafRef> = Vec::with_capacity(reader.count("number of leaves", 0..=MAX_LEAVES, 52)?);
        for _ in 0..leaves.capacity() {
            let (number, bytes, hash) = (reader.u32()?, reader.u32()?, reader.array()?);
            let least = leaves.last().map_or(0, |last| u64::from(last.number) + 1);
            reader.within("number of a leaf and one", u64::from(number) + 1, least + 1, possible)?;
            reader.within("bytes of a leaf", bytes.into(), 1, MAX_LEAF_BYTES as u64)?;
            let place = read_place(&mut reader, known, MAX_LEAF_BYTES)?;
            leaves.push(LeafRef { number, hash, bytes, place });
        }
        reader.end()?;
        let resumed = Self { process, module, evaluator, resume, history, root, memory_bytes, segments, packs, leaves };
        Ok(resumed)
    }
}

fn count(out: &mut Vec<u8>, count: usize) {
    // All lists are far shorter than 32 bits can say.
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

fn numbers<const N: usize>(out: &mut Vec<u8>, numbers: [u32; N]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn large<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn write_resume(out: &mut Vec<u8>, resume: &Resume) {
    write_option(out, resume.last.as_ref(), |out, last| {
        large(out, [last.key.timestamp.0, last.key.ordinate, last.block_height.0]);
        write_option(out, last.key.cron.as_deref(), |out, cron| write_text(out, cron, MAX_CRON_BYTES));
    });
    write_link(out, resume.link.as_ref());
    let walk = &resume.walk;
    large(out, [walk.tick, walk.consumed.timestamp.0, walk.consumed.height.0, walk.height.0]);
    count(out, walk.fired.len());
    for (fired, timestamp, height) in &walk.fired {
        let (kind, index) = match fired {
            Fired::Block(index) => (0, *index),
            Fired::Time(index) => (1, *index),
        };
        out.push(kind);
        count(out, index);
        large(out, [timestamp.0, height.0]);
    }
}

/// Writes where a log stands. The clock of the process follows only where it does not show the timestamp of the entry.
fn write_link(out: &mut Vec<u8>, link: Option<&Link>) {
    let Some(link) = link else { return out.push(0) };
    let set_back = link.clock != link.timestamp;
    out.push(if set_back { 2 } else { 1 });
    out.extend_from_slice(link.assignment.as_bytes());
    out.extend_from_slice(link.hash_chain.as_bytes());
    large(out, [link.epoch, link.nonce.0, link.timestamp.0]);
    if set_back {
        large(out, [link.clock.0]);
    }
}

fn read_link(reader: &mut Reader<'_>) -> Result<Option<Link>, FormatError> {
    let kind = reader.u8()?;
    reader.within("kind of link", kind.into(), 0, 2)?;
    if kind == 0 {
        return Ok(None);
    }
    let assignment = AssignmentId::from_bytes(reader.array()?);
    let hash_chain = HashChain::of(reader.array()?);
    let (epoch, nonce, timestamp) = (reader.u64()?, Nonce(reader.u64()?), Timestamp(reader.u64()?));
    let clock = if kind == 2 { Timestamp(reader.u64()?) } else { timestamp };
    Ok(Some(Link { assignment, hash_chain, epoch, nonce, timestamp, clock }))
}

fn read_resume(reader: &mut Reader<'_>) -> Result<Resume, FormatError> {
    let last = reader.option(|reader| {
        let (timestamp, ordinate) = (Timestamp(reader.u64()?), reader.u64()?);
        let block_height = BlockHeight(reader.u64()?);
        let cron = reader.option(|reader| reader.text(MAX_CRON_BYTES).map(str::to_owned))?;
        Ok(Position { key: Key { timestamp, ordinate, cron }, block_height })
    })?;
    let link = read_link(reader)?;
    let tick = reader.u64()?;
    let consumed = Block { timestamp: Timestamp(reader.u64()?), height: BlockHeight(reader.u64()?) };
    let height = BlockHeight(reader.u64()?);
    let mut fired = Vec::with_capacity(reader.count("cron messages", 0..=MAX_FIRED, 21)?);
    for _ in 0..fired.capacity() {
        let kind = reader.u8()?;
        reader.within("kind of cron", kind.into(), 0, 1)?;
        let index = reader.u32()? as usize;
        let fired_by = if kind == 0 { Fired::Block(index) } else { Fired::Time(index) };
        fired.push((fired_by, Timestamp(reader.u64()?), BlockHeight(reader.u64()?)));
    }
    Ok(Resume { last, link, walk: WalkState { tick, consumed, height, fired } })
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::*;
    use crate::checkpoint::table::tests::place;

    fn resume() -> impl Strategy<Value = Resume> {
        let last =
            (any::<[u64; 3]>(), prop::option::of("[0-9]{1,3}-[a-z]{1,9}")).prop_map(|(numbers, cron)| Position {
                key: Key { timestamp: Timestamp(numbers[0]), ordinate: numbers[1], cron },
                block_height: BlockHeight(numbers[2]),
            });
        let link =
            any::<([u8; 32], [u8; 32], [u64; 3], bool)>().prop_map(|(assignment, chain, numbers, set_back)| Link {
                assignment: AssignmentId::from_bytes(assignment),
                hash_chain: HashChain::of(chain),
                epoch: numbers[0],
                nonce: Nonce(numbers[1]),
                timestamp: Timestamp(numbers[2]),
                clock: Timestamp(numbers[2].saturating_add(set_back.into())),
            });
        let fired = (any::<bool>(), 0usize..9, any::<[u64; 2]>()).prop_map(|(block, index, numbers)| {
            let fired = if block { Fired::Block(index) } else { Fired::Time(index) };
            (fired, Timestamp(numbers[0]), BlockHeight(numbers[1]))
        });
        let walk = (any::<[u64; 4]>(), prop::collection::vec(fired, 0..4)).prop_map(|(numbers, fired)| WalkState {
            tick: numbers[0],
            consumed: Block { timestamp: Timestamp(numbers[1]), height: BlockHeight(numbers[2]) },
            height: BlockHeight(numbers[3]),
            fired,
        });
        (prop::option::of(last), prop::option::of(link), walk).prop_map(|(last, link, walk)| Resume {
            last,
            link,
            walk,
        })
    }

    fn manifest() -> impl Strategy<Value = Manifest> {
        let segment = (any::<[u8; 32]>(), 1..=SEGMENT_LIMIT, 1u32..1000).prop_map(|(id, count, bytes)| SegmentRef {
            id,
            count,
            bytes,
        });
        let pack =
            (any::<[u8; 32]>(), 0u32..1 << 24, any::<u32>()).prop_map(|(id, bytes, used)| PackRef { id, bytes, used });
        let leaf = (
            any::<[u8; 32]>(),
            1u32..=MAX_LEAF_BYTES as u32,
            place().prop_filter("of a leaf", |place| place.bytes as usize <= MAX_LEAF_BYTES),
        );
        let lists = (
            prop::collection::vec(segment, 0..4),
            prop::collection::vec(pack, 5..9),
            prop::collection::btree_map(0u32..500, leaf, 0..9),
        );
        (any::<([u8; 32], [u8; 32], [u8; 32], [u8; 32], u64)>(), "[a-z ]{0,40}", resume(), lists).prop_map(
            |((process, module, history, root, memory_bytes), evaluator, resume, (segments, packs, leaves))| Manifest {
                process: ProcessId::from_bytes(process),
                module: ModuleId::from_bytes(module),
                evaluator,
                resume,
                history,
                root: StateRoot::from_bytes(root),
                // Room for all the leaves.
                memory_bytes: memory_bytes | 1 << 30,
                segments,
                packs,
                leaves: leaves
                    .into_iter()
                    .map(|(number, (hash, bytes, place))| LeafRef { number, hash, bytes, place })
                    .collect(),
            },
        )
    }

    /// Puts the right hash behind changed bytes, as somebody would who wants to be read.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - HASH_BYTES);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn a_manifest_is_read_as_it_was_written(manifest in manifest()) {
            prop_assert_eq!(Manifest::read(&manifest.write()), Ok(manifest));
        }

        #[test]
        fn a_manifest_with_any_byte_changed_is_refused(manifest in manifest(), at in any::<prop::sample::Index>(), change in 1u8..) {
            let mut bytes = manifest.write();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(Manifest::read(&bytes).is_err());
        }

        #[test]
        fn a_hostile_manifest_says_only_what_is_possible(manifest in manifest(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
            let mut bytes = manifest.write();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(read) = Manifest::read(&sealed(bytes.clone())) {
                let packs = read.packs.len() as u32;
                prop_assert!(read.leaves.is_sorted_by(|a, b| a.number < b.number));
                prop_assert!(read.leaves.iter().all(|leaf| leaf.place.pack < packs && leaf.bytes as usize <= MAX_LEAF_BYTES));
                prop_assert!(read.segments.iter().all(|segment| segment.count <= SEGMENT_LIMIT));
            }
            let cut = HASH_BYTES + cut.index(bytes.len() - HASH_BYTES);
            prop_assert!(Manifest::read(&sealed(bytes[..cut].to_vec())).is_err());
        }
    }

    #[test]
    fn leaves_beyond_the_end_of_memory_are_refused_before_anything_is_read_for_them() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let leaf = |number| LeafRef { number, hash: [1; 32], bytes: 9, place: Place { pack: 0, offset: 0, bytes: 9 } };
        let mut manifest = manifest().new_tree(&mut runner).unwrap().current();
        manifest.leaves = vec![leaf(0), leaf(3)];
        let leaf_bytes = u64::from(LEAF_PAGES) * PAGE_BYTES as u64;
        for (memory_bytes, fits) in
            [(4 * leaf_bytes, true), (3 * leaf_bytes + 1, true), (3 * leaf_bytes, false), (0, false)]
        {
            manifest.memory_bytes = memory_bytes;
            assert_eq!(Manifest::read(&manifest.write()).is_ok(), fits, "{memory_bytes}");
        }
    }

    #[test]
    fn a_list_longer_than_the_bytes_is_refused_before_room_is_made_for_it() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&KIND);
        bytes.extend_from_slice(&VERSION);
        bytes.resize(8 + 64 + 2 + 2 + 32 + 4 + 32 + 32 + 8, 0);
        bytes.extend_from_slice(&MAX_SEGMENTS.to_le_bytes());
        bytes.resize(bytes.len() + HASH_BYTES, 0);
        assert!(matches!(Manifest::read(&sealed(bytes)), Err(FormatError::Short { what: "number of segments", .. })));
    }
}
