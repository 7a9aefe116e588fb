//! Moving a live process forward: reading its log page by page, completing what the pages lack, and evaluating while the
//! next page is on its way.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use holon_arweave::Gateway;
use holon_protocol::{ProcessId, Timestamp, wire};
use tokio::task::JoinHandle;
use url::Url;

use crate::error::Error;
use crate::given_up::GivenUp;
use crate::hydrate::{self, Checked, OnChain, Scheduled};
use crate::log::blocks::Blocks;
use crate::log::scheduler::Scheduler;
use crate::log::{Link, verify};
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::process::Loader;
use crate::results::Results;
use crate::runner::{Interrupted, Runner, Turn};

/// Assigned items fetched at the same time.
const HYDRATIONS: usize = 8;
/// Most entries checked without leaving the async thread.
const CHECK_INLINE: usize = 16;

/// Everything that evaluating needs besides a process.
pub struct Sources {
    /// Processes and modules.
    pub loader: Loader,
    /// Logs.
    pub scheduler: Scheduler,
    /// On-chain items.
    pub gateway: Gateway,
    /// Block times.
    pub blocks: Blocks,
    /// Results.
    pub results: Arc<Results>,
    /// Messages that took too long.
    pub given_up: Arc<GivenUp>,
    /// Threads of the evaluation streams.
    pub pool: Pool,
    /// Counters.
    pub metrics: Metrics,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Goal {
    /// To this log entry, which exists.
    Entry(Timestamp),
    /// To this time, or to the present if that comes first.
    Time(Timestamp),
    /// To the present.
    Latest,
}

impl Goal {
    /// Where it ends.
    pub fn end(self) -> Option<Timestamp> {
        match self {
            Self::Entry(timestamp) | Self::Time(timestamp) => Some(timestamp),
            Self::Latest => None,
        }
    }
}

/// A fetch that stops when nobody waits for it any more.
struct Fetch(JoinHandle<Result<wire::Page, Error>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sources {
    /// Loads a process and sets its memory up.
    pub async fn start(&self, process: ProcessId) -> Result<Runner, Error> {
        let process = Arc::new(self.loader.load(process).await?);
        let (results, metrics, given_up) = (self.results.clone(), self.metrics.clone(), self.given_up.clone());
        self.pool.run(move || Runner::new(process, results, metrics, given_up)).await.map_err(stopped)?
    }

    /// Advances the runner in `slot` to `goal`. `known` is a log entry that the caller happens to have: if it is the only
    /// one missing, no page is read. `progress` is called after every turn.
    ///
    /// After an error the slot is empty if the memory was lost, else the runner stands where it got to.
    pub async fn advance(
        &self,
        slot: &mut Option<Runner>,
        goal: Goal,
        known: Option<wire::Entry>,
        progress: &mut (dyn FnMut(&Runner) + Send),
    ) -> Result<(), Error> {
        let Some(runner) = slot.as_mut() else { return Err(Error::Stopping) };
        let id = runner.process.id;
        let scheduler = self.loader.locate(id).await?;
        let mut right = None;
        if runner.stream.has_crons() {
            right = match goal {
                Goal::Entry(timestamp) => Some(timestamp),
                Goal::Time(timestamp) => Some(timestamp.min(self.scheduler.now(&scheduler, id).await?.timestamp)),
                Goal::Latest => Some(self.scheduler.now(&scheduler, id).await?.timestamp),
            };
            // Whatever a scheduler says, cron messages fire up to our time only.
            right = right.map(|right| right.min(verify::latest()));
        }
        let mut link = runner.stream.link().copied();
        let fetch = |from: Option<Timestamp>| {
            let (client, base, to) = (self.scheduler.clone(), scheduler.clone(), goal.end());
            Fetch(tokio::spawn(async move { client.page(&base, id, from, to).await }))
        };
        let mut pending = None;
        let mut first = match known {
            Some(entry) if follows(link.as_ref(), &entry) => Some(single(entry)),
            _ => None,
        };
        loop {
            let page = match (first.take(), pending.take()) {
                (Some(page), _) => page,
                (None, fetching) => {
                    received(fetching.unwrap_or_else(|| fetch(link.map(|link| link.timestamp)))).await?
                }
            };
            let more = page.page_info.has_next_page && !page.edges.is_empty();
            let process = runner_of(slot)?.process.clone();
            let entries = check(process.id, process.chained, link, page, goal.end()).await?;
            let more = more && entries.reaches_end;
            link = entries.last;
            if more {
                pending = Some(fetch(link.map(|link| link.timestamp)));
            }
            let entries = self.complete(entries.checked).await?;
            let runner = runner_of(slot)?;
            if runner.stream.needs_process(&entries) {
                let message = self.process_message(&process).await?;
                runner.stream.prepend(message);
            }
            let end = if more { entries.last().map(|entry| entry.message.timestamp) } else { right };
            let end = end.max(entries.last().map(|entry| entry.message.timestamp));
            let blocks = match end {
                Some(end) if runner.stream.has_crons() => {
                    self.blocks.between(&self.gateway, runner.stream.block_height(), end).await?
                }
                _ => Vec::new(),
            };
            runner.stream.feed(entries, blocks, if more { None } else { right });
            self.evaluate(slot, progress).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Evaluates everything that has been fed, turn by turn.
    async fn evaluate(
        &self,
        slot: &mut Option<Runner>,
        progress: &mut (dyn FnMut(&Runner) + Send),
    ) -> Result<(), Error> {
        loop {
            let mut runner = slot.take().ok_or(Error::Stopping)?;
            let (mut runner, turn) = self
                .pool
                .run(move || {
                    let turn = runner.turn();
                    (runner, turn)
                })
                .await
                .map_err(stopped)?;
            progress(&runner);
            match turn {
                Ok(Turn::More) => *slot = Some(runner),
                Ok(Turn::Idle) => {
                    *slot = Some(runner);
                    return Ok(());
                }
                Err(Interrupted { error, lost }) => {
                    runner.stream.clear();
                    if !lost {
                        *slot = Some(runner);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Fetches what assignments of on-chain items lack (spec 05 §5.2), several at a time, in order.
    async fn complete(&self, checked: Vec<Checked>) -> Result<Vec<Scheduled>, Error> {
        if checked.iter().all(|checked| matches!(checked, Checked::Ready(_))) {
            return Ok(checked
                .into_iter()
                .filter_map(|checked| match checked {
                    Checked::Ready(scheduled) => Some(scheduled),
                    Checked::Assigned { .. } => None,
                })
                .collect());
        }
        let mut out = Vec::with_capacity(checked.len());
        let mut completed =
            stream::iter(checked.into_iter().map(|checked| self.complete_one(checked))).buffered(HYDRATIONS);
        while let Some(scheduled) = completed.next().await {
            out.push(scheduled?);
        }
        Ok(out)
    }

    async fn complete_one(&self, checked: Checked) -> Result<Scheduled, Error> {
        let (item, assignment, link) = match checked {
            Checked::Ready(scheduled) => return Ok(scheduled),
            Checked::Assigned { item, assignment, link } => (item, assignment, link),
        };
        let node = self.loader.expected(item).await?;
        let node = node.ok_or_else(|| Error::Gateway(format!("assigned item {item} is not known")))?;
        let data =
            self.gateway.raw(item).await.map_err(|error| Error::Gateway(format!("assigned item {item}: {error}")))?;
        let on_chain = OnChain {
            id: item,
            signature: node.signature,
            owner: node.owner,
            tags: node.tags,
            recipient: node.recipient,
            anchor: node.anchor,
            data: String::from_utf8_lossy(&data).into_owned(),
        };
        Ok(hydrate::hydrate(&assignment, link, on_chain))
    }

    async fn process_message(&self, process: &crate::process::Process) -> Result<hydrate::Message, Error> {
        let id = process.id.into();
        let data =
            self.gateway.raw(id).await.map_err(|error| Error::Gateway(format!("data of process {id}: {error}")))?;
        let data = String::from_utf8_lossy(&data).into_owned();
        Ok(hydrate::prepended(&process.record, &process.owner, process.origin.height, Some(data)))
    }

    /// The scheduler of a process.
    pub async fn locate(&self, process: ProcessId) -> Result<Url, Error> {
        self.loader.locate(process).await
    }
}

fn stopped(error: crate::pool::PoolError) -> Error {
    match error {
        crate::pool::PoolError::Closed => Error::Stopping,
        error => Error::Host(error.to_string()),
    }
}

fn runner_of(slot: &mut Option<Runner>) -> Result<&mut Runner, Error> {
    slot.as_mut().ok_or(Error::Stopping)
}

async fn received(mut fetch: Fetch) -> Result<wire::Page, Error> {
    match (&mut fetch.0).await {
        Ok(page) => page,
        Err(_) => Err(Error::Stopping),
    }
}

/// Whether `entry` is the one right after `link`.
fn follows(link: Option<&Link>, entry: &wire::Entry) -> bool {
    let nonce = entry.assignment.tags.get("Nonce").and_then(|nonce| nonce.parse::<u64>().ok());
    match (link, nonce) {
        (Some(link), Some(nonce)) => nonce == link.nonce.0 + 1,
        _ => false,
    }
}

fn single(entry: wire::Entry) -> wire::Page {
    wire::Page {
        page_info: wire::PageInfo { has_next_page: false },
        edges: vec![wire::Edge { node: entry, cursor: String::new() }],
    }
}

/// A page after the checks.
struct CheckedPage {
    checked: Vec<Checked>,
    /// The last entry.
    last: Option<Link>,
    /// Whether every entry of the page lies before the end.
    reaches_end: bool,
}

async fn check(
    process: ProcessId,
    chained: bool,
    mut link: Option<Link>,
    page: wire::Page,
    end: Option<Timestamp>,
) -> Result<CheckedPage, Error> {
    let many = page.edges.len() > CHECK_INLINE;
    let latest = verify::latest();
    let work = move || {
        let mut checked = Vec::with_capacity(page.edges.len());
        for edge in page.edges {
            let (assignment, next) = verify::follow(process, chained, latest, link.as_ref(), &edge.node)?;
            // A process's own entry comes first whatever was asked for.
            if next.nonce.0 > 0 && end.is_some_and(|end| next.timestamp > end) {
                return Ok(CheckedPage { checked, last: link, reaches_end: false });
            }
            checked.push(hydrate::map(edge.node, assignment, next)?);
            link = Some(next);
        }
        Ok(CheckedPage { checked, last: link, reaches_end: true })
    };
    if !many {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)?
}
