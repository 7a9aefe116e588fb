//! The traces of the embedded outbox: events by item, and by time so that old ones can be forgotten.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};
use holon_protocol::{ItemId, ProcessId, Timestamp};

use super::local::{decode, encode, store_error};
use super::{MAX_EVENTS_PER_ITEM, MAX_TRACE_EVENTS, OutboxError};
use crate::trace::{Event, What};

/// Length of an id in bytes.
const ID: usize = 32;
/// Length of a sequence number in bytes.
const SEQUENCE: usize = 8;
/// Sequence numbers begin with the time in milliseconds and leave so many bits for what happens within one.
const TIME_SHIFT: u32 = 20;

/// The keyspaces of traces.
pub struct Traces {
    /// Item and sequence number → event.
    events: Keyspace,
    /// Sequence number and item → the process it was made for, if the event says so.
    times: Keyspace,
    /// Process and sequence number → item.
    processes: Keyspace,
    last: AtomicU64,
    /// How many events there are. The store's own estimate counts what was removed as well.
    count: AtomicUsize,
    /// Most events kept.
    most: usize,
}

impl Traces {
    /// Opens or makes them.
    pub fn open(database: &Database) -> Result<Self, OutboxError> {
        Self::open_with(database, MAX_TRACE_EVENTS)
    }

    fn open_with(database: &Database, most: usize) -> Result<Self, OutboxError> {
        let keyspace = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(store_error);
        let (events, times, processes) =
            (keyspace("trace_events")?, keyspace("trace_times")?, keyspace("trace_processes")?);
        let last = times.last_key_value().map(|guard| guard.key().map_err(store_error)).transpose()?;
        let last = last.and_then(|key| sequence(&key, 0)).unwrap_or(0);
        let count = AtomicUsize::new(times.len().map_err(store_error)?);
        Ok(Self { events, times, processes, last: AtomicU64::new(last), count, most })
    }

    /// A number that is greater than all before, and in the order of time.
    fn next(&self, at: Timestamp) -> u64 {
        let now = at.0 << TIME_SHIFT;
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_or(now, |last| now.max(last + 1))
    }

    /// Adds events to a batch.
    pub fn write(&self, batch: &mut OwnedWriteBatch, events: &[(ItemId, Event)]) -> Result<(), OutboxError> {
        self.count.fetch_add(events.len(), Ordering::Relaxed);
        for (item, event) in events {
            let number = self.next(event.at).to_be_bytes();
            batch.insert(&self.events, [item.as_bytes(), &number[..]].concat(), encode(event)?);
            let time = [&number[..], item.as_bytes()].concat();
            match &event.what {
                What::Made(made) => {
                    batch.insert(&self.times, time, *made.to.as_bytes());
                    batch.insert(&self.processes, [made.to.as_bytes(), &number[..]].concat(), *item.as_bytes());
                }
                _ => batch.insert(&self.times, time, ""),
            }
        }
        Ok(())
    }

    /// The events of an item, oldest first.
    pub fn of(&self, item: ItemId) -> Result<Vec<Event>, OutboxError> {
        self.events
            .prefix(item.as_bytes())
            .take(MAX_EVENTS_PER_ITEM)
            .map(|guard| decode(item, &guard.value().map_err(store_error)?))
            .collect()
    }

    /// The newest items made for a process, newest first.
    pub fn made_for(&self, process: ProcessId, limit: usize) -> Result<Vec<ItemId>, OutboxError> {
        self.processes
            .prefix(process.as_bytes())
            .rev()
            .take(limit)
            .map(|guard| {
                let value = guard.value().map_err(store_error)?;
                let bytes = value[..].try_into().map_err(|_| OutboxError::Corrupt {
                    key: format!("trace of {process}"),
                    reason: format!("an id of {ID} bytes is needed"),
                })?;
                Ok(ItemId::from_bytes(bytes))
            })
            .collect()
    }

    /// Adds the removal of at most `limit` events to a batch: those before `before`, and those that are too many.
    pub fn forget(&self, batch: &mut OwnedWriteBatch, before: Timestamp, limit: usize) -> Result<usize, OutboxError> {
        let surplus = self.count.load(Ordering::Relaxed).saturating_sub(self.most);
        let mut forgotten = 0;
        for guard in self.times.iter().take(limit) {
            let (key, process) = guard.into_inner().map_err(store_error)?;
            let Some(number) = sequence(&key, 0).filter(|_| key.len() == SEQUENCE + ID) else {
                batch.remove(&self.times, key);
                continue;
            };
            if forgotten >= surplus && number >> TIME_SHIFT >= before.0 {
                break;
            }
            batch.remove(&self.events, [&key[SEQUENCE..], &key[..SEQUENCE]].concat());
            if !process.is_empty() {
                batch.remove(&self.processes, [&process[..], &key[..SEQUENCE]].concat());
            }
            batch.remove(&self.times, key);
            forgotten += 1;
        }
        self.count.fetch_sub(forgotten, Ordering::Relaxed);
        Ok(forgotten)
    }
}

fn sequence(key: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(at..at + SEQUENCE)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: usize) -> ItemId {
        let mut bytes = [0; ID];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        ItemId::from_bytes(bytes)
    }

    #[test]
    fn what_was_forgotten_before_does_not_count_against_what_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::builder(folder.path()).open().unwrap();
        let traces = Traces::open_with(&database, 100).unwrap();
        let commit = |make: &dyn Fn(&mut OwnedWriteBatch)| {
            let mut batch = database.batch();
            make(&mut batch);
            batch.commit().unwrap();
        };
        for round in 0..20 {
            let at = Timestamp(1_000 + round as u64);
            let events: Vec<_> =
                (0..50).map(|number| (item(round * 50 + number), Event { at, what: What::Scheduled })).collect();
            commit(&|batch| traces.write(batch, &events).unwrap());
            commit(&|batch| assert!(traces.forget(batch, at, 1_000).unwrap() <= 50));
            for (item, _) in &events {
                assert_eq!(traces.of(*item).unwrap().len(), 1, "round {round}");
            }
        }
        // Too many at once: the oldest give way, the others stay; a new start counts them anew.
        let events: Vec<_> =
            (0..130).map(|number| (item(number), Event { at: Timestamp(9_000), what: What::Scheduled })).collect();
        commit(&|batch| traces.write(batch, &events).unwrap());
        let traces = Traces::open_with(&database, 100).unwrap();
        commit(&|batch| assert!(traces.forget(batch, Timestamp(0), 1_000).unwrap() >= 30));
        let kept = events.iter().filter(|(item, _)| !traces.of(*item).unwrap().is_empty()).count();
        assert_eq!(kept, 100);
        assert!(!traces.of(item(129)).unwrap().is_empty(), "the newest of them");
    }
}
