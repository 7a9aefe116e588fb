//! The state of a process at a slot: what names it, and its memory.

use bytes::Bytes;
use holon_protocol::{Nonce, ProcessId, Timestamp};
use reqwest::{Method, Response};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Unit};
use crate::http::{Body, join, json};
use crate::network::Network;

/// A state, as a compute unit names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The process.
    pub process: ProcessId,
    /// The slot: right after the log entry with this nonce.
    pub nonce: Nonce,
    /// Time of that entry.
    pub timestamp: Timestamp,
    /// Root of the state, 43 characters.
    pub state_root: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// A memory that is being read.
pub struct MemoryImage(Response);

impl Network {
    /// What the compute unit says about the state of `process` at `slot`, or now. Evaluates what has not been.
    pub async fn state_root(&self, process: ProcessId, slot: Option<Nonce>) -> Result<Standing, Error> {
        let parts = self.parts();
        let url = at("root", self.cu_url()?, process, slot);
        let (_, bytes) = parts.http.read(Unit::Compute, Method::GET, url, Body::Nothing, parts.result_timeout).await?;
        json(Unit::Compute, &bytes)
    }

    /// The memory of `process` at `slot`, or now. Evaluates what has not been.
    pub async fn memory(&self, process: ProcessId, slot: Option<Nonce>) -> Result<MemoryImage, Error> {
        let parts = self.parts();
        let url = at("state", self.cu_url()?, process, slot);
        parts.http.stream(Unit::Compute, url, parts.result_timeout).await.map(MemoryImage)
    }
}

impl MemoryImage {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let url = self.0.url().clone();
        self.0.chunk().await.map_err(|source| Error::Unreachable { unit: Unit::Compute, url, source })
    }
}

fn at(route: &str, base: &Url, process: ProcessId, slot: Option<Nonce>) -> Url {
    let mut url = join(base, &[route, &process.to_string()]);
    if let Some(slot) = slot {
        url.query_pairs_mut().append_pair("slot", &slot.to_string());
    }
    url
}
