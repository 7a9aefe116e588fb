//! The published JavaScript loader, one message after the other as the reference compute unit does: memory in, memory out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holon_tests::peers;
use serde_json::{Value, json};

use crate::{Run, log::Log, subject::Subject};

/// Evaluates the first `messages` measured messages of the log; the boot and the first message are not measured.
pub fn run(subject: Subject, log: &Log, messages: usize) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("log.json");
    let upto = log.messages.len().min(2 + messages);
    std::fs::write(&input, json!({"messages": log.messages[..upto], "environment": log.environment}).to_string())?;
    let process =
        peers::script("ao-loader.mjs")?.arg(subject.path()?).arg(subject.format.as_str()).arg(&input).output()?;
    ensure!(process.status.success(), "ao-loader.mjs failed: {}", String::from_utf8_lossy(&process.stderr));
    let text = String::from_utf8(process.stdout)?;
    let line = text.lines().next_back().context("ao-loader.mjs printed nothing")?;
    let answers: Value = serde_json::from_str(line)?;
    let (mut times, mut outputs) = (Vec::new(), Vec::new());
    for answer in answers.as_array().context("ao-loader.mjs prints a list")?.iter().skip(2) {
        times.push(Duration::from_nanos(answer["nanoseconds"].as_u64().context("a time in nanoseconds")?));
        outputs.push(answer["output"].clone());
    }
    Ok(Run { times, outputs })
}
