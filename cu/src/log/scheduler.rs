//! Reading from scheduler units (spec 02 §6 – §7, spec 05 §4.4).
//!
//! Every answer is bounded and every request retried with doubling pauses. Large answers are parsed on a blocking
//! thread, so that a page of a busy process does not hold up the others.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use holon_arweave::UrlPolicy;
use holon_protocol::{BlockHeight, MessageId, Nonce, ProcessId, Timestamp, wire};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::Logged;
use crate::error::Error;

/// Most bytes of an answer; a page that is larger is asked for again in smaller pieces.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Answers above this size are parsed on a blocking thread.
const PARSE_INLINE_BYTES: usize = 128 << 10;
/// Most bytes of a foreign error body that an error repeats.
const MAX_QUOTED_BYTES: usize = 1024;
/// Asks for everything that signatures cover. Schedulers that do not know `all` show the anchors of assignments in pages.
const SHOW_ANCHOR: (&str, &str) = ("show-anchor", "all");
/// Largest time and nonce that schedulers understand: their numbers have a sign.
const MAX_BOUND: u64 = i64::MAX as u64;
/// Longest time for one answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest pause between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// A client of scheduler units; cheap to clone.
#[derive(Debug, Clone)]
pub struct Scheduler {
    guarded: reqwest::Client,
    /// URLs the operator configured, which may be anywhere, each with a client that trusts this one.
    operator: Vec<(Url, reqwest::Client)>,
    retries: u32,
    backoff: Duration,
    page_size: u32,
}

/// Where a message stands in the log of a process.
#[derive(Debug, Clone)]
pub struct Position {
    /// The process that the assignment names.
    pub process: ProcessId,
    /// Timestamp of the assignment.
    pub timestamp: Timestamp,
    /// Nonce of the assignment.
    pub nonce: Nonce,
    /// The whole entry; old schedulers do not send it.
    pub entry: Option<Logged>,
}

/// A part of a log: without the lower bound from the very beginning, the process's own entry included; the upper bound
/// belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// By time.
    Times {
        /// After this.
        from: Option<Timestamp>,
        /// To this.
        to: Option<Timestamp>,
    },
    /// By nonce.
    Nonces {
        /// After this.
        from: Option<Nonce>,
        /// To this.
        to: Option<Nonce>,
    },
}

/// A scheduler's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Its time.
    pub timestamp: Timestamp,
    /// The height it last saw.
    pub block_height: BlockHeight,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PositionAnswer {
    Entry(Box<wire::Entry>),
    Old {
        process_id: ProcessId,
        timestamp: Loose,
        nonce: Loose,
    },
    /// A page: the id is that of another process.
    Log {
        #[serde(rename = "page_info")]
        _page: wire::PageInfo,
    },
}

#[derive(Deserialize)]
struct NowAnswer {
    timestamp: Loose,
    block_height: Loose,
}

/// A number, or its decimal text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(u64),
    Text(String),
}

impl Loose {
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Scheduler {
    /// A client that connects only where `policy` allows, and to what the operator configured. What redirects somewhere is
    /// followed only if the operator configured it.
    pub fn new(
        policy: UrlPolicy,
        operator: Vec<Url>,
        retries: u32,
        backoff: Duration,
        page_size: u32,
    ) -> Result<Self, reqwest::Error> {
        let guarded = policy.client().timeout(REQUEST_TIMEOUT).build()?;
        let trusting = |url: Url| {
            let client = policy.trusting_client(&url).timeout(REQUEST_TIMEOUT).build()?;
            Ok((url, client))
        };
        let operator = operator.into_iter().map(trusting).collect::<Result<_, reqwest::Error>>()?;
        Ok(Self { guarded, operator, retries, backoff, page_size })
    }

    /// `GET /{message}?process-id={process}`.
    pub async fn position(&self, base: &Url, process: ProcessId, message: MessageId) -> Result<Position, Error> {
        let (of, asked) = (process, message);
        let (process, message) = (process.to_string(), message.to_string());
        let answer = self.get("message", base, &[&message], &[("process-id", &process), SHOW_ANCHOR]).await?;
        match answer {
            PositionAnswer::Entry(entry) => {
                let assignment = holon_protocol::assignment::Assignment::from_tags(&entry.assignment.tags)
                    .map_err(|error| unreadable("message", error))?;
                Ok(Position {
                    process: assignment.process,
                    timestamp: assignment.timestamp,
                    nonce: assignment.nonce,
                    entry: Some(Logged::from(*entry)),
                })
            }
            PositionAnswer::Old { process_id, timestamp, nonce } => match (timestamp.number(), nonce.number()) {
                (Some(timestamp), Some(nonce)) => Ok(Position {
                    process: process_id,
                    timestamp: Timestamp(timestamp),
                    nonce: Nonce(nonce),
                    entry: None,
                }),
                _ => Err(unreadable("message", "timestamp and nonce must be numbers")),
            },
            PositionAnswer::Log { .. } => Err(Error::OtherProcess { asked, process: of }),
        }
    }

    /// `GET /processes/{process}`.
    pub async fn process(&self, base: &Url, process: ProcessId) -> Result<wire::Process, Error> {
        self.get("process", base, &["processes", &process.to_string()], &[SHOW_ANCHOR]).await
    }

    /// The scheduler the operator configured that keeps `process`, asked once each: it knows a process before any
    /// gateway does.
    pub async fn keeper(&self, process: ProcessId) -> Option<Url> {
        for (base, _) in &self.operator {
            let once = Self { retries: 0, ..self.clone() };
            match once.process(base, process).await {
                Ok(record) if record.process_id == process => return Some(base.clone()),
                Ok(_) => tracing::warn!(%base, %process, "a configured scheduler answered about another process"),
                Err(error) => tracing::debug!(%base, %process, %error, "a configured scheduler does not keep it"),
            }
        }
        None
    }

    /// `GET /timestamp?process-id={process}`.
    pub async fn now(&self, base: &Url, process: ProcessId) -> Result<Now, Error> {
        let answer: NowAnswer = self.get("time", base, &["timestamp"], &[("process-id", &process.to_string())]).await?;
        match (answer.timestamp.number(), answer.block_height.number()) {
            (Some(timestamp), Some(height)) => {
                Ok(Now { timestamp: Timestamp(timestamp), block_height: BlockHeight(height) })
            }
            _ => Err(unreadable("time", "timestamp and block_height must be numbers")),
        }
    }

    /// A page of the log: the first entries of `span`, at most `limit`.
    pub async fn page(&self, base: &Url, process: ProcessId, span: Span, limit: u32) -> Result<wire::Page, Error> {
        let process = process.to_string();
        let bound = |number: u64| number.min(MAX_BOUND).to_string();
        let bounds = match span {
            Span::Times { from, to } => [from.map(|from| ("from", bound(from.0))), to.map(|to| ("to", bound(to.0)))],
            Span::Nonces { from, to } => {
                [from.map(|from| ("from-nonce", bound(from.0))), to.map(|to| ("to-nonce", bound(to.0)))]
            }
        };
        let mut limit = limit.min(self.page_size);
        loop {
            let limit_text = limit.to_string();
            let mut query = vec![("process-id", process.as_str())];
            query.extend(bounds.iter().flatten().map(|(name, value)| (*name, value.as_str())));
            query.push(("limit", &limit_text));
            query.push(SHOW_ANCHOR);
            match self.get("messages", base, &[&process], &query).await {
                Err(Error::SchedulerUnreadable { reason, .. }) if reason == TOO_LARGE && limit > 1 => limit /= 8,
                other => return other,
            }
            limit = limit.max(1);
        }
    }

    async fn get<T: DeserializeOwned + Send + 'static>(
        &self,
        what: &'static str,
        base: &Url,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        let mut url = base.clone();
        url.path_segments_mut()
            .map_err(|()| unreadable(what, "its URL cannot have paths"))?
            .pop_if_empty()
            .extend(path);
        url.query_pairs_mut().clear().extend_pairs(query);
        if query.is_empty() {
            url.set_query(None);
        }
        let trusting = self.operator.iter().find(|(url, _)| url == base);
        let client = trusting.map_or(&self.guarded, |(_, client)| client);
        let mut pause = self.backoff;
        let mut tries_left = self.retries;
        loop {
            let error = match fetch(client, what, url.clone()).await {
                Ok(body) => return parse(what, body).await,
                Err(error) => error,
            };
            let large = matches!(&error, Error::SchedulerUnreadable { reason, .. } if reason == TOO_LARGE);
            if tries_left == 0 || large {
                return Err(error);
            }
            tries_left -= 1;
            tracing::debug!(%url, %error, "scheduler did not answer; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
    }
}

const TOO_LARGE: &str = "the answer is too large";

fn unreadable(what: &'static str, reason: impl ToString) -> Error {
    Error::SchedulerUnreadable { what, reason: reason.to_string() }
}

async fn fetch(client: &reqwest::Client, what: &'static str, url: Url) -> Result<Bytes, Error> {
    let mut response = client.get(url).send().await.map_err(|error| unreadable(what, error.without_url()))?;
    let status = response.status();
    let limit = if status.is_success() { MAX_ANSWER_BYTES } else { MAX_QUOTED_BYTES };
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreadable(what, error.without_url()))? {
        if body.len() + chunk.len() > limit {
            if status.is_success() {
                return Err(unreadable(what, TOO_LARGE));
            }
            body.extend_from_slice(&chunk[..limit - body.len()]);
            break;
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(body.freeze());
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Err(Error::Scheduler { what, status: status.as_u16(), body })
}

async fn parse<T: DeserializeOwned + Send + 'static>(what: &'static str, body: Bytes) -> Result<T, Error> {
    let read = move |body: Bytes| serde_json::from_slice(&body).map_err(|error| unreadable(what, error));
    if body.len() <= PARSE_INLINE_BYTES {
        return read(body);
    }
    tokio::task::spawn_blocking(move || read(body)).await.map_err(|error| unreadable(what, error))?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server that gives every request the answer that `answer` makes of the port it listens on; and how many it has seen.
    async fn server(answer: impl Fn(u16) -> String + Send + 'static) -> (Url, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer(port).as_bytes()).await;
            }
        });
        (format!("http://127.0.0.1:{port}").parse().unwrap(), seen)
    }

    fn redirect(to: &str) -> String {
        format!("HTTP/1.1 307 x\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    fn scheduler(allow_private: bool, operator: &Url) -> Scheduler {
        Scheduler::new(UrlPolicy { allow_private }, vec![operator.clone()], 0, Duration::ZERO, 10).unwrap()
    }

    #[tokio::test]
    async fn a_configured_scheduler_redirects_only_to_where_anybody_may_and_not_for_ever() {
        let process = ProcessId::from_bytes([1; 32]);
        let now = "{\"timestamp\":\"5\",\"block_height\":\"000000000007\"}";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{now}", now.len());
        let (inside, reached) = server(move |_| answer.clone()).await;
        let target = inside.join("timestamp").unwrap();
        let (router, _) = server(move |_| redirect(target.as_str())).await;
        let error = scheduler(false, &router).now(&router, process).await.unwrap_err();
        assert!(matches!(error, Error::SchedulerUnreadable { .. }), "{error}");
        assert_eq!(reached.load(Ordering::Relaxed), 0, "the address inside was asked");
        // A network where everything is inside.
        assert_eq!(scheduler(true, &router).now(&router, process).await.unwrap().timestamp, Timestamp(5));
        assert_eq!(reached.load(Ordering::Relaxed), 1);
        let (circle, seen) = server(|port| redirect(&format!("http://127.0.0.1:{port}/timestamp"))).await;
        scheduler(false, &circle).now(&circle, process).await.unwrap_err();
        let seen = seen.load(Ordering::Relaxed);
        assert!((2..=7).contains(&seen), "{seen} requests");
    }
}
