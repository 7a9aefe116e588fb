//! One poll of a monitored process: its due results are taken page by page and queued.

use std::collections::HashSet;
use std::time::Duration;

use holon_protocol::{ItemId, ProcessId};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::timetable::{Asked, Due, FORGETFUL_FAILURES};
use super::{Cron, lock};
use crate::crank::descent::Descent;
use crate::crank::driver::CronResult;
use crate::crank::outgoing::{self, Outgoing, Skipped};
use crate::crank::step::push;
use crate::error::Refusal;
use crate::json::JsonText;
use crate::outbox::{Changes, Durability, Monitor, Monitoring, OutboxError};
use crate::peers::{CRON_PAGE, CronEdge, CronPage, PeerError, within_trace};
use crate::trace;

/// Most pages taken of one process in one poll; the rest comes with the next.
pub const MAX_PAGES_PER_POLL: usize = 100;
/// How long a poll may keep a place among those that answer soon.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A poll did not work.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("compute unit: {0}")]
    Peer(#[from] PeerError),
    #[error(
        "compute unit: after the cursor {0} it tells what is at that cursor or at one before it, or twice the same; nothing of it \
         is taken"
    )]
    Stuck(String),
    #[error("it takes longer than {PATIENCE:?}, and so do too many others")]
    Slow,
    #[error("too much of what its cron asked for is waiting already; it is asked for more when there is room")]
    Full,
}

impl From<crate::outbox::OutboxError> for PollError {
    fn from(error: crate::outbox::OutboxError) -> Self {
        Self::Refused(error.into())
    }
}

impl Cron {
    /// Asks a process that is due.
    pub(super) async fn poll(&self, asked: Asked) {
        let process = asked.process;
        let ended = CancellationToken::new();
        lock(&self.0.polling).insert(process, (asked, ended.clone()));
        let polled = self.polled(process, &ended).await;
        let now = self.0.clock.now();
        match polled {
            Ok(None) => {
                let mut table = lock(&self.0.table);
                table.gone(asked);
                if table.row(process).is_none() {
                    self.0.births.ended(process);
                }
            }
            Ok(Some(next)) => {
                self.0.metrics.cron_polled();
                lock(&self.0.table).answered(asked, next, now);
            }
            Err(error) => {
                tracing::warn!(%process, %error, "cron results could not be fetched; trying again later");
                self.0.metrics.cron_failed();
                let forgot = lock(&self.0.table).failed(asked, trace::cut(&error.to_string()), now);
                if forgot {
                    tracing::warn!(
                        %process, failures = FORGETFUL_FAILURES,
                        "it has failed so often in a row that the cursors it was at are forgotten: if its unit was set back, it goes on \
                         from there"
                    );
                }
            }
        }
        let mut polling = lock(&self.0.polling);
        if polling.get(&process).is_some_and(|(newest, _)| *newest == asked) {
            polling.remove(&process);
        }
        drop(polling);
        self.count();
        self.0.wake.notify_one();
    }

    /// `None`: it is not monitored any more.
    async fn polled(&self, process: ProcessId, ended: &CancellationToken) -> Result<Option<Due>, PollError> {
        let failing = lock(&self.0.table).row(process).is_some_and(|row| row.failures > 0);
        let places = if failing { &self.0.slow } else { &self.0.polls };
        let place = ended.run_until_cancelled(places.clone().acquire_owned()).await;
        let Some(Ok(place)) = place else { return Ok(None) };
        let pages = self.pages(process, ended);
        tokio::pin!(pages);
        match tokio::time::timeout(PATIENCE, &mut pages).await {
            Ok(result) => result,
            Err(_) if failing => pages.await,
            Err(_) => {
                let _slow = self.make_way(place)?;
                pages.await
            }
        }
    }

    /// Gives a place among the quick ones back for one among the slow ones.
    fn make_way(&self, place: OwnedSemaphorePermit) -> Result<OwnedSemaphorePermit, PollError> {
        let slow = self.0.slow.clone().try_acquire_owned().map_err(|_| PollError::Slow)?;
        drop(place);
        Ok(slow)
    }

    /// Takes pages until a short one. The cursor moves in the same transaction that queues the page. `None`: it is not
    /// monitored any more, or was monitored anew meanwhile.
    async fn pages(&self, process: ProcessId, ended: &CancellationToken) -> Result<Option<Due>, PollError> {
        let Some(mut monitor) = self.0.outbox.monitor(process).await?.filter(|monitor| !monitor.off) else {
            return Ok(None);
        };
        if monitor.cursor.is_none() && !monitor.from_birth {
            // What was evaluated before monitoring began is not pushed.
            let newest = ended.run_until_cancelled(self.0.compute.newest_cursor(process)).await;
            let Some(cursor) = newest.transpose()? else { return Ok(None) };
            let begun = Monitor { from_birth: cursor.is_none(), cursor, ..monitor.clone() };
            if !self.begin(process, &monitor, &begun).await? {
                return Ok(None);
            }
            monitor = begun;
        }
        let (mut due, begun) = (Due::Unknown, monitor.clone());
        let account = monitor.accounted_to(process);
        for _ in 0..MAX_PAGES_PER_POLL {
            if self.0.driver.cron_room(account) == 0 {
                return full(monitor != begun);
            }
            let page = ended.run_until_cancelled(self.page(process, monitor.cursor.as_deref())).await;
            let Some((page, limit)) = page.transpose()? else { return Ok(None) };
            due = page.due;
            let Some(last) = page.edges.last() else { break };
            moves(monitor.cursor.as_deref(), &page.edges)?;
            if page.edges.iter().any(|edge| lock(&self.0.table).has_left(process, &edge.cursor)) {
                return Err(stuck(monitor.cursor.as_deref()));
            }
            let next = Monitor { cursor: Some(last.cursor.clone()), ..monitor.clone() };
            let results = page.edges.iter().map(|edge| read(process, &monitor, edge)).collect();
            let queued = self.queue(process, &monitor, results).await?;
            self.tell_lateness(&page.edges[..queued.unwrap_or(0)]);
            match queued {
                None => return Ok(None),
                Some(taken) if taken < page.edges.len() => {
                    return full(taken > 0 || monitor != begun);
                }
                Some(_) => {
                    if let Some(cursor) = &monitor.cursor {
                        lock(&self.0.table).left(process, cursor);
                    }
                    monitor = next;
                }
            }
            if page.edges.len() < limit {
                break;
            }
            // There is more, wherever the next one is due.
            due = Due::Soon;
        }
        let now = self.0.clock.now();
        let again = matches!(due, Due::At(at) if at <= now) && monitor != begun;
        Ok(Some(if again { Due::Soon } else { due }))
    }

    /// A page of results and how many it may have: fewer, if so many would be too large together.
    async fn page(&self, process: ProcessId, cursor: Option<&str>) -> Result<(CronPage, usize), PeerError> {
        let traceparent = Descent::of_origin(process.into()).trace_id().map(|id| id.traceparent(process.as_bytes()));
        let mut limit = CRON_PAGE;
        loop {
            match within_trace(traceparent.clone(), self.0.compute.cron(process, cursor, limit)).await {
                Err(PeerError::TooLarge { .. }) if limit > 1 => limit /= 2,
                Err(error @ PeerError::TooLarge { limit_bytes, .. }) => {
                    // It will never be read, and would hold up all that come after it.
                    let skimmed = within_trace(traceparent.clone(), self.0.compute.skim_cron(process, cursor));
                    let cursor = skimmed.await?.ok_or(error)?;
                    let edges = vec![CronEdge { cursor, node: JsonText::default(), too_large: Some(limit_bytes) }];
                    return Ok((CronPage { edges, due: Due::Unknown }, limit));
                }
                page => return Ok((page?, limit)),
            }
        }
    }

    /// Counts how long ago the messages were due whose results were just queued.
    fn tell_lateness(&self, edges: &[CronEdge]) {
        let now = self.0.clock.now();
        for due in edges.iter().filter_map(CronEdge::due) {
            self.0.metrics.cron_late(now.0.saturating_sub(due.0));
        }
    }

    /// Stores where a process is if its monitor is still the one that is known here.
    async fn begin(&self, process: ProcessId, known: &Monitor, begun: &Monitor) -> Result<bool, PollError> {
        let _held = self.hold(process).await;
        let unchanged = self.0.outbox.monitor(process).await?.as_ref() == Some(known);
        if unchanged {
            let monitors = vec![(process, Monitoring::Move { from: known.clone(), to: begun.clone() })];
            let committed = self.0.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await;
            return Ok(unless_lost(committed)?.is_some());
        }
        Ok(false)
    }

    /// Queues results if the monitor of the process is still the one that is known here; how many there was room for.
    async fn queue(
        &self,
        process: ProcessId,
        known: &Monitor,
        results: Vec<CronResult>,
    ) -> Result<Option<usize>, PollError> {
        let _held = self.hold(process).await;
        let unchanged = self.0.outbox.monitor(process).await?.as_ref() == Some(known);
        Ok(match unchanged {
            true => unless_lost(self.0.driver.queue_cron(process, results, known).await)?,
            false => None,
        })
    }
}

/// `None`: the monitor was changed through another messenger, or is another one's to ask.
fn unless_lost<T>(committed: Result<T, OutboxError>) -> Result<Option<T>, OutboxError> {
    match committed {
        Err(OutboxError::Lost) => Ok(None),
        committed => committed.map(Some),
    }
}

/// There is no room for more. It counts as a failure only if there was none at all.
fn full(moved: bool) -> Result<Option<Due>, PollError> {
    if moved { Ok(Some(Due::Soon)) } else { Err(PollError::Full) }
}

/// Checks that every result of a page is another one than the one at `from` and all others there: what is told again would be
/// pushed again, without end.
fn moves(from: Option<&str>, edges: &[CronEdge]) -> Result<(), PollError> {
    let mut cursors: HashSet<&str> = from.into_iter().collect();
    match edges.iter().find(|edge| !cursors.insert(&edge.cursor)) {
        None => Ok(()),
        Some(_) => Err(stuck(from)),
    }
}

fn stuck(from: Option<&str>) -> PollError {
    PollError::Stuck(outgoing::cut(from.unwrap_or("(none)")))
}

/// What one cron result asks for. Nothing, if it can never be used: there is no message whose result could be pulled again, so
/// it is told why and the next one has its turn.
fn read(process: ProcessId, monitor: &Monitor, edge: &CronEdge) -> CronResult {
    let unusable = |reason: String, text| {
        let entry = format!("cron result {}", outgoing::cut(&edge.cursor));
        Outgoing { skipped: vec![Skipped { entry, reason, text }], ..Outgoing::default() }
    };
    let outgoing = match edge.too_large {
        Some(limit) => unusable(format!("it has more than {limit} bytes, the most that is read"), String::new()),
        None => outgoing::read(&edge.node)
            .unwrap_or_else(|error| unusable(error.to_string(), outgoing::cut(edge.node.json().text()))),
    };
    let origin = origin(process, &edge.cursor);
    let follow = push(process, None, monitor.begins(process, origin).below(origin), outgoing);
    CronResult { cursor: edge.cursor.clone(), origin, error: trace::error_of(&edge.node), follow }
}

/// The id under which what follows from a cron result is counted and traced.
fn origin(process: ProcessId, cursor: &str) -> ItemId {
    let hash = Sha256::new_with_prefix("cron").chain_update(process.as_bytes()).chain_update(cursor).finalize();
    ItemId::from_bytes(hash.into())
}
