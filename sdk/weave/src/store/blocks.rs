//! Blocks: made by us, without mining.

use fjall::{Keyspace, OwnedWriteBatch};
use holon_protocol::{ItemId, base64url};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};

use super::{Rules, Store, keys};
use crate::Error;

/// A block. Its content is final as soon as it exists, also while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Height.
    pub height: u64,
    /// `indep_hash`: 48 bytes, base64url.
    pub id: String,
    /// Id of the block before; 48 zero bytes for genesis.
    pub previous: String,
    /// Unix seconds; never before the previous block's, unless another network made both.
    pub timestamp: u64,
    /// Base-layer transactions.
    pub transactions: Vec<ItemId>,
    /// Bytes of data of its transactions.
    pub block_size: u64,
    /// Bytes of data up to and with this block.
    pub weave_size: u64,
}

impl Block {
    /// The block after `previous`, made at `now`.
    pub fn after(previous: &Self, transactions: Vec<ItemId>, block_size: u64, now: u64) -> Self {
        Self::new(
            previous.height + 1,
            previous.id.clone(),
            now.max(previous.timestamp),
            transactions,
            block_size,
            previous.weave_size + block_size,
        )
    }

    fn new(
        height: u64,
        previous: String,
        timestamp: u64,
        transactions: Vec<ItemId>,
        block_size: u64,
        weave_size: u64,
    ) -> Self {
        let mut hash = Sha384::new()
            .chain_update(height.to_be_bytes())
            .chain_update(&previous)
            .chain_update(timestamp.to_be_bytes())
            .chain_update(weave_size.to_be_bytes());
        for id in &transactions {
            hash.update(id.as_bytes());
        }
        let id = base64url::encode(hash.finalize());
        Self { height, id, previous, timestamp, transactions, block_size, weave_size }
    }

    /// Adds the block to `batch`.
    pub fn insert(&self, batch: &mut OwnedWriteBatch, blocks: &Keyspace) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).map_err(|error| Error::Damaged(error.to_string()))?;
        batch.insert(blocks, height_key(self.height), bytes);
        batch.insert(blocks, id_key(&self.id), self.height.to_be_bytes());
        Ok(())
    }
}

/// Adds genesis, the blocks of another network that the rules name, and the block that a new network starts from.
pub fn found(batch: &mut OwnedWriteBatch, blocks: &Keyspace, meta: &Keyspace, rules: &Rules) -> Result<Block, Error> {
    let (now, initial_height) = (rules.clock.seconds(), rules.initial_height);
    let before = || rules.founding.range(1..initial_height.max(1));
    let began = before().next().map_or(now, |(_, timestamp)| *timestamp);
    let mut tip = Block::new(0, base64url::encode([0; 48]), began.min(now), Vec::new(), 0, 0);
    tip.insert(batch, blocks)?;
    if let Some((first, _)) = before().next() {
        for height in *first..initial_height {
            let timestamp = rules.founding.get(&height).copied().unwrap_or(tip.timestamp);
            tip = Block::new(height, tip.id, timestamp, Vec::new(), 0, 0);
            tip.insert(batch, blocks)?;
        }
    }
    if initial_height > 0 {
        tip = Block::new(initial_height, tip.id, now.max(tip.timestamp), Vec::new(), 0, 0);
        tip.insert(batch, blocks)?;
    }
    batch.insert(meta, keys::TIP, tip.height.to_be_bytes());
    Ok(tip)
}

/// The block at a height, open or closed.
pub fn at(blocks: &Keyspace, height: u64) -> Result<Option<Block>, Error> {
    blocks.get(height_key(height))?.map(|bytes| decode(&bytes)).transpose()
}

impl Store {
    /// The block at a height: closed, or open with items in it.
    pub fn block_at(&self, height: u64) -> Result<Option<Block>, Error> {
        at(&self.blocks, height)
    }

    /// The block with an id.
    pub fn block_by_id(&self, id: &str) -> Result<Option<Block>, Error> {
        match self.blocks.get(id_key(id))? {
            Some(height) => self.block_at(keys::number(&height)?),
            None => Ok(None),
        }
    }

    /// Closed blocks with heights in `low..=high`, at most `limit`, in the order asked for.
    pub fn blocks_between(&self, low: u64, high: u64, ascending: bool, limit: usize) -> Result<Vec<Block>, Error> {
        let high = high.min(self.tip().height);
        if low > high {
            return Ok(Vec::new());
        }
        let found = self.blocks.range(height_key(low)..=height_key(high));
        let read = |entry: fjall::Guard| decode(&entry.value()?);
        if ascending { found.take(limit).map(read).collect() } else { found.rev().take(limit).map(read).collect() }
    }
}

fn decode(bytes: &[u8]) -> Result<Block, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Damaged(format!("a block: {error}")))
}

fn height_key(height: u64) -> Vec<u8> {
    [b"h", &height.to_be_bytes()[..]].concat()
}

fn id_key(id: &str) -> Vec<u8> {
    [b"i", id.as_bytes()].concat()
}
