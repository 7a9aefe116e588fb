//! The data itself, in pieces that can be read without reading the rest.
//!
//! Data of an item lies in pieces of equal size under the item's id; data of a base-layer transaction lies in its chunks
//! under the root of its tree, each with its proof, so that chunks can come before their transaction and two
//! transactions can share data. Items inside bundles have no pieces of their own: they point into those around them.

use bytes::{Bytes, BytesMut};
use fjall::OwnedWriteBatch;
use holon_arweave::merkle::{Chunk, Hash, MAX_CHUNK_BYTES};
use holon_protocol::ItemId;
use serde::{Deserialize, Serialize};

use super::record::Place;
use super::{Store, keys};
use crate::Error;

/// Largest piece in bytes.
pub const PIECE_BYTES: usize = MAX_CHUNK_BYTES;

/// The tree over some data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// `data_root`.
    pub root: ItemId,
    /// `data_size` in bytes.
    pub size: u64,
}

impl Root {
    /// The tree with this root.
    pub fn new(root: Hash, size: u64) -> Self {
        Self { root: ItemId::from_bytes(root), size }
    }

    /// 40 bytes.
    pub fn key(&self) -> [u8; 40] {
        let mut key = [0; 40];
        key[..32].copy_from_slice(self.root.as_bytes());
        key[32..].copy_from_slice(&self.size.to_be_bytes());
        key
    }
}

/// Whose pieces they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// An item that was uploaded as such.
    Item(ItemId),
    /// A base-layer transaction's data.
    Root(Root),
}

impl Holder {
    fn key(&self, start: u64) -> Vec<u8> {
        let mut key = match self {
            Self::Item(id) => [b"i", &id.as_bytes()[..]].concat(),
            Self::Root(root) => [b"r", &root.key()[..]].concat(),
        };
        key.extend_from_slice(&start.to_be_bytes());
        key
    }
}

/// A chunk with its proof, as stored.
#[derive(Debug, Clone)]
pub struct StoredChunk {
    /// The bytes.
    pub bytes: Bytes,
    /// The proof.
    pub data_path: Bytes,
}

impl Store {
    /// Adds an item's data to `batch`.
    pub(super) fn insert_data(&self, batch: &mut OwnedWriteBatch, id: ItemId, data: &[u8]) {
        for (number, piece) in data.chunks(PIECE_BYTES).enumerate() {
            batch.insert(&self.pieces, Holder::Item(id).key((number * PIECE_BYTES) as u64), piece);
        }
    }

    /// Adds a chunk to `batch`.
    pub(super) fn insert_chunk(&self, batch: &mut OwnedWriteBatch, root: &Root, chunk: &Chunk) {
        let key = Holder::Root(*root).key(chunk.start);
        batch.insert(&self.pieces, key.clone(), &chunk.bytes[..]);
        batch.insert(&self.paths, key, &chunk.data_path[..]);
    }

    /// Whether a chunk that starts there is stored.
    pub(super) fn has_chunk(&self, root: &Root, start: u64) -> Result<bool, Error> {
        Ok(self.pieces.contains_key(Holder::Root(*root).key(start))?)
    }

    /// Whether all bytes of a record's data are here.
    pub fn is_complete(&self, place: &Place) -> Result<bool, Error> {
        match &place.holder {
            Holder::Item(_) => Ok(true),
            Holder::Root(_) if place.size == 0 => Ok(true),
            Holder::Root(root) => Ok(keys::read_number(&self.meta, keys::present(root))? == Some(root.size)),
        }
    }

    /// Bytes `start..end` of a record's data, cut at its end. Reads only the pieces touched.
    pub fn data(&self, place: &Place, start: u64, end: u64) -> Result<Bytes, Error> {
        let end = end.min(place.size);
        if start >= end {
            return Ok(Bytes::new());
        }
        self.read(&place.holder, place.offset + start, place.offset + end)
    }

    fn read(&self, holder: &Holder, start: u64, end: u64) -> Result<Bytes, Error> {
        let missing = || Error::Damaged(format!("bytes {start}..{end} of {holder:?} are missing"));
        let mut bytes = BytesMut::with_capacity(usize::try_from(end - start).map_err(|_| missing())?);
        let mut at = start;
        let (mut piece_start, mut piece) = self.piece_at(holder, at)?.ok_or_else(missing)?;
        loop {
            let from = usize::try_from(at - piece_start).map_err(|_| missing())?;
            if from >= piece.len() {
                return Err(missing());
            }
            let wanted = usize::try_from(end - at).map_err(|_| missing())?;
            let to = piece.len().min(from.saturating_add(wanted));
            bytes.extend_from_slice(&piece[from..to]);
            at += (to - from) as u64;
            if at == end {
                return Ok(bytes.freeze());
            }
            piece = self.pieces.get(holder.key(at))?.ok_or_else(missing)?;
            piece_start = at;
        }
    }

    /// The piece that holds byte `at`, or the last one before it.
    fn piece_at(&self, holder: &Holder, at: u64) -> Result<Option<(u64, fjall::Slice)>, Error> {
        let Some(entry) = self.pieces.range(holder.key(0)..=holder.key(at)).next_back() else {
            return Ok(None);
        };
        let (key, piece) = entry.into_inner()?;
        let start = key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)).unwrap_or_default();
        Ok(Some((start, piece)))
    }

    /// The chunk at an absolute position of the weave, counted from 1.
    pub fn chunk_at(&self, position: u64) -> Result<Option<StoredChunk>, Error> {
        let Some(entry) = self.meta.range(keys::weave(position)..=keys::weave(u64::MAX)).next() else {
            return Ok(None);
        };
        let (key, id) = entry.into_inner()?;
        let end = key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)).unwrap_or_default();
        let Some(record) = self.record(keys::id(&id)?)? else {
            return Ok(None);
        };
        let Holder::Root(root) = record.place.holder else {
            return Ok(None);
        };
        let first = end - root.size.min(end) + 1;
        if position < first {
            return Ok(None);
        }
        let at = position - first;
        let Some((start, bytes)) = self.piece_at(&Holder::Root(root), at)? else {
            return Ok(None);
        };
        if at >= start + bytes.len() as u64 {
            return Ok(None);
        }
        let Some(path) = self.paths.get(Holder::Root(root).key(start))? else {
            return Ok(None);
        };
        let (bytes, data_path) = (Bytes::copy_from_slice(&bytes), Bytes::copy_from_slice(&path));
        Ok(Some(StoredChunk { bytes, data_path }))
    }
}
