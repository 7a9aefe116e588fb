//! The linear memory of one instance: reserved address space with an image mapped into it.

use std::{
    io,
    sync::{Arc, atomic::AtomicUsize},
};

use wasmtime::{Memory, Store};

use super::{
    Image, PAGE_BYTES,
    dirty::Scanner,
    image::Committed,
    mapping::{Creator, Mapping},
    moments::{Change, Left, Shown},
};

/// Private pages kept after a commit because they will most likely be written again, in bytes. Above it they are given
/// back, and the image shows through.
const KEEP_PRIVATE_BYTES: usize = 32 << 20;

/// Private pages that an instance may keep when it lets go of its image, so that the next image is shown by replacing them, in bytes.
const KEEP_IDLE_BYTES: usize = 1 << 20;

/// The memory of an instance, as the machine handles it between calls.
pub(in crate::machine) struct Region {
    mapping: Arc<Mapping>,
    /// Where the mapping is known as long as it shows a file.
    shown: Option<Shown>,
    /// How it can be shown again without a new mapping, after it let go of what it showed.
    left: Option<Left>,
    /// Private pages after the last commit, or after it let go, in bytes.
    private_bytes: usize,
}

/// Memory was not committed. It is intact itself.
#[derive(Debug)]
pub(in crate::machine) enum NotCommitted {
    /// So is the image.
    Intact(io::Error),
    /// The image holds a part of the changes.
    Torn(io::Error),
}

impl From<io::Error> for NotCommitted {
    fn from(error: io::Error) -> Self {
        Self::Intact(error)
    }
}

impl Region {
    /// The region behind `memory`, which was just instantiated on this thread.
    pub fn created<T>(store: &mut Store<T>, memory: &Memory) -> io::Result<Self> {
        let mapping = Creator::created().ok_or_else(|| io::Error::other("no memory was created on this thread"))??;
        let region = Self { mapping, shown: None, left: None, private_bytes: 0 };
        region.check(store, memory)?;
        Ok(region)
    }

    /// Why the operating system gave no memory to the instantiation that just failed on this thread, if that was the reason.
    pub fn refused() -> Option<io::Error> {
        std::iter::from_fn(Creator::created).find_map(Result::err)
    }

    /// Bytes of memory, now and later.
    pub(super) fn length(&self) -> Arc<AtomicUsize> {
        self.mapping.length()
    }

    /// Shows `image` in `memory`, which must have its length. Everything that was there is forgotten. After an error the instance
    /// has to go.
    pub fn show<T>(&mut self, store: &mut Store<T>, memory: &Memory, image: &Image) -> io::Result<()> {
        self.check(store, memory)?;
        if image.len() != memory.data_size(&*store) {
            return Err(io::Error::other("image and memory differ in length"));
        }
        self.map(store, memory, image)
    }

    fn map<T>(&mut self, store: &mut Store<T>, memory: &Memory, image: &Image) -> io::Result<()> {
        let view = image.view()?;
        self.leave();
        let mut put = |index: u32, page: Option<&[u8; PAGE_BYTES]>| {
            let at = index as usize * PAGE_BYTES;
            let into = &mut memory.data_mut(&mut *store)[at..at + PAGE_BYTES];
            match page {
                Some(page) => into.copy_from_slice(page),
                None => into.fill(0),
            }
        };
        if let Some(left) = self.left.take()
            && self.mapping.mapped() == image.len()
            && let Some(shown) = view.show_again(&self.mapping, &left, image.len(), &mut put)?
        {
            self.shown = Some(shown);
            return Ok(());
        }
        // SAFETY: the store is borrowed, so no guest runs on the memory and nobody refers to it (folder's opening; `put` borrows
        // it after the mapping was made); the memory is as long as the image, whose file is as long at least.
        self.shown = Some(unsafe { view.show(&self.mapping, image.len(), put)? });
        self.private_bytes = 0;
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(shown) = self.shown.take() {
            shown.leave(&self.mapping);
        }
    }

    /// Lets go of the image that is shown, and of most that was written: what memory holds does not matter any more. After an error the
    /// instance has to go.
    pub fn let_go<T>(&mut self, store: &mut Store<T>, memory: &Memory) -> io::Result<()> {
        self.check(store, memory)?;
        let len = memory.data_size(&*store);
        if let Some(shown) = self.shown.take() {
            // From here on the file may change below the memory, so nobody refers to it before it shows something again.
            shown.leave(&self.mapping);
            let scanner = Scanner::best();
            if self.mapping.mapped() == len
                && scanner.is_quick()
                && let Ok(Some(own)) = scanner.own(self.mapping.base() as usize, len)
            {
                let private = own.iter().map(ExactSizeIterator::len).sum();
                if private <= KEEP_IDLE_BYTES {
                    self.left = Some(shown.left(own));
                    self.private_bytes = private;
                    return Ok(());
                }
            }
        }
        self.left = None;
        self.private_bytes = 0;
        // SAFETY: the store is borrowed: nobody refers to the memory, and no guest runs on it (folder's opening).
        unsafe { self.mapping.clear() }
    }

    /// Whether it has let go of a file in which `image` is not: it is there only because of this.
    pub fn lags(&self, image: &Image) -> bool {
        self.left.as_ref().is_some_and(|left| !image.is_in(left))
    }

    /// Forgets everything written since the image was shown or last committed. `false` if memory has grown since then, which
    /// wasm cannot undo, or the file below does not have the image any more: the instance has to go.
    pub fn discard<T>(&mut self, store: &mut Store<T>, memory: &Memory) -> io::Result<bool> {
        self.check(store, memory)?;
        let len = memory.data_size(&*store);
        if self.mapping.mapped() != len || !self.shown.as_ref().is_some_and(|shown| shown.is_present) {
            return Ok(false);
        }
        self.drop_private(len)?;
        Ok(true)
    }

    fn drop_private(&mut self, len: usize) -> io::Result<()> {
        self.private_bytes = 0;
        // SAFETY: every caller has borrowed the store: nobody refers to the memory, and no guest runs on it (folder's opening).
        unsafe { self.mapping.discard(len) }
    }

    /// Bytes of memory that the pages take which were private after the last commit, or after it let go.
    pub fn private_bytes(&self) -> usize {
        self.private_bytes
    }

    /// Writes what memory holds into `image`, of which it must be a mapping; whoever else holds the image keeps what it was.
    /// Afterwards the image equals memory. `false` means that memory cannot show it and the instance has to go, else
    /// [`Region::discard`] comes back to here.
    pub fn commit<T>(
        &mut self,
        store: &mut Store<T>,
        memory: &Memory,
        image: &mut Arc<Image>,
    ) -> Result<bool, NotCommitted> {
        self.commit_with(Scanner::best(), store, memory, image)
    }

    pub(super) fn commit_with<T>(
        &mut self,
        scanner: &Scanner,
        store: &mut Store<T>,
        memory: &Memory,
        image: &mut Arc<Image>,
    ) -> Result<bool, NotCommitted> {
        self.check(store, memory)?;
        let bytes = memory.data(&*store);
        let dirty = scanner.dirty(bytes, image)?;
        let len = bytes.len();
        let grown = image.len() != len;
        let private: usize = dirty.iter().map(ExactSizeIterator::len).sum();
        let changes: Vec<Change<'_>> = dirty.iter().map(|range| (range.start, &bytes[range.clone()])).collect();
        let committed = Image::commit(image, &self.mapping, len, &changes)?;
        let shown = match committed {
            Committed::InPlace if !grown && private <= KEEP_PRIVATE_BYTES => {
                self.private_bytes = private;
                Ok(())
            }
            Committed::InPlace if !grown => self.drop_private(len),
            Committed::InPlace | Committed::Elsewhere => self.map(store, memory, image),
        };
        if let Err(error) = &shown {
            tracing::warn!(%error, "memory was committed, but its instance cannot go on");
        }
        Ok(shown.is_ok())
    }

    fn check<T>(&self, store: &mut Store<T>, memory: &Memory) -> io::Result<()> {
        if self.mapping.is_broken() {
            Err(io::Error::other("remapping this memory failed before"))
        } else if memory.data_ptr(&*store) == self.mapping.base() {
            Ok(())
        } else {
            Err(io::Error::other("the memory is not this region's"))
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.leave();
    }
}
