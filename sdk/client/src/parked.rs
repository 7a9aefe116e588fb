//! Processes that a compute unit has stopped before a message, as it tells everybody.

use holon_protocol::{ProcessId, Timestamp};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Unit};
use crate::http::{Body, join, json};
use crate::network::Network;

/// A process that is not evaluated further for now: an operator's limit stopped it, or data could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// The process.
    pub process: ProcessId,
    /// Nonce of the message it stands before; for a cron message, that of the message before the cron.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u64>,
    /// The cron, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When the message is tried again, if somebody asks.
    pub until: Timestamp,
    /// What stopped it.
    pub reason: String,
}

#[derive(Deserialize)]
struct List {
    parked: Vec<Parked>,
}

#[derive(Deserialize)]
struct Resumed {
    resumed: Parked,
}

impl Network {
    /// What the compute unit has parked, longest parked first; a holon unit tells of 1 000 at most.
    ///
    /// # Errors
    /// [`Error::Refused`] from units that do not know the question.
    pub async fn parked(&self) -> Result<Vec<Parked>, Error> {
        let parts = self.parts();
        let url = join(self.cu_url()?, &["parked"]);
        let (_, answer) = parts.http.read(Unit::Compute, Method::GET, url, Body::Nothing, parts.timeout).await?;
        Ok(json::<List>(Unit::Compute, &answer)?.parked)
    }

    /// Has the compute unit try the message again that a process is parked before, and what it had said about it. `token` is that of the
    /// unit's operator.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 when the process is not parked, with 401 without the right token.
    pub async fn resume(&self, process: ProcessId, token: Option<&str>) -> Result<Parked, Error> {
        let parts = self.parts();
        let url = join(self.cu_url()?, &["resume", &process.to_string()]);
        let (_, answer) = parts.http.operate(Unit::Compute, Method::POST, url, token, parts.timeout).await?;
        Ok(json::<Resumed>(Unit::Compute, &answer)?.resumed)
    }
}
