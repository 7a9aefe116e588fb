//! Reading the log of a process from its scheduler unit.

use holon_protocol::wire::{Entry, Page, Process};
use holon_protocol::{Address, MessageId, Nonce, ProcessId, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::error::{Error, Unit};
use crate::http::{Body, check_base, join, json};
use crate::network::Network;

/// A scheduler unit, for reads.
#[derive(Debug, Clone)]
pub struct Scheduler {
    network: Network,
    url: Url,
}

/// A part of a log, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// Only entries after this position; from the process itself on when absent.
    pub after: Option<Nonce>,
    /// Only entries up to this position, itself included.
    pub to: Option<Nonce>,
    /// Most entries in the page; the scheduler's own limit (100) when absent.
    pub limit: Option<u32>,
}

impl Network {
    /// The scheduler that keeps `process`, found through the process's `Scheduler` tag and that wallet's
    /// `Scheduler-Location` on Arweave.
    pub async fn scheduler_of(&self, process: ProcessId) -> Result<Scheduler, Error> {
        let location =
            self.locator()?.by_process(process, None).await.map_err(|source| Error::Locate { process, source })?;
        self.scheduler_at(location.url)
    }

    /// The scheduler at a known URL.
    ///
    /// # Errors
    /// [`Error::Url`] if it is not `http` or `https`.
    pub fn scheduler_at(&self, url: Url) -> Result<Scheduler, Error> {
        Ok(Scheduler { network: self.clone(), url: check_base(url)? })
    }
}

impl Scheduler {
    /// Where it is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The wallet it signs with: what goes into `Scheduler` tags.
    pub async fn address(&self) -> Result<Address, Error> {
        #[derive(Deserialize)]
        struct Root {
            address: Address,
        }
        Ok(self.read::<Root>(&[], &[]).await?.address)
    }

    /// Its clock.
    pub async fn timestamp(&self) -> Result<Timestamp, Error> {
        let answer: Value = self.read(&["timestamp"], &[]).await?;
        let member = answer.get("timestamp");
        member
            .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
            .map(Timestamp)
            .ok_or_else(|| Error::Answer { unit: Unit::Scheduler, reason: format!("no timestamp in {answer}") })
    }

    /// A process as the scheduler keeps it.
    pub async fn process(&self, process: ProcessId) -> Result<Process, Error> {
        self.read(&["processes", &process.to_string()], &[]).await
    }

    /// The log entry of a message or an assignment.
    pub async fn entry(&self, process: ProcessId, message: impl Into<MessageId>) -> Result<Entry, Error> {
        self.read(&[&message.into().to_string()], &[("process-id", process.to_string())]).await
    }

    /// The newest entry.
    pub async fn latest(&self, process: ProcessId) -> Result<Entry, Error> {
        self.read(&[&process.to_string(), "latest"], &[]).await
    }

    /// Entries in order. Continue with `after` set to the last edge's cursor.
    pub async fn log(&self, process: ProcessId, range: Range) -> Result<Page, Error> {
        // A nonce parameter must be there, or the scheduler pages by timestamp; -1 is the very beginning.
        let after = range.after.map_or_else(|| "-1".to_owned(), |nonce| nonce.to_string());
        let mut query = vec![("process-id", process.to_string()), ("from-nonce", after)];
        query.extend(range.to.map(|to| ("to-nonce", to.to_string())));
        query.extend(range.limit.map(|limit| ("limit", limit.to_string())));
        self.read(&[&process.to_string()], &query).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, Error> {
        let parts = self.network.parts();
        let mut url = join(&self.url, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let (_, answer) = parts.http.read(Unit::Scheduler, Method::GET, url, Body::Nothing, parts.timeout).await?;
        json(Unit::Scheduler, &answer)
    }
}
