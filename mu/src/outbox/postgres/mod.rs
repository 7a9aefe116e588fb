//! The outbox that several messengers share: PostgreSQL.
//!
//! ```text
//!  messenger A ─ change() ─┐                      ┌─ change() ─ messenger B
//!     shares 0–31          ▼                      ▼          shares 32–63
//!              ┌──────────────────────────────────────┐
//!              │ task, monitor: by share · share: owner│
//!              └──────────────────────────────────────┘
//!     beat() every quarter of the lease ─► shares of the dead, and of newcomers' part
//! ```
//!
//! The work is divided into [`SHARES`](super::SHARES) by process, and each share is one messenger's at a time. A commit is one
//! call of one function in the database: one round trip, one transaction. It checks there that what it changes is still
//! this messenger's. What follows for another messenger's process is inserted as fresh; its owner is woken by `NOTIFY`, and
//! looks by itself now and then.
//!
//! | module | what it holds |
//! |---|---|
//! | `options` | where the database is |
//! | `tls` | encrypted connections |
//! | `connections` | a few connections that all requests share |
//! | `migrate` | bringing the tables to the format of this program |
//! | `sharing` | who has which share |
//! | `schema.sql`, `format-2.sql` | tables and functions |
//!
//! Concurrency: one task beats, one listens, one drives each connection. All end when the outbox is dropped.

mod connections;
mod migrate;
mod options;
mod sharing;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_protocol::{ItemId, ProcessId, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::local::{decode, encode};
use super::{
    Changes, Charge, Committed, DeadLetter, Durability, LETTER_BYTES, Letter, LetterId, MAX_EVENTS_PER_ITEM,
    MAX_TRACE_EVENTS, Monitor, Monitoring, Outbox, OutboxError, Share, Shared,
};
use crate::crank::task::{ProcessRecord, Task, TaskId, Work};
use crate::trace::{Event, What};

use connections::{Connections, Parameter};
pub use options::{DEFAULT_CONNECTIONS, DEFAULT_LEASE, DEFAULT_SCHEMA, MIN_LEASE, PostgresOptions};
use sharing::Sharing;
use tls::Tls;

/// How long a commit waits for a database that is away, before whoever asked for it is told.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts meanwhile.
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// The shared outbox. Clones share the connections.
#[derive(Clone)]
pub struct PostgresOutbox(Arc<Inner>);

struct Inner {
    connections: Arc<Connections>,
    sharing: Sharing,
}

impl PostgresOutbox {
    /// Connects, brings the tables to the format of this program, and announces this messenger. Call it inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the database is not there, refuses us, or holds a later format.
    pub async fn open(options: PostgresOptions) -> Result<Self, OutboxError> {
        let config = options.config()?;
        let tls = Tls::new(options.certificates.as_deref())?;
        let schema = options.schema.clone();
        let connections = Arc::new(Connections::new(config, tls, schema.clone(), options.connections));
        let (mut client, connection) = connections.connect().await?;
        let driving = tokio::spawn(connection);
        let migrated = migrate::migrate(&mut client, &schema).await;
        drop(client);
        // It ends with its client; how does not matter any more.
        drop(driving.await);
        migrated?;
        let sharing = Sharing::start(Arc::clone(&connections), options.lease.max(MIN_LEASE)).await?;
        tracing::info!(database = options.shown(), messenger = sharing.id(), "sharing the outbox");
        Ok(Self(Arc::new(Inner { connections, sharing })))
    }

    /// Lets dead letters, those that can be taken up again or those that cannot, give way until no more than `room` bytes are
    /// taken, [`LETTER_BYTES`] for each included: always the oldest of the process that has most of them. The messengers do
    /// this by themselves, with the room that [`MAX_DEAD_BYTES`](super::MAX_DEAD_BYTES) and
    /// [`MAX_UNUSABLE_BYTES`](super::MAX_UNUSABLE_BYTES) give.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn make_room(&self, retryable: bool, room: u64) -> Result<(), OutboxError> {
        sharing::make_room(&self.0.connections, retryable, room).await
    }

    /// Lets what is remembered give way, the oldest first, until no more than so many processes, claims and processes that are not
    /// to be monitored are known. The messengers do this by themselves, with
    /// [`MAX_REMEMBERED_PROCESSES`](super::MAX_REMEMBERED_PROCESSES), [`MAX_CLAIMS`](super::MAX_CLAIMS) and
    /// [`MAX_UNMONITORED`](super::MAX_UNMONITORED).
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn forget(&self, processes: u64, claims: u64, unmonitored: u64) -> Result<(), OutboxError> {
        sharing::forget(&self.0.connections, processes, claims, unmonitored).await
    }

    async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, OutboxError> {
        self.0.connections.query(sql, parameters).await
    }

    async fn change(&self, changes: Changes, durability: Durability) -> Result<Committed, OutboxError> {
        let call = Call::new(&changes, self.0.sharing.held())?;
        let (me, synced) = (self.0.sharing.id(), durability == Durability::Synced);
        let started = Instant::now();
        let rows = loop {
            match call.send(&self.0.connections, me, synced).await {
                Err(OutboxError::Away(reason)) if started.elapsed() < COMMIT_PATIENCE => {
                    tracing::debug!(reason, "a commit is tried again");
                    tokio::time::sleep(COMMIT_PAUSE).await;
                }
                Err(error @ OutboxError::Unsure(_)) => {
                    // Tasks of ours that nobody knows of may be there now.
                    self.0.sharing.look_again();
                    return Err(error);
                }
                result => break result?,
            }
        };
        if !call.turned_off.is_empty()
            && let Err(error) = sharing::refresh(&self.0.connections, &call.turned_off).await
        {
            // It gives way a little sooner.
            tracing::debug!(%error, "what is not to be monitored any more keeps its age");
        }
        self.0.sharing.buried(call.dead_bytes.iter().map(|bytes| bytes.unsigned_abs()).sum());
        let row = rows.first().ok_or_else(|| OutboxError::Store("a commit has no result".into()))?;
        let ids: Vec<i64> =
            row.try_get::<_, Option<_>>(0).map_err(|error| connections::failure(&error))?.unwrap_or_default();
        let ours: Vec<bool> =
            row.try_get::<_, Option<_>>(1).map_err(|error| connections::failure(&error))?.unwrap_or_default();
        let (made, expected) = (ids.len(), changes.new.len() + changes.intents.len());
        if made != expected || ours.len() != expected {
            return Err(OutboxError::Store(format!("a commit made {made} tasks instead of {expected}")));
        }
        let ids: Vec<_> = ids.into_iter().map(|id| TaskId(id.unsigned_abs())).collect();
        let intents = ids[changes.new.len()..].to_vec();
        let new = ids.into_iter().zip(changes.new).zip(ours).filter_map(|(made, ours)| ours.then_some(made)).collect();
        Ok(Committed { new, intents })
    }
}

/// Database integers are signed; ids are counted from 1.
fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn body(task: &Task) -> Option<Vec<u8>> {
    match &task.work {
        Work::Send(signed) => Some(signed.raw.to_vec()),
        _ => None,
    }
}

/// Puts the bytes of a task that sends some back in.
fn fill(task: &mut Task, body: Option<Vec<u8>>, id: u64) -> Result<(), OutboxError> {
    let Work::Send(signed) = &mut task.work else { return Ok(()) };
    let missing = || OutboxError::Corrupt { key: id.to_string(), reason: "its bytes are missing".into() };
    signed.raw = Bytes::from(body.ok_or_else(missing)?);
    Ok(())
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, OutboxError> {
    row.try_get(column).map_err(|error| OutboxError::Store(error.to_string()))
}

fn number(row: &Row, column: usize) -> Result<u64, OutboxError> {
    Ok(get::<i64>(row, column)?.unsigned_abs())
}

fn id(row: &Row, column: usize) -> Result<[u8; 32], OutboxError> {
    let bytes: &[u8] = get(row, column)?;
    bytes
        .try_into()
        .map_err(|_| OutboxError::Corrupt { key: format!("{bytes:?}"), reason: "an id of 32 bytes is needed".into() })
}

fn task(row: &Row) -> Result<(TaskId, Task), OutboxError> {
    let id = TaskId(number(row, 0)?);
    Ok((id, decode(id, get(row, 1)?)?))
}

/// The arguments of one call of `change`.
#[derive(Default)]
struct Call {
    remove: Vec<i64>,
    put: Vec<i64>,
    put_tasks: Vec<Vec<u8>>,
    put_bodies: Vec<Option<Vec<u8>>>,
    put_logs: Vec<Option<Vec<u8>>>,
    new_shares: Vec<i16>,
    new_origins: Vec<Option<Vec<u8>>>,
    new_held: Vec<bool>,
    new_tasks: Vec<Vec<u8>>,
    new_bodies: Vec<Option<Vec<u8>>>,
    new_logs: Vec<Option<Vec<u8>>>,
    new_posts: Vec<bool>,
    hoped: Vec<i16>,
    dead: Vec<Vec<u8>>,
    dead_bodies: Vec<Option<Vec<u8>>>,
    dead_retryable: Vec<bool>,
    dead_owners: Vec<Option<Vec<u8>>>,
    dead_bytes: Vec<i64>,
    dug_up: Vec<i64>,
    origins: Vec<Vec<u8>>,
    more: Vec<i64>,
    afresh: Vec<bool>,
    trace_items: Vec<Vec<u8>>,
    trace_ats: Vec<i64>,
    trace_processes: Vec<Option<Vec<u8>>>,
    trace_events: Vec<Vec<u8>>,
    processes: Vec<Vec<u8>>,
    records: Vec<Vec<u8>>,
    claims: Vec<Vec<u8>>,
    born: Vec<Vec<u8>>,
    born_shares: Vec<i16>,
    born_monitors: Vec<Vec<u8>>,
    begun: Vec<Vec<u8>>,
    begun_shares: Vec<i16>,
    begun_monitors: Vec<Vec<u8>>,
    moved: Vec<Vec<u8>>,
    moved_shares: Vec<i16>,
    moved_from: Vec<Vec<u8>>,
    moved_to: Vec<Vec<u8>>,
    ended: Vec<Vec<u8>>,
    /// Those of `begun` that begin not to be monitored.
    turned_off: Vec<Vec<u8>>,
}

impl Call {
    fn new(changes: &Changes, held: impl Fn(Share) -> bool) -> Result<Self, OutboxError> {
        let mut call = Self { remove: changes.remove.iter().map(|id| signed(id.0)).collect(), ..Self::default() };
        for (id, task) in &changes.put {
            call.put.push(signed(id.0));
            call.put_tasks.push(encode(task)?);
            call.put_bodies.push(body(task));
            call.put_logs.push(task.posted_to().map(|(process, _)| process.as_bytes().to_vec()));
        }
        let new = changes.new.iter().map(|task| (task, false));
        for (task, held_back) in new.chain(changes.intents.iter().map(|task| (task, true))) {
            let share = task.share();
            if !held_back && held(share) && !call.hoped.contains(&i16::from(share.0)) {
                call.hoped.push(share.0.into());
            }
            call.new_shares.push(share.0.into());
            call.new_origins.push(task.descent.origin.map(|origin| origin.as_bytes().to_vec()));
            call.new_held.push(held_back);
            call.new_tasks.push(encode(task)?);
            call.new_bodies.push(body(task));
            let posted_to = task.posted_to().map(|(process, _)| process);
            call.new_posts.push(posted_to.is_some());
            let log = posted_to.or(match &task.work {
                Work::Pull { process, .. } => Some(*process),
                _ => None,
            });
            call.new_logs.push(log.map(|log| log.as_bytes().to_vec()));
        }
        for letter in &changes.dead {
            let (text, body) = (
                encode(letter)?,
                match &letter.letter {
                    Letter::Task(task) => body(task),
                    Letter::Entry { .. } => None,
                },
            );
            let bytes = text.len() as u64 + body.as_ref().map_or(0, |body| body.len() as u64) + LETTER_BYTES;
            call.dead_retryable.push(letter.is_retryable());
            call.dead_owners.push(letter.owner().map(|owner| owner.as_bytes().to_vec()));
            call.dead_bytes.push(signed(bytes));
            call.dead.push(text);
            call.dead_bodies.push(body);
        }
        call.dug_up = changes.dug_up.iter().map(|id| signed(id.0)).collect();
        for (origin, charge) in &changes.accounts {
            let (more, afresh) = match charge {
                Charge::More { more, .. } => (*more, false),
                Charge::Afresh => (0, true),
                // Other messengers may still be at it; accounts of which nothing is left are swept.
                Charge::Over => continue,
            };
            call.origins.push(origin.as_bytes().to_vec());
            call.more.push(signed(more));
            call.afresh.push(afresh);
        }
        for (item, event) in &changes.traces {
            call.trace_items.push(item.as_bytes().to_vec());
            call.trace_ats.push(signed(event.at.0));
            call.trace_processes.push(match &event.what {
                What::Made(made) => Some(made.to.as_bytes().to_vec()),
                _ => None,
            });
            call.trace_events.push(encode(event)?);
        }
        for (process, record) in &changes.processes {
            call.processes.push(process.as_bytes().to_vec());
            call.records.push(encode(record)?);
        }
        call.claims = changes.claims.iter().map(|claim| claim.as_bytes().to_vec()).collect();
        for (process, monitor) in &changes.births {
            call.born.push(process.as_bytes().to_vec());
            call.born_shares.push(Share::of(*process).0.into());
            call.born_monitors.push(encode(monitor)?);
        }
        for (process, monitoring) in &changes.monitors {
            let (key, share) = (process.as_bytes().to_vec(), i16::from(Share::of(*process).0));
            match monitoring {
                Monitoring::Put(monitor) => {
                    if monitor.off {
                        call.turned_off.push(key.clone());
                    }
                    call.begun.push(key);
                    call.begun_shares.push(share);
                    call.begun_monitors.push(encode(monitor)?);
                }
                Monitoring::Move { from, to } => {
                    call.moved.push(key);
                    call.moved_shares.push(share);
                    call.moved_from.push(encode(from)?);
                    call.moved_to.push(encode(to)?);
                }
                Monitoring::End => call.ended.push(key),
            }
        }
        Ok(call)
    }

    async fn send(&self, connections: &Connections, me: i64, synced: bool) -> Result<Vec<Row>, OutboxError> {
        const SQL: &str = "SELECT ids, ours FROM change($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,\
            $20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32,$33,$34,$35,$36,$37,$38,$39,$40,$41,$42)";
        let parameters: [Parameter<'_>; 42] = [
            (&me, Type::INT8),
            (&synced, Type::BOOL),
            (&self.remove, Type::INT8_ARRAY),
            (&self.put, Type::INT8_ARRAY),
            (&self.put_tasks, Type::BYTEA_ARRAY),
            (&self.put_bodies, Type::BYTEA_ARRAY),
            (&self.put_logs, Type::BYTEA_ARRAY),
            (&self.new_shares, Type::INT2_ARRAY),
            (&self.new_origins, Type::BYTEA_ARRAY),
            (&self.new_held, Type::BOOL_ARRAY),
            (&self.new_tasks, Type::BYTEA_ARRAY),
            (&self.new_bodies, Type::BYTEA_ARRAY),
            (&self.new_logs, Type::BYTEA_ARRAY),
            (&self.new_posts, Type::BOOL_ARRAY),
            (&self.hoped, Type::INT2_ARRAY),
            (&self.dead, Type::BYTEA_ARRAY),
            (&self.dead_bodies, Type::BYTEA_ARRAY),
            (&self.dead_retryable, Type::BOOL_ARRAY),
            (&self.dead_owners, Type::BYTEA_ARRAY),
            (&self.dead_bytes, Type::INT8_ARRAY),
            (&self.dug_up, Type::INT8_ARRAY),
            (&self.origins, Type::BYTEA_ARRAY),
            (&self.more, Type::INT8_ARRAY),
            (&self.afresh, Type::BOOL_ARRAY),
            (&self.trace_items, Type::BYTEA_ARRAY),
            (&self.trace_ats, Type::INT8_ARRAY),
            (&self.trace_processes, Type::BYTEA_ARRAY),
            (&self.trace_events, Type::BYTEA_ARRAY),
            (&self.processes, Type::BYTEA_ARRAY),
            (&self.records, Type::BYTEA_ARRAY),
            (&self.claims, Type::BYTEA_ARRAY),
            (&self.born, Type::BYTEA_ARRAY),
            (&self.born_shares, Type::INT2_ARRAY),
            (&self.born_monitors, Type::BYTEA_ARRAY),
            (&self.begun, Type::BYTEA_ARRAY),
            (&self.begun_shares, Type::INT2_ARRAY),
            (&self.begun_monitors, Type::BYTEA_ARRAY),
            (&self.moved, Type::BYTEA_ARRAY),
            (&self.moved_shares, Type::INT2_ARRAY),
            (&self.moved_from, Type::BYTEA_ARRAY),
            (&self.moved_to, Type::BYTEA_ARRAY),
            (&self.ended, Type::BYTEA_ARRAY),
        ];
        connections.query(SQL, &parameters).await
    }
}

impl Outbox for PostgresOutbox {
    fn commit(&self, changes: Changes, durability: Durability) -> BoxFuture<'_, Result<Committed, OutboxError>> {
        self.change(changes, durability).boxed()
    }

    fn task(&self, id: TaskId) -> BoxFuture<'_, Result<Option<Task>, OutboxError>> {
        async move {
            let key = signed(id.0);
            let rows = self.query("SELECT id, task, body FROM task WHERE id = $1", &[(&key, Type::INT8)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let (_, mut found) = task(row)?;
            fill(&mut found, get(row, 2)?, id.0)?;
            Ok(Some(found))
        }
        .boxed()
    }

    fn tasks(&self, after: Option<TaskId>, limit: usize) -> BoxFuture<'_, Result<Vec<(TaskId, Task)>, OutboxError>> {
        async move {
            let (after, limit) = (after.map_or(0, |after| signed(after.0)), signed(limit as u64));
            let sql = "SELECT id, task FROM task WHERE id > $1 ORDER BY id LIMIT $2";
            let rows = self.query(sql, &[(&after, Type::INT8), (&limit, Type::INT8)]).await?;
            rows.iter().map(task).collect()
        }
        .boxed()
    }

    fn process(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<ProcessRecord>, OutboxError>> {
        async move {
            let key = &id.as_bytes()[..];
            let rows = self.query("SELECT record FROM process WHERE id = $1", &[(&key, Type::BYTEA)]).await?;
            rows.first().map(|row| decode(id, get(row, 0)?)).transpose()
        }
        .boxed()
    }

    fn is_claimed(&self, id: ItemId) -> BoxFuture<'_, Result<bool, OutboxError>> {
        async move {
            let key = &id.as_bytes()[..];
            let rows = self.query("SELECT true FROM boot WHERE process = $1", &[(&key, Type::BYTEA)]).await?;
            Ok(!rows.is_empty())
        }
        .boxed()
    }

    fn monitor(&self, id: ProcessId) -> BoxFuture<'_, Result<Option<Monitor>, OutboxError>> {
        async move {
            let key = &id.as_bytes()[..];
            let rows = self.query("SELECT monitor FROM monitor WHERE process = $1", &[(&key, Type::BYTEA)]).await?;
            rows.first().map(|row| decode(id, get(row, 0)?)).transpose()
        }
        .boxed()
    }

    fn monitors(&self) -> BoxFuture<'_, Result<Vec<(ProcessId, Monitor)>, OutboxError>> {
        async move {
            let rows = self.query("SELECT process, monitor FROM monitor ORDER BY process", &[]).await?;
            rows.iter()
                .map(|row| {
                    let process = ProcessId::from_bytes(id(row, 0)?);
                    Ok((process, decode(process, get(row, 1)?)?))
                })
                .collect()
        }
        .boxed()
    }

    fn dead_letters(
        &self,
        before: Option<LetterId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, OutboxError>> {
        async move {
            let (before, limit) = (before.map_or(i64::MAX, |before| signed(before.0)), signed(limit as u64));
            let sql = "SELECT id, letter FROM dead_letter WHERE id < $1 ORDER BY id DESC LIMIT $2";
            let rows = self.query(sql, &[(&before, Type::INT8), (&limit, Type::INT8)]).await?;
            rows.iter()
                .rev()
                .map(|row| {
                    let id = LetterId(number(row, 0)?);
                    Ok(DeadLetter { id, ..decode(id.0, get(row, 1)?)? })
                })
                .collect()
        }
        .boxed()
    }

    fn dead_letter(&self, id: LetterId) -> BoxFuture<'_, Result<Option<DeadLetter>, OutboxError>> {
        async move {
            let key = signed(id.0);
            let rows = self.query("SELECT letter, body FROM dead_letter WHERE id = $1", &[(&key, Type::INT8)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let mut letter = DeadLetter { id, ..decode(id.0, get(row, 0)?)? };
            if let Letter::Task(task) = &mut letter.letter {
                fill(task, get(row, 1)?, id.0)?;
            }
            Ok(Some(letter))
        }
        .boxed()
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<(ItemId, u64)>, OutboxError>> {
        async move {
            let rows = self.query("SELECT origin, pushed FROM account ORDER BY origin", &[]).await?;
            rows.iter().map(|row| Ok((ItemId::from_bytes(id(row, 0)?), number(row, 1)?))).collect()
        }
        .boxed()
    }

    fn trace(&self, item: ItemId) -> BoxFuture<'_, Result<Vec<Event>, OutboxError>> {
        async move {
            let (key, limit) = (&item.as_bytes()[..], signed(MAX_EVENTS_PER_ITEM as u64));
            let sql = "SELECT event FROM trace WHERE item = $1 ORDER BY number LIMIT $2";
            let rows = self.query(sql, &[(&key, Type::BYTEA), (&limit, Type::INT8)]).await?;
            rows.iter().map(|row| decode(item, get(row, 0)?)).collect()
        }
        .boxed()
    }

    fn traced(&self, process: ProcessId, limit: usize) -> BoxFuture<'_, Result<Vec<ItemId>, OutboxError>> {
        async move {
            let (key, limit) = (&process.as_bytes()[..], signed(limit as u64));
            let sql = "SELECT item FROM trace WHERE process = $1 ORDER BY number DESC LIMIT $2";
            let rows = self.query(sql, &[(&key, Type::BYTEA), (&limit, Type::INT8)]).await?;
            rows.iter().map(|row| Ok(ItemId::from_bytes(id(row, 0)?))).collect()
        }
        .boxed()
    }

    fn forget_traces(&self, before: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, OutboxError>> {
        async move {
            let (before, most, limit) = (signed(before.0), signed(MAX_TRACE_EVENTS as u64), signed(limit as u64));
            // Others may be forgetting as well; each row once.
            let sql = "DELETE FROM trace WHERE number = ANY (ARRAY(
                    SELECT number
                    FROM (SELECT number, at FROM trace ORDER BY number LIMIT $3 FOR UPDATE SKIP LOCKED) oldest
                    WHERE at < $1 OR number <= (SELECT max(number) FROM trace) - $2))
                RETURNING number";
            let rows = self.query(sql, &[(&before, Type::INT8), (&most, Type::INT8), (&limit, Type::INT8)]).await?;
            Ok(rows.len())
        }
        .boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, OutboxError>> {
        async move {
            // The tables and indexes of this outbox; others may live in the same database.
            let sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
                FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";
            let rows = self.query(sql, &[]).await?;
            let bytes: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
            Ok(u64::try_from(bytes).unwrap_or(0))
        }
        .boxed()
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(&self.0.sharing)
    }
}
