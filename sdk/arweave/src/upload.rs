//! Handing data items to a bundler (spec 03 §5.7, §7.3).
//!
//! One call is one attempt: callers own a durable queue and decide about repeating it. The id is always the one derived
//! from the item; receipts are not read.

use std::time::Duration;

use holon_protocol::{DataItem, ItemId};
use reqwest::header::CONTENT_TYPE;
use url::Url;

use crate::error::quote;
use crate::http::{self, CONNECT_TIMEOUT, MAX_ERROR_BODY_BYTES};

/// Longest silence of the bundler before an upload counts as failed.
pub const UPLOAD_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest an upload may take in all.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// An item was not taken by the bundler.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client cannot be set up.
    #[error("the uploader cannot be used: {0}")]
    Options(String),
    /// No answer. The bundler may still have the item; sending it again is safe.
    #[error("the bundler did not answer for {id}: {source}")]
    Network {
        /// The item.
        id: ItemId,
        /// Why.
        source: reqwest::Error,
    },
    /// The bundler is busy or broken, or what answered is not the bundler that is meant: a wrong URL, a proxy, a login.
    /// That can be put right without changing the item.
    #[error("the bundler could not take {id} now, status {status}: {body}")]
    Unavailable {
        /// The item.
        id: ItemId,
        /// HTTP status: neither a success nor 400, 402 or 403.
        status: u16,
        /// Start of the answer.
        body: String,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// The bundler wants to be paid (402): a queue should pause.
    #[error("the bundler wants credit before it takes {id}: {body}")]
    PaymentRequired {
        /// The item.
        id: ItemId,
        /// Start of the answer.
        body: String,
    },
    /// The bundler will never take this item.
    #[error("the bundler refused {id} with status {status}: {body}")]
    Rejected {
        /// The item.
        id: ItemId,
        /// HTTP status: 400 or 403.
        status: u16,
        /// Start of the answer.
        body: String,
    },
}

impl UploadError {
    /// Whether sending the same item later can succeed.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Unavailable { .. } | Self::PaymentRequired { .. } => true,
            Self::Options(_) | Self::Rejected { .. } => false,
        }
    }

    /// How long the bundler asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A bundler. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Uploader {
    endpoint: Url,
    http: reqwest::Client,
}

impl Uploader {
    /// The bundler at base URL `url`; `/tx/arweave` is appended.
    pub fn new(url: Url) -> Result<Self, UploadError> {
        let endpoint = Url::parse(&format!("{}/tx/arweave", url.as_str().trim_end_matches('/')))
            .map_err(|error| UploadError::Options(format!("{url}: {error}")))?;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(UPLOAD_READ_TIMEOUT)
            .timeout(UPLOAD_TIMEOUT);
        if http::is_loopback(&endpoint) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| UploadError::Options(error.to_string()))?;
        Ok(Self { endpoint, http })
    }

    /// Where items are posted.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Sends one item, once. Any 2xx is a success: known items are answered with 202 or 208. Only 400 and 403 are final
    /// (spec 03 §7.3).
    pub async fn upload(&self, item: &DataItem) -> Result<(), UploadError> {
        let id = item.id();
        let response = self
            .http
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(item.raw().clone())
            .send()
            .await
            .map_err(|source| UploadError::Network { id, source: source.without_url() })?;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status().as_u16();
        let retry_after = http::retry_after(response.headers());
        let body = match http::read_start(response, MAX_ERROR_BODY_BYTES).await {
            Ok(body) => quote(&body),
            Err(error) => format!("(no text: {error})"),
        };
        Err(match status {
            400 | 403 => UploadError::Rejected { id, status, body },
            402 => UploadError::PaymentRequired { id, body },
            status => UploadError::Unavailable { id, status, body, retry_after },
        })
    }
}
