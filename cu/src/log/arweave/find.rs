//! Questions to the gateway about logs.
//!
//! Slots are asked for by number (`Nonce` tags, up to a page of them at once) instead of by walking along cursors: the
//! answer to each question is one page, questions can be asked in parallel, and an interrupted reader needs no cursor, which
//! servers need not honour later.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use holon_arweave::{Gateway, Node, Query};
use holon_protocol::{Address, ItemId, MessageId, Nonce, ProcessId};

use crate::error::Error;

/// Most pages of one question. More than one is needed only when slots are claimed more than once.
const MAX_PAGES: usize = 10;
/// Most ids asked for at once.
const IDS: usize = 100;
/// Longest pause between two looks.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);

fn failed(error: holon_arweave::Error) -> Error {
    Error::Gateway(error.to_string())
}

/// Assignments of a process.
fn assignments(process: ProcessId, scheduler: Address) -> Query {
    Query::default().owner(scheduler).tag("Process", process.to_string()).tag("Type", "Assignment")
}

/// Everything a question finds.
async fn all(gateway: &Gateway, mut query: Query) -> Result<Vec<Node>, Error> {
    let mut found = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = gateway.placed_nodes(&query).await.map_err(failed)?;
        found.extend(page.nodes);
        match page.end_cursor {
            Some(cursor) if page.has_next_page => query.after = Some(cursor),
            _ => return Ok(found),
        }
    }
    Err(Error::Gateway(format!("more than {MAX_PAGES} pages of assignments for a page of slots")))
}

/// Assignments that claim one of these slots.
pub async fn slots(
    gateway: &Gateway,
    process: ProcessId,
    scheduler: Address,
    slots: impl IntoIterator<Item = u64>,
) -> Result<Vec<Node>, Error> {
    let nonces = slots.into_iter().map(|slot| slot.to_string());
    all(gateway, assignments(process, scheduler).tag_among("Nonce", nonces)).await
}

/// Assignments of a message.
pub async fn of_message(
    gateway: &Gateway,
    process: ProcessId,
    scheduler: Address,
    message: MessageId,
) -> Result<Vec<Node>, Error> {
    all(gateway, assignments(process, scheduler).tag("Message", message.to_string())).await
}

/// The greatest nonce among the newest assignments.
pub async fn head(gateway: &Gateway, process: ProcessId, scheduler: Address) -> Result<Option<Nonce>, Error> {
    let page = gateway.nodes(&assignments(process, scheduler)).await.map_err(failed)?;
    Ok(page.nodes.iter().filter_map(|node| node.tags.get("Nonce")?.parse().ok().map(Nonce)).max())
}

/// Items by id; those that are not known are not among them.
pub async fn items(gateway: &Gateway, ids: &[ItemId]) -> Result<HashMap<ItemId, Node>, Error> {
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(IDS) {
        let page = gateway.placed_nodes(&Query::ids(ids.iter().copied())).await.map_err(failed)?;
        found.extend(page.nodes.into_iter().map(|node| (node.id, node)));
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

/// The slots of a window.
pub fn window(number: u64) -> Range<u64> {
    number * super::WINDOW..(number + 1) * super::WINDOW
}
