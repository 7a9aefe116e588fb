//! WeaveDrive: read-only Arweave data inside a process (spec 06 §9).
//!
//! The machine knows paths, descriptors and positions; where the bytes come from and who may see them is behind
//! [`Drive`].

use std::sync::Arc;

use holon_protocol::Tags;

use super::{
    HostFailure,
    host::Clock,
    pace::{self, Progress},
};

/// What a drive may base its decision on.
#[derive(Debug, Clone, Copy)]
pub struct DriveContext<'a> {
    /// Block height of the message being evaluated.
    pub block_height: u64,
    /// Tags of the process.
    pub process_tags: &'a Tags,
    /// Tags of the module.
    pub module_tags: &'a Tags,
}

/// The evaluation must be abandoned: nothing is recorded, and the same message may succeed later (spec 06 §9.4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HALT: {reason}")]
pub struct Halt {
    /// Why the data cannot be had now.
    pub reason: String,
}

/// The time of the message being evaluated, in which a drive may wait for what it does not have.
pub struct Waiting<'a> {
    clock: &'a Clock,
    progress: Progress,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(clock: &'a Clock, memory_bytes: usize) -> Self {
        Self { clock, progress: Progress { memory_bytes: memory_bytes as u64 } }
    }

    /// Lets `wait` block this thread, and others be evaluated in the meantime. It is given a question to ask now and then: whether it
    /// has waited long enough. If it has, because the message's wall-clock time is over or its evaluation was ended, that is
    /// the failure, whatever it answers.
    pub fn outside<T>(&mut self, wait: impl FnOnce(&dyn Fn() -> bool) -> Result<T, Halt>) -> Result<T, HostFailure> {
        pace::leave(&self.progress);
        let clock = self.clock;
        let answer = wait(&|| clock.is_over() || pace::stopped().is_some());
        // Waiting for the gateway counts, waiting for a place afterwards does not.
        let over = clock.is_over();
        clock.pause(pace::pace(&self.progress)?);
        if over { Err(clock.failure()) } else { Ok(answer?) }
    }
}

/// Source of the files below `/data`, `/tx` and `/block`.
pub trait Drive: Send + Sync {
    /// Opens `path`, which is `/data/<id>`, `/tx/<id>` or `/block/<height>`; the last part is whatever the process wrote.
    /// `None` means that there is no such file. Called on an evaluation thread, and may block as `waiting` allows; the machine asks
    /// at most once per path and message.
    fn open(
        &self,
        path: &str,
        context: &DriveContext<'_>,
        waiting: &mut Waiting<'_>,
    ) -> Result<Option<Arc<dyn DriveFile>>, HostFailure>;
}

/// An open file of a drive; immutable, shared by all readers.
pub trait DriveFile: Send + Sync {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Copies bytes from `position` on to `destination` and says how many; fewer than asked only at the end. May block as `waiting`
    /// allows.
    fn read(&self, position: u64, destination: &mut [u8], waiting: &mut Waiting<'_>) -> Result<usize, HostFailure>;
}

/// No drive attached: every file is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDrive;

impl Drive for NoDrive {
    fn open(
        &self,
        _path: &str,
        _context: &DriveContext<'_>,
        _waiting: &mut Waiting<'_>,
    ) -> Result<Option<Arc<dyn DriveFile>>, HostFailure> {
        Ok(None)
    }
}

/// A file held in memory, for small things such as transaction and block headers.
impl DriveFile for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, position: u64, destination: &mut [u8], _waiting: &mut Waiting<'_>) -> Result<usize, HostFailure> {
        let start = usize::try_from(position).map_or(self.len(), |position| position.min(self.len()));
        let count = destination.len().min(self.len() - start);
        destination[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }
}
