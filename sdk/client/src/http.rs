//! One HTTP exchange with a unit: limits, statuses and error texts in one place.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{Error, MAX_ANSWER_TEXT_CHARS, Unit};
use crate::retry::Retry;

/// Largest answer read from a unit, in bytes.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Most redirects followed by a read.
const MAX_REDIRECTS: usize = 5;
/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to units. Reads follow redirects (routers answer with them); writes never do.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    reads: Client,
    writes: Client,
    retry: Retry,
}

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Body {
    Nothing,
    /// Nothing, on behalf of the operator.
    Token(String),
    Item(Bytes),
    Question(Question),
}

/// A dry run.
#[derive(Clone)]
pub(crate) struct Question {
    /// The message, as JSON.
    pub(crate) json: String,
    /// How old the state may be, where that matters.
    pub(crate) max_age: Option<Duration>,
}

/// Header that says how old the state of a dry run may be, in milliseconds.
const MAX_AGE: &str = "x-max-age";

impl Http {
    pub(crate) fn new(retry: Retry) -> Result<Self, Error> {
        let client = |redirects| {
            Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(redirects)
                .user_agent(concat!("holon-client/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| Error::Url { url: "-".into(), reason: error.to_string() })
        };
        Ok(Self {
            reads: client(reqwest::redirect::Policy::limited(MAX_REDIRECTS))?,
            writes: client(reqwest::redirect::Policy::none())?,
            retry,
        })
    }

    /// A read, repeated as the caller wishes. The status may be any success, also 202.
    pub(crate) async fn read(
        &self,
        unit: Unit,
        method: Method,
        url: Url,
        body: Body,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        self.patiently(&self.reads, unit, method, url, body, limit).await
    }

    /// A read whose answer may be of any size; the time limit is for its beginning.
    pub(crate) async fn stream(&self, unit: Unit, url: Url, limit: Duration) -> Result<Response, Error> {
        let begun = tokio::time::timeout(limit, self.reads.get(url.clone()).send()).await;
        let begun = begun.map_err(|_| Error::Timeout { unit, url: url.clone(), limit })?;
        let response = begun.map_err(|source| Error::Unreachable { unit, url: url.clone(), source })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = read_body(response, unit).await?.map_err(|source| Error::Unreachable { unit, url, source })?;
        Err(Error::Refused { unit, status: status.as_u16(), message: error_text(status, &bytes) })
    }

    /// A request of the operator, with the operator's token if there is one: never redirected.
    pub(crate) async fn operate(
        &self,
        unit: Unit,
        method: Method,
        url: Url,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        let body = token.map_or(Body::Nothing, |token| Body::Token(token.to_owned()));
        self.write(unit, method, url, body, limit).await
    }

    /// A write: never redirected, and repeated only if it is a signed item, which counts once.
    pub(crate) async fn write(
        &self,
        unit: Unit,
        method: Method,
        url: Url,
        body: Body,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        match body {
            Body::Item(_) => self.patiently(&self.writes, unit, method, url, body, limit).await,
            body => exchange(&self.writes, unit, method, url, body, limit).await.map_err(|failed| failed.error),
        }
    }

    async fn patiently(
        &self,
        client: &Client,
        unit: Unit,
        method: Method,
        url: Url,
        body: Body,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        let mut made = 0;
        loop {
            let attempt = exchange(client, unit, method.clone(), url.clone(), body.clone(), limit).await;
            let Failed { error, after } = match attempt {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            made += 1;
            match self.retry.pause(made, after).filter(|_| error.retryable()) {
                Some(pause) => {
                    tracing::debug!(%error, made, ?pause, "trying again");
                    tokio::time::sleep(pause).await;
                }
                None => return Err(error),
            }
        }
    }
}

/// An attempt that failed.
struct Failed {
    error: Error,
    /// How long the unit asks to wait.
    after: Option<Duration>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, after: None }
    }
}

async fn exchange(
    client: &Client,
    unit: Unit,
    method: Method,
    url: Url,
    body: Body,
    limit: Duration,
) -> Result<(StatusCode, Bytes), Failed> {
    let failed = |source: reqwest::Error| match source.is_timeout() && !source.is_connect() {
        true => Error::Timeout { unit, url: url.clone(), limit },
        false => Error::Unreachable { unit, url: url.clone(), source },
    };
    let request = client.request(method, url.clone()).timeout(limit).header(ACCEPT, "application/json");
    let request = match body {
        Body::Nothing => request,
        Body::Token(token) => request.bearer_auth(token),
        Body::Item(item) => request.header(CONTENT_TYPE, "application/octet-stream").body(item),
        Body::Question(Question { json, max_age }) => {
            let request = request.header(CONTENT_TYPE, "application/json").body(json);
            max_age.into_iter().fold(request, |request, age| request.header(MAX_AGE, age.as_millis().to_string()))
        }
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
        return Err(Error::Redirected { unit, location: location.to_owned() }.into());
    }
    // The form with a date is for people.
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let bytes = read_body(response, unit).await?.map_err(failed)?;
    match status.is_success() {
        true => Ok((status, bytes)),
        false => Err(Failed {
            error: Error::Refused { unit, status: status.as_u16(), message: error_text(status, &bytes) },
            after: after.map(Duration::from_secs),
        }),
    }
}

async fn read_body(mut response: Response, unit: Unit) -> Result<Result<Bytes, reqwest::Error>, Error> {
    let mut bytes = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > MAX_ANSWER_BYTES => {
                return Err(Error::TooLarge { unit, limit_bytes: MAX_ANSWER_BYTES });
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(Ok(bytes.freeze())),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Units answer `{"error": "…"}`; proxies in front of them answer anything.
fn error_text(status: StatusCode, body: &[u8]) -> String {
    let text = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("error").and_then(|error| error.as_str().map(str::to_owned)))
        .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    match text.is_empty() {
        true => status.canonical_reason().unwrap_or("no reason given").to_owned(),
        false => text.chars().take(MAX_ANSWER_TEXT_CHARS).collect(),
    }
}

/// Reads the JSON of an answer.
pub(crate) fn json<T: DeserializeOwned>(unit: Unit, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Answer { unit, reason: error.to_string() })
}

/// `base` followed by path segments, each escaped. A base with or without trailing slash gives the same URL.
pub(crate) fn join(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Checks that `url` can be the base of requests.
pub(crate) fn check_base(url: Url) -> Result<Url, Error> {
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        _ => Err(Error::Url { url: url.to_string(), reason: "http://… or https://… is needed".into() }),
    }
}
