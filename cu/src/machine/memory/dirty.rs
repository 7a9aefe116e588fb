//! Which pages of a private mapping are no longer those of its file.
//!
//! Three ways, best first: the `PAGEMAP_SCAN` ioctl (Linux 6.7), reading `/proc/self/pagemap`, and comparing with the image.
//! Each may report more than was changed, never less.

use std::{fs::File, io, ops::Range, os::fd::AsRawFd, os::unix::fs::FileExt, sync::OnceLock};

use super::{Image, PAGE_BYTES};

/// Largest page of a kernel with which memories can be mapped and their pages counted: Wasm's own, in bytes.
const MAX_KERNEL_PAGE_BYTES: usize = 1 << 16;

/// How dirty pages are found.
#[derive(Debug)]
pub(super) enum Scanner {
    /// The kernel lists ranges of private pages.
    Ioctl(File),
    /// One 64-bit entry for each of the kernel's pages.
    Pagemap {
        file: File,
        /// Bytes of a page of the kernel, a multiple of ours.
        page: usize,
    },
    /// Compare everything with the image.
    Compare,
}

/// How many bytes are compared at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How many pagemap entries are read at once.
const PAGEMAP_ENTRIES: usize = 256;
/// Ranges the kernel reports in one call.
const SCAN_RANGES: usize = 512;

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

/// `struct page_region` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong =
    (3 << 30) | ((size_of::<ScanArgument>() as libc::c_ulong) << 16) | ((b'f' as libc::c_ulong) << 8) | 16;

impl Scanner {
    /// The best way this kernel offers, found once.
    pub fn best() -> &'static Scanner {
        static BEST: OnceLock<Scanner> = OnceLock::new();
        BEST.get_or_init(|| {
            let Ok(file) = File::open("/proc/self/pagemap") else { return Scanner::Compare };
            // An empty range asks only whether the call is known.
            if scan(&file, 0, 0, &mut Vec::new()).is_ok() {
                return Scanner::Ioctl(file);
            }
            match kernel_page_bytes() {
                page if page <= MAX_KERNEL_PAGE_BYTES && page.is_multiple_of(PAGE_BYTES) => {
                    Scanner::Pagemap { file, page }
                }
                _ => Scanner::Compare,
            }
        })
    }

    /// Whether it looks only at pages that are there, which takes no time to speak of where few are.
    pub fn is_quick(&self) -> bool {
        matches!(self, Scanner::Ioctl(_))
    }

    /// Ranges of bytes, relative to `base` and ascending, that contain every page that a mapping of `bytes` has of its own, if the
    /// kernel says so. `base` and `bytes` are as of a memory in [`Scanner::dirty`].
    pub fn own(&self, base: usize, bytes: usize) -> io::Result<Option<Vec<Range<usize>>>> {
        let mut found = Vec::new();
        match self {
            Scanner::Ioctl(file) => scan(file, base, base + bytes, &mut found)?,
            Scanner::Pagemap { file, page } => read_pagemap(file, *page, base, bytes, &mut found)?,
            Scanner::Compare => return Ok(None),
        }
        Ok(Some(found))
    }

    /// Ranges of bytes, relative to `memory` and ascending, that contain every page changed since the mapping was made.
    /// `memory` starts at a page and is a whole number of pages long. `image` is what is mapped below; memory beyond its
    /// end is compared with zeros.
    pub fn dirty(&self, memory: &[u8], image: &Image) -> io::Result<Vec<Range<usize>>> {
        match self.own(memory.as_ptr() as usize, memory.len()) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => compare(memory, image),
            Err(error) => {
                // The memory itself always tells.
                tracing::debug!(%error, "the kernel does not say which pages changed");
                compare(memory, image)
            }
        }
    }
}

/// Bytes of a page of this kernel.
pub(super) fn kernel_page_bytes() -> usize {
    rustix::param::page_size()
}

fn push(found: &mut Vec<Range<usize>>, range: Range<usize>) {
    match found.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => found.push(range),
    }
}

fn scan(pagemap: &File, start: usize, end: usize, found: &mut Vec<Range<usize>>) -> io::Result<()> {
    let mut regions = [PageRegion::default(); SCAN_RANGES];
    let mut position = start as u64;
    loop {
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start: position,
            end: end as u64,
            vec: regions.as_mut_ptr() as u64,
            vec_len: SCAN_RANGES as u64,
            // Private means: there, and no page of the file. The kernel may have put its page of zeros in the place of a private one that is
            // zero.
            category_inverted: PAGE_IS_FILE,
            category_mask: PAGE_IS_FILE,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_FILE,
            ..ScanArgument::default()
        };
        // SAFETY: `argument` has the layout the kernel expects and outlives the call; the kernel writes at most `vec_len`
        // regions to `vec`, which has that many. Without a write-protect flag the call changes no mapping.
        let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        for region in &regions[..count as usize] {
            push(found, region.start as usize - start..region.end as usize - start);
        }
        match rest(position, argument.walk_end, end as u64)? {
            Some(next) => position = next,
            None => return Ok(()),
        }
    }
}

/// Where a walk from `start` that came to `walked` has to go on; nowhere when it came to the end.
fn rest(start: u64, walked: u64, end: u64) -> io::Result<Option<u64>> {
    match walked {
        walked if walked >= end => Ok(None),
        walked if walked > start => Ok(Some(walked)),
        // It would never end, and what it has not seen may be dirty.
        _ => Err(io::Error::other(format!("a walk over memory stopped at {walked:#x} before its end {end:#x}"))),
    }
}

/// `base` and `bytes` are multiples of `page`, the kernel's.
fn read_pagemap(
    pagemap: &File,
    page: usize,
    base: usize,
    bytes: usize,
    found: &mut Vec<Range<usize>>,
) -> io::Result<()> {
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    const FILE_PAGE: u64 = 1 << 61;
    let mut entries = [0; PAGEMAP_ENTRIES * 8];
    let mut at = 0;
    while at < bytes {
        let count = ((bytes - at) / page).min(PAGEMAP_ENTRIES);
        let entries = &mut entries[..count * 8];
        pagemap.read_exact_at(entries, ((base + at) / page * 8) as u64)?;
        let (entries, _) = entries.as_chunks::<8>();
        for (index, entry) in entries.iter().enumerate() {
            let entry = u64::from_ne_bytes(*entry);
            if entry & PRESENT_OR_SWAPPED != 0 && entry & FILE_PAGE == 0 {
                let start = at + index * page;
                push(found, start..start + page);
            }
        }
        at += count * page;
    }
    Ok(())
}

fn compare(memory: &[u8], image: &Image) -> io::Result<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let mut committed = vec![0; CHUNK_BYTES];
    for (index, chunk) in memory.chunks(CHUNK_BYTES).enumerate() {
        let at = index * CHUNK_BYTES;
        let stored = image.len().saturating_sub(at).min(chunk.len());
        image.read(at, &mut committed[..stored])?;
        committed[stored..].fill(0);
        for (page, (now, before)) in chunk.chunks(PAGE_BYTES).zip(committed.chunks(PAGE_BYTES)).enumerate() {
            if now != &before[..now.len()] {
                let start = at + page * PAGE_BYTES;
                push(&mut found, start..start + now.len());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_walk_that_stops_early_is_not_taken_for_a_whole_one() {
        assert_eq!(rest(0, 9, 9).unwrap(), None);
        assert_eq!(rest(0, 4, 9).unwrap(), Some(4));
        assert!(rest(4, 4, 9).is_err() && rest(4, 0, 9).is_err());
    }

    #[test]
    fn the_table_of_a_kernel_with_larger_pages_is_read_in_its_pages() {
        let page = 4 * PAGE_BYTES;
        let base = 1000 * page;
        let mut pagemap = tempfile::tempfile().unwrap();
        // Present and private, a page of a file, swapped out, and nothing.
        let entries: [u64; 4] = [1 << 63, 1 << 63 | 1 << 61, 1 << 62, 0];
        let many = entries.into_iter().cycle().take(2 * PAGEMAP_ENTRIES);
        let bytes: Vec<u8> = std::iter::repeat_n(u64::MAX, 1000).chain(many).flat_map(u64::to_ne_bytes).collect();
        pagemap.write_all(&bytes).unwrap();
        let mut found = Vec::new();
        read_pagemap(&pagemap, page, base, 2 * PAGEMAP_ENTRIES * page, &mut found).unwrap();
        let expected = (0..PAGEMAP_ENTRIES).map(|at| 2 * at * page..(2 * at + 1) * page).collect::<Vec<_>>();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_kernel_does_not_say_is_compared() {
        let mut image = Image::zeroed(2 << 16).unwrap();
        image.write(5 * PAGE_BYTES, &[1]).unwrap();
        let null = || File::open("/dev/null").unwrap();
        for scanner in [Scanner::Ioctl(null()), Scanner::Pagemap { file: null(), page: PAGE_BYTES }] {
            let mut memory = vec![0; 2 << 16];
            memory[7 * PAGE_BYTES + 9] = 2;
            let pages = [5, 7].map(|page| page * PAGE_BYTES..(page + 1) * PAGE_BYTES);
            assert_eq!(scanner.dirty(&memory, &image).unwrap(), pages, "{scanner:?}");
        }
    }
}
