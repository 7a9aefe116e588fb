//! Comparing a replay with a compute unit, and finding the first slot at which they differ.
//!
//! A memory never goes back, so roots are taken on the way: at first at every few slots, at fewer and fewer as the log gets
//! longer. If the last one differs, the first sample that does is found by halving, and a second replay takes every root
//! between that sample and the one before it.

use holon_client::Network;
use holon_cu::replay::{Replay, ReplayError, ReplayOptions, Report};
use holon_protocol::{Nonce, ProcessId};
use url::Url;

use super::replay;
use crate::failure::Failure;
use crate::terminal::{GOOD, Terminal};

/// Slots between samples at first.
const EVERY: u64 = 64;
/// Most samples kept.
const MOST: usize = 256;

/// States on the way, the last one included.
#[derive(Debug, Clone)]
pub struct Samples {
    every: u64,
    reports: Vec<Report>,
    last: Report,
}

impl Samples {
    /// Evaluates to `to`, or to the end, taking samples.
    pub async fn collect(replay: &mut Replay, to: Option<Nonce>) -> Result<Self, ReplayError> {
        let (mut every, mut reports) = (EVERY, Vec::new());
        let mut next = every;
        let last = loop {
            let goal = to.map_or(next, |to| next.min(to.0));
            let report = match replay.advance(Some(Nonce(goal))).await {
                Ok(report) => report,
                Err(ReplayError::NoSlot { .. }) if to.is_none() => break replay.report().await?,
                Err(error) => return Err(error),
            };
            if to == Some(report.slot) {
                break report;
            }
            reports.push(report);
            if reports.len() >= MOST {
                every *= 2;
                reports.retain(|report| report.slot.0 % every == 0);
            }
            next = (goal / every + 1) * every;
        };
        Ok(Self { every, reports, last })
    }

    /// The state at the end.
    pub fn last(&self) -> &Report {
        &self.last
    }
}

/// Compares the last state with what `unit` says about that slot; if they differ, names the first slot at which they do.
pub async fn with(unit: Url, samples: &Samples, options: ReplayOptions, terminal: Terminal) -> Result<(), Failure> {
    let network = Network::builder().cu_url(unit.clone()).build()?;
    let process = samples.last.process;
    let agrees = async |report: &Report| -> Result<bool, Failure> {
        let theirs = network.state_root(process, Some(report.slot)).await?;
        if theirs.process != process || theirs.nonce != report.slot {
            return Err(Failure::network(format!(
                "{unit} answered about slot {} of {}; slot {} of {process} was asked for",
                theirs.nonce, theirs.process, report.slot
            )));
        }
        Ok(theirs.state_root == report.state_root.to_string())
    };
    if agrees(&samples.last).await? {
        if !terminal.is_json() {
            terminal.field("compare", format!("{GOOD}the same{GOOD:#} at {unit}"));
        }
        return Ok(());
    }
    terminal.note("the roots differ; looking for the first slot at which they do");
    let upper = first_difference(&samples.reports, &agrees).await?;
    let after = upper.checked_sub(1).and_then(|before| samples.reports.get(before)).map(|report| report.slot);
    let until = samples.reports.get(upper).map_or(samples.last.slot, |report| report.slot);
    let between = between(process, options, after, until, terminal, samples.every).await?;
    let at = first_difference(&between, &agrees).await?;
    let (slot, own) =
        between.get(at).map_or((samples.last.slot, samples.last.state_root), |report| (report.slot, report.state_root));
    Err(Failure::network(format!("slot {slot} is the first at which {unit} has another state root than {own}")))
}

/// The first report that does not agree; their number if all do. Once states differ they stay different.
async fn first_difference(
    reports: &[Report],
    agrees: &impl AsyncFn(&Report) -> Result<bool, Failure>,
) -> Result<usize, Failure> {
    let (mut low, mut high) = (0, reports.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match reports.get(middle) {
            Some(report) if agrees(report).await? => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Every state after slot `after` up to `until`.
async fn between(
    process: ProcessId,
    options: ReplayOptions,
    after: Option<Nonce>,
    until: Nonce,
    terminal: Terminal,
    every: u64,
) -> Result<Vec<Report>, Failure> {
    let mut replay = replay::open(options, process, terminal).await?;
    let first = after.map_or(0, |after| after.0 + 1);
    let collect = async |replay: &mut Replay, _| {
        let mut reports = Vec::with_capacity(usize::try_from(every).unwrap_or_default());
        for slot in first..=until.0 {
            reports.push(replay.advance(Some(Nonce(slot))).await?);
        }
        Ok(reports)
    };
    let reports = replay::watched(&mut replay, terminal, collect, Some(until)).await;
    replay.close().await;
    reports
}
