//! Dry runs: asking a process without leaving a trace.

use std::time::Duration;

use holon_protocol::result::EvaluationResult;
use holon_protocol::{MessageId, ProcessId, Tag, Tags};
use reqwest::Method;
use serde::Serialize;

use crate::error::Error;
use crate::evaluation::evaluate;
use crate::http::{Question, join};
use crate::network::Network;
use crate::tags::VARIANT;

/// `Id` and `Owner` of a dry run unless the caller sets them: what the official client sends (spec 07 §3.7).
const PLACEHOLDER: &str = "1234";

/// A dry run to be made; see [`Network::dry_run`]. It is not signed.
#[derive(Debug, Clone)]
#[must_use = "a dry run only happens by `send`"]
pub struct DryRun {
    network: Network,
    process: ProcessId,
    tags: Tags,
    id: String,
    owner: String,
    anchor: String,
    data: String,
    to: Option<MessageId>,
    max_age: Option<Duration>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    id: &'a str,
    target: ProcessId,
    owner: &'a str,
    anchor: &'a str,
    data: &'a str,
    tags: &'a Tags,
}

impl DryRun {
    pub(crate) fn new(network: Network, process: ProcessId) -> Self {
        Self {
            network,
            process,
            tags: Tags::default(),
            id: PLACEHOLDER.into(),
            owner: PLACEHOLDER.into(),
            anchor: "0".into(),
            // The same as a real message without data, so that a dry run foretells what sending would do. (The
            // official client writes "1234" here.)
            data: " ".into(),
            to: None,
            max_age: None,
        }
    }

    /// Appends an `Action` tag.
    pub fn action(self, action: impl Into<String>) -> Self {
        self.tag("Action", action)
    }

    /// Appends a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push(name, value);
        self
    }

    /// Appends tags.
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.0.extend(tags);
        self
    }

    /// Who seems to ask: a wallet address or a process id. Nobody checks it.
    pub fn owner(mut self, owner: impl ToString) -> Self {
        self.owner = owner.to_string();
        self
    }

    /// Sets the data.
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.data = data.into();
        self
    }

    /// Asks the state right after this message instead of the newest one.
    pub fn at(mut self, message: MessageId) -> Self {
        self.to = Some(message);
        self
    }

    /// How old the state may be that is asked; the unit's own default (100 ms for holon) unless set. With zero the answer knows
    /// everything that was scheduled before the question.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Asks.
    pub async fn send(mut self) -> Result<EvaluationResult, Error> {
        self.tags.push("Data-Protocol", "ao");
        self.tags.push("Type", "Message");
        self.tags.push("Variant", VARIANT);
        let request = Request {
            id: &self.id,
            target: self.process,
            owner: &self.owner,
            anchor: &self.anchor,
            data: &self.data,
            tags: &self.tags,
        };
        let body = serde_json::to_string(&request)
            .map_err(|error| Error::Answer { unit: crate::Unit::Compute, reason: error.to_string() })?;
        let mut url = join(self.network.cu_url()?, &["dry-run"]);
        url.query_pairs_mut().append_pair("process-id", &self.process.to_string());
        if let Some(to) = self.to {
            url.query_pairs_mut().append_pair("to", &to.to_string());
        }
        let question = Question { json: body, max_age: self.max_age };
        evaluate(&self.network, self.process, Method::POST, url, Some(question)).await
    }
}
