//! WeaveDrive over a gateway (spec 06 §9): which data a process may read, and reading it.
//!
//! Called on evaluation threads, which block until the gateway has answered. Answers that cannot change are kept: data
//! and headers of items, and admissions. A refusal is never kept, since an attestation may come later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_arweave::Gateway;
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
/// Files and admissions kept.
const CACHE_ENTRIES: usize = 4096;
/// Pause before `/tx` and `/block` are asked for again for the first time; it doubles. Spec 06 §9.2 waits for up to 100
/// seconds in all; here an evaluation thread waits, so the operator says for how long.
const HEADER_PAUSE: Duration = Duration::from_millis(500);
/// Longest time one answer of the gateway may keep an evaluation waiting.
const PATIENCE: Duration = Duration::from_secs(60);

/// The drive of every process of this unit.
pub struct GatewayDrive {
    gateway: Gateway,
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
    files: HashMap<String, Arc<dyn DriveFile>>,
    order: VecDeque<String>,
    admitted: HashMap<[u8; 32], ()>,
    chunks: HashMap<(ItemId, u64), Arc<[u8]>>,
    chunk_order: VecDeque<(ItemId, u64)>,
    chunk_bytes: u64,
}

fn lock(cache: &Mutex<Cache>) -> std::sync::MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

fn halt(reason: impl ToString) -> Halt {
    Halt { reason: reason.to_string() }
}

impl GatewayDrive {
    /// A drive that reads from `gateway` with the connections of `runtime`, until `stopping`. Headers that are not there
    /// are asked for again for `header_patience`.
    pub fn new(gateway: Gateway, runtime: Handle, stopping: CancellationToken, header_patience: Duration) -> Self {
        Self { gateway, wait: Wait { runtime, stopping }, header_patience, cache: Arc::default() }
    }

    fn data(&self, id: ItemId, context: &DriveContext<'_>) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        self.admit(id, context)?;
        self.kept(format!("/data/{id}"), || {
            let size = self.wait.answer(self.gateway.size(id))?;
            let size = size.ok_or_else(|| halt(format!("FILE NOT FOUND: {id}")))?;
            Ok(Arc::new(DataFile {
                id,
                size,
                gateway: self.gateway.clone(),
                wait: self.wait.clone(),
                cache: self.cache.clone(),
            }))
        })
    }

    fn transaction(&self, id: ItemId) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        self.kept(format!("/tx/{id}"), || {
            let mut transaction = self.patiently(|| self.wait.answer(self.gateway.transaction(id)))?;
            let owner = transaction.get("owner").and_then(Value::as_str).unwrap_or_default();
            let owner = base64url::decode(owner).map_err(|error| halt(format!("owner of {id}: {error}")))?;
            let address = base64url::encode(Sha256::digest(owner));
            if let Value::Object(members) = &mut transaction {
                members.insert("ownerAddress".into(), address.into());
            }
            let mut out = String::new();
            text::value(&mut out, &transaction);
            Ok(Arc::new(out.into_bytes()))
        })
    }

    fn block(&self, height: BlockHeight) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        self.kept(format!("/block/{height}"), || {
            let block = self.patiently(|| self.wait.answer(self.gateway.block(height)))?;
            Ok(Arc::new(block.to_vec()))
        })
    }

    /// Tries again while there is no answer; in the end the evaluation is abandoned.
    fn patiently<T>(&self, read: impl Fn() -> Result<Option<T>, Halt>) -> Result<T, Halt> {
        let (started, mut pause) = (Instant::now(), HEADER_PAUSE);
        loop {
            let problem = match read() {
                Ok(Some(value)) => return Ok(value),
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

    fn kept(
        &self,
        path: String,
        open: impl FnOnce() -> Result<Arc<dyn DriveFile>, Halt>,
    ) -> Result<Option<Arc<dyn DriveFile>>, Halt> {
        if let Some(file) = lock(&self.cache).files.get(&path) {
            return Ok(Some(file.clone()));
        }
        let file = open()?;
        let mut cache = lock(&self.cache);
        if cache.order.len() >= CACHE_ENTRIES
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.files.remove(&oldest);
        }
        if cache.files.insert(path.clone(), file.clone()).is_none() {
            cache.order.push_back(path);
        }
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
        let answer = self.wait.answer(self.gateway.graphql(&request))?;
        let edges = answer.get("transactions").and_then(|found| found.get("edges")).and_then(Value::as_array);
        Ok(edges.is_some_and(|edges| !edges.is_empty()))
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
        let bytes = self.wait.answer(self.gateway.range(self.id, start, end))?;
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
