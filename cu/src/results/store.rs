//! The store on disk (sled), and what happens when it is damaged.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use holon_protocol::{AssignmentId, ItemId, MessageId, Nonce, ProcessId, Timestamp};

use super::{Bound, Cursor, Key, Record, Sort};
use crate::hydrate::{Identity, assignment_as_message};

/// Memory for cached pages of the store, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
/// Pause between background writes; what a crash loses is evaluated again.
const FLUSH_EVERY_MS: u64 = 1000;
/// Tree that holds everything, so that a batch is atomic.
const TREE: &str = "results-2";

const RESULT: u8 = b'r';
const CRON: u8 = b'c';
const MESSAGE: u8 = b'm';
const IDENTITY: u8 = b'i';
const KNOWN: u8 = b'h';

/// What an entry under `m` says about its message.
const EVALUATED: u8 = 0;
const SKIPPED: u8 = 1;
const SKIPPED_FIRST: u8 = 2;
/// Evaluated, and recognised by something else than this id when it comes again.
const NAMED: u8 = 3;

/// Identities imported at once.
const IMPORT_CHUNK: usize = 4096;

/// The store cannot be used, not even empty.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct StoreError {
    path: PathBuf,
    reason: String,
}

/// Why an operation did not succeed.
enum Failure {
    Damaged(String),
    Other(String),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(_) | sled::Error::Unsupported(_) => Self::Other(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// The result store.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    open: RwLock<Open>,
    generation: AtomicU64,
}

#[derive(Debug)]
struct Open {
    // Closes after the tree.
    tree: sled::Tree,
    _database: sled::Db,
}

/// How a message that has been evaluated is recognised when it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its identity.
    pub identity: Identity,
    /// Epoch of its log entry.
    pub epoch: u64,
    /// Nonce of its log entry.
    pub nonce: Nonce,
    /// Time of its log entry.
    pub timestamp: Timestamp,
}

/// Which results a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// All.
    All,
    /// Those of cron messages.
    Cron,
}

/// A page of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Evaluations in the order asked for.
    pub edges: Vec<(Key, Record)>,
    /// Whether more follow.
    pub has_next_page: bool,
}

impl Page {
    /// The body of the answer (spec 05 §2.4).
    pub fn json(&self, sort: Sort) -> String {
        let mut out = String::from("{\"pageInfo\":{\"hasNextPage\":");
        out.push_str(if self.has_next_page { "true" } else { "false" });
        out.push_str("},\"edges\":[");
        for (at, (key, record)) in self.edges.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str("{\"node\":");
            record.write_node(&mut out);
            out.push_str(",\"cursor\":\"");
            out.push_str(&Cursor::text(key, sort));
            out.push_str("\"}");
        }
        out.push_str("]}");
        out
    }
}

/// What one turn of an evaluation adds for one process; nothing of it is visible before it is committed.
#[derive(Debug, Default)]
pub struct Batch {
    writes: sled::Batch,
    /// Identities not committed yet.
    identities: HashMap<Vec<u8>, (u64, u64)>,
    /// Number of writes.
    len: usize,
}

impl Batch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn insert(&mut self, key: Vec<u8>, value: impl Into<sled::IVec>) {
        self.writes.insert(key, value);
        self.len += 1;
    }

    /// Adds an evaluation.
    pub fn record(&mut self, process: ProcessId, key: &Key, record: &Record) {
        self.insert(record_key(RESULT, process, key), record.write());
        if key.cron.is_some() {
            self.insert(record_key(CRON, process, key), &[]);
        }
    }

    /// Adds how the evaluation of a message is found, and how the message is recognised when it comes again. The assignment
    /// is another name for it, worth a write only where clients use it: for assignments of on-chain items.
    pub fn message(
        &mut self,
        process: ProcessId,
        id: MessageId,
        assignment: Option<AssignmentId>,
        identity: &Identity,
        epoch: u64,
        key: &Key,
    ) {
        if let Some(assignment) = assignment.map(assignment_as_message) {
            let at = index_key(MESSAGE, process, ItemId::from(assignment).as_bytes());
            self.insert(at, index_value(NAMED, epoch, Some(key)));
        }
        if let Identity::Content(_) = identity {
            let at = index_key(MESSAGE, process, ItemId::from(id).as_bytes());
            self.insert(at, index_value(NAMED, epoch, Some(key)));
        }
        self.insert(identity_key(process, identity), index_value(EVALUATED, epoch, Some(key)));
        self.identities.insert(identity.as_bytes().to_vec(), (epoch, key.ordinate));
    }

    /// Adds how a message is recognised that was evaluated elsewhere.
    pub fn identity(&mut self, process: ProcessId, known: &Known) {
        let key = Key { timestamp: known.timestamp, ordinate: known.nonce.0, cron: None };
        self.insert(identity_key(process, &known.identity), index_value(EVALUATED, known.epoch, Some(&key)));
        self.identities.insert(known.identity.as_bytes().to_vec(), (known.epoch, known.nonce.0));
    }

    /// Adds that the identities of all messages up to the entry at `until` are known.
    pub fn known(&mut self, process: ProcessId, until: Timestamp) {
        self.insert(prefix(KNOWN, process), &until.0.to_be_bytes());
    }

    /// Adds that a message was skipped, and the evaluation before it, whose result is shown instead.
    pub fn skipped(&mut self, process: ProcessId, id: MessageId, epoch: u64, previous: Option<&Key>) {
        let flag = if previous.is_some() { SKIPPED } else { SKIPPED_FIRST };
        self.insert(index_key(MESSAGE, process, ItemId::from(id).as_bytes()), index_value(flag, epoch, previous));
    }

    /// Adds that the process's own message is found at `key`, for processes whose scheduler did not schedule them.
    pub fn prepended(&mut self, process: ProcessId, key: &Key) {
        self.insert(index_key(MESSAGE, process, process.as_bytes()), index_value(NAMED, 0, Some(key)));
    }
}

impl Results {
    /// Opens the store at `path`. A damaged one is put aside and an empty one takes its place.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = match open(path) {
            Ok(open) => open,
            Err(Failure::Other(reason)) => return Err(StoreError { path: path.to_owned(), reason }),
            Err(Failure::Damaged(reason)) => replace(path, &reason)?,
        };
        Ok(Self { path: path.to_owned(), open: RwLock::new(open), generation: AtomicU64::new(0) })
    }

    /// Changes when the store has been thrown away: live processes must then be evaluated again from their start.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The result of a message (or assignment, or process) of a process.
    pub fn by_message(&self, process: ProcessId, id: MessageId) -> Result<Option<Record>, StoreError> {
        let at = index_key(MESSAGE, process, ItemId::from(id).as_bytes());
        self.with(|tree| {
            let Some(value) = tree.get(&at)? else { return Ok(None) };
            match read_index(&value)? {
                (SKIPPED_FIRST, _, _) => Ok(Some(Record::empty())),
                (_, _, Some(key)) => read_record(tree, process, &key),
                (_, _, None) => Err(Failure::Damaged("an index entry without key".into())),
            }
        })
    }

    /// The stored evaluation at `key`.
    pub fn get(&self, process: ProcessId, key: &Key) -> Result<Option<Record>, StoreError> {
        self.with(|tree| read_record(tree, process, key))
    }

    /// Whether a message with this identity and a smaller nonce in this epoch has been evaluated.
    pub fn seen_before(
        &self,
        batch: &Batch,
        process: ProcessId,
        identity: &Identity,
        epoch: u64,
        nonce: u64,
    ) -> Result<bool, StoreError> {
        let before = |(seen_epoch, seen_nonce): (u64, u64)| seen_epoch == epoch && seen_nonce < nonce;
        if batch.identities.get(identity.as_bytes()).copied().is_some_and(before) {
            return Ok(true);
        }
        let at = identity_key(process, identity);
        self.with(|tree| {
            let Some(value) = tree.get(&at)? else { return Ok(false) };
            Ok(match read_index(&value)? {
                (EVALUATED, seen_epoch, Some(key)) => before((seen_epoch, key.ordinate)),
                _ => false,
            })
        })
    }

    /// Time of the log entry up to which the identities of all messages are known: those that were evaluated, and those
    /// that were imported. `None` when nothing is known.
    pub fn known_until(&self, process: ProcessId) -> Result<Option<Timestamp>, StoreError> {
        let at = prefix(KNOWN, process);
        self.with(|tree| {
            let Some(value) = tree.get(&at)? else { return Ok(None) };
            let bytes: [u8; 8] = value.as_ref().try_into().map_err(|_| unreadable())?;
            Ok(Some(Timestamp(u64::from_be_bytes(bytes))))
        })
    }

    /// Takes in the identities of messages that were evaluated elsewhere, all up to the entry at `until`.
    pub fn import(&self, process: ProcessId, identities: &[Known], until: Timestamp) -> Result<(), StoreError> {
        for chunk in identities.chunks(IMPORT_CHUNK) {
            self.with(|tree| {
                let mut writes = sled::Batch::default();
                for known in chunk {
                    let key = Key { timestamp: known.timestamp, ordinate: known.nonce.0, cron: None };
                    writes.insert(
                        identity_key(process, &known.identity),
                        index_value(EVALUATED, known.epoch, Some(&key)),
                    );
                }
                Ok(tree.apply_batch(writes)?)
            })?;
        }
        let mut batch = Batch::default();
        batch.known(process, until);
        self.commit(&mut batch)
    }

    /// The last stored evaluation of a process.
    pub fn last(&self, process: ProcessId) -> Result<Option<Key>, StoreError> {
        let prefix = prefix(RESULT, process);
        self.with(|tree| match tree.scan_prefix(&prefix).next_back() {
            None => Ok(None),
            Some(entry) => read_key(&entry?.0).map(Some),
        })
    }

    /// Makes a batch visible, all of it or nothing.
    pub fn commit(&self, batch: &mut Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(batch);
        self.with(|tree| Ok(tree.apply_batch(batch.writes.clone())?))
    }

    /// Stored results between `from` and `to`, without failed ones, at most `limit`.
    pub fn page(
        &self,
        process: ProcessId,
        listing: Listing,
        from: Option<&Bound>,
        to: Option<&Bound>,
        sort: Sort,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let kind = match listing {
            Listing::All => RESULT,
            Listing::Cron => CRON,
        };
        let prefix = prefix(kind, process);
        let at = |bound: &Bound, end: bool| {
            let mut key = prefix.clone();
            match bound {
                Bound::Time(timestamp) if end => key.extend_from_slice(&timestamp.0.saturating_add(1).to_be_bytes()),
                Bound::Time(timestamp) => key.extend_from_slice(&timestamp.0.to_be_bytes()),
                // Just after the evaluation, for both ends. A key continues with 1 or not at all.
                Bound::Evaluation(cursor) => {
                    cursor.key.write(&mut key);
                    key.push(0);
                }
            }
            key
        };
        let start = from.map_or_else(|| prefix.clone(), |bound| at(bound, false));
        let end = to.map_or_else(|| after(&prefix), |bound| at(bound, true));
        if start >= end {
            return Ok(Page { edges: Vec::new(), has_next_page: false });
        }
        self.with(|tree| {
            let mut entries = tree.range(start.clone()..end.clone());
            let mut edges = Vec::new();
            loop {
                let entry = match sort {
                    Sort::Ascending => entries.next(),
                    Sort::Descending => entries.next_back(),
                };
                let Some(entry) = entry else { return Ok(Page { edges, has_next_page: false }) };
                let (at, value) = entry?;
                let key = read_key(&at)?;
                let record = match listing {
                    Listing::All => Some(Record::read(&value).ok_or_else(unreadable)?),
                    Listing::Cron => read_record(tree, process, &key)?,
                };
                let Some(record) = record.filter(|record| record.listed && !record.failed) else { continue };
                if edges.len() == limit {
                    return Ok(Page { edges, has_next_page: true });
                }
                edges.push((key, record));
            }
        })
    }

    /// Makes what is known about a message unreadable.
    #[cfg(test)]
    pub fn damage(&self, process: ProcessId, id: ItemId) {
        let open = self.open.read().unwrap();
        open.tree.insert(index_key(MESSAGE, process, id.as_bytes()), b"rubbish").unwrap();
    }

    /// Writes what is in memory to the file.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.with(|tree| Ok(tree.flush().map(|_| ())?))
    }

    /// Runs `operation`; when it finds the store damaged, once more on an empty one.
    fn with<T>(&self, operation: impl Fn(&sled::Tree) -> Result<T, Failure>) -> Result<T, StoreError> {
        let failed = |reason| StoreError { path: self.path.clone(), reason };
        let generation = self.generation();
        let reason = match self.attempt(&operation) {
            Ok(value) => return Ok(value),
            Err(Failure::Other(reason)) => return Err(failed(reason)),
            Err(Failure::Damaged(reason)) => reason,
        };
        {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            // Several operations may find the damage; the first one repairs it.
            if self.generation() == generation {
                *open = replace(&self.path, &reason)?;
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
        match self.attempt(&operation) {
            Ok(value) => Ok(value),
            Err(Failure::Other(reason) | Failure::Damaged(reason)) => Err(failed(reason)),
        }
    }

    fn attempt<T>(&self, operation: &impl Fn(&sled::Tree) -> Result<T, Failure>) -> Result<T, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        // The store panics on some kinds of damage.
        catch_unwind(AssertUnwindSafe(|| operation(&open.tree)))
            .unwrap_or_else(|_| Err(Failure::Damaged("the store panicked".into())))
    }
}

fn open(path: &Path) -> Result<Open, Failure> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS));
    catch_unwind(AssertUnwindSafe(|| {
        let database = config.open().map_err(|error| match error {
            // What the file holds is damaged; that it cannot be opened, read or written, or belongs to somebody else, says
            // nothing about what it holds.
            sled::Error::Io(io) if !matches!(io.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
                Failure::Other(io.to_string())
            }
            error => Failure::Damaged(error.to_string()),
        })?;
        let tree = database.open_tree(TREE)?;
        Ok(Open { tree, _database: database })
    }))
    .unwrap_or_else(|_| Err(Failure::Damaged("the store panicked when it was opened".into())))
}

/// Puts a damaged store aside (the one before it is deleted) and opens an empty one.
fn replace(path: &Path, reason: &str) -> Result<Open, StoreError> {
    tracing::error!(path = %path.display(), reason, "the result store is damaged; its results will be evaluated again");
    let failed = |reason: String| StoreError { path: path.to_owned(), reason };
    let aside = path.with_extension("damaged");
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(|error| failed(error.to_string()))?;
    }
    std::fs::rename(path, &aside).map_err(|error| failed(error.to_string()))?;
    open(path).map_err(|(Failure::Damaged(reason) | Failure::Other(reason))| failed(reason))
}

fn unreadable() -> Failure {
    Failure::Damaged("a record is not readable".into())
}

fn prefix(kind: u8, process: ProcessId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(kind);
    key.extend_from_slice(process.as_bytes());
    key
}

/// The first key after all that start with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

fn record_key(kind: u8, process: ProcessId, key: &Key) -> Vec<u8> {
    let mut at = prefix(kind, process);
    key.write(&mut at);
    at
}

fn index_key(kind: u8, process: ProcessId, id: &[u8]) -> Vec<u8> {
    let mut at = prefix(kind, process);
    at.extend_from_slice(id);
    at
}

/// Where an identity is kept: an id is found like its message.
fn identity_key(process: ProcessId, identity: &Identity) -> Vec<u8> {
    let kind = match identity {
        Identity::Id(_) => MESSAGE,
        Identity::Content(_) => IDENTITY,
    };
    index_key(kind, process, identity.as_bytes())
}

fn index_value(flag: u8, epoch: u64, key: Option<&Key>) -> Vec<u8> {
    let mut value = vec![flag];
    value.extend_from_slice(&epoch.to_be_bytes());
    if let Some(key) = key {
        key.write(&mut value);
    }
    value
}

fn read_index(value: &[u8]) -> Result<(u8, u64, Option<Key>), Failure> {
    let read = || {
        let (flag, rest) = value.split_first()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let key = if rest.is_empty() { None } else { Some(Key::read(rest)?) };
        Some((*flag, u64::from_be_bytes(*epoch), key))
    };
    read().ok_or_else(unreadable)
}

fn read_key(at: &[u8]) -> Result<Key, Failure> {
    at.get(33..).and_then(Key::read).ok_or_else(unreadable)
}

fn read_record(tree: &sled::Tree, process: ProcessId, key: &Key) -> Result<Option<Record>, Failure> {
    match tree.get(record_key(RESULT, process, key))? {
        Some(value) => Record::read(&value).map(Some).ok_or_else(unreadable),
        None => Ok(None),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
