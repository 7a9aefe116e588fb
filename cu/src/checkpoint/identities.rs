//! Which messages a process has seen (spec 05 §5.3): the accumulated hash of them all, which is part of the state root, and
//! segments that hold the identities themselves.
//!
//! Segments are written once and never changed. A checkpoint adds one with what came since the last; small neighbours
//! are put together, so that their number grows with the logarithm of the log's length.

use holon_protocol::{ItemId, Nonce, Timestamp};

use super::Error;
use super::bytes::{FormatError, Reader};
use crate::hydrate::Identity;
use crate::results::Known;

/// Most identities of a segment.
pub const SEGMENT_LIMIT: u32 = 1 << 16;
/// Bytes of a content hash.
const CONTENT_BYTES: usize = 48;
/// Least bytes of an entry.
const ENTRY_BYTES: usize = 1 + 32 + 24;
/// Most bytes of a segment.
pub const MAX_SEGMENT_BYTES: u64 = 4 + SEGMENT_LIMIT as u64 * (1 + CONTENT_BYTES as u64 + 24);

/// Hash of everything a process has seen, after nothing.
pub const NO_HISTORY: [u8; 32] = [0; 32];

/// The hash after one more message: `BLAKE3(previous ‖ epoch ‖ nonce ‖ identity)`, numbers as 8 bytes, big-endian.
pub fn extend(history: &[u8; 32], known: &Known) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(history);
    hasher.update(&known.epoch.to_be_bytes());
    hasher.update(&known.nonce.0.to_be_bytes());
    hasher.update(known.identity.as_bytes());
    hasher.finalize().into()
}

/// Checks that these identities are what `history` is made of.
pub fn check(all: &[Known], history: &[u8; 32]) -> Result<(), Error> {
    let found = all.iter().fold(NO_HISTORY, |history, known| extend(&history, known));
    if found == *history { Ok(()) } else { Err(Error::Hash { what: "the list of messages seen" }) }
}

/// The stored form of a segment.
pub fn write(identities: &[Known]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + identities.len() * ENTRY_BYTES);
    // At most `SEGMENT_LIMIT`.
    out.extend_from_slice(&(identities.len() as u32).to_le_bytes());
    for known in identities {
        out.push(u8::from(matches!(known.identity, Identity::Content(_))));
        out.extend_from_slice(known.identity.as_bytes());
        for number in [known.epoch, known.nonce.0, known.timestamp.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    out
}

/// Reads what [`write`] wrote.
pub fn read(bytes: &[u8]) -> Result<Vec<Known>, FormatError> {
    let mut reader = Reader::new("identities", bytes);
    let count = reader.count("number of identities", 1..=SEGMENT_LIMIT, ENTRY_BYTES)?;
    let mut identities = Vec::with_capacity(count);
    for _ in 0..count {
        let identity = match reader.u8()? {
            0 => Identity::Id(ItemId::from_bytes(reader.array()?)),
            1 => Identity::Content(reader.take(CONTENT_BYTES)?.to_vec()),
            found => return Err(FormatError::Range { what: "kind of identity", found: found.into(), min: 0, max: 1 }),
        };
        let (epoch, nonce, timestamp) = (reader.u64()?, Nonce(reader.u64()?), Timestamp(reader.u64()?));
        identities.push(Known { identity, epoch, nonce, timestamp });
    }
    reader.end()?;
    Ok(identities)
}

/// How many of the last segments, whose lengths are `counts`, are put together with `new` identities. Those that stay are at least
/// twice as long as what follows them, so their number grows with the logarithm of all.
pub fn merged(counts: &[u32], new: u32) -> usize {
    let (mut merged, mut total) = (0, new);
    for count in counts.iter().rev() {
        if *count / 2 >= total || total.saturating_add(*count) > SEGMENT_LIMIT {
            break;
        }
        total += count;
        merged += 1;
    }
    merged
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn known() -> impl Strategy<Value = Known> {
        let identity = prop_oneof![
            any::<[u8; 32]>().prop_map(|id| Identity::Id(ItemId::from_bytes(id))),
            prop::collection::vec(any::<u8>(), CONTENT_BYTES).prop_map(Identity::Content),
        ];
        (identity, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(identity, epoch, nonce, timestamp)| Known {
            identity,
            epoch,
            nonce: Nonce(nonce),
            timestamp: Timestamp(timestamp),
        })
    }

    proptest! {
        #[test]
        fn a_segment_is_read_as_it_was_written(identities in prop::collection::vec(known(), 1..30), cut in any::<prop::sample::Index>()) {
            let bytes = write(&identities);
            prop_assert_eq!(read(&bytes), Ok(identities));
            prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn hostile_segments_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(identities) = read(&bytes) {
                prop_assert_eq!(write(&identities), bytes);
            }
        }

        #[test]
        fn the_number_of_segments_stays_small(new in prop::collection::vec(1u32..50, 1..400)) {
            let mut counts: Vec<u32> = Vec::new();
            let (mut total, mut written) = (0u64, 0u64);
            for new in new {
                let merged = merged(&counts, new);
                let sum = new + counts.drain(counts.len() - merged..).sum::<u32>();
                counts.push(sum);
                total += u64::from(new);
                written += u64::from(sum);
            }
            prop_assert_eq!(counts.iter().map(|count| u64::from(*count)).sum::<u64>(), total);
            let levels = u64::from(total.ilog2()) + 2;
            prop_assert!(counts.len() as u64 <= levels, "{counts:?}");
            prop_assert!(written <= total * 2 * levels);
        }
    }

    #[test]
    fn the_history_depends_on_every_part_and_on_the_order() {
        let known = |nonce, byte| Known {
            identity: Identity::Id(ItemId::from_bytes([byte; 32])),
            epoch: 0,
            nonce: Nonce(nonce),
            timestamp: Timestamp(9),
        };
        let (a, b) = (known(0, 1), known(1, 2));
        let both = extend(&extend(&NO_HISTORY, &a), &b);
        for other in [
            extend(&extend(&NO_HISTORY, &b), &a),
            extend(&NO_HISTORY, &a),
            extend(&extend(&NO_HISTORY, &a), &known(2, 2)),
        ] {
            assert_ne!(both, other);
        }
        let mut bytes = [0; 32 + 16 + 32];
        bytes[48..].fill(1);
        assert_eq!(extend(&NO_HISTORY, &a), *blake3::hash(&bytes).as_bytes());
    }
}
