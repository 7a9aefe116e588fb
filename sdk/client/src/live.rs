//! Results of a process as they come (server-sent events of a compute unit).

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, stream};
use holon_protocol::ProcessId;
use holon_protocol::result::EvaluationResult;
use reqwest::Response;
use serde::Deserialize;

use crate::error::{Error, Unit, root_cause};
use crate::http::{MAX_ANSWER_BYTES, join};
use crate::network::Network;
use crate::sse::{Message, Reader};

/// Pause before a lost connection is opened again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Silence after which a connection counts as lost: units say something every 15 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Results to be followed; see [`Network::follow`].
#[derive(Debug, Clone)]
#[must_use = "results are only followed by `stream`"]
pub struct Follow {
    network: Network,
    process: ProcessId,
    from: Option<String>,
}

/// What a compute unit tells about a process.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// A message has been evaluated.
    Result(Box<LiveResult>),
    /// The process cannot be evaluated further, and why. Told again when the reason changes.
    Held(String),
    /// The connection was lost; it is opened again, and nothing will be missed.
    Lost(String),
}

/// A result, and which message it belongs to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveResult {
    /// Where to continue after it. Opaque.
    pub cursor: String,
    /// Position of the message in the log; of the message before it, for a cron message.
    pub nonce: u64,
    /// Time of the message in milliseconds since 1970.
    pub timestamp: u64,
    /// L1 height of the message.
    pub block_height: u64,
    /// Which cron message, if it is one.
    pub cron: Option<String>,
    /// The result; failed ones are told, too.
    pub result: EvaluationResult,
}

#[derive(Deserialize)]
struct Ready {
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Held {
    error: String,
}

impl Network {
    /// Starts following the results of `process`. Meanwhile the compute unit evaluates what is scheduled for it.
    pub fn follow(&self, process: ProcessId) -> Follow {
        Follow { network: self.clone(), process, from: None }
    }
}

impl Follow {
    /// Begins after this cursor; without it, with what comes from now on.
    pub fn from(mut self, cursor: impl Into<String>) -> Self {
        self.from = Some(cursor.into());
        self
    }

    /// What happens, until the first error that trying again cannot mend. Connections that break are opened again where
    /// they broke, once the first one has been answered.
    pub fn stream(self) -> impl Stream<Item = Result<Live, Error>> + Send {
        let walk = Walk { follow: self, open: None, answered: false, waiting: VecDeque::new() };
        stream::unfold(Some(walk), |walk| async {
            let mut walk = walk?;
            match walk.next().await {
                Ok(live) => Some((Ok(live), Some(walk))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

struct Walk {
    follow: Follow,
    open: Option<(Response, Reader)>,
    answered: bool,
    waiting: VecDeque<Message>,
}

impl Walk {
    async fn next(&mut self) -> Result<Live, Error> {
        loop {
            while let Some(message) = self.waiting.pop_front() {
                if let Some(live) = self.show(&message)? {
                    return Ok(live);
                }
            }
            if let Some(lost) = self.more().await? {
                return Ok(Live::Lost(lost));
            }
        }
    }

    fn show(&mut self, message: &Message) -> Result<Option<Live>, Error> {
        let nonsense = |error: serde_json::Error| Error::Answer { unit: Unit::Compute, reason: error.to_string() };
        Ok(match message.event.as_str() {
            "result" => {
                let result: LiveResult = serde_json::from_str(&message.data).map_err(nonsense)?;
                self.follow.from = Some(result.cursor.clone());
                Some(Live::Result(Box::new(result)))
            }
            "ready" => {
                let ready: Ready = serde_json::from_str(&message.data).map_err(nonsense)?;
                // Without any result, what comes after the beginning is new.
                self.follow.from = Some(ready.cursor.unwrap_or_else(|| "0".to_owned()));
                None
            }
            "held" => Some(Live::Held(serde_json::from_str::<Held>(&message.data).map_err(nonsense)?.error)),
            _ => None,
        })
    }

    /// Reads on; tells why the connection was lost.
    async fn more(&mut self) -> Result<Option<String>, Error> {
        let Some((response, reader)) = &mut self.open else {
            return match self.connect().await {
                Ok(response) => {
                    self.answered = true;
                    self.open = Some((response, Reader::default()));
                    Ok(None)
                }
                // A stopped unit comes back, so also "connection refused" is worth another try.
                Err(error) if self.answered && (error.retryable() || error.status().is_none()) => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                    Ok(None)
                }
                Err(error) => Err(error),
            };
        };
        let lost = match tokio::time::timeout(SILENCE_LIMIT, response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                let mut events = Vec::new();
                let read = reader.read(&bytes, &mut events);
                self.waiting.extend(events);
                let too_large = |_| Error::TooLarge { unit: Unit::Compute, limit_bytes: MAX_ANSWER_BYTES };
                return read.map(|()| None).map_err(too_large);
            }
            Ok(Ok(None)) => "the compute unit closed the connection".to_owned(),
            Ok(Err(error)) => root_cause(&error),
            Err(_) => format!("the compute unit was silent for {} s", SILENCE_LIMIT.as_secs()),
        };
        self.open = None;
        Ok(Some(lost))
    }

    async fn connect(&self) -> Result<Response, Error> {
        let Follow { network, process, from } = &self.follow;
        let mut url = join(network.cu_url()?, &["events", &process.to_string()]);
        if let Some(cursor) = from {
            url.query_pairs_mut().append_pair("from", cursor);
        }
        network.parts().http.stream(Unit::Compute, url, network.parts().timeout).await
    }
}
