//! What one message costs on processes written in Rust: `wasm-processes/*` on one thread, warm.
//!
//! * **bare guest**: wasmtime calling the module, nothing else;
//! * **machine**: the compute unit's evaluator, with commit and rollback and the answer read.
//!
//! ```text
//! cargo bench -p holon-benches --bench native [-- --messages 100000] [--process token] [--wasm other.wasm]
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use holon_cu::machine::{
    Call, EVALUATION_STACK_BYTES, Engine, EngineOptions, Format, Limits, Machine, NoDrive, Outcome, measure::BareGuest,
};
use holon_protocol::Tags;
use serde_json::{Value, json};

/// Messages before the clock starts.
const WARM_UP: usize = 2_000;
/// Messages in a row before the other side has its turn.
const BLOCK: usize = 1_000;
/// What each should do on one core, warm.
const AIM_PER_SECOND: f64 = 50_000.0;

const PROCESS: &str = "Ge1Av2LDmbhJLv2luakYS2jPTZ1KFls4VXudFCAdDAM";
const OWNER: &str = "TBApaX7jWHFdOhSirdgXxLAWUUQN6Ag3H3gWWskNxYE";
const AUTHORITY: &str = "Eglw2BKDbxmIhiVYekYGpa0jzvMchoTmAXcVUlSPxrk";

/// Measures messages a second on the processes of this repository.
#[derive(Debug, Parser)]
struct Arguments {
    /// Processes to measure; all of them without it
    #[arg(long = "process")]
    processes: Vec<String>,
    /// Messages for each
    #[arg(long, default_value_t = 50_000)]
    messages: usize,
    /// Another module than the one that is part of the repository; with one --process
    #[arg(long)]
    wasm: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured: how a process is prepared, and the message it then gets again and again.
struct Subject {
    name: &'static str,
    prepare: &'static [Text],
    message: Text,
}

/// Action, further tags, data.
struct Text(&'static str, &'static [(&'static str, &'static str)], &'static str);

const SUBJECTS: [Subject; 3] = [
    Subject { name: "counter", prepare: &[], message: Text("Increment", &[], "1") },
    Subject {
        name: "token",
        prepare: &[Text("Mint", &[("Quantity", "1000000000000000000")], "")],
        message: Text("Transfer", &[("Recipient", AUTHORITY), ("Quantity", "12345"), ("X-Order", "7")], ""),
    },
    Subject {
        name: "chatroom",
        prepare: &[Text("Register", &[], "")],
        message: Text("Broadcast", &[], "What a day! \"Quoted\" even."),
    },
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.messages >= BLOCK, "at least {BLOCK} messages are measured");
    ensure!(arguments.wasm.is_none() || arguments.processes.len() == 1, "--wasm is the module of one --process");
    for name in &arguments.processes {
        ensure!(SUBJECTS.iter().any(|subject| subject.name == name), "no process measured here is called {name}");
    }
    // The guest runs on the evaluation threads of the compute unit; so here.
    let thread = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES);
    let measured = thread.spawn(move || run(&arguments).map_err(|error| format!("{error:#}")))?;
    match measured.join() {
        Ok(result) => result.map_err(anyhow::Error::msg),
        Err(_) => anyhow::bail!("the evaluation thread panicked"),
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    println!("median block (fastest block)");
    println!("process        module    instructions            bare guest               machine   messages a second");
    for subject in SUBJECTS {
        if !arguments.processes.is_empty() && !arguments.processes.iter().any(|name| name == subject.name) {
            continue;
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wasm-processes");
        let committed = folder.join(subject.name).join(format!("{}.wasm", subject.name));
        let path = arguments.wasm.as_ref().unwrap_or(&committed);
        let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let Measured { instructions, bare, machine } = measure(&subject, &wasm, arguments.messages)?;
        println!(
            "{:<10} {:>8} B {instructions:>15} {} {} {:>10.0} ({:>6.0})   aim {AIM_PER_SECOND}",
            subject.name,
            wasm.len(),
            bare.text(),
            machine.text(),
            1.0 / machine.median,
            1.0 / machine.fastest,
        );
    }
    Ok(())
}

/// What one message costs.
struct Measured {
    /// Wasm instructions of the last one, which do not depend on the computer.
    instructions: u64,
    bare: Times,
    machine: Times,
}

/// Seconds a message takes.
struct Times {
    median: f64,
    /// Of the block that other programs disturbed least.
    fastest: f64,
}

impl Times {
    fn of(mut blocks: Vec<f64>) -> Self {
        blocks.sort_by(f64::total_cmp);
        Self { median: blocks[blocks.len() / 2], fastest: blocks[0] }
    }

    fn text(&self) -> String {
        format!("{:>10.2} ({:>6.2}) µs", self.median * 1e6, self.fastest * 1e6)
    }
}

fn measure(subject: &Subject, wasm: &[u8], messages: usize) -> Result<Measured> {
    let engine = Engine::new(EngineOptions::default())?;
    let limits = Limits { memory_bytes: 64 << 20, compute: 1_000_000_000 };
    let module = engine.compile_for(wasm, Format::Native, limits.compute)?;
    let mut machine = Machine::new(&module, limits, Arc::new(NoDrive))?;
    let mut bare = BareGuest::new(&module)?;
    let environment = json!({
        "Process": {"Id": PROCESS, "Owner": OWNER, "Tags": tags("Process", &[("Authority", AUTHORITY), ("Name", "bench")])},
        "Module": {"Id": AUTHORITY, "Owner": OWNER, "Tags": tags("Module", &[("Module-Format", Format::Native.as_str())])},
    })
    .to_string();
    let boot = message(0, PROCESS.to_owned(), &Text("", &[], ""), "Process");
    let prepare = subject.prepare.iter().map(|text| message(1, id(1), text, "Message"));
    let warm = (0..WARM_UP + messages).map(|nonce| message(nonce, id(nonce), &subject.message, "Message"));
    let texts: Vec<String> = std::iter::once(boot).chain(prepare).chain(warm).collect();
    let none = Tags::default();
    let calls = texts.iter().map(|message| Call {
        message,
        environment: &environment,
        block_height: 1_500_000,
        process_tags: &none,
        module_tags: &none,
    });
    let calls: Vec<Call<'_>> = calls.collect();
    let (first, measured) = calls.split_at(WARM_UP);
    for call in first {
        let outcome = machine.apply(call)?.outcome;
        ensure!(matches!(outcome, Outcome::Ok(_)), "{}: {outcome:?}", subject.name);
        bare.call(call)?;
    }
    let (mut with, mut without, mut instructions) = (Vec::new(), Vec::new(), 0);
    for block in measured.chunks_exact(BLOCK) {
        let begun = Instant::now();
        for call in block {
            let evaluation = machine.apply(call)?;
            ensure!(matches!(evaluation.outcome, Outcome::Ok(_)), "{}: {:?}", subject.name, evaluation.outcome);
            instructions = evaluation.gas_used;
        }
        with.push(begun.elapsed().as_secs_f64() / BLOCK as f64);
        let begun = Instant::now();
        for call in block {
            bare.call(call)?;
        }
        without.push(begun.elapsed().as_secs_f64() / BLOCK as f64);
    }
    Ok(Measured { instructions, bare: Times::of(without), machine: Times::of(with) })
}

fn id(nonce: usize) -> String {
    format!("{nonce:043}")
}

fn tags(kind: &str, more: &[(&str, &str)]) -> Vec<Value> {
    let protocol = [("Data-Protocol", "ao"), ("Variant", "ao.TN.1"), ("Type", kind)];
    more.iter().chain(&protocol).map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// A message with everything a scheduled one has, signed with RSA's 683 characters.
fn message(nonce: usize, id: String, Text(action, more, data): &Text, kind: &str) -> String {
    let mut own = vec![("Action", *action)];
    own.extend(*more);
    own.push(("SDK", "aoconnect"));
    json!({
        "Id": id, "Signature": "s".repeat(683), "Data": data, "Owner": OWNER, "Target": PROCESS, "Anchor": null, "From": OWNER,
        "Tags": tags(kind, &own), "Epoch": 0, "Nonce": nonce, "Timestamp": 1_700_000_000_000_u64 + nonce as u64,
        "Block-Height": 1_500_000, "Hash-Chain": PROCESS, "Cron": false, "Read-Only": false,
    })
    .to_string()
}
