//! Calls to schedulers (spec 02 §2, §7; spec 04 §8).

use std::time::Duration;

use bytes::Bytes;
use holon_protocol::{AssignmentId, BlockHeight, ItemId, Nonce, ProcessId, Tags, Timestamp};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use url::Url;

use super::{Http, PeerError, Redirects, join, parse};
use crate::crank::outgoing::Assign;
use crate::crank::step::Standing;

/// Largest answer to a write, in bytes.
pub const MAX_RECEIPT_BYTES: usize = 64 * 1024;
/// Largest log entry or process record read, in bytes: an item of 10 MiB as JSON text.
pub const MAX_ENTRY_BYTES: usize = 64 * 1024 * 1024;
/// How many of a process's newest entries are searched for an assignment whose answer was lost.
pub const SEARCHED_ENTRIES: u64 = 200;
/// How many times as many are searched when it is known since when.
pub const SEARCHED_PAGES: usize = 50;

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
    /// Its place in the log.
    pub fn nonce(&self) -> Option<Nonce> {
        self.tags.get("Nonce")?.parse().ok()
    }

    /// When it was given.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.tags.get("Timestamp")?.parse().ok()
    }

    /// Height of the L1 block the scheduler had seen.
    pub fn block_height(&self) -> Option<BlockHeight> {
        self.tags.get("Block-Height")?.parse().ok()
    }
}

#[derive(Deserialize)]
struct LogEntry {
    message: Option<IgnoredAny>,
    assignment: Position,
}

/// The place of a log entry.
#[derive(Deserialize)]
struct Position {
    id: AssignmentId,
    tags: Tags,
}

impl Position {
    fn nonce(&self) -> Option<Nonce> {
        self.tags.get("Nonce")?.parse().ok()
    }
}

/// Header of the answer to a write (an extension): the place that was given.
const NONCE: &str = "nonce";

/// What a scheduler says to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Id of the item, or of the assignment.
    pub id: ItemId,
    /// Its place in the log, if the scheduler says so.
    pub nonce: Option<Nonce>,
}

#[derive(Deserialize)]
struct ReceiptBody {
    id: ItemId,
    timestamp: Value,
}

impl Receipt {
    fn parse(url: &Url, nonce: Option<Nonce>, body: &[u8]) -> Result<Self, PeerError> {
        let receipt: ReceiptBody = parse(url, body)?;
        let numeric = match &receipt.timestamp {
            Value::Number(_) => true,
            Value::String(text) => text.parse::<f64>().is_ok(),
            _ => false,
        };
        if numeric {
            Ok(Self { id: receipt.id, nonce })
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

    /// Posts an item (spec 04 §8.1).
    pub async fn post_item(&self, scheduler: &Url, raw: Bytes) -> Result<Receipt, PeerError> {
        let headers = |request: RequestBuilder| {
            request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(ACCEPT, "application/json")
                .body(raw.clone())
        };
        let response = self
            .http
            .send("post-item", Method::POST, scheduler.clone(), Redirects::Replay, self.timeout, headers)
            .await?;
        self.receipt(response).await
    }

    async fn receipt(&self, response: Response) -> Result<Receipt, PeerError> {
        let url = response.url().clone();
        let nonce = response.headers().get(NONCE).and_then(|value| value.to_str().ok()?.parse().ok());
        Receipt::parse(&url, nonce, &self.http.body(response, MAX_RECEIPT_BYTES).await?)
    }

    /// Asks for an assignment (spec 04 §8.2).
    pub async fn post_assignment(&self, scheduler: &Url, assign: &Assign) -> Result<Receipt, PeerError> {
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
        let response =
            self.http.send("post-assignment", Method::POST, url, Redirects::Replay, self.timeout, headers).await?;
        self.receipt(response).await
    }

    /// The tags of a process, `None` when this scheduler does not have it.
    pub async fn process(&self, scheduler: &Url, process: ProcessId) -> Result<Option<ProcessTags>, PeerError> {
        self.read("process", join(scheduler, &format!("/processes/{process}"))?).await
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
        let entry: Option<Entry> =
            self.read("entry", join(scheduler, &format!("/{item}?process-id={process}"))?).await?;
        Ok(entry.and_then(|entry| entry.assignment).map(|Inner { tags }| Assignment { tags }))
    }

    /// Where an item stands in a process's log, or the process itself when it is that; `None` when this scheduler does not have
    /// it.
    pub async fn standing(
        &self,
        scheduler: &Url,
        item: ItemId,
        process: ProcessId,
    ) -> Result<Option<Standing>, PeerError> {
        if item == process.into() {
            let found = self.process(scheduler, process).await?;
            return Ok(found.map(|found| Standing { nonce: Some(Nonce(0)), timestamp: found.timestamp() }));
        }
        let found = self.assignment(scheduler, item, process).await?;
        Ok(found.map(|found| Standing { nonce: found.nonce(), timestamp: found.timestamp() }))
    }

    /// The nonce that the next entry of a process's log gets, or a later one; 0 when this scheduler does not have it.
    pub async fn next_nonce(&self, scheduler: &Url, process: ProcessId) -> Result<Nonce, PeerError> {
        let newest = self.newest_nonce(scheduler, process).await?;
        Ok(Nonce(newest.map_or(0, |newest| newest.0.saturating_add(1))))
    }

    async fn newest_nonce(&self, scheduler: &Url, process: ProcessId) -> Result<Option<Nonce>, PeerError> {
        let latest: Option<LogEntry> = self.read("latest", join(scheduler, &format!("/{process}/latest"))?).await?;
        Ok(latest.map(|latest| latest.assignment.nonce().unwrap_or(Nonce(0))))
    }

    /// An assignment of `message` that has no message body, one made by an assign request: an entry with a body is the
    /// message as it was posted. With `first` it is the oldest from that nonce on, among [`SEARCHED_PAGES`] pages; without,
    /// the newest of the newest [`SEARCHED_ENTRIES`] entries.
    pub async fn find_assignment(
        &self,
        scheduler: &Url,
        process: ProcessId,
        message: ItemId,
        first: Option<Nonce>,
    ) -> Result<Option<(AssignmentId, Option<Nonce>)>, PeerError> {
        let Some(newest) = self.newest_nonce(scheduler, process).await? else { return Ok(None) };
        let text = message.to_string();
        let fits = |position: &Position| position.tags.get("Message") == Some(&text);
        let Some(first) = first else {
            let from = newest.0.saturating_sub(SEARCHED_ENTRIES);
            let made = self.assigned(scheduler, process, from).await?;
            return Ok(made.into_iter().rev().find(fits).map(|position| (position.id, position.nonce())));
        };
        let mut from = first.0;
        for _ in 0..SEARCHED_PAGES {
            if from > newest.0 {
                break;
            }
            let made = self.assigned(scheduler, process, from).await?;
            let since = |position: &Position| position.nonce().is_some_and(|nonce| nonce >= first);
            if let Some(found) = made.into_iter().filter(since).find(fits) {
                return Ok(Some((found.id, found.nonce())));
            }
            from += SEARCHED_ENTRIES;
        }
        Ok(None)
    }

    /// Positions of the entries without a message body among [`SEARCHED_ENTRIES`] entries of a log from `from` on.
    async fn assigned(&self, scheduler: &Url, process: ProcessId, from: u64) -> Result<Vec<Position>, PeerError> {
        #[derive(Deserialize)]
        struct Page {
            edges: Vec<Edge>,
        }
        #[derive(Deserialize)]
        struct Edge {
            node: LogEntry,
        }
        // `from-nonce` is exclusive in some schedulers and inclusive in others; one entry more does no harm.
        let from = match from {
            0 | 1 => String::new(),
            from => format!("&from-nonce={}", from - 1),
        };
        let query = format!("/{process}?process-id={process}{from}&limit={}", SEARCHED_ENTRIES + 1);
        let page: Option<Page> = self.read("entries", join(scheduler, &query)?).await?;
        let entries = page.map(|page| page.edges).unwrap_or_default().into_iter().map(|edge| edge.node);
        Ok(entries.filter(|entry| entry.message.is_none()).map(|entry| entry.assignment).collect())
    }

    /// A read whose *not found* is 400 (spec 02 §1) or 404.
    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        url: Url,
    ) -> Result<Option<T>, PeerError> {
        let accept = |request: RequestBuilder| request.header(ACCEPT, "application/json");
        let response =
            self.http.send(operation, Method::GET, url.clone(), Redirects::Read, self.timeout, accept).await?;
        if matches!(response.status().as_u16(), 400 | 404) {
            return Ok(None);
        }
        parse(&url, &self.http.body(response, MAX_ENTRY_BYTES).await?).map(Some)
    }
}

/// `GET /processes/{id}`, the parts the messenger reads.
#[derive(Debug, Clone, Deserialize)]
pub struct ProcessTags {
    /// Tags of the process.
    pub tags: Tags,
    /// Who spawned it.
    pub owner: Option<ProcessOwner>,
    /// When, in milliseconds.
    #[serde(default)]
    timestamp: Value,
}

impl ProcessTags {
    /// When it was scheduled.
    pub fn timestamp(&self) -> Option<Timestamp> {
        let text = self.timestamp.as_str().and_then(|text| text.parse().ok());
        self.timestamp.as_u64().or(text).map(Timestamp)
    }
}

/// Signer of a process.
#[derive(Debug, Clone, Deserialize)]
pub struct ProcessOwner {
    /// Wire address.
    pub address: String,
}
