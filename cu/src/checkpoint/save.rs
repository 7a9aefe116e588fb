//! Writing checkpoints: what changed since the last one of the same process, beside the stream.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::chunk::{PACK_LIMIT_BYTES, PackId, Packer, Place, Unpacker};
use super::identities::{self, SEGMENT_LIMIT};
use super::manifest::{LeafRef, MAX_PACKS, Manifest, PackRef, SegmentRef};
use super::name::Name;
use super::pages::Stored;
use super::table::{Content, LEAF_PAGES, Leaf};
use super::{Checkpoints, Error, collect, pack_path, retention, segment_path};
use crate::machine::{Fork, PAGE_BYTES, PageHash, PageTree};
use crate::process::Process;
use crate::results::Known;
use crate::stream::Resume;

/// Stored bytes for each byte that is needed, before everything is written anew.
const WASTE: u64 = 4;
/// Waste that never matters, in bytes.
const WASTE_FREE_BYTES: u64 = 1 << 20;
/// Packs a checkpoint may lie in, whatever its size; and for each MiB one more.
const SPREAD: usize = 64;
/// Packs that one checkpoint may add.
const NEW_PACKS: usize = 300;

/// A process between two messages.
pub struct Snapshot {
    /// The process.
    pub process: Arc<Process>,
    /// Its memory.
    pub fork: Fork,
    /// Where it stands.
    pub resume: Resume,
    /// Hash of what it has seen.
    pub history: [u8; 32],
    /// What it has seen since the last snapshot of the same lineage.
    pub identities: Vec<Known>,
}

/// The checkpoints of one live memory: each is written as what changed since the last.
#[derive(Default)]
pub struct Lineage {
    last: tokio::sync::Mutex<Last>,
    /// Identities that no written checkpoint has yet.
    pending: Mutex<Vec<Known>>,
    busy: AtomicBool,
    done: Notify,
    took_us: AtomicU64,
}

#[derive(Default)]
struct Last {
    manifest: Option<Manifest>,
    tree: Option<PageTree>,
}

impl Lineage {
    /// Goes on from a checkpoint.
    pub(super) fn from(manifest: Manifest, tree: PageTree) -> Self {
        let last = Last { manifest: Some(manifest), tree: Some(tree) };
        Self { last: tokio::sync::Mutex::new(last), ..Self::default() }
    }

    /// Whether a checkpoint is being written.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Waits until no checkpoint is being written.
    pub async fn settled(&self) {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if !self.is_busy() {
                return;
            }
            done.await;
        }
    }

    /// Identities that no written checkpoint has yet.
    pub fn unwritten(&self) -> usize {
        self.pending().len()
    }

    /// How long the last one took.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took_us.load(Ordering::Relaxed))
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Set while a checkpoint is written.
struct Busy(Arc<Lineage>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
        self.0.done.notify_waiters();
    }
}

/// What is written, before it is.
struct Written {
    manifest: Manifest,
    tree: PageTree,
    packs: Vec<(PackId, Vec<u8>)>,
    segments: Vec<(SegmentRef, Vec<u8>)>,
    stored: Vec<(PageHash, Place)>,
}

impl Checkpoints {
    /// Writes a checkpoint in the background. Snapshots of a lineage come one after the other; of those that come while one is
    /// being written only the identities are kept.
    pub fn save_soon(&self, lineage: &Arc<Lineage>, snapshot: Snapshot) {
        let Some(save) = self.begin(lineage, snapshot) else { return };
        let _runtime = self.0.runtime.enter();
        self.0.tasks.spawn("cu-checkpoint", async move {
            // What went wrong has been logged; the next one tries again.
            let _ = save.await;
        });
    }

    /// Writes a checkpoint and waits for it. `false` when it could not be written.
    pub async fn save(&self, lineage: &Arc<Lineage>, snapshot: Snapshot) -> bool {
        match self.begin(lineage, snapshot) {
            Some(save) => save.await.is_ok(),
            None => false,
        }
    }

    fn begin(
        &self,
        lineage: &Arc<Lineage>,
        mut snapshot: Snapshot,
    ) -> Option<impl Future<Output = Result<(), ()>> + Send + use<>> {
        let pending = {
            let mut pending = lineage.pending();
            pending.append(&mut snapshot.identities);
            pending.len()
        };
        if lineage.busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (checkpoints, busy) = (self.clone(), Busy(lineage.clone()));
        Some(async move {
            let process = snapshot.process.id;
            let started = Instant::now();
            let result = checkpoints.write(&busy.0, snapshot, pending).await;
            busy.0.took_us.store(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            result.map_err(|error| tracing::warn!(%process, %error, "a checkpoint could not be written"))
        })
    }

    async fn write(&self, lineage: &Arc<Lineage>, snapshot: Snapshot, pending: usize) -> Result<(), Error> {
        let _place = self.0.saves.acquire().await.map_err(|_| Error::Stopping)?;
        let _here = self.0.collecting.read().await;
        let mut last = lineage.last.lock().await;
        let started = Instant::now();
        let process = snapshot.process.clone();
        let (old, old_tree) = (last.manifest.clone(), last.tree.clone());
        let snapshot = Arc::new(snapshot);
        // What the checkpoint stands on must be in the file before the checkpoint is.
        let diff = {
            let (snapshot, results) = (snapshot.clone(), self.0.results.clone());
            blocking(move || {
                results.flush().map_err(|error| Error::Machine(error.to_string()))?;
                Diff::new(&snapshot, old, old_tree)
            })
            .await?
        };
        let old_leaves = self.old_leaves(&diff).await?;
        let segments = {
            let known: Vec<Known> = lineage.pending()[..pending].to_vec();
            self.segments(&diff.base, known).await?
        };
        let known: HashMap<PageHash, Stored> = {
            let pages = self.pages();
            let new = diff.changed.iter().filter(|_| !diff.anew);
            new.filter_map(|(_, hash)| Some((*hash, pages.find(hash)?))).collect()
        };
        let written = {
            let snapshot = snapshot.clone();
            blocking(move || diff.write(&snapshot, old_leaves, segments, &known)).await?
        };
        let Some(name) = Name::of(&written.manifest) else { return Ok(()) };
        self.note(collect::references(&written.manifest));
        let mut bytes = 0;
        for (id, pack) in written.packs {
            bytes += pack.len();
            self.0.store.put(&pack_path(&id), pack).await?;
        }
        for (segment, contents) in written.segments {
            bytes += contents.len();
            self.0.store.put(&segment_path(&segment.id), contents).await?;
        }
        let manifest = written.manifest.write();
        bytes += manifest.len();
        let folder = Name::folder(process.id);
        self.0.store.put(&format!("{folder}/{}", name.text()), manifest).await?;
        {
            let mut pages = self.pages();
            for (hash, place) in &written.stored {
                if let Some(pack) = written.manifest.packs.get(place.pack as usize) {
                    let (offset, bytes) = (place.offset, place.bytes);
                    pages.add(*hash, Stored { pack: pack.id, pack_bytes: pack.bytes, offset, bytes });
                }
            }
        }
        lineage.pending().drain(..pending);
        tracing::debug!(
            process = %process.id,
            nonce = name.nonce.map(|nonce| nonce.0),
            root = %name.root,
            pages = written.stored.len(),
            bytes,
            took_ms = started.elapsed().as_millis() as u64,
            "checkpoint written"
        );
        *last = Last { manifest: Some(written.manifest), tree: Some(written.tree) };
        drop(last);
        self.thin(process.id).await
    }

    /// Deletes the checkpoints of a process that are not worth keeping.
    async fn thin(&self, process: holon_protocol::ProcessId) -> Result<(), Error> {
        for name in retention::superfluous(&self.names(process).await?) {
            self.0.store.delete(&format!("{}/{}", Name::folder(process), name.text())).await?;
        }
        Ok(())
    }

    /// The leaves that change, as they are.
    async fn old_leaves(&self, diff: &Diff) -> Result<BTreeMap<u32, Leaf>, Error> {
        let Some(old) = diff.base.as_ref() else { return Ok(BTreeMap::new()) };
        let touched: Vec<LeafRef> = diff.touched().filter_map(|number| find_leaf(&old.leaves, number)).collect();
        self.leaves(old, &touched).await
    }

    /// The segments after `new` identities have come, and what of them must be written.
    async fn segments(&self, old: &Option<Manifest>, new: Vec<Known>) -> Result<Segments, Error> {
        let mut kept: Vec<SegmentRef> = old.as_ref().map(|old| old.segments.clone()).unwrap_or_default();
        if new.is_empty() {
            return Ok(Segments { list: kept, new: Vec::new() });
        }
        let counts: Vec<u32> = kept.iter().map(|segment| segment.count).collect();
        let merged = identities::merged(&counts, u32::try_from(new.len()).unwrap_or(u32::MAX));
        let mut all = Vec::new();
        for segment in kept.drain(kept.len() - merged..) {
            all.append(&mut self.segment(&segment).await?);
        }
        all.extend(new);
        let mut written = Vec::new();
        for part in all.chunks(SEGMENT_LIMIT as usize) {
            let contents = identities::write(part);
            let id = blake3::hash(&contents).into();
            let segment = SegmentRef { id, count: part.len() as u32, bytes: contents.len() as u32 };
            kept.push(segment);
            written.push((segment, contents));
        }
        Ok(Segments { list: kept, new: written })
    }
}

/// Segments of a new manifest.
struct Segments {
    list: Vec<SegmentRef>,
    new: Vec<(SegmentRef, Vec<u8>)>,
}

/// What changed since the last checkpoint.
struct Diff {
    tree: PageTree,
    initial: PageTree,
    root: crate::machine::StateRoot,
    changed: Vec<(u32, PageHash)>,
    /// What stays where it is.
    base: Option<Manifest>,
    /// Whether nothing may be referred to that was stored before.
    anew: bool,
}

impl Diff {
    fn new(snapshot: &Snapshot, old: Option<Manifest>, old_tree: Option<PageTree>) -> Result<Self, Error> {
        let tree = snapshot.fork.tree()?;
        let root = snapshot.fork.state_root(&snapshot.history)?;
        let initial = snapshot.process.initial_tree()?;
        let anew = old.as_ref().is_some_and(is_wasteful);
        let (changed, base) = match (old, old_tree) {
            (Some(old), Some(old_tree)) if !anew => (tree.changed_since(&old_tree), Some(old)),
            // The segments stay; pages and their tables do not.
            (old, _) => {
                let bare = old.map(|old| Manifest { packs: Vec::new(), leaves: Vec::new(), ..old });
                (tree.changed_since(&initial), bare)
            }
        };
        Ok(Self { tree, initial, root, changed, base, anew })
    }

    fn touched(&self) -> impl Iterator<Item = u32> + '_ {
        self.changed.chunk_by(|(a, _), (b, _)| a / LEAF_PAGES == b / LEAF_PAGES).map(|pages| pages[0].0 / LEAF_PAGES)
    }

    fn write(
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
        let mut used: Vec<i64> = packs.iter().map(|pack| i64::from(pack.used)).collect();
        let mut charge = |place: &Place, sign: i64| {
            let at = place.pack as usize;
            if used.len() <= at {
                used.resize(at + 1, 0);
            }
            used[at] += sign * i64::from(place.bytes);
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
        used.resize(packs.len(), 0);
        for (pack, used) in packs.iter_mut().zip(used) {
            pack.used = u32::try_from(used).unwrap_or(if used < 0 { 0 } else { u32::MAX });
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

/// What evaluated a process: says where a difference may come from, and decides nothing.
pub const EVALUATOR: &str = concat!("holon-cu/", env!("CARGO_PKG_VERSION"), " wasmtime/48");

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

fn find_leaf(leaves: &[LeafRef], number: u32) -> Option<LeafRef> {
    leaves.binary_search_by_key(&number, |leaf| leaf.number).ok().map(|at| leaves[at])
}

/// Runs what takes a while beside the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)?
}

/// Reads the leaf that `reference` says.
pub(super) fn read_leaf(
    unpacker: &mut Unpacker,
    reference: &LeafRef,
    stored: &[u8],
    packs: u32,
) -> Result<Leaf, Error> {
    let mut contents = vec![0; reference.bytes as usize];
    unpacker.exactly(stored, &mut contents)?;
    if blake3::hash(&contents) != reference.hash {
        return Err(Error::Hash { what: "a page table" });
    }
    Ok(Leaf::read(&contents, packs)?)
}

const _: () = assert!(NEW_PACKS * PACK_LIMIT_BYTES > 4 << 30, "the largest memory fits");
