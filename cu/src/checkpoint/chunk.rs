//! Packs: pages and parts of page tables, each compressed on its own, one after the other in one object.
//!
//! A chunk is found by pack, offset and length, and checked by its hash, so a pack needs no table of contents. A chunk that
//! compression does not make smaller is stored as it is; then its length says so.

use super::bytes::FormatError;

/// Most bytes of a pack; a checkpoint has as many as it needs.
pub const PACK_LIMIT_BYTES: usize = 16 << 20;
/// Level of zstd: pages are small, so that more costs time and saves little.
const LEVEL: i32 = 1;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Number of the pack in the manifest's list.
    pub pack: u32,
    /// First byte in the pack.
    pub offset: u32,
    /// Bytes there.
    pub bytes: u32,
}

impl Place {
    /// Bytes of a place as it is written.
    pub const BYTES: usize = 12;

    /// Where it ends.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.bytes)
    }
}

/// Hash of a pack, which is its name.
pub type PackId = [u8; 32];

/// A pack being written.
pub struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
    full: Vec<Vec<u8>>,
    /// Number of the first pack in the manifest's list.
    first: u32,
    open: Vec<u8>,
}

impl Packer {
    /// Packs whose numbers begin with `first`.
    pub fn new(first: u32) -> std::io::Result<Self> {
        let compressor = zstd::bulk::Compressor::new(LEVEL)?;
        Ok(Self { compressor, buffer: Vec::new(), full: Vec::new(), first, open: Vec::new() })
    }

    /// Adds a chunk.
    pub fn add(&mut self, chunk: &[u8]) -> std::io::Result<Place> {
        self.buffer.resize(zstd::zstd_safe::compress_bound(chunk.len()), 0);
        let bytes = self.compressor.compress_to_buffer(chunk, &mut self.buffer[..])?;
        let stored = if bytes < chunk.len() { &self.buffer[..bytes] } else { chunk };
        if self.open.len() + stored.len() > PACK_LIMIT_BYTES {
            self.full.push(std::mem::take(&mut self.open));
        }
        // Packs and their number are far smaller than 32 bits can say.
        let place = Place {
            pack: self.first + self.full.len() as u32,
            offset: self.open.len() as u32,
            bytes: stored.len() as u32,
        };
        self.open.extend_from_slice(stored);
        Ok(place)
    }

    /// The packs, in order of their numbers.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.open.is_empty() {
            self.full.push(self.open);
        }
        self.full
    }
}

/// Reads chunks.
pub struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    /// A reader.
    pub fn new() -> std::io::Result<Self> {
        zstd::bulk::Decompressor::new().map(Self)
    }

    /// The chunk that `stored` is, of exactly as many bytes as `into` has.
    pub fn exactly(&mut self, stored: &[u8], into: &mut [u8]) -> Result<(), FormatError> {
        if stored.len() == into.len() {
            into.copy_from_slice(stored);
            return Ok(());
        }
        match self.0.decompress_to_buffer(stored, &mut into[..]) {
            Ok(bytes) if bytes == into.len() => Ok(()),
            Ok(_) => Err(FormatError::Wrong { what: "chunk", reason: "it is too short" }),
            Err(_) => Err(FormatError::Wrong { what: "chunk", reason: "it cannot be decompressed" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_are_read_as_they_were_written(chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..300), 0usize..5000), 1..20)) {
            let chunks: Vec<Vec<u8>> = chunks.into_iter().map(|(mut noise, zeros)| { noise.resize(noise.len() + zeros, 0); noise }).collect();
            let mut packer = Packer::new(3).unwrap();
            let places: Vec<Place> = chunks.iter().map(|chunk| packer.add(chunk).unwrap()).collect();
            let packs = packer.finish();
            prop_assert_eq!(packs.len(), 1);
            let mut unpacker = Unpacker::new().unwrap();
            for (chunk, place) in chunks.iter().zip(places) {
                prop_assert_eq!(place.pack, 3);
                let stored = &packs[0][place.offset as usize..place.end() as usize];
                prop_assert!(stored.len() <= chunk.len());
                let mut back = vec![0; chunk.len()];
                unpacker.exactly(stored, &mut back).unwrap();
                prop_assert_eq!(&back, chunk);
            }
        }

        #[test]
        fn hostile_chunks_give_errors(stored in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut into = [0; 4096];
            prop_assert!(Unpacker::new().unwrap().exactly(&stored, &mut into).is_err());
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        assert!(bomb.len() < 1 << 16);
        assert!(Unpacker::new().unwrap().exactly(&bomb, &mut [0; 4096]).is_err());
    }

    #[test]
    fn a_full_pack_is_followed_by_another() {
        let mut packer = Packer::new(0).unwrap();
        // Not compressible.
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(1 << 20)
        .collect();
        let places: Vec<Place> = (0..17).map(|_| packer.add(&noise).unwrap()).collect();
        assert_eq!(places[16], Place { pack: 1, offset: 0, bytes: 1 << 20 });
        assert_eq!(packer.finish().iter().map(Vec::len).collect::<Vec<_>>(), [16 << 20, 1 << 20]);
    }
}
