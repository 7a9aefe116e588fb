//! The compute unit as it runs: a whole network, a process of the published module, and one request for the last result.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holon_protocol::{DataItem, ItemId, Signer};
use holon_tests::{network::Network, peers};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    Run,
    bare::Bare,
    log::{Log, message},
    machine::Evaluator,
};

/// Messages of a block, which one request has evaluated. Several blocks, so that a median can leave out what else the
/// machine did.
pub const CHUNK: usize = 50;

/// Longest wait for a message to be settled.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// What the contestants did.
pub struct Measured {
    /// The compute unit: time of each message, as its share of the request that had it evaluated, and what it answered.
    pub unit: Run,
    /// The bare guest.
    pub bare: Run,
    /// The compute unit's evaluator.
    pub machine: Run,
    /// What they evaluated.
    pub log: Log,
}

/// Spawns a process, and in turn schedules some messages without anybody evaluating them, asks for the last one's result,
/// and gives the same messages to the others: so whatever else the computer does falls on all of them.
pub fn measure(module: &str, format: &str, messages: usize) -> Result<Measured> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(module, format, messages))
}

async fn run(module_name: &str, format: &str, messages: usize) -> Result<Measured> {
    let network = Network::start()?;
    let ready = network.ready();
    let client = Client::new();
    let wallet = Signer::generate_ed25519()?;

    let module = DataItem::builder()
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Module")
        .tag("Module-Format", format)
        .tag("Input-Encoding", "JSON-1")
        .tag("Output-Encoding", "JSON-1")
        .tag("Memory-Limit", "1-gb")
        .tag("Compute-Limit", "9000000000000")
        .data(std::fs::read(peers::module(module_name)?)?)
        .sign(&wallet)?;
    post(&client, &format!("{}/tx/arweave", ready.uploader_url.trim_end_matches('/')), &module).await?;

    let process = DataItem::builder()
        .tag("Authority", &ready.authority)
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Process")
        .tag("Module", module.id().to_string())
        .tag("Scheduler", &ready.scheduler)
        .sign(&wallet)?;
    post(&client, &ready.mu_url, &process).await?;
    let id = process.id();
    // The first message builds the Lua state; that is a start, not a message's cost.
    let first = eval(id, 0, &wallet)?;
    post(&client, &ready.mu_url, &first).await?;
    result(&client, &ready.cu_url, id, first.id()).await?;

    let su_url = ready.su_url.trim_end_matches('/');
    let environment = environment(&client, su_url, id, &module, &wallet).await?;
    let mut log = Log { messages: Vec::new(), environment };
    let mut cursor = read_on(&client, su_url, id, None, &mut log.messages).await?;
    ensure!(
        log.messages.len() == 2,
        "the log begins with {} entries, not with process and first message",
        log.messages.len()
    );
    let wasm = std::fs::read(peers::module(module_name)?)?;
    let (mut bare, mut machine) = (Bare::new(&wasm)?, Evaluator::new(&wasm)?);
    for message in &log.messages {
        bare.apply(message, &log.environment)?;
        machine.apply(message, &log.environment)?;
    }

    let (mut unit_run, mut bare_run, mut machine_run) = (Run::default(), Run::default(), Run::default());
    let mut posted = Vec::with_capacity(CHUNK);
    while unit_run.times.len() < messages {
        let chunk = CHUNK.min(messages - unit_run.times.len());
        // Straight to the scheduler, because a messenger would have each message evaluated at once.
        for number in 1..=chunk {
            let item = eval(id, unit_run.times.len() + number, &wallet)?;
            posted.push(item.id());
            post(&client, &ready.su_url, &item).await?;
        }
        let last = posted.last().copied().context("a chunk has messages")?;
        // The scheduler settles in the background, in the same program here; that is not the compute unit's time.
        for item in posted.drain(..) {
            settled(&client, &ready.gateway_url, item).await?;
        }
        let begun = Instant::now();
        result(&client, &ready.cu_url, id, last).await?;
        unit_run.times.extend(std::iter::repeat_n(begun.elapsed() / u32::try_from(chunk)?, chunk));

        let known = log.messages.len();
        cursor = read_on(&client, su_url, id, cursor, &mut log.messages).await?;
        ensure!(log.messages.len() == known + chunk, "the log has {} new entries", log.messages.len() - known);
        for message in &log.messages[known..] {
            bare_run.push(bare.apply(message, &log.environment)?);
        }
        for message in &log.messages[known..] {
            machine_run.push(machine.apply(message, &log.environment)?);
        }
    }

    let outputs = stored_outputs(&client, ready.cu_url.trim_end_matches('/'), id).await?;
    ensure!(outputs.len() >= messages, "only {} of {messages} results are stored", outputs.len());
    unit_run.outputs = outputs[outputs.len() - messages..].to_vec();
    Ok(Measured { unit: unit_run, bare: bare_run, machine: machine_run, log })
}

fn eval(process: ItemId, number: usize, wallet: &Signer) -> Result<DataItem> {
    Ok(DataItem::builder()
        .target(process)
        .tag("Action", "Eval")
        .tag("Number", number.to_string())
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Message")
        .data("X = (X or 0) + 1 return X")
        .sign(wallet)?)
}

async fn post(client: &Client, url: &str, item: &DataItem) -> Result<()> {
    let answer =
        client.post(url).header("content-type", "application/octet-stream").body(item.raw().clone()).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{url} answered {status}: {text}");
    Ok(())
}

/// Waits until the gateway has an item.
async fn settled(client: &Client, gateway_url: &str, item: ItemId) -> Result<()> {
    let url = format!("{}/{item}", gateway_url.trim_end_matches('/'));
    let deadline = Instant::now() + SETTLE_LIMIT;
    while !client.head(&url).send().await?.status().is_success() {
        ensure!(Instant::now() < deadline, "{item} has not been settled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn result(client: &Client, cu_url: &str, process: ItemId, message: ItemId) -> Result<()> {
    let url = format!("{}/result/{message}?process-id={process}", cu_url.trim_end_matches('/'));
    let answer = client.get(url).send().await?;
    let (status, value) = (answer.status(), answer.json::<Value>().await?);
    ensure!(status.is_success() && value.get("Error").is_none(), "the compute unit answered {status}: {value}");
    Ok(())
}

async fn stored_outputs(client: &Client, cu_url: &str, process: ItemId) -> Result<Vec<Value>> {
    let mut outputs = Vec::new();
    let mut from = String::new();
    loop {
        let url = format!("{cu_url}/results/{process}?sort=ASC&limit=500{from}");
        let page: Value = client.get(url).send().await?.error_for_status()?.json().await?;
        let edges = page["edges"].as_array().context("results have edges")?;
        outputs.extend(edges.iter().map(|edge| edge["node"]["Output"].clone()));
        match edges.last() {
            Some(last) if page["pageInfo"]["hasNextPage"] == true => {
                let cursor = last["cursor"].as_str().context("an edge has a cursor")?;
                from = format!("&from={}", cursor.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
            }
            _ => return Ok(outputs),
        }
    }
}

/// Appends what the log has after `cursor`, and says where it ends.
async fn read_on(
    client: &Client,
    su_url: &str,
    process: ItemId,
    mut cursor: Option<String>,
    messages: &mut Vec<String>,
) -> Result<Option<String>> {
    loop {
        let from = cursor.as_ref().map(|cursor| format!("&from={cursor}")).unwrap_or_default();
        let url = format!("{su_url}/{process}?process-id={process}&limit=500{from}");
        let page: Value = client.get(url).send().await?.error_for_status()?.json().await?;
        let edges = page["edges"].as_array().context("a page has edges")?;
        for edge in edges {
            messages.push(message(&edge["node"])?);
        }
        if let Some(last) = edges.last() {
            cursor = Some(last["cursor"].as_str().context("an edge has a cursor")?.to_owned());
        }
        if page["page_info"]["has_next_page"] != true {
            return Ok(cursor);
        }
    }
}

async fn environment(
    client: &Client,
    su_url: &str,
    process: ItemId,
    module: &DataItem,
    wallet: &Signer,
) -> Result<String> {
    let record: Value =
        client.get(format!("{su_url}/processes/{process}")).send().await?.error_for_status()?.json().await?;
    Ok(json!({
        "Process": {"Id": process, "Owner": record["owner"]["address"], "Tags": record["tags"]},
        "Module": {"Id": module.id(), "Owner": wallet.address(), "Tags": module.tags()},
    })
    .to_string())
}
