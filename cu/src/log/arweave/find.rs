//! Questions to the gateway about logs.
//!
//! Slots are asked for by number (`Nonce` tags, up to a page of them at once) instead of by walking along cursors: the
//! answer to each question is one page, questions can be asked in parallel, and an interrupted reader needs no cursor, which
//! servers need not honour later.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use holon_arweave::{Gateway, Node, Query};
use holon_protocol::chain::HashChain;
use holon_protocol::{Address, ItemId, MessageId, ProcessId};

use crate::error::Error;

/// Most ids asked for at once.
const IDS: usize = 100;
/// Longest pause between two looks.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Slots asked about to find a later one: a log that goes on for `2^n` slots has them all, so these tell of any that is not
/// longer than a million million slots.
const STRIDES: u32 = 40;

fn failed(error: holon_arweave::Error) -> Error {
    Error::Gateway(error.to_string())
}

/// The newest assignments of a process.
pub fn newest(process: ProcessId, scheduler: Address) -> Query {
    Query::default().owner(scheduler).tag("Process", process.to_string()).tag("Type", "Assignment")
}

/// Assignments that claim one of these slots, oldest first.
pub fn slots(process: ProcessId, scheduler: Address, slots: &[u64]) -> Query {
    let nonces = slots.iter().map(u64::to_string);
    Query { ascending: true, ..newest(process, scheduler).tag_among("Nonce", nonces) }
}

/// Assignments that claim a slot with this link of the hash chain, oldest first.
pub fn chained(process: ProcessId, scheduler: Address, slot: u64, link: HashChain) -> Query {
    slots(process, scheduler, &[slot]).tag("Hash-Chain", link.to_string())
}

/// Some of the slots after `slot`: if the log has any later one, it has one of these.
pub fn later(slot: u64) -> Vec<u64> {
    (0..STRIDES).filter_map(|power| slot.checked_add(1 << power)).collect()
}

/// Assignments of a message.
pub fn of_message(process: ProcessId, scheduler: Address, message: MessageId) -> Query {
    Query { ascending: true, ..newest(process, scheduler).tag("Message", message.to_string()) }
}

/// Items by id; those that are not known are not among them.
pub async fn items(gateway: &Gateway, ids: &[ItemId]) -> Result<HashMap<ItemId, Node>, Error> {
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(IDS) {
        let page = gateway.placed_nodes(&Query::ids(ids.iter().copied())).await.map_err(failed)?;
        found.extend(page.nodes.into_iter().filter(|node| ids.contains(&node.id)).map(|node| (node.id, node)));
    }
    Ok(found)
}

/// Calls `look` until it finds something, up to `retries` times again: what has just been uploaded is indexed later.
pub async fn until_found<T, F: Future<Output = Result<Option<T>, Error>>>(
    retries: u32,
    backoff: Duration,
    mut look: impl FnMut() -> F,
) -> Result<Option<T>, Error> {
    let mut pause = backoff;
    for tries_left in (0..=retries).rev() {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if tries_left > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
    }
    Ok(None)
}

/// The pauses of as many retries, together.
pub fn patience(retries: u32, backoff: Duration) -> Duration {
    let pauses = std::iter::successors(Some(backoff), |pause| Some((*pause * 2).min(MAX_BACKOFF)));
    pauses.take(retries as usize).fold(Duration::ZERO, Duration::saturating_add)
}

/// The slots of a window.
pub fn window(number: u64) -> Range<u64> {
    number * super::WINDOW..(number + 1) * super::WINDOW
}
