//! Calls to the compute unit (spec 05 §2; spec 04 §9, §13).

use std::time::Duration;

use holon_protocol::{MessageId, ProcessId, Timestamp};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{Http, PeerError, Redirects, join, parse};
use crate::cron::Due;

/// Largest result, or page of cron results, that is read when the operator does not say, in bytes.
pub const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;
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
    Result(Value),
    /// The unit is still evaluating.
    NotYet,
}

/// A cron result and where to continue after it.
#[derive(Debug, Clone, Deserialize)]
pub struct CronEdge {
    /// Where to continue.
    pub cursor: String,
    /// The result.
    pub node: Value,
}

/// Cron results, and when the next one is due.
#[derive(Debug, Clone)]
pub struct CronPage {
    /// The results, oldest first.
    pub edges: Vec<CronEdge>,
    /// What the unit says about the next one.
    pub due: Due,
}

#[derive(Deserialize)]
struct Page {
    edges: Vec<CronEdge>,
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
        let response = self.http.send(Method::GET, url.clone(), Redirects::Read, self.timeout, |it| it).await?;
        if response.status() == 202 {
            return Ok(Pulled::NotYet);
        }
        Ok(Pulled::Result(parse(&url, &self.http.body(response, self.max_result_bytes).await?)?))
    }

    /// The cursor of a process's newest result, `None` when it has none.
    pub async fn newest_cursor(&self, process: ProcessId) -> Result<Option<String>, PeerError> {
        let url = join(&self.url, &format!("/results/{process}?sort=DESC&limit=1&processId={process}"))?;
        Ok(self.page(url).await?.edges.into_iter().next().map(|edge| edge.cursor))
    }

    /// At most `limit` cron results after `cursor`, oldest first; asking makes the unit evaluate what is due.
    pub async fn cron(&self, process: ProcessId, cursor: Option<&str>, limit: usize) -> Result<CronPage, PeerError> {
        let mut url = join(&self.url, &format!("/cron/{process}"))?;
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("from", cursor);
        }
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        self.page(url).await
    }

    async fn page(&self, url: Url) -> Result<CronPage, PeerError> {
        let response = self.http.send(Method::GET, url.clone(), Redirects::Read, self.timeout, |it| it).await?;
        let due = due(&response);
        let Page { edges } = parse(&url, &self.http.body(response, self.max_result_bytes).await?)?;
        Ok(CronPage { edges, due })
    }
}
