//! The compute unit's evaluator alone: what commit, rollback and reading the answer cost on top of the guest.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use holon_cu::machine::{Call, Engine, EngineOptions, Limits, Machine, NoDrive};
use holon_protocol::Tags;

use crate::{
    FORMAT, Run,
    log::{Log, output},
};

/// Applies the log; the boot and the first message are not measured.
pub fn run(wasm: &[u8], log: &Log) -> Result<Run> {
    let engine = Engine::new(EngineOptions::default())?;
    let module = engine.compile(wasm, FORMAT.parse()?)?;
    let limits = Limits { memory_bytes: 1 << 30, compute: 9_000_000_000_000 };
    let mut machine = Machine::new(&module, limits, Arc::new(NoDrive))?;
    let tags = Tags::default();
    let (mut times, mut outputs) = (Vec::new(), Vec::new());
    for (position, message) in log.messages.iter().enumerate() {
        let call = Call {
            message,
            environment: &log.environment,
            block_height: 1_500_000,
            process_tags: &tags,
            module_tags: &tags,
        };
        let begun = Instant::now();
        let evaluation = machine.apply(&call)?;
        let time = begun.elapsed();
        if position >= 2 {
            times.push(time);
            outputs.push(output(&evaluation.returned.context("the module trapped")?)?);
        }
    }
    Ok(Run { times, outputs })
}
