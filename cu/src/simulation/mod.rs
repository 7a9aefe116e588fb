//! The evaluator under a seeded simulation: everything but the threads and the clock is real, and the log comes from a
//! source that is late, short, repetitive, disordered, lying, failing, and cut off in the middle of an answer.
//!
//! Each seed makes a log and what is true of it: the results of evaluating it undisturbed. Then it is evaluated in rounds, between
//! which the source does its worst and the evaluator is dropped and started again on the same result store. At every
//! moment, whatever is stored must be a part of the truth, a lie must end in an error about the log, and once the source
//! answers well everything must be there.
//!
//! A failure prints its seed; `HOLON_SEED=<seed>` runs that one alone, `HOLON_SEEDS=<count>` as many as one likes.

mod source;
mod world;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use holon_arweave::{Gateway, GatewayOptions};
use holon_protocol::{BlockHeight, Nonce, Signer, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::source::{Directory, Inner, Script, Source};
use self::world::{Random, World, owner};
use crate::advance::{RECENT_PROCESSES, Sources};
use crate::cron::Block;
use crate::drive::GatewayDrive;
use crate::error::Error;
use crate::given_up::GivenUp;
use crate::log::Goal;
use crate::machine::{Engine, EngineOptions};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pool::Pool;
use crate::process::{Loader, Process};
use crate::recent::Recent;
use crate::results::{Listing, Results, Sort};
use crate::runner::{Runner, Surroundings};

/// Seeds of an ordinary run.
const SEEDS: u64 = 1500;
/// Rounds of a seed before the source becomes honest.
const ROUNDS: usize = 8;
/// Longest time for a whole round; nothing in it waits for anything but threads.
const ROUND_WITHIN: Duration = Duration::from_secs(60);
const START: u64 = 1_700_000_000_250;

/// Adds every byte it is given to a number that it keeps, and answers with it: so its answer depends on every byte and
/// the order of all messages. `X-T` in a message makes it trap afterwards, `X-F` fail.
const GUEST: &str = r#"(module
  (memory (export "memory") 2)
  (data (i32.const 16) "{\"ok\":true,\"response\":{\"Output\":\"                \"}}")
  (data (i32.const 96) "{\"ok\":true,\"response\":{\"Error\":\"no\"}}")
  (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "holon_handle") (param $at i32) (param $length i32) (param i32 i32) (result i64)
    (local $end i32) (local $state i64) (local $window i32) (local $trap i32) (local $fail i32)
    (local.set $state (i64.load (i32.const 0)))
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (loop $next
      (local.set $state (i64.add (i64.mul (local.get $state) (i64.const 1099511628211))
                                 (i64.load8_u (local.get $at))))
      (local.set $window (i32.and (i32.or (i32.shl (local.get $window) (i32.const 8)) (i32.load8_u (local.get $at)))
                                  (i32.const 0xffffff)))
      (local.set $trap (i32.or (local.get $trap) (i32.eq (local.get $window) (i32.const 0x582d54))))
      (local.set $fail (i32.or (local.get $fail) (i32.eq (local.get $window) (i32.const 0x582d46))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (i64.store (i32.const 0) (local.get $state))
    (if (local.get $trap) (then unreachable))
    (if (local.get $fail) (then (return (i64.const 0x6000000025))))
    (local.set $at (i32.const 64))
    (loop $digit
      (i32.store8 (local.get $at) (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $state) (i64.const 15)))))
      (local.set $state (i64.shr_u (local.get $state) (i64.const 4)))
      (br_if $digit (i32.gt_u (local.tee $at (i32.sub (local.get $at) (i32.const 1))) (i32.const 48))))
    (i64.const 0x1000000034)))"#;

/// What all seeds share.
struct Bench {
    engine: Engine,
    wasm: Vec<u8>,
    directory: Arc<Directory>,
    /// Evaluates undisturbed.
    truth: Sources,
    disturbed: Sources,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache_dir = Some(folder.path().join("compiled"));
        let engine = Engine::new(EngineOptions { cache_dir, ..EngineOptions::default() }).unwrap();
        let directory = Arc::new(Directory::default());
        let sources = |name: &str| sources(&folder.path().join(name), &engine, directory.clone());
        let (truth, disturbed) = (sources("truth"), sources("disturbed"));
        Self { engine, wasm: wat::parse_str(GUEST).unwrap(), directory, truth, disturbed, _folder: folder }
    }

    fn process(&self, world: &World) -> Arc<Process> {
        let mut process = Process::of_module(&self.engine, &self.wasm, world.process, owner());
        process.schedule = world.schedule.clone();
        process.origin = Block { timestamp: Timestamp(START), height: BlockHeight(100) };
        process.owner = "owner".into();
        Arc::new(process)
    }
}

fn sources(folder: &Path, engine: &Engine, logs: Arc<Directory>) -> Sources {
    let nowhere: url::Url = "http://127.0.0.1:1/".parse().unwrap();
    let gateway = Gateway::new(GatewayOptions::new(nowhere.clone())).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let drive = GatewayDrive::new(vec![gateway.clone()], runtime, CancellationToken::new(), Duration::ZERO);
    let options = Options::new(folder.to_owned(), Signer::generate_ed25519().unwrap(), nowhere);
    let modules = folder.join("modules");
    let loader = Loader::new(gateway, logs.clone(), engine.clone(), modules, Arc::new(drive), Arc::new(options));
    Sources {
        loader,
        logs,
        results: Arc::new(Results::open(&folder.join("results")).unwrap()),
        given_up: Arc::new(GivenUp::new(Duration::from_secs(60))),
        pool: Pool::new("simulated", 2, 100).unwrap(),
        metrics: Metrics::new(),
        keeping: None,
        published: None,
        recent: Mutex::new(Recent::new(RECENT_PROCESSES)),
        clock: holon_unit::clock::Clock::system(),
        unverifiable: crate::options::Unverifiable::default(),
        stopping: CancellationToken::new(),
    }
}

/// The evaluator of one process.
struct Evaluator<'a> {
    sources: &'a Sources,
    process: Arc<Process>,
    slot: Option<Runner>,
}

impl Evaluator<'_> {
    async fn advance(&mut self, goal: Goal) -> Result<(), Error> {
        if self.slot.is_none() {
            let Sources { results, metrics, given_up, .. } = self.sources;
            let surroundings = Surroundings {
                generation: results.generation(),
                results: results.clone(),
                metrics: metrics.clone(),
                given_up: given_up.clone(),
            };
            let process = self.process.clone();
            let start = move || Runner::new(process, None, surroundings, None);
            self.slot = Some(self.sources.pool.run(start).await.unwrap()?);
        }
        self.sources.advance(&mut self.slot, goal, None, &mut |_| {}).await
    }

    fn nonce(&self) -> Option<u64> {
        self.slot.as_ref()?.stream.link().map(|link| link.nonce.0)
    }
}

/// Everything stored of a process: its listing, and what is said about each message.
fn stored(results: &Results, world: &World) -> (Vec<String>, Vec<Option<String>>) {
    let page = results.page(world.process, Listing::All, None, None, Sort::Ascending, 1000).unwrap();
    let listed = page.edges.iter().map(|(key, record)| format!("{key:?} {}", record.result_json())).collect();
    let ids = world.entries.iter().map(|entry| match &entry.message {
        Some(item) => item.id,
        None => entry.assignment.id.into(),
    });
    let named = ids.map(|id| results.by_message(world.process, id.into()).unwrap().map(|record| record.result_json()));
    (listed, named.collect())
}

/// Runs one seed; what is wrong, if anything is.
async fn simulate(bench: &Bench, seed: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let world = World::new(&mut random);
    let count = world.entries.len() as u64;
    let script = Script { random: Random(random.next()), bad: 0, lied: false };
    let inner = Inner { world, visible: AtomicU64::new(count), script: Mutex::new(script), hangs: Notify::new() };
    let source = Source(Arc::new(inner));
    let world = &source.0.world;
    bench.directory.0.lock().unwrap().insert(world.process, source.clone());
    let process = bench.process(world);
    let evaluator = |sources| Evaluator { sources, process: process.clone(), slot: None };
    let wrong = |what: String| Err(format!("seed {seed}: {what}"));

    let mut honest = evaluator(&bench.truth);
    if let Err(error) = honest.advance(Goal::Latest).await {
        return wrong(format!("the truth cannot be had: {error}"));
    }
    let (truth, named) = stored(&bench.truth.results, world);
    if named.iter().any(Option::is_none) {
        return wrong("the truth has gaps".into());
    }

    let mut evaluator = evaluator(&bench.disturbed);
    let mut visible = 0;
    for round in 0..=ROUNDS {
        let last = round == ROUNDS;
        visible = if last { count } else { (visible + random.below(4)).min(count) };
        source.0.visible.store(visible, Ordering::Relaxed);
        {
            let mut script = source.0.script.lock().unwrap();
            script.bad = if last { 0 } else { random.below(4) };
            script.lied = false;
        }
        let entry = visible.checked_sub(1).map(|newest| random.below(newest + 1) as usize);
        let goal = match (random.below(4), entry) {
            _ if last => Goal::Latest,
            (0, Some(entry)) => Goal::Slot(Nonce(entry as u64)),
            (1, Some(entry)) => Goal::Entry(world.links[entry].timestamp, world.links[entry].nonce),
            (2, Some(entry)) => Goal::Time(Timestamp(world.links[entry].timestamp.0 + random.below(2000))),
            _ => Goal::Latest,
        };
        // A page that was fetched ahead may have hung when nobody needed it any more.
        let _ = source.0.hangs.notified().now_or_never();
        let result = tokio::select! {
            result = evaluator.advance(goal) => Some(result),
            () = source.0.hangs.notified() => None,
            () = tokio::time::sleep(ROUND_WITHIN) => return wrong(format!("round {round} to {goal:?} does not end")),
        };
        let lied = source.0.script.lock().unwrap().lied;
        match &result {
            Some(Ok(())) => {
                if let Goal::Slot(nonce) = goal
                    && evaluator.nonce() < Some(nonce.0)
                {
                    return wrong(format!("{goal:?} is said to be reached at {:?}", evaluator.nonce()));
                }
            }
            Some(Err(Error::Log(_))) if !lied => {
                return wrong(format!("round {round}: an honest answer is called a lie: {result:?}"));
            }
            Some(Err(Error::Log(_) | Error::SchedulerUnreadable { .. } | Error::NoSlot { .. })) => {}
            Some(Err(error)) => return wrong(format!("round {round}: {error}")),
            None => {}
        }
        // Whatever happened, what is stored is true.
        let (listed, about) = stored(&bench.disturbed.results, world);
        if let Some(lie) = listed.iter().find(|line| !truth.contains(line)) {
            return wrong(format!("round {round} to {goal:?} ({result:?}) stored {lie}"));
        }
        if let Some((found, expected)) = about.iter().zip(&named).find(|(found, is)| found.is_some() && found != is) {
            return wrong(format!("round {round} to {goal:?}: {found:?} is said of a message, {expected:?} is true"));
        }
        // Progress once answers are good again.
        if last && (listed != truth || about != named) {
            return wrong(format!("{} of {} results are there in the end: {result:?}", listed.len(), truth.len()));
        }
        // A crash, or an ordinary stop: the memory is gone, the store stays.
        if result.is_none() || random.one_in(3) {
            evaluator.slot = None;
        }
    }
    bench.directory.0.lock().unwrap().remove(&world.process);
    Ok(())
}

#[test]
fn whatever_the_source_does_only_the_truth_is_stored_and_in_the_end_all_of_it() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("HOLON_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HOLON_SEEDS").unwrap_or(SEEDS),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = Instant::now();
    let count = seeds.end - seeds.start;
    runtime.block_on(async {
        let bench = Bench::new();
        for seed in seeds {
            if let Err(wrong) = simulate(&bench, seed).await {
                panic!("{wrong}\nHOLON_SEED={seed} repeats it");
            }
        }
    });
    println!("{count} seeds in {:?}", started.elapsed());
}
