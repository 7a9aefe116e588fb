//! Calls to other units: one request each, with bounded answers, no hidden retries. The queue decides about repeating.
//!
//! Hosts the operator configured are trusted. Every other host is named by strangers (a Scheduler-Location anybody can
//! publish, a redirect): it is called through a client that refuses addresses inside (spec 04 §17).

mod compute;
mod crowd;
mod foreign;
mod holder;
mod scheduler;
mod skim;
mod tracing_context;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use holon_arweave::UrlPolicy;
use holon_unit::durations::Sent;
use reqwest::header::LOCATION;
use reqwest::{Client, Method, RequestBuilder, Response};
use url::{Origin, Url};

use crate::guards::Guards;

pub use compute::{CRON_PAGE, Compute, CronEdge, CronPage, MAX_RESULT_BYTES, Pulled};
pub use crowd::{Crowd, Place, less};
use foreign::{Foreign, Share};
pub use holder::{holder, host};
pub use scheduler::{Receipt, Schedulers};
pub use tracing_context::within_trace;

/// Most redirects followed for one request.
pub const MAX_REDIRECTS: usize = 5;
/// Time to establish a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most characters of a foreign answer that an error repeats.
pub const MAX_QUOTED_CHARACTERS: usize = 1_000;
/// Most origins of published schedulers remembered as allowed redirect targets; the set starts over when it is full.
pub const MAX_PUBLISHED_ORIGINS: usize = 10_000;

/// A peer did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// It answered with a status that is not a success.
    #[error("{status}: {body}")]
    Status {
        /// HTTP status.
        status: u16,
        /// Start of the answer.
        body: String,
    },
    /// No connection came about: nothing was sent.
    #[error("{url} cannot be reached: {reason}")]
    Unreached {
        /// What was to be asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// No answer arrived: the request may or may not have been carried out.
    #[error("{url} did not answer: {reason}")]
    Network {
        /// What was asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// The answer is not what the interface says.
    #[error("{url} answered with something unexpected: {reason}")]
    Malformed {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The answer is larger than is read.
    #[error("{url} answered with more than {limit_bytes} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// How much is read.
        limit_bytes: usize,
    },
    /// Strangers answer with so much that there is no room for more of it now.
    #[error("{url} answers with more than there is room for beside what other strangers answer")]
    Crowded {
        /// What was asked.
        url: String,
    },
    /// The URL, or where it redirects, must not be called.
    #[error("{url} is refused: {reason}")]
    Forbidden {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
}

impl PeerError {
    /// What went wrong, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Unreached { .. } => "unreached",
            Self::Network { .. } => "network",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too-large",
            Self::Crowded { .. } => "crowded",
            Self::Forbidden { .. } => "forbidden",
        }
    }

    /// Whether a scheduler refused the request for good. Other statuses, 404 for example, rather say that something is
    /// set up wrongly between us, and must not cost anybody a message.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 409 | 410 | 413 | 415 | 422, .. })
    }

    /// Whether a compute unit says that it will never have this result (spec 05 §4.3, §4.5), or has one that is never read.
    pub fn is_final_result(&self) -> bool {
        matches!(self, Self::Status { status: 403 | 413 | 422, .. } | Self::TooLarge { .. })
    }

    /// Whether the peer could not be asked, has too much to do or is out of order: not the fault of what it was asked for.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreached { .. } | Self::Network { .. } | Self::Status { status: 408 | 429 | 500.., .. })
    }

    /// Whether the peer takes no more for now: it did not carry the request out.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Status { status: 429, .. })
    }

    /// Whether nothing was sent: the peer was not reached, or may not be. After a redirect of a write that is not so.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unreached { .. } | Self::Forbidden { .. })
    }

    /// Whether the peer may have carried the request out although this error came back.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500,
            Self::Network { .. } | Self::Malformed { .. } | Self::TooLarge { .. } | Self::Crowded { .. } => true,
            Self::Unreached { .. } | Self::Forbidden { .. } => false,
        }
    }
}

/// The HTTP clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http(Arc<Clients>);

#[derive(Debug)]
struct Clients {
    policy: UrlPolicy,
    guards: Guards,
    sent: Sent,
    trusted: Client,
    guarded: Client,
    configured: HashSet<Origin>,
    published: Mutex<HashSet<Origin>>,
    foreign: Foreign,
}

/// An answer, and the room that it takes.
struct Body {
    bytes: Bytes,
    _share: Option<Share>,
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Which redirects of a request are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirects {
    /// 307 and 308, with the body, to configured or published schedulers.
    Replay,
    /// 301, 302, 307 and 308 of a read, to any allowed address.
    Read,
}

impl Http {
    /// Clients that trust the origins of `configured` URLs, and count in `sent` how long requests take.
    pub fn new(
        policy: UrlPolicy,
        guards: Guards,
        sent: Sent,
        configured: impl IntoIterator<Item = Url>,
    ) -> Result<Self, PeerError> {
        let failed = |error: reqwest::Error| PeerError::Malformed { url: String::new(), reason: error.to_string() };
        let trusted = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(failed)?;
        let guarded = policy.client().connect_timeout(CONNECT_TIMEOUT).build().map_err(failed)?;
        let configured = configured.into_iter().map(|url| url.origin()).collect();
        let (published, foreign) = (Mutex::default(), Foreign::default());
        Ok(Self(Arc::new(Clients { policy, guards, sent, trusted, guarded, configured, published, foreign })))
    }

    /// Remembers the origin of a scheduler that was located: requests may be redirected there.
    pub fn publish(&self, url: &Url) {
        let mut published = self.0.published.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = url.origin();
        if !published.contains(&origin) {
            if published.len() >= MAX_PUBLISHED_ORIGINS {
                published.clear();
            }
            published.insert(origin);
        }
    }

    /// How long requests take.
    pub fn sent(&self) -> &Sent {
        &self.0.sent
    }

    /// The room for what strangers answer.
    #[cfg(test)]
    fn foreign(&self) -> &Foreign {
        &self.0.foreign
    }

    /// Whether the operator named the origin of this URL.
    pub fn is_configured(&self, url: &Url) -> bool {
        self.0.configured.contains(&url.origin())
    }

    fn is_scheduler(&self, url: &Url) -> bool {
        let origin = url.origin();
        self.0.configured.contains(&origin)
            || self.0.published.lock().unwrap_or_else(PoisonError::into_inner).contains(&origin)
    }

    fn client(&self, url: &Url) -> Result<&Client, PeerError> {
        if self.0.configured.contains(&url.origin()) {
            return Ok(&self.0.trusted);
        }
        self.0
            .policy
            .check(url)
            .map_err(|error| PeerError::Forbidden { url: url.to_string(), reason: error.to_string() })?;
        Ok(&self.0.guarded)
    }

    /// Sends a request, following redirects; any other answer comes back. `operation` says what it is for.
    async fn send(
        &self,
        operation: &'static str,
        method: Method,
        url: Url,
        redirects: Redirects,
        timeout: Duration,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, PeerError> {
        let begun = Instant::now();
        let answer = self.answered(method.clone(), url, redirects, timeout, prepare).await;
        let outcome = answer.as_ref().map(|answer| answer.status().as_u16()).map_err(PeerError::kind);
        self.0.sent.observe(method.as_str(), operation, outcome, begun.elapsed());
        answer
    }

    async fn answered(
        &self,
        method: Method,
        url: Url,
        redirects: Redirects,
        timeout: Duration,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, PeerError> {
        let start = url.origin();
        let mut url = url;
        // What a redirect repeats has been sent: whoever redirected has all of it, and may have carried it out.
        let mut sent = false;
        let hops = if self.0.guards.hops { MAX_REDIRECTS } else { usize::MAX };
        for _ in 0..=hops {
            let client = match self.client(&url) {
                Err(error) if sent => return Err(astray(&url, &error)),
                client => client?,
            };
            let request = client.request(method.clone(), url.clone()).timeout(timeout);
            let request = prepare(tracing_context::with_header(request));
            let response = request.send().await.map_err(|error| {
                let unreached = error.is_connect() && !sent;
                let (url, reason) = (url.to_string(), chain(&error.without_url()));
                if unreached { PeerError::Unreached { url, reason } } else { PeerError::Network { url, reason } }
            })?;
            let status = response.status().as_u16();
            let followed = matches!((redirects, status), (_, 307 | 308) | (Redirects::Read, 301 | 302));
            if !followed {
                return Ok(response);
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok()).ok_or_else(|| PeerError::Malformed {
                url: url.to_string(),
                reason: "it redirects without a usable Location".into(),
            })?;
            let allowed = match redirects {
                Redirects::Replay => target.origin() == start || self.is_scheduler(&target) || !self.0.guards.redirects,
                Redirects::Read => true,
            };
            sent |= redirects == Redirects::Replay;
            if !allowed || !matches!(target.scheme(), "http" | "https") {
                let forbidden = PeerError::Forbidden {
                    url: target.to_string(),
                    reason: format!("{url} redirects there, which is not the origin of a known scheduler"),
                };
                return Err(if sent { astray(&url, &forbidden) } else { forbidden });
            }
            url = target;
        }
        Err(PeerError::Malformed { url: url.to_string(), reason: format!("more than {MAX_REDIRECTS} redirects") })
    }
}

impl Http {
    /// The body of a successful answer, at most `limit` bytes, and as many as there is room for if a stranger answers.
    async fn body(&self, response: Response, limit: usize) -> Result<Body, PeerError> {
        let Guards { quotes, answers, .. } = self.0.guards;
        let status = response.status();
        let guarded = answers && !self.is_configured(response.url());
        let mut share = guarded.then(|| self.0.foreign.share(response.url()));
        let url = response.url().to_string();
        if !status.is_success() {
            let most = if quotes { MAX_QUOTED_CHARACTERS } else { MAX_RESULT_BYTES };
            let body = read(response, most * 4, false, None).await.unwrap_or_default();
            let body = String::from_utf8_lossy(&body).trim().chars().take(most).collect();
            return Err(PeerError::Status { status: status.as_u16(), body });
        }
        let limit = if answers { limit } else { usize::MAX };
        match read(response, limit, true, share.as_mut()).await {
            Ok(bytes) => Ok(Body { bytes, _share: share }),
            Err(ReadError::Crowded) => Err(PeerError::Crowded { url }),
            Err(ReadError::TooLarge) => Err(PeerError::TooLarge { url, limit_bytes: limit }),
            Err(ReadError::Network(reason)) => Err(PeerError::Network { url, reason }),
        }
    }
}

/// A request that was sent is to be repeated where it may not be. Where that is, clients are not told.
fn astray(url: &Url, forbidden: &PeerError) -> PeerError {
    tracing::debug!(%forbidden, "a redirect is not followed");
    PeerError::Malformed { url: url.to_string(), reason: "it redirects to an address that is refused".into() }
}

/// An answer was not read to its end.
enum ReadError {
    TooLarge,
    Crowded,
    Network(String),
}

/// Reads at most `limit` bytes; more is an error when the answer must be `whole`, else they are left.
async fn read(
    mut response: Response,
    limit: usize,
    whole: bool,
    mut share: Option<&mut Share>,
) -> Result<Bytes, ReadError> {
    let mut body = BytesMut::new();
    let failed = |error: reqwest::Error| ReadError::Network(chain(&error.without_url()));
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if share.as_mut().is_some_and(|share| !share.grow(chunk.len())) {
            return Err(ReadError::Crowded);
        }
        let room = limit - body.len();
        if chunk.len() > room {
            if whole {
                return Err(ReadError::TooLarge);
            }
            body.extend_from_slice(&chunk[..room]);
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn parse<T: serde::de::DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, PeerError> {
    serde_json::from_slice(body).map_err(|error| malformed(url, &error))
}

fn malformed(url: &Url, reason: &dyn std::fmt::Display) -> PeerError {
    PeerError::Malformed { url: url.to_string(), reason: reason.to_string() }
}

/// `base` without trailing slashes, and `path`, which starts with a slash or a question mark.
fn join(base: &Url, path: &str) -> Result<Url, PeerError> {
    let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|error| PeerError::Malformed { url: text, reason: error.to_string() })
}

/// An error with its causes: reqwest's own text does not say why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
