//! Items that are assigned: read from the gateway, verified, and never larger than allowed (spec 05 §5.2).
//!
//! Anybody may have a scheduler assign anything that is on Arweave, a film as well as a line of text, and a process sees
//! its data as text. How much of it is read is not said by the protocol, so a unit that gives up has to stop there: what is
//! larger is an error that names the slot, and no result. Data that the assignment excludes is not kept, only hashed: the
//! signature of a data item covers it (that of a base-layer transaction does not, so there it is not read at all).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holon_arweave::{Gateway, Header, Node, Verified};
use holon_protocol::{ItemId, Nonce, ProcessId, base64url, wire};
use tokio::sync::Semaphore;

use super::budget::{Budget, Held};
use super::{Fault, SlotError};
use crate::error::Error;
use crate::hydrate::OnChain;
use crate::recent::Recent;

/// Largest data that is hashed because an assignment excludes it, in bytes.
const MAX_EXCLUDED_BYTES: u64 = 1 << 30;
/// Such data read at the same time.
const HASHED_AT_ONCE: usize = 2;
/// Items without their data that are remembered, so that one that is assigned again and again is not hashed as often.
const HEADERS_KEPT: usize = 256;
/// Bytes of items that may be on their way at the same time, over all processes; an item takes twice its size while its
/// signature is checked.
const IN_FLIGHT_BYTES: u64 = 128 << 20;

/// Reads items that are assigned. Cheap to clone; clones share their limits.
#[derive(Clone)]
pub struct AssignedItems(Arc<Inner>);

struct Inner {
    gateway: Gateway,
    limit_bytes: u64,
    in_flight: Budget,
    hashed: Semaphore,
    headers: Mutex<Recent<ItemId, OnChain>>,
}

/// What the gateway's failure means for an item that somebody needs: a fault of the item, or of the gateway.
pub fn fault_or_error(message: ItemId, limit_bytes: u64, error: holon_arweave::Error) -> Result<Fault, Error> {
    match error {
        holon_arweave::Error::Forged { .. } => Ok(Fault::Message { message, reason: error.to_string() }),
        holon_arweave::Error::TooLarge { .. } => Ok(Fault::TooLarge { message, limit_bytes }),
        holon_arweave::Error::NotFound(_) => Ok(Fault::Absent { message }),
        error => Err(Error::Gateway(format!("item {message}: {error}"))),
    }
}

impl AssignedItems {
    /// Items of `gateway` with at most `limit_bytes` of data.
    pub fn new(gateway: Gateway, limit_bytes: u64) -> Self {
        let (in_flight, hashed) = (Budget::new(IN_FLIGHT_BYTES), Semaphore::new(HASHED_AT_ONCE));
        let headers = Mutex::new(Recent::new(HEADERS_KEPT));
        Self(Arc::new(Inner { gateway, limit_bytes, in_flight, hashed, headers }))
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }

    /// Room for so many bytes on their way, once there is some.
    pub async fn hold(&self, bytes: u64) -> Held {
        self.0.in_flight.take(bytes).await
    }

    /// Most bytes of data that an assigned item may have.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes
    }

    /// The item that `node` describes, verified, with at most `limit_bytes` of data. The inner error says what is wrong with
    /// it.
    pub async fn verified(&self, node: &Node, limit_bytes: u64) -> Result<Result<Verified, Fault>, Error> {
        if node.data_bytes.is_some_and(|bytes| bytes > limit_bytes) {
            return Ok(Err(Fault::TooLarge { message: node.id, limit_bytes }));
        }
        let _held = self.0.in_flight.take(2 * node.data_bytes.unwrap_or(limit_bytes)).await;
        match self.0.gateway.verified(node, limit_bytes).await {
            Ok(found) => Ok(Ok(found)),
            Err(error) => fault_or_error(node.id, limit_bytes, error).map(Err),
        }
    }

    /// What the assignment in `slot` lacks, without the data if that is excluded. An item that is not known yet is looked for
    /// again up to `retries` times, first after `backoff`, which doubles.
    pub async fn of_slot(
        &self,
        (process, slot): (ProcessId, Nonce),
        item: ItemId,
        with_data: bool,
        (retries, backoff): (u32, Duration),
    ) -> Result<OnChain, Error> {
        let found = match super::expected(&self.0.gateway, item, retries, backoff).await? {
            Some(node) => self.get(&node, with_data).await?,
            None => Err(Fault::Absent { message: item }),
        };
        found.map_err(|fault| SlotError { process, slot, fault }.into())
    }

    /// What an assignment of the item that `node` describes lacks, without the data if it is excluded. The inner error says
    /// what is wrong with the item.
    pub async fn get(&self, node: &Node, with_data: bool) -> Result<Result<OnChain, Fault>, Error> {
        if with_data {
            let found = self.verified(node, self.0.limit_bytes).await?;
            return Ok(found.map(|found| OnChain::new(found.header(), &found.data())));
        }
        let _place = self.0.hashed.acquire().await.map_err(|_| Error::Stopping)?;
        let headers = || self.0.headers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = headers().get(&node.id) {
            return Ok(Ok(known.clone()));
        }
        match self.0.gateway.header(node, MAX_EXCLUDED_BYTES).await {
            Ok(header) => {
                let found = OnChain::new(header, &[]);
                headers().insert(node.id, found.clone());
                Ok(Ok(found))
            }
            Err(error) => fault_or_error(node.id, MAX_EXCLUDED_BYTES, error).map(Err),
        }
    }
}

impl OnChain {
    /// What was verified, as a gateway spells it.
    pub fn new(header: Header, data: &[u8]) -> Self {
        let Header { id, signature, owner, target, anchor, tags } = header;
        Self {
            id,
            signature: base64url::encode(signature),
            owner: wire::Owner { address: holon_protocol::address::wire(&owner), key: base64url::encode(&owner) },
            tags,
            recipient: target.map(base64url::encode).unwrap_or_default(),
            anchor: base64url::encode(anchor),
            data: String::from_utf8_lossy(data).into_owned(),
        }
    }
}
