//! One poll of a monitored process: its due results are taken page by page and queued.

use std::time::Duration;

use holon_protocol::{ItemId, ProcessId, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::timetable::Due;
use super::{Cron, lock};
use crate::crank::descent::Descent;
use crate::crank::driver::{CronResult, now};
use crate::crank::outgoing;
use crate::crank::step::push;
use crate::error::Refusal;
use crate::outbox::Monitor;
use crate::peers::{CRON_PAGE, CronEdge, PeerError, within_trace};
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
    #[error("it takes longer than {PATIENCE:?}, and so do too many others")]
    Slow,
}

impl From<crate::outbox::OutboxError> for PollError {
    fn from(error: crate::outbox::OutboxError) -> Self {
        Self::Refused(error.into())
    }
}

impl Cron {
    /// Asks a process that has been due since `due`.
    pub(super) async fn poll(&self, process: ProcessId, due: Timestamp) {
        let guard = self.guard(process);
        let held = guard.lock().await;
        let polled = self.polled(process).await;
        let now = now();
        match polled {
            Ok(None) => lock(&self.0.table).remove(process),
            Ok(Some(next)) => {
                self.0.metrics.cron_polled(now.0.saturating_sub(due.0));
                lock(&self.0.table).answered(process, next, now);
            }
            Err(error) => {
                tracing::warn!(%process, %error, "cron results could not be fetched; trying again later");
                self.0.metrics.cron_failed();
                lock(&self.0.table).failed(process, trace::cut(&error.to_string()), now);
            }
        }
        drop(held);
        self.release(process, guard);
        self.0.wake.notify_one();
    }

    /// `None`: it is not monitored any more.
    async fn polled(&self, process: ProcessId) -> Result<Option<Due>, PollError> {
        let failing = lock(&self.0.table).row(process).is_some_and(|row| row.failures > 0);
        let places = if failing { &self.0.slow } else { &self.0.polls };
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(None) };
        let pages = self.pages(process);
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

    /// Takes pages until a short one. The cursor moves in the same transaction that queues the page.
    async fn pages(&self, process: ProcessId) -> Result<Option<Due>, PollError> {
        let Some(Monitor { mut cursor, from_birth }) = self.0.outbox.monitor(process).await? else { return Ok(None) };
        if cursor.is_none() && !from_birth {
            // What was evaluated before monitoring began is not pushed.
            cursor = self.0.compute.newest_cursor(process).await?;
            if cursor.is_some() {
                let monitor = Monitor { cursor: cursor.clone(), from_birth: false };
                self.0.driver.queue_cron(process, Vec::new(), monitor).await?;
            }
        }
        let mut due = Due::Unknown;
        for _ in 0..MAX_PAGES_PER_POLL {
            let traceparent = Descent::of_origin(process.into()).trace_id().map(|id| id.traceparent(process.into()));
            let page = within_trace(traceparent, self.0.compute.cron(process, cursor.as_deref())).await?;
            due = page.due;
            let Some(last) = page.edges.last().map(|edge| edge.cursor.clone()) else { break };
            let results = page.edges.iter().map(|edge| read(process, edge)).collect::<Result<Vec<_>, _>>()?;
            cursor = Some(last);
            self.0.driver.queue_cron(process, results, Monitor { cursor: cursor.clone(), from_birth }).await?;
            if page.edges.len() < CRON_PAGE {
                return Ok(Some(due));
            }
            // There is more, wherever the next one is due.
            due = Due::At(now());
        }
        Ok(Some(due))
    }
}

/// What one cron result asks for.
fn read(process: ProcessId, edge: &CronEdge) -> Result<CronResult, Refusal> {
    let outgoing = outgoing::read(&edge.node)
        .map_err(|error| Refusal::Upstream(format!("cron result {}: {error}", edge.cursor)))?;
    let origin = origin(process, &edge.cursor);
    let follow = push(process, None, Descent::of_origin(origin).below(origin), outgoing);
    Ok(CronResult { origin, error: trace::error_of(&edge.node), follow })
}

/// The id under which what follows from a cron result is counted and traced.
fn origin(process: ProcessId, cursor: &str) -> ItemId {
    let hash = Sha256::new_with_prefix("cron").chain_update(process.as_bytes()).chain_update(cursor).finalize();
    ItemId::from_bytes(hash.into())
}
