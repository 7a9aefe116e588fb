//! What a hop costs: a message through messenger, scheduler and compute unit and back to who asked, long chains of pushes, and
//! wide fans, beside the one thing that cannot be had faster: the disk's sync.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use futures_util::TryStreamExt;
use holon_benches::driver::Driver;
use holon_client::{Network, live::Live};
use holon_cu::machine::Format;
use holon_protocol::{DataItem, ProcessId};
use serde_json::json;

/// Most that a hop may need over the disk's sync, at the median.
const AIM_OVER_SYNC: Duration = Duration::from_millis(3);
/// Longest wait for a chain or a fan.
const DEADLINE: Duration = Duration::from_secs(300);
/// Bytes that are written before a sync: about a message and its assignment.
const SYNCED_BYTES: usize = 2048;

/// Measures the hops of messages.
#[derive(Debug, Parser)]
struct Arguments {
    /// Messages that are sent one after the other, each when the one before has been answered
    #[arg(long, default_value_t = 500)]
    messages: usize,
    /// Hops of the chain, between two processes
    #[arg(long, default_value_t = 1_000)]
    hops: u64,
    /// Messages that one message sends at once
    #[arg(long, default_value_t = 1_000)]
    width: u64,
    /// Where to write the numbers
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.messages > 0 && arguments.hops > 0 && arguments.width > 0, "numbers must be positive");
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&arguments))
}

struct Relays {
    driver: Driver,
    network: Network,
    here: ProcessId,
    there: ProcessId,
    sent: usize,
}

async fn run(arguments: &Arguments) -> Result<()> {
    let mut relays = Relays::start().await?;
    let mut syncs = syncs(arguments.messages)?;
    // Compilation, first connections and caches are a start, not a hop's cost.
    for _ in 0..20 {
        relays.hop().await?;
    }
    let mut hops = Vec::with_capacity(arguments.messages);
    for _ in 0..arguments.messages {
        hops.push(relays.hop().await?);
    }
    let chain = relays.chain(arguments.hops).await?;
    let fan = relays.fan(arguments.width).await?;

    let [sync, hop] = [&mut syncs, &mut hops].map(|times| {
        times.sort_unstable();
        [times[times.len() / 2], times[times.len() * 99 / 100]]
    });
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let rate = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    println!("                                          p50        p99");
    for (name, [median, late]) in [("sync of the disk", sync), ("message and its answer", hop)] {
        println!("{name:<36} {:>6.2} ms  {:>6.2} ms", milliseconds(median), milliseconds(late));
    }
    let over = hop[0].saturating_sub(sync[0]);
    println!(
        "over one sync                        {:>6.2} ms  (aim: under {} ms)",
        milliseconds(over),
        milliseconds(AIM_OVER_SYNC)
    );
    let (hops, width) = (arguments.hops, arguments.width);
    println!("chain of {hops} hops                   {:>8.0} pushes a second", rate(hops, chain));
    println!("fan of {width} messages                {:>8.0} pushes a second", rate(width, fan));
    if let Some(path) = &arguments.json {
        let report = json!({
            "sync_ms": { "p50": milliseconds(sync[0]), "p99": milliseconds(sync[1]) },
            "hop_ms": { "p50": milliseconds(hop[0]), "p99": milliseconds(hop[1]) },
            "chain_pushes_per_second": rate(hops, chain),
            "fan_pushes_per_second": rate(width, fan),
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}

/// Times of appending a little to a file and syncing it, in the folder where networks under measurement keep theirs.
fn syncs(count: usize) -> Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create(folder.path().join("synced"))?;
    let bytes = [7; SYNCED_BYTES];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

impl Relays {
    async fn start() -> Result<Self> {
        let driver = Driver::start()?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wasm-processes");
        let module = driver.publish(std::fs::read(folder.join("relay/relay.wasm"))?, Format::Native).await?.id();
        let mut ids = Vec::new();
        for number in 0..2 {
            let process = driver.process(module, number)?;
            driver.send(&process).await?;
            driver.result(process.id(), process.id()).await?;
            ids.push(ProcessId::from(process.id()));
        }
        let ready = driver.ready();
        let network = Network::builder()
            .mu_url(ready.mu_url.parse()?)
            .cu_url(ready.cu_url.parse()?)
            .gateway_url(ready.gateway_url.parse()?)
            .allow_private_urls(true)
            .build()?;
        Ok(Self { network, here: ids[0], there: ids[1], sent: 0, driver })
    }

    fn message(&mut self, action: &str, tags: &[(&str, String)]) -> Result<DataItem> {
        self.sent += 1;
        let mut message = DataItem::builder()
            .target(self.here)
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Message")
            .tag("Action", action)
            .tag("Sent", self.sent.to_string());
        for (name, value) in tags {
            message = message.tag(*name, value);
        }
        Ok(message.sign(&self.driver.wallet)?)
    }

    /// Sends a message and waits for its result.
    async fn hop(&mut self) -> Result<Duration> {
        let message = self.message("Relay", &[])?;
        let begun = Instant::now();
        self.driver.send(&message).await?;
        self.driver.result(self.here.into(), message.id()).await?;
        Ok(begun.elapsed())
    }

    /// Sends a message that goes to and fro between the processes.
    async fn chain(&mut self, hops: u64) -> Result<Duration> {
        let message = self.message("Relay", &[("Left", hops.to_string()), ("Next", self.there.to_string())])?;
        let end = if hops % 2 == 0 { self.here } else { self.there };
        self.until_arrived(&message, end, 1).await
    }

    /// Sends a message that sends many.
    async fn fan(&mut self, width: u64) -> Result<Duration> {
        let message = self.message("Fan", &[("Width", width.to_string()), ("Next", self.there.to_string())])?;
        self.until_arrived(&message, self.there, width).await
    }

    /// Sends a message and waits until so many results of a process say that something arrived.
    async fn until_arrived(&self, message: &DataItem, at: ProcessId, count: u64) -> Result<Duration> {
        let newest = self.network.results(at).sort(holon_client::Sort::Descending).limit(1).page().await?;
        let from = newest.edges.first().map_or_else(|| "0".to_owned(), |edge| edge.cursor.clone());
        let mut results = pin!(self.network.follow(at).from(from).stream());
        let begun = Instant::now();
        self.driver.send(message).await?;
        let arrivals = async {
            let mut left = count;
            while left > 0 {
                match results.try_next().await?.context("the feed ended")? {
                    Live::Result(live) => {
                        let arrived = live.result.output.as_str().is_some_and(|output| output.starts_with("arrived"));
                        left -= u64::from(arrived);
                    }
                    Live::Held(reason) | Live::Lost(reason) => bail!("the feed stopped: {reason}"),
                }
            }
            Ok(())
        };
        let waited = tokio::time::timeout(DEADLINE, arrivals).await;
        waited.with_context(|| format!("not everything arrived within {} s", DEADLINE.as_secs()))??;
        Ok(begun.elapsed())
    }
}
