//! Heights and times of blocks, from a gateway (spec 05 §9.2).
//!
//! A log names heights, and every block up to them counts; so a gateway that does not know one of them yet has to be waited
//! for, and none is left out. A block deep in the chain never changes and is kept; the newest ones can still be replaced by
//! others, and are asked for again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holon_arweave::Gateway;
use holon_protocol::{BlockHeight, Timestamp};
use serde::Deserialize;

use crate::cron::Block;
use crate::error::Error;

/// Blocks asked for at once.
const PAGE: u32 = 90;
/// Most blocks kept, over all processes.
const MAX_KEPT: usize = 1 << 20;
/// Most blocks one evaluation may ask for: some eight years.
const MAX_RANGE: u64 = 1 << 21;
/// Blocks above one that make sure that it stays.
pub const CONFIRMATIONS: u64 = 10;
/// Longest pause between two looks for a block.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Which blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Those above this height.
    pub above: BlockHeight,
    /// Up to this one, as far as they are known.
    pub through: BlockHeight,
    /// Up to this one all of them: what a log names is there.
    pub needed: BlockHeight,
}

/// Known blocks. Shared by all processes.
#[derive(Debug, Default)]
pub struct Blocks {
    known: Mutex<BTreeMap<u64, Timestamp>>,
}

/// A block as a node tells it.
#[derive(Deserialize)]
struct NodeBlock {
    height: u64,
    /// Seconds.
    timestamp: u64,
}

impl Blocks {
    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Timestamp>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blocks of a range, ascending and without holes. A needed one that the gateway does not know is looked for again up
    /// to `retries` times, first after `backoff`, which doubles; then it is an error.
    pub async fn of(
        &self,
        gateway: &Gateway,
        range: Range,
        (retries, backoff): (u32, Duration),
    ) -> Result<Vec<Block>, Error> {
        let Range { above, through, needed } = range;
        let through = through.max(needed);
        // Heights come from foreign records, so they may be as large as a number can be.
        if needed.0.saturating_sub(above.0) > MAX_RANGE {
            let reason = format!("a log names block {needed}, more than {MAX_RANGE} blocks above block {above}");
            return Err(Error::Gateway(reason));
        }
        let last = through.0.min(above.0.saturating_add(MAX_RANGE));
        let mut fresh = BTreeMap::new();
        let mut found = Vec::new();
        let (mut tries_left, mut pause) = (retries, backoff);
        let mut height = above.0.saturating_add(1);
        while height <= last {
            let known = fresh.get(&height).copied().or_else(|| self.known().get(&height).copied());
            if let Some(timestamp) = known {
                found.push(Block { timestamp, height: BlockHeight(height) });
                height += 1;
                continue;
            }
            let more = fetch(gateway, height).await?;
            let learned = more.contains_key(&height);
            fresh.extend(more);
            if learned {
                continue;
            }
            if height > needed.0 {
                break;
            }
            if tries_left == 0 {
                let reason = format!("block {height} is not known, and the log names block {needed}");
                return Err(Error::Gateway(reason));
            }
            tries_left -= 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
        self.keep(fresh);
        Ok(found)
    }

    fn keep(&self, mut fresh: BTreeMap<u64, Timestamp>) {
        let Some((&newest, _)) = fresh.last_key_value() else { return };
        fresh.retain(|height, _| height + CONFIRMATIONS <= newest);
        let mut known = self.known();
        if known.len() > MAX_KEPT {
            known.clear();
        }
        known.extend(fresh);
    }
}

/// Blocks from `height` on; that one by itself when the gateway's index has a hole there or lags behind its node.
async fn fetch(gateway: &Gateway, height: u64) -> Result<BTreeMap<u64, Timestamp>, Error> {
    let failed = |reason: String| Error::Gateway(format!("blocks from height {height}: {reason}"));
    let page = gateway.blocks(BlockHeight(height), PAGE).await.map_err(|error| failed(error.to_string()))?;
    let mut found: BTreeMap<u64, Timestamp> =
        page.into_iter().map(|block| (block.height.0, block.timestamp)).filter(|(at, _)| *at >= height).collect();
    if found.contains_key(&height) {
        return Ok(found);
    }
    let text = gateway.block(BlockHeight(height)).await.map_err(|error| failed(error.to_string()))?;
    if let Some(text) = text {
        let block: NodeBlock = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        if block.height == height {
            found.insert(height, Timestamp(block.timestamp.saturating_mul(1000)));
        }
    }
    Ok(found)
}
