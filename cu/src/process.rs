//! Loading a process: its record from the scheduler, its module from the gateway, and what their tags allow
//! (spec 05 §4.1 – §4.3).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holon_arweave::{Gateway, Node, Query, Verified};
use holon_protocol::process::{parse_compute_limit, parse_memory_limit};
use holon_protocol::{BlockHeight, ModuleId, ProcessId, Tags, base64url, wire};
use tokio::sync::{OnceCell, Semaphore};

use crate::cron::{Block, Schedule};
use crate::drive::GatewayDrive;
use crate::error::Error;
use crate::hydrate;
use crate::log::{Logs, expected, verify};
use crate::machine::{
    Drive, Engine, Format, Limits, MAX_MODULE_BYTES, Machine, MachineError, Module, NoDrive, PAGE_BYTES, PageTree,
    counts_fuel,
};
use crate::options::{LogSource, Options};

/// Compiled modules kept in memory.
const MODULES_KEPT: usize = 32;
/// Modules fetched and compiled at the same time.
const COMPILE_LIMIT: usize = 4;

/// A process that can be evaluated.
pub struct Process {
    /// Its id.
    pub id: ProcessId,
    /// What the scheduler says about it, without data.
    pub record: wire::Process,
    /// Its owner, as it sees it.
    pub owner: String,
    /// Its block.
    pub origin: Block,
    /// Its cron messages.
    pub schedule: Arc<Schedule>,
    /// Whether its log has a hash chain.
    pub chained: bool,
    /// Tags of its module.
    pub module_tags: Tags,
    /// The second argument of every call.
    pub environment: String,
    module_id: ModuleId,
    module: Module,
    limits: Limits,
    drive: Arc<dyn Drive>,
}

impl Process {
    /// A process of module `wasm`, which nothing is known of but its id.
    #[cfg(test)]
    pub fn of_module(engine: &Engine, wasm: &[u8], id: ProcessId, owner: wire::Owner) -> Self {
        let origin = Block { timestamp: holon_protocol::Timestamp(1000), height: BlockHeight(1) };
        Self {
            id,
            record: wire::Process {
                process_id: id,
                block: String::new(),
                owner,
                tags: Tags::default(),
                timestamp: origin.timestamp,
                data: None,
                anchor: None,
                signature: None,
                target: None,
            },
            owner: String::new(),
            origin,
            schedule: Arc::default(),
            chained: true,
            module_tags: Tags::default(),
            environment: "{}".into(),
            module_id: ModuleId::from_bytes([9; 32]),
            module: engine.compile(wasm, Format::Native).unwrap(),
            limits: Limits { memory_bytes: 1 << 20, compute: 1 << 30 },
            drive: Arc::new(NoDrive),
        }
    }

    /// Its module.
    pub fn module_id(&self) -> ModuleId {
        self.module_id
    }

    /// Hashes of its memory before its first message.
    pub fn initial_tree(&self) -> Result<PageTree, MachineError> {
        self.module.initial_tree()
    }

    /// A memory for it that differs from the first one by `pages`. Takes a while: call it on an evaluation thread.
    pub fn restore(
        &self,
        memory_bytes: u64,
        pages: impl Iterator<Item = std::io::Result<(u32, Box<[u8; PAGE_BYTES]>)>>,
    ) -> Result<Machine, MachineError> {
        Machine::restore_pages(&self.module, self.limits, self.drive.clone(), memory_bytes, pages)
    }

    /// A memory for it, as it is before its first message. Takes a while: call it on an evaluation thread.
    pub fn machine(&self) -> Result<Machine, Error> {
        Machine::new(&self.module, self.limits, self.drive.clone()).map_err(|error| Error::Host(error.to_string()))
    }
}

/// Where processes and modules come from.
pub struct Loader {
    gateway: Gateway,
    logs: Arc<dyn Logs>,
    engine: Engine,
    modules: Mutex<Modules>,
    compiles: Semaphore,
    folder: PathBuf,
    drive: Arc<GatewayDrive>,
    options: Arc<Options>,
}

/// Modules by id and by whether they count fuel, each compiled once.
type Modules = HashMap<(ModuleId, bool), Arc<OnceCell<Code>>>;

/// A compiled module and its metadata.
#[derive(Clone)]
struct Code {
    module: Module,
    node: Arc<Node>,
}

impl Loader {
    /// A loader that keeps module bytes in `folder`.
    pub fn new(
        gateway: Gateway,
        logs: Arc<dyn Logs>,
        engine: Engine,
        folder: PathBuf,
        drive: Arc<GatewayDrive>,
        options: Arc<Options>,
    ) -> Self {
        Self {
            gateway,
            logs,
            engine,
            modules: Mutex::default(),
            compiles: Semaphore::new(COMPILE_LIMIT),
            folder,
            drive,
            options,
        }
    }

    /// Checks what every process has, and whether its owner is served.
    fn check(&self, record: &wire::Process) -> Result<(), Error> {
        let tags = &record.tags;
        let tag = |name, reason| Err(Error::ProcessTag { name, reason });
        if !tags.contains("Data-Protocol", "ao") {
            return tag("Data-Protocol", "value 'ao' was not found on process");
        }
        if !tags.contains("Type", "Process") {
            return tag("Type", "value 'Process' was not found on process");
        }
        if tags.get("Module").is_none() {
            return tag("Module", "was not present on process");
        }
        let owner = hydrate::ao_owner(&record.owner);
        let allowed = &self.options.allow_owners;
        if !allowed.is_empty() && !allowed.contains(&owner) {
            return Err(Error::OwnerDenied(owner));
        }
        Ok(())
    }

    /// Loads a process and its module.
    pub async fn load(&self, id: ProcessId) -> Result<Process, Error> {
        let mut record = self.logs.open(id).await?.record().await?;
        self.check(&record)?;
        record.data = None;
        let height = record.block.parse::<BlockHeight>().map_err(|_| Error::SchedulerUnreadable {
            what: "process",
            reason: format!("block height {:?} is not a number", record.block),
        })?;
        let schedule = Arc::new(Schedule::from_tags(&record.tags)?);
        let module_id = record.tags.get("Module").and_then(|module| module.parse::<ModuleId>().ok());
        let module_id = module_id.ok_or(Error::ProcessTag { name: "Module", reason: "is not an id" })?;
        // The tags are checked first: a module that is not supported is not even fetched.
        let node = match self.known(module_id) {
            Some(node) => node,
            None => Arc::new(self.node(module_id).await?),
        };
        let (format, limits) = self.allowed(id, module_id, &record.tags, &node.tags)?;
        let cell = self.cell(module_id, counts_fuel(format, limits.compute));
        let code = cell.get_or_try_init(|| self.compile(module_id, node, format, limits.compute)).await?.clone();
        let owner = hydrate::ao_owner(&record.owner);
        let module_tags = code.node.tags.clone();
        let environment = hydrate::environment(
            (&id.to_string(), &owner, &record.tags),
            (&module_id.to_string(), &hydrate::ao_owner(&code.node.owner), &module_tags),
        );
        let drive: Arc<dyn Drive> = if format.has_weavedrive(module_tags.contains("Extension", "WeaveDrive")) {
            self.drive.clone()
        } else {
            Arc::new(NoDrive)
        };
        Ok(Process {
            id,
            owner,
            origin: Block { timestamp: record.timestamp, height },
            schedule,
            chained: height.0 >= verify::HASH_CHAIN_HEIGHT,
            module_tags,
            environment,
            module_id,
            module: code.module,
            limits,
            drive,
            record,
        })
    }

    /// What the tags allow, checked in the order of spec 05 §4.3.
    fn allowed(
        &self,
        process: ProcessId,
        module: ModuleId,
        process_tags: &Tags,
        module_tags: &Tags,
    ) -> Result<(Format, Limits), Error> {
        let unsupported = |what, verb| Error::Unsupported { what, module, verb };
        for what in ["Input-Encoding", "Output-Encoding"] {
            if module_tags.get(what).is_none_or(str::is_empty) {
                return Err(unsupported(what, "is"));
            }
        }
        let format = module_tags.get("Module-Format").unwrap_or_default().trim();
        let format = format.parse::<Format>().map_err(|_| unsupported("Module-Format", "is"))?;
        let limit = |name, parse: fn(&str) -> Option<u64>, max: u64| {
            let text = process_tags.get(name).or_else(|| module_tags.get(name))?;
            parse(text).filter(|&limit| limit > 0 && limit <= max)
        };
        let memory_bytes = limit("Memory-Limit", parse_memory_limit, self.options.memory_max_bytes)
            .ok_or(Error::MemoryLimit(process))?;
        let compute = limit("Compute-Limit", parse_compute_limit, self.options.compute_max)
            .ok_or(Error::ComputeLimit(process))?;
        if module_tags.all("Extension").any(|name| !self.options.extensions.iter().any(|known| known == name)) {
            return Err(unsupported("Module Extensions", "are"));
        }
        Ok((format, Limits { memory_bytes, compute }))
    }

    /// The module as it is compiled for processes that count fuel, or do not.
    fn cell(&self, id: ModuleId, metered: bool) -> Arc<OnceCell<Code>> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if modules.len() >= MODULES_KEPT && !modules.contains_key(&(id, metered)) {
            // Those in use live on in their processes.
            modules.retain(|_, cell| Arc::strong_count(cell) > 1);
        }
        modules.entry((id, metered)).or_default().clone()
    }

    /// Metadata of a module that has been loaded before.
    fn known(&self, id: ModuleId) -> Option<Arc<Node>> {
        let modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        [true, false].into_iter().find_map(|metered| Some(modules.get(&(id, metered))?.get()?.node.clone()))
    }

    async fn node(&self, id: ModuleId) -> Result<Node, Error> {
        let Options { retries, backoff, .. } = &*self.options;
        let node = expected(&self.gateway, id.into(), *retries, *backoff).await?;
        node.ok_or_else(|| Error::Module { module: id, reason: "not found".into() })
    }

    async fn compile(&self, id: ModuleId, node: Arc<Node>, format: Format, compute: u64) -> Result<Code, Error> {
        let bad = |reason: String| Error::Module { module: id, reason };
        let _permit = self.compiles.acquire().await.map_err(|_| Error::Stopping)?;
        let path = self.folder.join(format!("{id}.wasm"));
        let wasm = match self.options.log {
            LogSource::Scheduler => self.believed(id, &path).await?,
            LogSource::Arweave | LogSource::Auto => self.verified(id, &node, &path).await?,
        };
        if wasm.len() > MAX_MODULE_BYTES {
            return Err(bad(format!("{} bytes; at most {MAX_MODULE_BYTES} are compiled", wasm.len())));
        }
        let engine = self.engine.clone();
        let module = tokio::task::spawn_blocking(move || engine.compile_for(&wasm, format, compute))
            .await
            .map_err(|error| bad(error.to_string()))?;
        match module {
            Ok(module) => Ok(Code { module, node }),
            Err(error) => {
                // Perhaps the file was cut; the next try fetches it again.
                let _ = tokio::fs::remove_file(&path).await;
                Err(bad(error.to_string()))
            }
        }
    }

    /// The bytes that the gateway gives for a module.
    async fn believed(&self, id: ModuleId, path: &Path) -> Result<Bytes, Error> {
        if let Ok(wasm) = tokio::fs::read(path).await {
            return Ok(wasm.into());
        }
        let wasm = self.gateway.raw(id.into()).await;
        let wasm = wasm.map_err(|error| Error::Module { module: id, reason: error.to_string() })?;
        if wasm.len() <= MAX_MODULE_BYTES {
            self.keep(path, &wasm).await;
        }
        Ok(wasm)
    }

    /// The bytes of a module that its signature covers, with the tags of `node`. Those on disk may come from a time when
    /// the gateway was believed.
    async fn verified(&self, id: ModuleId, node: &Arc<Node>, path: &Path) -> Result<Bytes, Error> {
        let bad = |reason: String| Error::Module { module: id, reason };
        if let Ok(wasm) = tokio::fs::read(path).await {
            let (wasm, node) = (Bytes::from(wasm), node.clone());
            let kept = tokio::task::spawn_blocking(move || node.item(&wasm).map(|item| item.data())).await;
            if let Ok(Ok(wasm)) = kept {
                return Ok(wasm);
            }
        }
        let page = self.gateway.placed_nodes(&Query::ids([id.into()])).await;
        let placed = page.map_err(|error| bad(error.to_string()))?.nodes.into_iter().next();
        let placed = placed.ok_or_else(|| bad("not found".into()))?;
        let verified = self.gateway.verified(&placed, MAX_MODULE_BYTES as u64).await;
        let (tags, owner, wasm) = match verified.map_err(|error| bad(error.to_string()))? {
            Verified::Item(item) => (item.tags().clone(), wire::Owner::of(&item), item.data()),
            Verified::Transaction(transaction, data) => {
                let key = base64url::encode(&transaction.owner);
                (transaction.text_tags(), wire::Owner { address: transaction.owner_address(), key }, data)
            }
        };
        if tags != node.tags || owner != node.owner {
            return Err(bad("the gateway's tags and owner are not what its signature covers".into()));
        }
        self.keep(path, &wasm).await;
        Ok(wasm)
    }

    /// Keeps module bytes for the next start. It is a cache: what cannot be written is fetched again.
    async fn keep(&self, path: &Path, wasm: &[u8]) {
        let partial = path.with_extension("part");
        let written = async {
            tokio::fs::create_dir_all(&self.folder).await?;
            tokio::fs::write(&partial, wasm).await?;
            tokio::fs::rename(&partial, path).await
        };
        if let Err(error) = written.await {
            tracing::warn!(path = %path.display(), %error, "module bytes could not be kept");
        }
    }
}
