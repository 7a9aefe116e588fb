//! Parked processes over HTTP: saying so on every answer, listing them, and resuming them.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use holon_protocol::ProcessId;
use holon_unit::ApiError;
use serde_json::json;

use super::{Answer, Api, process_id};

/// Header of every answer about a parked process: `slot=<nonce>; since=<ms>; until=<ms>`.
const PARKED: HeaderName = HeaderName::from_static("parked");
/// Most processes of a listing.
const MAX_LISTED: usize = 1000;

/// The answer, which says so if the process is parked.
pub fn noted(api: &Api, process: ProcessId, answer: Answer) -> Answer {
    let Some(parked) = api.compute.parked(process) else { return answer };
    let mut answer = answer.unwrap_or_else(|error| error.error_response());
    if let Ok(value) = HeaderValue::from_str(&parked.header()) {
        answer.headers_mut().insert(PARKED, value);
    }
    Ok(answer)
}

/// `GET /parked`: `{"parked":[…],"total":n}`, longest parked first.
pub async fn list(api: web::Data<Api>) -> HttpResponse {
    let mut parked = api.compute.all_parked();
    let total = parked.len();
    parked.truncate(MAX_LISTED);
    HttpResponse::Ok().json(json!({ "parked": parked, "total": total }))
}

/// `POST /resume/{process}`: tries the message that a process is parked before again, without waiting for the end of the
/// pause. For the operator, who shows a token: evaluating it may keep a thread busy for a long time.
pub async fn resume(request: HttpRequest, api: web::Data<Api>) -> Answer {
    api.operator.authorize(&request)?;
    let process = process_id(&api, request.match_info().get("process"))?;
    match api.compute.resume(process) {
        Some(parked) => Ok(HttpResponse::Accepted().json(json!({ "process": process, "resumed": parked }))),
        None => Err(ApiError::not_found(format!("process {process} is not parked"))),
    }
}
