//! What became of a message and of everything that follows from it, as a holon messenger tells its operator.

use holon_protocol::{ItemId, Nonce, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::Network;
use crate::error::{Error, Unit};
use crate::http::{join, json};

/// What descends from a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The message that everything here began with.
    pub origin: Option<ItemId>,
    /// Tasks that are left to do.
    pub waiting: u64,
    /// Whether there is more than is shown.
    pub truncated: bool,
    /// The message and what descends from it, each before what descends from it.
    pub nodes: Vec<TraceNode>,
}

/// One item of a trace.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceNode {
    /// Its id.
    pub id: ItemId,
    /// The message whose result asked for it.
    pub parent: Option<ItemId>,
    /// `message`, `wallet-message`, `process`, `notice`, `assignment` or `cron`.
    pub kind: Option<String>,
    /// The process that asked for it; a client, if there is none.
    pub from: Option<ItemId>,
    /// Process or wallet it is for.
    pub to: Option<ItemId>,
    /// Its place in the log of the process.
    pub nonce: Option<Nonce>,
    /// When the messenger had it.
    pub made_at: Option<Timestamp>,
    /// When its scheduler had it.
    pub scheduled_at: Option<Timestamp>,
    /// When its result was there.
    pub evaluated_at: Option<Timestamp>,
    /// Its result, in short.
    pub result: Option<TraceResult>,
    /// Whether the scheduler has the same content under another id.
    #[serde(default)]
    pub duplicate: bool,
    /// What was given up, with reasons.
    #[serde(default)]
    pub gave_up: Vec<(String, String)>,
    /// What its result asked for.
    #[serde(default)]
    pub children: Vec<ItemId>,
}

/// A result in short.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TraceResult {
    /// Its error.
    pub error: Option<String>,
    /// Entries that could not be used, with reasons.
    #[serde(default)]
    pub skipped: Vec<(String, String)>,
}

/// Something that was given up.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DeadLetter {
    /// By which it is taken up again.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether it can be taken up again.
    pub retryable: bool,
    /// At which stage, if it is a task.
    pub stage: Option<String>,
    /// The message that everything began with, if it is a task.
    pub origin: Option<ItemId>,
    /// The process whose result it is an entry of, if it is one that cannot be used.
    #[serde(default)]
    pub emitter: Option<ItemId>,
    /// Which entry of a result, if it is one that cannot be used.
    pub entry: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
}

impl Network {
    /// What descends from a message, at most `limit` items, and the answer as it is. `token` is the operator's, where the
    /// messenger asks for one.
    ///
    /// # Errors
    /// When the messenger does not know the message, or does not tell.
    pub async fn trace(&self, message: ItemId, limit: usize, token: Option<&str>) -> Result<(Trace, Value), Error> {
        let mut url = join(self.mu_url()?, &["trace", &message.to_string()]);
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        let parts = self.parts();
        let (_, answer) = parts.http.operate(Unit::Messenger, Method::GET, url, token, parts.timeout).await?;
        Ok((json(Unit::Messenger, &answer)?, json(Unit::Messenger, &answer)?))
    }

    /// The newest of what the messenger gave up, newest first; older than `before` if that is given.
    ///
    /// # Errors
    /// When the messenger does not tell.
    pub async fn dead_letters(
        &self,
        before: Option<u64>,
        limit: usize,
        token: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        let mut url = join(self.mu_url()?, &["dead-letters"]);
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(before) = before {
            url.query_pairs_mut().append_pair("before", &before.to_string());
        }
        let parts = self.parts();
        let (_, answer) = parts.http.operate(Unit::Messenger, Method::GET, url, token, parts.timeout).await?;
        Ok(json::<DeadLetters>(Unit::Messenger, &answer)?.dead_letters)
    }

    /// Has the messenger take up a dead letter where it was given up.
    ///
    /// # Errors
    /// When there is none with this id, or it cannot be taken up.
    pub async fn retry(&self, letter: u64, token: Option<&str>) -> Result<(), Error> {
        let url = join(self.mu_url()?, &["dead-letters", &letter.to_string(), "retry"]);
        let parts = self.parts();
        parts.http.operate(Unit::Messenger, Method::POST, url, token, parts.timeout).await?;
        Ok(())
    }
}
