//! Modules: fetched from the gateway once, compiled once, and shared by all their processes.
//!
//! Compiling is work for strangers: anybody may publish a module. So it happens on threads of lower priority than
//! evaluation's, modules that take long wait for each other and not in front of the others, nobody waits for one longer than
//! [`COMPILE_PATIENCE`], and one that cannot be compiled is not tried again for every request. A compilation goes on when those
//! who asked for it have gone away, and is there for the next.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holon_arweave::{Gateway, Node};
use holon_protocol::{ModuleId, base64url};
use tokio::sync::{OnceCell, Semaphore, oneshot};

use crate::error::Error;
use crate::machine::{Engine, Format, MAX_MODULE_BYTES, Module, compile_cost, counts_fuel};
use crate::whole_file;

/// Compiled modules kept in memory.
const MODULES_KEPT: usize = 32;
/// Modules fetched at the same time.
const FETCH_LIMIT: usize = 16;
/// Ordinary modules compiled at the same time.
const COMPILE_LIMIT: usize = 3;
/// Modules compiled at the same time that cost more than [`ORDINARY_COST`].
const COSTLY_LIMIT: usize = 1;
/// What an ordinary module costs at most ([`compile_cost`]); the largest official one stays below.
const ORDINARY_COST: u64 = 500_000_000;
/// Longest wait for a module. Its compilation goes on.
pub const COMPILE_PATIENCE: Duration = Duration::from_secs(120);
/// How long it is remembered that a module cannot be used.
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// Most modules that are remembered so.
const REFUSED_KEPT: usize = 10_000;
/// What is added to the nice value of a compiling thread. The compiler's helpers, which the first compilation starts, inherit it.
const COMPILE_NICE: i32 = 10;
/// Native stack of a compiling thread.
const COMPILE_STACK_BYTES: usize = 8 << 20;

/// A compiled module and its metadata.
#[derive(Clone)]
pub struct Code {
    /// The module.
    pub module: Module,
    /// Its metadata.
    pub node: Arc<Node>,
}

/// Modules are compiled apart for processes that count fuel and for those that do not.
type Key = (ModuleId, bool);

/// All modules; clones are the same.
#[derive(Clone)]
pub struct Modules(Arc<Inner>);

struct Inner {
    gateway: Gateway,
    engine: Engine,
    folder: PathBuf,
    kept: Mutex<HashMap<Key, Arc<OnceCell<Code>>>>,
    refused: Mutex<HashMap<Key, (Instant, Error)>>,
    fetches: Semaphore,
    ordinary: Semaphore,
    costly: Semaphore,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Modules {
    /// Modules of `gateway`, whose bytes are kept in `folder`.
    pub fn new(gateway: Gateway, engine: Engine, folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            gateway,
            engine,
            folder,
            kept: Mutex::default(),
            refused: Mutex::default(),
            fetches: Semaphore::new(FETCH_LIMIT),
            ordinary: Semaphore::new(COMPILE_LIMIT),
            costly: Semaphore::new(COSTLY_LIMIT),
        }))
    }

    /// Metadata of a module that has been loaded before.
    pub fn known(&self, id: ModuleId) -> Option<Arc<Node>> {
        let kept = lock(&self.0.kept);
        [true, false].into_iter().find_map(|metered| Some(kept.get(&(id, metered))?.get()?.node.clone()))
    }

    /// The module with the metadata `node`, for processes whose `Compute-Limit` is `compute`.
    pub async fn get(&self, id: ModuleId, node: Arc<Node>, format: Format, compute: u64) -> Result<Code, Error> {
        let key = (id, counts_fuel(format, compute));
        if let Some(error) = self.0.refusal(key) {
            return Err(error);
        }
        let cell = self.0.cell(key);
        if let Some(code) = cell.get() {
            return Ok(code.clone());
        }
        let inner = self.0.clone();
        let work = tokio::spawn(async move {
            let code = cell.get_or_try_init(|| inner.load(key, node, format, compute)).await;
            code.cloned()
        });
        match tokio::time::timeout(COMPILE_PATIENCE, work).await {
            Ok(Ok(code)) => code,
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => Err(Error::Compiling { module: id, patience: COMPILE_PATIENCE }),
        }
    }
}

impl Inner {
    fn cell(&self, key: Key) -> Arc<OnceCell<Code>> {
        let mut kept = lock(&self.kept);
        if kept.len() >= MODULES_KEPT && !kept.contains_key(&key) {
            // Those in use live on in their processes.
            kept.retain(|_, cell| Arc::strong_count(cell) > 1);
        }
        kept.entry(key).or_default().clone()
    }

    fn refusal(&self, key: Key) -> Option<Error> {
        let refused = lock(&self.refused);
        refused.get(&key).filter(|(since, _)| since.elapsed() < REFUSED_FOR).map(|(_, error)| error.clone())
    }

    /// Remembers that a module cannot be used.
    fn refuse(&self, key: Key, reason: String) -> Error {
        let error = Error::Module { module: key.0, reason };
        let mut refused = lock(&self.refused);
        if refused.len() >= REFUSED_KEPT {
            refused.retain(|_, (since, _)| since.elapsed() < REFUSED_FOR);
        }
        if refused.len() < REFUSED_KEPT {
            refused.insert(key, (Instant::now(), error.clone()));
        }
        error
    }

    async fn load(&self, key: Key, node: Arc<Node>, format: Format, compute: u64) -> Result<Code, Error> {
        // Others may have waited for the try that failed.
        if let Some(error) = self.refusal(key) {
            return Err(error);
        }
        let path = self.folder.join(format!("{}.wasm", key.0));
        let wasm = self.verified(key, &node, &path).await?;
        let look = wasm.clone();
        let cost =
            tokio::task::spawn_blocking(move || compile_cost(&look, format)).await.map_err(|_| Error::Stopping)?;
        let compiled = match cost {
            Ok(cost) => {
                let lane = if cost > ORDINARY_COST { &self.costly } else { &self.ordinary };
                let _place = lane.acquire().await.map_err(|_| Error::Stopping)?;
                self.compile(wasm, format, compute).await?
            }
            Err(error) => Err(error.to_string()),
        };
        match compiled {
            Ok(module) => Ok(Code { module, node }),
            Err(reason) => {
                // Perhaps the file was cut; a later try fetches it again.
                let _ = tokio::fs::remove_file(&path).await;
                Err(self.refuse(key, reason))
            }
        }
    }

    /// Compiles on a thread of its own.
    async fn compile(&self, wasm: Bytes, format: Format, compute: u64) -> Result<Result<Module, String>, Error> {
        let (sender, receiver) = oneshot::channel();
        let engine = self.engine.clone();
        let work = move || {
            // On Linux this is the thread's own. Without it compiling and evaluating share evenly.
            if let Err(error) = rustix::process::setpriority_process(None, COMPILE_NICE) {
                tracing::debug!(%error, "compiling keeps its priority");
            }
            // Whoever waits may have gone away with the service.
            let _ = sender.send(engine.compile_for(&wasm, format, compute).map_err(|error| error.to_string()));
        };
        let thread = std::thread::Builder::new().name("cu-compile".into()).stack_size(COMPILE_STACK_BYTES);
        thread.spawn(work).map_err(|error| Error::Host(format!("cannot start a thread to compile: {error}")))?;
        // A compiler that panics says something about the module.
        Ok(receiver.await.unwrap_or_else(|_| Err("the compiler failed".into())))
    }

    /// The bytes of a module that its signature covers, never more than are compiled, where it covers the tags and the owner of
    /// `node`, too: what the module is compiled as, and within which limits, follows from those.
    async fn verified(&self, key: Key, node: &Arc<Node>, path: &Path) -> Result<Bytes, Error> {
        let bad = |reason: String| Error::Module { module: key.0, reason };
        if let Ok(wasm) = tokio::fs::read(path).await {
            let (wasm, node) = (Bytes::from(wasm), node.clone());
            let kept = tokio::task::spawn_blocking(move || node.item(&wasm).map(|item| item.data())).await;
            if let Ok(Ok(wasm)) = kept {
                return Ok(wasm);
            }
        }
        let _place = self.fetches.acquire().await.map_err(|_| Error::Stopping)?;
        let verified = self.gateway.verified(node, MAX_MODULE_BYTES as u64).await;
        let verified = verified.map_err(|error| self.not_fetched(key, &error))?;
        let (header, wasm) = (verified.header(), verified.data());
        if header.tags != node.tags || base64url::encode(&header.owner) != node.owner.key {
            return Err(bad("the gateway's tags and owner are not what its signature covers".into()));
        }
        self.keep(path, &wasm).await;
        Ok(wasm)
    }

    fn not_fetched(&self, key: Key, error: &holon_arweave::Error) -> Error {
        match error {
            holon_arweave::Error::TooLarge { .. } => {
                self.refuse(key, format!("more than the {MAX_MODULE_BYTES} bytes that are compiled"))
            }
            error => Error::Module { module: key.0, reason: error.to_string() },
        }
    }

    /// Keeps module bytes for the next start. It is a cache: what cannot be written is fetched again.
    async fn keep(&self, path: &Path, wasm: &Bytes) {
        let (to, wasm) = (path.to_owned(), wasm.clone());
        let written = tokio::task::spawn_blocking(move || whole_file::write(&to, &[&wasm])).await;
        if let Err(error) = written.map_err(std::io::Error::other).flatten() {
            tracing::warn!(path = %path.display(), %error, "module bytes could not be kept");
        }
    }
}
