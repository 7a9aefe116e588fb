//! Calls to the compute unit (spec 05 §2; spec 04 §9, §13).

use std::time::Duration;

use holon_protocol::{MessageId, ProcessId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{Http, PeerError, Redirects, body, join, parse};

/// Largest result read, in bytes.
pub const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// Cron results asked for at a time.
pub const CRON_PAGE: usize = 50;

/// The compute unit. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Compute {
    http: Http,
    url: Url,
    timeout: Duration,
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

#[derive(Deserialize)]
struct CronPage {
    edges: Vec<CronEdge>,
}

impl Compute {
    /// The unit at `url`; an attempt takes at most `timeout`.
    pub fn new(http: Http, url: Url, timeout: Duration) -> Self {
        Self { http, url, timeout }
    }

    /// The result of a message, assignment or process.
    pub async fn result(&self, message: MessageId, process: ProcessId) -> Result<Pulled, PeerError> {
        let url = join(&self.url, &format!("/result/{message}?process-id={process}&no-busy=1"))?;
        let response = self.http.send(Method::GET, url.clone(), Redirects::Read, self.timeout, |it| it).await?;
        if response.status() == 202 {
            return Ok(Pulled::NotYet);
        }
        Ok(Pulled::Result(parse(&url, &body(response, MAX_RESULT_BYTES).await?)?))
    }

    /// The cursor of a process's newest result, `None` when it has none.
    pub async fn newest_cursor(&self, process: ProcessId) -> Result<Option<String>, PeerError> {
        let url = join(&self.url, &format!("/results/{process}?sort=DESC&limit=1&processId={process}"))?;
        Ok(self.page(url).await?.into_iter().next().map(|edge| edge.cursor))
    }

    /// Cron results after `cursor`, oldest first; asking makes the unit evaluate what is due.
    pub async fn cron(&self, process: ProcessId, cursor: Option<&str>) -> Result<Vec<CronEdge>, PeerError> {
        let mut url = join(&self.url, &format!("/cron/{process}"))?;
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("from", cursor).append_pair("limit", &CRON_PAGE.to_string());
        }
        self.page(url).await
    }

    async fn page(&self, url: Url) -> Result<Vec<CronEdge>, PeerError> {
        let response = self.http.send(Method::GET, url.clone(), Redirects::Read, self.timeout, |it| it).await?;
        let page: CronPage = parse(&url, &body(response, MAX_RESULT_BYTES).await?)?;
        Ok(page.edges)
    }
}
