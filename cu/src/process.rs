//! Loading a process: its record from the scheduler, its module from the gateway, and what their tags allow
//! (spec 05 §4.1 – §4.3).

use std::path::PathBuf;
use std::sync::Arc;

use holon_arweave::{Gateway, Node};
use holon_protocol::process::{parse_compute_limit, parse_memory_limit};
use holon_protocol::{Address, BlockHeight, ModuleId, ProcessId, Tags, Timestamp, wire};

use crate::cron::{Block, Schedule};
use crate::drive::GatewayDrive;
use crate::error::Error;
use crate::hydrate;
use crate::log::beginning::{self, Found};
use crate::log::verify::Course;
use crate::log::{Logs, expected, verify};
use crate::machine::{Drive, Engine, Format, Limits, Machine, MachineError, Module, NoDrive, PAGE_BYTES, PageTree};
use crate::modules::Modules;
use crate::options::Options;
use crate::results::{Results, StoreError};

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
    /// Wallets that may schedule it: its own scheduler, and those that the operator vouches for. `None` is for tests: anybody.
    pub signers: Option<Vec<Address>>,
    /// Whether not everything that its scheduler says about it could be checked against signatures.
    pub unchecked: bool,
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
        let origin = Block { timestamp: Timestamp(1000), height: BlockHeight(1) };
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
            signers: None,
            unchecked: false,
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

    /// A memory for it with these bytes. Takes a while: call it on an evaluation thread.
    pub fn restore_whole(&self, memory: &[u8]) -> Result<Machine, MachineError> {
        Machine::restore(&self.module, self.limits, self.drive.clone(), memory)
    }

    /// Whether its memory may have this length.
    pub fn check_memory(&self, bytes: u64) -> Result<(), MachineError> {
        Machine::check_memory(&self.module, self.limits, bytes)
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
    pub fn machine(&self) -> Result<Machine, MachineError> {
        Machine::new(&self.module, self.limits, self.drive.clone())
    }
}

/// Where processes and modules come from.
pub struct Loader {
    gateway: Gateway,
    logs: Arc<dyn Logs>,
    modules: Modules,
    drive: Arc<GatewayDrive>,
    options: Arc<Options>,
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
        let modules = Modules::new(gateway.clone(), engine, folder);
        Self { gateway, logs, modules, drive, options }
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

    /// Loads a process and its module. That it was compared with how its log begins is remembered in `results`.
    pub async fn load(&self, id: ProcessId, results: &Results) -> Result<Process, Error> {
        let log = self.logs.open(id).await?;
        let mut record = log.record().await?;
        self.check(&record)?;
        let height = record.block.parse::<BlockHeight>().map_err(|_| Error::SchedulerUnreadable {
            what: "process",
            reason: format!("block height {:?} is not a number", record.block),
        })?;
        let chained = height.0 >= verify::HASH_CHAIN_HEIGHT;
        let scheduler =
            record.tags.get_ignore_case("Scheduler").and_then(|wallet| wallet.trim().parse::<Address>().ok());
        let vouched = self.options.scheduler_urls.iter().map(|(wallet, _)| *wallet);
        let signers: Vec<Address> = scheduler.into_iter().chain(vouched).collect();
        let course = Course { process: id, chained, signers: Some(&signers), latest: Timestamp(u64::MAX) };
        let unverifiable = self.options.unverifiable;
        let stored = |error: StoreError| Error::Store(error.to_string());
        let found = results.beginning(id).map_err(stored)?;
        let recalled = found.and_then(|found| Found::recall(&found, &record, &signers, unverifiable));
        let unchecked = match recalled {
            Some(unchecked) => unchecked,
            None => {
                let unchecked = beginning::is_unchecked(&*log, &course, (&record, height), unverifiable).await?;
                results
                    .found_beginning(id, &Found::new(&record, &signers, unchecked, unverifiable).bytes())
                    .map_err(stored)?;
                unchecked
            }
        };
        record.data = None;
        let schedule = Arc::new(Schedule::from_tags(&record.tags)?);
        let module_id = record.tags.get("Module").and_then(|module| module.parse::<ModuleId>().ok());
        let module_id = module_id.ok_or(Error::ProcessTag { name: "Module", reason: "is not an id" })?;
        // The tags are checked first: a module that is not supported is not even fetched.
        let node = match self.modules.known(module_id) {
            Some(node) => node,
            None => Arc::new(self.node(module_id).await?),
        };
        let (format, limits) = self.allowed(id, module_id, &record.tags, &node.tags)?;
        let code = self.modules.get(module_id, node, format, limits.compute).await?;
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
            chained,
            signers: Some(signers),
            unchecked,
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
        let format = once(module_tags, "Module-Format").unwrap_or_default().trim();
        let format = format.parse::<Format>().map_err(|_| unsupported("Module-Format", "is"))?;
        let limit = |name, parse: fn(&str) -> Option<u64>, max: u64| {
            let tags = if process_tags.get(name).is_some() { process_tags } else { module_tags };
            parse(once(tags, name)?).filter(|&limit| limit > 0 && limit <= max)
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

    async fn node(&self, id: ModuleId) -> Result<Node, Error> {
        let Options { retries, backoff, .. } = &*self.options;
        let node = expected(&self.gateway, id.into(), *retries, *backoff).await?;
        node.ok_or_else(|| Error::Module { module: id, reason: "not found".into() })
    }
}

/// The value of a tag that occurs once: several are a list, which no option takes (spec 05 §4.3).
fn once<'a>(tags: &'a Tags, name: &'a str) -> Option<&'a str> {
    let mut values = tags.all(name);
    values.next().filter(|_| values.next().is_none())
}
