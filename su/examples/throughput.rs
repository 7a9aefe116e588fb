//! Messages a second through the scheduler's HTTP surface, with an Ed25519 and an RSA-4096 wallet, one process and many.
//!
//! `cargo run -p holon-su --example throughput -- [messages] [connections]`

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream;
use holon_protocol::{DataItem, ProcessId, Signer};
use holon_su::{Options, Service};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let messages = arguments.next().map_or(Ok(4000), |text| text.parse()).context("messages")?;
    let connections = arguments.next().map_or(Ok(256), |text| text.parse()).context("connections")?;
    let folder = tempfile::tempdir()?;
    let weave = holon_weave::Service::start(
        holon_weave::Options::new(folder.path().join("weave")),
        TcpListener::bind("127.0.0.1:0")?,
    )
    .await?;
    for (name, wallet) in [("ed25519", Signer::generate_ed25519()?), ("rsa-4096", Signer::generate_rsa()?)] {
        for processes in [1, 8] {
            let options = Options {
                // Uploads would share this machine's CPU; they are measured elsewhere.
                uploader_url: Some("http://127.0.0.1:9/".parse()?),
                ..Options::new(folder.path().join(format!("{name}-{processes}")), wallet.clone(), weave.url().parse()?)
            };
            let su = Service::start(options, TcpListener::bind("127.0.0.1:0")?).await?;
            let measured = measure(&su.url(), &wallet, processes, messages, connections).await?;
            println!("{name:>8}, {processes} process(es), {messages} messages, {connections} connections: {measured}");
            su.stop().await?;
        }
    }
    weave.stop().await?;
    Ok(())
}

async fn measure(
    url: &str,
    wallet: &Signer,
    processes: usize,
    messages: usize,
    connections: usize,
) -> anyhow::Result<String> {
    let user = Signer::generate_ed25519()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut ids: Vec<ProcessId> = Vec::new();
    for index in 0..processes {
        let process = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Type", "Process")
            .tag("Name", index.to_string())
            .tag("Module", wallet.address().to_string())
            .tag("Scheduler", wallet.address().to_string())
            .sign(&user)?;
        client.post(url).body(process.raw().clone()).send().await?.error_for_status()?;
        ids.push(process.id().into());
    }
    let mut items = Vec::new();
    for index in 0..messages {
        let item = DataItem::builder()
            .target(ids[index % processes])
            .tag("Data-Protocol", "ao")
            .tag("Type", "Message")
            .tag("Action", "Ping")
            .data(index.to_string());
        items.push(item.sign(&user)?.raw().clone());
    }
    let started = Instant::now();
    let posts = stream::iter(items).map(|item| {
        let request = client.post(url).body(item);
        async move {
            let sent = Instant::now();
            request.send().await?.error_for_status()?;
            Ok::<_, reqwest::Error>(sent.elapsed())
        }
    });
    let mut times: Vec<Duration> = Vec::new();
    let mut posts = posts.buffer_unordered(connections);
    while let Some(time) = posts.next().await {
        times.push(time?);
    }
    let elapsed = started.elapsed();
    times.sort();
    let rate = messages as f64 / elapsed.as_secs_f64();
    Ok(format!("{rate:.0}/s, median {:?}, p99 {:?}", times[messages / 2], times[messages * 99 / 100]))
}
