//! A memory file that goes on changing while others still look at what it was.
//!
//! ```text
//!   kept for 3 ──► kept for 5 ──► the file      a page of moment 3 is in the first of these that has it
//! ```
//!
//! When contents are to change that somebody else looks at, they become a past *moment*: before a page of the file is replaced, its
//! old bytes are kept for the newest past moment, and older ones find them there. So a commit costs what it changes, however
//! large the memory is and however many look at what it was.
//!
//! Nobody sees the file change:
//!
//! * [`View::read`] takes the file's bytes first and looks what is kept second, and a page is kept before it is replaced.
//! * Instances map the file privately, and the kernel shows them later changes in pages that they have not written. So before
//!   the file changes, every other mapping gets its own copy of the pages concerned ([`Mapping::keep`]), and a mapping made later
//!   gets what is kept put on top. A mapping that has [left](Shown::leave) goes on showing the file as it becomes, and needs only the
//!   pages that it has of its own replaced to show a moment again. A kernel that cannot do this (before Linux 5.14) has the whole file copied instead.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    PAGE_BYTES,
    file::{MemoryFile, is_zero},
    mapping::Mapping,
};

/// How much of a file is read at once to be shown again, in bytes.
const CHUNK_BYTES: usize = 16 * PAGE_BYTES;

type Page = [u8; PAGE_BYTES];

/// What a moment has otherwise than the moments after it; none for a page of zeros.
type Kept = BTreeMap<u32, Option<Box<Page>>>;

/// A file, and what it was.
#[derive(Debug)]
struct Moments {
    file: MemoryFile,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the moment that the file shows.
    present: u64,
    /// Moments before it that somebody looks at.
    past: BTreeMap<u64, Kept>,
    /// Mappings of the file.
    mappings: Vec<Arc<Mapping>>,
}

/// One moment of a file. As long as it is there, its contents can be read.
#[derive(Debug)]
pub(super) struct View {
    moments: Arc<Moments>,
    number: u64,
}

/// That a mapping shows a moment, until it leaves.
#[derive(Debug)]
pub(super) struct Shown {
    moments: Arc<Moments>,
    /// Whether it was what the file has. A past moment is in the mapping's own pages, which must not be dropped.
    pub is_present: bool,
}

/// A mapping that shows a file as it is now, but for some pages of its own, and whose contents do not matter.
#[derive(Debug)]
pub(super) struct Left {
    moments: Arc<Moments>,
    /// Ranges of whole pages, in bytes.
    own: Vec<Range<usize>>,
}

/// A file was not changed as it should be.
#[derive(Debug)]
pub(super) enum Unchanged {
    /// Nothing of it was.
    Intact(io::Error),
    /// A part of it was; only past moments are what they were.
    Torn(io::Error),
}

impl Unchanged {
    /// Why.
    pub fn into_io(self) -> io::Error {
        let (Self::Intact(error) | Self::Torn(error)) = self;
        error
    }
}

/// New bytes and where they go.
pub(super) type Change<'a> = (usize, &'a [u8]);

impl Moments {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps what `changes` will replace: in mappings other than `own`, and for the newest past moment, where it is not kept
    /// already.
    fn keep(&mut self, file: &MemoryFile, own: Option<&Arc<Mapping>>, changes: &[Change<'_>]) -> io::Result<()> {
        for mapping in self.mappings.iter().filter(|mapping| own.is_none_or(|own| !Arc::ptr_eq(own, mapping))) {
            for (at, bytes) in changes {
                mapping.keep(&(*at..at + bytes.len()))?;
            }
        }
        let Some(mut newest) = self.past.last_entry() else { return Ok(()) };
        let kept = newest.get_mut();
        let mut page = Box::new([0; PAGE_BYTES]);
        for (at, bytes) in changes {
            // Beyond the end of the file there was nothing.
            for index in pages(*at..(at + bytes.len()).min(file.len())) {
                let Entry::Vacant(place) = kept.entry(index) else { continue };
                let start = index as usize * PAGE_BYTES;
                file.read(start, &mut page[..])?;
                // Pages that stay private are written with every commit, most of them as they are.
                let new = start.checked_sub(*at).and_then(|from| bytes.get(from..from + PAGE_BYTES));
                if new != Some(&page[..]) {
                    place.insert((!is_zero(&page[..])).then(|| page.clone()));
                }
            }
        }
        Ok(())
    }
}

impl View {
    /// The contents of a file that nobody else has.
    pub fn of(file: MemoryFile) -> Self {
        Self { moments: Arc::new(Moments { file, state: Mutex::default() }), number: 0 }
    }

    /// Copies bytes out; the range must lie inside.
    pub fn read(&self, at: usize, into: &mut [u8]) -> io::Result<()> {
        self.moments.file.read(at, into)?;
        self.put_kept(at, into);
        Ok(())
    }

    /// Puts what is kept for this moment over bytes that were read from the file at `at`.
    fn put_kept(&self, at: usize, into: &mut [u8]) {
        let state = self.moments.state();
        let end = at + into.len();
        let pages = pages(at..end);
        // The moment's own come last: what is nearest counts.
        for kept in state.past.range(self.number..).rev().map(|(_, kept)| kept) {
            for (index, page) in kept.range(pages.clone()) {
                let start = *index as usize * PAGE_BYTES;
                let (from, to) = (start.max(at), (start + PAGE_BYTES).min(end));
                match page {
                    Some(page) => into[from - at..to - at].copy_from_slice(&page[from - start..to - start]),
                    None => into[from - at..to - at].fill(0),
                }
            }
        }
    }

    /// Maps the first `bytes` of these contents. Pages that the file does not have any more are given to `put`: their number
    /// and contents, none for zeros.
    ///
    /// # Safety
    /// As for [`Mapping::map`].
    pub unsafe fn show(
        &self,
        mapping: &Arc<Mapping>,
        bytes: usize,
        put: impl FnMut(u32, Option<&Page>),
    ) -> io::Result<Shown> {
        // Until the mapping is in the list and has all pages, the file must stay as it is.
        let mut state = self.moments.state();
        // SAFETY: said by the caller.
        unsafe { mapping.map(&self.moments.file, bytes)? };
        Ok(self.join(&mut state, mapping, bytes, put))
    }

    /// The same for a mapping that showed a moment of the same file before and is as long: only the pages of its own are replaced, so
    /// that no other processor need be told of pages that are gone. Nothing is done if it showed another file.
    pub fn show_again(
        &self,
        mapping: &Arc<Mapping>,
        left: &Left,
        bytes: usize,
        mut put: impl FnMut(u32, Option<&Page>),
    ) -> io::Result<Option<Shown>> {
        if !self.is_in(left) {
            return Ok(None);
        }
        // As in `show`.
        let mut state = self.moments.state();
        let mut chunk = vec![0; CHUNK_BYTES];
        for range in &left.own {
            for start in range.clone().step_by(CHUNK_BYTES) {
                let chunk = &mut chunk[..CHUNK_BYTES.min(range.end - start)];
                self.moments.file.read(start, chunk)?;
                for (index, page) in pages(start..range.end).zip(chunk.as_chunks().0) {
                    put(index, Some(page));
                }
            }
        }
        Ok(Some(self.join(&mut state, mapping, bytes, put)))
    }

    /// Whether it is one of the file that a mapping has left.
    pub fn is_in(&self, left: &Left) -> bool {
        Arc::ptr_eq(&self.moments, &left.moments)
    }

    /// Puts what is kept for this moment over the file's pages in a mapping, and the mapping into the list.
    fn join(
        &self,
        state: &mut State,
        mapping: &Arc<Mapping>,
        bytes: usize,
        mut put: impl FnMut(u32, Option<&Page>),
    ) -> Shown {
        for kept in state.past.range(self.number..).rev().map(|(_, kept)| kept) {
            for (index, page) in kept.range(pages(0..bytes)) {
                put(*index, page.as_deref());
            }
        }
        state.mappings.push(Arc::clone(mapping));
        Shown { moments: Arc::clone(&self.moments), is_present: self.number == state.present }
    }

    /// Pages that a mapping of this moment cannot show by itself, at most.
    pub fn kept_pages(&self) -> usize {
        self.moments.state().past.range(self.number..).map(|(_, kept)| kept.len()).sum()
    }

    /// Makes the file `bytes` long, if it is shorter, and changes it. The mapping `own` is the one that the changes come from. If
    /// the view is `shared`, it stays what it is, and the file's new contents are another view.
    pub fn change(
        &self,
        own: Option<&Arc<Mapping>>,
        shared: bool,
        bytes: usize,
        changes: &[Change<'_>],
    ) -> Result<Option<Self>, Unchanged> {
        let mut state = self.moments.state();
        if self.number != state.present {
            return Err(Unchanged::Intact(io::Error::other("the file has other contents by now")));
        }
        if shared {
            state.past.insert(self.number, Kept::new());
        }
        let file = &self.moments.file;
        if let Err(error) = state.keep(file, own, changes) {
            if shared {
                state.past.remove(&self.number);
            }
            return Err(Unchanged::Intact(error));
        }
        if shared {
            // Also if writing fails: then nobody has the file's contents, and all others have theirs.
            state.present += 1;
        }
        let known = file.len();
        let write = || {
            file.extend(bytes)?;
            for (at, bytes) in changes {
                // New memory is a hole in the file, where zeros need not be written.
                let old = known.saturating_sub(*at).min(bytes.len());
                if old > 0 {
                    file.write(*at, &bytes[..old])?;
                }
                file.write_sparse(at + old, &bytes[old..])?;
            }
            Ok(())
        };
        write().map_err(Unchanged::Torn)?;
        Ok(shared.then(|| Self { moments: Arc::clone(&self.moments), number: state.present }))
    }

    /// Replaces bytes page by page in a new file, leaving out pages that are zero, for ranges known to be holes.
    pub fn fill(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(Arc::get_mut(&mut self.moments).is_some(), "somebody may look at it");
        self.moments.file.write_sparse(at, bytes)
    }

    /// A file with the same contents, the first `bytes` of it.
    pub fn copy(&self, bytes: usize) -> io::Result<MemoryFile> {
        let copy = MemoryFile::zeroed(bytes)?;
        self.moments.file.each_chunk(bytes, |at, chunk| {
            self.put_kept(at, chunk);
            copy.write_sparse(at, chunk)
        })?;
        Ok(copy)
    }

    /// Bytes of memory that the file and what is kept take.
    pub fn resident_bytes(&self) -> u64 {
        let kept: usize = self.moments.state().past.values().map(BTreeMap::len).sum();
        self.moments.file.resident_bytes() + (kept * PAGE_BYTES) as u64
    }

    /// How many mappings show the file.
    #[cfg(test)]
    pub fn mappings(&self) -> usize {
        self.moments.state().mappings.len()
    }

    /// The file itself.
    #[cfg(test)]
    pub fn file(&self) -> &MemoryFile {
        &self.moments.file
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut state = self.moments.state();
        let Some(mut kept) = state.past.remove(&self.number) else { return };
        // Older moments found these pages here.
        if let Some((_, older)) = state.past.range_mut(..self.number).next_back() {
            if older.len() < kept.len() {
                std::mem::swap(older, &mut kept);
                // Now the older moment's own pages are on this side, and they count.
                older.extend(kept);
            } else {
                for (index, page) in kept {
                    older.entry(index).or_insert(page);
                }
            }
        }
    }
}

impl Shown {
    /// Takes a mapping off: nobody cares any more what it shows.
    pub fn leave(&self, mapping: &Arc<Mapping>) {
        self.moments.state().mappings.retain(|known| !Arc::ptr_eq(known, mapping));
    }

    /// What is needed to show the file again in a mapping that has left and has pages of its own in these ranges only.
    pub fn left(self, own: Vec<Range<usize>>) -> Left {
        Left { moments: self.moments, own }
    }
}

fn pages(bytes: Range<usize>) -> Range<u32> {
    let first = (bytes.start / PAGE_BYTES) as u32;
    first..(bytes.end.div_ceil(PAGE_BYTES) as u32).max(first)
}
