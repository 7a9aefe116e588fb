//! The state of a process at a slot: what names it, and its memory.

use bytes::Bytes;
use holon_protocol::{Nonce, ProcessId, Timestamp};
use reqwest::{Method, Response, StatusCode};
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
pub struct MemoryImage {
    response: Response,
    /// Bytes that have not come yet.
    left: u64,
}

impl Network {
    /// What the compute unit says about the state of `process` at `slot`, or now. Evaluates what has not been.
    pub async fn state_root(&self, process: ProcessId, slot: Option<Nonce>) -> Result<Standing, Error> {
        let parts = self.parts();
        let url = at("root", self.cu_url()?, process, slot);
        let (_, bytes) = parts.http.read(Unit::Compute, Method::GET, url, Body::Nothing, parts.result_timeout).await?;
        json(Unit::Compute, &bytes)
    }

    /// The memory of a state that [`Self::state_root`] named.
    ///
    /// # Errors
    /// [`Error::Answer`] if the unit gives something else than the memory of a state with that root. What comes is not hashed.
    pub async fn memory(&self, of: &Standing) -> Result<MemoryImage, Error> {
        let parts = self.parts();
        let url = at("state", self.cu_url()?, of.process, Some(of.nonce));
        let response = parts.http.stream(Unit::Compute, url, parts.result_timeout).await?;
        let root = response.headers().get("state-root").and_then(|root| root.to_str().ok());
        if response.status() != StatusCode::OK || root != Some(of.state_root.as_str()) {
            let found = root.unwrap_or("none");
            return Err(wrong(format!(
                "status {} and state root {found} instead of the memory with root {}",
                response.status().as_u16(),
                of.state_root
            )));
        }
        Ok(MemoryImage { response, left: of.memory_bytes })
    }
}

impl MemoryImage {
    /// The next bytes; `None` at the end, when all have come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let url = self.response.url().clone();
        let unreachable = |source| Error::Unreachable { unit: Unit::Compute, url, source };
        let chunk = self.response.chunk().await.map_err(unreachable)?;
        let bytes = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(0) if chunk.is_none() => Ok(None),
            Some(left) if chunk.is_some() => {
                self.left = left;
                Ok(chunk)
            }
            Some(left) => Err(wrong(format!("a memory that ends {left} bytes early"))),
            None => Err(wrong("a memory longer than it says".to_owned())),
        }
    }
}

fn wrong(reason: String) -> Error {
    Error::Answer { unit: Unit::Compute, reason }
}

fn at(route: &str, base: &Url, process: ProcessId, slot: Option<Nonce>) -> Url {
    let mut url = join(base, &[route, &process.to_string()]);
    if let Some(slot) = slot {
        url.query_pairs_mut().append_pair("slot", &slot.to_string());
    }
    // Else a unit may answer that it is busy, and not with the state.
    url.query_pairs_mut().append_pair("no-busy", "1");
    url
}
