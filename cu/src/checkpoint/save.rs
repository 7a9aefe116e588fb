//! Writing checkpoints: what changed since the last one of the same process, beside the stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::chunk::{PACK_LIMIT_BYTES, Unpacker};
use super::diff::{Diff, Segments, Written, find_leaf};
use super::identities::{self, SEGMENT_LIMIT};
use super::lineage::{Base, Lineage};
use super::manifest::{LeafRef, PackRef, SegmentRef};
use super::name::Name;
use super::pages::Stored;
use super::table::Leaf;
use super::{Checkpoints, Error, collect, pack_path, retention, segment_path};
use crate::machine::Fork;
use crate::process::Process;
use crate::results::Known;
use crate::stream::Resume;

/// Packs that one checkpoint may add.
pub(super) const NEW_PACKS: usize = 300;

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
    /// What it has seen since the last snapshot of the same lineage; `None` if that was too much to be kept.
    pub identities: Option<Vec<Known>>,
}

impl Checkpoints {
    /// Writes the next checkpoint of a lineage, whose turn it is.
    pub(super) async fn write(&self, lineage: &Arc<Lineage>, snapshot: Snapshot) -> Result<(), Error> {
        let started = Instant::now();
        let process = snapshot.process.id;
        let results = self.0.results.clone();
        // What the checkpoint stands on must be in the file before the checkpoint is.
        blocking(move || results.flush().map_err(|error| Error::Machine(error.to_string()))).await?;
        let (base, unwritten) = (lineage.base(), lineage.unwritten());
        let (snapshot, diff) = compare(snapshot, base.clone(), false).await?;
        let taken = match &base {
            Some(base) if self.0.ledger.any_damaged(base.manifest.packs.iter().map(|pack| &pack.id)) => {
                Err(Error::Damaged)
            }
            base => self.take_over(&snapshot, &diff, base.as_deref(), unwritten).await,
        };
        let (snapshot, diff, old_leaves, segments) = match taken {
            Ok((leaves, segments)) => (snapshot, diff, leaves, segments),
            Err(error) if base.is_none() || matches!(error, Error::Stopping) => return Err(error),
            Err(error) => {
                tracing::warn!(%process, %error, "the last checkpoint cannot be gone on from; the next is written anew");
                let (snapshot, diff) = compare(snapshot, None, true).await?;
                let segments = self.all_segments(&snapshot).await?;
                (snapshot, diff, BTreeMap::new(), segments)
            }
        };
        let (known, held) = self.0.ledger.find(diff.changed.iter().filter(|_| !diff.anew).map(|(_, hash)| *hash));
        // The snapshot ends here: what follows may take long, and as long as it is there, commits keep pages for it.
        let written = blocking(move || diff.write(&snapshot, old_leaves, segments, &known)).await?;
        let Some(name) = Name::of(&written.manifest) else { return Ok(()) };
        let path = format!("{}/{}", Name::folder(process), name.text());
        let _held = (held, self.0.ledger.hold(collect::references(&written.manifest).chain([path.clone()])).await);
        let Written { manifest, tree, packs, segments, stored } = written;
        let (pages, mut bytes) = (stored.len(), 0);
        for (id, pack) in packs {
            bytes += pack.len();
            self.0.store.put(&pack_path(&id), pack).await?;
            self.0.ledger.written(&id);
        }
        for (segment, contents) in segments {
            bytes += contents.len();
            self.0.store.put(&segment_path(&segment.id), contents).await?;
        }
        let contents = manifest.write();
        bytes += contents.len();
        self.0.store.put(&path, contents).await?;
        self.0.ledger.add(stored.into_iter().filter_map(|(hash, place)| {
            let pack = manifest.packs.get(place.pack as usize)?;
            Some((hash, Stored { pack: pack.id, pack_bytes: pack.bytes, offset: place.offset, bytes: place.bytes }))
        }));
        lineage.written(Base { manifest, tree });
        if base.is_none() {
            self.0.ledger.lives(lineage);
        }
        tracing::debug!(
            process = %process,
            nonce = name.nonce.map(|nonce| nonce.0),
            root = %name.root,
            pages,
            bytes,
            took_ms = started.elapsed().as_millis() as u64,
            "checkpoint written"
        );
        self.thin(&name, process).await
    }

    /// Reads what the next checkpoint takes over from the last one: the leaves that change, as they are, and segments.
    async fn take_over(
        &self,
        snapshot: &Snapshot,
        diff: &Diff,
        base: Option<&Base>,
        unwritten: Option<Vec<Known>>,
    ) -> Result<(BTreeMap<u32, Leaf>, Segments), Error> {
        let leaves = match &diff.base {
            Some(old) => {
                let touched: Vec<LeafRef> =
                    diff.touched().filter_map(|number| find_leaf(&old.leaves, number)).collect();
                self.leaves(old, &touched).await?
            }
            None => BTreeMap::new(),
        };
        let segments = match unwritten {
            Some(new) => self.more_segments(base.map_or(&[], |base| &base.manifest.segments), new).await?,
            None => self.all_segments(snapshot).await?,
        };
        Ok((leaves, segments))
    }

    /// The segments after `new` identities have come, and what of them must be written.
    async fn more_segments(&self, old: &[SegmentRef], new: Vec<Known>) -> Result<Segments, Error> {
        let mut segments = Segments { list: old.to_vec(), new: Vec::new() };
        if new.is_empty() {
            return Ok(segments);
        }
        let counts: Vec<u32> = old.iter().map(|segment| segment.count).collect();
        let merged = identities::merged(&counts, u32::try_from(new.len()).unwrap_or(u32::MAX));
        let mut all = Vec::new();
        for segment in segments.list.drain(old.len() - merged..) {
            all.append(&mut self.segment(&segment).await?);
        }
        all.extend(new);
        segments.write(&all);
        Ok(segments)
    }

    /// Segments of everything that the result store says the process has seen, if that is what it has seen.
    async fn all_segments(&self, snapshot: &Snapshot) -> Result<Segments, Error> {
        let (results, process, history) = (self.0.results.clone(), snapshot.process.id, snapshot.history);
        let until = snapshot.resume.link.map(|link| link.nonce);
        blocking(move || {
            let mut all = results.identities(process).map_err(|error| Error::Machine(error.to_string()))?;
            all.retain(|known| Some(known.nonce) <= until);
            identities::check(&all, &history)?;
            let mut segments = Segments { list: Vec::new(), new: Vec::new() };
            segments.write(&all);
            Ok(segments)
        })
        .await
    }

    /// Deletes the checkpoints of a process that are not worth keeping. The one just written is, wherever it stands: it may come
    /// before others that turned out to be unusable.
    async fn thin(&self, written: &Name, process: holon_protocol::ProcessId) -> Result<(), Error> {
        for name in retention::superfluous(&self.names(process).await?) {
            let path = format!("{}/{}", Name::folder(process), name.text());
            if name != *written
                && let Some(_deleting) = self.0.ledger.delete(&path)
            {
                self.0.store.delete(&path).await?;
            }
        }
        Ok(())
    }
}

impl Segments {
    /// Adds identities as segments that must be written.
    fn write(&mut self, identities: &[Known]) {
        for part in identities.chunks(SEGMENT_LIMIT as usize) {
            let contents = identities::write(part);
            let id = blake3::hash(&contents).into();
            let segment = SegmentRef { id, count: part.len() as u32, bytes: contents.len() as u32 };
            self.list.push(segment);
            self.new.push((segment, contents));
        }
    }
}

/// Compares a snapshot with the last checkpoint.
async fn compare(snapshot: Snapshot, base: Option<Arc<Base>>, anew: bool) -> Result<(Snapshot, Diff), Error> {
    blocking(move || {
        let diff = Diff::new(&snapshot, base.as_deref(), anew)?;
        Ok((snapshot, diff))
    })
    .await
}

/// What evaluated a process: says where a difference may come from, and decides nothing.
pub const EVALUATOR: &str = concat!("holon-cu/", env!("CARGO_PKG_VERSION"), " wasmtime/48");

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
    packs: &[PackRef],
) -> Result<Leaf, Error> {
    let pack = packs.get(reference.place.pack as usize).ok_or(Error::Other("pack"))?.id;
    let rotten = |_| Error::Rotten { what: "a page table", pack };
    let mut contents = vec![0; reference.bytes as usize];
    unpacker.exactly(stored, &mut contents).map_err(rotten)?;
    if blake3::hash(&contents) != reference.hash {
        return Err(Error::Rotten { what: "a page table", pack });
    }
    Ok(Leaf::read(&contents, packs.len() as u32)?)
}

const _: () = assert!(NEW_PACKS * PACK_LIMIT_BYTES > 4 << 30, "the largest memory fits");
