//! `GET /events`: entries as they become durable, as server-sent events (an extension).

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use holon_unit::events::{Event, response};
use serde_json::json;

use super::Api;
use super::answer::Failure;
use super::query::EventsQuery;

/// Readers of events at the same time.
pub const EVENT_READERS_LIMIT: usize = 1024;

/// Sends `event: scheduled` with `{"process", "message", "assignment", "nonce", "timestamp", "blockHeight"}` for every
/// entry, or with `process-id` for those of one process. Who is too slow gets `event: missed` and reads the log instead.
pub(super) async fn events(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let EventsQuery { process: only } = EventsQuery::parse(request.query_string())?;
    if let Some(process) = only {
        api.access.may_read(process)?;
    }
    let Some(place) = api.event_readers.take() else {
        let text = format!("{EVENT_READERS_LIMIT} clients read events already");
        return Err(Failure::Text(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    let access = api.access.clone();
    let scheduled = api.scheduler.feed().listen(move |entry| {
        let shown = only.is_none_or(|only| only == entry.process) && access.may_read(entry.process).is_ok();
        shown.then(|| {
            let data = json!({
                "process": entry.process,
                "message": entry.message,
                "assignment": entry.assignment,
                "nonce": entry.nonce.0,
                "timestamp": entry.timestamp.0,
                "blockHeight": entry.block_height.0,
            });
            Event::new("scheduled", data.to_string())
        })
    });
    // The feed outlives every reader: the end of the service ends the answer.
    let stopping = api.scheduler.stopping();
    let until = async move { stopping.cancelled_owned().await };
    Ok(response(place, scheduled.take_until(until)))
}
