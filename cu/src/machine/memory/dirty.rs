//! Which pages of a private mapping are no longer those of its file.
//!
//! Three ways, best first: the `PAGEMAP_SCAN` ioctl (Linux 6.7), reading `/proc/self/pagemap`, and comparing with the image.
//! Each may report more than was changed, never less.

use std::{fs::File, io, ops::Range, os::fd::AsRawFd, os::unix::fs::FileExt, sync::OnceLock};

use super::{Image, PAGE_BYTES};

/// How dirty pages are found.
#[derive(Debug)]
pub(super) enum Scanner {
    /// The kernel lists ranges of private pages.
    Ioctl(File),
    /// One 64-bit entry for each page.
    Pagemap(File),
    /// Compare everything with the image.
    Compare,
}

/// How many bytes are compared at once, and how many pagemap entries are read at once (in pages of this many bytes).
const CHUNK_BYTES: usize = 1 << 20;
/// Ranges the kernel reports in one call.
const SCAN_RANGES: usize = 512;

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

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
            if scan(&file, 0, 0, &mut Vec::new()).is_ok() { Scanner::Ioctl(file) } else { Scanner::Pagemap(file) }
        })
    }

    /// Ranges of bytes, relative to `memory` and ascending, that contain every page changed since the mapping was made.
    /// `memory` starts at a page and is a whole number of pages long. `image` is what is mapped below; memory beyond its
    /// end is compared with zeros.
    pub fn dirty(&self, memory: &[u8], image: &Image) -> io::Result<Vec<Range<usize>>> {
        let base = memory.as_ptr() as usize;
        let mut found = Vec::new();
        match self {
            Scanner::Ioctl(file) => scan(file, base, base + memory.len(), &mut found)?,
            Scanner::Pagemap(file) => read_pagemap(file, base, memory.len(), &mut found)?,
            Scanner::Compare => compare(memory, image, &mut found)?,
        }
        Ok(found)
    }
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
            // Private means: there, and neither a page of the file nor the shared page of zeros.
            category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
            category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
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
        if argument.walk_end >= end as u64 || argument.walk_end <= position {
            return Ok(());
        }
        position = argument.walk_end;
    }
}

fn read_pagemap(pagemap: &File, base: usize, bytes: usize, found: &mut Vec<Range<usize>>) -> io::Result<()> {
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    const FILE_PAGE: u64 = 1 << 61;
    let mut entries = vec![0; CHUNK_BYTES / PAGE_BYTES * 8];
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(CHUNK_BYTES) / PAGE_BYTES;
        let entries = &mut entries[..count * 8];
        pagemap.read_exact_at(entries, ((base + at) / PAGE_BYTES * 8) as u64)?;
        let (entries, _) = entries.as_chunks::<8>();
        for (index, entry) in entries.iter().enumerate() {
            let entry = u64::from_ne_bytes(*entry);
            if entry & PRESENT_OR_SWAPPED != 0 && entry & FILE_PAGE == 0 {
                let start = at + index * PAGE_BYTES;
                push(found, start..start + PAGE_BYTES);
            }
        }
        at += count * PAGE_BYTES;
    }
    Ok(())
}

fn compare(memory: &[u8], image: &Image, found: &mut Vec<Range<usize>>) -> io::Result<()> {
    let mut committed = vec![0; CHUNK_BYTES];
    for (index, chunk) in memory.chunks(CHUNK_BYTES).enumerate() {
        let at = index * CHUNK_BYTES;
        let stored = image.len().saturating_sub(at).min(chunk.len());
        image.read(at, &mut committed[..stored])?;
        committed[stored..].fill(0);
        for (page, (now, before)) in chunk.chunks(PAGE_BYTES).zip(committed.chunks(PAGE_BYTES)).enumerate() {
            if now != &before[..now.len()] {
                let start = at + page * PAGE_BYTES;
                push(found, start..start + now.len());
            }
        }
    }
    Ok(())
}
