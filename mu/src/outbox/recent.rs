//! What is remembered of processes, in the order in which it came: when there is too much, the oldest gives way. It can be
//! asked for again elsewhere, or has no meaning after so long.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};

use super::OutboxError;
use super::local::{last, number, store_error};

/// Keys of another keyspace by age.
pub struct Recent {
    pub(super) order: Keyspace,
    /// Where keys stand that may come again.
    newest: Option<Keyspace>,
    first: u64,
    next: u64,
    most: u64,
}

impl Recent {
    /// At most so many keys.
    pub fn open(database: &Database, name: &str, most: u64) -> Result<Self, OutboxError> {
        let order = database.keyspace(name, KeyspaceCreateOptions::default).map_err(store_error)?;
        let first = order.first_key_value().map(|guard| guard.key().map_err(store_error)).transpose()?;
        let first = first.map(|key| number(&key)).transpose()?.unwrap_or(0);
        let next = last(&order)?.map_or(first, |last| last + 1);
        Ok(Self { order, newest: None, first, next, most: most.max(1) })
    }

    /// The same of keys that may come again, and are new then; where they stand is kept under this name.
    pub fn renewed(self, database: &Database, name: &str) -> Result<Self, OutboxError> {
        let newest = database.keyspace(name, KeyspaceCreateOptions::default).map_err(store_error)?;
        Ok(Self { newest: Some(newest), ..self })
    }

    /// Adds a key; the one that gives way for it. Whoever calls this lets nobody else do so before the batch is committed.
    pub fn add(&mut self, batch: &mut OwnedWriteBatch, key: [u8; 32]) -> Result<Option<[u8; 32]>, OutboxError> {
        batch.insert(&self.order, self.next.to_be_bytes(), key);
        if let Some(newest) = &self.newest {
            batch.insert(newest, key, self.next.to_be_bytes());
        }
        self.next += 1;
        if self.next - self.first <= self.most {
            return Ok(None);
        }
        let oldest = self.first.to_be_bytes();
        let gone = self.order.get(oldest).map_err(store_error)?;
        batch.remove(&self.order, oldest);
        self.first += 1;
        let gone: Option<[u8; 32]> = gone.and_then(|key| key[..].try_into().ok());
        let (Some(gone), Some(newest)) = (gone, &self.newest) else { return Ok(gone) };
        let stands = newest.get(gone).map_err(store_error)?;
        if gone == key || stands.is_some_and(|stands| stands[..] != oldest) {
            // It came again since.
            return Ok(None);
        }
        batch.remove(newest, gone);
        Ok(Some(gone))
    }
}
