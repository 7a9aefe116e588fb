//! Heights and times of blocks between two points, from a gateway (spec 05 §9.2).
//!
//! A mined block never changes, so what has been fetched is kept. The newest part is asked for again in every evaluation
//! that reaches beyond it: a block learned of too late would be a cron message missed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use holon_arweave::Gateway;
use holon_protocol::{BlockHeight, Timestamp};

use crate::cron::Block;
use crate::error::Error;

/// Blocks asked for at once.
const PAGE: u32 = 90;
/// Most blocks kept, over all processes.
const MAX_KEPT: usize = 1 << 20;
/// Most blocks one evaluation may ask for: some eight years.
const MAX_RANGE: u64 = 1 << 21;

/// Known blocks. Shared by all processes.
#[derive(Debug, Default)]
pub struct Blocks {
    known: Mutex<BTreeMap<u64, Timestamp>>,
}

impl Blocks {
    /// The blocks above height `left` up to the first that is not before `right`, ascending in time.
    pub async fn between(&self, gateway: &Gateway, left: BlockHeight, right: Timestamp) -> Result<Vec<Block>, Error> {
        let mut found = Vec::new();
        // Heights come from foreign records, so they may be as large as a number can be.
        let Some(mut height) = left.0.checked_add(1) else { return Ok(found) };
        while height - left.0 <= MAX_RANGE {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&height).copied();
            if let Some(timestamp) = known {
                found.push(Block { timestamp, height: BlockHeight(height) });
                if timestamp >= right {
                    break;
                }
                match height.checked_add(1) {
                    Some(next) => height = next,
                    None => break,
                }
                continue;
            }
            let page = gateway
                .blocks(BlockHeight(height), PAGE)
                .await
                .map_err(|error| Error::Gateway(format!("blocks from height {height}: {error}")))?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() > MAX_KEPT {
                known.clear();
            }
            known.extend(page.iter().map(|block| (block.height.0, block.timestamp)));
            // Nothing newer, or a hole that the gateway cannot fill.
            if !known.contains_key(&height) {
                match page.iter().map(|block| block.height.0).filter(|&above| above > height).min() {
                    Some(above) => height = above,
                    None => break,
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}
