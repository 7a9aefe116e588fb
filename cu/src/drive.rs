//! WeaveDrive over a gateway (spec 06 §9): which data a process may read, and reading it.
//!
//! Called on evaluation threads, which block until the gateway has answered. Answers that cannot change are kept: data
//! and headers of items, and admissions. A refusal is never kept, since an attestation may come later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_arweave::{DataPath, Gateway};
use holon_protocol::{BlockHeight, ItemId, Tags, base64url};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::json as text;
use crate::machine::{Drive, DriveContext, DriveFile, Halt};

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

/// The drive of every process of this unit.
pub struct GatewayDrive {
    /// Asked in order.
    gateways: Vec<Gateway>,
    wait: Wait,
    header_patience: Duration,
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
    chunks: HashMap<(ItemId, u64), Arc<[u8]>>,
    chunk_order: VecDeque<(ItemId, u64)>,
    chunk_bytes: u64,
}

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
        Self { gateways, wait: Wait { runtime, stopping }, header_patience, cache: Arc::default() }
    }

    /// The first answer that a gateway has, with the gateway; else what the first one said (spec 06 §9.2).
    fn ask<T, R>(&self, read: impl Fn(Gateway) -> R) -> Result<Option<(Gateway, T)>, Halt>
    where
        R: Future<Output = Result<Option<T>, holon_arweave::Error>>,
    {
        let mut first = None;
        for gateway in &self.gateways {
            match self.wait.answer(read(gateway.clone())) {
                Ok(Some(answer)) => return Ok(Some((gateway.clone(), answer))),
                other => {
                    first.get_or_insert(other.map(|_| None));
                }
            }
        }
        first.unwrap_or(Ok(None))
    }

    fn data(&self, id: ItemId, context: &DriveContext<'_>) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        self.admit(id, context)?;
        self.kept(format!("/data/{id}"), || {
            let found = self.ask(|gateway| async move { gateway.located(id).await })?;
            let (gateway, (path, size)) = found.ok_or_else(|| halt(format!("FILE NOT FOUND: {id}")))?;
            let (wait, cache) = (self.wait.clone(), self.cache.clone());
            // Its bytes are counted where they are kept.
            Ok((Arc::new(DataFile { id, path, size, gateway, wait, cache }), 0))
        })
    }

    fn transaction(&self, id: ItemId) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        self.kept(format!("/tx/{id}"), || {
            let read = || self.ask(|gateway| async move { gateway.transaction(id).await });
            let mut transaction = self.patiently(read)?;
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

    fn block(&self, height: BlockHeight) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        self.kept(format!("/block/{height}"), || {
            let block = self.patiently(|| self.ask(|gateway| async move { gateway.block(height).await }))?;
            Ok((Arc::new(block.to_vec()), block.len() as u64))
        })
    }

    /// Tries again while there is no answer; in the end the evaluation is abandoned.
    fn patiently<T>(&self, read: impl Fn() -> Result<Option<(Gateway, T)>, Halt>) -> Result<T, Halt> {
        let (started, mut pause) = (Instant::now(), HEADER_PAUSE);
        loop {
            let problem = match read() {
                Ok(Some((_, value))) => return Ok(value),
                Ok(None) => halt("FILE NOT FOUND"),
                Err(problem) => problem,
            };
            let left = self.header_patience.saturating_sub(started.elapsed());
            if left.is_zero() || !self.wait.pause(pause.min(left)) {
                return Err(problem);
            }
            pause *= 2;
        }
    }

    /// The file at `path` if it is kept, else what `open` gives, with the bytes that it holds.
    fn kept(
        &self,
        path: String,
        open: impl FnOnce() -> Result<(Arc<dyn DriveFile>, u64), Halt>,
    ) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        if let Some(kept) = lock(&self.cache).files.get(&path) {
            return Ok(Some(kept.file.clone()));
        }
        let (file, bytes) = open()?;
        lock(&self.cache).keep(path, Kept { file: file.clone(), bytes });
        Ok(Some(file))
    }

    /// Spec 06 §9.3.
    fn admit(&self, id: ItemId, context: &DriveContext<'_>) -> Result<(), Halt> {
        let (process, module) = (context.process_tags, context.module_tags);
        let name = id.to_string();
        if process.all("On-Boot").last() == Some(name.as_str()) {
            return Ok(());
        }
        if !module.contains("Extension", "WeaveDrive") && !process.contains("Extension", "WeaveDrive") {
            return Err(halt(format!("{id} is not admitted: the process has no WeaveDrive extension")));
        }
        let last = |tags: &Tags, name| tags.all(name).last().map(str::to_owned);
        let mode = last(process, "Availability-Type")
            .or_else(|| last(module, "Availability-Type"))
            .unwrap_or_else(|| "Assignments".into());
        if !matches!(mode.as_str(), "Assignments" | "Individual" | "Library") {
            return Err(halt(format!("Availability-Type {mode:?} is not Assignments, Individual or Library")));
        }
        let attestors: Vec<&str> = process.all("Scheduler").last().into_iter().chain(process.all("Attestor")).collect();
        // A gateway takes an empty list for everybody.
        if attestors.is_empty() {
            return Err(halt(format!("{id} is not admitted: the process names nobody who could attest it")));
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
        let found = self.attested(&attestors, context.block_height, &assigned)?
            || mode == "Individual" && self.attested(&attestors, context.block_height, &available)?;
        if !found {
            let library = if mode == "Library" { " (Library is not supported)" } else { "" };
            return Err(halt(format!("{id} is not admitted: no attestation up to this height{library}")));
        }
        let mut cache = lock(&self.cache);
        if cache.admitted.len() >= CACHE_ENTRIES {
            cache.admitted.clear();
        }
        cache.admitted.insert(admission, ());
        Ok(())
    }

    fn attested(&self, owners: &[&str], height: u64, tags: &[(&str, &str)]) -> Result<bool, Halt> {
        let tags: Vec<Value> = tags.iter().map(|(name, value)| json!({"name": name, "values": [value]})).collect();
        let request = json!({
            "query": "query ($owners: [String!], $max: Int, $tags: [TagFilter!]) { transactions(owners: $owners, \
                      block: { min: 0, max: $max }, tags: $tags) { edges { node { id } } } }",
            "variables": { "owners": owners, "max": height, "tags": tags },
        });
        let read = |gateway: Gateway| {
            let request = &request;
            async move { gateway.graphql(request).await.map(Some) }
        };
        let answer = self.ask(read)?.map(|(_, answer)| answer).unwrap_or_default();
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
    fn open(&self, path: &str, context: &DriveContext<'_>) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (category, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let id = || name.parse::<ItemId>().map_err(|error| halt(format!("FILE NOT FOUND: {error}")));
        match category {
            "data" => self.data(id()?, context),
            "tx" => self.transaction(id()?),
            "block" => match name.parse() {
                Ok(height) => self.block(height),
                Err(_) => Err(halt(format!("FILE NOT FOUND: {name:?} is not a height"))),
            },
            _ => Ok(None),
        }
    }
}

impl Wait {
    fn answer<T>(&self, read: impl Future<Output = Result<T, holon_arweave::Error>>) -> Result<T, Halt> {
        let started = Instant::now();
        let answer = async { tokio::time::timeout(PATIENCE, self.stopping.run_until_cancelled(read)).await };
        match self.runtime.block_on(answer) {
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(error))) => Err(halt(error)),
            Ok(None) => Err(halt("the service is stopping")),
            Err(_) => Err(halt(format!("the gateway did not answer within {:?}", started.elapsed()))),
        }
    }

    /// Whether the pause was not cut short.
    fn pause(&self, pause: Duration) -> bool {
        let slept = async { tokio::time::timeout(pause, self.stopping.cancelled()).await };
        self.runtime.block_on(slept).is_err()
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
    fn chunk(&self, number: u64) -> Result<Arc<[u8]>, Halt> {
        let key = (self.id, number);
        if let Some(chunk) = lock(&self.cache).chunks.get(&key) {
            return Ok(chunk.clone());
        }
        let start = number * CHUNK_BYTES;
        let end = (start + CHUNK_BYTES).min(self.size);
        let bytes = self.wait.answer(self.gateway.range_at(self.path, self.id, start, end))?;
        if bytes.len() as u64 != end - start {
            return Err(halt(format!("{} has fewer bytes than announced", self.id)));
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

    fn read(&self, position: u64, destination: &mut [u8]) -> Result<usize, Halt> {
        let mut done = 0;
        while done < destination.len() && position + (done as u64) < self.size {
            let at = position + done as u64;
            let chunk = self.chunk(at / CHUNK_BYTES)?;
            let from = &chunk[(at % CHUNK_BYTES) as usize..];
            let count = from.len().min(destination.len() - done);
            destination[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let mut cache = Cache::default();
        let file = |bytes| Kept { file: Arc::new(Vec::new()), bytes };
        for number in 0..10 {
            cache.keep(format!("/tx/{number}"), file(FILE_CACHE_BYTES / 4));
        }
        assert_eq!((cache.files.len(), cache.order.len(), cache.file_bytes), (4, 4, FILE_CACHE_BYTES));
        assert!(cache.files.contains_key("/tx/9") && !cache.files.contains_key("/tx/5"));
        cache.keep("/tx/9".into(), file(1));
        assert_eq!((cache.order.len(), cache.file_bytes), (4, FILE_CACHE_BYTES / 4 * 3 + 1));
        for number in 0..CACHE_ENTRIES + 10 {
            cache.keep(format!("/data/{number}"), file(0));
        }
        assert_eq!((cache.files.len(), cache.order.len(), cache.file_bytes), (CACHE_ENTRIES, CACHE_ENTRIES, 0));
        // One that is larger than all that may be kept is not kept.
        cache.keep("/tx/large".into(), file(FILE_CACHE_BYTES + 1));
        assert_eq!((cache.files.len(), cache.file_bytes), (0, 0));
    }
}
