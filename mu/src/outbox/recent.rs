//! What is remembered of processes, in the order in which it came: when there is too much, the oldest gives way. It can be
//! asked for again elsewhere, or has no meaning after so long.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};

use super::OutboxError;
use super::local::{last, number, store_error};

/// Keys of another keyspace by age.
pub struct Recent {
    pub(super) order: Keyspace,
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
        Ok(Self { order, first, next, most: most.max(1) })
    }

    /// Adds a key; the one that gives way for it. Whoever calls this lets nobody else do so before the batch is committed.
    pub fn add(&mut self, batch: &mut OwnedWriteBatch, key: [u8; 32]) -> Result<Option<[u8; 32]>, OutboxError> {
        batch.insert(&self.order, self.next.to_be_bytes(), key);
        self.next += 1;
        if self.next - self.first <= self.most {
            return Ok(None);
        }
        let oldest = self.first.to_be_bytes();
        let gone = self.order.get(oldest).map_err(store_error)?;
        batch.remove(&self.order, oldest);
        self.first += 1;
        Ok(gone.and_then(|key| key[..].try_into().ok()))
    }
}
