//! A process's memory that can apply messages: the host side of Wasm modules (spec 06).
pub mod call;
pub mod drive;
pub mod error;
pub mod format;

pub use call::{Call, Evaluation, Outcome, Response};
pub use drive::{Drive, DriveContext, DriveFile, Halt, NoDrive};
pub use error::{CompileError, Error, HostFailure, MachineError};
pub use format::{Format, UnknownFormat};

use std::{path::PathBuf, sync::Arc, time::Duration};

/// Largest module that is compiled, in bytes.
pub const MAX_MODULE_BYTES: usize = 32 << 20;
/// Largest single function that is compiled, in bytes.
pub const MAX_FUNCTION_BYTES: usize = 1 << 20;
/// Stack a thread needs to evaluate on, in bytes.
pub const EVALUATION_STACK_BYTES: usize = 8 << 20;

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Folder for compiled modules; none means that each start compiles again.
    pub cache_dir: Option<PathBuf>,
    /// Longest time one evaluation may take before it is given up without a result.
    pub wall_clock: Duration,
    /// Most bytes of memory one process may have before its evaluation is given up without a result.
    pub memory_ceiling_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { cache_dir: None, wall_clock: Duration::from_secs(600), memory_ceiling_bytes: 4 << 30 }
    }
}

/// The shared Wasm engine.
#[derive(Clone)]
pub struct Engine;

/// A compiled module.
#[derive(Clone)]
pub struct Module;

/// Limits of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most linear memory, in bytes. Enforced for native modules; for the official formats a larger need is the module's own
    /// affair (spec 05 §4.3).
    pub memory_bytes: u64,
    /// Most instructions of one message.
    pub compute: u64,
}

/// One live process memory.
pub struct Machine;

/// A copy-on-write fork of a machine.
pub struct Fork;

impl Engine {
    /// Sets the engine up.
    pub fn new(_options: EngineOptions) -> Result<Self, Error> {
        Ok(Self)
    }
    /// Compiles a module, or loads it from the cache.
    pub fn compile(&self, _wasm: &[u8], format: Format) -> Result<Module, CompileError> {
        Err(CompileError::Format { format: format.as_str(), reason: "machine under construction".into() })
    }
}

impl Module {
    /// Its format.
    pub fn format(&self) -> Format {
        Format::Native
    }
}

impl Machine {
    /// A machine in the state after the module's set-up.
    pub fn new(_module: &Module, _limits: Limits, _drive: Arc<dyn Drive>) -> Result<Self, MachineError> {
        Err(MachineError::SetUp("machine under construction".into()))
    }
    /// A machine with the given memory (a checkpoint).
    pub fn restore(_module: &Module, _limits: Limits, _drive: Arc<dyn Drive>, _memory: &[u8]) -> Result<Self, MachineError> {
        Err(MachineError::SetUp("machine under construction".into()))
    }
    /// Applies one message.
    pub fn apply(&mut self, _call: &Call<'_>) -> Result<Evaluation, HostFailure> {
        Err(HostFailure::Engine("machine under construction".into()))
    }
    /// A fork of the present state.
    pub fn fork(&mut self) -> Result<Fork, MachineError> {
        Err(MachineError::SetUp("machine under construction".into()))
    }
    /// Length of the linear memory.
    pub fn memory_bytes(&self) -> u64 {
        0
    }
    /// The whole linear memory.
    pub fn copy_memory(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl Fork {
    /// Evaluates a message on the forked state and forgets its effects.
    pub fn apply(&self, _call: &Call<'_>) -> Result<Evaluation, HostFailure> {
        Err(HostFailure::Engine("machine under construction".into()))
    }
}
