//! A sparse file that exists in memory only.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};

use super::{
    PAGE_BYTES,
    fault::{self, Ask},
};

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// A file in memory. Its length only grows, so a mapping of it never points past its end.
#[derive(Debug)]
pub(super) struct MemoryFile {
    file: File,
    bytes: AtomicUsize,
}

impl MemoryFile {
    /// A file of zeros.
    pub fn zeroed(bytes: usize) -> io::Result<Self> {
        fault::check(Ask::File)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("holon-memory", flags)?);
        // Nobody may cut the file under a mapping: the guest would die of SIGBUS, and we with it.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
        file.set_len(bytes as u64)?;
        Ok(Self { file, bytes: AtomicUsize::new(bytes) })
    }

    /// What can be mapped.
    pub fn descriptor(&self) -> impl AsFd + '_ {
        &self.file
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Makes it at least this long; what is new is zero.
    pub fn extend(&self, bytes: usize) -> io::Result<()> {
        if bytes > self.len() {
            self.file.set_len(bytes as u64)?;
            self.bytes.fetch_max(bytes, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Replaces bytes; the range must lie inside.
    pub fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(at + bytes.len() <= self.len());
        fault::check(Ask::Write)?;
        self.file.write_all_at(bytes, at as u64)
    }

    /// Replaces bytes page by page, leaving out pages that are zero: for ranges known to be holes.
    pub fn write_sparse(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let mut run = 0;
        let mut cursor = 0;
        while cursor < bytes.len() {
            let end = (cursor + PAGE_BYTES).min(bytes.len());
            if is_zero(&bytes[cursor..end]) {
                if run < cursor {
                    self.write(at + run, &bytes[run..cursor])?;
                }
                run = end;
            }
            cursor = end;
        }
        if run < bytes.len() {
            self.write(at + run, &bytes[run..])?;
        }
        Ok(())
    }

    /// Copies bytes out; the range must lie inside.
    pub fn read(&self, at: usize, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at as u64)
    }

    /// Bytes of memory that it takes.
    pub fn resident_bytes(&self) -> u64 {
        // An open file of our own can always be asked.
        rustix::fs::fstat(&self.file).map_or(0, |stat| stat.st_blocks as u64 * 512)
    }

    /// Goes through everything in the first `bytes` that is not a hole, in whole pages.
    pub fn each_chunk(&self, bytes: usize, mut see: impl FnMut(usize, &mut [u8]) -> io::Result<()>) -> io::Result<()> {
        let end = bytes.min(self.len());
        let mut buffer = vec![0; CHUNK_BYTES.min(end)];
        let mut position = 0;
        while position < end {
            let data = match rustix::fs::seek(&self.file, SeekFrom::Data(position as u64)) {
                Ok(data) => data as usize,
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            if data >= end {
                break;
            }
            let hole = (rustix::fs::seek(&self.file, SeekFrom::Hole(data as u64))? as usize).min(end);
            let mut at = data;
            while at < hole {
                let count = (hole - at).min(buffer.len());
                self.read(at, &mut buffer[..count])?;
                see(at, &mut buffer[..count])?;
                at += count;
            }
            position = hole;
        }
        Ok(())
    }
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_left_out() {
        let bytes = 64 * PAGE_BYTES;
        let file = MemoryFile::zeroed(bytes).unwrap();
        file.write(3 * PAGE_BYTES + 5, b"first").unwrap();
        file.write(bytes - 4, b"last").unwrap();
        let chunks = |limit| {
            let mut chunks = Vec::new();
            file.each_chunk(limit, |at, bytes| {
                chunks.push((at / PAGE_BYTES, bytes.len() / PAGE_BYTES));
                Ok(())
            })
            .unwrap();
            chunks
        };
        assert_eq!(chunks(bytes), [(3, 1), (63, 1)]);
        assert_eq!(chunks(20 * PAGE_BYTES), [(3, 1)]);
        assert_eq!(chunks(usize::MAX), chunks(bytes));
        assert_eq!(file.resident_bytes(), 2 * PAGE_BYTES as u64);
    }

    #[test]
    fn sparse_writes_leave_out_only_zero_pages() {
        let image = MemoryFile::zeroed(8 * PAGE_BYTES).unwrap();
        let mut bytes = vec![0; 5 * PAGE_BYTES + 7];
        bytes[PAGE_BYTES] = 1;
        bytes[2 * PAGE_BYTES + 9] = 2;
        bytes[5 * PAGE_BYTES + 6] = 3;
        image.write_sparse(PAGE_BYTES, &bytes).unwrap();
        let mut back = vec![9; bytes.len()];
        image.read(PAGE_BYTES, &mut back).unwrap();
        assert_eq!(back, bytes);
    }
}
