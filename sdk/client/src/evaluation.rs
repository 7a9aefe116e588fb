//! Waiting for the result of a message, and reading it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use holon_protocol::result::EvaluationResult;
use holon_protocol::{MessageId, ProcessId, Tags};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::error::{Error, Unit};
use crate::http::{Body, Question, join, json};
use crate::network::Network;

/// Pause before a busy compute unit is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

impl Network {
    /// The result of a message (or, with an assignment's id, of the assigned message). Waits until it has been
    /// evaluated, at most the network's result timeout.
    ///
    /// A process that *reports* an error gives a result with `error` set, not an [`Error`].
    pub async fn result(&self, process: ProcessId, message: impl Into<MessageId>) -> Result<EvaluationResult, Error> {
        let mut url = join(self.cu_url()?, &["result", &message.into().to_string()]);
        url.query_pairs_mut().append_pair("process-id", &process.to_string());
        evaluate(self, process, Method::GET, url, None).await
    }
}

/// Asks until the compute unit is no longer busy.
pub(crate) async fn evaluate(
    network: &Network,
    process: ProcessId,
    method: Method,
    url: Url,
    question: Option<Question>,
) -> Result<EvaluationResult, Error> {
    let parts = network.parts();
    let begun = Instant::now();
    loop {
        let left = parts.result_timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Error::StillEvaluating { process, waited: parts.result_timeout });
        }
        let body = question.clone().map_or(Body::Nothing, Body::Question);
        let (status, answer) = parts.http.read(Unit::Compute, method.clone(), url.clone(), body, left).await?;
        if status != StatusCode::ACCEPTED {
            return read(&answer);
        }
        tokio::time::sleep(BUSY_PAUSE.min(left)).await;
    }
}

/// A result has at least one of its members; anything else that parses is some other JSON.
fn read(answer: &Bytes) -> Result<EvaluationResult, Error> {
    let value: Value = json(Unit::Compute, answer)?;
    if !["Messages", "Spawns", "Assignments", "Output", "Error"].iter().any(|member| value.get(member).is_some()) {
        let start: String = value.to_string().chars().take(200).collect();
        return Err(Error::Answer { unit: Unit::Compute, reason: format!("no result: {start}") });
    }
    serde_json::from_value(value).map_err(|error| Error::Answer { unit: Unit::Compute, reason: error.to_string() })
}

/// A message that a process put into its outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// A process id or a wallet address; empty for spawns.
    pub target: String,
    /// Tags as the process wrote them.
    pub tags: Tags,
    /// Data; text that is not a JSON string is written as JSON.
    pub data: String,
}

impl Outgoing {
    /// Reads an element of `Messages` or `Spawns`. Guests write what they like, so everything is optional.
    pub fn read(value: &Value) -> Self {
        #[derive(Deserialize)]
        struct Pair {
            name: String,
            #[serde(default)]
            value: Value,
        }

        let text = |member: &str| value.get(member).map(plain).unwrap_or_default();
        let tags = value.get("Tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Self {
            target: text("Target"),
            tags: tags
                .iter()
                .filter_map(|tag| serde_json::from_value::<Pair>(tag.clone()).ok())
                .map(|tag| (tag.name, plain(&tag.value)))
                .collect(),
            data: text("Data"),
        }
    }
}

/// The messages a result holds, read.
pub fn outgoing(result: &EvaluationResult) -> Vec<Outgoing> {
    result.messages.iter().map(Outgoing::read).collect()
}

/// Text as it is, nothing as nothing, everything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}
