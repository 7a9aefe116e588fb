//! What results wait for that are here: the driver over scripted units.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};
use holon_mu::crank::descent::Descent;
use holon_mu::crank::dispatch::Limits;
use holon_mu::crank::driver::Driver;
use holon_mu::crank::outgoing::Message;
use holon_mu::crank::step::{Effect, Follow, Outcome, Standing, client_assignment_accepted};
use holon_mu::crank::task::{ProcessRecord, Task, Work};
use holon_mu::crank::world::Outside;
use holon_mu::outbox::{Changes, Durability, Outbox};
use holon_protocol::{Address, AssignmentId, ItemId, Nonce, ProcessId, Tags};
use holon_unit::tasks::Tasks;
use serde_json::json;

use crate::memory::MemoryOutbox;
use crate::network::eventually;
use crate::running::drive;

const EMITTER: ProcessId = ProcessId::from_bytes([1; 32]);
const TARGET: ProcessId = ProcessId::from_bytes([2; 32]);
const ITEM: ItemId = ItemId::from_bytes([3; 32]);

/// Units that answer each post in turn as this says, the last answer for ever.
struct Scripted {
    posts: Mutex<Vec<Outcome>>,
    asked: Mutex<Vec<Effect>>,
}

impl Scripted {
    fn posted(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|effect| matches!(effect, Effect::Post { .. })).count()
    }

    fn pulled(&self) -> Vec<ItemId> {
        let asked = self.asked.lock().unwrap();
        let pulled = asked.iter().filter_map(|effect| match effect {
            Effect::Pull { message, .. } => Some((*message).into()),
            _ => None,
        });
        pulled.collect()
    }

    fn answer(&self, effect: &Effect) -> Outcome {
        self.asked.lock().unwrap().push(effect.clone());
        match effect {
            Effect::Facts { .. } => {
                let record = ProcessRecord { module: "m".into(), scheduler: Address::from_bytes([7; 32]), cron: false };
                Outcome::Facts { record, wallet: false }
            }
            Effect::Sign { .. } => Outcome::Signed { item: ITEM, raw: Bytes::from_static(b"x") },
            Effect::Post { .. } => {
                let mut posts = self.posts.lock().unwrap();
                if posts.len() > 1 { posts.remove(0) } else { posts[0].clone() }
            }
            Effect::Find { .. } => Outcome::There(Standing { nonce: Some(Nonce(5)), timestamp: None }),
            Effect::Pull { .. } => Outcome::Result(json!({ "Messages": [], "Spawns": [], "Assignments": [] }).into()),
            other => panic!("{other:?}"),
        }
    }
}

impl Outside for Scripted {
    fn perform<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Outcome> {
        ready(self.answer(effect)).boxed()
    }

    fn learn(&self, _: ProcessId, _: ProcessRecord) {}
}

/// A driver that would wait for a minute, and a message that it posts to [`TARGET`].
async fn posting(posts: Vec<Outcome>) -> (Driver, Arc<Scripted>, Tasks) {
    let outside = Arc::new(Scripted { posts: Mutex::new(posts), asked: Mutex::default() });
    let limits = Limits { retry_delay_ms: 10, max_retry_delay_ms: 10, order_patience_ms: 60_000, ..Limits::default() };
    let (driver, tasks) = drive(&MemoryOutbox::default(), outside.clone(), limits).await;
    let message = Message { target: TARGET.into(), anchor: "0".repeat(32), tags: Tags::default(), data: "x".into() };
    let work = Work::Message { emitter: EMITTER, message };
    let follow = Follow { tasks: vec![Task { root: None, descent: Descent::default(), work }], ..Follow::default() };
    driver.queue(EMITTER, follow).await.unwrap();
    eventually("it is posted", || (outside.posted() > 0).then_some(())).await;
    (driver, outside, tasks)
}

async fn hear_of(driver: &Driver, byte: u8, nonce: u64) {
    let message = ItemId::from_bytes([byte; 32]).into();
    let work = Work::Pull { message, process: TARGET, nonce: Some(Nonce(nonce)) };
    let follow = Follow { tasks: vec![Task { root: None, descent: Descent::default(), work }], ..Follow::default() };
    driver.queue(TARGET, follow).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_what_was_never_sent() {
    for outcome in [Outcome::Crowded, Outcome::Unsent("no connection".into())] {
        let (driver, outside, tasks) = posting(vec![outcome.clone()]).await;
        eventually("it is tried again", || (outside.posted() > 1).then_some(())).await;
        hear_of(&driver, 9, 0).await;
        eventually("its result is pushed", || (outside.pulled().len() == 1 && driver.queued() == 1).then_some(()))
            .await;
        assert!(tasks.stop(Duration::from_secs(5)).await, "{outcome:?}");
    }
}

#[tokio::test]
async fn what_may_have_been_sent_is_waited_for_and_where_it_is_asked_for() {
    let lost = || Outcome::Unreachable("the answer was lost".into());
    let mut posts = vec![lost(); 20];
    posts.push(Outcome::Accepted(None));
    let (driver, outside, tasks) = posting(posts).await;
    hear_of(&driver, 9, 6).await;
    eventually("all is pushed", || (driver.queued() == 0).then_some(())).await;
    let asked = outside.asked.lock().unwrap().clone();
    let finds = asked
        .iter()
        .filter(|effect| matches!(effect, Effect::Find { item, process, .. } if (*item, *process) == (ITEM, TARGET)));
    assert_eq!(finds.count(), 1, "{asked:?}");
    assert!(outside.pulled().contains(&ITEM));
    assert!(tasks.stop(Duration::from_secs(5)).await);
}

/// A scheduler that assigned [`ITEM`] to [`TARGET`] at two places of its log and says nothing of the second one while it is silent,
/// and others once.
#[derive(Default)]
struct Assigned {
    silent: bool,
    pulled: Mutex<Vec<ItemId>>,
}

/// The assignments of [`ITEM`], and that of something else.
const MADE: [(AssignmentId, Nonce); 3] = [
    (AssignmentId::from_bytes([40; 32]), Nonce(3)),
    (AssignmentId::from_bytes([41; 32]), Nonce(5)),
    (AssignmentId::from_bytes([42; 32]), Nonce(7)),
];

impl Outside for Assigned {
    fn perform<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Outcome> {
        let [one, other, else_] = MADE.map(|(id, nonce)| Outcome::Assigned(id, Some(nonce)));
        let outcome = match effect {
            Effect::FindAssignment { message, .. } if *message != ITEM => else_,
            Effect::FindAssignment { first: Some(Nonce(..=3)), .. } => one,
            Effect::FindAssignment { .. } if self.silent => return pending().boxed(),
            Effect::FindAssignment { first: Some(Nonce(..=5)), .. } => other,
            Effect::FindAssignment { .. } => Outcome::NotThere,
            Effect::Pull { message, .. } => {
                self.pulled.lock().unwrap().push((*message).into());
                Outcome::Result(json!({ "Messages": [], "Spawns": [], "Assignments": [] }).into())
            }
            other => panic!("{other:?}"),
        };
        ready(outcome).boxed()
    }

    fn learn(&self, _: ProcessId, _: ProcessRecord) {}
}

fn confirm(message: ItemId) -> Task {
    let work = Work::ConfirmAssignment { process: TARGET, message, first: Some(Nonce(3)), toward: None };
    Task { root: None, descent: Descent::default(), work }
}

/// The driver over this scheduler, and what follows from its first assignment, which somebody else pushes.
async fn assigned(silent: bool, limits: Limits) -> (Driver, Arc<Assigned>, Tasks, MemoryOutbox, Follow) {
    let (outbox, outside) = (MemoryOutbox::default(), Arc::new(Assigned { silent, ..Assigned::default() }));
    let (driver, tasks) = drive(&outbox, outside.clone(), limits).await;
    let (first, nonce) = MADE[0];
    let follow = client_assignment_accepted(TARGET, first, Descent::default(), Some(nonce));
    (driver, outside, tasks, outbox, follow)
}

async fn claim(outbox: &MemoryOutbox, follow: &Follow) {
    let claims = vec![follow.once.unwrap().claim];
    outbox.commit(Changes { claims, ..Changes::default() }, Durability::Synced).await.unwrap();
}

#[tokio::test]
async fn whose_assignment_somebody_else_takes_this_moment_finds_its_own() {
    let limits = Limits { retry_delay_ms: 10, max_retry_delay_ms: 10, ..Limits::default() };
    let (driver, outside, tasks, outbox, follow) = assigned(false, limits).await;
    let (intent, task) = driver.intend(confirm(ITEM)).await.unwrap();
    // It was free when it was looked at.
    claim(&outbox, &follow).await;
    driver.fulfil(intent, &task, follow).await;
    eventually("its own is pushed", || (*outside.pulled.lock().unwrap() == [MADE[1].0.into()]).then_some(())).await;
    eventually("that is all", || (driver.queued() == 0).then_some(())).await;
    assert!(tasks.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn who_looks_for_an_assignment_behind_that_of_another_makes_way_while_its_scheduler_is_silent() {
    let limits = Limits { sends: 1, patience_ms: 20, ..Limits::default() };
    let (driver, outside, tasks, outbox, follow) = assigned(true, limits).await;
    claim(&outbox, &follow).await;
    for message in [ITEM, ItemId::from_bytes([9; 32])] {
        let (intent, task) = driver.intend(confirm(message)).await.unwrap();
        driver.release(intent, &task);
    }
    eventually("the other one", || (*outside.pulled.lock().unwrap() == [MADE[2].0.into()]).then_some(())).await;
    assert!(tasks.stop(Duration::from_secs(5)).await);
}
