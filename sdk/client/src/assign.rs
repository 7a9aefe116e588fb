//! Assigning an existing message or Arweave transaction to a process.

use holon_protocol::{AssignmentId, MessageId, ProcessId};
use reqwest::Method;
use serde::Deserialize;

use crate::error::{Error, Unit};
use crate::http::{Body, json};
use crate::network::Network;

/// An assignment to be made; see [`Network::assign`]. It needs no signature: anybody may ask for one.
#[derive(Debug, Clone)]
#[must_use = "an assignment is only made by `send`"]
pub struct Assign {
    network: Network,
    process: ProcessId,
    message: MessageId,
    base_layer: bool,
    exclude: Vec<String>,
}

impl Assign {
    pub(crate) fn new(network: Network, process: ProcessId, message: MessageId) -> Self {
        Self { network, process, message, base_layer: false, exclude: Vec::new() }
    }

    /// The message is an Arweave transaction, not a data item of the network.
    pub fn base_layer(mut self) -> Self {
        self.base_layer = true;
        self
    }

    /// A field that the process does not need to see (`Data`, `Tags`, `Signature`, `Anchor`).
    pub fn exclude(mut self, field: impl Into<String>) -> Self {
        self.exclude.push(field.into());
        self
    }

    /// Asks the messenger unit for the assignment; its id is also the id to ask the result of.
    pub async fn send(self) -> Result<AssignmentId, Error> {
        #[derive(Deserialize)]
        struct Assigned {
            id: AssignmentId,
        }

        let parts = self.network.parts();
        let mut url = self.network.mu_url()?.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("process-id", &self.process.to_string());
            query.append_pair("assign", &self.message.to_string());
            if self.base_layer {
                query.append_key_only("base-layer");
            }
            if !self.exclude.is_empty() {
                query.append_pair("exclude", &self.exclude.join(","));
            }
        }
        let (_, answer) = parts.http.write(Unit::Messenger, Method::POST, url, Body::Nothing, parts.timeout).await?;
        Ok(json::<Assigned>(Unit::Messenger, &answer)?.id)
    }
}
