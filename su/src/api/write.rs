//! Posts: processes, messages, assignments of published items (spec 02 §2).

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use holon_protocol::{AssignmentId, DataItem, ItemId, Nonce, ProcessId};
use holon_unit::trace_context::{self, MESSAGES, TraceId, message_span};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{Instrument, Span};

use super::answer::Failure;
use super::query::{PostQuery, id};
use super::{Api, POST_TIMEOUT};
use crate::check::{Checked, check};
use crate::log::StoreError;
use crate::pool::PoolEnded;
use crate::scheduler::Request;
use crate::sequencer::{Answer, Refusal, Subject};

/// Header of answers (an extension): the place that was given. Whoever hears of two answers knows by it which entry is first.
const NONCE: &str = "nonce";

/// `POST /`
pub(super) async fn post(api: Data<Api>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Failure> {
    let address = request.headers().get("x-real-ip").and_then(|value| value.to_str().ok());
    api.access.may_post(address)?;
    let query = PostQuery::parse(request.query_string())?;
    let trace = trace_context::of(&request);
    let (body, memory) = api.bodies.read(&request, payload).await?;
    let (id, nonce) = match &query {
        PostQuery { process: Some(process), assign: Some(assign), .. } => {
            // The body of an assignment has no meaning.
            drop((body, memory));
            let (id, nonce) = assign_published(&api, process, assign, &query, trace).await?;
            (id.into(), Some(nonce))
        }
        PostQuery { process, assign, .. } => {
            let complete = process.is_none() && assign.is_none();
            schedule_item(&api, body, memory, complete, trace).await?
        }
    };
    let mut answer = HttpResponse::Ok();
    if let Some(nonce) = nonce {
        answer.insert_header((NONCE, nonce.0.to_string()));
    }
    Ok(answer.json(json!({ "timestamp": api.scheduler.now().0, "id": id })))
}

/// A message or process. `complete` is false when half of an assignment's parameters were given.
async fn schedule_item(
    api: &Data<Api>,
    body: Bytes,
    memory: Option<OwnedSemaphorePermit>,
    complete: bool,
    trace: Option<TraceId>,
) -> Result<(ItemId, Option<Nonce>), Failure> {
    let shared = Api::clone(api);
    // A message is verified, looked up and signed in one go: its client waits for nothing else.
    let begin = move || -> Result<(Begun, DataItem, ProcessId, Span), Failure> {
        let item = DataItem::parse_verified(body)?;
        let Checked { process, subject } = check(&item, &shared.rules)?;
        let spawns = subject == Subject::Process;
        if spawns {
            shared.access.may_spawn()?;
        } else {
            shared.access.may_write(process)?;
        }
        if !complete {
            return Err(Failure::bad_request("If sending assign or process-id, you must send both."));
        }
        let span = message_span("su", trace, process, item.id());
        let request = Request { process, subject, item: Some(item.raw().clone()), memory };
        let begun = match spawns {
            true => Begun::Spawn(request),
            false => Begun::Submitted(span.in_scope(|| shared.scheduler.submit(request))?),
        };
        Ok((begun, item, process, span))
    };
    let (begun, item, process, span) = api.pool.run(begin).await??;
    let id = item.id();
    let placed = match begun {
        Begun::Submitted(answer) => placed(answer).instrument(span).await,
        Begun::Spawn(request) => {
            api.published.new_process(&item).await?;
            submit(api, request).instrument(span).await
        }
    };
    match placed {
        Ok((_, nonce)) => Ok((id, Some(nonce))),
        Err(Rejected::Refused(Refusal::Exists)) if api.idempotent => {
            let reader = api.reader.clone();
            Ok((id, api.readers.run(move || reader.place(process, id)).await??))
        }
        Err(rejected) => Err(rejected.into()),
    }
}

/// What a pool thread has done with an item.
enum Begun {
    /// A message, which gets its place.
    Submitted(oneshot::Receiver<Answer>),
    /// A process, about which others have to be asked first.
    Spawn(Request),
}

/// An item that is published already gets a position (spec 02 §2.3).
async fn assign_published(
    api: &Data<Api>,
    process: &str,
    assign: &str,
    query: &PostQuery,
    trace: Option<TraceId>,
) -> Result<(AssignmentId, Nonce), Failure> {
    if assign.len() != 43 {
        return Err(Failure::bad_request("assign param must be 43 characters"));
    }
    let item: ItemId = id("assign", assign)?;
    let process: ProcessId = id("process-id", process)?;
    api.access.may_write(process)?;
    let reader = api.reader.clone();
    let process_item = api.readers.run(move || reader.process_item(process)).await??;
    let content = if query.base_layer {
        api.published.settled(item, process_item.tags(), &query.exclude).await?;
        None
    } else if api.rules.content_checks {
        Some(api.published.content(item, &query.exclude).await?)
    } else {
        api.published.exists(item, &query.exclude).await?;
        None
    };
    let subject = Subject::Assigned { id: item.into(), content, exclude: query.exclude.clone() };
    let span = message_span("su", trace, process, item);
    Ok(submit(api, Request { process, subject, item: None, memory: None }).instrument(span).await?)
}

/// Why a submitted request has no position.
enum Rejected {
    Refused(Refusal),
    Store(StoreError),
    Stopping,
    Late,
}

async fn submit(api: &Data<Api>, request: Request) -> Result<(AssignmentId, Nonce), Rejected> {
    let scheduler = api.scheduler.clone();
    let submitted = api.pool.run(move || scheduler.submit(request)).await;
    match submitted {
        Ok(Ok(answer)) => placed(answer).await,
        Ok(Err(error)) => Err(Rejected::Store(error)),
        Err(PoolEnded) => Err(Rejected::Stopping),
    }
}

/// Waits for the place of what was submitted.
async fn placed(answer: oneshot::Receiver<Answer>) -> Result<(AssignmentId, Nonce), Rejected> {
    match tokio::time::timeout(POST_TIMEOUT, answer).await {
        Ok(Ok(Answer::Scheduled { nonce, assignment })) => {
            trace_context::nonce(nonce.0);
            tracing::debug!(target: MESSAGES, %assignment, "scheduled");
            Ok((assignment, nonce))
        }
        Ok(Ok(Answer::Refused(refusal))) => {
            tracing::debug!(target: MESSAGES, ?refusal, "refused");
            Err(Rejected::Refused(refusal))
        }
        Ok(Err(_)) => Err(Rejected::Stopping),
        Err(_) => Err(Rejected::Late),
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Refused(refusal) => refusal.into(),
            Rejected::Store(error) => error.into(),
            Rejected::Stopping => PoolEnded.into(),
            Rejected::Late => Self::unavailable("the message is still waiting for its turn; ask for it later"),
        }
    }
}
