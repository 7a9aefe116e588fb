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

    ensure!(bare.outputs == measured.run.outputs, "the compute unit and the bare guest answer differently");
    ensure!(machine.outputs == measured.run.outputs, "the compute unit and its machine answer differently");
    let same = loaded.outputs.len();
    ensure!(loaded.outputs == measured.run.outputs[..same], "the compute unit and ao-loader answer differently");

    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    let rows = [("bare guest", &bare), ("machine", &machine), ("compute unit", &measured.run), ("ao-loader", &loaded)];
    println!("{MODULE}, {} Eval messages, {profile} profile, every answer the same\n", arguments.messages);
    println!("                  mean ms   median ms   × bare guest (medians)");
    for (name, run) in rows {
        let ratio = run.median_ms() / bare.median_ms();
        println!("{name:<14}{:>11.3}{:>12.3}{ratio:>15.2}", run.mean_ms(), run.median_ms());
    }
    // Medians, because whatever else the computer does now and then falls on one contestant.
    let over_guest = measured.run.median_ms() / bare.median_ms();
    let over_loader = loaded.median_ms() / measured.run.median_ms();
    println!("\ncompute unit / bare guest  {over_guest:.2}  (aim: at most 1.3)");
    println!("ao-loader / compute unit   {over_loader:.0}  (aim: more than 100; {same} messages in Node)");

    if let Some(path) = arguments.json {
        let numbers = |time: fn(&Run) -> f64| {
            json!({
                "bare_guest": time(&bare), "machine": time(&machine), "compute_unit": time(&measured.run), "ao_loader": time(&loaded),
            })
        };
        let report = json!({
            "module": MODULE, "messages": arguments.messages, "loader_messages": same, "profile": profile,
            "mean_ms": numbers(Run::mean_ms),
            "median_ms": numbers(Run::median_ms),
            "compute_unit_per_bare_guest": over_guest,
            "ao_loader_per_compute_unit": over_loader,
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}
