//! What can go wrong in a machine, by who can do something about it.

use std::{any::Any, io, time::Duration};

use super::Halt;

/// The engine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Wasm engine refuses its settings on this computer.
    #[error("the Wasm engine cannot run here: {0}")]
    Engine(String),
    /// The folder for compiled modules cannot be used.
    #[error("cannot use {folder} for compiled modules: {source}")]
    Cache {
        /// The folder.
        folder: String,
        /// Why.
        source: io::Error,
    },
    /// The thread that measures wall-clock time does not start.
    #[error("cannot start the wall-clock thread: {0}")]
    Clock(io::Error),
}

/// A module that this unit will not run. Always the module's fault: the same bytes fail everywhere, or where it is about native stack, wherever
/// the compiler makes the same of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More bytes than are compiled.
    #[error("module has {bytes} bytes, at most {limit} are compiled")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// [`super::MAX_MODULE_BYTES`].
        limit: usize,
    },
    /// One function is too large to be compiled in reasonable time.
    #[error("a function of the module has {bytes} bytes, at most {limit} are compiled")]
    FunctionTooLarge {
        /// Its size.
        bytes: usize,
        /// [`super::MAX_FUNCTION_BYTES`].
        limit: usize,
    },
    /// Compiling it would take too long, or too much memory.
    #[error("module has {found} {what}, at most {limit} are compiled")]
    TooCostly {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// Not WebAssembly, or WebAssembly with features that are switched off.
    #[error("not a valid module: {0}")]
    Invalid(String),
    /// Valid, but not of the format it claims.
    #[error("module does not have the format {format}: {reason}")]
    Format {
        /// The format asked for.
        format: &'static str,
        /// What is missing or in excess.
        reason: String,
    },
}

/// A machine cannot be built or kept.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The module failed before its first message; it fails so everywhere.
    #[error("module cannot be set up: {0}")]
    SetUp(String),
    /// The module wants more memory at start than it may have.
    #[error("module starts with {bytes} bytes of memory, at most {limit} are allowed")]
    Memory {
        /// Its minimum.
        bytes: u64,
        /// The smaller of the process's and the operator's limit.
        limit: u64,
    },
    /// The operating system refused memory or a mapping.
    #[error("memory of the machine: {0}")]
    System(#[from] io::Error),
    /// The machine has to be rebuilt from an earlier state first.
    #[error(transparent)]
    Host(#[from] HostFailure),
}

/// An evaluation that did not come to a result. Nothing may be recorded; the machine is as it was before the call, unless
/// it is [`HostFailure::lost`].
#[derive(Debug, thiserror::Error)]
pub enum HostFailure {
    /// WeaveDrive data was denied or cannot be had now.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// The operator's wall-clock limit.
    #[error("evaluation took longer than {limit:?}")]
    WallClock {
        /// The limit.
        limit: Duration,
    },
    /// Whoever runs the evaluation ended it ([`Pacer`](super::Pacer)).
    #[error("evaluation was ended: {0}")]
    Stopped(#[from] super::Stopped),
    /// The operator's memory ceiling.
    #[error("evaluation wants {bytes} bytes of memory, the operator allows {limit}")]
    MemoryCeiling {
        /// What it asked for.
        bytes: u64,
        /// The ceiling.
        limit: u64,
    },
    /// Calls inside each other used the native stack up before they used up the room that they count. Where frames can be read, no module
    /// that is run does this.
    #[error("the module's code takes more native stack than there is for it")]
    NativeStack,
    /// The operating system refused memory or a mapping.
    #[error("memory of the machine: {0}")]
    System(#[from] io::Error),
    /// Replaying the messages since the last commit did not give what they gave the first time. The machine must be
    /// dropped and its process rebuilt from the log.
    #[error("replay after a rollback differs from the first evaluation (message {index} since the commit)")]
    Diverged {
        /// Which of the messages since the commit.
        index: usize,
    },
    /// There is no whole memory to come back to: committing failed halfway, or an earlier call was lost. The machine must be dropped and its
    /// process rebuilt from the log.
    #[error("the machine lost its memory and has to be rebuilt from the log")]
    Lost,
    /// The Wasm engine failed in a way that says nothing about the module.
    #[error("the Wasm engine failed: {0}")]
    Engine(String),
}

impl HostFailure {
    /// Something that ought not to has panicked, in the middle of an evaluation.
    pub(crate) fn panicked(what: &str, panic: Box<dyn Any + Send>) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Self::Engine(format!("{what} panicked: {text}"))
    }

    /// Whether the machine has to be dropped: its memory is not, or may not be, what it was before the call.
    pub fn lost(&self) -> bool {
        matches!(self, HostFailure::Diverged { .. } | HostFailure::Lost | HostFailure::Engine(_))
    }

    /// Whether the same call may succeed later on this machine.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            HostFailure::Halt(_) | HostFailure::WallClock { .. } | HostFailure::Stopped(_) | HostFailure::System(_)
        )
    }
}
