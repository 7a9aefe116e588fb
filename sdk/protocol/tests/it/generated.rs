//! Strategies for the protocol's values.

use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::item::Builder;
use holon_protocol::{BlockHeight, DataItem, ItemId, MessageId, Nonce, ProcessId, Signer, Tags, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::vectors;

/// A few tags whose encoding stays below the limit; duplicates and empty texts occur.
pub fn tags() -> impl Strategy<Value = Tags> {
    let name = prop_oneof![Just("Action".to_owned()), ".{0,12}"];
    vec((name, ".{0,24}"), 0..16).prop_map(|tags| tags.into_iter().collect())
}

/// Tags and a legal encoding of them in several blocks, with positive or negative counts and long numbers.
pub fn tags_in_blocks() -> impl Strategy<Value = (Tags, Vec<u8>)> {
    vec((vec((".{0,6}", ".{0,6}"), 1..4), any::<bool>(), 0usize..4), 1..4).prop_map(|blocks| {
        let mut tags = Tags::default();
        let mut bytes = Vec::new();
        for (block, negative, padding) in blocks {
            let count = block.len() as i64;
            write_long(&mut bytes, if negative { -count } else { count }, padding);
            if negative {
                // Readers that do not skip must not believe the size.
                write_long(&mut bytes, 77, padding);
            }
            for (name, value) in block {
                for text in [&name, &value] {
                    write_long(&mut bytes, text.len() as i64, padding);
                    bytes.extend_from_slice(text.as_bytes());
                }
                tags.push(name, value);
            }
        }
        write_long(&mut bytes, 0, 0);
        (tags, bytes)
    })
}

/// An Avro `long` with `padding` bytes more than it needs.
fn write_long(out: &mut Vec<u8>, value: i64, padding: usize) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    for _ in 0..padding {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
}

/// The fields of an item.
#[derive(Debug, Clone)]
pub struct Fields {
    pub target: Option<[u8; 32]>,
    pub anchor: Option<[u8; 32]>,
    pub tags: Tags,
    pub data: Vec<u8>,
}

impl Fields {
    pub fn builder(&self) -> Builder {
        let mut builder = DataItem::builder().tags(self.tags.0.clone()).data(self.data.clone());
        if let Some(target) = self.target {
            builder = builder.target_bytes(target);
        }
        if let Some(anchor) = self.anchor {
            builder = builder.anchor(anchor);
        }
        builder
    }
}

pub fn fields() -> impl Strategy<Value = Fields> {
    let text_anchor = "[ -~]{32}".prop_map(|text| <[u8; 32]>::try_from(text.as_bytes()).unwrap());
    let anchor = prop_oneof![any::<[u8; 32]>(), text_anchor];
    let data = prop_oneof![vec(any::<u8>(), 0..200), ".{0,60}".prop_map(String::into_bytes)];
    (option::of(any::<[u8; 32]>()), option::of(anchor), tags(), data).prop_map(|(target, anchor, tags, data)| Fields {
        target,
        anchor,
        tags,
        data,
    })
}

/// A wallet of any kind. The RSA wallet is always the one of the vectors: making one takes a second.
pub fn signer() -> impl Strategy<Value = Signer> {
    prop_oneof![
        4 => (any::<[u8; 32]>(), any::<bool>()).prop_map(|(seed, solana)| Signer::from_ed25519_seed(&seed, solana)),
        2 => any::<[u8; 32]>().prop_filter_map("not a scalar", |scalar| Signer::from_secp256k1(&scalar).ok()),
        1 => Just(()).prop_map(|()| vectors::rsa()),
    ]
}

/// A wallet that signs quickly.
pub fn ed25519() -> impl Strategy<Value = Signer> {
    any::<[u8; 32]>().prop_map(|seed| Signer::from_ed25519_seed(&seed, false))
}

/// A signed item.
pub fn item() -> impl Strategy<Value = DataItem> {
    (fields(), ed25519()).prop_map(|(fields, signer)| fields.builder().sign(&signer).unwrap())
}

pub fn assignment() -> impl Strategy<Value = Assignment> {
    let positions = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let ids = (any::<[u8; 32]>(), any::<[u8; 32]>(), option::of(any::<[u8; 32]>()));
    (positions, ids, vec(".{0,12}", 0..4)).prop_map(
        |((epoch, nonce, height, timestamp), (process, chain, message), exclude)| Assignment {
            process: ProcessId::from_bytes(process),
            epoch,
            nonce: Nonce(nonce),
            hash_chain: HashChain::of(chain),
            block_height: BlockHeight(height),
            timestamp: Timestamp(timestamp),
            message: message.map(|id| MessageId::from(ItemId::from_bytes(id))),
            exclude,
        },
    )
}
