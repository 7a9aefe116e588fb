//! WeaveDrive over a gateway (spec 06 §9): which data a process may read, and reading it.
//!
//! Called on evaluation threads, which block until the gateway has answered, the message's time is over, or somebody ends its
//! evaluation; others are evaluated meanwhile. Answers that cannot change are kept: data and headers of items, blocks deep in the chain,
//! and admissions. A refusal is never kept, since an attestation may come later, nor is a block that another one can still replace.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_arweave::{DataPath, Gateway};
use holon_protocol::{BlockHeight, ItemId, Tags, base64url};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::json as text;
use crate::log::blocks::CONFIRMATIONS;
use crate::machine::{Drive, DriveContext, DriveFile, Halt, HostFailure, Waiting};

/// Bytes fetched at once from a file.
const CHUNK_BYTES: u64 = 1 << 20;
/// Bytes of file contents kept, over all files.
const CACHE_BYTES: u64 = 256 << 20;
/// Bytes of transactions and blocks kept. Old transactions hold their data.
const FILE_CACHE_BYTES: u64 = 64 << 20;
/// Files and admissions kept.
const CACHE_ENTRIES: usize = 4096;
/// Pause before `/tx` and `/block` are asked for again for the first time; it doubles. Spec 06 §9.2 waits for up to 100
/// seconds in all; here an evaluation thread waits, so the operator says for how long.
const HEADER_PAUSE: Duration = Duration::from_millis(500);
/// Longest time one answer of the gateway may keep an evaluation waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether an evaluation may wait on.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The drive of every process of this unit.
pub struct GatewayDrive {
    /// Asked in order.
    gateways: Vec<Gateway>,
    wait: Wait,
    header_patience: Duration,
    /// Whether every process may read everything (spec 06 §9.3, rule 1).
    admits_all: bool,
    cache: Arc<Mutex<Cache>>,
}

/// Waiting on an evaluation thread, which ends when the service stops.
#[derive(Clone)]
struct Wait {
    runtime: Handle,
    stopping: CancellationToken,
}

#[derive(Default)]
struct Cache {
    files: HashMap<String, Kept>,
    order: VecDeque<String>,
    /// Bytes that the files hold themselves.
    file_bytes: u64,
    admitted: HashMap<[u8; 32], ()>,
    /// The greatest height that a gateway has told.
    newest: u64,
    chunks: HashMap<(ItemId, u64), Arc<[u8]>>,
    chunk_order: VecDeque<(ItemId, u64)>,
    chunk_bytes: u64,
}

/// A file, if there is one at a path.
type Opened = Result<Option<Arc<dyn DriveFile>>, HostFailure>;

/// A file, and how many bytes it holds itself.
struct Kept {
    file: Arc<dyn DriveFile>,
    bytes: u64,
}

fn lock(cache: &Mutex<Cache>) -> std::sync::MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

fn halt(reason: impl ToString) -> Halt {
    Halt { reason: reason.to_string() }
}

impl GatewayDrive {
    /// A drive that reads from `gateways`, in order, with the connections of `runtime`, until `stopping`. Headers that are not
    /// there are asked for again for `header_patience`.
    pub fn new(
        gateways: Vec<Gateway>,
        runtime: Handle,
        stopping: CancellationToken,
        header_patience: Duration,
    ) -> Self {
        let wait = Wait { runtime, stopping };
        Self { gateways, wait, header_patience, admits_all: false, cache: Arc::default() }
    }

    /// Lets every process read everything: the mode `test` of spec 06 §9.3. What is evaluated with it has other results than elsewhere.
    pub fn admitting_all(mut self, all: bool) -> Self {
        self.admits_all = all;
        self
    }

    /// The first answer that a gateway has, with the gateway; else what the first one said (spec 06 §9.2).
    fn ask<T, R>(
        &self,
        waiting: &mut Waiting<'_>,
        read: impl Fn(Gateway) -> R,
    ) -> Result<Option<(Gateway, T)>, HostFailure>
    where
        R: Future<Output = Result<Option<T>, holon_arweave::Error>> + Send + 'static,
        T: Send + 'static,
    {
        let mut first = None;
        for gateway in &self.gateways {
            match self.wait.answer(waiting, read(gateway.clone())) {
                Ok(Some(answer)) => return Ok(Some((gateway.clone(), answer))),
                Ok(None) => _ = first.get_or_insert(Ok(None)),
                Err(halt @ HostFailure::Halt(_)) => _ = first.get_or_insert(Err(halt)),
                // There is no time for another one.
                Err(failure) => return Err(failure),
            }
        }
        first.unwrap_or(Ok(None))
    }

    fn data(&self, id: ItemId, context: &DriveContext<'_>, waiting: &mut Waiting<'_>) -> Opened {
        self.admit(id, context, waiting)?;
        self.kept(format!("/data/{id}"), || {
            let found = self.ask(waiting, |gateway| async move { gateway.located(id).await })?;
            let (gateway, (path, size)) = found.ok_or_else(|| halt(format!("FILE NOT FOUND: {id}")))?;
            let (wait, cache) = (self.wait.clone(), self.cache.clone());
            // Its bytes are counted where they are kept.
            Ok((Arc::new(DataFile { id, path, size, gateway, wait, cache }), 0))
        })
    }

    fn transaction(&self, id: ItemId, waiting: &mut Waiting<'_>) -> Opened {
        self.kept(format!("/tx/{id}"), || {
            let read =
                |waiting: &mut Waiting<'_>| self.ask(waiting, |gateway| async move { gateway.transaction(id).await });
            let mut transaction = self.patiently(waiting, read)?;
            let owner = transaction.get("owner").and_then(Value::as_str).unwrap_or_default();
            let owner = base64url::decode(owner).map_err(|error| halt(format!("owner of {id}: {error}")))?;
            let address = base64url::encode(Sha256::digest(owner));
            if let Value::Object(members) = &mut transaction {
                // At the end, whatever was there.
                members.shift_remove("ownerAddress");
                members.insert("ownerAddress".into(), address.into());
            }
            let mut out = String::new();
            text::value(&mut out, &transaction);
            let bytes = out.len() as u64;
            Ok((Arc::new(out.into_bytes()), bytes))
        })
    }

    fn block(&self, height: BlockHeight, waiting: &mut Waiting<'_>) -> Opened {
        let path = format!("/block/{height}");
        if let Some(kept) = lock(&self.cache).files.get(&path) {
            return Ok(Some(kept.file.clone()));
        }
        // Before the block: one that was deep before it was read is deep.
        let stays = self.stays(height, waiting)?;
        let read = |waiting: &mut Waiting<'_>| self.ask(waiting, |gateway| async move { gateway.block(height).await });
        let block = self.patiently(waiting, read)?;
        let (file, bytes): (Arc<dyn DriveFile>, u64) = (Arc::new(block.to_vec()), block.len() as u64);
        if stays {
            lock(&self.cache).keep(path, Kept { file: file.clone(), bytes });
        }
        Ok(Some(file))
    }

    /// Whether enough blocks lie above this height. A gateway that does not say how many there are is taken to have none.
    fn stays(&self, height: BlockHeight, waiting: &mut Waiting<'_>) -> Result<bool, HostFailure> {
        let deep = |newest: u64| height.0.saturating_add(CONFIRMATIONS) <= newest;
        if deep(lock(&self.cache).newest) {
            return Ok(true);
        }
        let look = |gateway: Gateway| async move { gateway.info().await.map(Some) };
        let newest = match self.ask(waiting, look) {
            Ok(found) => found.map_or(0, |(_, info)| info.height.0),
            Err(HostFailure::Halt(_)) => 0,
            Err(failure) => return Err(failure),
        };
        let mut cache = lock(&self.cache);
        cache.newest = cache.newest.max(newest);
        Ok(deep(cache.newest))
    }

    /// Tries again while there is no answer; in the end the evaluation is abandoned.
    fn patiently<T>(
        &self,
        waiting: &mut Waiting<'_>,
        read: impl Fn(&mut Waiting<'_>) -> Result<Option<(Gateway, T)>, HostFailure>,
    ) -> Result<T, HostFailure> {
        let (started, mut pause) = (Instant::now(), HEADER_PAUSE);
        loop {
            let problem = match read(waiting) {
                Ok(Some((_, value))) => return Ok(value),
                Ok(None) => halt("FILE NOT FOUND"),
                Err(HostFailure::Halt(problem)) => problem,
                Err(failure) => return Err(failure),
            };
            let left = self.header_patience.saturating_sub(started.elapsed());
            if left.is_zero() || !self.wait.pause(waiting, pause.min(left))? {
                return Err(problem.into());
            }
            pause *= 2;
        }
    }

    /// The file at `path` if it is kept, else what `open` gives, with the bytes that it holds.
    fn kept(&self, path: String, open: impl FnOnce() -> Result<(Arc<dyn DriveFile>, u64), HostFailure>) -> Opened {
        if let Some(kept) = lock(&self.cache).files.get(&path) {
            return Ok(Some(kept.file.clone()));
        }
        let (file, bytes) = open()?;
        lock(&self.cache).keep(path, Kept { file: file.clone(), bytes });
        Ok(Some(file))
    }

    /// Spec 06 §9.3.
    fn admit(&self, id: ItemId, context: &DriveContext<'_>, waiting: &mut Waiting<'_>) -> Result<(), HostFailure> {
        let refuse = |reason: String| Err(HostFailure::Halt(halt(reason)));
        let (process, module) = (context.process_tags, context.module_tags);
        let name = id.to_string();
        if self.admits_all {
            return Ok(());
        }
        if process.all("On-Boot").last() == Some(name.as_str()) {
            return Ok(());
        }
        if !module.contains("Extension", "WeaveDrive") && !process.contains("Extension", "WeaveDrive") {
            return refuse(format!("{id} is not admitted: the process has no WeaveDrive extension"));
        }
        let last = |tags: &Tags, name| tags.all(name).last().map(str::to_owned);
        let mode = last(process, "Availability-Type")
            .or_else(|| last(module, "Availability-Type"))
            .unwrap_or_else(|| "Assignments".into());
        if !matches!(mode.as_str(), "Assignments" | "Individual" | "Library") {
            return refuse(format!("Availability-Type {mode:?} is not Assignments, Individual or Library"));
        }
        let attestors: Vec<&str> = process.all("Scheduler").last().into_iter().chain(process.all("Attestor")).collect();
        // A gateway takes an empty list for everybody.
        if attestors.is_empty() {
            return refuse(format!("{id} is not admitted: the process names nobody who could attest it"));
        }
        // An admission at some height holds at every later one, so it is kept with its height.
        let admission: [u8; 32] = {
            let mut hash = Sha256::new();
            for part in [name.as_str(), mode.as_str()].into_iter().chain(attestors.iter().copied()) {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
            hash.update(context.block_height.to_le_bytes());
            hash.finalize().into()
        };
        if lock(&self.cache).admitted.contains_key(&admission) {
            return Ok(());
        }
        let assigned = [("Type", "Attestation"), ("Message", name.as_str()), ("Data-Protocol", "ao")];
        let available = [("Type", "Available"), ("ID", name.as_str()), ("Data-Protocol", "WeaveDrive")];
        let found = self.attested(&attestors, context.block_height, &assigned, waiting)?
            || mode == "Individual" && self.attested(&attestors, context.block_height, &available, waiting)?;
        if !found {
            let library = if mode == "Library" { " (Library is not supported)" } else { "" };
            return refuse(format!("{id} is not admitted: no attestation up to this height{library}"));
        }
        let mut cache = lock(&self.cache);
        if cache.admitted.len() >= CACHE_ENTRIES {
            cache.admitted.clear();
        }
        cache.admitted.insert(admission, ());
        Ok(())
    }

    fn attested(
        &self,
        owners: &[&str],
        height: u64,
        tags: &[(&str, &str)],
        waiting: &mut Waiting<'_>,
    ) -> Result<bool, HostFailure> {
        let tags: Vec<Value> = tags.iter().map(|(name, value)| json!({"name": name, "values": [value]})).collect();
        let request = json!({
            "query": "query ($owners: [String!], $max: Int, $tags: [TagFilter!]) { transactions(owners: $owners, \
                      block: { min: 0, max: $max }, tags: $tags) { edges { node { id } } } }",
            "variables": { "owners": owners, "max": height, "tags": tags },
        });
        let read = |gateway: Gateway| {
            let request = request.clone();
            async move { gateway.graphql(&request).await.map(Some) }
        };
        let answer = self.ask(waiting, read)?.map(|(_, answer)| answer).unwrap_or_default();
        let edges = answer.get("transactions").and_then(|found| found.get("edges")).and_then(Value::as_array);
        Ok(edges.is_some_and(|edges| !edges.is_empty()))
    }
}

impl Cache {
    /// Keeps a file, and forgets the oldest ones beyond the limits.
    fn keep(&mut self, path: String, kept: Kept) {
        self.file_bytes += kept.bytes;
        match self.files.insert(path.clone(), kept) {
            None => self.order.push_back(path),
            Some(before) => self.file_bytes -= before.bytes,
        }
        while (self.order.len() > CACHE_ENTRIES || self.file_bytes > FILE_CACHE_BYTES)
            && let Some(oldest) = self.order.pop_front()
        {
            self.file_bytes -= self.files.remove(&oldest).map_or(0, |gone| gone.bytes);
        }
    }
}

impl Drive for GatewayDrive {
    fn open(&self, path: &str, context: &DriveContext<'_>, waiting: &mut Waiting<'_>) -> Opened {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (category, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let id = || name.parse::<ItemId>().map_err(|error| halt(format!("FILE NOT FOUND: {error}")));
        match category {
            "data" => self.data(id()?, context, waiting),
            "tx" => self.transaction(id()?, waiting),
            "block" => match name.parse() {
                Ok(height) => self.block(height, waiting),
                Err(_) => Err(halt(format!("FILE NOT FOUND: {name:?} is not a height")).into()),
            },
            _ => Ok(None),
        }
    }
}

impl Wait {
    /// What `read` gives. The runtime's own threads ask: whatever is started for an answer, a thread for instance, has the priority of
    /// whoever starts it, and this one's may be low.
    fn answer<T: Send + 'static>(
        &self,
        waiting: &mut Waiting<'_>,
        read: impl Future<Output = Result<T, holon_arweave::Error>> + Send + 'static,
    ) -> Result<T, HostFailure> {
        waiting.outside(|enough| {
            let asking = self.runtime.spawn(async { tokio::time::timeout(PATIENCE, read).await });
            // Nobody needs the answer if this one does not wait for it.
            let asking = AbortOnDropHandle::new(asking);
            let answer = self.runtime.block_on(self.unless(enough, asking))?;
            let answer = answer.map_err(|error| halt(format!("the request ended early: {error}")))?;
            let answer = answer.map_err(|_| halt(format!("the gateway did not answer within {PATIENCE:?}")))?;
            answer.map_err(halt)
        })
    }

    /// Whether the pause was not cut short.
    fn pause(&self, waiting: &mut Waiting<'_>, pause: Duration) -> Result<bool, HostFailure> {
        let sleep = async { tokio::time::sleep(pause).await };
        waiting.outside(|enough| Ok(self.runtime.block_on(self.unless(enough, sleep)).is_ok()))
    }

    /// What `work` gives, unless the service stops before, or it is `enough`.
    async fn unless<T>(&self, enough: &dyn Fn() -> bool, work: impl Future<Output = T>) -> Result<T, Halt> {
        let mut work = std::pin::pin!(work);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.stopping.cancelled() => return Err(halt("the service is stopping")),
                _ = looks.tick() => if enough() {
                    return Err(halt("the evaluation may not wait any longer"));
                },
            }
        }
    }
}

/// A file below `/data`, read in chunks as they are needed.
struct DataFile {
    id: ItemId,
    path: DataPath,
    size: u64,
    gateway: Gateway,
    wait: Wait,
    cache: Arc<Mutex<Cache>>,
}

impl DataFile {
    fn chunk(&self, number: u64, waiting: &mut Waiting<'_>) -> Result<Arc<[u8]>, HostFailure> {
        let key = (self.id, number);
        if let Some(chunk) = lock(&self.cache).chunks.get(&key) {
            return Ok(chunk.clone());
        }
        let start = number * CHUNK_BYTES;
        let end = (start + CHUNK_BYTES).min(self.size);
        let (gateway, path, id) = (self.gateway.clone(), self.path, self.id);
        let read = async move { gateway.range_at(path, id, start, end).await };
        let bytes = self.wait.answer(waiting, read)?;
        if bytes.len() as u64 != end - start {
            return Err(halt(format!("{} has fewer bytes than announced", self.id)).into());
        }
        let chunk: Arc<[u8]> = bytes.as_ref().into();
        let mut cache = lock(&self.cache);
        if cache.chunks.insert(key, chunk.clone()).is_none() {
            cache.chunk_order.push_back(key);
            cache.chunk_bytes += chunk.len() as u64;
        }
        while cache.chunk_bytes > CACHE_BYTES
            && let Some(oldest) = cache.chunk_order.pop_front()
        {
            let gone = cache.chunks.remove(&oldest).map_or(0, |chunk| chunk.len() as u64);
            cache.chunk_bytes -= gone;
        }
        Ok(chunk)
    }
}

impl DriveFile for DataFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, position: u64, destination: &mut [u8], waiting: &mut Waiting<'_>) -> Result<usize, HostFailure> {
        let mut done = 0;
        while done < destination.len() && position + (done as u64) < self.size {
            let at = position + done as u64;
            let chunk = self.chunk(at / CHUNK_BYTES, waiting)?;
            let from = &chunk[(at % CHUNK_BYTES) as usize..];
            let count = from.len().min(destination.len() - done);
            destination[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests;
