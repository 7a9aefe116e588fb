//! Verified entries on disk, one file per window.
//!
//! A file is a header (magic, BLAKE3 of what follows) and a zstd frame of entries: `nonce u64 · kind u8 · length u32 ·
//! assignment · length u32 · body`, little-endian. It is written whole, so that it is there or not; one that
//! is damaged counts as not there. What it holds was verified before it was written and is not verified again. It is read entry by entry, no
//! more than there is room for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holon_protocol::{DataItem, ProcessId};

use super::WINDOW;
use super::read::{Body, Slot};
use crate::whole_file;

/// First bytes of a file.
const MAGIC: &[u8; 8] = b"holonlg1";
/// Bytes of the BLAKE3 hash after them.
const HASH_BYTES: usize = 32;
/// Bytes of an entry besides its two items.
const ENTRY_BYTES: usize = 8 + 1 + 4 + 4;
/// How hard to compress: the level that costs least.
const LEVEL: i32 = 1;
/// Largest content of a file, in bytes. Entries that do not fit are fetched again.
pub const MAX_CONTENT_BYTES: u64 = 32 << 20;

/// Where a window of a process lies.
pub fn path(folder: &Path, process: ProcessId, window: u64) -> PathBuf {
    folder.join(process.to_string()).join(format!("{:012}.log", window * WINDOW))
}

/// Reads the entries of a window from slot `first` on within `limit_bytes`, at least one, and names the others. Nothing if there is none that
/// can be read.
pub fn load(path: &Path, first: u64, limit_bytes: u64) -> (BTreeMap<u64, Slot>, BTreeSet<u64>) {
    let Some(mut shelf) = Shelf::open(path) else { return Default::default() };
    let (mut slots, mut rest) = (BTreeMap::new(), BTreeSet::new());
    let mut bytes = 0;
    let mut read = || -> io::Result<()> {
        while let Some(nonce) = shelf.next()? {
            if nonce < first || !rest.is_empty() {
                shelf.skip()?;
                if nonce >= first {
                    rest.insert(nonce);
                }
                continue;
            }
            let slot = shelf.entry()?.slot()?;
            if bytes + slot.bytes() > limit_bytes && !slots.is_empty() {
                rest.insert(nonce);
                continue;
            }
            bytes += slot.bytes();
            slots.insert(nonce, slot);
        }
        Ok(())
    };
    if let Err(error) = read() {
        tracing::warn!(path = %path.display(), %error, "verified entries are damaged; they are fetched again");
        return Default::default();
    }
    (slots, rest)
}

/// Adds entries to a window's file, as many as it holds.
pub fn add(path: &Path, slots: &BTreeMap<u64, Slot>) -> io::Result<()> {
    let mut content = Content { encoder: zstd::Encoder::new(Vec::new(), LEVEL)?, bytes: 0 };
    let mut new = slots.iter().peekable();
    let mut old = Shelf::open(path);
    while let Some(nonce) = old.as_mut().and_then(|shelf| shelf.next().transpose()).transpose()? {
        while let Some((nonce, slot)) = new.next_if(|(new, _)| **new < nonce) {
            content.write(*nonce, &Entry::of(slot)?)?;
        }
        new.next_if(|(new, _)| **new == nonce);
        let Some(shelf) = &mut old else { break };
        content.write(nonce, &shelf.entry()?)?;
    }
    for (nonce, slot) in new {
        content.write(*nonce, &Entry::of(slot)?)?;
    }
    let content = content.encoder.finish()?;
    whole_file::write(path, &[MAGIC, blake3::hash(&content).as_bytes(), &content])
}

/// An entry as it is stored.
struct Entry {
    kind: u8,
    assignment: Bytes,
    body: Bytes,
}

impl Entry {
    fn of(slot: &Slot) -> io::Result<Self> {
        let (kind, body) = match &slot.body {
            Body::Item(item) => (0, item.raw().clone()),
            Body::OnChain(item) => (1, serde_json::to_vec(&**item).map_err(io::Error::other)?.into()),
        };
        Ok(Self { kind, assignment: slot.assignment.raw().clone(), body })
    }

    fn slot(self) -> io::Result<Slot> {
        let assignment = DataItem::parse(self.assignment).map_err(io::Error::other)?;
        let body = match self.kind {
            0 => Body::Item(DataItem::parse(self.body).map_err(io::Error::other)?),
            1 => Body::OnChain(Arc::new(serde_json::from_slice(&self.body)?)),
            kind => return Err(io::Error::other(format!("there is no kind {kind} of entry"))),
        };
        Ok(Slot { assignment, body })
    }
}

/// What is written to a file.
struct Content {
    encoder: zstd::Encoder<'static, Vec<u8>>,
    bytes: u64,
}

impl Content {
    /// Writes an entry, if it fits.
    fn write(&mut self, nonce: u64, entry: &Entry) -> io::Result<()> {
        let bytes = (ENTRY_BYTES + entry.assignment.len() + entry.body.len()) as u64;
        if self.bytes + bytes > MAX_CONTENT_BYTES {
            return Ok(());
        }
        self.bytes += bytes;
        self.encoder.write_all(&nonce.to_le_bytes())?;
        self.encoder.write_all(&[entry.kind])?;
        for part in [&entry.assignment, &entry.body] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            self.encoder.write_all(&length.to_le_bytes())?;
            self.encoder.write_all(part)?;
        }
        Ok(())
    }
}

/// A file that is read entry by entry, after its hash has been checked.
struct Shelf(io::Take<zstd::Decoder<'static, BufReader<File>>>);

impl Shelf {
    /// Opens a file; none if there is none that is whole.
    fn open(path: &Path) -> Option<Self> {
        let open = || -> io::Result<Option<Self>> {
            let mut file = File::open(path)?;
            let mut head = [0; MAGIC.len() + HASH_BYTES];
            file.read_exact(&mut head)?;
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&mut file)?;
            if head[..MAGIC.len()] != *MAGIC || head[MAGIC.len()..] != *hasher.finalize().as_bytes() {
                return Ok(None);
            }
            file.seek(io::SeekFrom::Start(head.len() as u64))?;
            Ok(Some(Self(zstd::Decoder::new(file)?.take(MAX_CONTENT_BYTES))))
        };
        match open() {
            Ok(Some(shelf)) => return Some(shelf),
            Ok(None) => {
                tracing::warn!(path = %path.display(), "verified entries are damaged; they are fetched again");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "verified entries cannot be read; they are fetched again");
            }
        }
        None
    }

    /// The slot of the next entry, which comes then; none at the end.
    fn next(&mut self) -> io::Result<Option<u64>> {
        let mut nonce = [0; 8];
        if self.0.read(&mut nonce[..1])? == 0 {
            return Ok(None);
        }
        self.0.read_exact(&mut nonce[1..])?;
        Ok(Some(u64::from_le_bytes(nonce)))
    }

    fn entry(&mut self) -> io::Result<Entry> {
        let mut kind = [0];
        self.0.read_exact(&mut kind)?;
        Ok(Entry { kind: kind[0], assignment: self.part()?, body: self.part()? })
    }

    fn skip(&mut self) -> io::Result<()> {
        self.0.read_exact(&mut [0])?;
        for _ in 0..2 {
            let length = self.length()?;
            io::copy(&mut (&mut self.0).take(length), &mut io::sink())?;
        }
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length).into();
        if length > self.0.limit() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(length) }
    }

    fn part(&mut self) -> io::Result<Bytes> {
        let mut part = vec![0; self.length()? as usize];
        self.0.read_exact(&mut part)?;
        Ok(part.into())
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::{ItemId, Signer, Tags, wire};

    use super::*;
    use crate::hydrate::OnChain;

    fn slots() -> BTreeMap<u64, Slot> {
        let wallet = Signer::generate_ed25519().unwrap();
        let item = |data: &str| DataItem::builder().tag("A", "1").data(data.to_owned()).sign(&wallet).unwrap();
        let on_chain = OnChain {
            id: ItemId::from_bytes([3; 32]),
            signature: "s".into(),
            owner: wire::Owner::of(&item("")),
            tags: Tags::from_iter([("B", "2")]),
            recipient: String::new(),
            anchor: String::new(),
            data: "text".into(),
        };
        let slot = |body| Slot { assignment: item("assignment"), body };
        [(7, slot(Body::Item(item("message")))), (9, slot(Body::OnChain(Arc::new(on_chain))))].into()
    }

    /// An entry whose item has data of this length.
    fn slot(bytes: usize) -> Slot {
        let item = DataItem::builder().data(vec![7; bytes]).sign(&Signer::generate_ed25519().unwrap()).unwrap();
        Slot { assignment: item.clone(), body: Body::Item(item) }
    }

    #[test]
    fn a_window_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), ProcessId::from_bytes([1; 32]), 3);
        assert!(load(&path, 0, u64::MAX).0.is_empty());
        let slots = slots();
        add(&path, &slots).unwrap();
        let (read, rest) = load(&path, 0, u64::MAX);
        assert!(rest.is_empty());
        assert_eq!(read.keys().collect::<Vec<_>>(), [&7, &9]);
        for (nonce, slot) in slots {
            assert_eq!(read[&nonce].entry(), slot.entry());
            assert_eq!(read[&nonce].clone().into_on_chain(), slot.into_on_chain());
        }
    }

    #[test]
    fn what_does_not_fit_into_a_file_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), ProcessId::from_bytes([1; 32]), 0);
        let half = MAX_CONTENT_BYTES as usize / 2;
        add(&path, &[(1, slot(100)), (2, slot(half)), (3, slot(half)), (4, slot(100))].into()).unwrap();
        assert_eq!(load(&path, 0, u64::MAX).0.into_keys().collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn no_more_is_read_than_there_is_room_for_and_the_rest_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), ProcessId::from_bytes([1; 32]), 0);
        let large = 1 << 20;
        add(&path, &[(2, slot(large)), (4, slot(large)), (6, slot(100)), (8, slot(large))].into()).unwrap();
        let read = |first, limit| {
            let (slots, rest) = load(&path, first, limit);
            let bytes: u64 = slots.values().map(Slot::bytes).sum();
            assert!(bytes <= limit || slots.len() == 1);
            (slots.into_keys().collect::<Vec<_>>(), rest.into_iter().collect::<Vec<_>>())
        };
        let one = 2 * large as u64 + (32 << 10);
        assert_eq!(read(0, u64::MAX), (vec![2, 4, 6, 8], vec![]));
        assert_eq!(read(3, u64::MAX), (vec![4, 6, 8], vec![]));
        assert_eq!(read(0, 0), (vec![2], vec![4, 6, 8]));
        assert_eq!(read(3, one), (vec![4, 6], vec![8]));
        assert_eq!(read(9, one), (vec![], vec![]));
        // What was not read is there afterwards.
        let (some, _) = load(&path, 3, one);
        add(&path, &some.into_iter().chain([(3, slot(100)), (9, slot(100))]).collect()).unwrap();
        assert_eq!(read(0, u64::MAX), (vec![2, 3, 4, 6, 8, 9], vec![]));
    }

    #[test]
    fn any_damage_makes_a_window_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), ProcessId::from_bytes([1; 32]), 0);
        add(&path, &slots()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(97) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(load(&path, 0, u64::MAX).0.is_empty(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(load(&path, 0, u64::MAX).0.is_empty(), "cut at {at}");
        }
    }
}
