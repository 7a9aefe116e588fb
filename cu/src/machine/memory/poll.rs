//! Stopping code that runs: the page it writes to is closed, and the fault asks what is to be done.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use wasmtime::{Store, unix::StoreExt};

use super::{
    Region,
    mapping::{Creator, Mapping},
};
use crate::machine::{HostFailure, host::lock};

/// What the kernel says of an access to memory that is there and does not allow it (`SEGV_ACCERR`, which libc does not name).
const NOT_ALLOWED: libc::c_int = 2;

/// The page of one instance.
pub(in crate::machine) struct PollPage {
    /// The memory that was added to the module (`polls`).
    page: Arc<Mapping>,
    /// Length of its own, in bytes.
    memory_bytes: Arc<AtomicUsize>,
    /// Whether the instance runs.
    runs: AtomicBool,
    closed: Mutex<bool>,
    /// Why the guest was stopped.
    failure: Mutex<Option<HostFailure>>,
}

impl PollPage {
    /// That of the instance which was just made on this thread, and which has `region`. While it runs, `ask` is called on its thread, with
    /// the bytes of its memory, whenever somebody has closed the page; a failure ends the guest there.
    ///
    /// It is called on the thread's signal stack, of 256 KiB, while the guest's frames lie on the other one.
    pub fn created<T>(
        store: &mut Store<T>,
        region: &Region,
        ask: impl Fn(usize) -> Result<(), HostFailure> + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let page =
            Creator::created().ok_or_else(|| io::Error::other("no second memory was created on this thread"))??;
        let this = Arc::new(Self {
            page,
            memory_bytes: region.length(),
            runs: AtomicBool::new(false),
            closed: Mutex::new(false),
            failure: Mutex::new(None),
        });
        let asked = this.clone();
        let handler = move |signal: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void| {
            // SAFETY: the engine hands on what the kernel gave its handler of this signal, which has an address for this code.
            let faulted = signal == libc::SIGSEGV
                && unsafe { (*info).si_code == NOT_ALLOWED && asked.page.holds((*info).si_addr() as usize) };
            faulted && asked.goes_on(&ask)
        };
        // SAFETY: a handler of signals that come at any time may do little. This one comes to more than comparing an address
        // only where guest code has written to the page, to which nothing else refers: at an instruction of the guest, outside of all host
        // code, which therefore is in the middle of nothing. There it may wait, take locks and allocate as an import may.
        unsafe { store.set_signal_handler(handler) };
        Ok(this)
    }

    /// Asks, and makes the page writable again if the guest may go on. Nothing unwinds from here: below are the frames of a signal.
    fn goes_on(&self, ask: impl Fn(usize) -> Result<(), HostFailure>) -> bool {
        let mut failure = lock(&self.failure);
        if failure.is_none() {
            let asked = catch_unwind(AssertUnwindSafe(|| ask(self.memory_bytes.load(Ordering::Acquire))));
            let asked = asked.unwrap_or_else(|panic| Err(HostFailure::panicked("asking whether it may go on", panic)));
            *failure = asked.and_then(|()| Ok(self.set_closed(false)?)).err();
        }
        failure.is_none()
    }

    /// The instance begins to run.
    pub fn begin(&self) -> io::Result<()> {
        *lock(&self.failure) = None;
        self.set_closed(false)?;
        self.runs.store(true, Ordering::Release);
        Ok(())
    }

    /// It has ended; says why, if it was stopped.
    pub fn end(&self) -> Option<HostFailure> {
        self.runs.store(false, Ordering::Release);
        lock(&self.failure).take()
    }

    fn set_closed(&self, close: bool) -> io::Result<()> {
        let mut closed = lock(&self.closed);
        if *closed != close {
            // SAFETY: the page is the added memory's. Nobody has references into it: the module does not export it, and guest code that
            // writes to it expects the fault.
            unsafe { self.page.set_writable(!close)? };
            *closed = close;
        }
        Ok(())
    }
}

/// The pages of all instances.
#[derive(Default)]
pub(in crate::machine) struct PollPages(Mutex<Vec<Weak<PollPage>>>);

impl PollPages {
    /// Takes note of one more.
    pub fn add(&self, page: &Arc<PollPage>) {
        lock(&self.0).push(Arc::downgrade(page));
    }

    /// Has each instance that runs ask whether it may go on.
    pub fn close(&self) {
        let mut pages = Vec::new();
        lock(&self.0).retain(|page| page.upgrade().map(|page| pages.push(page)).is_some());
        // What is dropped with the last of them keeps nobody waiting who makes an instance.
        for page in pages {
            if page.runs.load(Ordering::Acquire)
                && let Err(error) = page.set_closed(true)
            {
                tracing::warn!(%error, "an evaluation cannot be asked to stop now");
            }
        }
    }
}
