//! What can be seen of the messenger's work: traces, dead letters, monitors. For the operator, unless traces are public;
//! taking a dead letter up again always is the operator's.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use holon_protocol::{ItemId, Timestamp};
use holon_unit::ApiError;
use holon_unit::operator::Operator;
use serde_json::{Value, json};

use super::{Api, Parameters, id, text};
use crate::crank::driver::RetryError;
use crate::crank::outgoing::cut;
use crate::crank::task::Work;
use crate::error::Refusal;
use crate::outbox::{DeadLetter, Letter, LetterId, Other};
use crate::trace::{DEFAULT_NODES, MAX_NODES, MAX_PAGE, PageQuery};

/// Most dead letters or monitors of an answer.
pub const MAX_LISTED: usize = 1_000;
/// As many when the request does not say.
pub(super) const DEFAULT_LISTED: usize = 100;

/// Who may see what became of messages.
#[derive(Debug, Clone)]
pub struct Access {
    /// Everybody.
    pub public: bool,
    /// Knows the operator.
    pub operator: Arc<Operator>,
}

impl Access {
    fn look(&self, request: &HttpRequest) -> Result<(), ApiError> {
        if self.public { Ok(()) } else { self.operate(request) }
    }

    fn operate(&self, request: &HttpRequest) -> Result<(), ApiError> {
        self.operator.authorize(request)
    }
}

fn number(parameters: &Parameters<'_>, name: &str, default: usize, most: usize) -> Result<usize, Refusal> {
    let Some(text) = parameters.filled(name) else { return Ok(default) };
    match text.parse() {
        Ok(number @ 1..) => Ok(usize::min(number, most)),
        _ => Err(Refusal::Invalid(format!(
            "{name}: a number of at least 1 is needed (more than {most} is {most}), not {text:?}"
        ))),
    }
}

/// `GET /trace/{message}?limit=`: what descends from a message.
pub(super) async fn trace(api: Data<Api>, path: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    api.access.look(&request)?;
    let message: ItemId = id("the message in the path", &path)?;
    let limit = number(&Parameters::of(&request), "limit", DEFAULT_NODES, MAX_NODES)?;
    match api.reporter.report(message, limit).await.map_err(Refusal::from)? {
        Some(report) => Ok(HttpResponse::Ok().json(report)),
        None => Err(ApiError::not_found(format!(
            "nothing is known here of {message}: it did not come through this messenger, or it was long ago"
        ))),
    }
}

/// `GET /dead-letters?before=&limit=`: the newest of what was given up, newest first.
pub(super) async fn dead_letters(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    api.access.look(&request)?;
    let parameters = Parameters::of(&request);
    let limit = number(&parameters, "limit", DEFAULT_LISTED, MAX_LISTED)?;
    let before = match parameters.filled("before") {
        Some(text) => Some(LetterId(
            text.parse()
                .map_err(|_| Refusal::Invalid(format!("before: the id of a dead letter is needed, not {text:?}")))?,
        )),
        None => None,
    };
    let letters = api.reporter.driver.dead_letters(before, limit).await.map_err(Refusal::from)?;
    let letters: Vec<_> = letters.iter().rev().map(letter).collect();
    Ok(HttpResponse::Ok().json(json!({ "deadLetters": letters })))
}

/// `POST /dead-letters/{id}/retry`: takes a task up again where it was given up.
pub(super) async fn retry(api: Data<Api>, path: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    api.access.operate(&request)?;
    let id = path.parse().map_err(|_| ApiError::bad_request("a dead letter's id is a number"))?;
    match api.reporter.driver.retry(LetterId(id)).await {
        Ok(()) => Ok(HttpResponse::Accepted().json(json!({ "message": "Retrying", "id": id }))),
        Err(error @ RetryError::Unknown(_)) => Err(ApiError::not_found(error.to_string())),
        Err(error @ RetryError::Unusable { .. }) => Err(ApiError::new(StatusCode::CONFLICT, error.to_string())),
        Err(RetryError::Store(error)) => Err(Refusal::Store(error).into()),
    }
}

/// `GET /monitors?limit=`: who is monitored, when each is due and how it fares; those that fail first.
pub(super) async fn monitors(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    api.access.look(&request)?;
    let limit = number(&Parameters::of(&request), "limit", DEFAULT_LISTED, MAX_LISTED)?;
    let (rows, total) = api.cron.rows(limit);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(process, row)| {
            json!({
                "process": process,
                "due": row.due,
                "polled": row.polled,
                "failures": row.failures,
                "error": row.error,
            })
        })
        .collect();
    let mut answer = json!({ "monitors": rows, "total": total });
    if let Some(shared) = api.reporter.outbox.shared() {
        let others = shared.others().await.map_err(Refusal::from)?;
        let others: Vec<_> = others
            .into_iter()
            .map(|Other { messenger, shares, tasks, monitors }| {
                json!({ "messenger": messenger, "shares": shares, "tasks": tasks, "monitors": monitors })
            })
            .collect();
        answer["others"] = others.into();
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /`: without `debug` the name of the unit; with it a page of traces, empty for those who may not see them
/// (spec 04 §6).
pub(super) async fn home(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::of(&request);
    if parameters.filled("debug").is_none() {
        return Ok(text("ao messenger unit"));
    }
    let process =
        parameters.filled("process").ok_or_else(|| ApiError::bad_request("'process': Process ID is required."))?;
    let mut chosen = ["message", "assign", "spawn"].into_iter().filter(|name| parameters.filled(name).is_some());
    let kind = chosen.next();
    if chosen.next().is_some() {
        return Err(Refusal::Conflicting(
            "Only one of message, assign, or spawn query parameters can be provided".into(),
        )
        .into());
    }
    if api.access.look(&request).is_err() {
        return Ok(HttpResponse::Ok().json(json!({ "pageInfo": { "hasNextPage": false }, "edges": [] })));
    }
    let query = PageQuery {
        process: id("process", process)?,
        kind: match kind {
            Some("assign") => "ASSIGN",
            Some("spawn") => "SPAWN",
            _ => "MESSAGE",
        },
        part: kind.filter(|name| *name != "spawn").and_then(|name| parameters.filled(name)).map(str::to_owned),
        page: number(&parameters, "page", 1, usize::MAX)?,
        size: number(&parameters, "page-size", 10, MAX_PAGE)?,
    };
    Ok(HttpResponse::Ok().json(api.reporter.page(&query).await.map_err(Refusal::from)?))
}

/// Which entry of a result it is that there is no item of yet, and what it says.
fn entry(work: &Work) -> Option<(String, String)> {
    let text = |entry: Result<String, serde_json::Error>| entry.unwrap_or_default();
    match work {
        Work::Message { message, .. } => {
            let entry = format!("message to {} with anchor {}", message.target, message.anchor);
            Some((entry, text(serde_json::to_string(message))))
        }
        Work::Spawn { spawn, .. } => Some(("spawn".into(), text(serde_json::to_string(spawn)))),
        Work::Notice { spawned, tags, .. } => Some((format!("notice of {spawned}"), text(serde_json::to_string(tags)))),
        Work::Assign { assign, .. } => {
            let entry = format!("assignment of {} to {}", assign.message, assign.process);
            Some((entry, text(serde_json::to_string(assign))))
        }
        _ => None,
    }
}

fn letter(letter: &DeadLetter) -> Value {
    let DeadLetter { id, at: Timestamp(at), reason, letter } = letter;
    match letter {
        Letter::Task(task) => {
            let mut told = json!({
                "id": id,
                "at": at,
                "reason": reason,
                "retryable": true,
                "stage": task.stage(),
                "origin": task.descent.origin,
                "item": task.item(),
                "parent": task.descent.parent,
                "depth": task.descent.depth,
                "emitter": task.emitter(),
            });
            if let Some((entry, text)) = entry(&task.work) {
                told["entry"] = entry.into();
                told["text"] = cut(&text).into();
            }
            told
        }
        Letter::Entry { emitter, entry } => json!({
            "id": id,
            "at": at,
            "reason": reason,
            "retryable": false,
            "emitter": emitter,
            "entry": entry.entry,
            "text": entry.text,
        }),
    }
}
