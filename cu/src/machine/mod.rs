//! A process's memory that can apply messages: the host side of Wasm modules (spec 06).
//!
//! ```text
//!  Engine ──compile──► Module ──new──► Machine ──apply(message)──► Evaluation
//!                                        └────fork──► Fork ──apply(dry run)──► Evaluation
//! ```
//!
//! An [`Engine`] is shared by the whole program. A [`Module`] is compiled code, kept on disk between starts. A [`Machine`]
//! is one process's memory on an evaluation thread: [`Machine::apply`] evaluates a message and moves the state on, or leaves it
//! untouched when the message fails. A [`Fork`] is a snapshot for dry runs.
//!
//! **The hot path is the guest.** Memory is never copied per message: it is a private mapping of the committed state
//! (`memory`), rolling back drops pages, and committing writes the changed ones, once for many messages (`live`).
//!
//! **Determinism.** Same module, same messages: same results, on every computer and whatever was kept alive in between. No clock,
//! no randomness and no host state reaches the guest; each message begins with the same host state and, by resetting the
//! guest's globals, the same instance state (`inspect`). Gas stops every computer at the same instruction; the
//! wall-clock limit and the memory ceiling protect the operator and never make a result ([`HostFailure`]).
//!
//! | where | what |
//! |---|---|
//! | `engine`, `inspect`, `cost`, `minified`, `sections`, `cache` | from bytes to compiled code |
//! | `metering`, `gas` | the reference's gas |
//! | `depth` | how deep calls may go |
//! | `polls` | where they can be stopped |
//! | `instance`, `host` | one instance: run a message, say how it ended |
//! | `pace` | long evaluations wait for their turn |
//! | `live`, `commit_policy` | commit, rollback, rest |
//! | `fork` | forks, and what they share with their machine |
//! | `pages`, `root` | the Merkle tree over pages, the state root |
//! | `memory` | mappings, dirty pages; the crate's `unsafe` |
//! | `emscripten`, `native` | the module formats |
//! | `answer`, `json` | from the returned text to an outcome |

mod answer;
mod cache;
mod call;
mod commit_policy;
mod cost;
mod depth;
mod drive;
mod emscripten;
mod engine;
mod error;
mod fork;
mod format;
mod gas;
mod host;
mod inspect;
mod instance;
mod json;
mod live;
pub mod measure;
mod memory;
mod metering;
mod minified;
mod narrow;
mod native;
mod pace;
mod pages;
mod polls;
mod root;
mod sections;

use std::{path::PathBuf, time::Duration};

pub use call::{Call, Evaluation, Outcome, Response};
pub use commit_policy::CommitPolicy;
pub use drive::{Drive, DriveContext, DriveFile, Halt, NoDrive, Waiting};
pub use engine::{Engine, Module, UNREACHABLE_FUEL, compile_cost, counts_fuel};
pub use error::{CompileError, Error, HostFailure, MachineError};
pub use fork::Fork;
pub use format::{Format, UnknownFormat};
pub use live::Machine;
pub use pace::{Pacer, Progress, Stopped, leave, pace, set_pacer, stopped};
pub use pages::{PAGE_BYTES, PageHash, PageTree};
pub use root::{NotARoot, StateRoot};

/// Largest module that is compiled, in bytes.
pub const MAX_MODULE_BYTES: usize = 32 << 20;
/// Largest single function that is compiled, in bytes: compile time can grow faster than a function's size.
pub const MAX_FUNCTION_BYTES: usize = 512 << 10;
/// Largest text a module may return, in bytes.
pub const MAX_RESULT_BYTES: usize = 64 << 20;
/// Longest time an operator may let one message run. Bounded, so that [`UNREACHABLE_FUEL`] is.
pub const MAX_WALL_CLOCK: Duration = Duration::from_secs(300);
/// Stack that a thread needs to evaluate on, in bytes: the guest's own limit, and room for the host around it.
pub const EVALUATION_STACK_BYTES: usize = 48 << 20;

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Folder for compiled modules; none means that each start compiles again.
    pub cache_dir: Option<PathBuf>,
    /// Longest time one evaluation may take before it is given up without a result.
    pub wall_clock: Duration,
    /// Most bytes of linear memory one process may have before its evaluation is given up without a result.
    pub memory_ceiling_bytes: u64,
    /// Whether official modules are left and entered again around every call of WeaveDrive, as by the reference (spec 06 §5.2).
    /// Metered formats always are, because their gas depends on it. In the others results are the same either way; memory is
    /// smaller and messages are faster without. A unit that sets this has other state roots than one that does not: it is for comparing
    /// memory with the reference's.
    pub reference_memory: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { cache_dir: None, wall_clock: MAX_WALL_CLOCK, memory_ceiling_bytes: 4 << 30, reference_memory: false }
    }
}

/// Limits of a process, from its tags (spec 05 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most linear memory, in bytes. Bounds native and WASI modules; for the official formats the tag is compared with what the unit offers
    /// and nothing more, and the module's own maximum counts.
    pub memory_bytes: u64,
    /// Most gas of one message: the reference's gas where the module counts it or its format says so, else Wasm instructions
    /// ([`counts_fuel`]).
    pub compute: u64,
}
