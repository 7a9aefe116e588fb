//! What a process costs while nothing happens to it: makes many machines of a native module, gives each some messages, lets
//! them rest, and wakes them.
//!
//! ```text
//! cargo run --release -p holon-cu --example idle_bench -- wasm-processes/counter/counter.wasm [machines] [messages]
//! ```

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use holon_cu::machine::{
    Call, EVALUATION_STACK_BYTES, Engine, EngineOptions, Format, Limits, Machine, Module, NoDrive, Outcome,
};
use holon_protocol::Tags;
use serde_json::json;

const ID: &str = "Ge1Av2LDmbhJLv2luakYS2jPTZ1KFls4VXudFCAdDAM";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: idle_bench <module.wasm> [machines] [messages] [format]")?;
    let machines = arguments.next().map_or(Ok(10_000), |count| count.parse::<usize>())?.max(1);
    let messages = arguments.next().map_or(Ok(3), |count| count.parse::<usize>())?;
    let format = arguments.next().map_or(Ok(Format::Native), |format| format.parse())?;
    let engine = Engine::new(EngineOptions::default())?;
    let module = engine.compile_for(&std::fs::read(path)?, format, u64::MAX)?;
    let thread = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES);
    let measured = thread.spawn(move || measure(&module, machines, messages).map_err(|error| error.to_string()))?;
    measured.join().map_err(|_| "the evaluation thread panicked")??;
    Ok(())
}

fn measure(module: &Module, count: usize, messages: usize) -> Result<(), Box<dyn Error>> {
    let tags = |kind: &str| {
        json!([{ "name": "Data-Protocol", "value": "ao" }, { "name": "Variant", "value": "ao.TN.1" },
               { "name": "Type", "value": kind }, { "name": "Module", "value": ID }, { "name": "Scheduler", "value": ID },
               { "name": "Authority", "value": ID }])
    };
    let environment = json!({ "Process": { "Id": ID, "Owner": ID, "Tags": tags("Process") },
                              "Module": { "Id": ID, "Owner": ID, "Tags": tags("Module") } })
    .to_string();
    let (action, data) = match module.format() {
        Format::Native => ("Increment", ""),
        _ => ("Eval", "Counter = (Counter or 0) + 1; return Counter"),
    };
    let text = |nonce: usize| {
        json!({ "Id": format!("{nonce:043}"), "Data": data, "Owner": ID,
                "Target": ID, "From": ID, "Module": ID, "Anchor": "", "Tags": [{ "name": "Action", "value": action }], "Nonce": nonce,
                "Timestamp": 1_700_000_000_000_u64 + nonce as u64, "Block-Height": 1, "Cron": false })
        .to_string()
    };
    let none = Tags::default();
    let apply = |machine: &mut Machine, nonce: usize| -> Result<(), Box<dyn Error>> {
        let message = text(nonce);
        let call = Call {
            message: &message,
            environment: &environment,
            block_height: 1,
            process_tags: &none,
            module_tags: &none,
        };
        match machine.apply(&call)?.outcome {
            Outcome::Ok(_) => Ok(()),
            other => Err(format!("a message failed: {other:?}").into()),
        }
    };
    let limits = Limits { memory_bytes: u64::MAX, compute: u64::MAX };
    // What the first machine needs, all share.
    let mut first = Machine::new(module, limits, Arc::new(NoDrive))?;
    apply(&mut first, 0)?;
    first.rest()?;
    let before = resident()?;

    let started = Instant::now();
    let mut machines = Vec::with_capacity(count);
    for _ in 0..count {
        machines.push(Machine::new(module, limits, Arc::new(NoDrive))?);
    }
    println!("{count} machines made in {:.1?}", started.elapsed());
    let (mut woken, mut rested) = (Vec::new(), Vec::new());
    for machine in &mut machines {
        for nonce in 0..messages {
            apply(machine, nonce)?;
        }
        let started = Instant::now();
        machine.rest()?;
        rested.push(started.elapsed());
    }
    let own: u64 = machines.iter().map(Machine::resident_bytes).sum();
    let now = resident()?;
    println!(
        "idle after {messages} messages: {} bytes of pages and {} bytes in all a process; {} files, {} mappings",
        own / count as u64,
        now.saturating_sub(before) / count as u64,
        entries("/proc/self/fd")?,
        std::fs::read_to_string("/proc/self/maps")?.lines().count()
    );
    // The whole way from rest through a message, then the same message warm.
    let mut warm = Vec::new();
    for machine in machines.iter_mut().take(1000) {
        let started = Instant::now();
        apply(machine, messages)?;
        woken.push(started.elapsed());
        let started = Instant::now();
        apply(machine, messages + 1)?;
        warm.push(started.elapsed());
        machine.rest()?;
    }
    println!(
        "rest {:.1?}, message after rest {:.1?}, message after that {:.1?} (medians)",
        median(rested),
        median(woken),
        median(warm)
    );
    let started = Instant::now();
    for machine in &mut machines {
        machine.fork()?.state_root(&[0; 32])?;
    }
    println!("first state root {:.1?} a process", started.elapsed() / count as u32);
    println!("with trees: {} bytes in all a process", resident()?.saturating_sub(before) / count as u64);
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Memory of this program, in bytes; pages of files in memory that are not mapped count too, as far as the computer can tell.
fn resident() -> Result<u64, Box<dyn Error>> {
    let field = |file: &str, name: &str| -> Result<u64, Box<dyn Error>> {
        let text = std::fs::read_to_string(file)?;
        let line = text.lines().find(|line| line.starts_with(name)).ok_or("a field is missing")?;
        Ok(line.split_whitespace().nth(1).ok_or("a number is missing")?.parse::<u64>()? << 10)
    };
    Ok(field("/proc/self/status", "RssAnon:")? + field("/proc/meminfo", "Shmem:")?)
}

fn entries(folder: &str) -> std::io::Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}
