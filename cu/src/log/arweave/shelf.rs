//! Verified entries on disk, one file per window.
//!
//! A file is a header (magic, BLAKE3 of what follows) and a zstd frame of entries: `nonce u64 · kind u8 · length u32 ·
//! assignment · length u32 · body`, little-endian. It is written whole, so that it is there or not; one that
//! is damaged counts as not there. What it holds was verified before it was written and is not verified again.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
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

/// Reads a window; empty if there is none that can be read.
pub fn load(path: &Path) -> BTreeMap<u64, Slot> {
    let file = match std::fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "verified entries cannot be read; they are fetched again");
            return BTreeMap::new();
        }
    };
    decode(&file).unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "verified entries are damaged; they are fetched again");
        BTreeMap::new()
    })
}

/// Writes a window, or as much of it as a file holds.
pub fn store(path: &Path, slots: &BTreeMap<u64, Slot>) -> io::Result<()> {
    whole_file::write(path, &[&encode(slots)?])
}

fn encode(slots: &BTreeMap<u64, Slot>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let part = |content: &mut Vec<u8>, bytes: &[u8]| -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        content.extend_from_slice(&length.to_le_bytes());
        content.extend_from_slice(bytes);
        Ok(())
    };
    for (nonce, slot) in slots {
        let (kind, body) = match &slot.body {
            Body::Item(item) => (0, item.raw().clone()),
            Body::OnChain(item) => (1, serde_json::to_vec(&**item).map_err(io::Error::other)?.into()),
        };
        if content.len() + ENTRY_BYTES + slot.assignment.raw().len() + body.len() > MAX_CONTENT_BYTES as usize {
            continue;
        }
        content.extend_from_slice(&nonce.to_le_bytes());
        content.push(kind);
        part(&mut content, slot.assignment.raw())?;
        part(&mut content, &body)?;
    }
    let content = zstd::encode_all(&content[..], LEVEL)?;
    Ok([&MAGIC[..], blake3::hash(&content).as_bytes(), &content].concat())
}

fn decode(file: &[u8]) -> Option<BTreeMap<u64, Slot>> {
    let rest = file.strip_prefix(MAGIC)?;
    let (hash, content) = rest.split_at_checked(HASH_BYTES)?;
    if blake3::hash(content).as_bytes() != hash {
        return None;
    }
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::new(content).ok()?;
    decoder.take(MAX_CONTENT_BYTES).read_to_end(&mut bytes).ok()?;
    let mut bytes = Bytes::from(bytes);
    let mut slots = BTreeMap::new();
    while !bytes.is_empty() {
        let nonce = bytes.try_get_u64_le().ok()?;
        let kind = bytes.try_get_u8().ok()?;
        let assignment = DataItem::parse(part(&mut bytes)?).ok()?;
        let body = part(&mut bytes)?;
        let body = match kind {
            0 => Body::Item(DataItem::parse(body).ok()?),
            1 => Body::OnChain(Arc::new(serde_json::from_slice(&body).ok()?)),
            _ => return None,
        };
        slots.insert(nonce, Slot { assignment, body });
    }
    Some(slots)
}

fn part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
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

    #[test]
    fn a_window_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), ProcessId::from_bytes([1; 32]), 3);
        assert!(load(&path).is_empty());
        let slots = slots();
        store(&path, &slots).unwrap();
        let read = load(&path);
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
        let wallet = Signer::generate_ed25519().unwrap();
        let slot = |bytes: usize| {
            let item = DataItem::builder().data(vec![7; bytes]).sign(&wallet).unwrap();
            Slot { assignment: item.clone(), body: Body::Item(item) }
        };
        let half = MAX_CONTENT_BYTES as usize / 2;
        store(&path, &[(1, slot(100)), (2, slot(half)), (3, slot(100))].into()).unwrap();
        assert_eq!(load(&path).keys().collect::<Vec<_>>(), [&1, &3]);
    }

    #[test]
    fn any_damage_makes_a_window_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), ProcessId::from_bytes([1; 32]), 0);
        store(&path, &slots()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(97) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(load(&path).is_empty(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(load(&path).is_empty(), "cut at {at}");
        }
    }
}
