//! Routes (spec 05 §2): parse, call, answer.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::Stream;
use holon_protocol::{Address, MessageId, Nonce, ProcessId};
use holon_unit::ApiError;
use holon_unit::operator::Operator;
use holon_unit::trace_context::{self, message_span};
use serde_json::json;
use tracing::Instrument;

use crate::checkpoint::EVALUATOR;
use crate::compute::{Compute, DryRunRequest, DryRunStage, Image};
use crate::cron::NextCron;
use crate::error::Error;
use crate::log::Goal;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::rate_limit::{self, RateLimit};
use crate::results::{Bound, Listing, Sort};

/// Largest request body in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Bytes of a memory image that are sent at once.
const IMAGE_CHUNK_BYTES: usize = 256 << 10;
/// Longest time that a client may take none of them.
const IMAGE_STALL: Duration = Duration::from_secs(20);
/// Longest time for a whole image.
const IMAGE_TIME: Duration = Duration::from_secs(900);
/// Results of a page when the request does not say.
const RESULTS_LIMIT: usize = 25;
/// Cron results of a page when the request does not say.
const CRON_LIMIT: usize = 500;
/// Header of `GET /cron/{process}` up to the present (an extension): when the next cron message is due, in milliseconds, or
/// `never`; absent when it depends on blocks to come.
const CRON_NEXT: HeaderName = HeaderName::from_static("cron-next");
/// Header of a result whose message could not be checked against its signatures ([`crate::options::Unverifiable::Mark`]).
const UNCHECKED: HeaderName = HeaderName::from_static("unchecked");
/// Most looks for a process whose events are asked for, and the pause between two: it may have been spawned just now.
const LOOKS: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Most results of a page.
const MAX_LIMIT: usize = 1000;

/// What the routes share.
pub struct Api {
    /// The unit's work.
    pub compute: Compute,
    /// The unit's address.
    pub address: Address,
    /// Options.
    pub options: std::sync::Arc<Options>,
    /// Counters.
    pub metrics: Metrics,
    /// Rate limit of dry runs.
    pub rate_limit: RateLimit,
    /// Knows the operator.
    pub operator: Operator,
}

mod parking;
mod surface;

pub use surface::routes;

type Answer = Result<HttpResponse, ApiError>;

async fn unknown(request: HttpRequest) -> Answer {
    Err(ApiError::not_found(format!("no route {} {}", request.method(), request.path())))
}

async fn wrong_method(request: HttpRequest) -> Answer {
    let text = format!("{} does not take {}", request.path(), request.method());
    Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, text))
}

async fn root(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "address": api.address, "timestamp": api.options.clock.now() }))
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

async fn metrics(api: web::Data<Api>) -> HttpResponse {
    api.metrics.response()
}

async fn result(request: HttpRequest, api: web::Data<Api>) -> Answer {
    let query = Query::of(&request);
    let process = process_id(&api, query.required("process-id"))?;
    let answer = async {
        let message = path_id::<MessageId>(&request, "message", "messageId")?;
        let compute = api.compute.clone();
        let span = message_span("cu", trace_context::of(&request), process, message);
        let unchecked = Rc::new(Cell::new(false));
        let says = unchecked.clone();
        let work = async move {
            let record = compute.result(process, message).await?;
            says.set(record.unchecked);
            Ok(record.result_json())
        };
        let busy = format!("Evaluation of process \"{process}\" to \"{message}\" is in progress.");
        let mut answer = unless_busy(&api, &query, busy, work.instrument(span)).await?;
        if unchecked.get() {
            answer.headers_mut().insert(UNCHECKED, HeaderValue::from_static("message"));
        }
        Ok(answer)
    };
    parking::noted(&api, process, answer.await)
}

async fn results(request: HttpRequest, api: web::Data<Api>) -> Answer {
    let query = Query::of(&request);
    let process = process_id(&api, request.match_info().get("process"))?;
    let answer = async {
        let (from, to) = (query.bound("from")?, query.bound("to")?);
        let sort = query.sort()?;
        // An explicit order wins; the cursors come next.
        let of_cursors = from.as_ref().and_then(Bound::sort).or(to.as_ref().and_then(Bound::sort));
        let sort = sort.or(of_cursors).unwrap_or_default();
        let limit = query.limit(RESULTS_LIMIT)?;
        let page = api.compute.results(process, Listing::All, from, to, sort, limit).await?;
        // Clients know by the text of a cursor what they have shown already, so whoever continues from a cursor gets the
        // cursors it came with, in whatever order (spec 07 §5.4: the console turns the order after its first page).
        Ok(json_text(StatusCode::OK, page.json(of_cursors.unwrap_or(sort))))
    };
    parking::noted(&api, process, answer.await)
}

/// `GET /events/{process}?from=`: results as server-sent events. A client that lost the connection names the last it saw.
async fn events(request: HttpRequest, api: web::Data<Api>) -> Answer {
    let query = Query::of(&request);
    let process = process_id(&api, request.match_info().get("process"))?;
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let from = match last {
        Some(id) => Some(Bound::parse(id).ok_or_else(|| parameter("Last-Event-ID", "a cursor is required.".into()))?),
        None => query.bound("from")?,
    };
    let place = api.compute.follower().map_err(ApiError::from)?;
    for look in 1..=LOOKS {
        match api.compute.knows(process).await {
            Ok(false) if look == LOOKS => {
                return Err(ApiError::not_found(format!("process {process} is known to no scheduler and no gateway")));
            }
            Ok(false) => actix_web::rt::time::sleep(LOOK_PAUSE).await,
            // Who cannot be asked now may be asked later; meanwhile the stream says so.
            Ok(true) | Err(_) => break,
        }
    }
    parking::noted(&api, process, Ok(holon_unit::events::response(place, api.compute.follow(process, from))))
}

async fn cron(request: HttpRequest, api: web::Data<Api>) -> Answer {
    let query = Query::of(&request);
    let process = process_id(&api, request.match_info().get("process"))?;
    let answer = async {
        let (from, to) = (query.bound("from")?, query.bound("to")?);
        let limit = query.limit(CRON_LIMIT)?;
        let next_cron = Rc::new(Cell::new(NextCron::Unknown));
        let (compute, next) = (api.compute.clone(), next_cron.clone());
        let work = async move {
            let (page, due) = compute.cron(process, from, to, limit).await?;
            next.set(due);
            Ok(page.json(Sort::Ascending))
        };
        let busy = format!("Evaluation of process \"{process}\" is in progress.");
        let mut answer = unless_busy(&api, &query, busy, work).await?;
        let next = match next_cron.get() {
            NextCron::At(at) => HeaderValue::from_str(&at.to_string()).ok(),
            NextCron::Never => Some(HeaderValue::from_static("never")),
            NextCron::Blocks | NextCron::Unknown => None,
        };
        if let Some(next) = next {
            answer.headers_mut().insert(CRON_NEXT, next);
        }
        Ok(answer)
    };
    parking::noted(&api, process, answer.await)
}

async fn state(request: HttpRequest, api: web::Data<Api>) -> Answer {
    let query = Query::of(&request);
    let process = process_id(&api, request.match_info().get("process"))?;
    let answer = async {
        let (compute, goal) = (api.compute.clone(), query.goal()?);
        let work = async move { compute.image(process, goal).await };
        Ok(soon(&api, &query, work).await?.map_or_else(|| busy(process), image_of))
    };
    parking::noted(&api, process, answer.await)
}

/// The answer while a process is being evaluated.
fn busy(process: ProcessId) -> HttpResponse {
    let message = format!("Evaluation of process \"{process}\" is in progress.");
    HttpResponse::Accepted().json(json!({ "message": message }))
}

fn image_of(image: Image) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer.content_type("application/octet-stream");
    if let Some(position) = &image.state.position {
        answer
            .insert_header(("Last-Timestamp", image.state.timestamp().to_string()))
            .insert_header(("Last-Ordinate", position.key.ordinate.to_string()))
            .insert_header(("Last-Block-Height", position.block_height.to_string()));
    }
    if let Some(link) = &image.state.link {
        answer.insert_header(("Nonce", link.nonce.to_string()));
    }
    answer.insert_header(("State-Root", image.root.to_string()));
    let size = image.state.fork.memory_bytes();
    answer.body(SizedStream::new(size, send(image)))
}

/// `GET /root/{process}`: the root of a state without its memory.
async fn state_root(request: HttpRequest, api: web::Data<Api>) -> Answer {
    let query = Query::of(&request);
    let process = process_id(&api, request.match_info().get("process"))?;
    let answer = async {
        let (compute, goal) = (api.compute.clone(), query.goal()?);
        let work = async move { compute.root(process, goal).await };
        let Some((state, root)) = soon(&api, &query, work).await? else { return Ok(busy(process)) };
        Ok(HttpResponse::Ok().json(json!({
            "process": process,
            "nonce": state.link.map(|link| link.nonce),
            "timestamp": state.timestamp(),
            "stateRoot": root,
            "memoryBytes": state.fork.memory_bytes(),
            "evaluator": EVALUATOR,
        })))
    };
    parking::noted(&api, process, answer.await)
}

/// The bytes of an image, read as the client takes them. A client that takes too long loses the rest.
fn send(image: Image) -> impl Stream<Item = std::io::Result<Bytes>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let end = tokio::time::Instant::now() + IMAGE_TIME;
    actix_web::rt::spawn(async move {
        let size = usize::try_from(image.state.fork.memory_bytes()).unwrap_or(usize::MAX);
        for position in (0..size).step_by(IMAGE_CHUNK_BYTES) {
            let mut chunk = vec![0; IMAGE_CHUNK_BYTES.min(size - position)];
            let read = image.state.fork.read_memory(position, &mut chunk).map(|()| Bytes::from(chunk));
            let failed = read.is_err();
            let patience = end.min(tokio::time::Instant::now() + IMAGE_STALL);
            let sent = tokio::time::timeout_at(patience, sender.send(read)).await;
            if failed || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}

async fn dry_run(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Answer {
    let process = process_id(&api, Query::of(&request).required("process-id"))?;
    let answer = Box::pin(dry_run_of(process, &request, payload, &api)).await;
    parking::noted(&api, process, answer)
}

async fn dry_run_of(process: ProcessId, request: &HttpRequest, payload: web::Payload, api: &web::Data<Api>) -> Answer {
    let query = Query::of(request);
    let to = match query.get("to") {
        Some(text) => Some(text.parse::<MessageId>().map_err(|error| parameter("to", format!("{error}.")))?),
        None => None,
    };
    let max_age = match request.headers().get("x-max-age") {
        Some(age) => {
            let age = age.to_str().ok().and_then(|age| age.parse().ok());
            Some(age.ok_or_else(|| parameter("x-max-age", "a number of milliseconds is required.".into()))?)
        }
        None => None,
    };
    let body = match payload.to_bytes_limited(MAX_BODY_BYTES).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Err(ApiError::bad_request(format!("the body cannot be read: {error}"))),
        Err(_) => return Err(Error::BodyTooLarge { limit_bytes: MAX_BODY_BYTES }.into()),
    };
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") && !essence.to_ascii_lowercase().ends_with("+json") {
        return Err(parameter("content-type", "application/json is required.".into()));
    }
    let max_age = max_age.map(Duration::from_millis);
    let dry_run = DryRunRequest { process, to, body: body.to_vec(), max_age };
    let client = client(request);
    let work = {
        let api = api.clone();
        async move {
            let Options { rate_limit_window, rate_limit_requests, .. } = &*api.options;
            let mut charged = false;
            // Once, and only for what is not known already.
            let mut charge = || {
                if !std::mem::replace(&mut charged, true) {
                    api.rate_limit.count(&client, *rate_limit_window, *rate_limit_requests)?;
                }
                Ok(())
            };
            match api.compute.prepare_dry_run(dry_run, &mut charge).await? {
                DryRunStage::Known(result) => Ok(result),
                DryRunStage::Open(open) => {
                    charge()?;
                    api.compute.dry_run(*open).await
                }
            }
        }
    };
    let busy = format!("Evaluation of process \"{process}\" is in progress.");
    unless_busy(api, &query, busy, work).await
}

/// Waits for `work`; when the unit has a threshold and it passes first, answers 202 and lets the work go on.
async fn unless_busy(
    api: &Api,
    query: &Query,
    busy: String,
    work: impl Future<Output = Result<String, Error>> + 'static,
) -> Answer {
    Ok(match soon(api, query, work).await? {
        Some(text) => json_text(StatusCode::OK, text),
        None => HttpResponse::Accepted().json(json!({ "message": busy })),
    })
}

/// What `work` gives; `None` when the unit has a threshold and it passes first: then the work goes on.
async fn soon<T: 'static>(
    api: &Api,
    query: &Query,
    work: impl Future<Output = Result<T, Error>> + 'static,
) -> Result<Option<T>, Error> {
    match api.options.busy_threshold.filter(|_| query.get("no-busy").is_none()) {
        None => work.await.map(Some),
        Some(threshold) => {
            let work = actix_web::rt::spawn(work);
            match tokio::time::timeout(threshold, work).await {
                Ok(Ok(result)) => result.map(Some),
                Ok(Err(_)) => Err(Error::Stopping),
                Err(_) => Ok(None),
            }
        }
    }
}

fn json_text(status: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(status).content_type("application/json; charset=utf-8").body(text)
}

fn parameter(field: &str, reason: String) -> ApiError {
    Error::Parameters(format!("'{field}': {reason}")).into()
}

/// The process of a request, which must be served here. Every spelling of an id means the same process.
fn process_id(api: &Api, text: Option<impl AsRef<str>>) -> Result<ProcessId, ApiError> {
    let text = text.ok_or_else(|| parameter("processId", "Required.".into()))?;
    if text.as_ref().is_empty() {
        return Err(parameter("processId", "a process-id query parameter is required.".into()));
    }
    let process = text.as_ref().parse().map_err(|error| parameter("processId", format!("{error}.")))?;
    api.compute.admit(process)?;
    Ok(process)
}

fn path_id<T: std::str::FromStr<Err = holon_protocol::id::ParseIdError>>(
    request: &HttpRequest,
    part: &str,
    field: &str,
) -> Result<T, ApiError> {
    let text = request.match_info().get(part).unwrap_or_default();
    text.parse().map_err(|error| parameter(field, format!("{error}.")))
}

/// Who asks (spec 05 §2.7).
fn client(request: &HttpRequest) -> String {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let forwarded = header("x-forwarded-for").and_then(|list| list.split(',').next());
    rate_limit::client(request.peer_addr().map(|peer| peer.ip()), forwarded.or_else(|| header("x-real-ip")))
}

/// Query parameters; the first of several with one name counts.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &HttpRequest) -> Self {
        Self(url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect())
    }

    fn required(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| Cow::Borrowed(value.as_str()))
    }

    /// A parameter that is neither missing nor empty nor the text `undefined`, which some clients send for nothing.
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.required(name).filter(|value| !value.is_empty() && value != "undefined")
    }

    fn bound(&self, name: &str) -> Result<Option<Bound>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bound = Bound::parse(&text);
        bound.map(Some).ok_or_else(|| parameter(name, "a cursor or a timestamp in milliseconds is required.".into()))
    }

    fn sort(&self) -> Result<Option<Sort>, ApiError> {
        let Some(text) = self.get("sort") else { return Ok(None) };
        let sort = Sort::parse(&text);
        sort.map(Some).ok_or_else(|| parameter("sort", format!("ASC or DESC is required, not {text:?}.")))
    }

    /// The point that `slot` or `to` names; the present without either.
    fn goal(&self) -> Result<Goal, ApiError> {
        if let Some(text) = self.get("slot") {
            let slot = text.parse().map_err(|_| parameter("slot", format!("a nonce is required, not {text:?}.")))?;
            return Ok(Goal::Slot(Nonce(slot)));
        }
        let Some(text) = self.get("to") else { return Ok(Goal::Latest) };
        let time = text
            .parse()
            .map_err(|_| parameter("to", format!("a timestamp in milliseconds is required, not {text:?}.")))?;
        Ok(Goal::Time(time))
    }

    fn limit(&self, default: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        match text.parse::<usize>() {
            Ok(limit) if limit > 0 => Ok(limit.min(MAX_LIMIT)),
            _ => Err(parameter("limit", format!("a number from 1 on is required, not {text:?}."))),
        }
    }
}
