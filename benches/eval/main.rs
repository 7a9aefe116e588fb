//! What one `Eval` message costs, on the published module `aos2_0_6`, from the same messages in the same run:
//!
//! * **bare guest**: wasmtime calling the module's `handle`, nothing else;
//! * **machine**: the compute unit's evaluator, with commit and rollback;
//! * **compute unit**: one request for the last message's result, which reads the log from the scheduler page by page, checks
//!   its chain, evaluates and stores the results;
//! * **ao-loader**: the published JavaScript loader in Node, as the reference compute unit uses it.

mod bare;
mod loader;
mod log;
mod machine;
mod network;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use serde_json::{Value, json};

/// Module of the measurement.
const MODULE: &str = "aos2_0_6";
const FORMAT: &str = "wasm64-unknown-emscripten-draft_2024_02_15";

/// Measures one Eval message in the bare guest, the compute unit and the published loader.
#[derive(Debug, Parser)]
struct Arguments {
    /// Messages for the bare guest, the machine and the compute unit
    #[arg(long, default_value_t = 1_000)]
    messages: usize,
    /// Messages for the published loader, which needs some 100 ms for each
    #[arg(long, default_value_t = 100)]
    loader_messages: usize,
    /// Where to write the numbers
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Time of every message, and what they answered.
struct Run {
    times: Vec<Duration>,
    outputs: Vec<Value>,
}

impl Run {
    fn mean_ms(&self) -> f64 {
        self.times.iter().sum::<Duration>().as_secs_f64() * 1e3 / self.times.len() as f64
    }

    fn median_ms(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.messages > 0 && arguments.loader_messages > 0, "at least one message must be measured");

    let measured = network::measure(MODULE, FORMAT, arguments.messages)?;
    let wasm = std::fs::read(holon_tests::peers::module(MODULE)?)?;
    let log = &measured.log;
    let bare = bare::run(&wasm, log)?;
    let machine = machine::run(&wasm, log)?;
    let loaded = loader::run(MODULE, FORMAT, log, arguments.loader_messages)?;

    ensure!(bare.outputs == measured.outputs, "the compute unit and the bare guest answer differently");
    ensure!(machine.outputs == measured.outputs, "the compute unit and its machine answer differently");
    let same = loaded.outputs.len();
    ensure!(loaded.outputs == measured.outputs[..same], "the compute unit and ao-loader answer differently");

    let (bare_ms, machine_ms, loader_ms) = (bare.mean_ms(), machine.mean_ms(), loaded.mean_ms());
    let cu_ms = measured.total.as_secs_f64() * 1e3 / arguments.messages as f64;
    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    println!("{MODULE}, {} Eval messages, {profile} profile, every answer the same\n", arguments.messages);
    println!("                  mean ms   median ms   × bare guest");
    for (name, mean, median) in [
        ("bare guest", bare_ms, Some(bare.median_ms())),
        ("machine", machine_ms, Some(machine.median_ms())),
        ("compute unit", cu_ms, None),
        ("ao-loader", loader_ms, Some(loaded.median_ms())),
    ] {
        let median = median.map_or("–".to_owned(), |median| format!("{median:.3}"));
        println!("{name:<14}{mean:>11.3}{median:>12}{:>15.2}", mean / bare_ms);
    }
    println!("\ncompute unit / bare guest  {:.2}  (aim: at most 1.3)", cu_ms / bare_ms);
    println!("ao-loader / compute unit   {:.0}  (aim: more than 100; {same} messages in Node)", loader_ms / cu_ms);

    if let Some(path) = arguments.json {
        let report = json!({
            "module": MODULE, "messages": arguments.messages, "loader_messages": same, "profile": profile,
            "mean_ms": {"bare_guest": bare_ms, "machine": machine_ms, "compute_unit": cu_ms, "ao_loader": loader_ms},
            "median_ms": {
                "bare_guest": bare.median_ms(), "machine": machine.median_ms(), "ao_loader": loaded.median_ms(),
            },
            "compute_unit_per_bare_guest": cu_ms / bare_ms,
            "ao_loader_per_compute_unit": loader_ms / cu_ms,
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}
