//! A process's memory that messages are applied to, and its forks.
//!
//! ```text
//!  committed image ── good messages since ──► what the instance shows
//! ```
//!
//! A good message costs nothing but its evaluation. A failed one is undone by dropping what was written since the commit
//! and applying the good messages since again, which is correct because evaluation is deterministic, and cheap because
//! [`CommitPolicy`] commits before those messages add up. What replaying cannot reproduce (data from outside) is committed at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Call, CommitPolicy, Drive, Evaluation, HostFailure, Limits, MachineError, Module, NoDrive, PAGE_BYTES,
    fork::{Fork, INSTANCE_BYTES, Seat, evaluate, host_failure},
    host::Entry,
    inspect::Lifetime,
    instance::Live,
    memory::{Image, NotCommitted},
};

/// One live process memory. Belongs to one thread at a time, which needs
/// [`EVALUATION_STACK_BYTES`](super::EVALUATION_STACK_BYTES) of stack.
pub struct Machine {
    seat: Arc<Seat>,
    image: Arc<Image>,
    live: Option<Live>,
    /// Good messages since the image was committed.
    since: Vec<Applied>,
    since_text_bytes: usize,
    since_time: Duration,
    commit_time: Duration,
    policy: CommitPolicy,
    /// The previous message, whose environment and tags the next one most likely shares.
    last: Option<Entry>,
    condition: Condition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// The instance shows the state.
    Ready,
    /// The instance shows something else; the state is the image and the messages since.
    Stale,
    /// The instance shows the state, which is the image and the messages since, but cannot run another message before it
    /// is committed.
    Uncommitted,
    /// The image is torn, or the messages since lead elsewhere: nothing to come back to.
    Lost,
}

/// A good message, to be applied again.
struct Applied {
    entry: Entry,
    /// Of the text it returned.
    fingerprint: u64,
}

impl Machine {
    /// A machine in the state after the module's set-up.
    pub fn new(module: &Module, limits: Limits, drive: Arc<dyn Drive>) -> Result<Self, MachineError> {
        let image = Arc::clone(&module.initial()?.image);
        let seat = Seat::new(module, limits, drive);
        seat.check_length(image.len() as u64, image.len())?;
        Ok(Self::seated(seat, image))
    }

    /// A machine with the given memory, for example a checkpoint's. `memory` is a whole number of 64 KiB pages, at least as
    /// many as the module starts with.
    pub fn restore(
        module: &Module,
        limits: Limits,
        drive: Arc<dyn Drive>,
        memory: &[u8],
    ) -> Result<Self, MachineError> {
        let seat = Seat::new(module, limits, drive);
        let initial = &module.initial()?.image;
        seat.check_length(memory.len() as u64, initial.len())?;
        let mut image = Image::upon(initial, memory.len());
        image.fill(memory)?;
        Ok(Self::seated(seat, Arc::new(image)))
    }

    /// A machine with a memory given as what it does not have in common with the module's initial one, for example by a
    /// checkpoint. It starts from that, filled up with zeros to `memory_bytes`, a whole number of 64 KiB pages; `pages`, each a
    /// page's number and contents, replace its pages. Where the initial memory has a page that became zero, that page is given too.
    pub fn restore_pages(
        module: &Module,
        limits: Limits,
        drive: Arc<dyn Drive>,
        memory_bytes: u64,
        pages: impl Iterator<Item = io::Result<(u32, Box<[u8; PAGE_BYTES]>)>>,
    ) -> Result<Self, MachineError> {
        let initial = &module.initial()?.image;
        let seat = Seat::new(module, limits, drive);
        let bytes = seat.check_length(memory_bytes, initial.len())?;
        let mut image = Image::upon(initial, bytes);
        for page in pages {
            let (index, page) = page?;
            if index as usize >= bytes / PAGE_BYTES {
                return Err(MachineError::SetUp(format!("page {index} is beyond a memory of {bytes} bytes")));
            }
            image.put(index, page)?;
        }
        Ok(Self::seated(seat, Arc::new(image)))
    }

    /// Whether the memory of a process may have this length, in bytes.
    pub fn check_memory(module: &Module, limits: Limits, bytes: u64) -> Result<(), MachineError> {
        let initial = module.initial()?.image.len();
        Seat::new(module, limits, Arc::new(NoDrive)).check_length(bytes, initial).map(|_| ())
    }

    /// A machine that rests: its first message makes the instance.
    fn seated(seat: Seat, image: Arc<Image>) -> Self {
        Self {
            seat: Arc::new(seat),
            image,
            live: None,
            since: Vec::new(),
            since_text_bytes: 0,
            since_time: Duration::ZERO,
            commit_time: Duration::ZERO,
            policy: CommitPolicy::default(),
            last: None,
            condition: Condition::Ready,
        }
    }

    /// Applies one message. The state moves on only for [`Outcome::Ok`]; otherwise, and on a failure, it is what it was.
    pub fn apply(&mut self, call: &Call<'_>) -> Result<Evaluation, HostFailure> {
        self.recover()?;
        let entry = Entry::new(call, self.last.as_ref());
        self.last = Some(entry.clone());
        let compute = self.seat.limits.compute;
        let start = Instant::now();
        let live = self.instance()?;
        let returned = live.run(&entry, compute);
        let used_drive = live.used_drive();
        let took = start.elapsed();
        let returned = match returned {
            Ok(returned) => returned,
            Err(failure) => {
                self.roll_back()?;
                return Err(failure);
            }
        };
        let (evaluation, keep) = evaluate(returned);
        if !keep {
            self.roll_back()?;
            return Ok(evaluation);
        }
        self.since_time += took;
        self.since_text_bytes += entry.message.len();
        let fingerprint = fingerprint(evaluation.returned.as_deref());
        self.since.push(Applied { entry, fingerprint });
        if used_drive || self.commit_is_due() || self.seat.module.inner.lifetime == Lifetime::OneMessage {
            // The result stands whether or not this works: the next call commits first, or says that it cannot.
            if let Err(error) = self.commit() {
                tracing::warn!(%error, "cannot commit memory after a message");
                // What a drive gave once it may not give again, so this message cannot be replayed.
                if used_drive && self.condition == Condition::Ready {
                    self.condition = Condition::Uncommitted;
                }
            }
        }
        Ok(evaluation)
    }

    /// When to commit from now on.
    pub fn set_commit_policy(&mut self, policy: CommitPolicy) {
        self.policy = policy;
    }

    /// Forks the present state.
    pub fn fork(&mut self) -> Result<Fork, MachineError> {
        self.recover()?;
        if !self.since.is_empty() {
            self.commit()?;
        }
        self.seat.wake();
        Ok(Fork { seat: Arc::clone(&self.seat), image: Arc::clone(&self.image) })
    }

    /// Commits, and lets go of everything but the memory: an idle process is its image. The next message makes a new instance.
    pub fn rest(&mut self) -> Result<(), HostFailure> {
        // First: whatever becomes of the rest, nobody looks after them any more.
        self.seat.rest();
        self.recover()?;
        if !self.since.is_empty() {
            self.commit()?;
        }
        self.live = None;
        self.last = None;
        if let Some(rested) = self.image.rested()? {
            self.image = Arc::new(rested);
        } else if let Some(image) = Arc::get_mut(&mut self.image) {
            image.settle();
        }
        // To recover may have woken it.
        self.seat.rest();
        Ok(())
    }

    /// Bytes that this machine alone holds: its pages, those kept for forks, and what instances take, with what they wrote up to the last
    /// commit. Pages of the module's initial memory are everybody's as long as the process has not written any.
    pub fn resident_bytes(&self) -> u64 {
        let initial = self.seat.module.initial().is_ok_and(|initial| Arc::ptr_eq(&initial.image, &self.image));
        let pages = if initial { 0 } else { self.image.resident_bytes() };
        let live = self.live.as_ref().map_or(0, |live| INSTANCE_BYTES + live.private_bytes());
        pages + live + self.seat.idle_bytes()
    }

    /// Whether no call will succeed any more: the machine has to be dropped ([`HostFailure::lost`]).
    pub fn is_lost(&self) -> bool {
        self.condition == Condition::Lost
    }

    /// Length of linear memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.live.as_ref().map_or(self.image.len(), Live::memory_len) as u64
    }

    /// A copy of linear memory. If the last call of [`Machine::apply`] failed while rolling back, it is the memory of the
    /// last commit.
    pub fn copy_memory(&self) -> Vec<u8> {
        match &self.live {
            // Of a torn image the instance still shows what it showed.
            Some(live) if self.condition != Condition::Stale => live.memory().to_vec(),
            _ => {
                let mut memory = vec![0; self.image.len()];
                if let Err(error) = self.image.read(0, &mut memory) {
                    tracing::error!(%error, "cannot read committed memory");
                }
                memory
            }
        }
    }

    fn commit_is_due(&self) -> bool {
        let CommitPolicy { after_min, after_max, guest_per_commit, after_messages, after_text_bytes } = self.policy;
        let after = self.commit_time.saturating_mul(guest_per_commit).clamp(after_min, after_max);
        self.since_time >= after || self.since.len() >= after_messages || self.since_text_bytes >= after_text_bytes
    }

    /// Makes the present state the committed one.
    fn commit(&mut self) -> Result<(), HostFailure> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let start = Instant::now();
        let shown = match live.commit(&mut self.image) {
            Ok(shown) => shown,
            Err(NotCommitted::Intact(error)) => {
                if self.seat.module.inner.lifetime == Lifetime::OneMessage {
                    self.condition = Condition::Uncommitted;
                }
                return Err(error.into());
            }
            Err(NotCommitted::Torn(error)) => {
                // A part may be written: the old state is gone, and the new one exists in the instance only.
                tracing::error!(%error, "committing memory failed halfway");
                self.condition = Condition::Lost;
                return Err(HostFailure::Lost);
            }
        };
        self.seat.moved_to(&self.image);
        self.condition = Condition::Ready;
        self.commit_time = start.elapsed();
        self.forget_since();
        if !shown || self.seat.module.inner.lifetime == Lifetime::OneMessage {
            self.live = None;
        }
        Ok(())
    }

    fn forget_since(&mut self) {
        self.since.clear();
        self.since_text_bytes = 0;
        self.since_time = Duration::ZERO;
    }

    /// Back to the state before the last message.
    fn roll_back(&mut self) -> Result<(), HostFailure> {
        self.condition = Condition::Stale;
        self.recover()
    }

    fn recover(&mut self) -> Result<(), HostFailure> {
        match self.condition {
            Condition::Ready => return Ok(()),
            Condition::Lost => return Err(HostFailure::Lost),
            Condition::Uncommitted => return self.commit(),
            Condition::Stale => {}
        }
        let reusable = self.seat.module.inner.lifetime == Lifetime::ManyMessages;
        if let Some(mut live) = self.live.take()
            && reusable
            && live.discard()?
        {
            self.live = Some(live);
        }
        let compute = self.seat.limits.compute;
        let since = std::mem::take(&mut self.since);
        let replayed = self.replay(&since, compute);
        self.since = since;
        if let Err(failure) = replayed {
            if failure.lost() {
                self.live = None;
                self.condition = Condition::Lost;
            }
            return Err(failure);
        }
        self.condition = Condition::Ready;
        if !self.since.is_empty() {
            // Failures come in rows; the next one shall not replay the same messages again.
            self.commit()?;
        }
        Ok(())
    }

    fn replay(&mut self, since: &[Applied], compute: u64) -> Result<(), HostFailure> {
        let live = self.instance()?;
        for (index, applied) in since.iter().enumerate() {
            let returned = live.run(&applied.entry, compute)?;
            if fingerprint(returned.text.as_deref().ok()) != applied.fingerprint {
                return Err(HostFailure::Diverged { index });
            }
        }
        Ok(())
    }

    fn instance(&mut self) -> Result<&mut Live, HostFailure> {
        let live = match self.live.take() {
            Some(live) => live,
            None => {
                self.seat.wake();
                if let Some(image) = Arc::get_mut(&mut self.image) {
                    image.wake()?;
                }
                self.seat.instance(&self.image).map_err(host_failure)?
            }
        };
        Ok(self.live.insert(live))
    }
}

fn fingerprint(text: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
