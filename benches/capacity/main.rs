//! How many processes one compute unit holds: how fast they come to life, how fast they are served, and what each costs
//! while nobody asks for it.
//!
//! The processes are counters (`wasm-processes/counter`), scheduled in a real network; the compute unit under measurement is a second
//! one, in this program, so that its memory can be told from the network's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use holon_benches::{
    driver::Driver,
    memory::Held,
    unit::{self, Unit},
};
use holon_cu::machine::Format;
use holon_protocol::ItemId;
use serde_json::json;

/// Requests at the same time.
const CLIENTS: usize = 64;
/// How long nobody asks for anything before memory is looked at.
const REST: Duration = Duration::from_secs(8);

/// Measures spawning, serving and holding many processes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of processes, ascending
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 1_000, 10_000])]
    processes: Vec<usize>,
    /// Messages at each number, spread evenly; at least one for each process
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
    /// Where to write the numbers
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

struct Row {
    processes: usize,
    spawned_per_second: f64,
    messages: usize,
    messages_per_second: f64,
    idle_bytes_per_process: u64,
    first_byte: Duration,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let rows = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&arguments))?;
    if let Some(path) = arguments.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "processes": row.processes, "spawned_per_second": row.spawned_per_second, "messages": row.messages,
                    "messages_per_second": row.messages_per_second,
                    "idle_bytes_per_process": row.idle_bytes_per_process,
                    "wake_ms": row.first_byte.as_secs_f64() * 1e3,
                })
            })
            .collect();
        std::fs::write(path, format!("{:#}\n", json!({ "rows": rows })))?;
    }
    Ok(())
}

async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let driver = Arc::new(Driver::start()?);
    let unit = Unit::start(&driver).await?;
    let url: Arc<str> = unit.url().into();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wasm-processes");
    let wasm = std::fs::read(folder.join("counter/counter.wasm"))?;
    let module = driver.publish(wasm, Format::Native).await?.id();

    println!("processes   spawned/s   messages   messages/s   idle KiB/process   back after rest");
    let (mut processes, mut rows, mut sent) = (Vec::<ItemId>::new(), Vec::new(), 0_usize);
    let before = Held::now()?;
    for &level in &arguments.processes {
        let begun = Instant::now();
        let known = processes.len();
        let new: Vec<ItemId> = stream::iter(known..level.max(known))
            .map(|number| {
                let (driver, url) = (driver.clone(), url.clone());
                async move {
                    let process = driver.process(module, number)?;
                    driver.schedule(&process).await?;
                    let id = process.id().to_string();
                    unit::result(&driver.client, &url, &id, &id).await?;
                    Ok::<_, anyhow::Error>(process.id())
                }
            })
            .buffer_unordered(CLIENTS)
            .try_collect()
            .await?;
        let spawned_per_second = new.len() as f64 / begun.elapsed().as_secs_f64();
        processes.extend(new);

        let each = (arguments.messages / processes.len()).max(1);
        let first = sent;
        let last: Vec<(ItemId, ItemId)> = stream::iter(processes.iter().copied().enumerate())
            .map(|(index, process)| {
                let driver = driver.clone();
                async move {
                    let mut last = process;
                    for number in 0..each {
                        let item = driver.message(process, "Increment", "1", first + index * each + number)?;
                        driver.schedule(&item).await?;
                        last = item.id();
                    }
                    Ok::<_, anyhow::Error>((process, last))
                }
            })
            .buffer_unordered(CLIENTS)
            .try_collect()
            .await?;
        let messages = each * processes.len();
        sent += messages;
        // What the network still does with them shall not be the unit's time.
        let (_, settled) = *last.last().context("there is a process")?;
        driver.settled(settled).await?;
        let begun = Instant::now();
        stream::iter(last)
            .map(|(process, message)| {
                let (driver, url) = (driver.clone(), url.clone());
                async move {
                    unit::result(&driver.client, &url, &process.to_string(), &message.to_string()).await.map(drop)
                }
            })
            .buffer_unordered(CLIENTS)
            .try_collect::<()>()
            .await?;
        let messages_per_second = messages as f64 / begun.elapsed().as_secs_f64();

        tokio::time::sleep(REST).await;
        let idle_bytes_per_process = Held::now()?.since(before) / processes.len() as u64;
        let process = processes[processes.len() / 2];
        let item = driver.message(process, "Increment", "1", sent)?;
        sent += 1;
        driver.schedule(&item).await?;
        let begun = Instant::now();
        unit::result(&driver.client, &url, &process.to_string(), &item.id().to_string()).await?;
        let first_byte = begun.elapsed();
        let row = Row {
            processes: processes.len(),
            spawned_per_second,
            messages,
            messages_per_second,
            idle_bytes_per_process,
            first_byte,
        };
        println!(
            "{:>9}{:>12.0}{:>11}{:>13.0}{:>19.0}{:>15.1} ms",
            row.processes,
            row.spawned_per_second,
            row.messages,
            row.messages_per_second,
            row.idle_bytes_per_process as f64 / 1024.0,
            row.first_byte.as_secs_f64() * 1e3
        );
        rows.push(row);
    }
    unit.stop().await?;
    Ok(rows)
}
