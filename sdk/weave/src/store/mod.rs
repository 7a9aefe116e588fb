//! The store: everything accepted, on disk, with the indexes that GraphQL needs.
//!
//! Keyspaces (all integers big-endian, so that order of keys is order of numbers):
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `records` | id | [`record::Record`] |
//! | `index` | term ‖ position | id; see [`index`] |
//! | `pieces` | holder ‖ start | bytes of data; see [`pieces`] |
//! | `paths` | holder ‖ start | Merkle path of a chunk |
//! | `blocks` | `h` ‖ height, `i` ‖ block id | block, height; see [`blocks`] |
//! | `meta` | see [`keys`] | counters, wallets, roots, weave offsets, work to do |
//!
//! One writer at a time ([`Store::write`]) turns a change into one atomic batch. Readers never wait for it.

pub mod accept;
pub mod blocks;
pub mod index;
pub mod keys;
pub mod mine;
pub mod pieces;
pub mod record;
pub mod reset;
pub mod search;
pub mod wallets;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};
use holon_protocol::ItemId;
use holon_unit::clock::Clock;

use crate::Error;
use blocks::Block;
use record::Record;

/// Everything that was accepted.
pub struct Store {
    database: Database,
    records: Keyspace,
    index: Keyspace,
    pieces: Keyspace,
    paths: Keyspace,
    blocks: Keyspace,
    meta: Keyspace,
    writer: Mutex<Writer>,
    tip: RwLock<Block>,
    rules: Rules,
}

/// How blocks are made.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Items get a block at once.
    pub auto_mine: bool,
    /// A tick closes blocks, so an open one may wait for it.
    pub ticks: bool,
    /// Height of the first block after genesis.
    pub initial_height: u64,
    /// Times, in Unix seconds, of blocks of another network before that one.
    pub founding: Arc<BTreeMap<u64, u64>>,
    /// What time it is.
    pub clock: Clock,
}

/// What the writer knows; the same as on disk.
#[derive(Debug, Clone)]
struct Writer {
    /// Newest closed block.
    tip: Block,
    /// The block after it, when items are in it already.
    open: Option<Block>,
    /// Next sequence number.
    sequence: u64,
    /// Bytes of chunks that belong to no known transaction.
    unclaimed: u64,
}

impl Store {
    /// Opens or makes the store in `folder`.
    pub fn open(folder: &Path, rules: Rules) -> Result<Self, Error> {
        std::fs::create_dir_all(folder)?;
        let database = Database::builder(folder).open()?;
        let plain = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default);
        let pieces = database.keyspace("pieces", || {
            KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()))
        })?;
        let (records, index, paths) = (plain("records")?, plain("index")?, plain("paths")?);
        let (blocks, meta) = (plain("blocks")?, plain("meta")?);
        if meta.get(keys::TIP)?.is_none() {
            let mut batch = database.batch();
            blocks::found(&mut batch, &blocks, &meta, &rules)?;
            batch.commit()?;
            database.persist(fjall::PersistMode::SyncAll)?;
        }
        let writer = Writer::load(&blocks, &meta)?;
        let tip = RwLock::new(writer.tip.clone());
        let writer = Mutex::new(writer);
        Ok(Self { database, records, index, pieces, paths, blocks, meta, writer, tip, rules })
    }

    /// What time it is.
    pub fn clock(&self) -> &Clock {
        &self.rules.clock
    }

    /// The database, for the group commit.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What is stored under an id.
    pub fn record(&self, id: ItemId) -> Result<Option<Record>, Error> {
        self.records.get(id.as_bytes())?.map(|bytes| Record::decode(id, &bytes)).transpose()
    }

    /// Whether an id is known, without reading it.
    pub fn is_known(&self, id: ItemId) -> Result<bool, Error> {
        Ok(self.records.contains_key(id.as_bytes())?)
    }

    /// Newest closed block.
    pub fn tip(&self) -> Block {
        self.tip.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The writer's turn. A panic in somebody's turn leaves the state of the last committed batch, because state is
    /// replaced only after a commit.
    fn write(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a batch, then makes `after` the writer's state and shows its newest block to readers.
    fn commit(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        mut batch: fjall::OwnedWriteBatch,
        after: Writer,
    ) -> Result<(), Error> {
        batch.insert(&self.meta, keys::SEQUENCE, after.sequence.to_be_bytes());
        batch.insert(&self.meta, keys::TIP, after.tip.height.to_be_bytes());
        batch.commit()?;
        *self.tip.write().unwrap_or_else(PoisonError::into_inner) = after.tip.clone();
        **writer = after;
        Ok(())
    }
}

impl Writer {
    fn load(blocks: &Keyspace, meta: &Keyspace) -> Result<Self, Error> {
        let damaged = |what: &str| Error::Damaged(what.to_owned());
        let tip = keys::read_number(meta, keys::TIP)?.ok_or_else(|| damaged("no newest block"))?;
        let open = blocks::at(blocks, tip + 1)?;
        let tip = blocks::at(blocks, tip)?.ok_or_else(|| damaged("the newest block is missing"))?;
        let sequence = keys::read_number(meta, keys::SEQUENCE)?.unwrap_or(0);
        let mut unclaimed = 0_u64;
        for entry in meta.prefix([keys::UNCLAIMED]) {
            unclaimed += keys::number(&entry.value()?)?;
        }
        Ok(Self { tip, open, sequence, unclaimed })
    }
}
