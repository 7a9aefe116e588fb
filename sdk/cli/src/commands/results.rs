//! `holon results`: the list of results of a process.

use clap::{Args, ValueEnum};
use holon_client::{Sort, console, outgoing};
use serde_json::json;

use crate::arguments::{Global, ProcessName, parse_process};
use crate::connection;
use crate::failure::{self, Failure};
use crate::terminal::{BAD, LABEL, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon results counter --limit 5 --sort desc
  holon results counter --from <cursor>        what is newer than the cursor

Only what has been evaluated is listed; `holon result <message>` evaluates.";

/// `holon results`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// Most results shown
    #[arg(short, long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only results newer than this cursor
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// Only results up to this cursor
    #[arg(long, value_name = "CURSOR")]
    to: Option<String>,
    /// Oldest or newest first
    #[arg(long, value_enum, default_value = "asc")]
    sort: Order,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let sort = match arguments.sort {
        Order::Asc => Sort::Ascending,
        Order::Desc => Sort::Descending,
    };
    let bounded = arguments.from.is_some() || arguments.to.is_some();
    let mut list = connection.network.results(process).sort(sort).limit(arguments.limit);
    if let Some(cursor) = arguments.from {
        list = list.from(cursor);
    }
    if let Some(cursor) = arguments.to {
        list = list.to(cursor);
    }
    let page = list.page().await?;
    if page.edges.is_empty() && !bounded {
        connection.require_process(process).await?;
    }

    if terminal.is_json() {
        for edge in &page.edges {
            terminal.json(&json!({ "cursor": edge.cursor, "result": edge.node }))?;
        }
        return Ok(());
    }
    for edge in &page.edges {
        let what = match console::error(&edge.node) {
            Some(error) => format!("{BAD}{}{BAD:#}", failure::plain(&error)),
            None => console::output(&edge.node),
        };
        let sent = outgoing(&edge.node).len();
        let sent = if sent > 0 { format!("  {LABEL}{sent} sent{LABEL:#}") } else { String::new() };
        terminal.line(format!("{}{sent}", if what.is_empty() { "–" } else { &what }));
        terminal.line(format!("{LABEL}  {}{LABEL:#}", edge.cursor));
    }
    match page.edges.last() {
        None => terminal.note("nothing has been evaluated in this range"),
        Some(last) if page.has_next() && sort == Sort::Ascending => {
            terminal.note(format!("there is more: --from {}", last.cursor));
        }
        Some(_) => {}
    }
    Ok(())
}
