//! `holon logs`: what a process has put out, over time.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures_util::{Stream, TryStreamExt};
use holon_client::live::{Live, LiveResult};
use holon_client::{Error, Network, Sort, console};
use holon_protocol::result::EvaluationResult;
use holon_protocol::{ProcessId, Timestamp, base64url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arguments::{Global, ProcessName, parse_process};
use crate::clock;
use crate::connection::{self, Connection};
use crate::facts;
use crate::failure::{self, Failure};
use crate::terminal::{BAD, LABEL, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon logs counter                      the last twenty outputs and errors
  holon logs <process> -n 100 --errors
  holon logs <process> --follow           then what comes, until Ctrl-C
  holon logs <process> --json | jq -r .output

Shown is what had something to say; --all shows every message. What has not been evaluated yet is
evaluated for it.";

/// Results in a page while the last ones are looked for.
const PAGE: u32 = 500;
/// The cursor before the first result.
const FIRST: &str = "0";
/// Longest wait for the next result of the past.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most results that are looked through for those with an output.
const MAX_LOOKED_THROUGH: usize = 10_000;

/// `holon logs`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Most lines of the past
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    lines: u16,
    /// Only errors
    #[arg(long, conflicts_with = "all")]
    errors: bool,
    /// Also messages that put nothing out
    #[arg(long)]
    all: bool,
}

/// Where a result stands, as far as its cursor tells.
#[derive(Debug, Clone, Default)]
struct Place {
    timestamp: Option<Timestamp>,
    nonce: Option<u64>,
    cron: Option<String>,
}

/// A result of the past.
struct Past {
    place: Place,
    cursor: String,
    result: EvaluationResult,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let progress = terminal.progress("reading");
    let Beginning { start, listed, newest } = beginning(&connection.network, process, &arguments).await?;
    if listed.is_empty() {
        connection.require_process(process).await?;
    }
    // Lists have no failures in them; following from an earlier place tells of everything up to the end of the log.
    let mut stream = pin!(connection.network.follow(process).from(start).stream());
    let past = match end_of_log(&connection, process).await {
        Some(end) => match until(&mut stream, &End { nonce: end, newest }, &arguments, terminal).await {
            Err(Error::Refused { status: 404, .. }) => listed,
            past => past?,
        },
        None => listed,
    };
    let past = if arguments.lines == 0 { Vec::new() } else { past };
    drop(progress);
    for Past { place, cursor, result } in &past {
        line(terminal, place, cursor, result)?;
    }
    if !arguments.follow {
        if past.is_empty() {
            terminal.note("nothing to show; --all shows every message, --follow what comes");
        }
        return Ok(());
    }

    loop {
        let live = tokio::select! {
            live = stream.try_next() => live?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match live {
            None => return Ok(()),
            Some(Live::Result(live)) if arguments.shows(&live.result) => {
                let past = Past::of(*live);
                line(terminal, &past.place, &past.cursor, &past.result)?;
            }
            Some(Live::Result(_)) => {}
            Some(Live::Held(reason)) if terminal.is_json() => terminal.json(&json!({ "held": reason }))?,
            Some(Live::Held(reason)) => terminal.line(format!("{BAD}held{BAD:#} {reason}")),
            Some(Live::Lost(reason)) => terminal.note(format!("connecting again: {reason}")),
        }
    }
}

/// Where the past that is shown begins.
struct Beginning {
    /// The cursor before it.
    start: String,
    /// What lies behind it as far as a list tells it, oldest first.
    listed: Vec<Past>,
    /// When the newest result of the list was due.
    newest: Option<Timestamp>,
}

/// Where the past ends: with the last message of the log, and with the crons after it that have come already.
struct End {
    nonce: u64,
    newest: Option<Timestamp>,
}

impl End {
    fn is_reached(&self, live: &LiveResult) -> bool {
        live.nonce >= self.nonce && self.newest.is_none_or(|newest| live.timestamp >= newest.0)
    }
}

/// Where to begin, so that enough of what is shown lies behind it.
async fn beginning(network: &Network, process: ProcessId, arguments: &Arguments) -> Result<Beginning, Failure> {
    let mut stream = pin!(network.results(process).sort(Sort::Descending).limit(PAGE).stream());
    let (mut listed, mut looked_through, mut newest) = (Vec::new(), 0, None);
    while let Some(edge) = stream.try_next().await? {
        if looked_through == 0 {
            newest = Place::of_cursor(&edge.cursor).timestamp;
        }
        // At least one lies behind the beginning, so that something is told up to which it can be waited.
        if listed.len() >= usize::from(arguments.lines.max(1)) || looked_through >= MAX_LOOKED_THROUGH {
            listed.reverse();
            return Ok(Beginning { start: edge.cursor, listed, newest });
        }
        looked_through += 1;
        if arguments.shows(&edge.node) {
            listed.push(Past { place: Place::of_cursor(&edge.cursor), cursor: edge.cursor, result: edge.node });
        }
    }
    listed.reverse();
    Ok(Beginning { start: FIRST.to_owned(), listed, newest })
}

/// The nonce of the last message, if its scheduler can be asked.
async fn end_of_log(connection: &Connection, process: ProcessId) -> Option<u64> {
    let scheduler = connection.scheduler(process).await.ok()?;
    facts::place(&scheduler.latest(process).await.ok()?).map(|latest| latest.nonce)
}

/// The last results up to the end of the past, oldest first. A unit that does not get there in time has told what it has.
async fn until(
    stream: &mut (impl Stream<Item = Result<Live, Error>> + Unpin),
    end: &End,
    arguments: &Arguments,
    terminal: Terminal,
) -> Result<Vec<Past>, Error> {
    let mut past = VecDeque::new();
    loop {
        let Ok(live) = tokio::time::timeout(PATIENCE, stream.try_next()).await else {
            terminal.note("the compute unit still evaluates; --follow waits for it");
            break;
        };
        match live? {
            None => break,
            Some(Live::Lost(_)) => {}
            Some(Live::Held(reason)) => {
                terminal.note(format!("held: {reason}"));
                break;
            }
            Some(Live::Result(live)) => {
                let is_last = end.is_reached(&live);
                if arguments.lines > 0 && arguments.shows(&live.result) {
                    if past.len() >= usize::from(arguments.lines) {
                        past.pop_front();
                    }
                    past.push_back(Past::of(*live));
                }
                if is_last {
                    break;
                }
            }
        }
    }
    Ok(past.into())
}

impl Past {
    fn of(live: LiveResult) -> Self {
        let place = Place { timestamp: Some(Timestamp(live.timestamp)), nonce: Some(live.nonce), cron: live.cron };
        Self { place, cursor: live.cursor, result: live.result }
    }
}

impl Arguments {
    fn shows(&self, result: &EvaluationResult) -> bool {
        let failed = console::error(result).is_some();
        self.all || failed || (!self.errors && !console::output(result).trim().is_empty())
    }
}

impl Place {
    /// Cursors are opaque but to those who know that they are base64 JSON (spec 05 §2.3); others give no place.
    fn of_cursor(cursor: &str) -> Self {
        #[derive(Deserialize)]
        struct Cursor {
            #[serde(default)]
            timestamp: Value,
            #[serde(default)]
            ordinate: Value,
            #[serde(default)]
            cron: Option<String>,
        }
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let text = cursor.replace('+', "-").replace('/', "_");
        let decoded = base64url::decode(text.trim_end_matches('=')).ok();
        let cursor = decoded.and_then(|json| serde_json::from_slice::<Cursor>(&json).ok());
        cursor.map_or_else(Self::default, |cursor| Self {
            timestamp: number(&cursor.timestamp).map(Timestamp),
            nonce: number(&cursor.ordinate),
            cron: cursor.cron,
        })
    }
}

fn line(terminal: Terminal, place: &Place, cursor: &str, result: &EvaluationResult) -> Result<(), Failure> {
    let (output, error) = (console::output(result), console::error(result));
    if terminal.is_json() {
        return terminal.json(&json!({
            "cursor": cursor, "timestamp": place.timestamp, "nonce": place.nonce, "cron": place.cron, "output": output,
            "error": error,
        }));
    }
    let time = place.timestamp.map(clock::date_and_time).unwrap_or_default();
    let nonce = place.nonce.map(|nonce| nonce.to_string()).unwrap_or_default();
    let cron = place.cron.as_ref().map(|cron| format!(" cron {cron}")).unwrap_or_default();
    let head = format!("{LABEL}{time}{LABEL:#} {nonce:>5}{LABEL}{cron}{LABEL:#}");
    let text = match &error {
        Some(error) => format!("{BAD}error{BAD:#} {}", failure::plain(error)),
        None if output.trim().is_empty() => format!("{LABEL}–{LABEL:#}"),
        None => output,
    };
    // A text of several lines stands below, so that times stay in their column.
    let text = match text.trim_end().contains('\n') {
        true => format!("\n  {}", text.trim_end().replace('\n', "\n  ")),
        false => format!("  {}", text.trim_end()),
    };
    terminal.line(format!("{head}{text}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_tells_time_and_slot_if_it_is_one_of_ours() {
        let text = r#"{"timestamp":"1700000000123","ordinate":"5","cron":"1-10-seconds","sort":"ASC"}"#;
        let place = Place::of_cursor(&base64url::encode(text));
        assert_eq!((place.timestamp, place.nonce), (Some(Timestamp(1_700_000_000_123)), Some(5)));
        assert_eq!(place.cron.as_deref(), Some("1-10-seconds"));
        for other in ["", "42", "???", "e30="] {
            assert!(Place::of_cursor(other).nonce.is_none(), "{other}");
        }
    }
}
