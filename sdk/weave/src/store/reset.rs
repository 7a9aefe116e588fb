//! Starting over, with the seeds (spec 03 §6.5).

use fjall::{Keyspace, OwnedWriteBatch};

use super::index::{Position, Term};
use super::pieces::Holder;
use super::record::Record;
use super::{Store, Writer, blocks, keys};
use crate::Error;

/// Types of items that a network cannot do without, and that therefore survive. Units keep their own logs over a reset;
/// without its process item, a process in them would be taken for a wallet.
const SEED_TYPES: [&str; 3] = ["Scheduler-Location", "Module", "Process"];

impl Store {
    /// Forgets everything but seeds, in one step.
    pub fn reset(&self) -> Result<(), Error> {
        let mut writer = self.write();
        let mut batch = self.database.batch();
        let mut seeds = self.seeds()?;
        for keyspace in [&self.records, &self.index, &self.pieces, &self.paths, &self.blocks, &self.meta] {
            clear(&mut batch, keyspace)?;
        }
        let tip = blocks::found(&mut batch, &self.blocks, &self.meta, &self.rules)?;
        let mut after = Writer { tip, open: None, sequence: 0, unclaimed: 0 };
        for (record, data) in &mut seeds {
            record.place.height = match self.rules.auto_mine {
                true => Some(self.open_block(&mut batch, &mut after)?),
                false => None,
            };
            record.place.sequence = after.sequence;
            after.sequence += 1;
            record.place.bundled_in = None;
            record.place.weave_end = None;
            // Data moves under the seed's own id: what was around it is gone.
            record.place.holder = Holder::Item(record.id);
            record.place.offset = 0;
            self.insert_record(&mut batch, record)?;
            self.insert_data(&mut batch, record.id, data);
        }
        self.commit(&mut writer, batch, after)
    }

    fn seeds(&self) -> Result<Vec<(Record, bytes::Bytes)>, Error> {
        let mut seeds = Vec::new();
        for kind in SEED_TYPES {
            let term = Term::tag("Type", kind);
            for entry in self.index.range(term.key(Position::FIRST)..=term.key(Position::LAST)) {
                let Some(record) = self.record(keys::id(&entry.value()?)?)? else { continue };
                if record.transaction().is_none() && self.is_complete(&record.place)? {
                    let data = self.data(&record.place, 0, record.place.size)?;
                    seeds.push((record, data));
                }
            }
        }
        seeds.sort_by_key(|(record, _)| record.place.position());
        Ok(seeds)
    }
}

fn clear(batch: &mut OwnedWriteBatch, keyspace: &Keyspace) -> Result<(), Error> {
    for entry in keyspace.iter() {
        batch.remove(keyspace, entry.key()?);
    }
    Ok(())
}
