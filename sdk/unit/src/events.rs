//! Server-sent events: an answer that stays open and tells what happens (WHATWG HTML, "Server-sent events").
//!
//! Two kinds of sources use it. A reader that follows one log pulls, so it misses nothing and continues from the id of the
//! last event it saw. A [`Feed`] tells everybody the same at once; who is too slow for it is told how much it missed.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Pause after which a silent answer sends a comment, so that proxies keep it open and a lost client is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pause before a client connects again, in milliseconds.
const RETRY_MS: u32 = 1000;
/// Events a reader of a [`Feed`] may be behind before it misses some.
const FEED_EVENTS: usize = 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    name: &'static str,
    id: Option<String>,
    data: String,
}

impl Event {
    /// An event of a kind, with its data: usually JSON text.
    pub fn new(name: &'static str, data: impl Into<String>) -> Self {
        Self { name, id: None, data: data.into() }
    }

    /// Sets the id from which a client that lost the connection continues.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The text on the wire. Line ends in the data become lines of their own; an id is one line.
    fn text(&self) -> String {
        let mut out = String::with_capacity(self.data.len() + 64);
        let _ = writeln!(out, "event: {}", self.name);
        if let Some(id) = &self.id {
            let _ = writeln!(out, "id: {}", id.replace(['\r', '\n', '\0'], " "));
        }
        for line in self.data.split(['\r', '\n']) {
            let _ = writeln!(out, "data: {line}");
        }
        out.push('\n');
        out
    }
}

/// An answer that sends these events until they end or the client goes away, and keeps its place until then.
pub fn response(place: Place, events: impl Stream<Item = Event> + 'static) -> HttpResponse {
    let mut silence = interval(KEEP_ALIVE);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let body = Body { begun: false, silence, events: Box::pin(events), _place: place };
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Proxies of the nginx kind would hold events back.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(body)
}

struct Body {
    begun: bool,
    silence: Interval,
    events: Pin<Box<dyn Stream<Item = Event>>>,
    _place: Place,
}

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.begun, true) {
            self.silence.reset();
            return Poll::Ready(Some(Ok(format!("retry: {RETRY_MS}\n\n").into())));
        }
        if let Poll::Ready(event) = self.events.as_mut().poll_next(context) {
            self.silence.reset();
            return Poll::Ready(event.map(|event| Ok(event.text().into())));
        }
        self.silence.poll_tick(context).map(|_| Some(Ok(Bytes::from_static(b":\n\n"))))
    }
}

/// Places for readers; an answer keeps its place until it ends.
#[derive(Debug, Clone)]
pub struct Places(Arc<Semaphore>);

impl Places {
    /// So many readers at the same time.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit)))
    }

    /// A place, if one is free.
    pub fn take(&self) -> Option<Place> {
        self.0.clone().try_acquire_owned().ok().map(Place)
    }
}

/// A reader's place.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

/// Events that everybody is told who listens when they happen. Clones are the same feed.
#[derive(Debug, Clone)]
pub struct Feed<T>(broadcast::Sender<T>);

impl<T: Clone + Send + 'static> Default for Feed<T> {
    fn default() -> Self {
        Self(broadcast::channel(FEED_EVENTS).0)
    }
}

impl<T: Clone + Send + 'static> Feed<T> {
    /// Whether anybody listens: if not, there is no need to make events.
    pub fn has_readers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Tells whoever listens.
    pub fn tell(&self, event: T) {
        // Nobody may listen.
        let _ = self.0.send(event);
    }

    /// What happens from now on. `show` makes an event of it, or leaves it out. A reader that was too slow gets
    /// `event: missed` with `{"events": n}`.
    pub fn listen(&self, show: impl Fn(T) -> Option<Event> + 'static) -> impl Stream<Item = Event> + 'static {
        futures_util::stream::unfold(self.0.subscribe(), |mut receiver| async {
            let next = match receiver.recv().await {
                Ok(event) => Ok(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => Err(missed),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((next, receiver))
        })
        .filter_map(move |next| {
            std::future::ready(match next {
                Ok(event) => show(event),
                Err(missed) => Some(Event::new("missed", format!("{{\"events\":{missed}}}"))),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_cannot_break_out_of_its_lines() {
        let event = Event::new("result", "{\"a\":1}\nevent: forged\r\rdata: x").id("7\nevent: forged");
        let wanted =
            "event: result\nid: 7 event: forged\ndata: {\"a\":1}\ndata: event: forged\ndata: \ndata: data: x\n\n";
        assert_eq!(event.text(), wanted);
    }

    #[tokio::test]
    async fn who_is_too_slow_for_a_feed_is_told_how_much_it_missed() {
        let feed = Feed::default();
        assert!(!feed.has_readers());
        let mut odd =
            Box::pin(feed.listen(|number: usize| (number % 2 == 1).then(|| Event::new("odd", number.to_string()))));
        for number in 0..FEED_EVENTS + 10 {
            feed.tell(number);
        }
        assert_eq!(odd.next().await, Some(Event::new("missed", "{\"events\":10}")));
        assert_eq!(odd.next().await, Some(Event::new("odd", "11")));
        drop(feed);
        assert_eq!(odd.count().await, FEED_EVENTS / 2 - 1);
    }

    #[test]
    fn places_are_given_back() {
        let places = Places::new(1);
        let place = places.take().unwrap();
        assert!(places.take().is_none());
        drop(place);
        assert!(places.take().is_some());
    }
}
