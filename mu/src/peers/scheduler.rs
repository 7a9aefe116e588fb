//! Calls to schedulers (spec 02 §2, §7; spec 04 §8).

use std::time::Duration;

use bytes::Bytes;
use holon_protocol::{AssignmentId, BlockHeight, ItemId, ProcessId, Tags};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use url::Url;

use super::{Http, PeerError, Redirects, body, join, parse};
use crate::crank::outgoing::Assign;

/// Largest answer to a write, in bytes.
pub const MAX_RECEIPT_BYTES: usize = 64 * 1024;
/// Largest log entry or process record read, in bytes: an item of 10 MiB as JSON text.
pub const MAX_ENTRY_BYTES: usize = 64 * 1024 * 1024;
/// How many of a process's newest entries are searched for an assignment whose answer was lost.
pub const SEARCHED_ENTRIES: u64 = 200;

/// Calls to schedulers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schedulers {
    http: Http,
    timeout: Duration,
}

/// What stands in a log entry's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Its tags.
    pub tags: Tags,
}

impl Assignment {
    /// Height of the L1 block the scheduler had seen.
    pub fn block_height(&self) -> Option<BlockHeight> {
        self.tags.get("Block-Height")?.parse().ok()
    }
}

#[derive(Deserialize)]
struct Receipt {
    id: ItemId,
    timestamp: Value,
}

impl Receipt {
    fn parse(url: &Url, body: &[u8]) -> Result<ItemId, PeerError> {
        let receipt: Self = parse(url, body)?;
        let numeric = match &receipt.timestamp {
            Value::Number(_) => true,
            Value::String(text) => text.parse::<f64>().is_ok(),
            _ => false,
        };
        if numeric {
            Ok(receipt.id)
        } else {
            Err(PeerError::Malformed { url: url.to_string(), reason: "timestamp is not a number".into() })
        }
    }
}

impl Schedulers {
    /// Calls that take at most `timeout` each.
    pub fn new(http: Http, timeout: Duration) -> Self {
        Self { http, timeout }
    }

    /// The clients underneath.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Posts an item; the id the scheduler answers (spec 04 §8.1).
    pub async fn post_item(&self, scheduler: &Url, raw: Bytes) -> Result<ItemId, PeerError> {
        let headers = |request: RequestBuilder| {
            request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(ACCEPT, "application/json")
                .body(raw.clone())
        };
        let response =
            self.http.send(Method::POST, scheduler.clone(), Redirects::Replay, self.timeout, headers).await?;
        let url = response.url().clone();
        Receipt::parse(&url, &body(response, MAX_RECEIPT_BYTES).await?)
    }

    /// Asks for an assignment; its id (spec 04 §8.2).
    pub async fn post_assignment(&self, scheduler: &Url, assign: &Assign) -> Result<AssignmentId, PeerError> {
        let Assign { process, message, base_layer, exclude } = assign;
        let mut query = format!("/?process-id={process}&assign={message}");
        if *base_layer {
            query.push_str("&base-layer");
        }
        if !exclude.is_empty() {
            query.push_str("&exclude=");
            query.push_str(&exclude.join(","));
        }
        let headers = |request: RequestBuilder| {
            request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(ACCEPT, "application/json")
                .body(Bytes::new())
        };
        let url = join(scheduler, &query)?;
        let response = self.http.send(Method::POST, url, Redirects::Replay, self.timeout, headers).await?;
        let url = response.url().clone();
        Ok(Receipt::parse(&url, &body(response, MAX_RECEIPT_BYTES).await?)?.into())
    }

    /// The tags of a process, `None` when this scheduler does not have it.
    pub async fn process(&self, scheduler: &Url, process: ProcessId) -> Result<Option<ProcessTags>, PeerError> {
        self.read(join(scheduler, &format!("/processes/{process}"))?).await
    }

    /// The assignment of an item in a process's log, `None` when this scheduler does not have it.
    pub async fn assignment(
        &self,
        scheduler: &Url,
        item: ItemId,
        process: ProcessId,
    ) -> Result<Option<Assignment>, PeerError> {
        #[derive(Deserialize)]
        struct Entry {
            assignment: Option<Inner>,
        }
        #[derive(Deserialize)]
        struct Inner {
            #[serde(default)]
            tags: Tags,
        }
        let entry: Option<Entry> = self.read(join(scheduler, &format!("/{item}?process-id={process}"))?).await?;
        Ok(entry.and_then(|entry| entry.assignment).map(|Inner { tags }| Assignment { tags }))
    }

    /// The newest assignment of `message` that has no message body, one made by an assign request, among the newest
    /// entries of a process. An entry with a body is the message as it was posted.
    pub async fn find_assignment(
        &self,
        scheduler: &Url,
        process: ProcessId,
        message: ItemId,
    ) -> Result<Option<AssignmentId>, PeerError> {
        #[derive(Deserialize)]
        struct Page {
            edges: Vec<Edge>,
        }
        #[derive(Deserialize)]
        struct Edge {
            node: Entry,
        }
        #[derive(Deserialize)]
        struct Entry {
            message: Option<IgnoredAny>,
            assignment: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            id: AssignmentId,
            tags: Tags,
        }
        let latest: Option<Entry> = self.read(join(scheduler, &format!("/{process}/latest"))?).await?;
        let Some(latest) = latest else { return Ok(None) };
        let newest = latest.assignment.tags.get("Nonce").and_then(|nonce| nonce.parse::<u64>().ok()).unwrap_or(0);
        // `from-nonce` is exclusive in some schedulers and inclusive in others; one entry more does no harm.
        let from = newest.saturating_sub(SEARCHED_ENTRIES);
        let from = if from == 0 { String::new() } else { format!("&from-nonce={from}") };
        let query = format!("/{process}?process-id={process}{from}&limit={}", SEARCHED_ENTRIES + 1);
        let page: Option<Page> = self.read(join(scheduler, &query)?).await?;
        let edges = page.map(|page| page.edges).unwrap_or_default();
        let message = message.to_string();
        let made = edges.into_iter().map(|edge| edge.node).filter(|entry| entry.message.is_none());
        Ok(made
            .map(|entry| entry.assignment)
            .rev()
            .find(|assignment| assignment.tags.get("Message") == Some(&message))
            .map(|found| found.id))
    }

    /// A read whose *not found* is 400 (spec 02 §1) or 404.
    async fn read<T: serde::de::DeserializeOwned>(&self, url: Url) -> Result<Option<T>, PeerError> {
        let accept = |request: RequestBuilder| request.header(ACCEPT, "application/json");
        let response = self.http.send(Method::GET, url.clone(), Redirects::Read, self.timeout, accept).await?;
        if matches!(response.status().as_u16(), 400 | 404) {
            return Ok(None);
        }
        parse(&url, &body(response, MAX_ENTRY_BYTES).await?).map(Some)
    }
}

/// `GET /processes/{id}`, the parts the messenger reads.
#[derive(Debug, Clone, Deserialize)]
pub struct ProcessTags {
    /// Tags of the process.
    pub tags: Tags,
    /// Who spawned it.
    pub owner: Option<ProcessOwner>,
}

/// Signer of a process.
#[derive(Debug, Clone, Deserialize)]
pub struct ProcessOwner {
    /// Wire address.
    pub address: String,
}
