//! The smallest host that runs a module: wasmtime with its own settings and memory, and only the imports a measured message
//! calls. No rollback, no limits, no files. What remains is the guest, so this is what any host's time is measured against.

mod emscripten;
mod native;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use holon_cu::machine::Format;
use serde_json::Value;

use crate::{log::output, subject::Subject};

/// A module, running.
pub enum Bare {
    /// With 32-bit pointers.
    Narrow(emscripten::Guest<i32>),
    /// With 64-bit pointers.
    Wide(emscripten::Guest<i64>),
    /// Of our own format.
    Native(native::Guest),
}

/// A text the guest returned, and how long the call took.
type Answer = (Duration, String);

impl Bare {
    /// Compiles and sets up the module.
    pub fn new(subject: Subject, wasm: &[u8]) -> Result<Self> {
        match subject.format {
            Format::Emscripten4 => emscripten::Guest::new(wasm).map(Self::Narrow),
            Format::Native => native::Guest::new(wasm).map(Self::Native),
            _ => emscripten::Guest::new(wasm).map(Self::Wide),
        }
        .map_err(failed)
    }

    /// Evaluates a message; the time is that of the guest's entry point alone.
    pub fn apply(&mut self, message: &str, environment: &str) -> Result<(Duration, Value)> {
        let (time, text) = match self {
            Self::Narrow(guest) => guest.call(message, environment),
            Self::Wide(guest) => guest.call(message, environment),
            Self::Native(guest) => guest.call(message, environment),
        }
        .map_err(failed)?;
        Ok((time, output(&text)?))
    }
}

fn timed<T>(call: impl FnOnce() -> wasmtime::Result<T>) -> wasmtime::Result<(Duration, T)> {
    let begun = Instant::now();
    let value = call()?;
    Ok((begun.elapsed(), value))
}

fn failed(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("the bare guest failed: {error:?}")
}
