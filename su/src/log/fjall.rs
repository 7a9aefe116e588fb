//! Logs on this machine's disk, in fjall.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `entries` | process ‖ nonce | record: position, ids, signed assignment |
//! | `items` | process ‖ nonce | item bytes |
//! | `ids` | process ‖ message or assignment id | nonce |
//! | `contents` | process ‖ content hash | nonce |
//! | `settle` | sequence | process ‖ nonce |
//! | `refused` | sequence | process ‖ nonce ‖ reason |
//! | `containers` | process ‖ nonce | container item bytes |

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use holon_protocol::{ItemId, Nonce, ProcessId};

use super::record::{content_key, decode, decode_unsettled, encode, id_key, nonce_of_key, number, position_key};
use super::{EntryKind, LogStore, Record, StoreError, Unsettled, Write};
use crate::sequencer::{ContentHash, Head};

/// Bytes of process ‖ nonce.
const POSITION_BYTES: usize = 40;

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        Self::Backend(error.to_string())
    }
}

/// Logs in one folder.
pub struct FjallLog {
    database: Database,
    entries: Keyspace,
    items: Keyspace,
    ids: Keyspace,
    contents: Keyspace,
    settle: Keyspace,
    refused: Keyspace,
    containers: Keyspace,
    next_sequence: AtomicU64,
}

impl FjallLog {
    /// Opens or creates the logs in `folder`. What is found there is on disk when this returns: after a crash of the
    /// program alone, the newest writes may be in the system's cache only.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let open = |error: &dyn std::fmt::Display| StoreError::Open(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(|error| open(&error))?;
        let database = Database::builder(folder).open().map_err(|error| open(&error))?;
        let keyspace =
            |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(|error| open(&error));
        let blobs = |name: &str| {
            let options = || KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()));
            database.keyspace(name, options).map_err(|error| open(&error))
        };
        let (entries, ids, contents) = (keyspace("entries")?, keyspace("ids")?, keyspace("contents")?);
        let (settle, refused) = (keyspace("settle")?, keyspace("refused")?);
        let (items, containers) = (blobs("items")?, blobs("containers")?);
        database.persist(PersistMode::SyncAll)?;
        sync_files(folder).map_err(|error| open(&error))?;
        let mut next_sequence = 0;
        for queue in [&settle, &refused] {
            if let Some(last) = queue.last_key_value() {
                let last = number(&last.key()?).ok_or_else(|| StoreError::Corrupt("settle queue key".into()))?;
                next_sequence = next_sequence.max(last + 1);
            }
        }
        Ok(Self {
            database,
            entries,
            items,
            ids,
            contents,
            settle,
            refused,
            containers,
            next_sequence: AtomicU64::new(next_sequence),
        })
    }
}

/// Syncs every file below `folder`, then the folders.
fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_files(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

impl LogStore for FjallLog {
    fn append(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for write in writes {
            match write {
                Write::Entry { process, record, item, content } => {
                    let key = position_key(*process, record.nonce);
                    let nonce = record.nonce.0.to_be_bytes();
                    batch.insert(&self.entries, key, encode(record));
                    batch.insert(&self.ids, id_key(*process, record.assignment.into()), nonce);
                    if record.kind == EntryKind::Message {
                        batch.insert(&self.ids, id_key(*process, record.message.into()), nonce);
                    }
                    if let Some(item) = item {
                        batch.insert(&self.items, key, item.as_ref());
                    }
                    if let Some(content) = content {
                        batch.insert(&self.contents, content_key(*process, &content.0), nonce);
                    }
                    let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
                    batch.insert(&self.settle, sequence.to_be_bytes(), key);
                }
                Write::Container { process, nonce, bytes } => {
                    batch.insert(&self.containers, position_key(*process, *nonce), bytes.as_ref());
                }
                Write::Settled(sequence) => batch.remove(&self.settle, sequence.to_be_bytes()),
                Write::Unsettleable(sequence, reason) => {
                    let key = sequence.to_be_bytes();
                    if let Some(value) = self.settle.get(key)? {
                        batch.insert(&self.refused, key, [value.as_ref(), reason.as_bytes()].concat());
                        batch.remove(&self.settle, key);
                    }
                }
                Write::Requeued(sequence) => {
                    let key = sequence.to_be_bytes();
                    if let Some(value) = self.refused.get(key)? {
                        let position = value
                            .get(..POSITION_BYTES)
                            .ok_or_else(|| StoreError::Corrupt(format!("refused entry {sequence}")))?;
                        batch.insert(&self.settle, key, position);
                        batch.remove(&self.refused, key);
                    }
                }
            }
        }
        Ok(batch.commit()?)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn head(&self, process: ProcessId) -> Result<Option<Head>, StoreError> {
        match self.entries.prefix(process.as_bytes()).next_back() {
            None => Ok(None),
            Some(entry) => {
                let (key, value) = entry.into_inner()?;
                Ok(Some(decode(nonce_of_key(&key)?, Bytes::from_owner(value))?.head()))
            }
        }
    }

    fn record(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Record>, StoreError> {
        let value = self.entries.get(position_key(process, nonce))?;
        value.map(|value| decode(nonce, Bytes::from_owner(value))).transpose()
    }

    fn records(
        &self,
        process: ProcessId,
        first: Nonce,
        last: Nonce,
        visit: &mut dyn FnMut(Record) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        if first > last {
            return Ok(());
        }
        for entry in self.entries.range(position_key(process, first)..=position_key(process, last)) {
            let (key, value) = entry.into_inner()?;
            if !visit(decode(nonce_of_key(&key)?, Bytes::from_owner(value))?)? {
                break;
            }
        }
        Ok(())
    }

    fn item(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Bytes>, StoreError> {
        Ok(self.items.get(position_key(process, nonce))?.map(Bytes::from_owner))
    }

    fn find(&self, process: ProcessId, id: ItemId) -> Result<Option<Nonce>, StoreError> {
        let value = self.ids.get(id_key(process, id))?;
        value
            .map(|value| number(&value).map(Nonce).ok_or_else(|| StoreError::Corrupt(format!("position of {id}"))))
            .transpose()
    }

    fn has_content(&self, process: ProcessId, content: &ContentHash) -> Result<bool, StoreError> {
        Ok(self.contents.contains_key(content_key(process, &content.0))?)
    }

    fn container(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Bytes>, StoreError> {
        Ok(self.containers.get(position_key(process, nonce))?.map(Bytes::from_owner))
    }

    fn unsettled(&self, from: u64, limit: usize) -> Result<Vec<Unsettled>, StoreError> {
        let mut entries = Vec::new();
        for entry in self.settle.range(from.to_be_bytes()..).take(limit) {
            let (key, value) = entry.into_inner()?;
            let sequence = number(&key).ok_or_else(|| StoreError::Corrupt("settle queue key".into()))?;
            entries.push(decode_unsettled(sequence, &value)?);
        }
        Ok(entries)
    }

    fn unsettleable(&self, limit: usize) -> Result<Vec<(Unsettled, String)>, StoreError> {
        let mut entries = Vec::new();
        for entry in self.refused.iter().take(limit) {
            let (key, value) = entry.into_inner()?;
            let sequence = number(&key).ok_or_else(|| StoreError::Corrupt("settle queue key".into()))?;
            let reason = String::from_utf8_lossy(value.get(POSITION_BYTES..).unwrap_or_default()).into_owned();
            entries.push((decode_unsettled(sequence, &value)?, reason));
        }
        Ok(entries)
    }
}
