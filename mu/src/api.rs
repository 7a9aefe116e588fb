//! The routes (spec 04 §1): parse, call, answer. Nothing redirects: Node clients cannot replay a binary body.

mod body;
mod seeing;
mod surface;

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use holon_protocol::{ItemId, ProcessId};
use holon_unit::{ApiError, trace_context};
use serde_json::json;
use url::form_urlencoded;

pub use body::{Bodies, Body, MAX_ITEM_BYTES};
pub use seeing::Access;
pub use surface::routes;

use crate::crank::outgoing::{Assign, is_exclude_field};
use crate::cron::Cron;
use crate::error::Refusal;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::push::Pusher;
use crate::trace::Reporter;

/// Memory for bodies of requests that are not answered yet, in bytes.
pub const MAX_BODIES_BYTES: usize = 512 * 1024 * 1024;
/// How long metrics wait to hear how large the outbox is, before they tell what was heard last.
const SIZE_TIMEOUT: Duration = Duration::from_millis(500);
/// Most fields an `exclude` parameter may name.
pub const MAX_EXCLUDE_FIELDS: usize = 32;

/// What the routes call.
#[derive(Clone)]
pub struct Api {
    /// Client items.
    pub ingest: Ingest,
    /// Monitors.
    pub cron: Cron,
    /// Pushing again.
    pub pusher: Pusher,
    /// Traces.
    pub reporter: Reporter,
    /// Who may see them.
    pub access: Access,
    /// Counters.
    pub metrics: Metrics,
    /// Memory for bodies.
    pub bodies: Bodies,
}

/// The query's parameters as sent, in order.
struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn of(request: &'a HttpRequest) -> Self {
        Self(form_urlencoded::parse(request.query_string().as_bytes()).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_ref())
    }

    /// A value that is not empty.
    fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

fn id<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error| Refusal::Invalid(format!("{name}: {error}")))
}

fn text(body: &'static str) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(body)
}

async fn post(api: Data<Api>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::of(&request);
    let trace = trace_context::of(&request);
    let (message, id) = match (parameters.filled("process-id"), parameters.filled("assign")) {
        (None, None) => {
            let body = api.bodies.read(&request, payload).await?;
            ("Processing DataItem", api.ingest.item(body, trace).await?)
        }
        (Some(process), Some(assign)) => {
            let assign = Assign {
                process: id("process-id", process)?,
                message: id("assign", assign)?,
                base_layer: parameters.get("base-layer").is_some(),
                exclude: exclude(parameters.get("exclude"))?,
            };
            ("Processing Assignment", api.ingest.assignment(assign, trace).await?)
        }
        _ => {
            return Err(ApiError::bad_request(
                "You must set both process-id and assign to send an assignment, not just one",
            ));
        }
    };
    Ok(HttpResponse::Accepted().json(json!({ "message": message, "id": id })))
}

fn exclude(fields: Option<&str>) -> Result<Vec<String>, Refusal> {
    let fields: Vec<String> = fields
        .unwrap_or_default()
        .split(',')
        .map(|field| field.trim().to_owned())
        .filter(|it| !it.is_empty())
        .collect();
    if fields.len() > MAX_EXCLUDE_FIELDS || !fields.iter().all(|field| is_exclude_field(field)) {
        return Err(Refusal::Invalid(format!(
            "exclude: at most {MAX_EXCLUDE_FIELDS} field names of letters, digits and -, separated by commas, are needed"
        )));
    }
    Ok(fields)
}

async fn monitor(
    api: Data<Api>,
    path: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let process: ProcessId = id("the process in the path", &path)?;
    let body = api.bodies.read(&request, payload).await?;
    api.cron.monitor(process, body.bytes.clone()).await?;
    Ok(text("Monitoring process"))
}

async fn unmonitor(
    api: Data<Api>,
    path: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let process: ProcessId = id("the process in the path", &path)?;
    let body = api.bodies.read(&request, payload).await?;
    api.cron.unmonitor(process, body.bytes.clone()).await?;
    Ok(text("Process deleted"))
}

async fn push(api: Data<Api>, path: Path<(String, String)>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (message, number) = path.into_inner();
    let number: usize =
        number.parse().map_err(|_| ApiError::bad_request("'number' parameter must be a valid number"))?;
    let parameters = Parameters::of(&request);
    let process =
        parameters.filled("process-id").ok_or_else(|| ApiError::bad_request("'process-id' parameter is required"))?;
    let message: ItemId = id("the message in the path", &message)?;
    api.pusher.push(message, number, id("process-id", process)?).await?;
    Ok(HttpResponse::Accepted().json(json!({ "message": "Processing Message Result", "id": message })))
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().finish()
}

async fn metrics(api: Data<Api>) -> HttpResponse {
    api.reporter.driver.observe();
    api.cron.observe();
    api.metrics.bodies(api.bodies.reserved());
    match tokio::time::timeout(SIZE_TIMEOUT, api.reporter.outbox.size()).await {
        Ok(Ok(bytes)) => api.metrics.stored(bytes),
        Ok(Err(error)) => tracing::debug!(%error, "how large the outbox is cannot be told"),
        Err(_) => tracing::debug!("how large the outbox is was not told in time"),
    }
    api.metrics.registry().response()
}

async fn nowhere() -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found("there is no such route"))
}

async fn wrong_method() -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method"))
}
