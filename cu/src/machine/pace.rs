//! Long evaluations ask whoever runs them whether they may go on.
//!
//! A thread that evaluates can be given a [`Pacer`]. While a message runs, it is asked at every tick of the engine's
//! clock: the pacer may let it wait for its turn, which does not count as evaluation time, or end it without a
//! result. While a guest waits for data from outside, its place is somebody else's. None of this is visible to the guest.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// What an evaluation says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Length of its linear memory, in bytes.
    pub memory_bytes: u64,
}

/// Why an evaluation was ended by its pacer. It has no result, and may have one another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Whoever runs it is stopping.
    #[error("the evaluation threads have stopped")]
    Closing,
    /// There are too many long evaluations, of which this one has had most.
    #[error("of more than {limit} long evaluations at the same time, it had run longest")]
    Crowded {
        /// How many there may be.
        limit: usize,
    },
    /// The computer runs out of memory, of which this one has most.
    #[error("memory ran short on this computer, and it had most")]
    Memory,
}

/// Decides about the evaluations of one thread. It is asked in the middle of one, perhaps on the thread's signal stack of 256 KiB: it may
/// wait, but not evaluate anything there. If it panics, that is the evaluation's failure.
pub trait Pacer {
    /// Lets the evaluation go on, after a pause of the length returned, or ends it.
    fn pace(&self, progress: &Progress) -> Result<Duration, Stopped>;

    /// The evaluation begins to wait for something that is not on this computer. Others may go on in its place, until it asks for its
    /// pace again.
    fn leave(&self, progress: &Progress);

    /// Why the evaluation, which waits, is not to go on.
    fn stopped(&self) -> Option<Stopped>;
}

thread_local! {
    static PACER: RefCell<Option<Rc<dyn Pacer>>> = const { RefCell::new(None) };
}

/// Puts the evaluations of this thread under `pacer`, or under none.
pub fn set_pacer(pacer: Option<Rc<dyn Pacer>>) {
    PACER.set(pacer);
}

/// Tells this thread's pacer that its evaluation waits from here on.
pub fn leave(progress: &Progress) {
    if let Some(pacer) = PACER.with_borrow(Option::clone) {
        pacer.leave(progress);
    }
}

/// Asks this thread's pacer whether its evaluation, which waits, is to end.
pub fn stopped() -> Option<Stopped> {
    PACER.with_borrow(Option::clone)?.stopped()
}

/// Asks this thread's pacer. Evaluations do so at every tick of the engine's clock.
pub fn pace(progress: &Progress) -> Result<Duration, Stopped> {
    let pacer = PACER.with_borrow(Option::clone);
    pacer.map_or(Ok(Duration::ZERO), |pacer| pacer.pace(progress))
}
