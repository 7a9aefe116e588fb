//! Taking in what has been verified: one batch each, in the writer's turn.

use fjall::OwnedWriteBatch;
use holon_arweave::Transaction;
use holon_arweave::merkle::{Chunk, Tree};
use holon_protocol::{DataItem, ItemId};

use super::index;
use super::pieces::{Holder, Root};
use super::record::{Header, Place, Record};
use super::{Store, Writer, keys};
use crate::Error;
use crate::unbundle::{self, Inner};

/// Most bytes of chunks kept without a transaction that wants them.
pub const MAX_UNCLAIMED_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Whether something was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored now.
    New,
    /// It was here before.
    Known,
}

/// There is no room for chunks without a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFull;

impl Store {
    /// Stores a verified item with everything `inside` it.
    pub fn accept_item(&self, item: &DataItem, inside: &[Inner]) -> Result<Accepted, Error> {
        let (id, data) = (item.id(), item.data());
        let header = Header::of_item(item)?;
        let mut writer = self.write();
        if self.is_known(id)? {
            return Ok(Accepted::Known);
        }
        let (mut batch, mut after) = (self.database.batch(), writer.clone());
        let height = if self.rules.auto_mine { Some(self.open_block(&mut batch, &mut after)?) } else { None };
        let holder = Holder::Item(id);
        let place = Place {
            height,
            sequence: next(&mut after),
            bundled_in: None,
            holder,
            offset: 0,
            size: data.len() as u64,
            weave_end: None,
        };
        self.insert_record(&mut batch, &Record { id, place, header })?;
        self.insert_data(&mut batch, id, &data);
        self.insert_inside(&mut batch, &mut after, height, &holder, inside)?;
        self.commit(&mut writer, batch, after)?;
        Ok(Accepted::New)
    }

    /// Stores a verified transaction. Inline data is complete at once; `inside` is what its data bundles.
    pub fn accept_transaction(&self, transaction: &Transaction, inside: &[Inner]) -> Result<Accepted, Error> {
        let id = transaction.id;
        let tree = Tree::of(&transaction.data);
        let root = match (&tree, transaction.data_root) {
            (Some(tree), _) => Root::new(tree.root(), transaction.data.len() as u64),
            (None, Some(root)) => Root::new(root, transaction.data_size),
            (None, None) => Root::new([0; 32], 0),
        };
        let chunks = tree.map(|tree| tree.chunks(&transaction.data)).unwrap_or_default();
        let mut writer = self.write();
        if self.is_known(id)? {
            return Ok(Accepted::Known);
        }
        let (mut batch, mut after) = (self.database.batch(), writer.clone());
        let holder = Holder::Root(root);
        let place = Place {
            height: None,
            sequence: next(&mut after),
            bundled_in: None,
            holder,
            offset: 0,
            size: root.size,
            weave_end: None,
        };
        let mut record = Record { id, place, header: Header::of_transaction(transaction) };
        let height = match self.rules.auto_mine {
            true => Some(self.mine_transaction(&mut batch, &mut after, &mut record)?),
            false => None,
        };
        self.insert_record(&mut batch, &record)?;
        batch.insert(&self.meta, keys::last(transaction.owner_address()), &id.as_bytes()[..]);
        if root.size > 0 {
            self.claim(&mut batch, &mut after, &root, id)?;
            for chunk in &chunks {
                self.insert_chunk(&mut batch, &root, chunk);
            }
            if !chunks.is_empty() {
                batch.insert(&self.meta, keys::present(&root), root.size.to_be_bytes());
                // Others may have waited for the same data.
                self.note_unopened(&mut batch, &self.transactions_of(&root)?)?;
            } else if unbundle::is_bundle(&record.header.tags()) && self.is_complete(&record.place)? {
                batch.insert(&self.meta, keys::unopened(id), b"");
            }
        }
        self.insert_inside(&mut batch, &mut after, height, &holder, inside)?;
        self.commit(&mut writer, batch, after)?;
        Ok(Accepted::New)
    }

    /// Notes that a transaction wants the data of `root`.
    fn claim(&self, batch: &mut OwnedWriteBatch, after: &mut Writer, root: &Root, id: ItemId) -> Result<(), Error> {
        batch.insert(&self.meta, keys::root_of(root, id), b"");
        if let Some(bytes) = keys::read_number(&self.meta, keys::unclaimed(root))? {
            after.unclaimed = after.unclaimed.saturating_sub(bytes);
            batch.remove(&self.meta, keys::unclaimed(root));
        }
        Ok(())
    }

    /// Stores a verified chunk. When it is the last one, transactions with this data that are bundles are noted in
    /// [`Self::unopened`].
    pub fn accept_chunk(&self, root: &Root, chunk: &Chunk) -> Result<Result<Accepted, PoolFull>, Error> {
        let mut writer = self.write();
        if self.has_chunk(root, chunk.start)? {
            return Ok(Ok(Accepted::Known));
        }
        let (mut batch, mut after) = (self.database.batch(), writer.clone());
        let present = keys::read_number(&self.meta, keys::present(root))?.unwrap_or(0) + chunk.bytes.len() as u64;
        let wanted = self.transactions_of(root)?;
        if wanted.is_empty() {
            after.unclaimed += chunk.bytes.len() as u64;
            if after.unclaimed > MAX_UNCLAIMED_BYTES {
                return Ok(Err(PoolFull));
            }
            batch.insert(&self.meta, keys::unclaimed(root), present.to_be_bytes());
        }
        self.insert_chunk(&mut batch, root, chunk);
        batch.insert(&self.meta, keys::present(root), present.to_be_bytes());
        if present == root.size {
            self.note_unopened(&mut batch, &wanted)?;
        }
        self.commit(&mut writer, batch, after)?;
        Ok(Ok(Accepted::New))
    }

    /// Notes which of these transactions, whose data is complete now, are bundles to open.
    fn note_unopened(&self, batch: &mut OwnedWriteBatch, transactions: &[ItemId]) -> Result<(), Error> {
        for id in transactions {
            if let Some(record) = self.record(*id)?
                && unbundle::is_bundle(&record.header.tags())
            {
                batch.insert(&self.meta, keys::unopened(*id), b"");
            }
        }
        Ok(())
    }

    fn transactions_of(&self, root: &Root) -> Result<Vec<ItemId>, Error> {
        self.meta.prefix(keys::root(root)).map(|entry| keys::id(&entry.key()?)).collect()
    }

    /// Complete bundles that have not been opened yet.
    pub fn unopened(&self) -> Result<Vec<ItemId>, Error> {
        self.meta.prefix([keys::UNOPENED]).map(|entry| keys::id(&entry.key()?)).collect()
    }

    /// Stores what is inside a complete bundle, in the block of the bundle.
    pub fn accept_opened(&self, id: ItemId, inside: &[Inner]) -> Result<(), Error> {
        let mut writer = self.write();
        let (mut batch, mut after) = (self.database.batch(), writer.clone());
        if let Some(record) = self.record(id)? {
            self.insert_inside(&mut batch, &mut after, record.place.height, &record.place.holder, inside)?;
        }
        batch.remove(&self.meta, keys::unopened(id));
        self.commit(&mut writer, batch, after)
    }

    fn insert_inside(
        &self,
        batch: &mut OwnedWriteBatch,
        after: &mut Writer,
        height: Option<u64>,
        holder: &Holder,
        inside: &[Inner],
    ) -> Result<(), Error> {
        let mut seen = std::collections::HashSet::new();
        for inner in inside {
            let id = inner.item.id();
            if !seen.insert(id) {
                continue;
            }
            if let Some(mut known) = self.record(id)? {
                // An item that came on its own before; now it is known where it is bundled.
                if known.place.bundled_in.is_none() && known.transaction().is_none() {
                    known.place.bundled_in = Some(inner.parent);
                    self.insert_record(batch, &known)?;
                }
                continue;
            }
            let place = Place {
                height,
                sequence: next(after),
                bundled_in: Some(inner.parent),
                holder: *holder,
                offset: inner.data_offset,
                size: inner.data_size,
                weave_end: None,
            };
            self.insert_record(batch, &Record { id, place, header: Header::of_item(&inner.item)? })?;
        }
        Ok(())
    }

    pub(super) fn insert_record(&self, batch: &mut OwnedWriteBatch, record: &Record) -> Result<(), Error> {
        index::insert(batch, &self.index, record);
        batch.insert(&self.records, &record.id.as_bytes()[..], record.encode()?);
        Ok(())
    }
}

fn next(after: &mut Writer) -> u64 {
    let sequence = after.sequence;
    after.sequence += 1;
    sequence
}
