//! The crank core and an outbox under seeded faults: requests and answers that are lost, doubled or late, units that are out
//! of order for minutes, refusals that the operator repeats later, power cuts between any two steps. Whatever happens, every
//! emission of every scheduled message and cron result ends up scheduled exactly once, in order.
//!
//! | module | what it holds |
//! |---|---|
//! | `random` | the seed |
//! | `network` | the other units, without faults |
//! | `messenger` | the messenger's cores, and everything that goes wrong |
//! | `driven` | the real driver with its budgets, and what goes wrong around it |
//! | `check` | what must hold at the end |

mod check;
mod driven;
mod messenger;
mod network;
mod random;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use messenger::{Faults, Load, Simulation};

/// Seeds of a run when the environment does not name one.
const SEEDS: u64 = 400;
/// Events with faults in each.
const FAULTY_EVENTS: usize = 2_000;

fn simulate(seed: u64, faults: Faults, load: Load) -> Simulation {
    let mut simulation = Simulation::new(seed, faults, load);
    let run = AssertUnwindSafe(|| {
        simulation.run();
        simulation.check();
    });
    if let Err(panic) = catch_unwind(run) {
        eprintln!("seed {seed} with {faults:?} failed; HOLON_SIMULATION_SEED={seed} runs it alone");
        resume_unwind(panic);
    }
    simulation
}

fn seeds(default: u64) -> Vec<u64> {
    match std::env::var("HOLON_SIMULATION_SEED") {
        Ok(seed) => vec![seed.parse().expect("HOLON_SIMULATION_SEED is a number")],
        Err(_) => {
            let seeds = std::env::var("HOLON_SIMULATION_SEEDS").ok();
            (0..seeds.map_or(default, |seeds| seeds.parse().expect("HOLON_SIMULATION_SEEDS is a number"))).collect()
        }
    }
}

#[test]
fn every_emission_is_scheduled_exactly_once_whatever_fails() {
    let (mut crashes, mut scheduled, mut retried) = (0, 0, 0);
    let seeds = seeds(SEEDS);
    let all = seeds.len() > 5;
    for seed in seeds {
        let load = Load { items: 6, assignments: 4, depth: 3 };
        let simulation = simulate(seed, Faults::Random(FAULTY_EVENTS), load);
        crashes += simulation.crashes;
        retried += simulation.retried;
        scheduled += simulation.network.logs.values().map(Vec::len).sum::<usize>();
    }
    println!("{crashes} power cuts, {scheduled} entries scheduled, {retried} dead letters taken up again");
    assert!(scheduled > 0);
    // A simulation in which nothing goes wrong would prove nothing.
    assert!(!all || crashes > 100 && retried > 100);
}

#[test]
fn one_power_cut_at_any_step_loses_and_doubles_nothing() {
    let load = Load { items: 3, assignments: 2, depth: 2 };
    let mut cuts = 0;
    for seed in seeds(3) {
        // As many steps as an undisturbed run has.
        let steps = simulate(seed, Faults::OneCut(usize::MAX), load).events;
        for cut in 0..steps {
            cuts += simulate(seed, Faults::OneCut(cut), load).crashes;
        }
    }
    println!("{cuts} power cuts, one in each run");
    assert!(cuts > 100);
}
