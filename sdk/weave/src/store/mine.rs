//! Making blocks: with time, on demand, and around a base-layer transaction.

use fjall::OwnedWriteBatch;

use super::blocks::Block;
use super::index::{self, Position, Term};
use super::pieces::Holder;
use super::record::Record;
use super::{Store, Writer, keys};
use crate::Error;

impl Store {
    /// Makes `count` blocks; everything that waits goes into the first one.
    pub fn mine(&self, count: u64) -> Result<Block, Error> {
        let mut writer = self.write();
        for _ in 0..count {
            let (mut batch, mut after) = (self.database.batch(), writer.clone());
            self.mine_once(&mut batch, &mut after)?;
            self.commit(&mut writer, batch, after)?;
        }
        Ok(writer.tip.clone())
    }

    fn mine_once(&self, batch: &mut OwnedWriteBatch, after: &mut Writer) -> Result<(), Error> {
        let mut waiting = self.waiting()?;
        let weave_start = after.open.as_ref().unwrap_or(&after.tip).weave_size;
        let has_waiting = !waiting.is_empty();
        let (mut weave_size, mut transactions) = (weave_start, Vec::new());
        if let Some(open) = after.open.take() {
            after.tip = open;
            if !has_waiting {
                return Ok(());
            }
        }
        let height = after.tip.height + 1;
        for record in &mut waiting {
            index::remove(batch, &self.index, record);
            record.place.height = Some(height);
            if record.transaction().is_some() {
                transactions.push(record.id);
                self.place_in_weave(batch, record, &mut weave_size);
            }
            index::insert(batch, &self.index, record);
            batch.insert(&self.records, &record.id.as_bytes()[..], record.encode()?);
        }
        let block = Block::after(&after.tip, transactions, weave_size - weave_start, self.rules.clock.seconds());
        block.insert(batch, &self.blocks)?;
        after.tip = block;
        Ok(())
    }

    /// Everything without a block, in order of acceptance.
    pub fn waiting(&self) -> Result<Vec<Record>, Error> {
        let from = Term::all().key(Position::new(None, 0));
        let mut waiting = Vec::new();
        for entry in self.index.range(from..=Term::all().key(Position::LAST)) {
            let id = index::id_of(&entry.value()?)?;
            waiting.extend(self.record(id)?);
        }
        Ok(waiting)
    }

    /// The block that an item accepted now goes into: the open one, which is made when there is none.
    pub(super) fn open_block(&self, batch: &mut OwnedWriteBatch, after: &mut Writer) -> Result<u64, Error> {
        if let Some(open) = &after.open {
            return Ok(open.height);
        }
        let block = Block::after(&after.tip, Vec::new(), 0, self.rules.clock.seconds());
        block.insert(batch, &self.blocks)?;
        let height = block.height;
        if self.rules.ticks {
            after.open = Some(block);
        } else {
            after.tip = block;
        }
        Ok(height)
    }

    /// Mines a base-layer transaction in a block of its own.
    pub(super) fn mine_transaction(
        &self,
        batch: &mut OwnedWriteBatch,
        after: &mut Writer,
        record: &mut Record,
    ) -> Result<u64, Error> {
        if let Some(open) = after.open.take() {
            after.tip = open;
        }
        let mut weave_size = after.tip.weave_size;
        self.place_in_weave(batch, record, &mut weave_size);
        let block =
            Block::after(&after.tip, vec![record.id], weave_size - after.tip.weave_size, self.rules.clock.seconds());
        block.insert(batch, &self.blocks)?;
        let height = block.height;
        record.place.height = Some(height);
        after.tip = block;
        Ok(height)
    }

    /// Gives a transaction's data its place at the end of the weave.
    fn place_in_weave(&self, batch: &mut OwnedWriteBatch, record: &mut Record, weave_size: &mut u64) {
        if let Holder::Root(root) = &record.place.holder
            && root.size > 0
        {
            // Sizes are claims until all chunks are here; a claim must not wrap the weave.
            let Some(end) = weave_size.checked_add(root.size) else { return };
            *weave_size = end;
            record.place.weave_end = Some(end);
            batch.insert(&self.meta, keys::weave(end), &record.id.as_bytes()[..]);
        }
    }
}
