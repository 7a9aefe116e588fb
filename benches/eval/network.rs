//! The compute unit as it runs: a whole network, a process of the module, and one request for the last result.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use holon_benches::driver::{Driver, trimmed};
use holon_protocol::{DataItem, ItemId};
use serde_json::{Value, json};

use crate::{
    Run,
    bare::Bare,
    log::{Log, message},
    machine::Evaluator,
    subject::Subject,
};

/// Messages of a block, which one request has evaluated. Several blocks, so that a median can leave out what else the
/// machine did.
pub const CHUNK: usize = 500;

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
pub fn measure(subject: Subject, messages: usize) -> Result<Measured> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(subject, messages))
}

async fn run(subject: Subject, messages: usize) -> Result<Measured> {
    let driver = Driver::start()?;
    let wasm = subject.wasm()?;
    let module = driver.publish(wasm.clone(), subject.format).await?;
    let process = driver.process(module.id(), 0)?;
    driver.send(&process).await?;
    let id = process.id();
    // The first message builds the Lua state; that is a start, not a message's cost.
    let first = subject.first(&driver, id)?;
    driver.send(&first).await?;
    driver.result(id, first.id()).await?;

    let su_url = trimmed(&driver.ready().su_url);
    let environment = environment(&driver, su_url, id, &module).await?;
    let mut log = Log { messages: Vec::new(), environment };
    let mut cursor = read_on(&driver, su_url, id, None, &mut log.messages).await?;
    ensure!(
        log.messages.len() == 2,
        "the log begins with {} entries, not with process and first message",
        log.messages.len()
    );
    let (mut bare, mut machine) = (Bare::new(subject, &wasm)?, Evaluator::new(subject, &wasm)?);
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
            let item = subject.message(&driver, id, unit_run.times.len() + number)?;
            posted.push(item.id());
            driver.schedule(&item).await?;
        }
        let last = posted.last().copied().context("a chunk has messages")?;
        // The scheduler settles in the background, in the same program here; that is not the compute unit's time.
        for item in posted.drain(..) {
            driver.settled(item).await?;
        }
        let begun = Instant::now();
        driver.result(id, last).await?;
        unit_run.times.extend(std::iter::repeat_n(begun.elapsed() / u32::try_from(chunk)?, chunk));

        let known = log.messages.len();
        cursor = read_on(&driver, su_url, id, cursor, &mut log.messages).await?;
        ensure!(log.messages.len() == known + chunk, "the log has {} new entries", log.messages.len() - known);
        for message in &log.messages[known..] {
            bare_run.push(bare.apply(message, &log.environment)?);
        }
        for message in &log.messages[known..] {
            machine_run.push(machine.apply(message, &log.environment)?);
        }
    }

    let outputs = stored_outputs(&driver, id).await?;
    ensure!(outputs.len() >= messages, "only {} of {messages} results are stored", outputs.len());
    unit_run.outputs = outputs[outputs.len() - messages..].to_vec();
    Ok(Measured { unit: unit_run, bare: bare_run, machine: machine_run, log })
}

async fn stored_outputs(driver: &Driver, process: ItemId) -> Result<Vec<Value>> {
    let cu_url = trimmed(&driver.ready().cu_url);
    let mut outputs = Vec::new();
    let mut from = String::new();
    loop {
        let url = format!("{cu_url}/results/{process}?sort=ASC&limit=500{from}");
        let page = driver.get(&url).await?;
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
    driver: &Driver,
    su_url: &str,
    process: ItemId,
    mut cursor: Option<String>,
    messages: &mut Vec<String>,
) -> Result<Option<String>> {
    loop {
        let from = cursor.as_ref().map(|cursor| format!("&from={cursor}")).unwrap_or_default();
        let url = format!("{su_url}/{process}?process-id={process}&limit=500{from}");
        let page = driver.get(&url).await?;
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

async fn environment(driver: &Driver, su_url: &str, process: ItemId, module: &DataItem) -> Result<String> {
    let record = driver.get(&format!("{su_url}/processes/{process}")).await?;
    Ok(json!({
        "Process": {"Id": process, "Owner": record["owner"]["address"], "Tags": record["tags"]},
        "Module": {"Id": module.id(), "Owner": driver.wallet.address(), "Tags": module.tags()},
    })
    .to_string())
}
