//! Whether two builds of a process answer the same messages the same way: `same-behaviour <module> <module>`.
//!
//! Two compilers make different bytes of one source. What counts is what a compute unit gets from them: the exact answers, in
//! order, over messages that succeed, fail and overflow. One script has the messages of every process of this repository; what is another
//! process's is refused, which is an answer too.

use std::{env, ffi::OsString, fs, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, ensure};
use holon_cu::machine::{Call, Engine, EngineOptions, Format, Limits, Machine, NoDrive};
use holon_protocol::Tags;
use serde_json::json;

const OWNER: &str = "owner-of-the-process";

/// Sender, action, further tags and data.
type Tagged = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

const TAGGED: &[Tagged] = &[
    ("alice", "Info", &[], ""),
    (OWNER, "Mint", &[("Quantity", "340282366920938463463374607431768211455")], ""),
    (OWNER, "Mint", &[("Quantity", "100"), ("Recipient", "alice")], ""),
    ("alice", "Transfer", &[("Quantity", "30"), ("Recipient", "bob"), ("X-Order", "ä")], ""),
    ("alice", "Transfer", &[("Quantity", "1.5"), ("Recipient", "bob")], ""),
    ("alice", "Transfer", &[("Quantity", "300")], ""),
    ("bob", "Burn", &[("Quantity", "1")], ""),
    ("bob", "Balance", &[], ""),
    ("bob", "Balances", &[("After", "alice")], ""),
    ("bob", "Total-Supply", &[], ""),
    ("alice", "Register", &[("Name", "points"), ("Address", "token"), ("Nickname", "Al")], ""),
    ("bob", "Register", &[("Name", "points")], ""),
    ("alice", "Resolve", &[("Name", "points")], ""),
    ("alice", "Names", &[], ""),
    ("bob", "Update", &[("Name", "points"), ("Address", "x")], ""),
    ("alice", "Pass-On", &[("Name", "points"), ("To", "bob")], ""),
    ("bob", "Release", &[("Name", "points")], ""),
    ("bob", "Broadcast", &[], "hello \"all\" \u{1} 🚀"),
    ("bob", "Unregister", &[], ""),
    ("carol", "Broadcast", &[], "spam"),
    ("alice", "Members", &[], ""),
    ("alice", "History", &[], ""),
    ("alice", "Subscribe", &[], ""),
    ("alice", "Status", &[], ""),
    ("alice", "Tick", &[], ""),
];

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
        "Process": {"Id": "process", "Owner": OWNER, "Tags": [
            {"name": "Authority", "value": "authority"}, {"name": "Name", "value": "Points"}, {"name": "Initial-Supply", "value": "1000"},
        ]},
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

/// The process itself, then one message for each thing the processes do.
fn script() -> Vec<String> {
    let scheduled = |nonce: usize, id: &str, from: &str, owner: &str, tags: &[(&str, &str)], data: &str| {
        let tags: Vec<_> = tags.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({
            "Id": id, "Signature": "signature", "Data": data, "Owner": owner, "Target": "process", "Anchor": null,
            "From": from, "Tags": tags, "Epoch": 0, "Nonce": nonce, "Timestamp": 1_700_000_000_000_u64 + nonce as u64,
            "Block-Height": 1_500_000, "Hash-Chain": "chain", "Cron": false, "Read-Only": false,
        })
        .to_string()
    };
    let mut script = vec![scheduled(0, "process", OWNER, OWNER, &[("Type", "Process")], "")];
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
    for (from, action, more, data) in TAGGED {
        let nonce = script.len();
        let mut tags = vec![("Action", *action), ("Reference", "7")];
        tags.extend(*more);
        script.push(scheduled(nonce, &format!("message-{nonce}"), from, from, &tags, data));
    }
    script.push(
        scheduled(script.len(), "tick", OWNER, OWNER, &[("Action", "Tick")], "")
            .replace(r#""Cron":false"#, r#""Cron":true"#),
    );
    script
}
