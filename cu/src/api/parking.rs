//! Parked processes over HTTP: saying so on every answer, listing them, and resuming them.

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use holon_protocol::ProcessId;
use holon_unit::ApiError;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Answer, Api, process_id};

/// Header of every answer about a parked process: `slot=<nonce>; since=<ms>; until=<ms>`.
const PARKED: HeaderName = HeaderName::from_static("parked");
/// Headers of a request that somebody passed on.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
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
/// pause. For the operator: evaluating it may keep a thread busy for a long time.
pub async fn resume(request: HttpRequest, api: web::Data<Api>) -> Answer {
    authorize(&request, &api)?;
    let process = process_id(&api, request.match_info().get("process"))?;
    match api.compute.resume(process) {
        Some(parked) => Ok(HttpResponse::Accepted().json(json!({ "process": process, "resumed": parked }))),
        None => Err(ApiError::not_found(format!("process {process} is not parked"))),
    }
}

/// With a token configured, the token counts, wherever the request comes from. Without one, the request must come from this
/// computer itself: not passed on by a proxy, and not sent by a page in a browser, which could be anybody's.
fn authorize(request: &HttpRequest, api: &Api) -> Result<(), ApiError> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(expected) = &api.options.operator_token {
        let given = header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Digests take the same time to compare wherever they differ.
        if Sha256::digest(given.trim()) == Sha256::digest(expected.as_bytes()) {
            return Ok(());
        }
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "the operator's token is needed"));
    }
    let local = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let passed_on = PASSED_ON.iter().any(|name| request.headers().contains_key(*name));
    let from_a_page = request.headers().contains_key(ORIGIN) || !header(HOST.as_str()).is_some_and(names_this_computer);
    if local && !passed_on && !from_a_page {
        return Ok(());
    }
    let reason = "only requests from this computer may do this, as long as no operator's token is configured";
    Err(ApiError::new(StatusCode::FORBIDDEN, reason))
}

/// Whether a `Host` header means this computer and not some name that merely leads here.
fn names_this_computer(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_computer_are_its_own() {
        for host in ["localhost", "localhost:6363", "127.0.0.1", "127.0.0.1:80", "[::1]:6363", "[::1]"] {
            assert!(names_this_computer(host), "{host}");
        }
        for host in ["", "example.com", "127.0.0.1.example.com", "10.0.0.1:6363", "[2001:db8::1]", "localhost.evil"] {
            assert!(!names_this_computer(host), "{host}");
        }
    }
}
