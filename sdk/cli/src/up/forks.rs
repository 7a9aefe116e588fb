//! Processes of other networks that go on in this one.
//!
//! A fork is a copy of a log up to a slot: the scheduler unit of this network gets the entries as they were signed and goes on
//! from there under the process's own id, so everything inside the state that names the process stays true. What the log
//! positions but does not hold (the module, assigned items) waits in a folder until this network's Arweave takes it;
//! the entries themselves are uploaded by the scheduler unit, as all its entries are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use holon_client::Network;
use holon_cu::replay::{SignedEntry, Subject};
use holon_protocol::assignment::Assignment;
use holon_protocol::{Address, BlockHeight, DataItem, Nonce, ProcessId, Timestamp};
use holon_su::log::{EntryKind, FjallLog, LogStore, Record, StoreError, Write};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::record::write_whole;

/// Name of the list.
const FORKS: &str = "forks.json";
/// Name of the folder of items that wait.
const WAITING: &str = "forks";
/// Name of the folder of the local Arweave.
const WEAVE: &str = "weave";
/// Entries written at once.
const BATCH: usize = 256;

/// A process that goes on here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fork {
    /// The process.
    pub process: ProcessId,
    /// The wallet that scheduled it where it comes from.
    pub scheduler: Address,
    /// Its last slot there.
    pub slot: Nonce,
    /// The greatest height that its entries name.
    pub height: BlockHeight,
    /// Blocks between its entries, if it has crons: heights and Unix seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<(u64, u64)>,
}

/// All of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Forks(Vec<Fork>);

impl Forks {
    /// The forks of a data folder.
    pub fn read(data: &Path) -> Result<Self, Failure> {
        let path = data.join(FORKS);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| Failure::network(format!("{} is damaged: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(cannot("read", &path, error)),
        }
    }

    /// The wallets whose processes are scheduled here.
    pub fn schedulers(&self) -> impl Iterator<Item = Address> {
        self.0.iter().map(|fork| fork.scheduler)
    }

    /// The height from which time goes on.
    pub fn height(&self) -> Option<BlockHeight> {
        self.0.iter().map(|fork| fork.height).max()
    }

    /// The blocks that come before that height.
    pub fn blocks(&self) -> Vec<(u64, u64)> {
        self.0.iter().flat_map(|fork| &fork.blocks).copied().collect()
    }

    /// Puts a log into the scheduler unit of a data folder whose network does not run, and `items` where its Arweave will
    /// take them.
    pub fn plant(
        data: &Path,
        process: &DataItem,
        entries: &[SignedEntry],
        items: &[DataItem],
        blocks: &[(BlockHeight, Timestamp)],
    ) -> Result<Fork, Failure> {
        let id = ProcessId::from(process.id());
        let scheduler = process.tags().get_ignore_case("Scheduler").and_then(|text| text.trim().parse().ok());
        let scheduler =
            scheduler.ok_or_else(|| Failure::network(format!("process {id} has no usable Scheduler tag")))?;
        let records = entries.iter().map(|entry| record(id, entry)).collect::<Result<Vec<_>, Failure>>()?;
        let last = records.last().ok_or_else(|| Failure::network(format!("the log of {id} is empty")))?;
        let slot = last.0.nonce;
        let height = records.iter().map(|(record, _)| record.block_height).max().unwrap_or_default();
        let blocks: Vec<(u64, u64)> = blocks.iter().map(|(height, time)| (height.0, time.0 / 1000)).collect();
        let mut forks = Self::read(data)?;
        let known: BTreeMap<u64, u64> = forks.blocks().into_iter().collect();
        let differs = blocks.iter().any(|(height, time)| known.get(height).is_some_and(|other| other != time));
        if !blocks.is_empty() && (differs || data.join(WEAVE).exists()) {
            let reason =
                format!("process {id} has crons, which fire between blocks, and {} has others", data.display());
            return Err(Failure::usage(reason).hint("name an empty or new folder with --data"));
        }
        // Heights above the blocks of a process with crons would have to be filled, and its block crons would fire for what fills them.
        let others = forks.0.iter().filter(|other| other.process != id);
        let top = others.map(|other| other.height).max();
        let last = known.keys().copied().chain(blocks.iter().map(|(height, _)| *height)).max();
        if let (Some(top), Some(last)) = (top, last)
            && top.max(height).0 > last
        {
            let reason = format!(
                "a process with crons and one whose log goes up to block {} cannot begin in one network: blocks of the first end at {last}",
                top.max(height)
            );
            return Err(Failure::usage(reason).hint("name an empty or new folder with --data"));
        }
        let fork = Fork { process: id, scheduler, slot, height, blocks };
        let folder = data.join(WAITING);
        fs::create_dir_all(&folder).map_err(|error| cannot("make", &folder, error))?;
        for item in items {
            let path = folder.join(item.id().to_string());
            write_whole(&path, item.raw()).map_err(|error| cannot("write", &path, error))?;
        }
        let store = FjallLog::open(&data.join("su")).map_err(failed)?;
        if store.head(id).map_err(failed)?.is_some() {
            return Err(Failure::usage(format!("the network of {} has process {id} already", data.display()))
                .hint("name an empty or new folder with --data"));
        }
        // First the list: entries that are there without it would go on without their scheduler's name.
        forks.0.retain(|other| other.process != id);
        forks.0.push(fork.clone());
        let path = data.join(FORKS);
        let text = serde_json::to_vec_pretty(&forks).map_err(Failure::network)?;
        write_whole(&path, &text).map_err(|error| cannot("write", &path, error))?;
        let writes: Vec<Write> = records
            .into_iter()
            .map(|(record, item)| Write::Entry { process: id, record, item, content: None })
            .collect();
        for writes in writes.chunks(BATCH) {
            store.append(writes).map_err(failed)?;
        }
        store.sync().map_err(failed)?;
        Ok(fork)
    }
}

fn record(process: ProcessId, entry: &SignedEntry) -> Result<(Record, Option<bytes::Bytes>), Failure> {
    let assignment = &entry.assignment;
    let says = Assignment::from_tags(assignment.tags()).map_err(Failure::network)?;
    let (kind, message, item) = match &entry.subject {
        Subject::Sent(item) if ProcessId::from(item.id()) == process => {
            (EntryKind::Process, item.id().into(), Some(item.raw().clone()))
        }
        Subject::Sent(item) => (EntryKind::Message, item.id().into(), Some(item.raw().clone())),
        Subject::Assigned(id) => (EntryKind::Assigned, (*id).into(), None),
    };
    let record = Record {
        nonce: says.nonce,
        kind,
        timestamp: says.timestamp,
        block_height: says.block_height,
        assignment: assignment.id().into(),
        message,
        hash_chain: says.hash_chain,
        assignment_bytes: assignment.raw().clone(),
    };
    Ok((record, item))
}

/// Uploads what waits to the running network's Arweave.
pub async fn publish(data: &Path, client: &Network) -> Result<(), Failure> {
    let folder = data.join(WAITING);
    let files = match fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("read", &folder, error)),
    };
    let paths: Vec<PathBuf> = files
        .map(|file| file.map(|file| file.path()))
        .collect::<Result<_, _>>()
        .map_err(|error| cannot("read", &folder, error))?;
    for path in paths {
        let raw = fs::read(&path).map_err(|error| cannot("read", &path, error))?;
        // A file that was cut is no item; the fork has to be made again.
        let item = DataItem::parse(raw)
            .map_err(|error| Failure::network(format!("{} is damaged: {error}", path.display())))?;
        client.upload(&item).await?;
        fs::remove_file(&path).map_err(|error| cannot("remove", &path, error))?;
    }
    Ok(())
}

fn failed(error: StoreError) -> Failure {
    Failure::network(error)
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Failure {
    Failure::network(format!("cannot {what} {}: {error}", path.display()))
}
