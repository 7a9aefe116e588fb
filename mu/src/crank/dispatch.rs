//! Which task may run now: order within lanes, parallelism between them, turns between pushes, bounded concurrency, retry
//! times.
//!
//! Holds only a small header per task; their contents stay in the outbox. No I/O and no clock: the shell passes the
//! time in and starts what it is told.

use std::collections::{BTreeSet, HashMap, HashSet};

use holon_protocol::{ItemId, ProcessId, Timestamp};

use super::budget::Budgets;
use super::descent::Descent;
use super::fair::Fair;
use super::pace::Pace;
use super::postings::{Moment, Postings};
use super::step::Fault;
use super::task::{Lane, Task, TaskId, Work};
use crate::outbox::Share;

/// How often the wait of a task doubles that finds its peer busy with others of ours.
const MAX_CROWDED_DOUBLINGS: u32 = 6;

/// The part of the places for slow tasks that only those take which were just found to be slow: a storm of them leaves
/// places for others.
const SLOW_RESERVE_PART: usize = 4;

/// Named limits of the crank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most tasks that build, sign or send at a time.
    pub sends: usize,
    /// Most results pulled at a time that are the next of their process.
    pub pulls: usize,
    /// Most results pulled at a time before the earlier ones of their process have arrived.
    pub early_pulls: usize,
    /// Most results of one process pulled at a time.
    pub pulls_per_process: usize,
    /// Most results whose turn it is that are held until it is known what was posted to their process before them; further ones
    /// are pulled again later.
    pub unheard: usize,
    /// Most requests of tasks that send, and most of those that pull, that take longer than `patience_ms`: they have places
    /// of their own, so that peers that are slow keep nobody else waiting.
    pub slow: usize,
    /// How long a request may keep its place among those that are answered soon, in milliseconds.
    pub patience_ms: u64,
    /// After this many failures of its own a result no longer holds up the later ones of its process. It loses its place
    /// among them, and is retried next to them, `early_pulls` of all processes at a time. That a unit cannot be asked does
    /// not count: the later ones could not be asked for either, and order is kept.
    pub patience_failures: u32,
    /// Wait after the first failure, in milliseconds; it doubles with each one.
    pub retry_delay_ms: u64,
    /// Longest wait after a failure, in milliseconds.
    pub max_retry_delay_ms: u64,
    /// A task that has been failing for this long is given up, in milliseconds.
    pub retry_for_ms: u64,
    /// A task that asks a scheduler that the operator did not name whether it took a client's item is given up sooner, in
    /// milliseconds.
    pub stranger_retry_for_ms: u64,
    /// How long results that are here wait to hear of what was posted to their process before them, from its posting on, in
    /// milliseconds: that may stand before them in the log.
    pub order_patience_ms: u64,
    /// How long after a commit of which it is not known whether it was made what it may have left is looked for, in
    /// milliseconds: longer than a database may work on it.
    pub stray_after_ms: u64,
    /// Wait before a busy compute unit is asked again, in milliseconds.
    pub busy_delay_ms: u64,
    /// What one push and one process may ask for.
    pub budgets: Budgets,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sends: 64,
            pulls: 64,
            early_pulls: 32,
            pulls_per_process: 8,
            unheard: 128,
            slow: 512,
            patience_ms: 5_000,
            patience_failures: 4,
            retry_delay_ms: 1_000,
            max_retry_delay_ms: 60_000,
            retry_for_ms: 24 * 60 * 60 * 1_000,
            stranger_retry_for_ms: 60 * 60 * 1_000,
            order_patience_ms: 5_000,
            stray_after_ms: 30_000,
            busy_delay_ms: 200,
            budgets: Budgets::default(),
        }
    }
}

/// What becomes of a task that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It runs again at this time.
    RetryAt(Timestamp),
    /// It has been failing for too long.
    GiveUp,
}

/// Where a result waits that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Where it takes no place of others.
    Held,
    /// Nowhere: too many do. It is fetched once more later.
    PutOff,
    /// It need not: it is out of order anyway.
    Needless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Send,
    Pull,
    EarlyPull,
    /// A pull whose result is here, and whose turn it is, but for what may stand before it.
    Unheard,
    /// A pull that gave way: out of its lane.
    Late,
    /// What takes long.
    SlowSend,
    SlowPull,
}

/// How many classes there are.
const CLASSES: usize = 7;

impl Class {
    fn is_slow(self) -> bool {
        matches!(self, Self::SlowSend | Self::SlowPull)
    }

    /// Whether it is a pull that has its place in a lane.
    fn is_pull(self) -> bool {
        matches!(self, Self::Pull | Self::EarlyPull | Self::Unheard | Self::SlowPull)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Behind others of its lane.
    Waiting,
    Ready,
    Running,
    /// Its result is here but not its turn.
    Held,
    Backoff(Timestamp),
    /// A pull that takes long and was started before its turn: it waits for that.
    Parked,
}

/// Where a task stands in its lane: by the nonce of what it is the result of, as far as that is known; then by when that was
/// posted, or heard of, and by the task that did so; then by its age.
type Place = (u64, Moment, TaskId, TaskId);

#[derive(Debug)]
struct Entry {
    lane: Lane,
    place: Place,
    /// Whether its nonce is known, or does not matter.
    placed: bool,
    /// When it was heard of.
    heard: Moment,
    /// The push it belongs to; pushes take turns.
    origin: Option<ItemId>,
    /// What that is accounted to if a cron began it.
    cron: Option<ItemId>,
    /// The process whose pace it keeps, until it has been given its time.
    paced: Option<ProcessId>,
    class: Class,
    state: State,
    failures: u32,
    /// Those that were its own.
    faults: u32,
    failing_since: Option<Timestamp>,
    /// How long it may be failing, in milliseconds.
    retry_for_ms: u64,
    /// How often in a row its peer was busy with others of ours.
    crowded: u32,
    /// Whether it is another messenger's from the end of this run on.
    leaving: bool,
}

impl Entry {
    /// The part of its descent that accounts are kept of.
    fn belonging(&self) -> Descent {
        Descent { origin: self.origin, cron: self.cron, ..Descent::default() }
    }
}

/// The tasks that are left to do.
#[derive(Debug)]
pub struct Dispatcher {
    limits: Limits,
    entries: HashMap<TaskId, Entry>,
    lanes: HashMap<Lane, BTreeSet<Place>>,
    /// How many tasks of a lane there are whose nonce is not known.
    unplaced: HashMap<Lane, usize>,
    postings: Postings,
    ready: [Fair<Option<ItemId>, TaskId>; CLASSES],
    running: [usize; CLASSES],
    /// Running tasks that take long, by class and push.
    slow: HashMap<(Class, Option<ItemId>), usize>,
    /// Running tasks that gave way, by the lane they were in.
    late: HashMap<Lane, usize>,
    timers: BTreeSet<(Timestamp, TaskId)>,
    turns: Vec<TaskId>,
    departed: Vec<Descent>,
    pace: Pace,
}

impl Dispatcher {
    /// No tasks.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            lanes: HashMap::new(),
            unplaced: HashMap::new(),
            postings: Postings::default(),
            ready: Default::default(),
            running: [0; CLASSES],
            slow: HashMap::new(),
            late: HashMap::new(),
            timers: BTreeSet::new(),
            turns: Vec::new(),
            departed: Vec::new(),
            pace: Pace::new(limits.budgets.per_process_per_second),
        }
    }

    /// Takes in a task that is in the outbox, `false` if it is known. Tasks of one lane may come in any order of their ids.
    pub fn add(&mut self, id: TaskId, task: &Task, now: Timestamp) -> bool {
        if let Some(known) = self.entries.get_mut(&id) {
            // What was another messenger's may be ours again.
            known.leaving = false;
            return false;
        }
        let lane = task.lane(id);
        let class = if matches!(task.work, Work::Pull { .. }) { Class::EarlyPull } else { Class::Send };
        let paced = match &task.work {
            Work::Message { emitter, .. } | Work::Spawn { emitter, .. } => Some(*emitter),
            Work::Assign { emitter, first: None, .. } => Some(*emitter),
            _ => None,
        };
        if let Some((process, item)) = task.posted_to() {
            self.postings.resume(id, process, item, self.waited_for_until(now));
        }
        let Limits { retry_for_ms, stranger_retry_for_ms, .. } = self.limits;
        let stranger = task.toward().is_some_and(|toward| toward.stranger);
        let (place, placed) = self.place(id, lane, task);
        let entry = Entry {
            lane,
            place,
            placed,
            heard: self.postings.now(),
            origin: task.descent.origin,
            cron: task.descent.cron,
            paced,
            class,
            state: State::Waiting,
            failures: 0,
            faults: 0,
            failing_since: None,
            retry_for_ms: if stranger { retry_for_ms.min(stranger_retry_for_ms) } else { retry_for_ms },
            crowded: 0,
            leaving: false,
        };
        self.entries.insert(id, entry);
        self.lanes.entry(lane).or_default().insert(place);
        if !placed {
            *self.unplaced.entry(lane).or_default() += 1;
        }
        self.promote(lane);
        true
    }

    /// Where a new task belongs in its lane, and whether its nonce is known.
    fn place(&self, id: TaskId, lane: Lane, task: &Task) -> (Place, bool) {
        let Work::Pull { message, nonce, .. } = &task.work else { return ((0, Moment::default(), id, id), true) };
        let (moment, by) = self.postings.of((*message).into()).unwrap_or((self.postings.now(), id));
        match nonce {
            Some(nonce) if !self.unplaced.contains_key(&lane) => ((nonce.0, moment, by, id), true),
            // Nonces say nothing beside others of which they are not known.
            _ => {
                let last = self.lanes.get(&lane).and_then(|lane| lane.last()).map_or(0, |last| last.0);
                ((last, moment, by, id), false)
            }
        }
    }

    /// These shares are to be another messenger's. What of them runs is let run, everything else is gone; what that belonged
    /// to, one by one.
    pub fn let_go(&mut self, shares: &BTreeSet<Share>) -> Vec<Descent> {
        let mut lanes = HashSet::new();
        let mut gone = Vec::new();
        for (id, entry) in &mut self.entries {
            if !entry.lane.process().is_some_and(|process| shares.contains(&Share::of(process))) {
                continue;
            }
            lanes.insert(entry.lane);
            match entry.state {
                State::Running | State::Held => entry.leaving = true,
                _ => gone.push(*id),
            }
        }
        let origins = gone.into_iter().filter_map(|id| self.forget(id)).collect();
        for lane in lanes {
            self.promote(lane);
        }
        origins
    }

    /// Whether something of these shares is being sent.
    pub fn sends(&self, shares: &BTreeSet<Share>) -> bool {
        self.entries.values().any(|entry| {
            let of = |process| shares.contains(&Share::of(process));
            matches!(entry.class, Class::Send | Class::SlowSend)
                && entry.state == State::Running
                && entry.lane.process().is_some_and(of)
        })
    }

    /// Takes a task out that does not run.
    fn forget(&mut self, id: TaskId) -> Option<Descent> {
        let entry = self.entries.remove(&id)?;
        match entry.state {
            State::Ready => self.ready[entry.class as usize].remove(entry.origin, id),
            State::Backoff(at) => drop(self.timers.remove(&(at, id))),
            _ => {}
        }
        self.leave_lane(&entry);
        self.settled(id);
        Some(entry.belonging())
    }

    /// A task, or an intent, begins to post an item to the log of this process. `false`: it may have done so before.
    pub fn posts(&mut self, id: TaskId, process: ProcessId, item: ItemId, now: Timestamp) -> bool {
        self.postings.begin(id, process, item, self.waited_for_until(now))
    }

    fn waited_for_until(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.limits.order_patience_ms))
    }

    /// It is known what became of what it posted.
    pub fn settled(&mut self, id: TaskId) {
        if let Some(process) = self.postings.end(id) {
            self.promote(Lane::Results(process));
        }
    }

    /// Whether something may stand before this result in the log of its process that nobody has heard of.
    fn is_unheard(&self, id: TaskId) -> bool {
        match self.entries.get(&id) {
            Some(Entry { lane: Lane::Results(process), heard, .. }) => self.postings.any_before(*process, *heard),
            _ => false,
        }
    }

    /// Number of tasks left.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a task is left to do.
    pub fn contains(&self, id: TaskId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Whether a task has been tried in vain since it last made progress.
    pub fn was_tried(&self, id: TaskId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.failures > 0 || entry.crowded > 0)
    }

    /// How often a task failed in a row.
    pub fn failures(&self, id: TaskId) -> u32 {
        self.entries.get(&id).map_or(0, |entry| entry.failures)
    }

    /// How often it failed by its own fault since it last made progress.
    pub fn faults(&self, id: TaskId) -> u32 {
        self.entries.get(&id).map_or(0, |entry| entry.faults)
    }

    /// How often a task had to wait because its process asks for more than it may.
    pub fn paced(&self) -> u64 {
        self.pace.held_back()
    }

    /// Tasks to start now, push by push and oldest first in each, within what the limits allow.
    pub fn start(&mut self, now: Timestamp) -> Vec<TaskId> {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.make_ready(id);
        }
        while let Some(process) = self.postings.expire(now) {
            self.promote(Lane::Results(process));
        }
        let mut started = Vec::new();
        for class in [Class::Send, Class::Pull, Class::EarlyPull, Class::Late, Class::SlowSend, Class::SlowPull] {
            let limit = match class {
                Class::Send => self.limits.sends,
                Class::Pull => self.limits.pulls,
                Class::EarlyPull | Class::Late => self.limits.early_pulls,
                Class::Unheard => self.limits.unheard,
                Class::SlowSend | Class::SlowPull => self.limits.slow - self.limits.slow / SLOW_RESERVE_PART,
            };
            while self.running[class as usize] < limit
                && let Some(id) = self.ready[class as usize].pop()
            {
                let Some(entry) = self.entries.get_mut(&id) else { continue };
                if let Some(at) = entry.paced.take().and_then(|process| self.pace.next(process, now)) {
                    entry.state = State::Backoff(at);
                    self.timers.insert((at, id));
                    continue;
                }
                if class == Class::Late {
                    let late = self.late.entry(entry.lane).or_default();
                    if *late >= self.limits.pulls_per_process {
                        // One process's failures may not keep those of others from being retried.
                        let at = Timestamp(now.0 + self.limits.retry_delay_ms);
                        entry.state = State::Backoff(at);
                        self.timers.insert((at, id));
                        continue;
                    }
                    *late += 1;
                }
                if class.is_slow() {
                    *self.slow.entry((class, entry.origin)).or_default() += 1;
                }
                self.running[class as usize] += 1;
                entry.state = State::Running;
                started.push(id);
            }
        }
        started
    }

    /// A running task has waited for its peer for longer than `patience_ms`. `true`: it may go on, with a place among the slow
    /// ones; `false`: they are too many, or those of its push are, and it is to be stopped. It is started again when it has
    /// a place.
    pub fn slow(&mut self, id: TaskId) -> bool {
        let turn = self.is_turn(id);
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.state == State::Running) else { return false };
        if entry.leaving {
            return true;
        }
        let class = match entry.class {
            Class::Send => Class::SlowSend,
            Class::Pull | Class::EarlyPull => Class::SlowPull,
            Class::Unheard | Class::Late | Class::SlowSend | Class::SlowPull => return true,
        };
        // Those before it have to be pulled first, and take at least as long.
        let early = class == Class::SlowPull && !turn;
        let free = self.limits.slow.saturating_sub(self.running[class as usize]);
        let had = self.slow.get(&(class, entry.origin)).copied().unwrap_or_default();
        let stays = !early && free > 0 && had < (free / 2).max(1);
        let left = Entry { ..*entry };
        if early {
            entry.state = State::Parked;
        } else {
            entry.class = class;
        }
        if stays {
            self.running[class as usize] += 1;
            *self.slow.entry((class, entry.origin)).or_default() += 1;
        } else if !early {
            entry.state = State::Ready;
            self.ready[class as usize].insert(entry.origin, id);
        }
        self.leave(&left);
        stays
    }

    /// When [`Self::start`] has something to do again, if nothing else happens.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|&(at, _)| at).into_iter().chain(self.postings.next_deadline()).min()
    }

    /// A running task has its outcome in hand. `true`: it may be applied now; `false`: [`Self::take_turns`] will name it.
    pub fn fetched(&mut self, id: TaskId) -> bool {
        let turn = self.is_turn(id);
        if turn && !self.is_unheard(id) {
            return true;
        }
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.class != Class::Late) else { return true };
        let left = Entry { ..*entry };
        // Others of its process may need a place among those whose turn it is.
        entry.class = if turn { Class::Unheard } else { Class::EarlyPull };
        entry.state = State::Held;
        self.running[entry.class as usize] += 1;
        self.leave(&left);
        if let Lane::Results(process) = left.lane {
            for posting in self.postings.take_calm(process, left.heard) {
                self.hurry(posting);
            }
        }
        false
    }

    /// A running task has its outcome in hand, which would have to be held, and too many are. `true`: it is put off, and
    /// fetches it once more.
    pub fn put_off(&mut self, id: TaskId, now: Timestamp) -> bool {
        let full = self.running[Class::Unheard as usize] >= self.limits.unheard;
        let needs = self.entries.get(&id).is_some_and(|entry| !matches!(entry.class, Class::Unheard | Class::Late));
        let put_off = full && needs && self.is_turn(id) && self.is_unheard(id);
        if put_off {
            self.crowded(id, now);
        }
        put_off
    }

    /// A running task has its outcome in hand, and its turn, and has yet to hear of what other messengers post. It waits among those
    /// that wait to hear, so that it keeps nobody else from being started, as far as there is room.
    pub fn waits(&mut self, id: TaskId, now: Timestamp) -> Wait {
        let full = self.running[Class::Unheard as usize] >= self.limits.unheard;
        let Some(entry) = self.entries.get_mut(&id) else { return Wait::Needless };
        match entry.class {
            Class::Late => return Wait::Needless,
            Class::Unheard => return Wait::Held,
            _ if full => {
                self.crowded(id, now);
                return Wait::PutOff;
            }
            _ => {}
        }
        let left = Entry { ..*entry };
        entry.class = Class::Unheard;
        self.running[Class::Unheard as usize] += 1;
        self.leave(&left);
        Wait::Held
    }

    /// Held tasks whose turn has come; they are running again.
    pub fn take_turns(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.turns)
    }

    /// A running task is done; it is gone. What it belonged to: origin and cron.
    pub fn finished(&mut self, id: TaskId) -> Option<Descent> {
        let entry = self.entries.remove(&id)?;
        self.leave(&entry);
        self.leave_lane(&entry);
        self.promote(entry.lane);
        self.settled(id);
        Some(entry.belonging())
    }

    /// A running task made progress: what failed before does not count any more.
    pub fn progressed(&mut self, id: TaskId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.failures = 0;
            entry.faults = 0;
            entry.failing_since = None;
            entry.crowded = 0;
        }
    }

    /// A running task failed.
    pub fn failed(&mut self, id: TaskId, fault: Fault, now: Timestamp) -> Verdict {
        let Limits { retry_delay_ms, max_retry_delay_ms, .. } = self.limits;
        if fault == Fault::Task {
            // Whoever was asked has answered: what it posted is not there, or would hold others up for no good reason.
            self.settled(id);
        }
        let Some(entry) = self.entries.get_mut(&id) else { return Verdict::GiveUp };
        let since = *entry.failing_since.get_or_insert(now);
        if now.0.saturating_sub(since.0) >= entry.retry_for_ms {
            return Verdict::GiveUp;
        }
        let doubled = retry_delay_ms.saturating_mul(1 << entry.failures.min(30));
        entry.failures = entry.failures.saturating_add(1);
        if fault == Fault::Task {
            entry.faults = entry.faults.saturating_add(1);
        }
        let at = Timestamp(now.0 + doubled.min(max_retry_delay_ms));
        self.back_off(id, at);
        Verdict::RetryAt(at)
    }

    /// A running task has to ask again soon; not a failure.
    pub fn again(&mut self, id: TaskId, now: Timestamp) {
        self.back_off(id, Timestamp(now.0 + self.limits.busy_delay_ms));
    }

    /// A running task found its peer busy with others of ours; not a failure. The wait doubles each time.
    pub fn crowded(&mut self, id: TaskId, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let wait = self.limits.busy_delay_ms.saturating_mul(1 << entry.crowded.min(MAX_CROWDED_DOUBLINGS));
        entry.crowded = entry.crowded.saturating_add(1);
        self.back_off(id, Timestamp(now.0 + wait));
    }

    /// A task that waits for its retry time need not wait any longer.
    pub fn hurry(&mut self, id: TaskId) {
        let Some(State::Backoff(at)) = self.entries.get(&id).map(|entry| entry.state) else { return };
        self.timers.remove(&(at, id));
        self.make_ready(id);
    }

    fn back_off(&mut self, id: TaskId, at: Timestamp) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let left = Entry { state: std::mem::replace(&mut entry.state, State::Backoff(at)), ..*entry };
        let lane = entry.lane;
        if entry.class.is_pull() && entry.faults >= self.limits.patience_failures {
            entry.class = Class::Late;
            self.leave_lane(&left);
        }
        self.leave(&left);
        if left.leaving {
            let origin = self.forget(id);
            self.departed.extend(origin);
        } else {
            self.timers.insert((at, id));
        }
        self.promote(lane);
    }

    /// What tasks belonged to that are another messenger's since they were put off, one by one.
    pub fn take_departed(&mut self) -> Vec<Descent> {
        std::mem::take(&mut self.departed)
    }

    /// Gives back the slot of a task that ran.
    fn leave(&mut self, entry: &Entry) {
        if matches!(entry.state, State::Running | State::Held) {
            self.running[entry.class as usize] -= 1;
            if entry.class.is_slow()
                && let Some(slow) = self.slow.get_mut(&(entry.class, entry.origin))
            {
                *slow -= 1;
                if *slow == 0 {
                    self.slow.remove(&(entry.class, entry.origin));
                }
            }
            if entry.class == Class::Late
                && let Some(late) = self.late.get_mut(&entry.lane)
            {
                *late -= 1;
                if *late == 0 {
                    self.late.remove(&entry.lane);
                }
            }
        }
    }

    fn leave_lane(&mut self, entry: &Entry) {
        if let Some(tasks) = self.lanes.get_mut(&entry.lane) {
            let was_there = tasks.remove(&entry.place);
            if tasks.is_empty() {
                self.lanes.remove(&entry.lane);
            }
            if was_there
                && !entry.placed
                && let Some(count) = self.unplaced.get_mut(&entry.lane)
            {
                *count -= 1;
                if *count == 0 {
                    self.unplaced.remove(&entry.lane);
                }
            }
        }
    }

    fn make_ready(&mut self, id: TaskId) {
        let turn = self.is_turn(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            if matches!(entry.class, Class::Pull | Class::EarlyPull | Class::Unheard) {
                entry.class = if turn { Class::Pull } else { Class::EarlyPull };
            }
            entry.state = State::Ready;
            self.ready[entry.class as usize].insert(entry.origin, id);
        }
    }

    /// Whether no earlier task of the lane has to be waited for.
    fn is_turn(&self, id: TaskId) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        self.lanes.get(&entry.lane).is_none_or(|lane| lane.range(..entry.place).next().is_none())
    }

    /// Lets the first tasks of a lane run, and held ones whose turn has come go on.
    fn promote(&mut self, lane: Lane) {
        let window = if matches!(lane, Lane::Results(_)) { self.limits.pulls_per_process } else { 1 };
        let Some(tasks) = self.lanes.get(&lane) else { return };
        let first: Vec<_> = tasks.iter().take(window).map(|place| place.3).collect();
        // One that was among them until another one came before it.
        if let Some(displaced) = tasks.iter().nth(window).map(|place| place.3)
            && let Some(entry) = self.entries.get_mut(&displaced).filter(|entry| entry.state == State::Ready)
        {
            entry.state = State::Waiting;
            self.ready[entry.class as usize].remove(entry.origin, displaced);
        }
        for id in first {
            let Some(entry) = self.entries.get(&id) else { continue };
            match (entry.state, entry.class) {
                (State::Waiting, _) => self.make_ready(id),
                (State::Parked, _) if self.is_turn(id) => self.make_ready(id),
                (State::Ready, Class::EarlyPull) if self.is_turn(id) => {
                    self.ready[Class::EarlyPull as usize].remove(entry.origin, id);
                    self.make_ready(id);
                }
                (State::Held, _) if self.is_turn(id) && !self.is_unheard(id) => {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.state = State::Running;
                    }
                    self.turns.push(id);
                }
                _ => {}
            }
        }
    }
}
