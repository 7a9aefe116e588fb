//! `holon replay`: a process rebuilt from its log, without a compute unit.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use holon_cu::LogSource;
use holon_cu::replay::{Observer, Replay, ReplayError, ReplayOptions, Report};
use holon_protocol::{Address, Nonce, ProcessId};
use url::Url;

use super::compare;
use crate::arguments::{Global, ProcessName, parse_process};
use crate::connection::{self, Connection};
use crate::failure::{Failure, UNKNOWN};
use crate::record;
use crate::terminal::{COPY, GOOD, LABEL, STRONG, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon replay counter                                 everything the local weave holds
  holon replay <process> --to 1000                     up to slot 1000
  holon replay <process> --gateway-url https://arweave.net
  holon replay <process> --compare http://127.0.0.1:4004
  holon replay <process> --to 1000 --memory image.bin

Nothing is asked but the gateway: the process, its module, the assignments that its scheduler
signed and the messages they position are fetched, and every signature, the order and the hash
chain are checked. A slot that is missing, forged, out of order or given twice ends the replay
with an error that names it. Entries that have not been uploaded yet do not exist.

--log scheduler reads the log from the scheduler instead, --log auto from Arweave only while the
scheduler cannot be reached.

A slot that must be there and is not is looked for during --patience. What goes on is shown on a terminal,
and as a line on standard error every few seconds where there is none, also with --json.

What has been verified is kept; after Ctrl-C or a failure the same command goes on from there.

--compare asks a compute unit for its state root at the same slot. If the two differ, the command
ends with exit code 3 and names the first slot at which they do.";

/// `holon replay`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// Last slot to evaluate [default: the last there is]
    #[arg(long, value_name = "SLOT")]
    to: Option<u64>,
    /// What holds for every replay
    #[command(flatten)]
    source: SourceArguments,
    /// Compute unit whose state root must be the same
    #[arg(long, value_name = "URL")]
    compare: Option<Url>,
    /// Write the memory to this file
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
}

/// Where a replay reads and keeps things.
#[derive(Debug, Clone, Args)]
pub struct SourceArguments {
    /// Where the log is read
    #[arg(long, value_enum, default_value = "arweave")]
    log: LogSource,
    /// Where what has been verified is kept [default: a folder for each process in the user's cache]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Largest Memory-Limit a process may ask for, in bytes [default: as much as compute units allow by default]
    #[arg(long, value_name = "BYTES")]
    memory_max_bytes: Option<u64>,
    /// How long to look for what must be there and is not there yet, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE_SECONDS)]
    patience: u64,
}

/// How long what must be there is looked for.
const PATIENCE_SECONDS: u64 = 15;

impl Default for SourceArguments {
    fn default() -> Self {
        Self { log: LogSource::Arweave, data: None, memory_max_bytes: None, patience: PATIENCE_SECONDS }
    }
}

impl SourceArguments {
    /// The options of a replay of `process`.
    pub fn options(&self, connection: &Connection, process: ProcessId) -> Result<ReplayOptions, Failure> {
        let gateway = connection.network.gateway()?;
        let folder = match &self.data {
            Some(folder) => folder.clone(),
            None => record::cache_folder()
                .ok_or_else(|| {
                    Failure::usage("there is no home folder to keep a cache in").hint("name one: --data <folder>")
                })?
                .join("replay")
                .join(folder_of(gateway.url(), connection.record.as_ref().map(|record| record.scheduler)))
                .join(process.to_string()),
        };
        let mut options = ReplayOptions::new(folder, gateway.url().clone());
        options.graphql_url = Some(gateway.graphql_url().clone());
        options.log = self.log;
        options.memory_max_bytes = self.memory_max_bytes.unwrap_or(options.memory_max_bytes);
        options.allow_private_urls = connection::is_local(gateway.url());
        if let Some(record) = &connection.record {
            options.scheduler_urls.push((record.scheduler, record.su_url.clone()));
        }
        Ok(options.patient(Duration::from_secs(self.patience)))
    }
}

/// The folder of a gateway: a process may be in several networks, a fork beside the original for instance, and its log is another
/// in each. Local networks take turns at one URL, so of those the scheduler, which each makes for itself, tells them apart.
fn folder_of(gateway: &Url, scheduler: Option<Address>) -> String {
    /// Letters of a name; file systems take 255 bytes, and the scheduler has 44 of them.
    const MAX_LETTERS: usize = 200;
    let port = gateway.port_or_known_default().unwrap_or_default();
    let place = format!("{}_{port}{}", gateway.host_str().unwrap_or_default(), gateway.path().trim_end_matches('/'));
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || ".-".contains(letter) { letter } else { '_' };
    let place: String = place.chars().map(plain).take(MAX_LETTERS).collect();
    scheduler.map_or_else(|| place.clone(), |scheduler| format!("{place}_{scheduler}"))
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let options = arguments.source.options(&connection, process)?;
    let to = arguments.to.map(Nonce);
    let mut replay = open(options.clone(), process, terminal).await?;
    let samples = match &arguments.compare {
        Some(_) => Some(watched(&mut replay, terminal, compare::Samples::collect, to).await),
        None => None,
    };
    let report = match samples {
        Some(Ok(samples)) => Ok((samples.last().clone(), Some(samples))),
        Some(Err(failure)) => Err(failure),
        None => watched(&mut replay, terminal, advance, to).await.map(|report| (report, None)),
    };
    let (report, samples) = match report {
        Ok(done) => done,
        Err(failure) => {
            replay.close().await;
            return Err(failure);
        }
    };
    // What was found is shown, whether or not it can be written.
    show(&report, terminal)?;
    let written = match &arguments.memory {
        Some(path) => write(&mut replay, path).await,
        None => Ok(()),
    };
    replay.close().await;
    written?;
    match (arguments.compare, samples) {
        (Some(unit), Some(samples)) => compare::with(unit, &samples, options, terminal).await,
        _ => Ok(()),
    }
}

/// Loads a process.
pub async fn open(options: ReplayOptions, process: ProcessId, terminal: Terminal) -> Result<Replay, Failure> {
    let progress = terminal.progress("loading the process");
    let opened = Replay::open(options, process).await;
    drop(progress);
    opened.map_err(failure)
}

/// Evaluates to a slot, or to the end.
pub async fn advance(replay: &mut Replay, to: Option<Nonce>) -> Result<Report, ReplayError> {
    replay.advance(to).await
}

/// Does `work` with a replay, showing what goes on. Ctrl-C ends it.
pub async fn watched<T>(
    replay: &mut Replay,
    terminal: Terminal,
    work: impl AsyncFnOnce(&mut Replay, Option<Nonce>) -> Result<T, ReplayError>,
    to: Option<Nonce>,
) -> Result<T, Failure> {
    let observer = replay.observer();
    let progress = terminal.report_of(progress_text(observer.clone(), to));
    let done = tokio::select! {
        done = work(replay, to) => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    };
    drop(progress);
    match done {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => Err(failure(error)),
        None => Err(Failure::network(format!("stopped after {} slots", observer.progress().slots))
            .hint("the same command goes on with what has been verified")),
    }
}

/// After this time it is said that something is waited for.
const WAITING_SHOWN: Duration = Duration::from_secs(2);

fn progress_text(observer: Observer, to: Option<Nonce>) -> impl Fn() -> String + Send {
    let begun = Instant::now();
    // Which slot is next, and since when.
    let next = Mutex::new((0, begun));
    let of = to.map(|to| format!(" of {}", to.0.saturating_add(1))).unwrap_or_default();
    move || {
        let progress = observer.progress();
        let still = {
            let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
            if next.0 != progress.slots {
                *next = (progress.slots, Instant::now());
            }
            next.1.elapsed()
        };
        let waiting = match progress.waiting {
            Some((slot, since)) if since >= WAITING_SHOWN => {
                format!("; waiting for slot {slot} for {} seconds", since.as_secs())
            }
            None if still >= WAITING_SHOWN => {
                format!("; at slot {} for {} seconds", progress.slots, still.as_secs())
            }
            _ => String::new(),
        };
        let rate = progress.slots as f64 / begun.elapsed().as_secs_f64().max(0.001);
        format!(
            "{} slots{of} evaluated, {rate:.0} a second{waiting} {LABEL}({} items fetched, {} signatures verified, {} \
             entries from disk){LABEL:#}",
            progress.slots, progress.fetched, progress.verified, progress.shelved
        )
    }
}

/// Writes the memory to a file.
pub async fn write(replay: &mut Replay, path: &std::path::Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::network(format!("cannot write {}: {error}", path.display()));
    let file = std::fs::File::create(path).map_err(|error| failed(&error))?;
    replay.write_memory(std::io::BufWriter::new(file)).await.map_err(|error| failed(&error))
}

/// Shows what a replay found.
pub fn show(report: &Report, terminal: Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(report);
    }
    state_fields(terminal, report.process, report.slot, &report.state_root, report.memory_bytes);
    terminal.field("time", format!("{:.1} s", report.took_ms as f64 / 1000.0));
    Ok(())
}

/// Shows which state was found.
pub fn state_fields(terminal: Terminal, process: ProcessId, slot: Nonce, root: &dyn Display, memory_bytes: u64) {
    terminal.field("process", format!("{COPY}{process}{COPY:#}"));
    terminal.field("slot", format!("{STRONG}{slot}{STRONG:#}"));
    terminal.field("root", format!("{GOOD}{root}{GOOD:#}"));
    terminal.field("memory", format!("{memory_bytes} bytes"));
}

/// What to do about an error of a replay.
pub fn failure(error: ReplayError) -> Failure {
    let hint = match &error {
        ReplayError::NoSlot { .. } => Some("what is newer may not have been uploaded yet; --log scheduler asks for it"),
        ReplayError::Log(_) => Some("--to with a smaller slot evaluates what lies before"),
        ReplayError::Start(_) => Some("a folder belongs to one replay at a time; --data names another"),
        error if error.to_string().contains("is not known to the gateway") => Some(UNKNOWN),
        _ => None,
    };
    let failure = Failure::network(&error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_folders_of_their_own_also_when_they_take_turns_at_a_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        let long = url(&format!("https://{}.net/../{}", "a".repeat(60), "b/".repeat(400)));
        let folders = |gateway: &Url| [[1; 32], [2; 32]].map(|id| folder_of(gateway, Some(Address::from_bytes(id))));
        for gateway in [&url("http://127.0.0.1:4000/"), &long] {
            let [one, other] = folders(gateway);
            assert_ne!(one, other);
            assert!(one.len() <= 255 && !one.contains(['/', ':']), "{one}");
        }
        assert_eq!(folder_of(&url("http://127.0.0.1:4000"), None), "127.0.0.1_4000");
        assert_eq!(folder_of(&url("https://arweave.net/"), None), "arweave.net_443");
        assert_ne!(folder_of(&url("https://a.net/x/y"), None), folder_of(&url("https://a.net/x"), None));
    }
}
