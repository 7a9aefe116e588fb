//! The machine against the published modules, against a naive memory, and against hostile modules.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adversaries;
mod bombs;
mod conformance;
mod determinism;
mod formats;
mod hostile;
mod imports;
mod lifetime;
mod loader;
mod memory;
mod native;
mod published;
mod random;
mod recursion;
mod root;
mod stopping;
mod wasi;
mod weavedrive;

use std::sync::{Arc, LazyLock};

use holon_cu::machine::{
    Call, EVALUATION_STACK_BYTES, Engine, EngineOptions, Format, Limits, Machine, Module, NoDrive,
};
use holon_protocol::Tags;

/// One engine for all tests, with a cache in the build folder so that published modules are compiled once.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineOptions { cache_dir: Some(compiled_modules()), ..EngineOptions::default() }).unwrap()
});

fn compiled_modules() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-modules")
}

const LIMITS: Limits = Limits { memory_bytes: 1 << 30, compute: 9_000_000_000_000 };

static NO_TAGS: Tags = Tags(Vec::new());

fn call<'a>(message: &'a str, environment: &'a str) -> Call<'a> {
    Call { message, environment, block_height: 0, process_tags: &NO_TAGS, module_tags: &NO_TAGS }
}

/// Runs on a thread with the stack that evaluation needs.
fn on_evaluation_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES).spawn(work).unwrap();
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn native(text: &str) -> Module {
    ENGINE.compile(&wat::parse_str(text).unwrap(), Format::Native).unwrap()
}

fn machine(module: &Module) -> Machine {
    Machine::new(module, LIMITS, Arc::new(NoDrive)).unwrap()
}
