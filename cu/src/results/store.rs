//! The store on disk (sled), and what happens when it is damaged.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use holon_protocol::{AssignmentId, ItemId, MessageId, Nonce, ProcessId, Timestamp};

use super::layout::{
    BEGINNING, CRON, EPOCH, Failure, IDENTITY, KNOWN, MESSAGE, RESULT, SKIPPED_FIRST, after, index_key, prefix,
    read_epoch, read_evaluated, read_index, read_key, read_known, read_record, unreadable,
};
use super::watch::Watched;
use super::{Batch, Bound, Cursor, Key, Record, Sort};
use crate::hydrate::{Identity, assignment_as_message};

/// Memory for cached pages of the store, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
/// Pause between background writes; what a crash loses is evaluated again.
const FLUSH_EVERY_MS: u64 = 1000;
/// Tree that holds everything, so that a batch is atomic.
const TREE: &str = "results-2";

/// A page that would take more bytes than this ends before: results can be large.
const PAGE_BYTES: usize = 64 << 20;

/// Identities imported at once.
const IMPORT_CHUNK: usize = 4096;

/// The store cannot be used, not even empty.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct StoreError {
    path: PathBuf,
    reason: String,
}

/// The result store.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    open: RwLock<Open>,
    generation: AtomicU64,
    /// Who waits for new ones.
    pub watched: Watched,
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
    /// What the clock of the process shows there.
    pub timestamp: Timestamp,
}

/// A message that has been evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated<'a> {
    /// Its id.
    pub id: MessageId,
    /// Its assignment, if that is to be another name for it: worth a write only where clients use it, for assignments of
    /// on-chain items.
    pub assignment: Option<AssignmentId>,
    /// How it is recognised when it comes again.
    pub identity: &'a Identity,
    /// Epoch of its log entry.
    pub epoch: u64,
}

/// Which results a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// All but failed ones.
    All,
    /// Those of cron messages, but failed ones.
    Cron,
    /// All, failed ones too.
    Everything,
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
            out.push('"');
            // Beside the node, which has exactly the keys of the specification.
            if record.unchecked {
                out.push_str(",\"unchecked\":true");
            }
            out.push('}');
        }
        out.push_str("]}");
        out
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
        Ok(Self {
            path: path.to_owned(),
            open: RwLock::new(open),
            generation: AtomicU64::new(0),
            watched: Watched::default(),
        })
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

    /// Adds to `batch` how the evaluation of a message is found, and how the message is recognised when it comes again.
    pub fn message(
        &self,
        batch: &mut Batch,
        process: ProcessId,
        message: &Evaluated<'_>,
        key: &Key,
    ) -> Result<(), StoreError> {
        let Evaluated { id, assignment, identity, epoch } = *message;
        if let Some(assignment) = assignment.map(assignment_as_message) {
            batch.named(process, assignment, epoch, key);
        }
        if let Identity::Content(_) = identity {
            batch.named(process, id, epoch, key);
        }
        self.evaluated(batch, process, identity, epoch, key)
    }

    /// Adds to `batch` how a message is recognised that was evaluated elsewhere.
    pub fn identity(&self, batch: &mut Batch, process: ProcessId, known: &Known) -> Result<(), StoreError> {
        let key = Key { timestamp: known.timestamp, ordinate: known.nonce.0, cron: None };
        self.evaluated(batch, process, &known.identity, known.epoch, &key)
    }

    /// A message that is not checked for duplicates may come again and be evaluated again; what is compared with is its first
    /// evaluation in the epoch, else a replay, which finds the last, would not skip what was skipped.
    fn evaluated(
        &self,
        batch: &mut Batch,
        process: ProcessId,
        identity: &Identity,
        epoch: u64,
        key: &Key,
    ) -> Result<(), StoreError> {
        let (stored, in_epoch) = self.with(|tree| {
            let stored = read_evaluated(tree, process, identity)?;
            let in_epoch = match stored {
                Some((other, _)) if other != epoch => read_epoch(tree, process, identity, epoch)?,
                _ => None,
            };
            Ok((stored, in_epoch))
        })?;
        batch.evaluated(process, identity, epoch, key, stored, in_epoch);
        Ok(())
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
        let in_batch = batch.identities.get(identity.as_bytes()).map(Vec::as_slice).unwrap_or_default();
        if in_batch.iter().any(|(seen_epoch, seen_nonce)| *seen_epoch == epoch && *seen_nonce < nonce) {
            return Ok(true);
        }
        self.with(|tree| {
            let first = match read_evaluated(tree, process, identity)? {
                Some((seen_epoch, seen_nonce)) if seen_epoch == epoch => Some(seen_nonce),
                Some(_) => read_epoch(tree, process, identity, epoch)?,
                None => None,
            };
            Ok(first.is_some_and(|first| first < nonce))
        })
    }

    /// The log entry, by clock and nonce, up to which the identities of all messages are known: those that were evaluated, and
    /// those that were imported. `None` when nothing is known.
    pub fn known_until(&self, process: ProcessId) -> Result<Option<(Timestamp, Nonce)>, StoreError> {
        let at = prefix(KNOWN, process);
        self.with(|tree| {
            let Some(value) = tree.get(&at)? else { return Ok(None) };
            let (clock, nonce) = value.split_first_chunk::<8>().ok_or_else(unreadable)?;
            // Stores of old do not tell which entry of that time it was.
            let nonce = if nonce.is_empty() { [0; 8] } else { nonce.try_into().map_err(|_| unreadable())? };
            Ok(Some((Timestamp(u64::from_be_bytes(*clock)), Nonce(u64::from_be_bytes(nonce)))))
        })
    }

    /// What was found when a process was compared with how its log begins ([`Self::found_beginning`]).
    pub fn beginning(&self, process: ProcessId) -> Result<Option<Vec<u8>>, StoreError> {
        let at = prefix(BEGINNING, process);
        self.with(|tree| Ok(tree.get(&at)?.map(|found| found.to_vec())))
    }

    /// Keeps what was found when a process was compared with how its log begins.
    pub fn found_beginning(&self, process: ProcessId, found: &[u8]) -> Result<(), StoreError> {
        let at = prefix(BEGINNING, process);
        self.with(|tree| Ok(tree.insert(&at, found).map(|_| ())?))
    }

    /// Takes in the identities of messages that were evaluated elsewhere, all up to the entry at `until`.
    pub fn import(
        &self,
        process: ProcessId,
        identities: &[Known],
        until: (Timestamp, Nonce),
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for chunk in identities.chunks(IMPORT_CHUNK) {
            for known in chunk {
                self.identity(&mut batch, process, known)?;
            }
            self.commit(&mut batch)?;
        }
        batch.known(process, until);
        self.commit(&mut batch)
    }

    /// The first evaluation of every identity that a process has seen, in each epoch, in the order of the log: if none was evaluated
    /// twice, all that it has seen.
    pub fn identities(&self, process: ProcessId) -> Result<Vec<Known>, StoreError> {
        self.with(|tree| {
            let mut all = Vec::new();
            for kind in [MESSAGE, IDENTITY, EPOCH] {
                for entry in tree.scan_prefix(prefix(kind, process)) {
                    let (at, value) = entry?;
                    all.extend(read_known(kind, &at, &value)?);
                }
            }
            all.sort_unstable_by_key(|known| known.nonce);
            Ok(all)
        })
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
        self.with(|tree| Ok(tree.apply_batch(batch.writes.clone())?))?;
        if let Some(process) = batch.process {
            self.watched.changed(process);
        }
        Ok(())
    }

    /// Stored results between `from` and `to`, at most `limit`, and at most about 64 MiB.
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
            Listing::All | Listing::Everything => RESULT,
            Listing::Cron => CRON,
        };
        let failed = listing == Listing::Everything;
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
            let (mut edges, mut bytes) = (Vec::new(), 0);
            loop {
                let entry = match sort {
                    Sort::Ascending => entries.next(),
                    Sort::Descending => entries.next_back(),
                };
                let Some(entry) = entry else { return Ok(Page { edges, has_next_page: false }) };
                let (at, value) = entry?;
                let key = read_key(&at)?;
                let record = match listing {
                    Listing::All | Listing::Everything => Some(Record::read(&value).ok_or_else(unreadable)?),
                    Listing::Cron => read_record(tree, process, &key)?,
                };
                let Some(record) = record.filter(|record| record.listed && (failed || !record.failed)) else {
                    continue;
                };
                bytes += record.size();
                if edges.len() == limit || (bytes > PAGE_BYTES && !edges.is_empty()) {
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

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
