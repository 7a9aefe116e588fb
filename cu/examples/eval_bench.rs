//! What a message costs: `Eval`s on an official module through [`Machine::apply`], and the same ones on the bare guest.
//!
//! ```text
//! cargo run --release -p holon-cu --example eval_bench -- <module.wasm> [format] [messages]
//! ```

use std::{error::Error, sync::Arc, time::Instant};

use holon_cu::machine::{
    Call, EVALUATION_STACK_BYTES, Engine, EngineOptions, Limits, Machine, Module, NoDrive, Outcome, measure::BareGuest,
};
use holon_protocol::Tags;
use serde_json::json;

const PROCESS: &str = "Ge1Av2LDmbhJLv2luakYS2jPTZ1KFls4VXudFCAdDAM";
const OWNER: &str = "TBApaX7jWHFdOhSirdgXxLAWUUQN6Ag3H3gWWskNxYE";
const MODULE: &str = "Eglw2BKDbxmIhiVYekYGpa0jzvMchoTmAXcVUlSPxrk";
/// Messages before the clock starts.
const WARM_UP: usize = 20;
/// Messages in a row before the other side has its turn.
const BLOCK: usize = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: eval_bench <module.wasm> [format] [messages]")?;
    let format = arguments.next().unwrap_or_else(|| "wasm64-unknown-emscripten-draft_2024_02_15".to_owned()).parse()?;
    let messages = arguments.next().map_or(Ok(1000), |count| count.parse::<usize>())?.max(1);
    let wasm = std::fs::read(path)?;
    let engine = Engine::new(EngineOptions::default())?;
    let start = Instant::now();
    let module = engine.compile(&wasm, format)?;
    println!("compiled in {:.0?}", start.elapsed());
    let thread = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES);
    let measured = thread.spawn(move || measure(&module, messages).map_err(|error| error.to_string()))?;
    measured.join().map_err(|_| "the evaluation thread panicked")??;
    Ok(())
}

fn measure(module: &Module, messages: usize) -> Result<(), Box<dyn Error>> {
    let tags = |kind: &str| {
        json!([{ "name": "Data-Protocol", "value": "ao" }, { "name": "Variant", "value": "ao.TN.1" },
               { "name": "Type", "value": kind }, { "name": "Module", "value": MODULE }, { "name": "Scheduler", "value": OWNER },
               { "name": "Authority", "value": OWNER }])
    };
    let environment = json!({ "Process": { "Id": PROCESS, "Owner": OWNER, "Tags": tags("Process") },
                              "Module": { "Id": MODULE, "Owner": OWNER, "Tags": tags("Module") } })
    .to_string();
    let message = |nonce: usize| {
        let tags = if nonce == 0 {
            tags("Process")
        } else {
            json!([{ "name": "Data-Protocol", "value": "ao" }, { "name": "Type", "value": "Message" },
                   { "name": "Action", "value": "Eval" }])
        };
        json!({ "Id": format!("{nonce:043}"), "Signature": "c2ln", "Data": "Counter = (Counter or 0) + 1; return Counter",
                "Owner": OWNER, "Target": PROCESS, "Anchor": "", "From": OWNER, "Tags": tags, "Epoch": 0, "Nonce": nonce,
                "Timestamp": 1_700_000_000_000_u64 + nonce as u64, "Block-Height": 1_500_000, "Hash-Chain": "aGFzaA",
                "Cron": false, "Read-Only": false })
        .to_string()
    };
    let texts: Vec<String> = (0..WARM_UP + messages).map(message).collect();
    let none = Tags::default();
    let calls = texts.iter().map(|message| Call {
        message,
        environment: &environment,
        block_height: 1_500_000,
        process_tags: &none,
        module_tags: &none,
    });
    let calls: Vec<Call<'_>> = calls.collect();

    let limits = Limits { memory_bytes: u64::MAX, compute: u64::MAX };
    let mut machine = Machine::new(module, limits, Arc::new(NoDrive))?;
    let mut bare = BareGuest::new(module)?;
    for call in &calls[..WARM_UP] {
        machine.apply(call)?;
        bare.call(call)?;
    }
    // Taking turns in blocks, so that a busy computer slows both down alike.
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for block in calls[WARM_UP..].chunks(BLOCK) {
        let start = Instant::now();
        for call in block {
            let outcome = machine.apply(call)?.outcome;
            if !matches!(outcome, Outcome::Ok(_)) {
                return Err(format!("an Eval failed: {outcome:?}").into());
            }
        }
        with.push(start.elapsed().as_secs_f64() * 1000.0 / block.len() as f64);
        let start = Instant::now();
        for call in block {
            bare.call(call)?;
        }
        without.push(start.elapsed().as_secs_f64() * 1000.0 / block.len() as f64);
    }
    with.sort_by(f64::total_cmp);
    without.sort_by(f64::total_cmp);
    for (name, at) in [("fastest block", 0), ("median block", with.len() / 2)] {
        let (with, without) = (with[at], without[at]);
        println!("{name}: machine {with:.3} ms, bare guest {without:.3} ms a message, ratio {:.3}", with / without);
    }
    Ok(())
}
