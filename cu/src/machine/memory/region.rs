//! The linear memory of one instance: reserved address space with an image mapped into it.

use std::{
    cell::RefCell,
    ffi::c_void,
    io, ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use wasmtime::{LinearMemory, Memory, MemoryCreator, MemoryType, Store};

use super::{
    Image,
    dirty::{Scanner, kernel_page_bytes},
};
use crate::machine::HostFailure;

/// Private pages kept after a commit because they will most likely be written again, in bytes. Above it they are given
/// back, and the image shows through.
const KEEP_PRIVATE_BYTES: usize = 32 << 20;

thread_local! {
    /// The memory created last on this thread, or why there is none, on its way from wasmtime's call of [`Creator`] to whoever asked for the
    /// instance.
    static CREATED: RefCell<Option<io::Result<Arc<Mapping>>>> = const { RefCell::new(None) };
}

/// Address space of one memory: `[0, len)` accessible, the rest of the reservation and the guard not.
struct Mapping {
    base: *mut u8,
    /// Reservation and guard together, in bytes.
    span: usize,
    /// How far memory may grow in place, in bytes.
    capacity: usize,
    /// Accessible bytes.
    len: AtomicUsize,
    /// How many of them, from the start, are mapped from the image; the rest is anonymous.
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
            len: AtomicUsize::new(0),
            mapped: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        };
        // Huge pages would make whole 2 MiB dirty at the first byte. A kernel without them refuses, which is as good.
        // SAFETY: advice about our own mapping that does not change its contents.
        let _ = unsafe { rustix::mm::madvise(base, span, Advice::LinuxNoHugepage) };
        mapping.open(minimum)?;
        Ok(mapping)
    }

    /// Makes the first `bytes` accessible.
    fn open(&self, bytes: usize) -> io::Result<()> {
        let len = self.len.load(Ordering::Acquire);
        if bytes > self.capacity {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if bytes > len {
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
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.broken.load(Ordering::Acquire) {
            tracing::error!(bytes = self.span, "address space of a memory is given up because remapping it failed");
            return;
        }
        // SAFETY: the last owner goes: wasmtime's memory and the region are both gone, so nothing refers to the range, which
        // is exactly the one `reserve` mapped (pieces remapped later included).
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.span) };
    }
}

/// What wasmtime sees of a mapping.
struct Owned(Arc<Mapping>);

// SAFETY: `as_ptr` stays valid and constant for the life of the value, `[0, byte_size)` is always accessible, growth up to
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
                CREATED.set(Some(Ok(Arc::clone(&mapping))));
                Ok(Box::new(Owned(mapping)))
            }
            Err(error) => {
                let reason = error.to_string();
                CREATED.set(Some(Err(error)));
                Err(reason)
            }
        }
    }
}

/// The memory of an instance, as the machine handles it between calls.
pub(in crate::machine) struct Region {
    mapping: Arc<Mapping>,
}

impl Region {
    /// The region behind `memory`, which was just instantiated on this thread.
    pub fn created<T>(store: &mut Store<T>, memory: &Memory) -> io::Result<Self> {
        let mapping = CREATED.take().ok_or_else(|| io::Error::other("no memory was created on this thread"))??;
        let region = Self { mapping };
        region.check(store, memory)?;
        Ok(region)
    }

    /// Why the operating system gave no memory to the instantiation that just failed on this thread, if that was the reason.
    pub fn refused() -> Option<io::Error> {
        CREATED.take().and_then(Result::err)
    }

    /// Shows `image` in `memory`, which must have its length. Everything that was there is forgotten. After an error the instance
    /// has to go.
    pub fn show<T>(&self, store: &mut Store<T>, memory: &Memory, image: &Image) -> io::Result<()> {
        self.check(store, memory)?;
        if image.len() != memory.data_size(&*store) {
            return Err(io::Error::other("image and memory differ in length"));
        }
        self.map(image)
    }

    fn map(&self, image: &Image) -> io::Result<()> {
        if image.len() > 0 {
            let file = image.file()?;
            // SAFETY: the range is the accessible part of our own reservation, whose old pages nobody refers to (folder's
            // opening); the file is as long as the mapping and sealed against shrinking. If the call fails, the old mapping may
            // be gone already and something else be there, so the region is not touched again (`check`, `Mapping::drop`).
            let shown = unsafe {
                rustix::mm::mmap(
                    self.mapping.base.cast(),
                    image.len(),
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                    file.descriptor(),
                    0,
                )
            };
            if let Err(error) = shown {
                self.mapping.broken.store(true, Ordering::Release);
                return Err(error.into());
            }
        }
        self.mapping.mapped.store(image.len(), Ordering::Release);
        Ok(())
    }

    /// Forgets everything written since the image was shown or last committed. `false` if memory has grown since then, which
    /// wasm cannot undo: the instance has to go.
    pub fn discard<T>(&self, store: &mut Store<T>, memory: &Memory) -> io::Result<bool> {
        self.check(store, memory)?;
        let len = memory.data_size(&*store);
        if self.mapping.mapped.load(Ordering::Acquire) != len {
            return Ok(false);
        }
        self.drop_private(len)?;
        Ok(true)
    }

    fn drop_private(&self, len: usize) -> io::Result<()> {
        if len > 0 {
            // SAFETY: drops private pages of our own file mapping, to which nobody refers (folder's opening); the file's show
            // again.
            unsafe { rustix::mm::madvise(self.mapping.base.cast(), len, Advice::LinuxDontNeed)? };
        }
        Ok(())
    }

    /// Writes what memory holds into `image`, of which it must be a mapping; duplicates the image first if somebody else
    /// holds it. Afterwards the image equals memory. `false` means that memory cannot show it and the instance has to go, else
    /// [`Region::discard`] comes back to here.
    ///
    /// On an error memory is intact; the image is intact too if it was shared, else it may hold a part of the changes.
    pub fn commit<T>(&self, store: &mut Store<T>, memory: &Memory, image: &mut Arc<Image>) -> io::Result<bool> {
        self.commit_with(Scanner::best(), store, memory, image)
    }

    pub(super) fn commit_with<T>(
        &self,
        scanner: &Scanner,
        store: &mut Store<T>,
        memory: &Memory,
        image: &mut Arc<Image>,
    ) -> io::Result<bool> {
        self.check(store, memory)?;
        let bytes = memory.data(&*store);
        let dirty = scanner.dirty(bytes, image)?;
        let grown = image.len() != bytes.len();
        let private: usize = dirty.iter().map(ExactSizeIterator::len).sum();
        let shown = match Arc::get_mut(image) {
            Some(image) => {
                write_back(image, bytes, &dirty)?;
                if grown {
                    self.map(image)
                } else if private > KEEP_PRIVATE_BYTES {
                    self.drop_private(bytes.len())
                } else {
                    Ok(())
                }
            }
            None => {
                let mut copy = image.duplicate()?;
                write_back(&mut copy, bytes, &dirty)?;
                *image = Arc::new(copy);
                self.map(image)
            }
        };
        if let Err(error) = &shown {
            tracing::warn!(%error, "memory was committed, but its instance cannot go on");
        }
        Ok(shown.is_ok())
    }

    fn check<T>(&self, store: &mut Store<T>, memory: &Memory) -> io::Result<()> {
        if self.mapping.broken.load(Ordering::Acquire) {
            Err(io::Error::other("remapping this memory failed before"))
        } else if memory.data_ptr(&*store) == self.mapping.base {
            Ok(())
        } else {
            Err(io::Error::other("the memory is not this region's"))
        }
    }
}

fn write_back(image: &mut Image, bytes: &[u8], dirty: &[std::ops::Range<usize>]) -> io::Result<()> {
    let before = image.len();
    image.extend(bytes.len())?;
    for range in dirty {
        // New memory is a hole in the image, where zeros need not be written.
        let known = before.clamp(range.start, range.end);
        image.write(range.start, &bytes[range.start..known])?;
        image.write_sparse(known, &bytes[known..range.end])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::PAGE_BYTES, *};

    #[test]
    fn a_mapping_that_cannot_grow_is_this_computers_failure() {
        let mut memory = Owned(Arc::new(Mapping::reserve(PAGE_BYTES, 2 * PAGE_BYTES, 0).unwrap()));
        memory.grow_to(2 * PAGE_BYTES).unwrap();
        let error = memory.grow_to(3 * PAGE_BYTES).unwrap_err();
        assert!(matches!(error.downcast::<HostFailure>(), Ok(HostFailure::System(_))));
        assert_eq!(memory.byte_size(), 2 * PAGE_BYTES);
    }
}
