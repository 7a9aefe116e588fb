//! The real driver, at work over an outbox in memory and the units of a test.

use std::sync::Arc;

use holon_mu::crank::dispatch::Limits;
use holon_mu::crank::driver::{Driver, Parts};
use holon_mu::crank::step::Policy;
use holon_mu::crank::world::Outside;
use holon_unit::clock::Clock;
use holon_unit::tasks::Tasks;

use crate::memory::MemoryOutbox;

/// Takes up what is in the outbox, until the tasks are stopped.
pub async fn drive(outbox: &MemoryOutbox, outside: Arc<dyn Outside>, limits: Limits) -> (Driver, Tasks) {
    let tasks = Tasks::new();
    let driver = Driver::load(Parts {
        outbox: Arc::new(outbox.clone()),
        outside,
        policy: Policy::default(),
        limits,
        traced: true,
        births: Default::default(),
        clock: Clock::system(),
        tasks: tasks.clone(),
        metrics: Default::default(),
    });
    let driver = driver.await.unwrap();
    tasks.spawn("crank", driver.clone().run());
    (driver, tasks)
}
