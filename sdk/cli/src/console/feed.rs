//! What happens to the process while somebody types: what others send to it, and what it puts out.

use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use holon_client::console;
use holon_client::live::{Live, LiveResult};
use holon_protocol::wire::Entry;
use holon_protocol::{Address, MessageId, Timestamp};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::complete::Helper;
use super::screen::Screen;
use super::session::Session;
use crate::clock;
use crate::facts;
use crate::failure;
use crate::terminal::{BAD, GOOD, LABEL, STRONG};

/// Longest data of an arrival shown, in characters.
const MAX_DATA_CHARS: usize = 500;

/// A feed; it ends when dropped.
pub struct Feed(JoinHandle<()>);

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to follow.
pub fn start(session: Arc<Session>, helper: Helper, screen: Screen) -> Feed {
    Feed(tokio::spawn(async move {
        let mut stream = pin!(session.network().follow(session.process()).stream());
        loop {
            match stream.try_next().await {
                Ok(Some(Live::Result(live))) => {
                    if let Some(text) = happened(&session, &helper, &live).await {
                        session.remember_prompt(console::prompt(&live.result));
                        screen.tell(&text);
                    }
                }
                Ok(Some(Live::Held(reason))) => screen.tell(&format!("{BAD}held{BAD:#} {reason}")),
                Ok(Some(Live::Lost(reason))) => screen.tell(&format!("{LABEL}connecting again: {reason}{LABEL:#}")),
                Ok(None) => return,
                Err(error) => {
                    screen.tell(&format!(
                        "{LABEL}what happens is not shown any more ({error}); .live tries again{LABEL:#}"
                    ));
                    return;
                }
            }
        }
    }))
}

/// What to tell about a result; nothing about answers to what was typed here.
async fn happened(session: &Session, helper: &Helper, live: &LiveResult) -> Option<String> {
    let arrival = match live.cron {
        Some(_) => None,
        // Without a scheduler that can be asked, only the result is known.
        None => session.entries(live.nonce, 1).await.ok().and_then(|entries| Arrival::of(entries.first()?)),
    };
    if arrival.as_ref().and_then(|arrival| arrival.id).is_some_and(|id| session.is_own(id)) {
        return None;
    }
    helper.forget_what_was_there();
    if let Some(arrival) = &arrival {
        helper.learn(&arrival.tags.0);
    }
    let (output, error) = (console::output(&live.result), console::error(&live.result));
    let printed = live.result.output.get("print").and_then(serde_json::Value::as_bool) == Some(true);
    let head = match (&live.cron, arrival) {
        (Some(_), _) if output.trim().is_empty() && error.is_none() => return None,
        // Consoles print arrivals themselves.
        (None, Some(_)) if printed && error.is_none() => return Some(output),
        (None, Some(arrival)) => arrival.shown(),
        (cron, _) => {
            let what = cron.as_ref().map_or_else(|| format!("slot {}", live.nonce), |cron| format!("cron {cron}"));
            format!("{LABEL}← {} {what}{LABEL:#}", clock::time(Timestamp(live.timestamp)))
        }
    };
    let mut text = head;
    if !output.trim().is_empty() {
        text.push_str(&format!("\n  {GOOD}→{GOOD:#} {}", output.trim_end().replace('\n', "\n    ")));
    }
    if let Some(error) = error {
        text.push_str(&format!("\n  {BAD}error{BAD:#} {}", failure::plain(&error)));
    }
    Some(text)
}

/// A message that has come to the process.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// The message; absent if an item of Arweave was assigned that the scheduler does not have.
    pub id: Option<MessageId>,
    /// Its place in the log.
    pub nonce: u64,
    /// When it was scheduled.
    pub timestamp: Timestamp,
    /// The process it came from, else the wallet.
    pub from: Option<String>,
    /// Its tags.
    pub tags: holon_protocol::Tags,
    /// Its data.
    pub data: String,
    /// Who signed it.
    #[serde(skip)]
    pub signer: Option<Address>,
}

impl Arrival {
    /// The message of a log entry.
    pub fn of(entry: &Entry) -> Option<Self> {
        let facts::Latest { nonce, timestamp } = facts::place(entry)?;
        let assigned = || entry.assignment.tags.get("Message")?.parse().ok();
        let Some(item) = &entry.message else {
            let id = assigned();
            return Some(Self {
                id,
                nonce,
                timestamp,
                from: None,
                tags: holon_protocol::Tags::default(),
                data: String::new(),
                signer: None,
            });
        };
        let from = item.tags.get("From-Process").map_or_else(|| item.owner.address.to_string(), str::to_owned);
        Some(Self {
            id: Some(item.id.into()),
            nonce,
            timestamp,
            from: Some(from),
            tags: item.tags.clone(),
            data: item.data.clone().unwrap_or_default(),
            signer: Some(item.owner.address),
        })
    }

    /// One line, and the data below it.
    pub fn shown(&self) -> String {
        let action = self.tags.get("Action").map(|action| format!("{STRONG}{action}{STRONG:#} ")).unwrap_or_default();
        let from = self.from.as_ref().map(|from| format!("{LABEL}from{LABEL:#} {from} ")).unwrap_or_default();
        let tags: String = super::obey::offered(&self.tags.0)
            .filter(|tag| tag.name != "Action")
            .map(|tag| format!(" {LABEL}{}{LABEL:#} {GOOD}{}{GOOD:#}", tag.name, tag.value))
            .collect();
        let time = clock::time(self.timestamp);
        let mut text = format!("{LABEL}← {time} slot {}{LABEL:#} {action}{from}{tags}", self.nonce);
        if !self.data.trim().is_empty() {
            let start: String = self.data.trim_end().chars().take(MAX_DATA_CHARS).collect();
            let more = if self.data.trim_end().len() > start.len() { "…" } else { "" };
            text.push_str(&format!("\n  {}{more}", start.replace('\n', "\n  ")));
        }
        text
    }
}
