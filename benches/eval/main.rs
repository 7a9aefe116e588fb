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
#[derive(Default)]
struct Run {
    times: Vec<Duration>,
    outputs: Vec<Value>,
}

impl Run {
    fn push(&mut self, (time, output): (Duration, Value)) {
        self.times.push(time);
        self.outputs.push(output);
    }

    fn mean_ms(&self) -> f64 {
        mean_ms(&self.times)
    }

    /// How many times as long as `other` this took, block by block; the median over the blocks.
    fn times_as_long_as(&self, other: &Self) -> f64 {
        let mut ratios: Vec<f64> = self
            .times
            .chunks(network::CHUNK)
            .zip(other.times.chunks(network::CHUNK))
            .map(|(own, other)| mean_ms(own) / mean_ms(other))
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    }
}

fn mean_ms(times: &[Duration]) -> f64 {
    times.iter().sum::<Duration>().as_secs_f64() * 1e3 / times.len() as f64
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.messages > 0 && arguments.loader_messages > 0, "at least one message must be measured");

    let network::Measured { unit, bare, machine, log } = network::measure(MODULE, FORMAT, arguments.messages)?;
    let loaded = loader::run(MODULE, FORMAT, &log, arguments.loader_messages)?;

    ensure!(bare.outputs == unit.outputs, "the compute unit and the bare guest answer differently");
    ensure!(machine.outputs == unit.outputs, "the compute unit and its machine answer differently");
    let same = loaded.outputs.len();
    ensure!(loaded.outputs == unit.outputs[..same], "the compute unit and ao-loader answer differently");

    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    let rows = [("bare guest", &bare), ("machine", &machine), ("compute unit", &unit), ("ao-loader", &loaded)];
    println!("{MODULE}, {} Eval messages, {profile} profile, every answer the same\n", arguments.messages);
    println!("                  mean ms   × bare guest");
    for (name, run) in rows {
        let ratio = if name == "ao-loader" { run.mean_ms() / bare.mean_ms() } else { run.times_as_long_as(&bare) };
        println!("{name:<14}{:>11.3}{ratio:>15.2}", run.mean_ms());
    }
    // The three take turns over the same blocks of messages, so what else the computer does falls on all of them; the loader
    // runs alone, after them.
    let over_guest = unit.times_as_long_as(&bare);
    let over_loader = loaded.mean_ms() / unit.mean_ms();
    println!(
        "\ncompute unit / bare guest  {over_guest:.2}  (aim: at most 1.3; median over blocks of {})",
        network::CHUNK
    );
    println!("ao-loader / compute unit   {over_loader:.0}  (aim: more than 100; {same} messages in Node)");

    if let Some(path) = arguments.json {
        let report = json!({
            "module": MODULE, "messages": arguments.messages, "loader_messages": same, "profile": profile,
            "mean_ms": {
                "bare_guest": bare.mean_ms(), "machine": machine.mean_ms(),
                "compute_unit": unit.mean_ms(), "ao_loader": loaded.mean_ms(),
            },
            "machine_per_bare_guest": machine.times_as_long_as(&bare),
            "compute_unit_per_bare_guest": over_guest,
            "ao_loader_per_compute_unit": over_loader,
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}
