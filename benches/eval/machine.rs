//! The compute unit's evaluator alone: what commit, rollback and reading the answer cost on top of the guest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use holon_cu::machine::{Call, Engine, EngineOptions, Limits, Machine, NoDrive};
use holon_protocol::Tags;
use serde_json::Value;

use crate::{log::output, subject::Subject};

/// A machine, and what keeps it alive.
pub struct Evaluator {
    machine: Machine,
    _engine: Engine,
}

impl Evaluator {
    /// Compiles and sets up the module.
    pub fn new(subject: Subject, wasm: &[u8]) -> Result<Self> {
        let engine = Engine::new(EngineOptions::default())?;
        let limits = Limits { memory_bytes: 1 << 30, compute: 9_000_000_000_000 };
        let module = engine.compile_for(wasm, subject.format, limits.compute)?;
        Ok(Self { machine: Machine::new(&module, limits, Arc::new(NoDrive))?, _engine: engine })
    }

    /// Evaluates a message.
    pub fn apply(&mut self, message: &str, environment: &str) -> Result<(Duration, Value)> {
        let tags = Tags::default();
        let call = Call { message, environment, block_height: 1_500_000, process_tags: &tags, module_tags: &tags };
        let begun = Instant::now();
        let evaluation = self.machine.apply(&call)?;
        let time = begun.elapsed();
        Ok((time, output(&evaluation.returned.context("the module trapped")?)?))
    }
}
