//! Stopping code that runs: the page it writes to is made inaccessible, and the fault asks what is to be done.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use wasmtime::{Store, unix::StoreExt};

use super::{
    Region,
    mapping::{Creator, Mapping},
};

/// The page of one instance.
pub(in crate::machine) struct Poll {
    /// The memory that was added to the module (`polls`).
    page: Arc<Mapping>,
    /// Its own.
    memory: Arc<Mapping>,
    /// Whether the instance runs.
    runs: AtomicBool,
    /// Whether it has been stopped since it began to.
    stopped: AtomicBool,
    closed: Mutex<bool>,
}

impl Poll {
    /// That of the instance which was just made on this thread, and which has `region`. While it runs, `may_go_on` is asked on its thread
    /// whenever somebody has closed the page; if it says no, the guest traps there.
    pub fn created<T>(
        store: &mut Store<T>,
        region: &Region,
        may_go_on: impl Fn(&Self) -> bool + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let page =
            Creator::created().ok_or_else(|| io::Error::other("no second memory was created on this thread"))??;
        let poll = Arc::new(Self {
            page,
            memory: region.mapping(),
            runs: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            closed: Mutex::new(false),
        });
        let asked = poll.clone();
        let handler = move |signal: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void| {
            // SAFETY: the engine hands on what the kernel gave its handler of this signal.
            if signal != libc::SIGSEGV || !asked.page.holds(unsafe { (*info).si_addr() } as usize) {
                return false;
            }
            let goes_on = !asked.stopped.load(Ordering::Acquire)
                // Nothing unwinds past the frames of a signal.
                && catch_unwind(AssertUnwindSafe(|| may_go_on(&asked))).unwrap_or(false)
                && asked.open().is_ok();
            asked.stopped.store(!goes_on, Ordering::Release);
            goes_on
        };
        // SAFETY: a handler of signals that come at any time may do little. This one comes to more than comparing an address
        // only where guest code has written to the page, to which nothing else refers: at an instruction of the guest, outside of all host
        // code, which therefore is in the middle of nothing. There it may wait, take locks and allocate as an import may.
        unsafe { store.set_signal_handler(handler) };
        Ok(poll)
    }

    /// The instance begins to run.
    pub fn begin(&self) -> io::Result<()> {
        self.stopped.store(false, Ordering::Release);
        self.runs.store(true, Ordering::Release);
        self.open()
    }

    /// It has ended; says whether it was stopped.
    pub fn end(&self) -> bool {
        self.runs.store(false, Ordering::Release);
        self.stopped.load(Ordering::Acquire)
    }

    /// Length of its memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory.len()
    }

    fn open(&self) -> io::Result<()> {
        self.set(false)
    }

    fn set(&self, close: bool) -> io::Result<()> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed != close {
            // SAFETY: the page is the added memory's. Nobody has references into it: the module does not export it, and guest code that
            // writes to it expects the fault.
            unsafe { self.page.set_accessible(!close)? };
            *closed = close;
        }
        Ok(())
    }
}

/// The pages of all instances.
#[derive(Default)]
pub(in crate::machine) struct Polls(Mutex<Vec<Weak<Poll>>>);

impl Polls {
    /// Takes note of one more.
    pub fn add(&self, poll: &Arc<Poll>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(poll));
    }

    /// Has each instance that runs ask whether it may go on.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|poll| {
            let Some(poll) = poll.upgrade() else { return false };
            if poll.runs.load(Ordering::Acquire)
                && let Err(error) = poll.set(true)
            {
                tracing::warn!(%error, "an evaluation cannot be asked to stop now");
            }
            true
        });
    }
}
