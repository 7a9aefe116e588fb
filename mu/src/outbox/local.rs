//! The embedded outbox: fjall on the local disk, fsyncs shared by concurrent commits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_protocol::{ItemId, ProcessId, Timestamp};
use holon_unit::durable::GroupCommit;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::graves::{Graves, Owner};
use super::recent::Recent;
use super::traces::Traces;
use super::{
    Changes, Charge, Committed, DeadLetter, Durability, Letter, LetterId, MAX_CLAIMS, MAX_DEAD_BYTES,
    MAX_REMEMBERED_PROCESSES, MAX_UNMONITORED, MAX_UNUSABLE_BYTES, Monitor, Monitoring, Outbox, OutboxError,
};
use crate::crank::task::{ProcessRecord, Task, TaskId, Work};
use crate::trace::Event;

/// Written into every store; another value is refused.
const FORMAT: &str = "1";

/// The embedded outbox. Clones share the store.
#[derive(Clone)]
pub struct LocalOutbox(Arc<Store>);

struct Store {
    database: Database,
    group: GroupCommit,
    tasks: Keyspace,
    /// Bytes to send, apart from the tasks so that loading a long queue does not read them.
    bodies: Keyspace,
    dead: Keyspace,
    /// Bytes of dead letters, so that what was signed can be sent again.
    dead_bodies: Keyspace,
    /// Owner and size of each dead letter, so that opening does not read them all.
    dead_index: Keyspace,
    accounts: Keyspace,
    traces: Traces,
    processes: Keyspace,
    claims: Keyspace,
    monitors: Keyspace,
    next_task: AtomicU64,
    next_dead: AtomicU64,
    /// Held while monitors are written, so that a birth sees what is there.
    monitoring: Mutex<()>,
    /// Held while a batch is made that adds to what is remembered of processes.
    remembered: Mutex<Remembered>,
    /// Held while a batch with dead letters is made, so that their keys and the trimming agree.
    dying: Mutex<Dead>,
}

/// What is remembered of processes, by age.
struct Remembered {
    processes: Recent,
    claims: Recent,
    unmonitored: Recent,
}

/// What there is room for.
struct Rooms {
    dead_bytes: u64,
    unusable_bytes: u64,
    processes: u64,
    claims: u64,
    unmonitored: u64,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            dead_bytes: MAX_DEAD_BYTES,
            unusable_bytes: MAX_UNUSABLE_BYTES,
            processes: MAX_REMEMBERED_PROCESSES,
            claims: MAX_CLAIMS,
            unmonitored: MAX_UNMONITORED,
        }
    }
}

/// What is known of dead letters in memory.
struct Dead {
    retryable: Graves,
    unusable: Graves,
}

impl Dead {
    fn of(&mut self, retryable: bool) -> &mut Graves {
        if retryable { &mut self.retryable } else { &mut self.unusable }
    }
}

/// What the index says of a dead letter: whether it can be taken up again, whose it is, how large.
#[derive(Debug, Serialize, Deserialize)]
struct Buried {
    retryable: bool,
    owner: Owner,
    bytes: u64,
}

/// A failure of the store.
pub fn store_error(error: fjall::Error) -> OutboxError {
    OutboxError::Store(error.to_string())
}

fn key(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

/// A key that is a number.
pub fn number(key: &[u8]) -> Result<u64, OutboxError> {
    key.try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| OutboxError::Corrupt { key: format!("{key:?}"), reason: "a key of 8 bytes is needed".into() })
}

/// The greatest key.
pub fn last(keyspace: &Keyspace) -> Result<Option<u64>, OutboxError> {
    let key = keyspace.last_key_value().map(|guard| guard.key().map_err(store_error)).transpose()?;
    key.map(|key| number(&key)).transpose()
}

/// A value as it is stored.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, OutboxError> {
    serde_json::to_vec(value).map_err(|error| OutboxError::Store(error.to_string()))
}

/// A stored value; `key` is for the error.
pub fn decode<T: DeserializeOwned>(key: impl std::fmt::Display, value: &[u8]) -> Result<T, OutboxError> {
    serde_json::from_slice(value)
        .map_err(|error| OutboxError::Corrupt { key: key.to_string(), reason: error.to_string() })
}

/// What is known of the dead letters there are. Those of a store that has no index yet are read.
fn buried(dead: &Keyspace, index: &Keyspace, dead_bytes: u64, unusable_bytes: u64) -> Result<Dead, OutboxError> {
    let mut known = Dead { retryable: Graves::new(dead_bytes), unusable: Graves::new(unusable_bytes) };
    for guard in dead.iter() {
        let (key, value) = guard.into_inner().map_err(store_error)?;
        let id = number(&key)?;
        let Buried { retryable, owner, bytes } = match index.get(&key).map_err(store_error)? {
            Some(buried) => decode(id, &buried)?,
            None => {
                let letter: DeadLetter = decode(id, &value)?;
                Buried { retryable: letter.is_retryable(), owner: letter.owner(), bytes: value.len() as u64 }
            }
        };
        // What is too much gives way with the next one.
        known.of(retryable).add(id, owner, bytes);
    }
    Ok(known)
}

/// Puts the bytes of a task that sends some back in.
fn fill(task: &mut Task, bodies: &Keyspace, id: u64) -> Result<(), OutboxError> {
    let Work::Send(signed) = &mut task.work else { return Ok(()) };
    let body = bodies.get(key(id)).map_err(store_error)?;
    let body =
        body.ok_or_else(|| OutboxError::Corrupt { key: id.to_string(), reason: "its bytes are missing".into() })?;
    signed.raw = Bytes::copy_from_slice(&body);
    Ok(())
}

impl LocalOutbox {
    /// Opens or creates the store in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use, or holds another format.
    pub fn open(folder: &Path) -> Result<Self, OutboxError> {
        Self::open_with(folder, &Rooms::default())
    }

    /// The same with so much room.
    fn open_with(folder: &Path, rooms: &Rooms) -> Result<Self, OutboxError> {
        let database = Database::builder(folder).open().map_err(store_error)?;
        let keyspace = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(store_error);
        let meta = keyspace("meta")?;
        match meta.get("format").map_err(store_error)? {
            Some(found) if *found == *FORMAT.as_bytes() => {}
            Some(found) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                return Err(OutboxError::Format { found, supported: FORMAT });
            }
            None => {
                meta.insert("format", FORMAT).map_err(store_error)?;
                database.persist(PersistMode::SyncAll).map_err(store_error)?;
            }
        }
        let dead = keyspace("dead")?;
        let next_dead = last(&dead)?.map_or(0, |last| last + 1);
        let dead_index = keyspace("dead_index")?;
        let known = buried(&dead, &dead_index, rooms.dead_bytes, rooms.unusable_bytes)?;
        let tasks = keyspace("tasks")?;
        let next_task = last(&tasks)?.map_or(1, |last| last + 1);
        let remembered = Remembered {
            processes: Recent::open(&database, "process_order", rooms.processes)?,
            claims: Recent::open(&database, "boot_order", rooms.claims)?,
            unmonitored: Recent::open(&database, "unmonitored_order", rooms.unmonitored)?
                .renewed(&database, "unmonitored_newest")?,
        };
        let group = GroupCommit::new(database.clone()).map_err(|error| OutboxError::Store(error.to_string()))?;
        Ok(Self(Arc::new(Store {
            tasks,
            bodies: keyspace("bodies")?,
            dead,
            dead_bodies: keyspace("dead_bodies")?,
            dead_index,
            accounts: keyspace("accounts")?,
            traces: Traces::open(&database)?,
            processes: keyspace("processes")?,
            claims: keyspace("boots")?,
            monitors: keyspace("monitors")?,
            next_task: AtomicU64::new(next_task),
            next_dead: AtomicU64::new(next_dead),
            monitoring: Mutex::new(()),
            remembered: Mutex::new(remembered),
            dying: Mutex::new(known),
            group,
            database,
        })))
    }

    /// Runs `work` where it may block: the store waits for compaction now and then.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, OutboxError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, OutboxError>> {
        let store = Arc::clone(&self.0);
        async move {
            tokio::task::spawn_blocking(move || work(&store))
                .await
                .map_err(|error| OutboxError::Store(error.to_string()))?
        }
        .boxed()
    }
}

impl Store {
    /// Refuses changes of what is not there.
    fn check(&self, changes: &Changes) -> Result<(), OutboxError> {
        let there = |keyspace: &Keyspace, id: u64| match keyspace.contains_key(key(id)).map_err(store_error)? {
            true => Ok(()),
            false => Err(OutboxError::Lost),
        };
        for id in changes.remove.iter().chain(changes.put.iter().map(|(id, _)| id)) {
            there(&self.tasks, id.0)?;
        }
        for id in &changes.dug_up {
            there(&self.dead, id.0)?;
        }
        for (process, monitoring) in &changes.monitors {
            if let Monitoring::Move { from, .. } = monitoring
                && self.monitor(*process)?.as_ref() != Some(from)
            {
                return Err(OutboxError::Lost);
            }
        }
        Ok(())
    }

    fn commit(&self, mut changes: Changes) -> Result<Committed, OutboxError> {
        let writes_monitors = !changes.monitors.is_empty() || !changes.births.is_empty();
        let _monitoring = writes_monitors.then(|| self.monitoring.lock().unwrap_or_else(PoisonError::into_inner));
        self.check(&changes)?;
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for id in &changes.remove {
            batch.remove(&self.tasks, key(id.0));
            batch.remove(&self.bodies, key(id.0));
        }
        let number = |task| (TaskId(self.next_task.fetch_add(1, Ordering::Relaxed)), task);
        let new: Vec<_> = std::mem::take(&mut changes.new).into_iter().map(number).collect();
        let intents: Vec<_> = std::mem::take(&mut changes.intents).into_iter().map(number).collect();
        for (id, task) in changes.put.iter().chain(&new).chain(&intents) {
            batch.insert(&self.tasks, key(id.0), encode(task)?);
            if let Work::Send(signed) = &task.work {
                batch.insert(&self.bodies, key(id.0), &signed.raw[..]);
            }
        }
        let committed = Committed { new, intents: intents.into_iter().map(|(id, _)| id).collect() };
        let remembers = writes_monitors || !changes.processes.is_empty() || !changes.claims.is_empty();
        // Until the batch is committed.
        let mut remembered = remembers.then(|| self.remembered.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(remembered) = &mut remembered {
            self.remember(&mut batch, remembered, &changes)?;
        }
        for (process, monitor) in &changes.births {
            if !self.monitors.contains_key(process.as_bytes()).map_err(store_error)? {
                batch.insert(&self.monitors, *process.as_bytes(), encode(monitor)?);
            }
        }
        for (process, monitoring) in &changes.monitors {
            match monitoring {
                Monitoring::Put(monitor) | Monitoring::Move { to: monitor, .. } => {
                    batch.insert(&self.monitors, *process.as_bytes(), encode(monitor)?);
                }
                Monitoring::End => batch.remove(&self.monitors, *process.as_bytes()),
            }
        }
        for (origin, charge) in &changes.accounts {
            match charge {
                Charge::More { total, .. } => batch.insert(&self.accounts, *origin.as_bytes(), total.to_be_bytes()),
                Charge::Afresh => batch.insert(&self.accounts, *origin.as_bytes(), 0_u64.to_be_bytes()),
                Charge::Over => batch.remove(&self.accounts, *origin.as_bytes()),
            }
        }
        self.traces.write(&mut batch, &changes.traces)?;
        if changes.dead.is_empty() && changes.dug_up.is_empty() {
            batch.commit().map_err(store_error)?;
            return Ok(committed);
        }
        let mut dead = self.dying.lock().unwrap_or_else(PoisonError::into_inner);
        self.bury(&mut batch, &mut dead, &changes)?;
        batch.commit().map_err(store_error)?;
        Ok(committed)
    }

    /// Adds what is remembered of processes to a batch, and the removal of what gives way for it.
    fn remember(
        &self,
        batch: &mut OwnedWriteBatch,
        remembered: &mut Remembered,
        changes: &Changes,
    ) -> Result<(), OutboxError> {
        for claim in &changes.claims {
            if self.claims.contains_key(claim.as_bytes()).map_err(store_error)? {
                return Err(OutboxError::Claimed);
            }
        }
        for (process, record) in &changes.processes {
            if !self.processes.contains_key(process.as_bytes()).map_err(store_error)?
                && let Some(gone) = remembered.processes.add(batch, *process.as_bytes())?
            {
                batch.remove(&self.processes, gone);
            }
            batch.insert(&self.processes, *process.as_bytes(), encode(record)?);
        }
        for claim in &changes.claims {
            if let Some(gone) = remembered.claims.add(batch, *claim.as_bytes())? {
                batch.remove(&self.claims, gone);
            }
            batch.insert(&self.claims, *claim.as_bytes(), "");
        }
        for (process, monitoring) in &changes.monitors {
            if matches!(monitoring, Monitoring::Put(monitor) if monitor.off)
                && self.monitor(*process)?.is_none_or(|monitor| !monitor.off)
                && let Some(gone) = remembered.unmonitored.add(batch, *process.as_bytes())?
                && self.monitor(ProcessId::from_bytes(gone))?.is_some_and(|monitor| monitor.off)
            {
                batch.remove(&self.monitors, gone);
            }
        }
        Ok(())
    }

    /// Adds dead letters to a batch, and the removal of those that are taken up again and of those that give way.
    fn bury(&self, batch: &mut OwnedWriteBatch, dead: &mut Dead, changes: &Changes) -> Result<(), OutboxError> {
        let mut gone: BTreeSet<u64> = changes.dug_up.iter().map(|id| id.0).collect();
        for id in &gone {
            dead.retryable.remove(*id);
            dead.unusable.remove(*id);
        }
        let mut kept = BTreeMap::new();
        for letter in &changes.dead {
            let id = self.next_dead.fetch_add(1, Ordering::Relaxed);
            let text = encode(letter)?;
            let body = match &letter.letter {
                Letter::Task(task) => match &task.work {
                    Work::Send(signed) => Some(signed.raw.clone()),
                    _ => None,
                },
                Letter::Entry { .. } => None,
            };
            let bytes = (text.len() + body.as_ref().map_or(0, Bytes::len)) as u64;
            let buried = Buried { retryable: letter.is_retryable(), owner: letter.owner(), bytes };
            gone.extend(dead.of(buried.retryable).add(id, buried.owner, bytes));
            kept.insert(id, (text, body, encode(&buried)?));
        }
        for id in gone {
            // One that does not even get in was never there.
            if kept.remove(&id).is_none() {
                batch.remove(&self.dead, key(id));
                batch.remove(&self.dead_bodies, key(id));
                batch.remove(&self.dead_index, key(id));
            }
        }
        for (id, (text, body, buried)) in kept {
            batch.insert(&self.dead, key(id), text);
            batch.insert(&self.dead_index, key(id), buried);
            if let Some(body) = body {
                batch.insert(&self.dead_bodies, key(id), &body[..]);
            }
        }
        Ok(())
    }

    fn monitor(&self, process: ProcessId) -> Result<Option<Monitor>, OutboxError> {
        let value = self.monitors.get(process.as_bytes()).map_err(store_error)?;
        value.map(|value| decode(process, &value)).transpose()
    }

    fn task(&self, id: TaskId) -> Result<Option<Task>, OutboxError> {
        let Some(value) = self.tasks.get(key(id.0)).map_err(store_error)? else { return Ok(None) };
        let mut task: Task = decode(id, &value)?;
        fill(&mut task, &self.bodies, id.0)?;
        Ok(Some(task))
    }

    fn dead_letter(&self, id: LetterId) -> Result<Option<DeadLetter>, OutboxError> {
        let Some(value) = self.dead.get(key(id.0)).map_err(store_error)? else { return Ok(None) };
        let mut letter: DeadLetter = decode(id.0, &value)?;
        letter.id = id;
        if let Letter::Task(task) = &mut letter.letter {
            fill(task, &self.dead_bodies, id.0)?;
        }
        Ok(Some(letter))
    }

    fn dead_letters(&self, before: Option<LetterId>, limit: usize) -> Result<Vec<DeadLetter>, OutboxError> {
        let end = before.map_or(u64::MAX, |before| before.0);
        let mut letters = (self.dead.range(..key(end)).rev().take(limit))
            .map(|guard| {
                let (key, value) = guard.into_inner().map_err(store_error)?;
                let id = number(&key)?;
                Ok(DeadLetter { id: LetterId(id), ..decode(id, &value)? })
            })
            .collect::<Result<Vec<DeadLetter>, OutboxError>>()?;
        letters.reverse();
        Ok(letters)
    }

    fn accounts(&self) -> Result<Vec<(ItemId, u64)>, OutboxError> {
        self.accounts
            .iter()
            .map(|guard| {
                let (key, value) = guard.into_inner().map_err(store_error)?;
                let origin: [u8; 32] = key[..].try_into().map_err(|_| OutboxError::Corrupt {
                    key: format!("{key:?}"),
                    reason: "a key of 32 bytes is needed".into(),
                })?;
                Ok((ItemId::from_bytes(origin), number(&value)?))
            })
            .collect()
    }

    fn forget_traces(&self, before: Timestamp, limit: usize) -> Result<usize, OutboxError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        let forgotten = self.traces.forget(&mut batch, before, limit)?;
        batch.commit().map_err(store_error)?;
        Ok(forgotten)
    }

    fn tasks(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<(TaskId, Task)>, OutboxError> {
        let from = after.map_or(0, |after| after.0 + 1);
        self.tasks
            .range(key(from)..)
            .take(limit)
            .map(|guard| {
                let (key, value) = guard.into_inner().map_err(store_error)?;
                let id = TaskId(number(&key)?);
                Ok((id, decode(id, &value)?))
            })
            .collect()
    }
}

impl Outbox for LocalOutbox {
    fn commit(&self, changes: Changes, durability: Durability) -> BoxFuture<'_, Result<Committed, OutboxError>> {
        let committed = self.blocking(move |store| store.commit(changes));
        async move {
            let committed = committed.await?;
            if durability == Durability::Synced {
                self.0.group.durable().await.map_err(|error| OutboxError::Store(error.to_string()))?;
            }
            Ok(committed)
        }
        .boxed()
    }

    fn task(&self, id: TaskId) -> BoxFuture<'_, Result<Option<Task>, OutboxError>> {
        self.blocking(move |store| store.task(id))
    }

    fn tasks(&self, after: Option<TaskId>, limit: usize) -> BoxFuture<'_, Result<Vec<(TaskId, Task)>, OutboxError>> {
        self.blocking(move |store| store.tasks(after, limit))
    }

    fn process(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<ProcessRecord>, OutboxError>> {
        self.blocking(move |store| {
            let value = store.processes.get(id.as_bytes()).map_err(store_error)?;
            value.map(|value| decode(id, &value)).transpose()
        })
    }

    fn is_claimed(&self, id: ItemId) -> BoxFuture<'_, Result<bool, OutboxError>> {
        self.blocking(move |store| store.claims.contains_key(id.as_bytes()).map_err(store_error))
    }

    fn monitor(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<Monitor>, OutboxError>> {
        self.blocking(move |store| store.monitor(id))
    }

    fn monitors(&self) -> BoxFuture<'_, Result<Vec<(ProcessId, Monitor)>, OutboxError>> {
        self.blocking(|store| {
            store
                .monitors
                .iter()
                .map(|guard| {
                    let (key, value) = guard.into_inner().map_err(store_error)?;
                    let bytes: [u8; 32] = key[..].try_into().map_err(|_| OutboxError::Corrupt {
                        key: format!("{key:?}"),
                        reason: "a key of 32 bytes is needed".into(),
                    })?;
                    let id = ProcessId::from_bytes(bytes);
                    Ok((id, decode(id, &value)?))
                })
                .collect()
        })
    }

    fn dead_letters(
        &self,
        before: Option<LetterId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, OutboxError>> {
        self.blocking(move |store| store.dead_letters(before, limit))
    }

    fn dead_letter(&self, id: LetterId) -> BoxFuture<'_, Result<Option<DeadLetter>, OutboxError>> {
        self.blocking(move |store| store.dead_letter(id))
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<(ItemId, u64)>, OutboxError>> {
        self.blocking(Store::accounts)
    }

    fn trace(&self, item: ItemId) -> BoxFuture<'_, Result<Vec<Event>, OutboxError>> {
        self.blocking(move |store| store.traces.of(item))
    }

    fn traced(&self, process: ProcessId, limit: usize) -> BoxFuture<'_, Result<Vec<ItemId>, OutboxError>> {
        self.blocking(move |store| store.traces.made_for(process, limit))
    }

    fn forget_traces(&self, before: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, OutboxError>> {
        self.blocking(move |store| store.forget_traces(before, limit))
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, OutboxError>> {
        self.blocking(|store| store.database.disk_space().map_err(store_error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::LETTER_BYTES;
    use super::*;
    use crate::crank::descent::Descent;
    use crate::crank::outgoing::Skipped;

    fn process(byte: u8) -> ProcessId {
        ProcessId::from_bytes([byte; 32])
    }

    fn given_up(letter: Letter) -> DeadLetter {
        DeadLetter { id: LetterId::default(), at: Timestamp(1), reason: "no".into(), letter }
    }

    fn task(of: u8) -> DeadLetter {
        let work = Work::Pull { message: ItemId::from_bytes([of; 32]).into(), process: process(of), nonce: None };
        given_up(Letter::Task(Box::new(Task { root: None, descent: Descent::default(), work })))
    }

    fn entry(of: u8) -> DeadLetter {
        let entry = Skipped { entry: "Messages[0]".into(), reason: "no".into(), text: "x".repeat(4_096) };
        given_up(Letter::Entry { emitter: Some(process(of)), entry })
    }

    #[test]
    fn what_strangers_fill_costs_nobody_a_letter_that_can_be_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let started = std::time::Instant::now();
            loop {
                let (dead_bytes, unusable_bytes) = (20 * LETTER_BYTES, 20 * LETTER_BYTES);
                match LocalOutbox::open_with(folder.path(), &Rooms { dead_bytes, unusable_bytes, ..Rooms::default() }) {
                    Ok(outbox) => return outbox,
                    Err(error) => assert!(started.elapsed().as_secs() < 10, "{error}"),
                }
            }
        };
        let outbox = open();
        let bury = |outbox: &LocalOutbox, dead: Vec<DeadLetter>| {
            outbox.0.commit(Changes { dead, ..Changes::default() }).unwrap();
        };
        bury(&outbox, vec![task(1)]);
        for _ in 0..10 {
            bury(&outbox, (0..50).map(|_| entry(2)).collect());
            bury(&outbox, (0..50).map(|_| task(3)).collect());
        }
        drop(outbox);
        // Also across a restart.
        let outbox = open();
        bury(&outbox, (0..50).map(|_| task(3)).collect());
        let letters = outbox.0.dead_letters(None, 1_000).unwrap();
        let of = |byte: u8| letters.iter().filter(|letter| letter.owner() == Some(process(byte))).count();
        assert_eq!((of(1), letters[0].owner()), (1, Some(process(1))));
        assert!((1..=20).contains(&of(2)) && (10..=19).contains(&of(3)), "{} and {}", of(2), of(3));
        assert!(outbox.0.dead_index.len().unwrap() == letters.len());
        let first = letters[0].id;
        outbox.0.commit(Changes { dug_up: vec![first], ..Changes::default() }).unwrap();
        assert_eq!(outbox.0.dead_letter(first).unwrap(), None);
        assert_eq!(outbox.0.dead_index.len().unwrap(), letters.len() - 1);
    }

    #[test]
    fn what_is_remembered_of_processes_gives_way_to_what_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let rooms = Rooms { processes: 3, claims: 3, unmonitored: 2, ..Rooms::default() };
        let open = || {
            let started = std::time::Instant::now();
            loop {
                match LocalOutbox::open_with(folder.path(), &rooms) {
                    Ok(outbox) => return outbox,
                    Err(error) => assert!(started.elapsed().as_secs() < 10, "{error}"),
                }
            }
        };
        let record =
            ProcessRecord { module: "m".into(), scheduler: holon_protocol::Address::from_bytes([1; 32]), cron: true };
        let off = || Monitoring::Put(Monitor { off: true, ..Monitor::default() });
        let tell = |outbox: &LocalOutbox, byte: u8| {
            let id = process(byte);
            let monitors = vec![(id, off())];
            let known = outbox.0.claims.contains_key(id.as_bytes()).unwrap();
            let changes = Changes {
                processes: vec![(id, record.clone())],
                claims: if known { Vec::new() } else { vec![id.into()] },
                monitors,
                ..Changes::default()
            };
            outbox.0.commit(changes).unwrap();
        };
        let outbox = open();
        for byte in [1, 2, 2, 1] {
            tell(&outbox, byte);
        }
        let on = vec![(process(2), Monitoring::Put(Monitor::default()))];
        outbox.0.commit(Changes { monitors: on, ..Changes::default() }).unwrap();
        drop(outbox);
        let outbox = open();
        for byte in [3, 4, 5] {
            tell(&outbox, byte);
        }
        let kept = |keyspace: &Keyspace| {
            let keys = keyspace.iter().map(|guard| guard.key().unwrap()[0]);
            keys.collect::<Vec<_>>()
        };
        assert_eq!(kept(&outbox.0.processes), [3, 4, 5]);
        assert_eq!(kept(&outbox.0.claims), [3, 4, 5]);
        assert_eq!(kept(&outbox.0.monitors), [2, 4, 5], "what is monitored stays");
        assert_eq!(outbox.0.remembered.lock().unwrap().processes.order.len().unwrap(), 3);
    }

    #[test]
    fn what_is_turned_off_once_more_is_as_new_as_anything_that_is_off() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = LocalOutbox::open_with(folder.path(), &Rooms { unmonitored: 3, ..Rooms::default() }).unwrap();
        let turn = |byte: u8, off: bool| {
            let monitors = vec![(process(byte), Monitoring::Put(Monitor { off, ..Monitor::default() }))];
            outbox.0.commit(Changes { monitors, ..Changes::default() }).unwrap();
        };
        for (byte, off) in [(1, true), (2, true), (1, false), (1, true), (3, true), (4, true)] {
            turn(byte, off);
        }
        let kept: Vec<_> = outbox.0.monitors.iter().map(|guard| guard.key().unwrap()[0]).collect();
        assert_eq!(kept, [1, 3, 4]);
    }
}
