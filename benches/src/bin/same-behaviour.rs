//! Whether two builds of the counter answer the same messages the same way: `same-behaviour <module> <module>`.
//!
//! Two compilers make different bytes of one source. What counts is what a compute unit gets from them: the exact answers, in
//! order, over messages that succeed, fail and overflow.

use std::{env, ffi::OsString, fs, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, ensure};
use holon_cu::machine::{Call, Engine, EngineOptions, Format, Limits, Machine, NoDrive};
use holon_protocol::Tags;
use serde_json::json;

const OWNER: &str = "owner-of-the-counter";

fn main() -> ExitCode {
    let modules: Vec<_> = env::args_os().skip(1).collect();
    let [left, right] = modules.as_slice() else {
        eprintln!("same-behaviour <module> <module>");
        return ExitCode::from(2);
    };
    let answers = |path: &OsString| -> Result<Vec<String>> {
        let wasm = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        // Engines keep nothing between runs: a cached module would only compare itself.
        answers(&wasm)
    };
    match (answers(left), answers(right)) {
        (Ok(left), Ok(right)) => match left.iter().zip(&right).position(|(left, right)| left != right) {
            None => ExitCode::SUCCESS,
            Some(at) => {
                eprintln!("message {at} of the script is answered with\n  {}\nand\n  {}", left[at], right[at]);
                ExitCode::FAILURE
            }
        },
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn answers(wasm: &[u8]) -> Result<Vec<String>> {
    let engine = Engine::new(EngineOptions::default())?;
    let module = engine.compile(wasm, Format::Native)?;
    let limits = Limits { memory_bytes: 64 << 20, compute: 9_000_000_000_000 };
    let mut machine = Machine::new(&module, limits, Arc::new(NoDrive))?;
    let environment = json!({
        "Process": {"Id": "counter", "Owner": OWNER, "Tags": [{"name": "Authority", "value": "authority"}]},
        "Module": {"Id": "module", "Owner": OWNER, "Tags": []},
    })
    .to_string();
    let tags = Tags::default();
    let mut answers = Vec::new();
    for message in script() {
        let call = Call {
            message: &message,
            environment: &environment,
            block_height: 1_500_000,
            process_tags: &tags,
            module_tags: &tags,
        };
        let evaluation = machine.apply(&call)?;
        let returned = evaluation.returned.context("the module trapped")?;
        ensure!(!returned.is_empty(), "the module answered nothing");
        answers.push(returned);
    }
    Ok(answers)
}

/// The process itself, then one message for each thing the counter does.
fn script() -> Vec<String> {
    let scheduled = |nonce: usize, id: &str, from: &str, owner: &str, tags: &[(&str, &str)], data: &str| {
        let tags: Vec<_> = tags.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({
            "Id": id, "Signature": "signature", "Data": data, "Owner": owner, "Target": "counter", "Anchor": null,
            "From": from, "Tags": tags, "Epoch": 0, "Nonce": nonce, "Timestamp": 1_700_000_000_000_u64 + nonce as u64,
            "Block-Height": 1_500_000, "Hash-Chain": "chain", "Cron": false, "Read-Only": false,
        })
        .to_string()
    };
    let mut script = vec![scheduled(0, "counter", OWNER, OWNER, &[("Type", "Process")], "")];
    for (from, owner, action, data) in [
        (OWNER, OWNER, "Get", ""),
        (OWNER, OWNER, "Increment", " "),
        (OWNER, OWNER, "Increment", "41"),
        (OWNER, OWNER, "Get", ""),
        (OWNER, OWNER, "Increment", "many"),
        (OWNER, OWNER, "Increment", "ä🚀"),
        (OWNER, OWNER, "Increment", "9223372036854775807"),
        (OWNER, OWNER, "Increment", "-100"),
        ("other", "authority", "Get", ""),
        ("other", "stranger", "Get", ""),
        ("authority", "stranger", "Get", ""),
        (OWNER, OWNER, "Dance", ""),
        (OWNER, OWNER, "Get", ""),
    ] {
        let nonce = script.len();
        let tags = [("Action", action), ("Reference", "7"), ("Data-Protocol", "ao"), ("Type", "Message")];
        script.push(scheduled(nonce, &format!("message-{nonce}"), from, owner, &tags, data));
    }
    script
}
