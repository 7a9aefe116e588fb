//! What one message costs on four modules, one of them with much state as well, from the same messages in the same run:
//!
//! * **bare guest**: wasmtime calling the module's entry point, nothing else;
//! * **machine**: the compute unit's evaluator, with commit and rollback;
//! * **compute unit**: one request for the last message's result, which reads the log from the scheduler page by page, checks
//!   its chain, evaluates and stores the results;
//! * **ao-loader**: the published JavaScript loader in Node, as the reference compute unit uses it (official modules).

mod bare;
mod loader;
mod log;
mod machine;
mod network;
mod subject;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};

use self::subject::Subject;

/// Most that the compute unit may need of the guest's time on the first module.
const AIM_OVER_GUEST: f64 = 1.15;
/// Least that the loader should need of the compute unit's time on the first module.
const AIM_OVER_LOADER: f64 = 150.0;

/// Measures one message in the bare guest, the compute unit and the published loader.
#[derive(Debug, Parser)]
struct Arguments {
    /// Modules to measure; all of aos2_0_6, aos2_0_6+64MiB, aos2_0_1, aos2_0_4_32 and counter without it
    #[arg(long = "module")]
    modules: Vec<String>,
    /// Messages for the bare guest, the machine and the compute unit
    #[arg(long, default_value_t = 2_500)]
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

/// What was measured on one module.
struct Measurement {
    subject: Subject,
    unit: Run,
    bare: Run,
    machine: Run,
    loader: Option<Run>,
}

impl Measurement {
    fn take(subject: Subject, arguments: &Arguments) -> Result<Self> {
        let network::Measured { unit, bare, machine, log } = network::measure(subject, arguments.messages)?;
        ensure!(
            bare.outputs == unit.outputs,
            "{}: the compute unit and the bare guest answer differently",
            subject.name
        );
        ensure!(
            machine.outputs == unit.outputs,
            "{}: the compute unit and its machine answer differently",
            subject.name
        );
        let loader = subject.has_loader().then(|| loader::run(subject, &log, arguments.loader_messages)).transpose()?;
        if let Some(loader) = &loader {
            let same = loader.outputs.len();
            ensure!(
                loader.outputs == unit.outputs[..same],
                "{}: the compute unit and ao-loader answer differently",
                subject.name
            );
        }
        Ok(Self { subject, unit, bare, machine, loader })
    }

    fn loader_over_unit(&self) -> Option<f64> {
        self.loader.as_ref().map(|loader| loader.mean_ms() / self.unit.mean_ms())
    }

    fn row(&self) -> String {
        let share = |run: &Run| format!("{:>9.3} ms {:>5.2} ×", run.mean_ms(), run.times_as_long_as(&self.bare));
        let loader = match (&self.loader, self.loader_over_unit()) {
            (Some(loader), Some(times)) => format!("{:>9.1} ms {times:>5.0} × the unit", loader.mean_ms()),
            _ => format!("{:>12}", "-"),
        };
        format!(
            "{:<14} {:>9.3} ms {} {} {loader}",
            self.subject.name,
            self.bare.mean_ms(),
            share(&self.machine),
            share(&self.unit)
        )
    }

    fn json(&self) -> Value {
        json!({
            "module": self.subject.name,
            "format": self.subject.format.as_str(),
            "mean_ms": {
                "bare_guest": self.bare.mean_ms(), "machine": self.machine.mean_ms(),
                "compute_unit": self.unit.mean_ms(), "ao_loader": self.loader.as_ref().map(Run::mean_ms),
            },
            "machine_per_bare_guest": self.machine.times_as_long_as(&self.bare),
            "compute_unit_per_bare_guest": self.unit.times_as_long_as(&self.bare),
            "ao_loader_per_compute_unit": self.loader_over_unit(),
        })
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.messages > 0 && arguments.loader_messages > 0, "at least one message must be measured");
    let subjects = match arguments.modules.as_slice() {
        [] => subject::ALL.to_vec(),
        names => names
            .iter()
            .map(|name| Subject::named(name).with_context(|| format!("no module is called {name}")))
            .collect::<Result<_>>()?,
    };
    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    println!("{} messages on each module, {profile} profile, every answer the same\n", arguments.messages);
    println!("module            bare guest           machine         compute unit            ao-loader");
    let mut measured = Vec::new();
    for subject in subjects {
        let measurement = Measurement::take(subject, &arguments)?;
        println!("{}", measurement.row());
        measured.push(measurement);
    }
    // The first three take turns over the same blocks of messages, so what else the computer does falls on all of them;
    // the loader runs alone, after them.
    println!(
        "\nmean time of a message, and median over blocks of {} messages of the ratio to the bare guest",
        network::CHUNK
    );
    println!(
        "aims on {}: at most {AIM_OVER_GUEST} × the bare guest; ao-loader at least {AIM_OVER_LOADER} × the unit",
        subject::ALL[0].name
    );

    if let Some(path) = arguments.json {
        let modules: Vec<Value> = measured.iter().map(Measurement::json).collect();
        let report = json!({
            "messages": arguments.messages, "loader_messages": arguments.loader_messages, "profile": profile,
            "modules": modules,
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}
