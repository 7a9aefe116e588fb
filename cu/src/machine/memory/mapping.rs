//! Address space of linear memories, as wasmtime gets it.

use std::{
    cell::RefCell,
    collections::VecDeque,
    ffi::c_void,
    io,
    ops::Range,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, MprotectFlags, ProtFlags},
};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use super::{
    dirty::kernel_page_bytes,
    fault::{self, Ask},
    file::MemoryFile,
};
use crate::machine::HostFailure;

thread_local! {
    /// The memories created last on this thread, or why there are none, on their way from wasmtime's calls of [`Creator`] to whoever asked for
    /// the instance, in the order of their indices.
    static CREATED: RefCell<VecDeque<io::Result<Arc<Mapping>>>> = const { RefCell::new(VecDeque::new()) };
}

/// Address space of one memory: `[0, len)` accessible, the rest of the reservation and the guard not.
#[derive(Debug)]
pub(super) struct Mapping {
    base: *mut u8,
    /// Reservation and guard together, in bytes.
    span: usize,
    /// How far memory may grow in place, in bytes.
    capacity: usize,
    /// Accessible bytes; whoever may outlive the mapping can have the number.
    len: Arc<AtomicUsize>,
    /// How many of them, from the start, are mapped from a file that can be shown again; the rest is anonymous.
    mapped: AtomicUsize,
    /// A remapping failed: who knows what is there now. Not touched any more, not even to give it back.
    broken: AtomicBool,
}

// SAFETY: the pointer is only an address; nothing in here reads or writes through it without the store's borrow (see the
// folder's opening), and the rest is atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn reserve(minimum: usize, capacity: usize, guard: usize) -> io::Result<Self> {
        let span = capacity.checked_add(guard).ok_or(io::ErrorKind::OutOfMemory)?;
        fault::check(Ask::Space)?;
        // SAFETY: a new anonymous mapping at an address the kernel chooses touches nothing that exists.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                span,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let mapping = Self {
            base: base.cast(),
            span,
            capacity,
            len: Arc::default(),
            mapped: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        };
        // Huge pages would make whole 2 MiB dirty at the first byte. A kernel without them refuses, which is as good.
        // SAFETY: advice about our own mapping that does not change its contents.
        let _ = unsafe { rustix::mm::madvise(base, span, Advice::LinuxNoHugepage) };
        mapping.open(minimum)?;
        Ok(mapping)
    }

    /// Where it begins.
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// Accessible bytes, now and later.
    pub fn length(&self) -> Arc<AtomicUsize> {
        self.len.clone()
    }

    /// Whether an address is one of them.
    pub fn holds(&self, address: usize) -> bool {
        address.checked_sub(self.base as usize).is_some_and(|at| at < self.len.load(Ordering::Acquire))
    }

    /// How many bytes, from the start, show a file.
    pub fn mapped(&self) -> usize {
        self.mapped.load(Ordering::Acquire)
    }

    /// Whether nobody knows any more what is there.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// What is written from here on cannot be dropped in order to go back: the file below does not show what it showed.
    pub fn forget_file(&self) {
        self.mapped.store(0, Ordering::Release);
    }

    /// Makes the first `bytes` accessible.
    fn open(&self, bytes: usize) -> io::Result<()> {
        let len = self.len.load(Ordering::Acquire);
        if bytes > self.capacity {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if bytes > len {
            fault::check(Ask::Space)?;
            // SAFETY: the range lies inside our reservation, was inaccessible and zero, and becomes accessible zeros; no
            // reference into it can exist.
            unsafe {
                let start = self.base.add(len).cast::<c_void>();
                rustix::mm::mprotect(start, bytes - len, MprotectFlags::READ | MprotectFlags::WRITE)?;
            }
            self.len.store(bytes, Ordering::Release);
        }
        Ok(())
    }

    /// Keeps the accessible bytes from being written for a time, or allows it again. They can be read, so that the range stays unlike what
    /// is around it: merging with that and being cut off again takes what the operating system may not have.
    ///
    /// # Safety
    /// Nobody refers to what is there, and who writes it in between expects a fault.
    pub unsafe fn set_writable(&self, writable: bool) -> io::Result<()> {
        fault::check(Ask::Protect)?;
        let read = MprotectFlags::READ;
        let protection = if writable { read | MprotectFlags::WRITE } else { read };
        // SAFETY: the range is our own; the caller says that nobody minds.
        unsafe { rustix::mm::mprotect(self.base.cast(), self.len.load(Ordering::Acquire), protection)? };
        Ok(())
    }

    /// Shows the first `bytes` of `file`, privately, instead of what is there.
    ///
    /// # Safety
    /// `bytes` are accessible and the file is as long; nobody refers to what is there, and no guest runs on it.
    pub unsafe fn map(&self, file: &MemoryFile, bytes: usize) -> io::Result<()> {
        debug_assert!(bytes <= self.len.load(Ordering::Acquire) && bytes <= file.len());
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        let shown = if bytes == 0 {
            Ok(())
        } else if let Err(error) = fault::check(Ask::Map) {
            Err(error)
        } else {
            // SAFETY: the range is accessible and our own, and the caller says that nobody uses it; the file is as long as the
            // mapping and sealed against shrinking. If the call fails, the old mapping may be gone already and something else
            // be there, so it is not touched again (`is_broken`, `drop`).
            let mapped = unsafe {
                let prot = ProtFlags::READ | ProtFlags::WRITE;
                rustix::mm::mmap(self.base.cast(), bytes, prot, flags, file.descriptor(), 0)
            };
            mapped.map(|_| ()).map_err(io::Error::from)
        };
        self.settled(shown, bytes)
    }

    /// Lets go of everything: what is accessible becomes zeros.
    ///
    /// # Safety
    /// Nobody refers to what is there, and no guest runs on it.
    pub unsafe fn clear(&self) -> io::Result<()> {
        let bytes = self.len.load(Ordering::Acquire);
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        let cleared = if bytes == 0 {
            Ok(())
        } else {
            // SAFETY: as in `map`.
            let mapped = unsafe {
                let prot = ProtFlags::READ | ProtFlags::WRITE;
                rustix::mm::mmap_anonymous(self.base.cast(), bytes, prot, flags)
            };
            mapped.map(|_| ()).map_err(io::Error::from)
        };
        // A new mapping does not know the old one's advice. As in `reserve`.
        // SAFETY: as in `reserve`.
        let _ = unsafe { rustix::mm::madvise(self.base.cast(), bytes, Advice::LinuxNoHugepage) };
        self.settled(cleared, 0)
    }

    fn settled(&self, remapped: io::Result<()>, mapped: usize) -> io::Result<()> {
        if remapped.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        self.mapped.store(mapped, Ordering::Release);
        remapped
    }

    /// Drops the private pages of the first `bytes`; the file's show again.
    ///
    /// # Safety
    /// Nobody refers to what is there, and no guest runs on it.
    pub unsafe fn discard(&self, bytes: usize) -> io::Result<()> {
        if bytes > 0 {
            fault::check(Ask::Discard)?;
            // SAFETY: our own file mapping, to whose pages nobody refers, as the caller says.
            unsafe { rustix::mm::madvise(self.base.cast(), bytes, Advice::LinuxDontNeed)? };
        }
        Ok(())
    }

    /// Gives the mapping pages of its own where `bytes` shows those of a file, so that changes of the file are not seen. What
    /// is there stays, and guests may run on it meanwhile.
    pub fn keep(&self, bytes: &Range<usize>) -> io::Result<()> {
        if self.is_broken() {
            return Ok(());
        }
        let page = kernel_page_bytes();
        let start = bytes.start / page * page;
        let end = bytes.end.next_multiple_of(page).min(self.mapped());
        if start >= end {
            return Ok(());
        }
        fault::check(Ask::Keep)?;
        loop {
            // SAFETY: the range lies in our mapping of a file. The call does what writing to its pages would do first, and does not
            // write: contents stay what they are, whoever reads or writes them at the same time.
            let kept =
                unsafe { rustix::mm::madvise(self.base.add(start).cast(), end - start, Advice::LinuxPopulateWrite) };
            match kept {
                Err(Errno::INTR) => {}
                kept => return Ok(kept?),
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.is_broken() {
            tracing::error!(bytes = self.span, "address space of a memory is given up because remapping it failed");
            return;
        }
        // SAFETY: the last owner goes: wasmtime's memory, the region or poll page and the file's list are all gone, so nothing refers to the
        // range, which is exactly the one `reserve` mapped (pieces remapped later included).
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.span) };
    }
}

/// What wasmtime sees of a mapping.
struct Owned(Arc<Mapping>);

// SAFETY: `as_ptr` stays valid and constant for the life of the value, `[0, byte_size)` is always accessible (a poll page can only be read for a time; nobody but guest code that expects it writes there), growth up to
// `byte_capacity` happens in place, and everything from there to the end of reservation and guard stays inaccessible.
unsafe impl LinearMemory for Owned {
    fn byte_size(&self) -> usize {
        self.0.len.load(Ordering::Acquire)
    }

    fn byte_capacity(&self) -> usize {
        self.0.capacity
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        // Told apart from growth that the module's or the engine's maximum forbids.
        self.0.open(new_size).map_err(|error| HostFailure::System(error).into())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base
    }
}

/// Creates the memories of an engine.
#[derive(Debug, Default)]
pub(in crate::machine) struct Creator;

impl Creator {
    /// The first of the memories that were created last on this thread, or why there is none. Nothing if each has been asked for.
    pub(super) fn created() -> Option<io::Result<Arc<Mapping>>> {
        CREATED.with_borrow_mut(VecDeque::pop_front)
    }

    /// Memories of instances that nobody asked for are forgotten: a new one is made on this thread.
    pub(in crate::machine) fn forget() {
        CREATED.with_borrow_mut(VecDeque::clear);
    }
}

// SAFETY: memories are zero filled, reserve at least what wasmtime asks for, followed by the guard it asks for.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved_size_in_bytes.unwrap_or(minimum).max(minimum).next_multiple_of(kernel_page_bytes());
        match Mapping::reserve(minimum, capacity, guard_size_in_bytes).map(Arc::new) {
            Ok(mapping) => {
                CREATED.with_borrow_mut(|created| created.push_back(Ok(Arc::clone(&mapping))));
                Ok(Box::new(Owned(mapping)))
            }
            Err(error) => {
                let reason = error.to_string();
                CREATED.with_borrow_mut(|created| created.push_back(Err(error)));
                Err(reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::PAGE_BYTES;

    #[test]
    fn a_mapping_that_cannot_grow_is_this_computers_failure() {
        let mut memory = Owned(Arc::new(Mapping::reserve(PAGE_BYTES, 2 * PAGE_BYTES, 0).unwrap()));
        memory.grow_to(2 * PAGE_BYTES).unwrap();
        let error = memory.grow_to(3 * PAGE_BYTES).unwrap_err();
        assert!(matches!(error.downcast::<HostFailure>(), Ok(HostFailure::System(_))));
        assert_eq!(memory.byte_size(), 2 * PAGE_BYTES);
    }
}
