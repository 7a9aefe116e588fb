//! Who has which share: this messenger's beat, what it is woken for, and what becomes or ceases to be its to do.
//!
//! A share goes through these hands: the database says that it is ours ([`State::owned`]), its tasks are loaded and taken
//! in, and only then it is held ([`State::held`]): from then on what this messenger commits into it goes straight to its own
//! crank. Before, and while it is being left to others, what is new in it waits as fresh in the database.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_protocol::{ItemId, ProcessId};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;
use tokio_postgres::types::Type;

use super::connections::{Connections, text};
use super::{get, id, number, signed, task};
use crate::crank::task::TaskId;
use crate::outbox::local::decode;
use crate::outbox::{
    Expected, LOAD_PAGE_TASKS, Load, MAX_CLAIMS, MAX_DEAD_BYTES, MAX_REMEMBERED_PROCESSES, MAX_UNMONITORED,
    MAX_UNUSABLE_BYTES, Monitor, Other, OutboxError, SHARES, Share, Shared, Shift,
};

/// A messenger is heard of so many times within its lease.
const BEATS_PER_LEASE: u32 = 4;
/// Longest time between two looks for fresh tasks when nobody wakes this messenger.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same for monitors.
const MONITORS_INTERVAL: Duration = Duration::from_secs(30);
/// Between two sweeps: of accounts of which nothing is left to do, and of what is too much. There may be more of that
/// meanwhile.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Most rows that one statement of a sweep deletes.
const SWEEP_ROWS: u64 = 10_000;
/// Most statements of one sweep for each kind of thing.
const SWEEP_STATEMENTS: usize = 20;
/// A messenger that has added so many bytes of dead letters since then sweeps sooner.
const SWEEP_BYTES: u64 = MAX_UNUSABLE_BYTES / 4;
/// Wait before the database is listened to again after it hung up.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);
/// A share and how many owners it has had.
type Epochs = BTreeMap<Share, i64>;

/// This messenger's part in the sharing.
pub struct Sharing {
    me: i64,
    lease: Duration,
    connections: Arc<Connections>,
    state: Arc<State>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct State {
    known: Mutex<Known>,
    /// Something of it may have changed.
    changed: Notify,
    /// A beat is wanted before its time.
    hurry: Notify,
    /// Bytes of dead letters added here since the last sweep.
    buried: AtomicU64,
}

#[derive(Default)]
struct Known {
    /// What the database says is ours.
    owned: Epochs,
    /// What this messenger works on.
    held: Epochs,
    /// What it has in hand until others may have it.
    leaving: Epochs,
    surplus: usize,
    /// Until when nobody believes it dead.
    alive_until: Option<Instant>,
    look_again: bool,
    fresh: bool,
    monitors: bool,
    looked: Option<Instant>,
    monitors_looked: Option<Instant>,
    /// Whether this messenger has left.
    ended: bool,
}

impl State {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sharing {
    /// Announces this messenger.
    pub async fn start(connections: Arc<Connections>, lease: Duration) -> Result<Self, OutboxError> {
        let random = std::collections::hash_map::RandomState::new();
        let me = signed(std::hash::BuildHasher::hash_one(&random, std::process::id()) >> 1).max(1);
        let known = Known { fresh: true, monitors: true, ..Known::default() };
        let state = Arc::new(State {
            known: Mutex::new(known),
            changed: Notify::new(),
            hurry: Notify::new(),
            buried: AtomicU64::new(0),
        });
        beat(&connections, &state, me, lease).await?;
        let beating = tokio::spawn(beats(Arc::clone(&connections), Arc::clone(&state), me, lease));
        let listening = tokio::spawn(listen(Arc::clone(&connections), Arc::clone(&state), me));
        Ok(Self { me, lease, connections, state, tasks: [beating, listening] })
    }

    /// The id of this messenger, new each time it starts.
    pub fn id(&self) -> i64 {
        self.me
    }

    /// Which shares this messenger works on.
    pub fn held(&self) -> impl Fn(Share) -> bool {
        let held: BTreeSet<_> = self.state.known().held.keys().copied().collect();
        move |share| held.contains(&share)
    }

    /// Something of ours may be stored that nobody knows of.
    pub fn look_again(&self) {
        self.state.known().look_again = true;
        self.state.changed.notify_one();
    }

    /// So many bytes of dead letters were added.
    pub fn buried(&self, bytes: u64) {
        let before = self.state.buried.fetch_add(bytes, Ordering::Relaxed);
        if before < SWEEP_BYTES && before.saturating_add(bytes) >= SWEEP_BYTES {
            self.state.hurry.notify_one();
        }
    }

    /// What there is to say now, if anything.
    async fn due(&self) -> Result<Option<Shift>, OutboxError> {
        let now = Instant::now();
        let (gained, shares) = {
            let mut known = self.state.known();
            let Known { owned, held, leaving, .. } = &mut *known;
            leaving.retain(|share, epoch| owned.get(share) == Some(epoch));
            let lost: BTreeSet<_> =
                held.iter().filter(|(share, epoch)| owned.get(share) != Some(epoch)).map(|(share, _)| *share).collect();
            if !lost.is_empty() {
                held.retain(|share, _| !lost.contains(share));
                return Ok(Some(Shift::Lost(lost)));
            }
            let surplus = known.surplus.saturating_sub(known.leaving.len());
            if surplus > 0 && !known.held.is_empty() {
                let shares: Epochs =
                    known.held.iter().rev().take(surplus).map(|(share, epoch)| (*share, *epoch)).collect();
                known.held.retain(|share, _| !shares.contains_key(share));
                let gone = shares.keys().copied().collect();
                known.leaving.extend(shares);
                return Ok(Some(Shift::Surplus(gone)));
            }
            let again = std::mem::take(&mut known.look_again);
            let new = |share: &Share| !known.leaving.contains_key(share) && (again || !known.held.contains_key(share));
            let gained: Epochs =
                known.owned.iter().filter(|(share, _)| new(share)).map(|(share, epoch)| (*share, *epoch)).collect();
            let shares: Vec<i16> = known.held.keys().map(|share| i16::from(share.0)).collect();
            (gained, shares)
        };
        if !gained.is_empty() {
            return match self.load(&gained).await {
                Ok(load) => {
                    self.state.known().monitors = true;
                    Ok(Some(Shift::Gained { shares: gained.into_keys().collect(), load }))
                }
                Err(error) => {
                    self.look_again();
                    Err(error)
                }
            };
        }
        let (fresh, monitors) = {
            let mut known = self.state.known();
            let over = |last: Option<Instant>, wait| last.is_none_or(|last| now.duration_since(last) >= wait);
            let fresh = std::mem::take(&mut known.fresh) || over(known.looked, LOOK_INTERVAL);
            let monitors = known.monitors || over(known.monitors_looked, MONITORS_INTERVAL);
            (fresh, monitors)
        };
        if fresh && !shares.is_empty() {
            self.state.known().looked = Some(now);
            let load = self.fresh(&shares).await?;
            if !load.tasks.is_empty() {
                self.state.known().fresh = true;
                return Ok(Some(Shift::Arrived(load)));
            }
        }
        if monitors {
            let sql = "SELECT process, monitor FROM monitor WHERE share = ANY ($1) ORDER BY process";
            self.state.known().monitors = false;
            let rows = match self.connections.query(sql, &[(&shares, Type::INT2_ARRAY)]).await {
                Ok(rows) => rows,
                Err(error) => {
                    self.state.known().monitors = true;
                    return Err(error);
                }
            };
            self.state.known().monitors_looked = Some(now);
            let mut monitored = Vec::with_capacity(rows.len());
            for row in &rows {
                let process = ProcessId::from_bytes(id(row, 0)?);
                let monitor: Monitor = decode(process, get(row, 1)?)?;
                monitored.extend((!monitor.off).then_some(process));
            }
            return Ok(Some(Shift::Monitors(monitored)));
        }
        Ok(None)
    }

    /// Everything that is left to do in these shares.
    async fn load(&self, shares: &Epochs) -> Result<Load, OutboxError> {
        let shares: Vec<i16> = shares.keys().map(|share| i16::from(share.0)).collect();
        let (mut load, mut after) = (Load::default(), 0);
        loop {
            let page = self.page(&shares, after, false).await?;
            let Some(&(last, _)) = page.tasks.last() else { return Ok(load) };
            after = signed(last.0);
            load.tasks.extend(page.tasks);
            load.accounts.extend(page.accounts);
        }
    }

    /// The oldest fresh tasks of these shares.
    async fn fresh(&self, shares: &[i16]) -> Result<Load, OutboxError> {
        self.page(shares, 0, true).await
    }

    async fn page(&self, shares: &[i16], after: i64, fresh: bool) -> Result<Load, OutboxError> {
        let limit = signed(LOAD_PAGE_TASKS as u64);
        let sql = match fresh {
            true => {
                "SELECT id, task, task.origin, pushed FROM task LEFT JOIN account USING (origin)
                 WHERE share = ANY ($1) AND fresh AND id > $2 ORDER BY id LIMIT $3"
            }
            false => {
                "SELECT id, task, task.origin, pushed FROM task LEFT JOIN account USING (origin)
                 WHERE share = ANY ($1) AND holder IS NULL AND id > $2 ORDER BY id LIMIT $3"
            }
        };
        let parameters: [super::Parameter<'_>; 3] =
            [(&shares, Type::INT2_ARRAY), (&after, Type::INT8), (&limit, Type::INT8)];
        let rows = self.connections.query(sql, &parameters).await?;
        let mut load = Load::default();
        for row in &rows {
            load.tasks.push(task(row)?);
            if get::<Option<i64>>(row, 3)?.is_some() {
                load.accounts.push((ItemId::from_bytes(id(row, 2)?), number(row, 3)?));
            }
        }
        Ok(load)
    }
}

impl Shared for Sharing {
    fn holds(&self) -> bool {
        self.state.known().alive_until.is_some_and(|until| Instant::now() < until)
    }

    fn shift(&self) -> BoxFuture<'_, Result<Shift, OutboxError>> {
        async move {
            loop {
                let changed = self.state.changed.notified();
                if let Some(shift) = self.due().await? {
                    return Ok(shift);
                }
                // Whether somebody woke us or not: the interval is short.
                drop(tokio::time::timeout(LOOK_INTERVAL, changed).await);
            }
        }
        .boxed()
    }

    fn applied(&self, shift: Shift) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            match shift {
                Shift::Gained { shares, .. } => {
                    let mut known = self.state.known();
                    let gained: Vec<_> = known.owned.iter().map(|(share, epoch)| (*share, *epoch)).collect();
                    known.held.extend(gained.into_iter().filter(|(share, _)| shares.contains(share)));
                }
                Shift::Arrived(load) => {
                    let ids: Vec<_> = load.tasks.iter().map(|(id, _)| signed(id.0)).collect();
                    // Lost in a power cut, they come once more.
                    let sql = "WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
                        UPDATE task SET fresh = false FROM quick WHERE id = ANY ($1)";
                    self.connections.query(sql, &[(&ids, Type::INT8_ARRAY)]).await?;
                }
                Shift::Surplus(shares) => {
                    let released: Vec<_> = shares.iter().map(|share| i16::from(share.0)).collect();
                    let parameters: [super::Parameter<'_>; 2] = [(&self.me, Type::INT8), (&released, Type::INT2_ARRAY)];
                    self.connections.query("SELECT release($1, $2)", &parameters).await?;
                    let mut known = self.state.known();
                    known.surplus = known.surplus.saturating_sub(shares.len());
                    known.leaving.retain(|share, _| !shares.contains(share));
                    known.owned.retain(|share, _| !shares.contains(share));
                }
                Shift::Lost(_) | Shift::Monitors(_) => {}
            }
            Ok(())
        }
        .boxed()
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Other>, OutboxError>> {
        async move {
            let sql = "SELECT owner::text, count(*),
                    COALESCE(sum((SELECT count(*) FROM task WHERE task.share = share.id)), 0)::bigint,
                    COALESCE(sum((SELECT count(*) FROM monitor WHERE monitor.share = share.id)), 0)::bigint
                FROM share WHERE owner IS DISTINCT FROM $1 GROUP BY owner ORDER BY owner";
            let rows = self.connections.query(sql, &[(&self.me, Type::INT8)]).await?;
            let count = |row, column| Ok(usize::try_from(number(row, column)?).unwrap_or(usize::MAX));
            rows.iter()
                .map(|row| {
                    let messenger = get(row, 0)?;
                    Ok(Other { messenger, shares: count(row, 1)?, tasks: count(row, 2)?, monitors: count(row, 3)? })
                })
                .collect()
        }
        .boxed()
    }

    fn waiting(&self, origin: ItemId) -> BoxFuture<'_, Result<(usize, Option<u64>), OutboxError>> {
        async move {
            let origin = &origin.as_bytes()[..];
            let sql =
                "SELECT (SELECT count(*) FROM task WHERE origin = $1), (SELECT pushed FROM account WHERE origin = $1)";
            let rows = self.connections.query(sql, &[(&origin, Type::BYTEA)]).await?;
            let row = rows.first().ok_or_else(|| OutboxError::Store("a count has no result".into()))?;
            let waiting = usize::try_from(number(row, 0)?).unwrap_or(usize::MAX);
            Ok((waiting, get::<Option<i64>>(row, 1)?.filter(|_| waiting > 0).map(i64::unsigned_abs)))
        }
        .boxed()
    }

    fn polled<'a>(&'a self, lineage: ItemId, besides: &'a [ProcessId]) -> BoxFuture<'a, Result<usize, OutboxError>> {
        async move {
            let sql = "SELECT count(*) FROM monitor WHERE lineage = $1 AND process <> ALL ($2)";
            let lineage = lineage.to_string();
            let besides: Vec<_> = besides.iter().map(|process| process.as_bytes().to_vec()).collect();
            let rows = self.connections.query(sql, &[(&lineage, Type::TEXT), (&besides, Type::BYTEA_ARRAY)]).await?;
            let count: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
            Ok(usize::try_from(count).unwrap_or(0))
        }
        .boxed()
    }

    fn expects(
        &self,
        process: ProcessId,
        pull: TaskId,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Expected, OutboxError>> {
        async move {
            // What posts is numbered before it is sent, and a pull after its message has its place. So what comes before it in the
            // log has a smaller number; what follows from that remembers it (`since`).
            let sql = "WITH before AS (
                    SELECT CASE WHEN holder IS NULL THEN fresh OR share <> ALL ($4) ELSE holder <> $5 END AS elsewhere
                    FROM task WHERE log = $1 AND posted IS NOT NULL AND id < $2
                        AND posted > clock_timestamp() - $3 * interval '1 millisecond'
                )
                SELECT EXISTS (SELECT FROM before WHERE elsewhere)
                        OR EXISTS (SELECT FROM task WHERE log = $1 AND fresh AND id <> $2 AND since < $2),
                    EXISTS (SELECT FROM before)";
            let (log, pull) = (&process.as_bytes()[..], signed(pull.0));
            let patience = i64::try_from((patience + self.lease).as_millis()).unwrap_or(i64::MAX);
            let held: Vec<_> = self.state.known().held.keys().map(|share| i16::from(share.0)).collect();
            let parameters: [super::Parameter<'_>; 5] = [
                (&log, Type::BYTEA),
                (&pull, Type::INT8),
                (&patience, Type::INT8),
                (&held, Type::INT2_ARRAY),
                (&self.me, Type::INT8),
            ];
            let rows = self.connections.query(sql, &parameters).await?;
            let Some(row) = rows.first() else { return Ok(Expected::default()) };
            Ok(Expected { elsewhere: get(row, 0)?, posted: get(row, 1)? })
        }
        .boxed()
    }

    fn posting(&self, id: TaskId, posting: bool) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            // Lost with the database's last moment, it costs some order at most.
            let sql = "WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
                UPDATE task SET posted = CASE WHEN $2 THEN clock_timestamp() END FROM quick WHERE id = $1 AND log IS NOT NULL";
            let id = signed(id.0);
            self.connections.query(sql, &[(&id, Type::INT8), (&posting, Type::BOOL)]).await.map(drop)
        }
        .boxed()
    }

    fn intents(&self) -> BoxFuture<'_, Result<Vec<TaskId>, OutboxError>> {
        async move {
            let sql = "SELECT id FROM task WHERE holder = $1 ORDER BY id";
            let rows = self.connections.query(sql, &[(&self.me, Type::INT8)]).await?;
            rows.iter().map(|row| Ok(TaskId(number(row, 0)?))).collect()
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            {
                let mut known = self.state.known();
                known.ended = true;
                known.alive_until = None;
            }
            self.connections.query("SELECT abandon($1)", &[(&self.me, Type::INT8)]).await?;
            Ok(())
        }
        .boxed()
    }
}

/// Says that this messenger lives, and learns what it owns.
async fn beat(connections: &Connections, state: &State, me: i64, lease: Duration) -> Result<(), OutboxError> {
    if state.known().ended {
        return Ok(());
    }
    let began = Instant::now();
    let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
    let shares = i32::from(SHARES);
    let parameters: [super::Parameter<'_>; 3] = [(&me, Type::INT8), (&lease_ms, Type::INT8), (&shares, Type::INT4)];
    let rows = connections.query_apart("SELECT shares, epochs, surplus FROM beat($1, $2, $3)", &parameters).await?;
    let row = rows.first().ok_or_else(|| OutboxError::Store("a beat has no result".into()))?;
    let (shares, epochs): (Vec<i16>, Vec<i64>) = (get(row, 0)?, get(row, 1)?);
    let surplus = get::<i32>(row, 2)?;
    let mut known = state.known();
    known.owned = shares.into_iter().filter_map(|share| u8::try_from(share).ok()).map(Share).zip(epochs).collect();
    known.surplus = usize::try_from(surplus).unwrap_or(0);
    known.alive_until = Some(began + lease);
    drop(known);
    state.changed.notify_one();
    Ok(())
}

async fn beats(connections: Arc<Connections>, state: Arc<State>, me: i64, lease: Duration) {
    let pause = lease / BEATS_PER_LEASE;
    let mut swept = Instant::now();
    loop {
        drop(tokio::time::timeout(pause, state.hurry.notified()).await);
        // Within its time, so that a database that is slow to answer does not cost the lease.
        let beaten = tokio::time::timeout(lease, beat(&connections, &state, me, lease)).await;
        match beaten {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the outbox database does not hear this messenger"),
            Err(_) => tracing::warn!("the outbox database does not answer this messenger within its lease"),
        }
        if swept.elapsed() >= SWEEP_INTERVAL || state.buried.load(Ordering::Relaxed) >= SWEEP_BYTES {
            swept = Instant::now();
            state.buried.store(0, Ordering::Relaxed);
            // Beats must go on meanwhile.
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                if let Err(error) = sweep(&connections).await {
                    tracing::warn!(%error, "what is over or too much in the outbox database could not be swept");
                }
            });
        }
    }
}

async fn sweep(connections: &Connections) -> Result<(), OutboxError> {
    delete(
        connections,
        "DELETE FROM account WHERE origin IN (SELECT origin FROM account, alone WHERE ours
        AND NOT EXISTS (SELECT FROM task WHERE task.origin = account.origin) LIMIT $1)",
        None,
    )
    .await?;
    make_room(connections, true, MAX_DEAD_BYTES).await?;
    make_room(connections, false, MAX_UNUSABLE_BYTES).await?;
    forget(connections, MAX_REMEMBERED_PROCESSES, MAX_CLAIMS, MAX_UNMONITORED).await
}

/// Deletes what a statement names, one after the other, as little at a time as can be done in the time that a statement has, and
/// no more than so much in all: there is another sweep soon. Its first parameter is how many rows it may delete, the second is
/// `keep`; it deletes none unless `ours` of `alone` says that no other messenger is at it.
async fn delete(connections: &Connections, statement: &str, keep: Option<u64>) -> Result<(), OutboxError> {
    let sql = format!(
        "WITH alone AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(lock_class(), -1) AS ours),
            gone AS ({statement} RETURNING 1)
        SELECT count(*) FROM gone"
    );
    let (rows, keep) = (signed(SWEEP_ROWS), keep.map(signed));
    let mut parameters: Vec<super::Parameter<'_>> = vec![(&rows, Type::INT8)];
    parameters.extend(keep.iter().map(|keep| -> super::Parameter<'_> { (keep, Type::INT8) }));
    for _ in 0..SWEEP_STATEMENTS {
        let deleted = connections.query(&sql, &parameters).await?;
        if deleted.first().map(|row| number(row, 0)).transpose()?.unwrap_or(0) < SWEEP_ROWS {
            break;
        }
    }
    Ok(())
}

/// Lets what is remembered of processes give way, the oldest first, until there is no more of it than this.
pub async fn forget(
    connections: &Connections,
    processes: u64,
    claims: u64,
    unmonitored: u64,
) -> Result<(), OutboxError> {
    for (table, most) in [("process", processes), ("boot", claims)] {
        let statement = format!(
            "DELETE FROM {table} WHERE number IN (SELECT number FROM {table}, alone WHERE ours
                AND number <= (SELECT number FROM {table} ORDER BY number DESC OFFSET $2 LIMIT 1)
                ORDER BY number LIMIT $1)"
        );
        delete(connections, &statement, Some(most)).await?;
    }
    let statement = "DELETE FROM monitor WHERE process IN (
        SELECT process FROM (
            SELECT process, number FROM monitor WHERE convert_from(monitor, 'UTF8')::json ->> 'off' = 'true'
            ORDER BY number DESC OFFSET $2
        ) older, alone WHERE ours ORDER BY number LIMIT $1)";
    delete(connections, statement, Some(unmonitored)).await
}

/// What was known to be monitored and is not to be any more is as new as anything that is not.
pub async fn refresh(connections: &Connections, processes: &[Vec<u8>]) -> Result<(), OutboxError> {
    let sql = "UPDATE monitor SET number = DEFAULT WHERE process = ANY ($1)";
    connections.query(sql, &[(&processes, Type::BYTEA_ARRAY)]).await?;
    Ok(())
}

/// Lets dead letters, those that can be taken up again or those that cannot, give way until they have room: the oldest of
/// whoever has most, one after the other. A letter's turn comes when its owner has no more than it and what is newer; so whoever
/// has most then goes first.
pub async fn make_room(connections: &Connections, retryable: bool, room: u64) -> Result<(), OutboxError> {
    let statement = format!(
        "DELETE FROM dead_letter WHERE id IN (
            SELECT id FROM (
                SELECT id, COALESCE(sum(bytes) OVER (
                    ORDER BY had DESC, owner DESC NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ), 0) AS gone
                FROM (
                    SELECT id, owner, bytes, sum(bytes) OVER (PARTITION BY owner ORDER BY id DESC) AS had
                    FROM dead_letter
                    WHERE retryable = {retryable}
                        AND (SELECT sum(bytes) FROM dead_letter WHERE retryable = {retryable}) > $2
                ) letters
            ) turns, alone
            WHERE ours AND gone < (SELECT sum(bytes) FROM dead_letter WHERE retryable = {retryable}) - $2
            ORDER BY gone LIMIT $1)"
    );
    delete(connections, &statement, Some(room)).await
}

/// Listens for what other messengers wake this one for.
async fn listen(connections: Arc<Connections>, state: Arc<State>, me: i64) {
    loop {
        if let Err(error) = listen_once(&connections, &state, me).await {
            tracing::debug!(%error, "not listening to the outbox database; looking now and then instead");
        }
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}

async fn listen_once(connections: &Connections, state: &State, me: i64) -> Result<(), OutboxError> {
    let (client, mut connection) = connections.connect().await?;
    let listening = async {
        connections.prepare(&client).await?;
        let channels = format!("LISTEN holon_messenger; LISTEN holon_messenger_{me}");
        client.batch_execute(&channels).await.map_err(|error| OutboxError::Away(text(&error)))?;
        // What came before may have been missed.
        state.known().fresh = true;
        state.changed.notify_one();
        std::future::pending::<Result<(), OutboxError>>().await
    };
    let driving = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            let message = message.map_err(|error| OutboxError::Away(text(&error)))?;
            let AsyncMessage::Notification(note) = message else { continue };
            match note.payload() {
                "t" => state.known().fresh = true,
                "m" => state.known().monitors = true,
                _ => {
                    state.hurry.notify_one();
                    continue;
                }
            }
            state.changed.notify_one();
        }
        Err(OutboxError::Away("the database hung up".into()))
    };
    tokio::select! {
        result = listening => result,
        result = driving => result,
    }
}
