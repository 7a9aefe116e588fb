//! Reading checkpoints: the nearest usable one, every part of it checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::chunk::{Place, Unpacker};
use super::identities;
use super::lineage::Lineage;
use super::manifest::{LeafRef, MAX_MANIFEST_BYTES, Manifest, SegmentRef};
use super::name::{Name, Reach};
use super::pages::Stored;
use super::save::{blocking, read_leaf};
use super::table::{Content, LEAF_PAGES, Leaf};
use super::{Checkpoints, Error, pack_path, segment_path};
use crate::machine::{Machine, PAGE_BYTES, PageHash};
use crate::process::Process;
use crate::results::Known;
use crate::stream::Stream;

/// Checkpoints that are tried before the log is taken instead.
const TRIES: usize = 8;
/// Packs read at the same time for one checkpoint.
const READS: usize = 8;

/// A process brought back.
pub struct Restored {
    /// Its memory.
    pub machine: Machine,
    /// Its messages from here on.
    pub stream: Stream,
    /// Hash of what it has seen.
    pub history: [u8; 32],
    /// Its checkpoints from here on.
    pub lineage: Arc<Lineage>,
}

/// A page that differs from the initial one.
struct Page {
    index: u32,
    /// Its hash, where it is stored, and its compressed form; `None` for a zero page.
    stored: Option<(PageHash, Stored, bytes::Bytes)>,
}

impl Checkpoints {
    /// The nearest usable checkpoint for `reach`, and the machine made of it by `run`, which runs a job where machines are made.
    /// `None` when there is none. One that cannot be used is logged and passed over.
    pub async fn restore<R, F>(&self, process: &Arc<Process>, reach: Reach, run: R) -> Option<Restored>
    where
        R: Fn(Box<dyn FnOnce() -> Result<Restored, Error> + Send>) -> F,
        F: Future<Output = Result<Restored, Error>>,
    {
        let names = match self.names(process.id).await {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(process = %process.id, %error, "checkpoints cannot be listed");
                return None;
            }
        };
        for name in names.iter().rev().filter(|name| name.serves(reach)).take(TRIES) {
            match self.restore_one(process, name, &run).await {
                Ok(restored) => {
                    tracing::debug!(process = %process.id, nonce = name.nonce.map(|nonce| nonce.0), root = %name.root, "resumed from a checkpoint");
                    return Some(restored);
                }
                Err(Error::Stopping) => return None,
                Err(error) => {
                    tracing::warn!(process = %process.id, checkpoint = name.text(), %error, "a checkpoint is refused");
                }
            }
        }
        None
    }

    pub(super) async fn restore_one<R, F>(
        &self,
        process: &Arc<Process>,
        name: &Name,
        run: &R,
    ) -> Result<Restored, Error>
    where
        R: Fn(Box<dyn FnOnce() -> Result<Restored, Error> + Send>) -> F,
        F: Future<Output = Result<Restored, Error>>,
    {
        let _place = self.0.restores.acquire().await.map_err(|_| Error::Stopping)?;
        let path = format!("{}/{}", Name::folder(process.id), name.text());
        // As long as the manifest stays, so does what it refers to.
        let _held = self.0.ledger.hold([path.clone()]).await;
        let manifest = Manifest::read(&self.0.store.get(&path, MAX_MANIFEST_BYTES as u64).await?)?;
        if manifest.process != process.id {
            return Err(Error::Other("process"));
        }
        if manifest.module != process.module_id() {
            return Err(Error::Other("module"));
        }
        if Name::of(&manifest).as_ref() != Some(name) {
            return Err(Error::Other("position"));
        }
        process.check_memory(manifest.memory_bytes)?;
        self.import(&manifest).await?;
        let leaves = self.leaves(&manifest, &manifest.leaves).await?;
        let pages = Arc::new(self.pages_of(&manifest, &leaves).await?);
        let (process, contents) = (process.clone(), pages.clone());
        let restored = match run(Box::new(move || build(&process, manifest, &contents))).await {
            Err(Error::Rotten { what, pack }) => {
                self.0.ledger.damaged(pack);
                return Err(Error::Rotten { what, pack });
            }
            restored => restored?,
        };
        // Only now it is known that the packs have what the manifest says.
        self.0
            .ledger
            .add(pages.iter().filter_map(|page| page.stored.as_ref().map(|(hash, stored, _)| (*hash, *stored))));
        self.0.ledger.lives(&restored.lineage);
        Ok(restored)
    }

    /// The leaves that `references` say, from the packs of `manifest`.
    pub(super) async fn leaves(
        &self,
        manifest: &Manifest,
        references: &[LeafRef],
    ) -> Result<BTreeMap<u32, Leaf>, Error> {
        let stored = self.chunks(manifest, references.iter().map(|leaf| leaf.place)).await?;
        let (references, packs) = (references.to_vec(), manifest.packs.clone());
        let read = blocking(move || {
            let mut unpacker = Unpacker::new()?;
            let read = |(reference, stored): (LeafRef, bytes::Bytes)| {
                Ok((reference.number, read_leaf(&mut unpacker, &reference, &stored, &packs)?))
            };
            references.into_iter().zip(stored).map(read).collect()
        });
        let leaves = read.await;
        if let Err(Error::Rotten { pack, .. }) = &leaves {
            self.0.ledger.damaged(*pack);
        }
        leaves
    }

    async fn pages_of(&self, manifest: &Manifest, leaves: &BTreeMap<u32, Leaf>) -> Result<Vec<Page>, Error> {
        let entries = || {
            leaves.iter().flat_map(|(number, leaf)| {
                leaf.entries().map(move |(within, content)| (number * LEAF_PAGES + u32::from(within), content))
            })
        };
        let places = entries().filter_map(|(_, content)| match content {
            Content::Zero => None,
            Content::Stored(_, place) => Some(place),
        });
        let mut chunks = self.chunks(manifest, places).await?.into_iter();
        let page = |(index, content)| {
            let stored = match content {
                Content::Zero => None,
                Content::Stored(hash, Place { pack, offset, bytes }) => {
                    let pack = manifest.packs.get(pack as usize).ok_or(Error::Other("pack"))?;
                    let stored = Stored { pack: pack.id, pack_bytes: pack.bytes, offset, bytes };
                    Some((hash, stored, chunks.next().unwrap_or_default()))
                }
            };
            Ok(Page { index, stored })
        };
        entries().map(page).collect()
    }

    /// The chunks at `places`, in the same order, read pack by pack.
    async fn chunks(
        &self,
        manifest: &Manifest,
        places: impl Iterator<Item = Place>,
    ) -> Result<Vec<bytes::Bytes>, Error> {
        let places: Vec<Place> = places.collect();
        let mut by_pack: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, place) in places.iter().enumerate() {
            by_pack.entry(place.pack).or_default().push(at);
        }
        let places = &places;
        let reads = by_pack.into_iter().map(|(pack, at)| async move {
            let pack = manifest.packs.get(pack as usize).ok_or(Error::Other("pack"))?;
            let ranges: Vec<_> = at.iter().map(|at| u64::from(places[*at].offset)..places[*at].end()).collect();
            let parts = self.0.store.parts(&pack_path(&pack.id), &ranges).await;
            // Whatever the reason: storing some pages once more is cheaper than a checkpoint that cannot be read.
            let parts = parts.inspect_err(|_| self.0.ledger.damaged(pack.id))?;
            Ok::<_, Error>(at.into_iter().zip(parts).collect::<Vec<_>>())
        });
        let mut found = vec![bytes::Bytes::new(); places.len()];
        let mut reads = stream::iter(reads).buffer_unordered(READS);
        while let Some(parts) = reads.try_next().await? {
            for (at, part) in parts {
                found[at] = part;
            }
        }
        Ok(found)
    }

    /// Lets the result store know what the process has seen, if it does not.
    async fn import(&self, manifest: &Manifest) -> Result<(), Error> {
        let Some(link) = manifest.resume.link else { return Ok(()) };
        let process = manifest.process;
        let failed = |error: crate::results::StoreError| Error::Machine(error.to_string());
        if self.0.results.known_until(process).map_err(failed)? >= Some((link.clock, link.nonce)) {
            return Ok(());
        }
        let mut all = Vec::new();
        for segment in &manifest.segments {
            all.append(&mut self.segment(segment).await?);
        }
        let (results, history) = (self.0.results.clone(), manifest.history);
        blocking(move || {
            identities::check(&all, &history)?;
            results.import(process, &all, (link.clock, link.nonce)).map_err(failed)
        })
        .await
    }

    /// The identities of a segment.
    pub(super) async fn segment(&self, segment: &SegmentRef) -> Result<Vec<Known>, Error> {
        let contents = self.0.store.get(&segment_path(&segment.id), segment.bytes.into()).await?;
        if blake3::hash(&contents) != segment.id {
            return Err(Error::Hash { what: "a segment of identities" });
        }
        Ok(identities::read(&contents)?)
    }
}

/// Makes the machine, and checks that it is what the manifest says.
fn build(process: &Process, manifest: Manifest, pages: &[Page]) -> Result<Restored, Error> {
    let mut unpacker = Unpacker::new()?;
    let mut rotten = None;
    let read = |Page { index, stored }: &Page| {
        let mut page = Box::new([0; PAGE_BYTES]);
        if let Some((hash, stored, chunk)) = stored {
            let right = unpacker.exactly(chunk, &mut page[..]).is_ok() && PageHash::of(&page) == *hash;
            if !right {
                rotten = Some(stored.pack);
                return Err(std::io::ErrorKind::InvalidData.into());
            }
        }
        Ok((*index, page))
    };
    let machine = process.restore(manifest.memory_bytes, pages.iter().map(read));
    if let Some(pack) = rotten {
        return Err(Error::Rotten { what: "a page", pack });
    }
    let mut machine = machine?;
    let fork = machine.fork()?;
    let found = fork.state_root(&manifest.history)?;
    if found != manifest.root {
        return Err(Error::Root { found, named: manifest.root });
    }
    let (id, owner, origin, schedule) = (process.id, process.owner.clone(), process.origin, process.schedule.clone());
    let stream = Stream::resume(id, owner, origin, schedule, manifest.resume.clone());
    let stream = stream.ok_or(Error::Other("schedule of cron messages"))?;
    let history = manifest.history;
    let lineage = Arc::new(Lineage::from(manifest, fork.tree()?));
    Ok(Restored { machine, stream, history, lineage })
}
