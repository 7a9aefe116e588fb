//! One HTTP request with bounded answers, and the loop that repeats it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use holon_protocol::deep_hash::{BlobHash, BlobHasher};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};

use crate::Error;
use crate::error::quote;

/// Longest wait between two attempts; a larger `Retry-After` is cut to it.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Time to establish a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest error text read from an answer, in bytes.
pub const MAX_ERROR_BODY_BYTES: u64 = 16 * 1024;
/// Memory reserved at once on the word of a `Content-Length`, in bytes.
const MAX_RESERVED_BYTES: u64 = 16 * 1024 * 1024;

/// How often and how patiently a request is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts {
    pub most: u32,
    pub backoff: Duration,
}

impl Attempts {
    /// Runs `attempt` until it succeeds, fails for good, or has been tried often enough. `again` says which errors are
    /// worth another try.
    ///
    /// Not an `AsyncFnMut`: the compiler cannot show that the future of one is `Send`, and tasks await this.
    pub async fn run<T, F>(self, again: impl Fn(&Error) -> bool, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut wait = self.backoff;
        let mut made = 1;
        loop {
            match attempt().await {
                Err(error) if made < self.most && again(&error) => {
                    let pause = error.retry_after().unwrap_or(wait).min(MAX_BACKOFF);
                    tracing::debug!(%error, attempt = made, ?pause, "gateway read failed, trying again");
                    tokio::time::sleep(pause).await;
                    wait = wait.saturating_mul(2).min(MAX_BACKOFF);
                    made += 1;
                }
                result => return result,
            }
        }
    }
}

/// Sends a request; any status comes back.
pub(crate) async fn send(request: RequestBuilder, url: &str) -> Result<Response, Error> {
    request.send().await.map_err(|source| Error::Network { url: url.to_owned(), source: source.without_url() })
}

/// The body of a successful answer, at most `limit` bytes; other statuses become [`Error::Status`].
pub(crate) async fn body(response: Response, url: &str, limit: u64) -> Result<Bytes, Error> {
    let status = response.status();
    if status.is_success() {
        return read(response, url, limit).await;
    }
    Err(status_error(response, url).await)
}

/// The hash of the body of a successful answer, at most `limit` bytes; other statuses become [`Error::Status`].
pub(crate) async fn digest(mut response: Response, url: &str, limit: u64) -> Result<BlobHash, Error> {
    if !response.status().is_success() {
        return Err(status_error(response, url).await);
    }
    let too_large = || Error::TooLarge { url: url.to_owned(), limit };
    if content_length(response.headers()).is_some_and(|announced| announced > limit) {
        return Err(too_large());
    }
    let (mut hasher, mut length) = (BlobHasher::default(), 0_u64);
    let network = |source: reqwest::Error| Error::Network { url: url.to_owned(), source: source.without_url() };
    while let Some(piece) = response.chunk().await.map_err(network)? {
        length += piece.len() as u64;
        if length > limit {
            return Err(too_large());
        }
        hasher.update(&piece);
    }
    Ok(hasher.finish())
}

/// Bytes `start..end` of an answer that holds everything; no more than those are kept.
pub(crate) async fn cut(mut response: Response, url: &str, start: u64, end: u64) -> Result<Bytes, Error> {
    if !response.status().is_success() {
        return Err(status_error(response, url).await);
    }
    let (mut body, mut at) = (BytesMut::new(), 0_u64);
    while at < end {
        let network = |source: reqwest::Error| Error::Network { url: url.to_owned(), source: source.without_url() };
        let Some(chunk) = response.chunk().await.map_err(network)? else { break };
        let inside =
            |position: u64| usize::try_from(position.saturating_sub(at)).map_or(chunk.len(), |at| at.min(chunk.len()));
        body.extend_from_slice(&chunk[inside(start)..inside(end)]);
        at += chunk.len() as u64;
    }
    Ok(body.freeze())
}

/// The error an unsuccessful answer stands for.
pub(crate) async fn status_error(response: Response, url: &str) -> Error {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let body = match read_start(response, MAX_ERROR_BODY_BYTES).await {
        Ok(body) => quote(&body),
        Err(error) => format!("(no text: {error})"),
    };
    Error::Status { url: url.to_owned(), status, body, retry_after }
}

/// Reads a whole answer of at most `limit` bytes.
async fn read(mut response: Response, url: &str, limit: u64) -> Result<Bytes, Error> {
    let too_large = || Error::TooLarge { url: url.to_owned(), limit };
    let announced = content_length(response.headers()).unwrap_or(0);
    if announced > limit {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(usize::try_from(announced.min(MAX_RESERVED_BYTES)).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if (body.len() + chunk.len()) as u64 > limit => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(source) => return Err(Error::Network { url: url.to_owned(), source: source.without_url() }),
        }
    }
}

/// Reads at most about `limit` bytes and drops the rest.
pub(crate) async fn read_start(mut response: Response, limit: u64) -> Result<Bytes, reqwest::Error> {
    let mut body = BytesMut::new();
    while (body.len() as u64) < limit {
        match response.chunk().await? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
    }
    body.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(body.freeze())
}

/// `Content-Length` as it stands in the headers (also of an answer to HEAD).
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// `Retry-After` in its seconds form; the date form is rare and ignored.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Whether a status says that the thing asked for does not exist.
pub(crate) fn is_absent(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// Whether a URL leads to this machine; proxies are never used for it.
pub(crate) fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
