//! The messenger: how long one hop takes from a user to the answer, how many pushes a second go through a chain and a fan,
//! and how late crons of many processes are.
//!
//! Everything passes through the whole network, which syncs what it promises to the disk; so the time of one sync of that disk
//! is measured beside it.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use holon_benches::driver::{Driver, trimmed};
use holon_cu::machine::Format;
use holon_protocol::{DataItem, ItemId};
use holon_tests::peers::postgres::Postgres;
use serde_json::{Value, json};

/// Clients that set processes up.
const CLIENTS: usize = 16;
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// Longest anything takes.
const LIMIT: Duration = Duration::from_secs(600);
/// Syncs measured.
const SYNCS: usize = 50;

/// Measures the messenger.
#[derive(Debug, Parser)]
struct Arguments {
    /// Messages whose latency is measured
    #[arg(long, default_value_t = 300)]
    messages: usize,
    /// Hops of the chain
    #[arg(long, default_value_t = 1_000)]
    hops: usize,
    /// Messages of the fan
    #[arg(long, default_value_t = 1_000)]
    fan: usize,
    /// Processes with a cron of one second; 0 leaves them out
    #[arg(long, default_value_t = 1_000)]
    crons: usize,
    /// Seconds for which crons are watched
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Also measure messengers of their own, one with its outbox on fjall, one on PostgreSQL
    #[arg(long)]
    outboxes: bool,
    /// Where to write the numbers
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let mut driver = Driver::start()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wasm-processes");
    let module = driver.publish(std::fs::read(folder.join("relay/relay.wasm"))?, Format::Native).await?.id();
    let sync = sync_time(&driver)?;
    println!("one sync of the disk: p50 {:.1} ms", sync * 1_000.0);

    let own = pushes(&driver, module, arguments, sync, 0).await?;
    let crons = if arguments.crons > 0 { Some(crons(&driver, module, arguments).await?) } else { None };
    let doors = if arguments.outboxes { Some(outboxes(&mut driver, module, arguments, sync).await?) } else { None };
    if let Some(path) = &arguments.json {
        let mut report = own;
        report["sync_seconds"] = sync.into();
        report["crons"] = crons.into();
        report["outboxes"] = doors.into();
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

/// The same through messengers of their own, which are alike but for their outbox: fjall, then PostgreSQL.
async fn outboxes(driver: &mut Driver, module: ItemId, arguments: &Arguments, sync: f64) -> Result<Value> {
    let database = Postgres::start()?;
    let folder = tempfile::tempdir()?;
    // Processes trust the network's own messenger.
    let wallet = driver.network.data().join("wallets/mu.json");
    let mut report = json!({});
    for (place, name) in ["fjall", "postgresql"].into_iter().enumerate() {
        println!("with an outbox on {name}:");
        let ready = driver.ready();
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(holon_tests::command::holon()?);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.args(["mu", "--listen", &format!("127.0.0.1:{port}"), "--data-dir", name, "--allow-private-urls"]);
        command.args(["--gateway-url", &ready.gateway_url, "--cu-url", &ready.cu_url]).arg("--wallet").arg(&wallet);
        command.args(["--scheduler-url", &format!("{}={}", ready.scheduler, ready.su_url)]);
        if name == "postgresql" {
            command.env("MU_OUTBOX_URL", database.url());
        }
        let mut messenger = Ended(command.spawn()?);
        let deadline = Instant::now() + LIMIT;
        while driver.client.get(format!("{url}/health")).send().await.is_err() {
            ensure!(messenger.0.try_wait()?.is_none() && Instant::now() < deadline, "the messenger did not start");
            tokio::time::sleep(LOOK).await;
        }
        driver.door = Some(url);
        report[name] = pushes(driver, module, arguments, sync, 1_000 * (place + 1)).await?;
    }
    driver.door = None;
    Ok(report)
}

/// A program that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One hop, a chain and a fan. Processes have numbers from `first` on.
async fn pushes(driver: &Driver, module: ItemId, arguments: &Arguments, sync: f64, first: usize) -> Result<Value> {
    let relay = |number| relay(driver, module, first + number, &[]);
    let one = relay(0).await?;
    let (mut latencies, mut acknowledged) = (Vec::new(), Vec::new());
    for number in 0..arguments.messages {
        let item = token(driver, one, "hop", 0, number)?;
        let begun = Instant::now();
        driver.send(&item).await?;
        acknowledged.push(begun.elapsed().as_secs_f64());
        driver.result(one, item.id()).await?;
        latencies.push(begun.elapsed().as_secs_f64());
    }
    let at = |times: &mut [f64], share: f64| {
        times.sort_by(f64::total_cmp);
        times[((times.len() - 1) as f64 * share) as usize] * 1_000.0
    };
    let (p50, p99) = (at(&mut latencies, 0.5), at(&mut latencies, 0.99));
    println!(
        "user → messenger → scheduler → compute → answer: p50 {p50:.1} ms (acknowledged after {:.1} ms), p99 {p99:.1} ms, \
         {:.1} ms above a sync",
        at(&mut acknowledged, 0.5),
        p50 - sync * 1_000.0
    );

    // Two processes that pass one token to each other.
    let other = relay(1).await?;
    connect(driver, one, &[other]).await?;
    connect(driver, other, &[one]).await?;
    let begun = Instant::now();
    driver.send(&token(driver, one, "chain", arguments.hops, 0)?).await?;
    let last = if arguments.hops.is_multiple_of(2) { one } else { other };
    wait_for(driver, last, "chain", 0, 1).await?;
    let chain = arguments.hops as f64 / begun.elapsed().as_secs_f64();
    println!("a chain of {} hops: {chain:.0} pushes a second, {:.1} ms a hop", arguments.hops, 1_000.0 / chain);

    // One message that becomes many, each for a process of its own among a hundred.
    let leaves: Vec<ItemId> = stream::iter(2..102).map(relay).buffered(CLIENTS).try_collect().await?;
    let targets: Vec<ItemId> = leaves.iter().copied().cycle().take(arguments.fan).collect();
    let fan = relay(200).await?;
    connect(driver, fan, &targets).await?;
    let begun = Instant::now();
    driver.send(&token(driver, fan, "fan", 1, 0)?).await?;
    for leaf in &leaves {
        let share = targets.iter().filter(|target| *target == leaf).count();
        wait_for(driver, *leaf, "fan", 0, share).await?;
    }
    let fan = arguments.fan as f64 / begun.elapsed().as_secs_f64();
    println!("a fan of {}: {fan:.0} pushes a second", arguments.fan);

    Ok(json!({ "hop_p50_ms": p50, "hop_p99_ms": p99, "chain_per_second": chain, "fan_per_second": fan }))
}

/// Seconds that appending a little and syncing takes, median.
fn sync_time(driver: &Driver) -> Result<f64> {
    let path = driver.network.data().join("sync-time");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[0; 512])?;
        file.sync_all()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    std::fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    Ok(times[SYNCS / 2])
}

async fn relay(driver: &Driver, module: ItemId, number: usize, tags: &[(&str, &str)]) -> Result<ItemId> {
    let mut item = DataItem::builder();
    for (name, value) in tags {
        item = item.tag(*name, *value);
    }
    let ready = driver.ready();
    let item = item
        .tag("Authority", &ready.authority)
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Process")
        .tag("Module", module.to_string())
        .tag("Scheduler", &ready.scheduler)
        .tag("Number", number.to_string())
        .sign(&driver.wallet)?;
    driver.send(&item).await?;
    driver.result(item.id(), item.id()).await?;
    Ok(item.id())
}

fn token(driver: &Driver, process: ItemId, name: &str, hops: usize, number: usize) -> Result<DataItem> {
    Ok(DataItem::builder()
        .target(process)
        .tag("Action", "Token")
        .tag("Hops", hops.to_string())
        .tag("Number", number.to_string())
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Message")
        .data(name.to_owned())
        .sign(&driver.wallet)?)
}

async fn connect(driver: &Driver, process: ItemId, next: &[ItemId]) -> Result<()> {
    let next: Vec<String> = next.iter().map(ToString::to_string).collect();
    let item = driver.message(process, "Connect", &next.join(" "), 0)?;
    driver.send(&item).await?;
    driver.result(process, item.id()).await.map(drop)
}

/// Waits until so many tokens of this name with so many hops left are scheduled for a process.
async fn wait_for(driver: &Driver, process: ItemId, name: &str, hops: usize, count: usize) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let hops = hops.to_string();
    let url = format!("{}/{process}?process-id={process}&limit=5000", trimmed(&driver.ready().su_url));
    loop {
        let page = driver.get(&url).await?;
        let edges = page["edges"].as_array().context("a log")?;
        let fits = |message: &Value| {
            let tags = message["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
            message["data"] == name && tags.iter().any(|tag| tag["name"] == "Hops" && tag["value"] == hops)
        };
        if edges.iter().filter(|edge| fits(&edge["node"]["message"])).count() >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{count} tokens {name} did not arrive at {process}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Sum and count of the messenger's histogram of lateness, and failures of its polls.
async fn lateness(driver: &Driver) -> Result<(f64, f64, f64)> {
    let text = driver.client.get(format!("{}/metrics", trimmed(&driver.ready().mu_url))).send().await?.text().await?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse::<f64>().ok()).with_context(|| format!("{name} is not measured"))
    };
    Ok((
        value("ao_mu_cron_lateness_seconds_sum")?,
        value("ao_mu_cron_lateness_seconds_count")?,
        value("ao_mu_cron_failures_total")?,
    ))
}

/// Processes that wake every second, watched for a while.
async fn crons(driver: &Driver, module: ItemId, arguments: &Arguments) -> Result<Value> {
    let tags = [("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Beat")];
    let begun = Instant::now();
    let spawn = |number| relay(driver, module, 10_000 + number, &tags);
    let processes: Vec<ItemId> =
        stream::iter(0..arguments.crons).map(spawn).buffer_unordered(CLIENTS).try_collect().await?;
    println!(
        "{} processes with a cron of one second spawned in {:.0} s",
        processes.len(),
        begun.elapsed().as_secs_f64()
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (sum, count, failures) = lateness(driver).await?;
    let processor = processor_seconds()?;
    let watched = Instant::now();
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    let took = watched.elapsed().as_secs_f64();
    let (sum_after, count_after, failures_after) = lateness(driver).await?;
    let results = (count_after - count) / took;
    let late = (sum_after - sum) / (count_after - count).max(1.0) * 1_000.0;
    let load = (processor_seconds()? - processor) / took;
    let failed = failures_after - failures;
    println!(
        "for {took:.0} s: {results:.0} cron messages a second of {} due, on average {late:.0} ms from due to queued, {failed} failed, {load:.2} processors",
        arguments.crons
    );
    Ok(
        json!({ "processes": arguments.crons, "results_per_second": results, "late_ms": late, "failed": failed, "processors": load }),
    )
}

/// Processor time that children of this program, the network, have used, in seconds.
fn processor_seconds() -> Result<f64> {
    let mut ticks = 0_u64;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        if fields.get(1).and_then(|parent| parent.parse().ok()) == Some(std::process::id()) {
            ticks += fields[11..13].iter().filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        }
    }
    // Linux counts a hundred ticks a second.
    Ok(ticks as f64 / 100.0)
}
