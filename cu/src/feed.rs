//! Live results: a reader follows the stored results of a process, and the process is kept up to date meanwhile.
//!
//! A reader walks the store from a cursor on, as a page of results does, so nothing is missed or told twice whatever
//! happens in between; that results have been stored only tells it when to look.

use std::pin::pin;
use std::time::Duration;

use futures_util::Stream;
use holon_protocol::ProcessId;
use holon_unit::events::Event;
use serde_json::json;
use tokio::sync::mpsc;

use crate::actor::Actors;
use crate::json;
use crate::log::Goal;
use crate::results::{Bound, Cursor, Key, Listing, Record, Results, Sort};

/// Pause between two questions for new log entries of a process that is followed. What is evaluated for others in between
/// is told at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is before every result of a process: a time.
const BEGINNING: &str = "0";
/// Results read at once.
const RESULTS_READ: usize = 64;

/// What a reader follows with.
pub(crate) struct Follower {
    pub actors: Actors,
    pub results: std::sync::Arc<Results>,
    pub process: ProcessId,
}

impl Follower {
    /// The results after `from`, or from now on, as they come:
    ///
    /// * `ready`: `{"cursor"}` first, when no `from` was given: what comes after this cursor (or at all) is new. Its id
    ///   is the cursor, or [`BEGINNING`];
    /// * `result`: `{"cursor", "nonce", "timestamp", "blockHeight", "cron", "result"}`, its id is the cursor, with `"unchecked": true` before
    ///   the result if the message could not be checked against its signatures;
    /// * `held`: `{"error"}` when the process cannot be evaluated further, whenever the reason changes.
    pub fn follow(self, from: Option<Bound>) -> impl Stream<Item = Event> + 'static {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // Ends by itself once the reader has gone.
            if let Err(error) = self.run(from, &sender).await {
                let _ = sender.send(held(&error)).await;
            }
        });
        futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
    }

    async fn run(self, from: Option<Bound>, reader: &mpsc::Sender<Event>) -> Result<(), String> {
        let Self { actors, results, process } = self;
        let mut changed = results.watched.follow(process);
        let mut from = match from {
            Some(from) => Some(from),
            None => {
                // What is in the log already is not new; if it cannot be evaluated, the loop says so.
                tokio::select! {
                    _ = actors.evaluate(process, Goal::Latest, None, None) => {}
                    () = reader.closed() => return Ok(()),
                }
                let last = {
                    let results = results.clone();
                    blocking(move || results.last(process)).await?
                };
                let cursor = last.as_ref().map(|key| Cursor::text(key, Sort::Ascending));
                // Who loses the connection before the first result goes on from here; with no result yet, from the beginning.
                let id = cursor.clone().unwrap_or_else(|| BEGINNING.into());
                let ready = Event::new("ready", json!({ "cursor": cursor }).to_string()).id(id);
                if reader.send(ready).await.is_err() {
                    return Ok(());
                }
                last.map(after)
            }
        };
        let (hold, mut held_up) = mpsc::channel(1);
        let mut keep_up = pin!(async {
            loop {
                let failed = actors.evaluate(process, Goal::Latest, None, None).await.err();
                // The other end is in the same function.
                let _ = hold.send(failed.map(|error| error.to_string())).await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        let mut told = None;
        loop {
            let page = {
                let (results, from) = (results.clone(), from.clone());
                let read = move || {
                    results.page(process, Listing::Everything, from.as_ref(), None, Sort::Ascending, RESULTS_READ)
                };
                blocking(read).await?
            };
            for (key, record) in page.edges {
                if reader.send(result(&key, &record)).await.is_err() {
                    return Ok(());
                }
                from = Some(after(key));
            }
            if page.has_next_page {
                continue;
            }
            tokio::select! {
                () = &mut keep_up => {}
                _ = changed.changed() => {}
                Some(failed) = held_up.recv() => {
                    if let Some(reason) = &failed
                        && told.as_ref() != Some(reason)
                        && reader.send(held(reason)).await.is_err()
                    {
                        return Ok(());
                    }
                    told = failed;
                }
                () = reader.closed() => return Ok(()),
            }
        }
    }
}

fn after(key: Key) -> Bound {
    Bound::Evaluation(Cursor { key, sort: None })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::results::StoreError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

fn held(reason: &str) -> Event {
    Event::new("held", json!({ "error": reason }).to_string())
}

fn result(key: &Key, record: &Record) -> Event {
    let cursor = Cursor::text(key, Sort::Ascending);
    let mut out = String::from("{\"cursor\":\"");
    out.push_str(&cursor);
    out.push_str("\",\"nonce\":");
    json::integer(&mut out, key.ordinate);
    out.push_str(",\"timestamp\":");
    json::integer(&mut out, key.timestamp.0);
    out.push_str(",\"blockHeight\":");
    json::integer(&mut out, record.block_height.0);
    out.push_str(",\"cron\":");
    json::nullable(&mut out, key.cron.as_deref());
    if record.unchecked {
        out.push_str(",\"unchecked\":true");
    }
    out.push_str(",\"result\":");
    out.push_str(&record.result_json());
    out.push('}');
    Event::new("result", out).id(cursor)
}
