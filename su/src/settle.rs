//! Getting the log onto Arweave: a durable queue of entries, uploaded at least once (spec 02 §5.3, spec 03 §7.3).
//!
//! Every stored entry joins the queue in the same write. One task walks the queue from its oldest entry, a few uploads at
//! a time; what succeeds leaves it, everything that fails stays and is tried again on a later walk, after a pause that
//! doubles up to [`MAX_PAUSE`]. A walk that gets nowhere ends early; the next one begins behind it, so that entries that
//! cannot be uploaded never keep others from it. No walk looks at the part of the queue that is known to be empty: a store that only
//! marks what was removed would go through all of that again.
//!
//! What the bundler refuses outright (400, 403) is kept aside with the reason, not forgotten: the refusal may be the
//! fault of a wrong configuration, so each start puts it back into the queue and offers it once more. A restart begins
//! with whatever is in the queue. The task ends when the service stops; an upload cut short by that is repeated after
//! the restart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use holon_arweave::{UploadError, Uploader};
use holon_protocol::DataItem;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::assignment::sign_container;
use crate::log::{EntryKind, StoreError, Unsettled, Write};
use crate::metrics::Metrics;
use crate::pool::{Pool, PoolEnded};
use crate::scheduler::{Scheduler, WriterEnded};

/// Entries uploaded at the same time.
pub const CONCURRENT_UPLOADS: usize = 8;
/// Entries taken from the queue at once.
pub const WINDOW: usize = 256;
/// Most refused entries that are offered again at a start; those that were refused first go first.
pub const MAX_REQUEUED: usize = 65_536;
/// Pause after a walk with failures, at first.
pub const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
pub const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Why an entry is not settled yet.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Writer(#[from] WriterEnded),
    #[error(transparent)]
    Pool(#[from] PoolEnded),
    #[error("a stored item is not usable: {0}")]
    Item(String),
}

/// The uploading side of the queue.
#[derive(Clone)]
pub struct Settler {
    scheduler: Scheduler,
    pool: Pool,
    uploader: Uploader,
    cache: Option<Arc<Cache>>,
    metrics: Metrics,
}

struct Cache {
    endpoint: Url,
    client: reqwest::Client,
}

/// What to upload for one entry, in order.
enum Job {
    /// Its item, then its assignment.
    Items(Vec<DataItem>),
    /// Not on disk yet: the walk is over.
    NotYet,
}

/// How a walk through the queue ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// The queue is empty, but for what is not on disk yet.
    Done,
    /// The end was reached and something stays.
    Failed,
    /// Nothing of a whole window could be uploaded: the next walk begins at this place.
    Stuck(u64),
}

impl Settler {
    /// Uploads to `uploader`; every upload also goes to `cache` once, whatever comes of it.
    pub fn new(
        scheduler: Scheduler,
        pool: Pool,
        uploader: Uploader,
        cache: Option<Url>,
        metrics: Metrics,
    ) -> Result<Self, reqwest::Error> {
        let cache = match cache {
            None => None,
            Some(mut endpoint) => {
                endpoint.set_path(&format!("{}/id", endpoint.path().trim_end_matches('/')));
                endpoint.set_query(Some("codec-device=ans104@1.0"));
                let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
                Some(Arc::new(Cache { endpoint, client }))
            }
        };
        Ok(Self { scheduler, pool, uploader, cache, metrics })
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.requeue() => {}
        }
        let mut pause = MIN_PAUSE;
        // Before `oldest` the queue is empty.
        let (mut oldest, mut from) = (0, 0);
        loop {
            let (walk, remains) = tokio::select! {
                () = stop.cancelled() => return,
                walked = self.walk(from) => walked,
            };
            let all = from <= oldest;
            if all {
                oldest = remains;
            }
            from = if let Walk::Stuck(next) = walk { next } else { oldest };
            let wait = async {
                match walk {
                    // What lies before the place where it began comes next.
                    Walk::Done if !all => {}
                    Walk::Done => {
                        pause = MIN_PAUSE;
                        self.scheduler.became_durable().await;
                    }
                    Walk::Failed | Walk::Stuck(_) => {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(MAX_PAUSE);
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = wait => {}
            }
        }
    }

    /// Puts back into the queue what was refused before.
    async fn requeue(&self) {
        let mut requeued = 0;
        while requeued < MAX_REQUEUED {
            let store = self.scheduler.store().clone();
            let refused = match self.pool.run(move || store.unsettleable(WINDOW)).await {
                Ok(Ok(refused)) => refused,
                Ok(Err(error)) => {
                    tracing::error!(%error, "refused entries cannot be read; they stay aside until the next start");
                    break;
                }
                Err(PoolEnded) => break,
            };
            let Some((_, reason)) = refused.first() else { break };
            if requeued == 0 {
                tracing::warn!(%reason, "entries that were refused before are offered to the bundler again");
            }
            let count = refused.len();
            // At the same time, so that they share syncs.
            let writes = refused.into_iter().map(|(entry, _)| self.scheduler.write(Write::Requeued(entry.sequence)));
            if futures_util::future::try_join_all(writes).await.is_err() {
                break;
            }
            requeued += count;
            self.metrics.requeued(count as u64);
        }
        if requeued > 0 {
            tracing::info!(requeued, "refused entries are in the queue again");
        }
    }

    /// Goes through the queue from this place on. Also where what it leaves in the queue begins.
    async fn walk(&self, mut from: u64) -> (Walk, u64) {
        let mut walk = Walk::Done;
        let mut remains = None;
        loop {
            let store = self.scheduler.store().clone();
            let window = match self.pool.run(move || store.unsettled(from, WINDOW)).await {
                Ok(Ok(window)) => window,
                Ok(Err(error)) => {
                    tracing::error!(%error, "the settle queue cannot be read");
                    return (Walk::Failed, remains.unwrap_or(from));
                }
                Err(PoolEnded) => return (Walk::Failed, remains.unwrap_or(from)),
            };
            let Some(last) = window.last() else { return (walk, remains.unwrap_or(from)) };
            from = last.sequence + 1;
            let size = window.len();
            let outcomes: Vec<(u64, Outcome)> = stream::iter(window)
                .map(|entry| async move { (entry.sequence, self.settle(entry).await) })
                .buffer_unordered(CONCURRENT_UPLOADS)
                .collect()
                .await;
            let left = outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Settled));
            remains = remains.or(left.map(|(sequence, _)| *sequence).min());
            let failed = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed)).count();
            if failed > 0 {
                walk = Walk::Failed;
            }
            let begins = remains.unwrap_or(from);
            if outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::NotYet)) {
                return (walk, begins);
            }
            // Everything fails: the uploader is away, and the rest of the queue would hardly fare better.
            if failed == size {
                return (if size < WINDOW { walk } else { Walk::Stuck(from) }, begins);
            }
        }
    }

    async fn settle(&self, entry: Unsettled) -> Outcome {
        let Unsettled { sequence, process, nonce } = entry;
        match self.upload(entry).await {
            Ok(true) => Outcome::Settled,
            Ok(false) => Outcome::NotYet,
            Err(error) => {
                let forever = match &error {
                    SettleError::Upload(error) => !error.retryable(),
                    SettleError::Item(_) => true,
                    SettleError::Store(_) | SettleError::Writer(_) | SettleError::Pool(_) => false,
                };
                if !forever {
                    self.metrics.upload_failed();
                    tracing::warn!(%process, %nonce, %error, "upload failed; it will be repeated");
                    return Outcome::Failed;
                }
                self.metrics.upload_refused();
                tracing::error!(%process, %nonce, %error, "upload refused; it is kept aside until the next start");
                let kept = self.scheduler.write(Write::Unsettleable(sequence, error.to_string())).await;
                if kept.is_ok() { Outcome::Settled } else { Outcome::Failed }
            }
        }
    }

    /// Uploads one entry; false when it is not on disk yet.
    async fn upload(&self, entry: Unsettled) -> Result<bool, SettleError> {
        let items = match self.load(entry).await? {
            Job::Items(items) => items,
            Job::NotYet => return Ok(false),
        };
        for item in &items {
            if let Some(cache) = self.cache.clone() {
                let bytes = item.raw().clone();
                tokio::spawn(async move { cache.push(bytes).await });
            }
            self.uploader.upload(item).await?;
        }
        self.scheduler.write(Write::Settled(entry.sequence)).await?;
        Ok(true)
    }

    async fn load(&self, entry: Unsettled) -> Result<Job, SettleError> {
        let Unsettled { process, nonce, .. } = entry;
        let scheduler = self.scheduler.clone();
        let loaded = self.pool.run(move || -> Result<Loaded, SettleError> {
            // An assignment that a crash can still lose must never be seen: its position would be given twice.
            if scheduler.visible(process)?.is_none_or(|newest| newest < nonce) {
                return Ok(Loaded::Job(Job::NotYet));
            }
            let store = scheduler.store();
            let missing = || SettleError::Item(format!("{process} lacks entry {nonce}"));
            let parse = |bytes: Bytes| DataItem::parse(bytes).map_err(|error| SettleError::Item(error.to_string()));
            let record = store.record(process, nonce)?.ok_or_else(missing)?;
            let assignment = parse(record.assignment_bytes)?;
            if record.kind != EntryKind::Assigned {
                let item = parse(store.item(process, nonce)?.ok_or_else(missing)?)?;
                return Ok(Loaded::Job(Job::Items(vec![item, assignment])));
            }
            if let Some(bytes) = store.container(process, nonce)? {
                return Ok(Loaded::Job(Job::Items(vec![parse(bytes)?])));
            }
            let container = sign_container(&assignment, scheduler.wallet());
            Ok(Loaded::Container(container.map_err(|error| SettleError::Item(error.to_string()))?))
        });
        match loaded.await?? {
            Loaded::Job(job) => Ok(job),
            Loaded::Container(container) => {
                // Kept first, so that a repeated upload is of the same item.
                let bytes = container.raw().clone();
                self.scheduler.write(Write::Container { process, nonce, bytes }).await?;
                Ok(Job::Items(vec![container]))
            }
        }
    }
}

enum Loaded {
    Job(Job),
    /// Signed just now, not kept yet.
    Container(DataItem),
}

enum Outcome {
    Settled,
    NotYet,
    Failed,
}

impl Cache {
    async fn push(&self, bytes: Bytes) {
        let sent = self.client.post(self.endpoint.clone()).body(bytes).send().await;
        if let Err(error) = sent.and_then(reqwest::Response::error_for_status) {
            tracing::debug!(%error, "the cache node did not take a copy");
        }
    }
}
