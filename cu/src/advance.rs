//! Moving a live process forward: reading its log page by page, completing what the pages lack, and evaluating while the
//! next page is on its way.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream;
use holon_arweave::Node;
use holon_protocol::assignment::Assignment;
use holon_protocol::{Address, BlockHeight, MessageId, Nonce, ProcessId, Timestamp, wire};
use holon_unit::clock::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{self, Claim, Policy, Published, Reach, Restored};
use crate::error::Error;
use crate::given_up::GivenUp;
use crate::hydrate::{self, Checked, Scheduled};
use crate::log::signatures::Judging;
use crate::log::verify::Course;
use crate::log::{
    Fault, Goal, Link, Log, LogError, Logged, Logs, Now, Page, Range, SlotError, original, signatures, verify,
};
use crate::metrics::Metrics;
use crate::options::Unverifiable;
use crate::pool::Pool;
use crate::process::{Loader, Process};
use crate::recent::Recent;
use crate::results::Results;
use crate::runner::{Interrupted, Keeping, Runner, Surroundings, Turn};

/// Most threads that judge the signatures of a page.
const MAX_JUDGES: usize = 4;
/// Entries of a page whose signatures are judged where its hashes are.
const JUDGED_AT_ONCE: usize = 2;
/// Assigned items fetched at the same time, and evaluated before more are.
const HYDRATIONS: usize = 4;
/// Published checkpoints that are tried before the log is taken instead.
const PUBLISHED_TRIES: usize = 4;
/// Processes of which is remembered what they are after their memory is gone. They keep their modules.
pub const RECENT_PROCESSES: usize = 1024;

/// Everything that evaluating needs besides a process.
pub struct Sources {
    /// Processes and modules.
    pub loader: Loader,
    /// Logs.
    pub logs: Arc<dyn Logs>,
    /// Results.
    pub results: Arc<Results>,
    /// Messages that took too long.
    pub given_up: Arc<GivenUp>,
    /// Threads of the evaluation streams.
    pub pool: Pool,
    /// Counters.
    pub metrics: Metrics,
    /// Checkpoints, if there are any.
    pub keeping: Option<Keeping>,
    /// Checkpoints on Arweave, if any are looked for.
    pub published: Option<Published>,
    /// Processes that were live lately: those whose memory is only evicted come back without being loaded again.
    pub recent: Mutex<Recent<ProcessId, Arc<Process>>>,
    /// What time it is.
    pub clock: Clock,
    /// What is done about entries that cannot be checked.
    pub unverifiable: Unverifiable,
    /// When it is cancelled, evaluation ends after the turn.
    pub stopping: CancellationToken,
}

/// Where cron messages after the last entry end.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// The time.
    end: Timestamp,
    /// Blocks count up to this height.
    height: BlockHeight,
    /// Whether the next entry names it; else it may name a greater one.
    named: bool,
}

impl From<Now> for Tail {
    fn from(now: Now) -> Self {
        Self { end: now.timestamp, height: now.block_height, named: false }
    }
}

/// A page on its way, beside the evaluation of the one before it. It stops when nobody waits for it any more. What it ends in is
/// being judged already.
struct Fetch(JoinHandle<Result<Following, Error>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sources {
    /// Loads a process and brings its memory to the nearest checkpoint for `reach`, or to the start of its log. One that
    /// `keeps` writes checkpoints as it goes.
    ///
    /// What is needed once in a process's life is boxed: it would make every future that may start one large.
    pub async fn start(&self, id: ProcessId, reach: Reach, keeps: bool) -> Result<Runner, Error> {
        let recent = self.recent().get(&id).cloned();
        let process = match recent {
            Some(process) => process,
            None => {
                let process = Arc::new(Box::pin(self.loader.load(id, &self.results)).await?);
                self.recent().insert(process.id, process.clone());
                process
            }
        };
        let surroundings = Surroundings {
            generation: self.results.generation(),
            results: self.results.clone(),
            metrics: self.metrics.clone(),
            given_up: self.given_up.clone(),
        };
        let restored = match &self.keeping {
            None => None,
            Some(keeping) => Box::pin(keeping.checkpoints.restore(&process, reach, |job| self.build(job))).await,
        };
        let keeping = self.keeping.clone().filter(|_| keeps);
        let fresh = (process.clone(), surroundings.clone(), keeping.clone());
        if restored.is_none()
            && let Some(runner) = Box::pin(self.start_published(fresh, reach)).await
        {
            return Ok(runner);
        }
        self.runner(process, restored, surroundings, keeping).await
    }

    async fn runner(
        &self,
        process: Arc<Process>,
        restored: Option<Restored>,
        surroundings: Surroundings,
        keeping: Option<Keeping>,
    ) -> Result<Runner, Error> {
        self.pool.run(move || Runner::new(process, restored, surroundings, keeping)).await.map_err(stopped)?
    }

    /// A start at the farthest published checkpoint that serves and is usable. One that is not is logged and passed over.
    async fn start_published(
        &self,
        (process, surroundings, keeping): (Arc<Process>, Surroundings, Option<Keeping>),
        reach: Reach,
    ) -> Option<Runner> {
        let published = self.published.as_ref()?;
        let groups = match published.find(process.id).await {
            Ok(groups) => groups,
            Err(error) => {
                tracing::warn!(process = %process.id, %error, "published checkpoints cannot be found");
                return None;
            }
        };
        let usable = groups.into_iter().filter(|group| {
            let claim = group.first().map(|(_, claim, _)| claim);
            claim.is_some_and(|claim| claim.module == process.module_id() && claim.serves(reach))
        });
        for group in usable.take(PUBLISHED_TRIES) {
            let runner = self.runner(process.clone(), None, surroundings.clone(), keeping.clone()).await;
            let adopted = match runner {
                Ok(runner) => self.adopt(published, runner, &group, reach).await,
                Err(error) => Err(error),
            };
            let checkpoint = group.first().map(|(_, _, node)| node.id.to_string());
            match adopted {
                Ok(runner) => {
                    tracing::info!(process = %process.id, checkpoint, "started from a published checkpoint");
                    return Some(runner);
                }
                Err(Error::Stopping) => return None,
                Err(error) => {
                    tracing::warn!(process = %process.id, checkpoint, %error, "a published checkpoint is refused");
                }
            }
        }
        None
    }

    /// Brings a new runner to where a published checkpoint stands: with its memory, or, when it is to be verified, by
    /// evaluating. What the process has seen comes from the log in either case. It must serve `reach` there as well as it said.
    async fn adopt(
        &self,
        published: &Published,
        mut runner: Runner,
        group: &[(Address, Claim, Node)],
        reach: Reach,
    ) -> Result<Runner, Error> {
        let refused = |reason: String| Error::Host(reason);
        let Some((_, claim, _)) = group.first() else { return Err(refused("nobody signed it".into())) };
        let verifies = published.policy() == Policy::Verified;
        if !verifies {
            runner.skim();
        }
        let mut slot = Some(runner);
        // Boxed: starting, which calls this, is part of no cycle, but its future is large.
        Box::pin(self.advance(&mut slot, Goal::Slot(claim.nonce), None, &mut |_| {})).await?;
        let mut runner = slot.take().ok_or(Error::Stopping)?;
        let link = runner.stream.link().copied();
        let there = link.is_some_and(|link| {
            link.nonce == claim.nonce
                && link.timestamp == claim.timestamp
                && claim.assignment.is_none_or(|assignment| assignment == link.assignment)
                && claim.hash_chain.is_none_or(|chain| chain == link.hash_chain)
        });
        if !there {
            return Err(refused(format!("it is about another entry than the log has at nonce {}", claim.nonce)));
        }
        // It names the time of its last message; the clock of the process may show a later one.
        let mut stands = claim.clone();
        stands.timestamp = link.map_or(claim.timestamp, |link| link.clock);
        if !stands.serves(reach) {
            let reason = format!("the clock of the process shows {} there, which is too late", stands.timestamp);
            return Err(refused(reason));
        }
        // Signers whose memory does not have the root that they name.
        let mut wrong: Vec<Address> = Vec::new();
        loop {
            // A whole memory is there only now, when the log has been read, and as many at a time as may be.
            let memory = match verifies {
                true => None,
                false => Some(published.memory(group, &wrong).await.map_err(|error| refused(error.to_string()))?),
            };
            let signer = memory.as_ref().map(|memory| memory.signer);
            let job = move || {
                let root = match &memory {
                    Some(memory) => runner.adopt(&memory.bytes),
                    None => runner.root(),
                };
                (runner, root)
            };
            let (adopted, root) = self.pool.run(job).await.map_err(stopped)?;
            let reason = match (root, claim.root) {
                (Ok(root), Some(named)) if named != root => format!("its contents have root {root}, it names {named}"),
                (Ok(_), _) => return Ok(adopted),
                (Err(error), _) => error.to_string(),
            };
            match signer {
                Some(signer) if wrong.len() + 1 < PUBLISHED_TRIES => {
                    tracing::warn!(%signer, reason, "the memory of a published checkpoint is not used");
                    wrong.push(signer);
                }
                _ => return Err(refused(reason)),
            }
            runner = adopted;
        }
    }

    async fn build(
        &self,
        job: Box<dyn FnOnce() -> Result<Restored, checkpoint::Error> + Send>,
    ) -> Result<Restored, checkpoint::Error> {
        match self.pool.run(job).await {
            Ok(restored) => restored,
            Err(crate::pool::PoolError::Closed) => Err(checkpoint::Error::Stopping),
            Err(error) => Err(checkpoint::Error::Machine(error.to_string())),
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent<ProcessId, Arc<Process>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Advances the runner in `slot` to `goal`. `known` is a log entry that the caller happens to have: if it is the only
    /// one missing, no page is read. `progress` is called after every turn.
    ///
    /// After an error the slot is empty if the memory was lost, else the runner stands where it got to.
    pub async fn advance(
        &self,
        slot: &mut Option<Runner>,
        goal: Goal,
        known: Option<Logged>,
        progress: &mut (dyn FnMut(&Runner) + Send),
    ) -> Result<(), Error> {
        let Some(runner) = slot.as_mut() else { return Err(Error::Stopping) };
        let (id, process) = (runner.process.id, runner.process.clone());
        if let (Goal::Slot(slot), Some(link)) = (goal, runner.stream.link())
            && link.nonce >= slot
        {
            return Ok(());
        }
        let log = self.logs.open(id).await?;
        let mut right = None;
        if runner.stream.has_crons() {
            right = match goal {
                // Cron messages before an entry fire because of the entry: if the log does not have it after all, none do.
                Goal::Slot(_) | Goal::Entry(..) => None,
                Goal::Time(end) => log.now().await?.map(|now| Tail { end: end.min(now.timestamp), ..now.into() }),
                Goal::Latest => log.now().await?.map(Tail::from),
            };
            // Whatever a scheduler says, cron messages fire up to our time only.
            right = right.map(|right| Tail { end: right.end.min(verify::latest(&self.clock)), ..right });
        }
        let mut link = runner.stream.link().copied();
        let fetch = |after: Option<Link>| {
            let page = log.page(after, goal);
            let (process, latest) = (process.clone(), verify::latest(&self.clock));
            Fetch(tokio::spawn(async move { follow(process, latest, after, page.await?, goal).await }))
        };
        let mut pending = None;
        let mut first = match known {
            // Schedulers that show anchors in pages only let nobody check what they say elsewhere, so their page is read.
            Some(logged)
                if follows(link.as_ref(), &logged.entry)
                    && (logged.verified || logged.entry.assignment.anchor.is_some()) =>
            {
                Some(Page { entries: vec![logged], more: false })
            }
            _ => None,
        };
        loop {
            let page = match (first.take(), pending.take()) {
                (Some(page), _) => follow(process.clone(), verify::latest(&self.clock), link, page, goal).await?,
                (None, fetching) => received(fetching.unwrap_or_else(|| fetch(link))).await?,
            };
            let more = page.more;
            link = page.last;
            // The next page is fetched while this one is judged, and judged while this one is evaluated.
            if more {
                pending = Some(fetch(link));
            }
            let (checked, mut forged) = page.checked().await?;
            // Up to a time before the next entry, the blocks count that this entry names.
            if !more && forged.is_none() && right.is_some() && matches!(goal, Goal::Time(_)) {
                match self.boundary(&*log, &process, link).await {
                    Ok(Some((timestamp, height))) => {
                        right = right.map(|right| Tail { end: right.end.min(timestamp), height, named: true });
                    }
                    Ok(None) => {}
                    Err(error) => forged = Some(error),
                }
            }
            let mut parts = parts(checked);
            while let Some(part) = parts.pop_front() {
                let (entries, mut failed) = complete(&*log, id, self.unverifiable, part).await;
                if failed.is_none() && parts.is_empty() {
                    failed = forged.take();
                }
                // Without an entry there is nothing to go on with, not even to the process in front of an old log.
                if entries.is_empty()
                    && let Some(error) = failed
                {
                    return Err(error);
                }
                let more = more || !parts.is_empty() || failed.is_some();
                self.feed(slot, &*log, entries, more, right).await?;
                self.evaluate(slot, progress).await?;
                if let Some(error) = failed {
                    return Err(error);
                }
            }
            if !more {
                return match (goal, link) {
                    (Goal::Slot(slot), link) if link.is_none_or(|link| link.nonce < slot) => {
                        Err(Error::NoSlot { process: id, slot, last: link.map(|link| link.nonce) })
                    }
                    _ => Ok(()),
                };
            }
        }
    }

    /// Where the entry after `link` stands, if there is one: what of it counts must be as good as if it were evaluated.
    async fn boundary(
        &self,
        log: &dyn Log,
        process: &Arc<Process>,
        link: Option<Link>,
    ) -> Result<Option<(Timestamp, BlockHeight)>, Error> {
        let next = Goal::Slot(link.map_or(Nonce(0), |link| link.next()));
        let latest = verify::latest(&self.clock);
        let page = follow(process.clone(), latest, link, log.page(link, next).await?, next).await?;
        let (checked, forged) = page.checked().await?;
        let Some(next) = checked.into_iter().next() else { return forged.map_or(Ok(None), Err) };
        let stands = next.stands();
        if next.unchecked() && self.unverifiable != Unverifiable::Mark {
            complete_one(log, process.id, self.unverifiable, next).await?;
        }
        Ok(Some(stands))
    }

    /// Feeds entries to the runner, with what has to be in front of them and the blocks that they need. Unless there are `more`,
    /// cron messages fire after them until `right`.
    async fn feed(
        &self,
        slot: &mut Option<Runner>,
        log: &dyn Log,
        entries: Vec<Scheduled>,
        more: bool,
        right: Option<Tail>,
    ) -> Result<(), Error> {
        let runner = runner_of(slot)?;
        if let Some(first) = entries.first()
            && let Some(fired) = runner.stream.too_early(first)
        {
            let (assignment, found) = (first.link.assignment, first.link.clock);
            return Err(LogError::Late { assignment, found, fired }.into());
        }
        let id = runner.process.id;
        if runner.stream.needs_process(&entries) {
            if entries.is_empty() && has_own_entry(log, id).await? {
                let reason = "it came without the process's own entry".to_owned();
                return Err(Error::SchedulerUnreadable { what: "messages", reason });
            }
            let data = log.process_data().await?;
            let process = &runner.process;
            let message = hydrate::prepended(&process.record, &process.owner, process.origin.height, Some(data));
            runner.stream.prepend(message);
        }
        let right = right.filter(|_| !more);
        let mut blocks = Vec::new();
        if runner.stream.has_crons() && (right.is_some() || !entries.is_empty()) {
            let (above, mut needed) = (runner.stream.needs_above(), runner.stream.needs_through(&entries));
            let through = right.map_or(needed, |right| right.height.max(needed));
            if right.is_some_and(|right| right.named) {
                needed = through;
            }
            blocks = log.blocks(Range { above, through, needed }).await?;
        }
        let right = match (right, blocks.last()) {
            (Some(right), _) if right.named => Some(right.end),
            // A block that nobody has told of yet may have been mined before now, but not before the newest one that is known: up
            // to that, cron messages are the same whoever asks when.
            (Some(right), Some(newest)) => Some(right.end.min(newest.timestamp)),
            _ => None,
        };
        runner.stream.feed(entries, blocks, right);
        Ok(())
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
                Ok(Turn::More) if self.stopping.is_cancelled() => {
                    runner.stream.clear();
                    *slot = Some(runner);
                    return Err(Error::Stopping);
                }
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
}

/// Cuts entries where more items would be assigned than are held at the same time. There is always a last part.
fn parts(checked: Vec<Checked>) -> VecDeque<Vec<Checked>> {
    let (mut parts, mut part, mut assigned) = (VecDeque::new(), Vec::new(), 0);
    for checked in checked {
        if matches!(checked, Checked::Assigned { .. }) {
            if assigned == HYDRATIONS {
                parts.push_back(std::mem::take(&mut part));
                assigned = 0;
            }
            assigned += 1;
        }
        part.push(checked);
    }
    parts.push_back(part);
    parts
}

/// Fetches what assignments of on-chain items lack (spec 05 §5.2), several at a time, in order. What comes before one that
/// cannot be had is good.
async fn complete(
    log: &dyn Log,
    process: ProcessId,
    unverifiable: Unverifiable,
    checked: Vec<Checked>,
) -> (Vec<Scheduled>, Option<Error>) {
    let mut out = Vec::with_capacity(checked.len());
    let complete = |checked| complete_one(log, process, unverifiable, checked);
    let mut completed = stream::iter(checked.into_iter().map(complete)).buffered(HYDRATIONS);
    while let Some(scheduled) = completed.next().await {
        match scheduled {
            Ok(scheduled) => out.push(scheduled),
            Err(error) => return (out, Some(error)),
        }
    }
    (out, None)
}

async fn complete_one(
    log: &dyn Log,
    process: ProcessId,
    unverifiable: Unverifiable,
    checked: Checked,
) -> Result<Scheduled, Error> {
    let mut scheduled = match checked {
        Checked::Ready(scheduled) => scheduled,
        Checked::Assigned { item, assignment, link, unchecked } => {
            let with_data = !hydrate::excludes(&assignment, "Data");
            let item = log.on_chain(link.nonce, item, with_data).await?;
            Scheduled { unchecked, ..hydrate::hydrate(&assignment, link, item) }
        }
    };
    match (unverifiable, scheduled.unchecked.take()) {
        (_, None) => {}
        (Unverifiable::Mark, said) => scheduled.unchecked = said,
        (Unverifiable::Refuse, Some(_)) => {
            return Err(SlotError { process, slot: scheduled.link.nonce, fault: Fault::Unverifiable }.into());
        }
        (Unverifiable::Fetch, Some(said)) => original::compare(log, &scheduled, &said).await?,
    }
    Ok(scheduled)
}

/// Whether the log begins with the process itself. One that came empty does not show it, and a process that is put in front
/// although it is there would be evaluated twice.
async fn has_own_entry(log: &dyn Log, process: ProcessId) -> Result<bool, Error> {
    match log.position(MessageId::from(process)).await {
        Ok(position) => Ok(position.process == process),
        Err(Error::NotInLog { .. }) => Ok(false),
        Err(Error::Scheduler { status, .. }) if (400..500).contains(&status) => Ok(false),
        Err(error) => Err(error),
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

async fn received(mut fetch: Fetch) -> Result<Following, Error> {
    match (&mut fetch.0).await {
        Ok(page) => page,
        Err(_) => Err(Error::Stopping),
    }
}

/// Whether `entry` is the one right after `link`.
fn follows(link: Option<&Link>, entry: &wire::Entry) -> bool {
    let nonce = entry.assignment.tags.get("Nonce").and_then(|nonce| nonce.parse::<u64>().ok());
    match (link, nonce) {
        (Some(link), Some(nonce)) => Nonce(nonce) == link.next(),
        _ => false,
    }
}

/// A page whose entries follow one another, and whose signatures are being judged.
struct Following {
    process: ProcessId,
    judging: Arc<Judging<Followed>>,
    /// Judges beside whatever else is done; there is none for the few entries that were judged at once.
    judge: Option<JoinHandle<()>>,
    /// The last entry.
    last: Option<Link>,
    /// Whether there are more before the end.
    more: bool,
}

impl Following {
    /// The entries, once their signatures have been judged. They end before the first one that is wrong; what is wrong with it comes
    /// with them.
    async fn checked(self) -> Result<(Vec<Checked>, Option<Error>), Error> {
        let Self { process, judging, judge, .. } = self;
        let Some(judge) = judge else {
            let judging = Arc::into_inner(judging).ok_or(Error::Stopping)?;
            return Ok(checked(process, judging));
        };
        // Who waits for the page evaluates nothing, so the processors are free to help.
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let helping: Vec<_> = (1..processors.min(MAX_JUDGES))
            .filter(|_| judging.needs_help())
            .map(|_| {
                let judging = judging.clone();
                tokio::task::spawn_blocking(move || judging.help())
            })
            .collect();
        for judge in std::iter::once(judge).chain(helping) {
            // What one that panicked has not judged is judged below.
            if let Err(error) = judge.await {
                tracing::error!(%process, %error, "signatures were not judged; trying again");
            }
        }
        let judging = Arc::into_inner(judging).ok_or(Error::Stopping)?;
        tokio::task::spawn_blocking(move || checked(process, judging)).await.map_err(|_| Error::Stopping)
    }
}

/// An entry that follows the one before it.
struct Followed {
    logged: Logged,
    assignment: Assignment,
    link: Link,
}

impl Followed {
    /// What of it is to be judged.
    fn subject(&self) -> Option<&wire::Entry> {
        (!self.logged.verified).then_some(&self.logged.entry)
    }
}

/// Checks that the entries of a page follow `link` and one another, as far as `goal`, and begins to judge their signatures: on one
/// thread, as something else may be evaluated meanwhile. Few entries are judged at once: for the one message that somebody waits
/// for, a turn on another thread would take as long as its signatures.
async fn follow(
    process: Arc<Process>,
    latest: Timestamp,
    mut link: Option<Link>,
    page: Page,
    goal: Goal,
) -> Result<Following, Error> {
    let mut more = page.more;
    let (of, entries) = (process.clone(), page.entries);
    // The hashes of a page take their time.
    let follow = tokio::task::spawn_blocking(move || {
        let course = Course { process: of.id, chained: of.chained, signers: of.signers.as_deref(), latest };
        let mut followed = Vec::with_capacity(entries.len());
        for logged in entries {
            // What a scheduler shows beyond the slot that was asked for is nobody's business, whatever it is.
            if let (Goal::Slot(slot), Some(link)) = (goal, &link)
                && link.nonce >= slot
            {
                more = false;
                break;
            }
            let (assignment, next) = verify::follow(&course, link.as_ref(), &logged.entry)?;
            // A process's own entry comes first whatever was asked for.
            if next.nonce.0 > 0 && goal.excludes(&next) {
                more = false;
                break;
            }
            link = Some(next);
            followed.push(Followed { logged, assignment, link: next });
        }
        let at_once = followed.len() <= JUDGED_AT_ONCE;
        let judging = Arc::new(Judging::new(followed, Followed::subject));
        if at_once {
            judging.help();
        }
        Ok::<_, Error>((judging, at_once, link, more))
    });
    let (judging, at_once, last, more) = follow.await.map_err(|_| Error::Stopping)??;
    let judge = (!at_once).then(|| {
        let judging = judging.clone();
        tokio::task::spawn_blocking(move || judging.help())
    });
    Ok(Following { process: process.id, judging, judge, last, more })
}

/// What was judged, as entries to be evaluated, and what is wrong with the one after them.
fn checked(process: ProcessId, judging: Judging<Followed>) -> (Vec<Checked>, Option<Error>) {
    let (judged, forged) = judging.finish();
    let forged = forged.map(|(entry, fault)| SlotError { process, slot: entry.link.nonce, fault }.into());
    let mut checked = Vec::with_capacity(judged.len());
    for (Followed { logged: Logged { mut entry, on_chain, .. }, assignment, link }, covered) in judged {
        if let Some(message) = &mut entry.message {
            message.anchor = signatures::anchor_as_text(message.anchor.take());
        }
        let mapped = match hydrate::map(entry, assignment, link, covered) {
            Ok(mapped) => mapped,
            Err(error) => return (checked, Some(error.into())),
        };
        checked.push(match (mapped, on_chain) {
            (Checked::Assigned { assignment, link, unchecked, .. }, Some(item)) => {
                let item = Arc::unwrap_or_clone(item);
                Checked::Ready(Scheduled { unchecked, ..hydrate::hydrate(&assignment, link, item) })
            }
            (checked, _) => checked,
        });
    }
    (checked, forged)
}
