//! Dry runs beside a stream of messages: how many a second a warm process answers, and what they cost the stream.
//!
//! Dry runs come from clients that do as little as clients can: they stand for others' computers. The stream is live: clients schedule a
//! message, ask for its result, and go on with the next; with them, the scheduler and the dry runs' own clients it takes all processors of a
//! small machine. So the evaluation of messages scheduled before is measured, too: that is the compute unit alone. Blocks of messages with
//! and without dry runs take turns, so that what else the computer does falls on both. Every dry run differs from every other, so none is
//! answered from memory.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use holon_benches::{
    driver::Driver,
    line::Line,
    unit::{self, Unit},
};
use holon_cu::machine::Format;
use holon_protocol::ItemId;
use serde_json::json;

/// Clients that send dry runs.
const CLIENTS: usize = 8;
/// Clients that send messages.
const STREAM_CLIENTS: usize = 8;

/// Measures dry runs beside a stream.
#[derive(Debug, Parser)]
struct Arguments {
    /// Dry runs a second that are sent
    #[arg(long, default_value_t = 1_000)]
    rate: usize,
    /// Pairs of blocks, one with and one without dry runs
    #[arg(long, default_value_t = 6)]
    blocks: usize,
    /// Messages of a block
    #[arg(long, default_value_t = 2_000)]
    messages: usize,
    /// Where to write the numbers
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.blocks > 0 && arguments.messages > 0 && arguments.rate > 0, "numbers must be positive");
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&arguments))
}

struct Load {
    driver: Arc<Driver>,
    url: Arc<str>,
    process: ItemId,
    /// Who asks.
    owner: String,
    /// Whom dry runs go to.
    asked: ItemId,
    number: AtomicUsize,
    answered: AtomicUsize,
    sent: AtomicUsize,
    stop: AtomicBool,
}

async fn run(arguments: &Arguments) -> Result<()> {
    let driver = Arc::new(Driver::start()?);
    let unit = Unit::start(&driver).await?;
    let url: Arc<str> = unit.url().into();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wasm-processes");
    let module = driver.publish(std::fs::read(folder.join("counter/counter.wasm"))?, Format::Native).await?.id();
    let mut ids = Vec::new();
    for number in 0..2 {
        let process = driver.process(module, number)?;
        driver.schedule(&process).await?;
        let id = process.id();
        unit::result(&driver.client, &url, &id.to_string(), &id.to_string()).await?;
        ids.push(id);
    }
    let (id, neighbour) = (ids[0], ids[1]);

    let mut load = Arc::new(Load {
        driver: driver.clone(),
        url: url.clone(),
        process: id,
        owner: driver.wallet.address().to_string(),
        asked: id,
        number: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        sent: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    });
    let alone = peak(&load).await?;
    println!("dry runs alone, {CLIENTS} clients: {alone:.0} a second");

    let live = Compared::measure(&load, arguments, async |numbers| {
        let begun = Instant::now();
        let messages = stream::iter(numbers).map(|number| load.message(number));
        messages.buffer_unordered(STREAM_CLIENTS).try_collect::<Vec<_>>().await?;
        Ok(begun.elapsed())
    })
    .await?;
    println!("live stream: clients that schedule a message and wait for its result");
    live.print();
    // Dry runs of a process see its newest state, so they would have the messages evaluated while they are scheduled.
    Arc::get_mut(&mut load).context("nobody uses the load")?.asked = neighbour;
    let replayed = Compared::measure(&load, arguments, async |numbers| {
        let scheduled = stream::iter(numbers).map(|number| load.schedule(number));
        let items = scheduled.buffered(STREAM_CLIENTS).try_collect::<Vec<_>>().await?;
        let last = items.last().context("a block has messages")?.to_string();
        let begun = Instant::now();
        unit::result(&load.driver.client, &load.url, &id.to_string(), &last).await?;
        Ok(begun.elapsed())
    })
    .await?;
    println!(
        "evaluation: the same messages, scheduled before, by one request for the last result; dry runs of a neighbour"
    );
    replayed.print();
    println!("aims: 1000 dry runs a second, less than 5 % slower (medians over {} pairs of blocks)", arguments.blocks);
    if let Some(path) = &arguments.json {
        let report = json!({ "dry_runs_alone_per_second": alone, "live": live.json(), "evaluation": replayed.json() });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    unit.stop().await
}

/// Blocks of messages with and without dry runs beside them; medians over the pairs.
struct Compared {
    alone: f64,
    beside: f64,
    dry_runs: f64,
    slower: f64,
}

impl Compared {
    /// Has `block` put through the messages of these numbers, in turn without and with dry runs. It says how long that took.
    async fn measure(
        load: &Arc<Load>,
        arguments: &Arguments,
        block: impl AsyncFn(std::ops::Range<usize>) -> Result<Duration>,
    ) -> Result<Self> {
        let (mut with, mut without, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..arguments.blocks {
            for dry_runs in [false, true] {
                load.stop.store(false, Ordering::Relaxed);
                load.answered.store(0, Ordering::Relaxed);
                let clients = if dry_runs { spawn_paced(load, arguments.rate) } else { Vec::new() };
                let begun = Instant::now();
                let first = load.sent.fetch_add(arguments.messages, Ordering::Relaxed);
                let took = block(first..first + arguments.messages).await?;
                let answered = load.answered.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
                load.stop.store(true, Ordering::Relaxed);
                for client in clients {
                    client.await??;
                }
                let per_second = arguments.messages as f64 / took.as_secs_f64();
                if dry_runs {
                    rates.push(answered);
                    with.push(per_second);
                } else {
                    without.push(per_second);
                }
            }
        }
        let slower: Vec<f64> = with.iter().zip(&without).map(|(with, without)| 1.0 - with / without).collect();
        Ok(Self { alone: median(&without), beside: median(&with), dry_runs: median(&rates), slower: median(&slower) })
    }

    fn print(&self) {
        let Self { alone, beside, dry_runs, slower } = self;
        println!("  alone                            {alone:>7.0} messages a second");
        println!(
            "  beside {dry_runs:>5.0} dry runs a second  {beside:>7.0} messages a second, {:.1} % slower",
            slower * 100.0
        );
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "alone_per_second": self.alone, "beside_per_second": self.beside,
            "dry_runs_per_second": self.dry_runs, "slower": self.slower,
        })
    }
}

/// Dry runs a second when nothing else happens.
async fn peak(load: &Arc<Load>) -> Result<f64> {
    const FOR: Duration = Duration::from_secs(3);
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let load = load.clone();
            tokio::spawn(async move {
                let mut line = Line::connect(&load.url).await?;
                while begun.elapsed() < FOR {
                    load.dry_run(&mut line).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
    }
    Ok(load.answered.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

/// Clients that together send `rate` dry runs a second until they are told to stop.
fn spawn_paced(load: &Arc<Load>, rate: usize) -> Vec<tokio::task::JoinHandle<Result<()>>> {
    (0..CLIENTS)
        .map(|_| {
            let load = load.clone();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) * CLIENTS as u32 / rate as u32);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            tokio::spawn(async move {
                let mut line = Line::connect(&load.url).await?;
                while !load.stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    load.dry_run(&mut line).await?;
                }
                Ok(())
            })
        })
        .collect()
}

impl Load {
    async fn schedule(&self, number: usize) -> Result<ItemId> {
        let item = self.driver.message(self.process, "Increment", "1", number)?;
        self.driver.schedule(&item).await?;
        Ok(item.id())
    }

    /// Schedules a message and waits for its result.
    async fn message(&self, number: usize) -> Result<()> {
        let (process, message) = (self.process.to_string(), self.schedule(number).await?.to_string());
        unit::result(&self.driver.client, &self.url, &process, &message).await.map(drop)
    }

    async fn dry_run(&self, line: &mut Line) -> Result<()> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (owner, target) = (&self.owner, self.asked);
        let body = format!(
            r#"{{"Id":"{number:043}","Owner":"{owner}","Target":"{target}","Data":"","Tags":[{{"name":"Action","value":"Get"}}]}}"#
        );
        line.post(&format!("/dry-run?process-id={target}"), &body).await?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
