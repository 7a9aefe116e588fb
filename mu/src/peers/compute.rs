//! Calls to the compute unit (spec 05 §2; spec 04 §9, §13).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holon_protocol::{MessageId, ProcessId, Timestamp};
use reqwest::{Method, Response};
use serde::Deserialize;
use url::Url;

use super::skim::Skim;
use super::{Http, PeerError, Redirects, join, malformed};
use crate::cron::Due;
use crate::json::{Json, JsonText};

/// Largest result, or page of cron results, that is read when the operator does not say, in bytes.
pub const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// Longest result that is looked through for where to continue after it, in bytes.
pub const MAX_SKIMMED_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Cron results asked for at a time, fewer if so many are too large together.
pub const CRON_PAGE: usize = 50;

/// The compute unit. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Compute {
    http: Http,
    url: Url,
    timeout: Duration,
    max_result_bytes: usize,
}

/// Answer to a pull.
#[derive(Debug, Clone, PartialEq)]
pub enum Pulled {
    /// The result.
    Result(JsonText),
    /// The unit is still evaluating.
    NotYet,
}

/// A cron result and where to continue after it.
#[derive(Debug, Clone)]
pub struct CronEdge {
    /// Where to continue.
    pub cursor: String,
    /// The result, `null` when there is none.
    pub node: JsonText,
    /// It has more than so many bytes, and was not read.
    pub too_large: Option<usize>,
}

impl CronEdge {
    /// When the cron message was due, if the cursor tells: those of the reference do (spec 04 §13).
    pub fn due(&self) -> Option<Timestamp> {
        #[derive(Deserialize)]
        struct Cursor {
            timestamp: serde_json::Value,
        }
        let cursor: Cursor = serde_json::from_slice(&STANDARD.decode(&self.cursor).ok()?).ok()?;
        match cursor.timestamp {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        }
        .map(Timestamp)
    }
}

/// Cron results, and when the next one is due.
#[derive(Debug, Clone)]
pub struct CronPage {
    /// The results, oldest first.
    pub edges: Vec<CronEdge>,
    /// What the unit says about the next one.
    pub due: Due,
}

/// Header of answers to `GET /cron/{process}` (an extension): when the next cron message is due, in milliseconds, or
/// `never`. Absent when the unit cannot tell, as with crons that wait for blocks.
const CRON_NEXT: &str = "cron-next";

fn due(response: &Response) -> Due {
    let text = response.headers().get(CRON_NEXT).and_then(|value| value.to_str().ok());
    match text {
        Some("never") => Due::Never,
        Some(text) => text.parse().map_or(Due::Unknown, |at| Due::At(Timestamp(at))),
        None => Due::Unknown,
    }
}

impl Compute {
    /// The unit at `url`; an attempt takes at most `timeout`, and answers have at most `max_result_bytes`.
    pub fn new(http: Http, url: Url, timeout: Duration, max_result_bytes: usize) -> Self {
        Self { http, url, timeout, max_result_bytes }
    }

    /// The result of a message, assignment or process.
    pub async fn result(&self, message: MessageId, process: ProcessId) -> Result<Pulled, PeerError> {
        let url = join(&self.url, &format!("/result/{message}?process-id={process}&no-busy=1"))?;
        let response = self.get("result", &url).await?;
        if response.status() == 202 {
            return Ok(Pulled::NotYet);
        }
        Ok(Pulled::Result(self.json(&url, response).await?))
    }

    /// The cursor of a process's newest result, `None` when it has none.
    pub async fn newest_cursor(&self, process: ProcessId) -> Result<Option<String>, PeerError> {
        let url = join(&self.url, &format!("/results/{process}?sort=DESC&limit=1&processId={process}"))?;
        Ok(self.page("results", url, 1).await?.edges.into_iter().next().map(|edge| edge.cursor))
    }

    /// At most `limit` cron results after `cursor`, oldest first; asking makes the unit evaluate what is due.
    pub async fn cron(&self, process: ProcessId, cursor: Option<&str>, limit: usize) -> Result<CronPage, PeerError> {
        self.page("cron", self.cron_url(process, cursor, limit)?, limit).await
    }

    fn cron_url(&self, process: ProcessId, cursor: Option<&str>, limit: usize) -> Result<Url, PeerError> {
        let mut url = join(&self.url, &format!("/cron/{process}"))?;
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("from", cursor);
        }
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        Ok(url)
    }

    /// The cursor of the first cron result after `cursor`, however large that result is; `None` when there is none.
    pub async fn skim_cron(&self, process: ProcessId, cursor: Option<&str>) -> Result<Option<String>, PeerError> {
        let url = self.cron_url(process, cursor, 1)?;
        let mut response = self.get("skim-cron", &url).await?;
        if !response.status().is_success() {
            self.http.body(response, 0).await?;
            return Ok(None);
        }
        let (mut skim, mut read) = (Skim::default(), 0_u64);
        let failed = |error: reqwest::Error| PeerError::Network {
            url: url.to_string(),
            reason: error.without_url().to_string(),
        };
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if let Some(cursor) = skim.feed(&chunk) {
                return Ok(Some(cursor));
            }
            read += chunk.len() as u64;
            if read > MAX_SKIMMED_BYTES {
                let limit_bytes = usize::try_from(MAX_SKIMMED_BYTES).unwrap_or(usize::MAX);
                return Err(PeerError::TooLarge { url: url.to_string(), limit_bytes });
            }
        }
        Ok(None)
    }

    async fn get(&self, operation: &'static str, url: &Url) -> Result<Response, PeerError> {
        self.http.send(operation, Method::GET, url.clone(), Redirects::Read, self.timeout, |it| it).await
    }

    async fn json(&self, url: &Url, response: Response) -> Result<JsonText, PeerError> {
        let body = self.http.body(response, self.max_result_bytes).await?;
        JsonText::parse(&body).map_err(|error| malformed(url, &error))
    }

    /// A page of at most `limit` results. What a unit sends beyond them is not looked at: it comes again after the last of them.
    async fn page(&self, operation: &'static str, url: Url, limit: usize) -> Result<CronPage, PeerError> {
        let response = self.get(operation, &url).await?;
        let due = due(&response);
        let page = self.json(&url, response).await?;
        let edges = page.json().member("edges").and_then(|edges| edges.items(limit));
        let (edges, _) = edges.ok_or_else(|| malformed(&url, &"a page needs an array `edges`"))?;
        let edges = edges.into_iter().map(|edge| {
            let [cursor, node] = edge.members(["cursor", "node"]);
            let cursor = cursor.and_then(Json::string);
            let cursor = cursor.ok_or_else(|| malformed(&url, &"an edge of a page needs a text `cursor`"))?;
            Ok(CronEdge { cursor, node: node.map(Json::to_text).unwrap_or_default(), too_large: None })
        });
        Ok(CronPage { edges: edges.collect::<Result<_, _>>()?, due })
    }
}
