//! The real driver, with its budgets, over the simulated network: workers, turns, back-pressure and dead letters as they
//! run in the service, among units that fail and with power cuts. The seed decides what goes wrong, the runtime when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_mu::crank::budget::Budgets;
use holon_mu::crank::descent::Descent;
use holon_mu::crank::dispatch::Limits;
use holon_mu::crank::driver::{CronResult, Driver};
use holon_mu::crank::outgoing;
use holon_mu::crank::step::{Effect, Outcome, Scheduler, forwarded_accepted, push};
use holon_mu::crank::task::{Forwarded, ForwardedKind, ProcessRecord, Task, Work};
use holon_mu::crank::world::Outside;
use holon_mu::outbox::{Changes, Durability, Letter, Monitor, Monitoring};
use holon_protocol::ProcessId;
use holon_unit::tasks::Tasks;

use super::check::End;
use super::network::{CRON_RESULTS, Item, Network, PROCESSES, SCHEDULER, id, process, record};
use super::random::Random;
use crate::memory::MemoryOutbox;
use crate::running;

/// Seeds of each kind.
const SEEDS: u64 = 12;
/// Items of clients in each.
const ITEMS: usize = 5;
/// Longest one seed may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// The other units, with faults.
struct Faulty {
    network: Mutex<Network>,
    random: Mutex<Random>,
    active: AtomicBool,
}

impl Faulty {
    fn below(&self, limit: usize) -> usize {
        self.random.lock().unwrap().below(limit)
    }

    fn unreliable(&self, effect: &Effect) -> Outcome {
        let mut network = self.network.lock().unwrap();
        if !self.active.load(Ordering::Relaxed) || matches!(effect, Effect::Sign { .. }) {
            return network.perform(effect);
        }
        match self.below(100) {
            0..10 => Outcome::Unreachable("the request was lost".into()),
            10..20 => {
                network.perform(effect);
                Outcome::Unreachable("the answer was lost".into())
            }
            20..25 if !matches!(effect, Effect::PostAssign { .. }) => {
                let outcome = network.perform(effect);
                network.perform(effect);
                outcome
            }
            30..33 if matches!(effect, Effect::Pull { .. }) => Outcome::NotYet,
            33..36 if matches!(effect, Effect::Post { .. }) => Outcome::Crowded,
            _ => network.perform(effect),
        }
    }
}

impl Outside for Faulty {
    fn perform<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Outcome> {
        async move {
            for _ in 0..self.below(4) {
                tokio::task::yield_now().await;
            }
            let outcome = self.unreliable(effect);
            for _ in 0..self.below(4) {
                tokio::task::yield_now().await;
            }
            outcome
        }
        .boxed()
    }

    fn learn(&self, _: ProcessId, _: ProcessRecord) {}
}

struct Driven {
    outside: Arc<Faulty>,
    outbox: MemoryOutbox,
    limits: Limits,
    driver: Driver,
    tasks: Tasks,
    acknowledged: Vec<Forwarded>,
    retried: usize,
    crashes: usize,
    /// Most tasks that were left to do at any time.
    most: usize,
}

impl Driven {
    async fn new(seed: u64, budgets: Budgets) -> Self {
        let mut network = Network { refuses_repeated_assignments: true, ..Network::default() };
        for number in 0..PROCESSES {
            let tags = [("Type", "Process")].into_iter().collect();
            let new = process(number).into();
            network.items.insert(new, Item { target: None, anchor: String::new(), tags, data: "boot".into() });
            network.accept(new).unwrap();
        }
        let limits = Limits {
            sends: 6,
            pulls: 3,
            early_pulls: 2,
            pulls_per_process: 3,
            retry_delay_ms: 1,
            max_retry_delay_ms: 4,
            busy_delay_ms: 1,
            retry_for_ms: 500,
            budgets,
            ..Limits::default()
        };
        let outbox = MemoryOutbox::default();
        let monitors = vec![(process(0), Monitoring::Put(Monitor { from_birth: true, ..Monitor::default() }))];
        outbox.write(Changes { monitors, ..Changes::default() }, Durability::Synced).unwrap();
        let outside = Arc::new(Faulty {
            network: Mutex::new(network),
            random: Mutex::new(Random(seed)),
            active: AtomicBool::new(true),
        });
        let (driver, tasks) = running::drive(&outbox, outside.clone(), limits).await;
        Self { outside, outbox, limits, driver, tasks, acknowledged: Vec::new(), retried: 0, crashes: 0, most: 0 }
    }

    /// The power fails: whatever was under way is gone, and what was not synced may be.
    async fn crash(&mut self) {
        let tasks = std::mem::take(&mut self.tasks);
        assert!(tasks.stop(Duration::from_secs(5)).await);
        self.outbox.crash(self.outside.below(self.outbox.buffered() + 1));
        (self.driver, self.tasks) = running::drive(&self.outbox, self.outside.clone(), self.limits).await;
        self.crashes += 1;
    }

    /// A client's item, as it is taken in.
    async fn post(&mut self, number: usize) {
        let spawn = number % 3 == 2;
        let target = process(self.outside.below(PROCESSES as usize) as u64);
        let tags = [("Type", if spawn { "Process" } else { "Message" })].into_iter().collect();
        let item = Item { target: Some(target.into()), anchor: String::new(), tags, data: "3".into() };
        let item = self.outside.network.lock().unwrap().sign(item);
        let kind = match spawn {
            true => ForwardedKind::Process { target: Some(target), record: record(), boot: true },
            false => ForwardedKind::Message { process: target },
        };
        let (forwarded, descent) = (Forwarded { item, kind, toward: None, came: None }, Descent::of_origin(item));
        let work = Work::Confirm(forwarded.clone());
        let (intent, task) = self.driver.intend(Task { root: Some(item), descent, work }).await.unwrap();
        let raw = Bytes::copy_from_slice(item.as_bytes());
        let effect = Effect::Post { scheduler: Scheduler::Wallet(SCHEDULER), raw };
        let outcome = self.outside.unreliable(&effect);
        if self.outside.below(5) == 0 {
            return self.crash().await;
        }
        match outcome {
            Outcome::Accepted(nonce) => {
                self.driver.fulfil(intent, &task, forwarded_accepted(&forwarded, descent, nonce)).await;
                self.acknowledged.push(forwarded);
            }
            Outcome::Refused(_) => self.driver.withdraw(intent).await,
            _ => self.driver.release(intent, &task),
        }
    }

    /// A page of cron results is offered; whether none is left.
    async fn poll(&self) -> bool {
        let known = self.outbox.look(|contents| contents.monitors[&process(0)].clone());
        let start = known.cursor.as_ref().map_or(0, |cursor| cursor.parse::<usize>().unwrap() + 1);
        let results = (start..CRON_RESULTS.min(start + 5)).map(|number| {
            let outgoing = outgoing::read(&self.outside.network.lock().unwrap().cron_result(number).into()).unwrap();
            let origin = id((1 << 55) + number as u64);
            let descent = Descent::of_cron(origin, process(0).into()).below(origin);
            let follow = push(process(0), None, descent, outgoing);
            CronResult { cursor: number.to_string(), origin, error: None, follow }
        });
        let results: Vec<_> = results.collect();
        self.driver.queue_cron(process(0), results, &known).await.unwrap();
        start >= CRON_RESULTS
    }

    /// Whether the task of a letter waits for something that never arrived.
    fn never_arrived(&self, task: &Task) -> bool {
        let Work::Confirm(Forwarded { item, kind, .. }) = &task.work else { return false };
        let log = match kind {
            ForwardedKind::Message { process } => *process,
            ForwardedKind::Process { .. } => (*item).into(),
        };
        !self.outside.network.lock().unwrap().has(*item, log)
    }

    /// Takes up what was given up; whether there was any.
    async fn take_up(&mut self) -> bool {
        let mut any = false;
        for letter in self.driver.dead_letters(None, 10_000).await.unwrap() {
            let Letter::Task(task) = &letter.letter else { continue };
            if !self.never_arrived(task) {
                self.driver.retry(letter.id).await.unwrap();
                self.retried += 1;
                any = true;
            }
        }
        any
    }

    async fn run(&mut self) {
        let begun = Instant::now();
        let mut posted = 0;
        while posted < ITEMS {
            match self.outside.below(100) {
                0..10 => {
                    self.post(posted).await;
                    posted += 1;
                }
                10..20 => drop(self.poll().await),
                20..23 => self.crash().await,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            self.most = self.most.max(self.driver.queued());
        }
        self.outside.active.store(false, Ordering::Relaxed);
        loop {
            assert!(begun.elapsed() < DEADLINE, "it does not come to an end: {:?}", self.outbox.contents().tasks);
            let polled = self.poll().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.most = self.most.max(self.driver.queued());
            if self.driver.queued() == 0 && polled && !self.take_up().await {
                break;
            }
        }
        let network = self.outside.network.lock().unwrap();
        let ordered = self.retried == 0;
        let left = self.outbox.contents().tasks;
        End {
            network: &network,
            left,
            acknowledged: &self.acknowledged,
            assigned: &[],
            asked: &[],
            ordered,
            as_logged: true,
        }
        .check();
    }
}

/// Runs seeds with these budgets: how often something was taken up again, and the most that was left to do at any time.
fn drive(budgets: Budgets) -> (usize, usize) {
    let (mut retried, mut crashes, mut most) = (0, 0, 0);
    for seed in super::seeds(SEEDS) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut driven = Driven::new(seed, budgets).await;
            println!("seed {seed}");
            driven.run().await;
            retried += driven.retried;
            crashes += driven.crashes;
            most = most.max(driven.most);
            assert!(driven.tasks.stop(Duration::from_secs(5)).await);
        });
    }
    println!("{retried} dead letters taken up again, {crashes} power cuts, {most} tasks at most");
    assert!(crashes > 0);
    (retried, most)
}

#[test]
fn the_real_driver_loses_doubles_and_reorders_nothing_whatever_fails() {
    let (retried, _) = drive(Budgets::default());
    assert_eq!(retried, 0, "order was checked in every run");
}

#[test]
fn budgets_hold_storms_up_and_what_they_hold_up_arrives_once_it_is_taken_up() {
    let budgets = Budgets { per_push: 8, depth: 2, waiting: 12, waiting_per_cron: 4, ..Budgets::default() };
    let (retried, most) = drive(budgets);
    assert!(retried > 10, "{retried}: budgets were hit");
    assert!(most < 12 * (ITEMS + CRON_RESULTS), "{most}");
}
