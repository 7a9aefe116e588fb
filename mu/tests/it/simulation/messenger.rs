//! The messenger's cores and its outbox, driven as the driver drives them, among units that fail and with power cuts between
//! any two steps.

use std::collections::BTreeMap;

use bytes::Bytes;
use holon_mu::crank::descent::Descent;
use holon_mu::crank::dispatch::{Dispatcher, Limits, Verdict};
use holon_mu::crank::outgoing::{self, Assign};
use holon_mu::crank::step::{
    Effect, Follow, Next, Outcome, Policy, Scheduler, client_assignment_accepted, forwarded_accepted, push, step,
    unsent,
};
use holon_mu::crank::task::{Forwarded, ForwardedKind, Task, TaskId, Work};
use holon_mu::outbox::{Changes, DeadLetter, Durability, Letter, LetterId, Monitor, Monitoring};
use holon_protocol::{ItemId, Nonce, ProcessId, Timestamp};

use super::network::{CRON_RESULTS, Item, Network, SCHEDULER, process, record};
use super::random::Random;
use crate::memory::MemoryOutbox;

const POLICY: Policy = Policy { boot: true, auto_cron: false, origins: true };
const MAX_EVENTS: usize = 300_000;
/// Cron results of a page.
const CRON_PAGE: usize = 3;
/// Units that can be out of order.
const UNITS: usize = 3;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// Everything, at random, for this many events: requests and answers are lost, doubled and late, units are out of order for a while,
    /// the power fails.
    Random(usize),
    /// The power fails once, after this many events.
    OneCut(usize),
}

/// What clients do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub items: usize,
    pub assignments: usize,
    /// How deep the trees are.
    pub depth: u64,
}

/// A client's request on its way.
enum Client {
    Item { forwarded: Forwarded, intent: Option<TaskId> },
    Assignment { process: ProcessId, message: ItemId, stage: AssignStage },
}

#[derive(Clone, Copy)]
enum AssignStage {
    Begun,
    /// The length of the log is known and the intent stored.
    Intended(TaskId, Nonce),
}

pub struct Simulation {
    random: Random,
    faults: Faults,
    load: Load,
    active: bool,
    now: u64,
    pub outbox: MemoryOutbox,
    dispatcher: Dispatcher,
    pub network: Network,
    running: BTreeMap<TaskId, (Task, Effect)>,
    held: BTreeMap<TaskId, (Task, Effect, Outcome)>,
    /// Requests that are still under way although nobody waits for them any more.
    stray: Vec<Effect>,
    /// When each unit is in order again.
    down: [u64; UNITS],
    clients: Vec<Client>,
    pub acknowledged: Vec<Forwarded>,
    /// Assignments that clients were told of.
    pub assigned: Vec<(ProcessId, ItemId)>,
    /// Assignments that clients asked for, whatever came of it.
    pub asked: Vec<(ProcessId, ItemId)>,
    pub crashes: usize,
    pub retried: usize,
    pub events: usize,
}

fn limits() -> Limits {
    Limits { retry_for_ms: u64::MAX, sends: 6, pulls: 3, early_pulls: 2, pulls_per_process: 3, ..Limits::default() }
}

impl Simulation {
    pub fn new(seed: u64, faults: Faults, load: Load) -> Self {
        let mut network = Network { refuses_repeated_assignments: seed.is_multiple_of(2), ..Network::default() };
        for number in 0..super::network::PROCESSES {
            let tags = [("Type", "Process")].into_iter().collect();
            let new = process(number).into();
            network.items.insert(new, Item { target: None, anchor: String::new(), tags, data: "boot".into() });
            network.accept(new).unwrap();
        }
        // Leaves are refused for good until the faults end: they become dead letters, which are then taken up again.
        network.poison = (seed % 5 == 3 && matches!(faults, Faults::Random(_))).then_some("0");
        let outbox = MemoryOutbox::default();
        let monitors = vec![(process(0), Monitoring::Put(Monitor { from_birth: true, ..Monitor::default() }))];
        outbox.write(Changes { monitors, ..Changes::default() }, Durability::Synced).unwrap();
        Self {
            random: Random(seed),
            faults,
            load,
            active: true,
            now: 0,
            outbox,
            dispatcher: Dispatcher::new(limits()),
            network,
            running: BTreeMap::new(),
            held: BTreeMap::new(),
            stray: Vec::new(),
            down: [0; UNITS],
            clients: Vec::new(),
            acknowledged: Vec::new(),
            assigned: Vec::new(),
            asked: Vec::new(),
            crashes: 0,
            retried: 0,
            events: 0,
        }
    }

    fn is_random(&self) -> bool {
        self.active && matches!(self.faults, Faults::Random(_))
    }

    /// Performs an effect as an unreliable network does.
    fn unreliable(&mut self, effect: &Effect) -> Outcome {
        if !self.is_random() {
            return self.network.perform(effect);
        }
        let unit = match effect {
            Effect::Pull { .. } => 0,
            Effect::Upload { .. } => 1,
            Effect::Sign { .. } => return self.network.perform(effect),
            _ => 2,
        };
        if self.down[unit] > self.now {
            return Outcome::Unreachable("the unit is out of order".into());
        }
        if self.random.percent(1) {
            self.down[unit] = self.now + self.random.next() % 120_000;
        }
        match self.random.below(100) {
            0..10 => Outcome::Unreachable("the request was lost".into()),
            10..20 => {
                self.network.perform(effect);
                Outcome::Unreachable("the answer was lost".into())
            }
            20..25 => {
                let outcome = self.network.perform(effect);
                // Nobody but the scheduler could tell a doubled request for an assignment from two of them.
                if self.network.refuses_repeated_assignments || !matches!(effect, Effect::PostAssign { .. }) {
                    self.network.perform(effect);
                }
                outcome
            }
            25..30 if self.network.refuses_repeated_assignments || !matches!(effect, Effect::PostAssign { .. }) => {
                self.stray.push(effect.clone());
                Outcome::Unreachable("no answer came in time".into())
            }
            30..33 if matches!(effect, Effect::Pull { .. }) => Outcome::NotYet,
            33..36 if matches!(effect, Effect::Post { .. }) => Outcome::Crowded,
            _ => self.network.perform(effect),
        }
    }

    fn follow(&mut self, mut changes: Changes, follow: Follow, durability: Durability) {
        for entry in follow.skipped {
            let letter = Letter::Entry { emitter: None, entry };
            changes.dead.push(self.letter(letter, String::new()));
        }
        changes.processes = follow.processes;
        let is_claimed = |item: &ItemId| self.outbox.look(|contents| contents.claims.contains(item));
        let pushed = follow.once.filter(|once| is_claimed(&once.claim)).map_or(0, |once| once.tasks);
        changes.claims.extend(follow.once.map(|once| once.claim).filter(|claim| !is_claimed(claim)));
        for task in follow.tasks.into_iter().skip(pushed) {
            if let Work::Pull { message, process, .. } = &task.work
                && *message == (*process).into()
                && !changes.claims.contains(&(*process).into())
            {
                if is_claimed(&(*process).into()) {
                    continue;
                }
                changes.claims.push((*process).into());
            }
            changes.new.push(task);
        }
        for (id, task) in &self.outbox.write(changes, durability).unwrap().new {
            self.dispatcher.add(*id, task, Timestamp(self.now));
        }
    }

    fn letter(&self, letter: Letter, reason: String) -> DeadLetter {
        DeadLetter { id: LetterId::default(), at: Timestamp(self.now), reason, letter }
    }

    fn new_client(&mut self, number: usize) {
        if number >= self.load.items {
            // The same few items to the same few processes, again and again: each is an assignment of its own.
            let (process, message) = (process(self.random.next() % 2), process(2 + self.random.next() % 2).into());
            let same = |client: &Client| matches!(client, Client::Assignment { process: of, message: what, .. } if (*of, *what) == (process, message));
            if self.clients.iter().any(same) {
                return; // It waits until the other one is done, and this client has no patience.
            }
            self.asked.push((process, message));
            self.clients.push(Client::Assignment { process, message, stage: AssignStage::Begun });
            return;
        }
        let spawn = number % 3 == 2;
        let target = process(self.random.next() % super::network::PROCESSES);
        let tags = [("Type", if spawn { "Process" } else { "Message" })].into_iter().collect();
        let data = self.load.depth.to_string();
        let item = self.network.sign(Item { target: Some(target.into()), anchor: String::new(), tags, data });
        let kind = if spawn {
            ForwardedKind::Process { target: Some(target), record: record(), boot: true }
        } else {
            ForwardedKind::Message { process: target }
        };
        self.clients.push(Client::Item { forwarded: Forwarded { item, kind, toward: None, came: None }, intent: None });
    }

    fn intend(&mut self, task: Task) -> TaskId {
        let changes = Changes { intents: vec![task], ..Changes::default() };
        self.outbox.write(changes, Durability::Synced).unwrap().intents[0]
    }

    /// The next step of a client's request: intent, then forward.
    fn serve_client(&mut self, index: usize) {
        match self.clients.swap_remove(index) {
            Client::Item { forwarded, intent } => {
                let descent = Descent::of_origin(forwarded.item);
                let task = Task { root: Some(forwarded.item), descent, work: Work::Confirm(forwarded.clone()) };
                let Some(intent) = intent else {
                    let intent = Some(self.intend(task));
                    return self.clients.push(Client::Item { forwarded, intent });
                };
                let raw = Bytes::copy_from_slice(forwarded.item.as_bytes());
                let remove = Changes { remove: vec![intent], ..Changes::default() };
                match self.unreliable(&Effect::Post { scheduler: Scheduler::Wallet(SCHEDULER), raw }) {
                    Outcome::Accepted(nonce) => {
                        self.follow(remove, forwarded_accepted(&forwarded, descent, nonce), Durability::Buffered);
                        self.acknowledged.push(forwarded);
                    }
                    Outcome::Refused(_) => drop(self.outbox.write(remove, Durability::Buffered).unwrap()),
                    _ => assert!(self.dispatcher.add(intent, &task, Timestamp(self.now))),
                }
            }
            Client::Assignment { process, message, stage: AssignStage::Begun } => {
                let Outcome::NextNonce(first) = self.unreliable(&Effect::NextNonce { process }) else {
                    return; // The client is told that it did not work.
                };
                let work = Work::ConfirmAssignment { process, message, first: Some(first), toward: None };
                let intent = self.intend(Task { root: None, descent: Descent::default(), work });
                self.clients.push(Client::Assignment { process, message, stage: AssignStage::Intended(intent, first) });
            }
            Client::Assignment { process, message, stage: AssignStage::Intended(intent, first) } => {
                let work = Work::ConfirmAssignment { process, message, first: Some(first), toward: None };
                let task = Task { root: None, descent: Descent::default(), work };
                let remove = Changes { remove: vec![intent], ..Changes::default() };
                let assign = Assign { process, message, base_layer: false, exclude: Vec::new() };
                match self.unreliable(&Effect::PostAssign { assign }) {
                    Outcome::Assigned(id, nonce) => {
                        let follow = client_assignment_accepted(process, id, Descent::default(), nonce);
                        self.follow(remove, follow, Durability::Buffered);
                        self.assigned.push((process, message));
                    }
                    Outcome::Refused(_) => drop(self.outbox.write(remove, Durability::Buffered).unwrap()),
                    _ => assert!(self.dispatcher.add(intent, &task, Timestamp(self.now))),
                }
            }
        }
    }

    /// A page of cron results is taken and its cursor stored with what it asks for.
    fn poll(&mut self) {
        let from = self.outbox.look(|contents| contents.monitors[&process(0)].clone());
        let start = from.cursor.as_ref().map_or(0, |cursor| cursor.parse::<usize>().unwrap() + 1);
        let end = CRON_RESULTS.min(start + CRON_PAGE);
        if start >= end || self.is_random() && self.random.percent(30) {
            return;
        }
        let mut follow = Follow::default();
        for number in start..end {
            let outgoing = outgoing::read(&self.network.cron_result(number).into()).unwrap();
            let origin = super::network::id((1 << 55) + number as u64);
            follow.tasks.extend(push(process(0), None, Descent::of_origin(origin).below(origin), outgoing).tasks);
        }
        let to = Monitor { cursor: Some((end - 1).to_string()), from_birth: true, ..Monitor::default() };
        let monitors = vec![(process(0), Monitoring::Move { from, to })];
        let changes = Changes { monitors, ..Changes::default() };
        self.follow(changes, follow, Durability::Synced);
    }

    /// One running task gets the outcome of its effect.
    fn serve_task(&mut self, id: TaskId) {
        let (task, effect) = self.running.remove(&id).unwrap();
        let outcome = self.unreliable(&effect);
        let pulled = matches!((&effect, &outcome), (Effect::Pull { .. }, Outcome::Result(_)));
        if pulled && !self.dispatcher.fetched(id) {
            self.held.insert(id, (task, effect, outcome));
            return;
        }
        self.apply(id, task, &effect, outcome);
    }

    fn apply(&mut self, id: TaskId, mut task: Task, effect: &Effect, outcome: Outcome) {
        let remove = Changes { remove: vec![id], ..Changes::default() };
        match step(&task, self.dispatcher.faults(id), POLICY, effect, outcome) {
            Next::Effect(effect) => drop(self.running.insert(id, (task, effect))),
            Next::Stage(work) => {
                task.work = work;
                let changes = Changes { put: vec![(id, task.clone())], ..Changes::default() };
                self.outbox.write(changes, Durability::Synced).unwrap();
                self.dispatcher.progressed(id);
                let effect = task.effect();
                self.running.insert(id, (task, effect));
            }
            Next::Done(follow) => {
                self.follow(remove, follow, Durability::Buffered);
                self.dispatcher.finished(id);
            }
            Next::Again => self.dispatcher.again(id, Timestamp(self.now)),
            Next::Crowded => self.dispatcher.crowded(id, Timestamp(self.now)),
            // What never arrived is asked for until retrying ends; nobody was told that it did.
            Next::Retry(..) if !self.active && self.never_arrived(&task) => {
                self.outbox.write(remove, Durability::Buffered).unwrap();
                self.dispatcher.finished(id);
            }
            Next::Retry(fault, reason) => {
                if self.dispatcher.failed(id, fault, Timestamp(self.now)) == Verdict::GiveUp {
                    panic!("gave up {task:?}: {reason}, after {:?}", unsent(&task, POLICY));
                }
            }
            Next::Dead(reason, follow) => {
                let told = ["not today", "the scheduler does not have it"].iter().any(|told| reason.contains(told));
                assert!(told, "{task:?} cannot be done: {reason}");
                let dead = vec![self.letter(Letter::Task(Box::new(task)), reason)];
                self.follow(Changes { dead, ..remove }, follow, Durability::Buffered);
                self.dispatcher.finished(id);
            }
        }
        for turn in self.dispatcher.take_turns() {
            let (task, effect, outcome) = self.held.remove(&turn).unwrap();
            self.apply(turn, task, &effect, outcome);
        }
    }

    fn never_arrived(&self, task: &Task) -> bool {
        match &task.work {
            Work::Confirm(Forwarded { item, kind, .. }) => {
                let log = match kind {
                    ForwardedKind::Message { process } => *process,
                    ForwardedKind::Process { .. } => (*item).into(),
                };
                !self.network.has(*item, log)
            }
            Work::ConfirmAssignment { .. } => true,
            _ => false,
        }
    }

    /// The power fails. What was on its way may or may not arrive; memory is gone; the disk has what was synced and
    /// maybe more.
    fn crash(&mut self) {
        self.crashes += 1;
        for (_, effect) in std::mem::take(&mut self.running).into_values() {
            if self.random.percent(50) {
                self.network.perform(&effect);
            }
        }
        self.held.clear();
        self.clients.clear();
        let kept = self.random.below(self.outbox.buffered() + 1);
        self.outbox.crash(kept);
        self.dispatcher = Dispatcher::new(limits());
        for (id, task) in self.outbox.look(|contents| contents.tasks.clone()) {
            self.dispatcher.add(id, &task, Timestamp(self.now));
        }
    }

    /// The faults are over: late requests arrive, and the operator takes up what was given up.
    fn calm(&mut self) {
        self.active = false;
        self.network.poison = None;
        for effect in std::mem::take(&mut self.stray) {
            self.network.perform(&effect);
        }
    }

    /// Whether there were any.
    fn take_up_dead_letters(&mut self) -> bool {
        let before = self.retried;
        for letter in self.outbox.look(|contents| contents.dead.clone()) {
            let Letter::Task(task) = letter.letter else { continue };
            if self.never_arrived(&task) {
                let dug_up = Changes { dug_up: vec![letter.id], ..Changes::default() };
                self.outbox.write(dug_up, Durability::Synced).unwrap();
                continue;
            }
            let changes = Changes { new: vec![*task], dug_up: vec![letter.id], ..Changes::default() };
            for (id, task) in &self.outbox.write(changes, Durability::Synced).unwrap().new {
                self.dispatcher.add(*id, task, Timestamp(self.now));
            }
            self.retried += 1;
        }
        self.retried > before
    }

    pub fn run(&mut self) {
        let (mut posted, clients) = (0, self.load.items + self.load.assignments);
        loop {
            assert!(self.events < MAX_EVENTS, "it does not come to an end: {:?}", self.outbox.contents().tasks);
            match self.faults {
                Faults::Random(events) if self.active && self.events >= events => self.calm(),
                Faults::Random(_) if self.active && self.random.percent(1) => self.crash(),
                Faults::OneCut(at) if self.active && self.events == at => {
                    self.crash();
                    self.calm();
                }
                _ => {}
            }
            self.events += 1;
            if posted < clients && self.random.percent(5) {
                self.new_client(posted);
                posted += 1;
            }
            if !self.stray.is_empty() && self.random.percent(5) {
                let effect = self.stray.swap_remove(0);
                self.network.perform(&effect);
            }
            if self.random.percent(3) {
                self.poll();
            }
            for id in self.dispatcher.start(Timestamp(self.now)) {
                match self.outbox.get(id) {
                    Some(task) => {
                        let effect = task.effect_after(self.dispatcher.failures(id));
                        self.running.insert(id, (task, effect));
                    }
                    None => drop(self.dispatcher.finished(id)),
                }
            }
            if !self.clients.is_empty() && self.random.percent(30) {
                let index = self.random.below(self.clients.len());
                self.serve_client(index);
            } else if !self.running.is_empty() {
                let index = self.random.below(self.running.len());
                let id = *self.running.keys().nth(index).unwrap();
                self.serve_task(id);
            } else if let Some(timer) = self.dispatcher.next_timer() {
                self.now = self.now.max(timer.0);
            } else if posted == clients && self.clients.is_empty() && self.dispatcher.is_empty() && self.is_over() {
                // What was under way when the faults ended may have been given up since.
                if !self.take_up_dead_letters() {
                    return;
                }
            }
        }
    }

    /// Whether nothing comes by itself any more.
    fn is_over(&self) -> bool {
        let last = (CRON_RESULTS - 1).to_string();
        let polled = self.outbox.look(|contents| contents.monitors[&process(0)].cursor.as_deref() == Some(&last));
        polled && !(self.active && matches!(self.faults, Faults::Random(_)))
    }
}
