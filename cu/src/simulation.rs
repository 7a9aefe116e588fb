//! The evaluator under a seeded simulation: everything but the threads and the clock is real, and the log comes from a
//! source that is late, short, repetitive, disordered, lying, failing, and cut off in the middle of an answer.
//!
//! Each seed makes a log and what is true of it: the results of evaluating it undisturbed. Then it is evaluated in rounds, between
//! which the source does its worst and the evaluator is dropped and started again on the same result store. At every
//! moment, whatever is stored must be a part of the truth, a lie must end in an error about the log, and once the source
//! answers well everything must be there.
//!
//! A failure prints its seed; `HOLON_SEED=<seed>` runs that one alone, `HOLON_SEEDS=<count>` as many as one likes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_arweave::{Gateway, GatewayOptions};
use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::{
    Address, AssignmentId, BlockHeight, ItemId, MessageId, Nonce, ProcessId, Signer, Tags, Timestamp, base64url, wire,
};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::advance::{RECENT_PROCESSES, Sources};
use crate::cron::{Block, Schedule};
use crate::drive::GatewayDrive;
use crate::error::Error;
use crate::given_up::GivenUp;
use crate::hydrate::OnChain;
use crate::log::{Goal, Link, Log, Logs, Now, Page, Position, Range};
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

/// SplitMix64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()));
        bytes
    }

    /// A signature, and the id that belongs to it.
    fn signed(&mut self) -> (String, ItemId) {
        let signature = self.bytes();
        (base64url::encode(signature), ItemId::from_bytes(Sha256::digest(signature).into()))
    }
}

/// The height that the scheduler knows at a time: somewhat behind the blocks.
fn height(at: Timestamp) -> BlockHeight {
    BlockHeight(100 + at.0.saturating_sub(START) / 3300)
}

fn owner() -> wire::Owner {
    let key = [7; 32];
    wire::Owner { address: Address::from_bytes(Sha256::digest(key).into()), key: base64url::encode(key) }
}

/// A log, and everything that is true about it.
struct World {
    process: ProcessId,
    signature: String,
    schedule: Arc<Schedule>,
    entries: Vec<wire::Entry>,
    links: Vec<Link>,
    blocks: Vec<Block>,
    /// The present after the last entry.
    end: Timestamp,
}

impl World {
    fn new(random: &mut Random) -> Self {
        let (signature, id) = random.signed();
        let process = ProcessId::from(id);
        let crons: &[(&str, &str)] = match random.below(3) {
            0 => &[("Cron-Interval", "3-seconds"), ("Cron-Tag-Action", "T"), ("Cron-Interval", "2-blocks")],
            _ => &[],
        };
        let schedule = Arc::new(Schedule::from_tags(&Tags::from_iter(crons.iter().copied())).unwrap());
        let mut world =
            Self { process, signature, schedule, entries: vec![], links: vec![], blocks: vec![], end: Timestamp(0) };
        let mut at = START;
        let count = 3 + random.below(12);
        // Schedulers of old did not schedule the process itself.
        let old = random.one_in(4);
        let mut contents: Vec<String> = Vec::new();
        let mut assigned: Vec<ItemId> = Vec::new();
        for nonce in 0..count {
            at += 1 + random.below(4000);
            let entry = match random.below(8) {
                _ if nonce == 0 && !old => world.item(random, None, &[("Type", "Process")], "start"),
                0 => world.item(random, None, &[("Action", "X-Trap")], "t"),
                1 => world.item(random, None, &[("Action", "X-Fail")], "f"),
                // Pushed, and perhaps what was pushed before.
                2 | 3 => {
                    if contents.is_empty() || random.one_in(2) {
                        contents.push(base64url::encode(random.bytes()));
                    }
                    let data = contents[random.below(contents.len() as u64) as usize].clone();
                    world.item(random, None, &[("From-Process", "pusher")], &data)
                }
                4 => {
                    if assigned.is_empty() || random.one_in(2) {
                        assigned.push(random.signed().1);
                    }
                    let item = assigned[random.below(assigned.len() as u64) as usize];
                    world.item(random, Some(item), &[], "")
                }
                _ => {
                    let data = base64url::encode(random.bytes());
                    world.item(random, None, &[("Action", "Add")], &data)
                }
            };
            world.push(random, entry, Timestamp(at));
        }
        world.end = Timestamp(at + random.below(9000));
        // Gateways give whole seconds.
        world.blocks = (1..40)
            .map(|at| Block { height: BlockHeight(100 + at), timestamp: Timestamp((START / 1000 + at * 3) * 1000) })
            .collect();
        world
    }

    /// A message, or nothing but the id of an assigned item. The process itself if it says so.
    fn item(
        &self,
        random: &mut Random,
        assigned: Option<ItemId>,
        tags: &[(&str, &str)],
        data: &str,
    ) -> (ItemId, Option<wire::Item>) {
        if let Some(id) = assigned {
            return (id, None);
        }
        let of_process = tags.contains(&("Type", "Process"));
        let (signature, id) = match of_process {
            true => (self.signature.clone(), self.process.into()),
            false => random.signed(),
        };
        let item = wire::Item {
            id,
            owner: owner(),
            data: Some(data.to_owned()),
            tags: Tags::from_iter(tags.iter().copied()),
            signature,
            anchor: None,
            target: Some(String::new()),
        };
        (id, Some(item))
    }

    fn push(&mut self, random: &mut Random, (message, item): (ItemId, Option<wire::Item>), timestamp: Timestamp) {
        let nonce = Nonce(self.entries.len() as u64);
        let hash_chain = match self.links.last() {
            Some(last) => last.hash_chain.next(last.assignment),
            None => HashChain::first(self.process),
        };
        let assignment = Assignment {
            process: self.process,
            epoch: 0,
            nonce,
            hash_chain,
            block_height: height(timestamp),
            timestamp,
            message: Some(message.into()),
            exclude: vec![],
        };
        let (signature, id) = random.signed();
        let tags = assignment.to_tags();
        let wired = wire::Assignment { id: id.into(), owner: owner(), tags, signature, anchor: None, target: None };
        self.entries.push(wire::Entry { message: item, assignment: wired });
        let assignment = AssignmentId::from(id);
        self.links.push(Link { assignment, hash_chain, epoch: 0, nonce, timestamp });
    }
}

/// What a source does to an answer about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Fails,
    /// Never answers: the evaluator is dropped while it waits.
    Hangs,
    Short,
    Empty,
    Repeats,
    Swaps,
    Leaves,
    FromTheStart,
    OtherChain,
    OtherProcess,
    Future,
    Past,
    OtherMessage,
    OtherSignature,
}

impl Fault {
    const ALL: [Self; 14] = [
        Self::Fails,
        Self::Hangs,
        Self::Short,
        Self::Empty,
        Self::Repeats,
        Self::Swaps,
        Self::Leaves,
        Self::FromTheStart,
        Self::OtherChain,
        Self::OtherProcess,
        Self::Future,
        Self::Past,
        Self::OtherMessage,
        Self::OtherSignature,
    ];
}

/// A source of the world's log.
#[derive(Clone)]
struct Source(Arc<Inner>);

struct Inner {
    world: World,
    /// Entries that the source has by now.
    visible: AtomicU64,
    script: Mutex<Script>,
    hangs: Notify,
}

struct Script {
    random: Random,
    /// One answer in so many is bad; 0 is none.
    bad: u64,
    /// Whether an answer has been given that no log can be.
    lied: bool,
}

impl Source {
    fn visible(&self) -> usize {
        self.0.visible.load(Ordering::Relaxed) as usize
    }

    /// The fault of the next answer, which is remembered if it changes what the answer says.
    fn fault(&self) -> Option<(Fault, Random)> {
        let mut script = self.0.script.lock().unwrap();
        let bad = script.bad;
        if bad == 0 || !script.random.one_in(bad) {
            return None;
        }
        let at = script.random.below(Fault::ALL.len() as u64) as usize;
        let seed = script.random.next();
        Some((Fault::ALL[at], Random(seed)))
    }

    /// An answer about something else than pages: given, refused, or never.
    async fn small<T>(&self, answer: T) -> Result<T, Error> {
        match self.fault() {
            Some((Fault::Fails, _)) => Err(failed()),
            Some((Fault::Hangs, _)) => self.hang().await,
            _ => Ok(answer),
        }
    }

    async fn hang<T>(&self) -> T {
        self.0.hangs.notify_one();
        std::future::pending().await
    }

    /// Entries after `after` up to `goal`, and what the source makes of them.
    async fn page(self, after: Option<Link>, goal: Goal) -> Result<Page, Error> {
        let world = &self.0.world;
        let fault = self.fault();
        let from = after.map_or(0, |link| link.nonce.0 as usize + 1);
        let mut random = match &fault {
            Some((_, random)) => random.clone(),
            None => Random(from as u64),
        };
        let whole: Vec<wire::Entry> = (from..self.visible())
            .filter(|at| !goal.excludes(&world.links[*at]) || *at == 0)
            .map(|at| world.entries[at].clone())
            .collect();
        let size = 1 + random.below(6) as usize;
        let mut entries: Vec<wire::Entry> = whole.iter().take(size).cloned().collect();
        let mut more = whole.len() > entries.len();
        let before = entries.clone();
        let last = entries.len().saturating_sub(1);
        let at = random.below(entries.len().max(1) as u64) as usize;
        match fault.map(|(fault, _)| fault) {
            None => {}
            Some(Fault::Fails) => return Err(failed()),
            Some(Fault::Hangs) => return self.hang().await,
            Some(Fault::Short) => {
                entries.truncate(at);
                more = random.one_in(2);
            }
            Some(Fault::Empty) => {
                entries.clear();
                more = random.one_in(2);
            }
            _ if entries.is_empty() => {}
            Some(Fault::Repeats) => entries.insert(at, entries[at].clone()),
            Some(Fault::Swaps) => entries.swap(at, last),
            Some(Fault::Leaves) => drop(entries.remove(at)),
            Some(Fault::FromTheStart) => entries.splice(0..0, world.entries[..from].iter().cloned()).for_each(drop),
            Some(Fault::OtherChain) => set(&mut entries[at], "Hash-Chain", &base64url::encode(random.bytes())),
            Some(Fault::OtherProcess) => set(&mut entries[at], "Process", &base64url::encode(random.bytes())),
            Some(Fault::Future) => set(&mut entries[at], "Timestamp", "4000000000000"),
            // Nobody but the scheduler knows when the first entry was made.
            Some(Fault::Past) if from + at == 0 => set(&mut entries[at], "Nonce", "1"),
            Some(Fault::Past) => set(&mut entries[at], "Timestamp", &random.below(START).to_string()),
            Some(Fault::OtherMessage) => {
                let (signature, id) = random.signed();
                if let Some(message) = &mut entries[at].message {
                    (message.id, message.signature) = (id, signature);
                }
            }
            Some(Fault::OtherSignature) => entries[at].assignment.signature = base64url::encode(random.bytes()),
        }
        // A part from the front is late, not wrong. Who says that there is nothing else, and what time it is, says what cron
        // messages fire; so this source only says so when it is asked for entries.
        match whole.starts_with(&entries) {
            true if entries.len() < before.len() && !world.schedule.is_empty() && goal.end_is_open(from) => {
                if entries.is_empty() {
                    return Err(failed());
                }
                more = true;
            }
            true => {}
            false => self.0.script.lock().unwrap().lied = true,
        }
        let edges = entries.into_iter().map(|node| wire::Edge { node, cursor: String::new() }).collect();
        Ok(wire::Page { page_info: wire::PageInfo { has_next_page: more }, edges }.into())
    }
}

impl Goal {
    /// Whether cron messages may fire after the last entry: up to a time, or if there is no entry at `next`.
    fn end_is_open(self, next: usize) -> bool {
        matches!(self, Self::Time(_) | Self::Latest) || self == Self::Slot(Nonce(next as u64))
    }
}

fn set(entry: &mut wire::Entry, name: &str, value: &str) {
    let tags = &mut entry.assignment.tags.0;
    tags.iter_mut().filter(|tag| tag.name == name).for_each(|tag| tag.value = value.to_owned());
}

fn failed() -> Error {
    Error::SchedulerUnreadable { what: "messages", reason: "simulated".into() }
}

impl Log for Source {
    fn record(&self) -> BoxFuture<'_, Result<wire::Process, Error>> {
        async { Err(failed()) }.boxed()
    }

    fn process_data(&self) -> BoxFuture<'_, Result<String, Error>> {
        self.small("data of the process".to_owned()).boxed()
    }

    fn page(&self, after: Option<Link>, goal: Goal) -> BoxFuture<'static, Result<Page, Error>> {
        Source::page(self.clone(), after, goal).boxed()
    }

    fn position(&self, message: MessageId) -> BoxFuture<'_, Result<Position, Error>> {
        let world = &self.0.world;
        let at = world
            .entries
            .iter()
            .position(|entry| entry.message.as_ref().is_some_and(|item| MessageId::from(item.id) == message));
        async move {
            let at =
                self.small(at).await?.ok_or(Error::NotInLog { message: message.to_string(), process: world.process });
            let link = world.links[at?];
            Ok(Position { process: world.process, timestamp: link.timestamp, nonce: link.nonce, entry: None })
        }
        .boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Option<Now>, Error>> {
        let (world, visible) = (&self.0.world, self.visible());
        let honest = self.0.script.lock().unwrap().bad == 0;
        let last = world.links[..visible].last().map_or(START, |link| link.timestamp.0);
        let next = world.links.get(visible).map_or(world.end.0, |link| link.timestamp.0);
        let now = match honest && visible == world.entries.len() {
            true => world.end.0,
            // Clocks go back as well; what they must not do is to promise more than there is.
            false => {
                let mut script = self.0.script.lock().unwrap();
                match script.random.one_in(4) {
                    true => script.random.below(last + 1),
                    false => last + script.random.below(next - last + 1),
                }
            }
        };
        let timestamp = Timestamp(now);
        async move { self.small(Some(Now { timestamp, block_height: height(timestamp) })).await }.boxed()
    }

    fn on_chain(&self, _: Nonce, item: ItemId, _: bool) -> BoxFuture<'_, Result<OnChain, Error>> {
        let found = OnChain {
            id: item,
            signature: "signature".into(),
            owner: owner(),
            tags: Tags::from_iter([("Action", "Assigned")]),
            recipient: String::new(),
            anchor: String::new(),
            data: item.to_string(),
        };
        self.small(found).boxed()
    }

    fn blocks(&self, range: Range) -> BoxFuture<'_, Result<Vec<Block>, Error>> {
        let blocks = self.0.world.blocks.iter().copied();
        let wanted = range.above..=range.through.max(range.needed);
        self.small(blocks.filter(|block| block.height > range.above && wanted.contains(&block.height)).collect())
            .boxed()
    }
}

/// The sources of all seeds.
#[derive(Default)]
struct Directory(Mutex<HashMap<ProcessId, Source>>);

impl Logs for Directory {
    fn open(&self, process: ProcessId) -> BoxFuture<'_, Result<Box<dyn Log>, Error>> {
        let source = self.0.lock().unwrap().get(&process).cloned();
        async move {
            let source = source.ok_or_else(failed)?;
            source.small(Box::new(source.clone()) as Box<dyn Log>).await
        }
        .boxed()
    }
}

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
            (1, Some(entry)) => Goal::Entry(world.links[entry].timestamp),
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
