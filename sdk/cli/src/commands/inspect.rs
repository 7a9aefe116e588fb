//! `holon inspect`: everything known of a process, a message or a module.

use clap::Args;
use holon_arweave::graphql::Node;
use holon_client::console;
use holon_protocol::{Address, ItemId, MessageId, ProcessId, Tags};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Global, ProcessName, parse_process};
use crate::clock;
use crate::connection::{self, Connection};
use crate::facts::{self, Cron, Latest, ProcessFacts};
use crate::failure::{self, Failure};
use crate::terminal::{BAD, COPY, GOOD, LABEL, STRONG, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon inspect counter
  holon inspect <process>                 owner, module, scheduler, log, what is settled, state root
  holon inspect <message>                 who sent it, its slot, its result
  holon inspect <module>                  format, size and limits
  holon inspect <process> --json | jq .latest.nonce";

/// Tags that say in another way what is shown already, or are the same everywhere.
const MACHINERY: [&str; 15] = [
    "Data-Protocol",
    "Timestamp",
    "Variant",
    "Type",
    "Module",
    "Scheduler",
    "Authority",
    "SDK",
    "Content-Type",
    "Module-Format",
    "Memory-Limit",
    "Compute-Limit",
    "Input-Encoding",
    "Output-Encoding",
    "Name",
];
/// Longest tag value shown, in characters; `--json` shows all.
const MAX_VALUE_CHARS: usize = 200;

/// `holon inspect`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process, message or module id; or `counter`
    #[arg(value_name = "ID", value_parser = parse_process, allow_hyphen_values = true)]
    subject: ProcessName,
    /// Process that a message was sent to, when nobody can tell
    #[arg(short, long, value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: Option<ProcessName>,
}

/// A message and what became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageFacts {
    kind: String,
    id: ItemId,
    from: Address,
    process: Option<ProcessId>,
    tags: Tags,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled: Option<Latest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let id: ItemId = match &arguments.subject {
        ProcessName::Id(id) => (*id).into(),
        name => connection.process(name)?.into(),
    };
    let progress = terminal.progress("asking the units");
    let node = match connection.network.gateway() {
        Ok(gateway) => {
            gateway.placed_node(id).await.map_err(|error| Failure::from(holon_client::Error::from(error)))?
        }
        Err(_) => None,
    };
    match node.as_ref().and_then(|node| node.tags.get("Type")) {
        Some("Process") => {
            let facts = Box::pin(facts::of_process(&connection, id.into())).await?;
            drop(progress);
            process(terminal, &facts)
        }
        Some("Module") => {
            drop(progress);
            node.as_ref().map_or(Ok(()), |node| module(terminal, node))
        }
        Some(_) | None => {
            // A process is known to its scheduler before it is on Arweave.
            if node.is_none()
                && arguments.process.is_none()
                && let Ok(facts) = Box::pin(facts::of_process(&connection, id.into())).await
            {
                drop(progress);
                return process(terminal, &facts);
            }
            let target = arguments.process.as_ref().map(|name| connection.process(name)).transpose()?;
            let facts = Box::pin(of_message(&connection, id, node, target)).await?;
            drop(progress);
            message(terminal, &facts)
        }
    }
}

/// What is known of a message: from Arweave, or from the log of the process it was sent to.
async fn of_message(
    connection: &Connection,
    id: ItemId,
    node: Option<Node>,
    process: Option<ProcessId>,
) -> Result<MessageFacts, Failure> {
    let process = match (process, &node) {
        (Some(process), _) => Some(process),
        (None, Some(node)) => target(node),
        (None, None) => pushed_to(connection, id).await,
    };
    let mut unknown = Vec::new();
    let (mut scheduled, mut result, mut kept) = (None, None, None);
    if let Some(process) = process {
        let message = MessageId::from(id);
        let (entry, evaluated) = tokio::join!(
            Box::pin(async {
                let scheduler = connection.scheduler(process).await?;
                Ok::<_, Failure>(scheduler.entry(process, message).await?)
            }),
            connection.network.result(process, message),
        );
        match entry {
            Ok(entry) => {
                scheduled = facts::place(&entry);
                kept = entry.message;
            }
            Err(failure) => unknown.push(format!("its place in the log: {}", failure.message())),
        }
        match evaluated {
            Ok(evaluated) => result = serde_json::to_value(&evaluated).ok(),
            Err(error) => unknown.push(format!("its result: {error}")),
        }
    }
    let (from, tags, block_height) = match (node, kept) {
        (Some(node), _) => (node.owner.address, node.tags, node.block.map(|block| block.height.0)),
        (None, Some(item)) => (item.owner.address, item.tags, None),
        (None, None) => {
            return Err(Failure::network(format!("{id} is not known on this network ({})", connection.name)).hint(
                "check the id, and the network: --network; a message sent a moment ago is found with --process",
            ));
        }
    };
    let kind = tags.get("Type").unwrap_or("item").to_lowercase();
    Ok(MessageFacts { kind, id, from, process, tags, block_height, scheduled, result, unknown })
}

/// The process an item on Arweave is for; an assignment names it in a tag.
fn target(node: &Node) -> Option<ProcessId> {
    let named = node.tags.get("Process").filter(|_| node.tags.contains("Type", "Assignment"));
    named.unwrap_or(&node.recipient).parse().ok()
}

/// The process a message went to, if the messenger remembers it and tells everybody.
async fn pushed_to(connection: &Connection, id: ItemId) -> Option<ProcessId> {
    let (trace, _) = connection.network.trace(id, 1, None).await.ok()?;
    trace.nodes.into_iter().find(|node| node.id == id)?.to.map(Into::into)
}

/// Shows a process.
pub fn process(terminal: Terminal, facts: &ProcessFacts) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(facts);
    }
    let birth = &facts.birth;
    terminal.field("process", format!("{COPY}{}{COPY:#}", birth.id));
    if let Some(name) = &birth.name {
        terminal.field("name", format!("{STRONG}{name}{STRONG:#}"));
    }
    terminal.field("owner", birth.owner.to_string());
    if let Some(module) = birth.module {
        terminal.field("module", format!("{COPY}{module}{COPY:#}"));
    }
    let url = facts.scheduler_url.as_ref().map(|url| format!("  {LABEL}{url}{LABEL:#}")).unwrap_or_default();
    terminal
        .field("scheduler", format!("{}{url}", birth.scheduler.map(|address| address.to_string()).unwrap_or_default()));
    for authority in &facts.authorities {
        terminal.field("authority", authority);
    }
    for Cron { interval, tags } in &facts.crons {
        terminal.field("cron", format!("{interval}  {}", tags_line(tags.iter().map(|tag| (&*tag.name, &*tag.value)))));
    }
    if let Some(at) = birth.spawned_at.filter(|at| at.0 > 0) {
        terminal.field("spawned", clock::date_and_time(at));
    }
    if let Some(Latest { nonce, timestamp }) = facts.latest {
        terminal.field("log", format!("up to slot {STRONG}{nonce}{STRONG:#}, {}", clock::date_and_time(timestamp)));
    }
    match facts.settled {
        Some(slot) => terminal.field("settled", format!("up to slot {slot}")),
        None if !facts.unknown.iter().any(|what| what.starts_with("what is settled")) => {
            terminal.field("settled", "nothing yet");
        }
        None => {}
    }
    if let Some(state) = &facts.state {
        terminal.field("evaluated", format!("up to slot {}, {} bytes of memory", state.nonce, state.memory_bytes));
        terminal.field("root", &state.state_root);
    }
    if let Some(parked) = &facts.parked {
        let at = parked.slot.map(|slot| format!(" at slot {slot}")).unwrap_or_default();
        let since = clock::date_and_time(parked.since);
        terminal.field("parked", format!("{BAD}since {since}{at}{BAD:#}: {}", parked.reason));
    }
    other_tags(terminal, &birth.tags);
    gaps(terminal, &facts.unknown);
    Ok(())
}

fn message(terminal: Terminal, facts: &MessageFacts) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(facts);
    }
    terminal.field(&facts.kind, format!("{COPY}{}{COPY:#}", facts.id));
    terminal.field("from", facts.from.to_string());
    if let Some(process) = facts.process {
        terminal.field("to", format!("{COPY}{process}{COPY:#}"));
    }
    if let Some(Latest { nonce, timestamp }) = &facts.scheduled {
        terminal.field("slot", format!("{STRONG}{nonce}{STRONG:#}, {}", clock::date_and_time(*timestamp)));
    }
    match facts.block_height {
        Some(height) => terminal.field("settled", format!("in block {height}")),
        None => terminal.field("settled", "not yet"),
    }
    other_tags(terminal, &facts.tags);
    if let Some(result) = facts.result.as_ref().and_then(|result| serde_json::from_value(result.clone()).ok()) {
        if let Some(error) = console::error(&result) {
            terminal.field("error", format!("{BAD}{}{BAD:#}", failure::plain(&error)));
        }
        super::show::parts(terminal, &result);
    }
    gaps(terminal, &facts.unknown);
    Ok(())
}

fn module(terminal: Terminal, node: &Node) -> Result<(), Failure> {
    let tag = |name: &str| node.tags.get(name).map(str::to_owned);
    let height = node.block.map(|block| block.height.0);
    if terminal.is_json() {
        return terminal.json(&json!({
            "kind": "module", "id": node.id, "name": tag("Name"), "owner": node.owner.address, "format": tag("Module-Format"),
            "bytes": node.data_bytes, "memoryLimit": tag("Memory-Limit"), "computeLimit": tag("Compute-Limit"),
            "blockHeight": height, "tags": node.tags,
        }));
    }
    terminal.field("module", format!("{COPY}{}{COPY:#}", node.id));
    let fields = [
        ("name", tag("Name")),
        ("owner", Some(node.owner.address.to_string())),
        ("format", tag("Module-Format")),
        ("size", node.data_bytes.map(|bytes| format!("{bytes} bytes"))),
        ("memory", tag("Memory-Limit")),
        ("compute", tag("Compute-Limit").map(|limit| format!("{limit} gas a message"))),
        ("settled", Some(height.map_or_else(|| "not yet".to_owned(), |height| format!("in block {height}")))),
    ];
    for (label, value) in fields {
        value.into_iter().for_each(|value| terminal.field(label, value));
    }
    other_tags(terminal, &node.tags);
    terminal.note(format!("spawn it: holon spawn --module {}", node.id));
    Ok(())
}

fn other_tags(terminal: Terminal, tags: &Tags) {
    let others = tags.iter().filter(|tag| !MACHINERY.contains(&&*tag.name) && !tag.name.starts_with("Cron-"));
    let line = tags_line(others.map(|tag| (&*tag.name, &*tag.value)));
    if !line.is_empty() {
        terminal.field("tags", line);
    }
}

fn tags_line<'a>(tags: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let shown = tags.map(|(name, value)| {
        let start: String = value.chars().take(MAX_VALUE_CHARS).collect();
        let more = if start.len() < value.len() { "…" } else { "" };
        format!("{LABEL}{name}{LABEL:#} {GOOD}{start}{more}{GOOD:#}")
    });
    shown.collect::<Vec<_>>().join("  ")
}

fn gaps(terminal: Terminal, unknown: &[String]) {
    for gap in unknown {
        terminal.note(format!("not known: {gap}"));
    }
}
