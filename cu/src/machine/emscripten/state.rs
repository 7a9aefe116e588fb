//! Host state of one message: the clock, files, and where the guest is (spec 06 §7).

use super::{asyncify::Motion, files::FileSystem, weavedrive};
use crate::machine::{format::Generation, host::Held};

/// Milliseconds of the fake clock; every look and every host-side event moves it on (spec 06 §4.3). Modules of the first two
/// generations see it in the times of files only.
pub(super) struct Clock {
    now: u64,
}

impl Clock {
    fn new(generation: Generation) -> Self {
        // Three links to terminals, and later the folder for data, are made before a module sees the clock.
        match generation {
            Generation::First | Generation::Second | Generation::Third => Self { now: 10_003 },
            Generation::Fourth => Self { now: 10_004 },
        }
    }

    pub fn tick(&mut self) -> u64 {
        let now = self.now;
        self.now += 1;
        now
    }
}

/// A file system that is made when it is first needed: most messages touch no file.
pub(super) struct Files {
    made: Option<Box<FileSystem>>,
    held: Held,
}

impl Files {
    pub fn open(&mut self, generation: Generation) -> &mut FileSystem {
        let new = || Box::new(FileSystem::new(generation == Generation::Fourth, &self.held));
        self.made.get_or_insert_with(new)
    }
}

/// Host state of one message.
pub(in crate::machine) struct State {
    pub(in crate::machine) generation: Generation,
    pub(super) date: Clock,
    pub(super) files: Files,
    pub(super) drive: weavedrive::Opened,
    pub(super) motion: Motion,
    /// What the last import returned that the guest was left for.
    pub(super) last_answer: i32,
    /// Upper half of a 64-bit result, where the host keeps it.
    pub(super) temporary: i32,
    /// Whether the names of the time zone have been given out (spec 06 §4.3).
    pub(super) zone_told: bool,
}

impl State {
    /// At the begin of a message, where `held` counts what the host holds for it.
    pub fn new(generation: Generation, held: &Held) -> Self {
        Self {
            generation,
            date: Clock::new(generation),
            files: Files { made: None, held: held.clone() },
            drive: weavedrive::Opened::new(held),
            motion: Motion::default(),
            last_answer: 0,
            temporary: 0,
            zone_told: false,
        }
    }

    /// Whether data from outside was read.
    pub fn used_drive(&self) -> bool {
        self.drive.used()
    }

    pub(super) fn files(&mut self) -> &mut FileSystem {
        self.files.open(self.generation)
    }
}
