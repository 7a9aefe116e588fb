//! The committed memory of a process.
//!
//! An image is a file that instances map, or, while its process rests, only the pages in which it differs from the module's
//! initial memory, so that thousands of idle processes take little more than what they wrote.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{
    PAGE_BYTES,
    changed::{Lineage, PageSet},
    file::{MemoryFile, is_zero},
    mapping::Mapping,
    moments::{Change, Left, Unchanged, View},
    region::NotCommitted,
};
use crate::machine::{PageHash, PageTree};

/// Pages that a resting image keeps by themselves at most; with more it stays a file, which is quicker to wake: a page put back into
/// a file costs some microseconds.
const MAX_LOOSE_PAGES: usize = 64;
/// Pages that are put into each mapping of an image by hand, because its file has other ones by now, at most; with more it gets a
/// file of its own, once.
const MAX_KEPT_PAGES: usize = 1024;
/// How much is read at once to be hashed or compared, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

type Page = [u8; PAGE_BYTES];

/// A memory of fixed contents as long as somebody shares it. Its length only grows.
#[derive(Debug)]
pub(in crate::machine) struct Image {
    bytes: usize,
    store: Store,
    lineage: Lineage,
    /// What it began as; none if it is such a beginning itself.
    base: Option<Base>,
    /// A file of its own for mappings, when the one it is in has become too different.
    apart: OnceLock<View>,
}

/// Where a committed image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// In the file it was in.
    InPlace,
    /// In another file, which nothing shows yet.
    Elsewhere,
}

#[derive(Debug)]
enum Store {
    File(View),
    /// The base, with these pages instead of its own.
    Loose {
        /// None for zeros.
        pages: BTreeMap<u32, Option<Box<Page>>>,
        /// The same as a file, if it was needed.
        file: OnceLock<View>,
    },
}

#[derive(Debug, Clone)]
struct Base {
    image: Arc<Image>,
    /// Pages that may be other than the base's.
    written: PageSet,
}

impl Image {
    /// An image of zeros.
    pub fn zeroed(bytes: usize) -> io::Result<Self> {
        let store = Store::File(View::of(MemoryFile::zeroed(bytes)?));
        Ok(Self { bytes, store, lineage: Lineage::of_zeros(bytes as u64), base: None, apart: OnceLock::new() })
    }

    /// What `base` is, with zeros up to the length `bytes`. `base` must be a beginning.
    pub fn upon(base: &Arc<Image>, bytes: usize) -> Self {
        debug_assert!(base.base.is_none() && bytes >= base.bytes);
        let store = Store::Loose { pages: BTreeMap::new(), file: OnceLock::new() };
        let mut lineage = base.lineage.descend();
        lineage.change(0..0);
        let base = Base { image: Arc::clone(base), written: PageSet::default() };
        Self { bytes, store, lineage, base: Some(base), apart: OnceLock::new() }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// What is to be mapped.
    pub(super) fn view(&self) -> io::Result<&View> {
        if let Some(apart) = self.apart.get() {
            return Ok(apart);
        }
        let view = self.file()?;
        if view.kept_pages() <= MAX_KEPT_PAGES {
            return Ok(view);
        }
        let apart = View::of(view.copy(self.bytes)?);
        Ok(self.apart.get_or_init(|| apart))
    }

    /// Whether it is in the file that this mapping has left.
    pub(super) fn is_in(&self, left: &Left) -> bool {
        let file = match &self.store {
            Store::File(file) => Some(file),
            Store::Loose { file, .. } => file.get(),
        };
        self.apart.get().or(file).is_some_and(|view| view.is_in(left))
    }

    fn file(&self) -> io::Result<&View> {
        match &self.store {
            Store::File(file) => Ok(file),
            Store::Loose { pages, file } => match file.get() {
                Some(file) => Ok(file),
                None => {
                    let made = View::of(self.gather(pages)?);
                    Ok(file.get_or_init(|| made))
                }
            },
        }
    }

    fn gather(&self, pages: &BTreeMap<u32, Option<Box<Page>>>) -> io::Result<MemoryFile> {
        let file = match &self.base {
            Some(base) => base.image.file()?.copy(self.bytes)?,
            None => MemoryFile::zeroed(self.bytes)?,
        };
        for (index, page) in pages {
            let page: &[u8] = page.as_ref().map_or(&[0; PAGE_BYTES], |page| &page[..]);
            file.write(*index as usize * PAGE_BYTES, page)?;
        }
        Ok(file)
    }

    /// Turns it into a file, if it is none.
    pub fn wake(&mut self) -> io::Result<()> {
        self.file()?;
        if let Store::Loose { file, .. } = &mut self.store
            && let Some(file) = file.take()
        {
            self.store = Store::File(file);
        }
        Ok(())
    }

    /// The same contents as loose pages, if that is possible and they are few.
    pub fn rested(&self) -> io::Result<Option<Self>> {
        let (Store::File(file), Some(base)) = (&self.store, &self.base) else { return Ok(None) };
        if base.written.len() > MAX_LOOSE_PAGES {
            return Ok(None);
        }
        let mut pages = BTreeMap::new();
        let mut written = PageSet::default();
        let (mut page, mut initial) = (Box::new([0; PAGE_BYTES]), Box::new([0; PAGE_BYTES]));
        for index in base.written.ranges().into_iter().flatten() {
            let at = index as usize * PAGE_BYTES;
            file.read(at, &mut page[..])?;
            base.image.read_or_zero(at, &mut initial[..])?;
            if page != initial {
                written.insert(index..index + 1);
                pages.insert(index, (!is_zero(&page[..])).then(|| page.clone()));
            }
        }
        let store = Store::Loose { pages, file: OnceLock::new() };
        let base = Some(Base { image: Arc::clone(&base.image), written });
        Ok(Some(Self { bytes: self.bytes, store, lineage: self.lineage.clone(), base, apart: OnceLock::new() }))
    }

    /// Lets go of a file that was only made because somebody wanted to map an image that rests.
    pub fn settle(&mut self) {
        if let Store::Loose { file, .. } = &mut self.store {
            file.take();
        }
    }

    /// Makes `image` `bytes` long, if it is shorter, with `changes` that come from the mapping `own`. Whoever else holds the image keeps
    /// what it was.
    pub(super) fn commit(
        image: &mut Arc<Self>,
        own: &Arc<Mapping>,
        bytes: usize,
        changes: &[Change<'_>],
    ) -> Result<Committed, NotCommitted> {
        if let Some(alone) = Arc::get_mut(image) {
            match alone.commit_alone(own, bytes, changes) {
                Err(NotCommitted::Intact(error)) => tracing::debug!(%error, "a memory is copied"),
                committed => return committed,
            }
        } else if let Some(next) = image.succeeded(own, bytes, changes) {
            *image = Arc::new(next);
            return Ok(Committed::InPlace);
        }
        let mut copy = image.duplicate()?;
        copy.file()?.change(None, false, bytes, changes).map_err(Unchanged::into_io)?;
        copy.changed(bytes, changes);
        *image = Arc::new(copy);
        Ok(Committed::Elsewhere)
    }

    /// The changed image in the file of this one, which stays what it is, if that is possible.
    fn succeeded(&self, own: &Arc<Mapping>, bytes: usize, changes: &[Change<'_>]) -> Option<Self> {
        let file = match &self.store {
            Store::File(file) => file,
            Store::Loose { file, .. } => file.get()?,
        };
        // A beginning belongs to everybody: nobody takes its file over.
        let base = self.base.clone()?;
        match file.change(Some(own), true, bytes, changes) {
            Ok(file) => {
                let (lineage, apart) = (self.lineage.descend(), OnceLock::new());
                let mut next = Self { bytes: self.bytes, store: Store::File(file?), lineage, base: Some(base), apart };
                next.changed(bytes, changes);
                Some(next)
            }
            Err(Unchanged::Intact(error)) => {
                tracing::debug!(%error, "a memory is copied");
                None
            }
            Err(Unchanged::Torn(error)) => {
                tracing::warn!(%error, "a memory cannot be changed; it is copied");
                // The mapping is right where something was written: that must not be dropped.
                own.forget_file();
                None
            }
        }
    }

    fn commit_alone(
        &mut self,
        own: &Arc<Mapping>,
        bytes: usize,
        changes: &[Change<'_>],
    ) -> Result<Committed, NotCommitted> {
        let there = match &self.store {
            Store::File(_) => true,
            Store::Loose { file, .. } => file.get().is_some(),
        };
        self.wake()?;
        match self.file()?.change(Some(own), false, bytes, changes) {
            Ok(_) => {
                self.changed(bytes, changes);
                Ok(if there { Committed::InPlace } else { Committed::Elsewhere })
            }
            Err(Unchanged::Torn(error)) => Err(NotCommitted::Torn(error)),
            Err(Unchanged::Intact(error)) => Err(NotCommitted::Intact(error)),
        }
    }

    /// Takes note of a commit.
    fn changed(&mut self, bytes: usize, changes: &[Change<'_>]) {
        if bytes > self.bytes {
            self.lineage.change(0..0);
            self.bytes = bytes;
        }
        for (at, bytes) in changes {
            self.note(pages_of(*at, bytes.len()));
        }
    }

    /// Replaces bytes; the range must lie inside.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(at + bytes.len() <= self.bytes);
        self.wake()?;
        self.note(pages_of(at, bytes.len()));
        let changed = self.file()?.change(None, false, self.bytes, &[(at, bytes)]);
        changed.map(|_| ()).map_err(Unchanged::into_io)
    }

    /// Replaces bytes page by page, leaving out pages that are zero, for ranges of a new image known to be holes.
    pub fn write_sparse(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(at + bytes.len() <= self.bytes);
        self.wake()?;
        self.note(pages_of(at, bytes.len()));
        match &mut self.store {
            Store::File(file) => file.fill(at, bytes),
            Store::Loose { .. } => Err(io::Error::other("an image did not wake")),
        }
    }

    fn note(&mut self, pages: Range<u32>) {
        if let Some(base) = &mut self.base {
            base.written.insert(pages.clone());
        }
        self.lineage.change(pages);
    }

    /// Replaces a page, which must lie inside; for images that are put together from pages.
    pub fn put(&mut self, index: u32, page: Box<Page>) -> io::Result<()> {
        let page = (!is_zero(&page[..])).then_some(page);
        match &mut self.store {
            Store::Loose { pages, file } if file.get().is_none() && pages.len() < MAX_LOOSE_PAGES => {
                pages.insert(index, page);
                self.note(index..index + 1);
                Ok(())
            }
            _ => {
                let at = index as usize * PAGE_BYTES;
                self.write(at, page.as_ref().map_or(&[0; PAGE_BYTES][..], |page| &page[..]))
            }
        }
    }

    /// Replaces everything by `memory`, whole pages of its own length, for images that have no pages of their own yet.
    pub fn fill(&mut self, memory: &[u8]) -> io::Result<()> {
        debug_assert_eq!(memory.len(), self.bytes);
        let Some(base) = self.base.as_ref().map(|base| Arc::clone(&base.image)) else {
            return self.write_sparse(0, memory);
        };
        let mut initial = vec![0; CHUNK_BYTES.min(memory.len())];
        for (chunk, bytes) in memory.chunks(CHUNK_BYTES).enumerate() {
            let at = chunk * CHUNK_BYTES;
            base.read_or_zero(at, &mut initial[..bytes.len()])?;
            let (pages, before) = (bytes.as_chunks::<PAGE_BYTES>().0, initial.as_chunks::<PAGE_BYTES>().0);
            for (index, (page, before)) in pages.iter().zip(before).enumerate() {
                if page != before {
                    self.put((at / PAGE_BYTES + index) as u32, Box::new(*page))?;
                }
            }
        }
        Ok(())
    }

    /// Copies bytes out; the range must lie inside.
    pub fn read(&self, at: usize, into: &mut [u8]) -> io::Result<()> {
        if at.checked_add(into.len()).is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.store {
            Store::File(file) => file.read(at, into),
            Store::Loose { pages, .. } => {
                match &self.base {
                    Some(base) => base.image.read_or_zero(at, into)?,
                    None => into.fill(0),
                }
                let (first, end) = (at / PAGE_BYTES, (at + into.len()).div_ceil(PAGE_BYTES));
                for (index, page) in pages.range(first as u32..end as u32) {
                    let start = *index as usize * PAGE_BYTES;
                    let (from, to) = (start.max(at), (start + PAGE_BYTES).min(at + into.len()));
                    let into = &mut into[from - at..to - at];
                    match page {
                        Some(page) => into.copy_from_slice(&page[from - start..to - start]),
                        None => into.fill(0),
                    }
                }
                Ok(())
            }
        }
    }

    /// The same; beyond the end are zeros.
    fn read_or_zero(&self, at: usize, into: &mut [u8]) -> io::Result<()> {
        let inside = self.bytes.saturating_sub(at).min(into.len());
        let (inside, beyond) = into.split_at_mut(inside);
        beyond.fill(0);
        if inside.is_empty() { Ok(()) } else { self.read(at, inside) }
    }

    /// A second image with the same contents.
    pub fn duplicate(self: &Arc<Self>) -> io::Result<Self> {
        let store = Store::File(match &self.store {
            Store::File(file) => View::of(file.copy(self.bytes)?),
            Store::Loose { pages, .. } => View::of(self.gather(pages)?),
        });
        let base = self.base.clone().unwrap_or_else(|| Base { image: Arc::clone(self), written: PageSet::default() });
        Ok(Self { bytes: self.bytes, store, lineage: self.lineage.descend(), base: Some(base), apart: OnceLock::new() })
    }

    /// Hashes of all pages. Hashes what changed since the last tree that somebody asked for.
    pub fn tree(&self) -> io::Result<PageTree> {
        if let Some(tree) = self.lineage.tree() {
            return Ok(tree.clone());
        }
        if let Some(base) = &self.base {
            // So that its pages are hashed once and not for every process.
            base.image.tree()?;
        }
        let (nearest, changed) =
            self.lineage.nearest().ok_or_else(|| io::Error::other("an image without a tree to begin with"))?;
        let mut hashes = Vec::with_capacity(changed.len());
        let mut buffer = vec![0; CHUNK_BYTES.min(changed.len() * PAGE_BYTES)];
        for range in changed.ranges() {
            let mut first = range.start;
            while first < range.end {
                let count = ((range.end - first) as usize).min(CHUNK_BYTES / PAGE_BYTES);
                let bytes = &mut buffer[..count * PAGE_BYTES];
                self.read_or_zero(first as usize * PAGE_BYTES, bytes)?;
                let (pages, _) = bytes.as_chunks::<PAGE_BYTES>();
                hashes.extend((first..).zip(pages.iter().map(PageHash::of)));
                first += count as u32;
            }
        }
        let tree = nearest.updated(self.bytes as u64, &hashes);
        Ok(self.lineage.keep(tree).clone())
    }

    /// Bytes that it holds by itself, and that are kept for others who look at what it was.
    pub fn resident_bytes(&self) -> u64 {
        let apart = self.apart.get().map_or(0, View::resident_bytes);
        let own = match &self.store {
            Store::File(file) => file.resident_bytes(),
            Store::Loose { pages, file } => {
                let loose = pages.values().flatten().count() * PAGE_BYTES;
                loose as u64 + file.get().map_or(0, View::resident_bytes)
            }
        };
        own + apart
    }
}

fn pages_of(at: usize, bytes: usize) -> Range<u32> {
    (at / PAGE_BYTES) as u32..(at + bytes).div_ceil(PAGE_BYTES) as u32
}

#[cfg(test)]
impl Image {
    /// Makes every further write to its file fail.
    pub fn break_writes(&self) {
        let file = self.file().unwrap().file();
        rustix::fs::fcntl_add_seals(file.descriptor(), rustix::fs::SealFlags::FUTURE_WRITE).unwrap();
    }

    /// Makes it at least this long; what is new is zero.
    pub fn extend(&mut self, bytes: usize) -> io::Result<()> {
        self.wake()?;
        self.file()?.change(None, false, bytes, &[]).map_err(Unchanged::into_io)?;
        self.changed(bytes, &[]);
        Ok(())
    }

    /// How many mappings show its file.
    pub fn mappings(&self) -> usize {
        self.file().unwrap().mappings()
    }

    /// Pages that its mappings need put in by hand.
    pub fn kept_pages(&self) -> usize {
        self.view().unwrap().kept_pages()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(image: &Image) -> Vec<u8> {
        let mut all = vec![0; image.len()];
        image.read(0, &mut all).unwrap();
        all
    }

    /// 16 pages, of which 1 and 9 are not zero.
    fn base() -> Arc<Image> {
        let mut image = Image::zeroed(16 * PAGE_BYTES).unwrap();
        image.write(PAGE_BYTES + 5, b"one").unwrap();
        image.write(9 * PAGE_BYTES, &[9; PAGE_BYTES]).unwrap();
        Arc::new(image)
    }

    #[test]
    fn an_image_that_rests_holds_only_what_differs_from_its_base_and_wakes_as_it_was() {
        let base = base();
        let mut image = base.duplicate().unwrap();
        image.extend(32 * PAGE_BYTES).unwrap();
        image.write(3 * PAGE_BYTES, b"three").unwrap();
        image.write(9 * PAGE_BYTES, &[0; PAGE_BYTES]).unwrap();
        image.write(30 * PAGE_BYTES + 1, b"thirty").unwrap();
        // Written, and then again what it was.
        image.write(PAGE_BYTES + 5, b"ONE").unwrap();
        image.write(PAGE_BYTES + 5, b"one").unwrap();
        let before = contents(&image);
        let mut rested = image.rested().unwrap().unwrap();
        assert_eq!(rested.resident_bytes(), 2 * PAGE_BYTES as u64);
        assert!(contents(&rested) == before);
        let mut part = vec![0; 7 * PAGE_BYTES];
        rested.read(2 * PAGE_BYTES + 100, &mut part).unwrap();
        assert!(part == before[2 * PAGE_BYTES + 100..9 * PAGE_BYTES + 100]);
        assert!(rested.read(31 * PAGE_BYTES, &mut part).is_err());
        assert_eq!(rested.tree().unwrap(), image.tree().unwrap());
        rested.wake().unwrap();
        assert!(contents(&rested) == before);
        assert_eq!(rested.rested().unwrap().unwrap().resident_bytes(), 2 * PAGE_BYTES as u64);
        assert!(base.rested().unwrap().is_none());
    }

    #[test]
    fn an_image_put_together_from_pages_is_loose_until_there_are_many() {
        let base = base();
        let mut image = Image::upon(&base, 2000 * PAGE_BYTES);
        let mut model = contents(&base);
        model.resize(image.len(), 0);
        for index in (0..2 * MAX_LOOSE_PAGES as u32).rev() {
            let page = Box::new([(index % 7) as u8; PAGE_BYTES]);
            model[index as usize * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(&page[..]);
            image.put(index, page).unwrap();
            if index % 500 == 3 {
                assert!(contents(&image) == model);
            }
        }
        assert!(matches!(image.store, Store::File(_)) && image.rested().unwrap().is_none());
        assert!(contents(&image) == model);
        let whole = Image::zeroed(image.len()).map(|mut whole| {
            whole.write_sparse(0, &model).unwrap();
            whole.tree().unwrap()
        });
        assert_eq!(image.tree().unwrap(), whole.unwrap());
    }

    #[test]
    fn only_pages_changed_since_the_last_tree_are_hashed() {
        let mut image = base().duplicate().unwrap();
        assert_eq!(image.lineage.nearest().unwrap().1.len(), 2);
        let first = image.tree().unwrap();
        image.write(0, b"zero").unwrap();
        let (nearest, changed) = image.lineage.nearest().unwrap();
        assert_eq!((nearest, changed.len()), (&first, 1));
        assert_eq!(image.tree().unwrap().changed_since(&first).len(), 1);
        // Growth is a change of the tree, without a page to hash.
        image.extend(64 * PAGE_BYTES).unwrap();
        assert_eq!(image.lineage.nearest().unwrap().1.len(), 0);
        assert_ne!(image.tree().unwrap().root(), first.root());
    }
}
