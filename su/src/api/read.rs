//! Reads (spec 02 §1, §7).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use holon_protocol::{ItemId, ProcessId};
use serde::Serialize;

use super::Api;
use super::answer::Failure;
use super::query::{ReadQuery, anchors};
use crate::log::StoreError;
use crate::reader::{Found, ReadError, Reader};

/// `GET /`
pub(super) async fn address(api: Data<Api>) -> HttpResponse {
    let address = api.scheduler.wallet().address().to_string();
    HttpResponse::Ok().json(serde_json::json!({ "timestamp": api.scheduler.now().to_string(), "address": address }))
}

/// `GET /timestamp`
pub(super) async fn timestamp(api: Data<Api>) -> HttpResponse {
    let height = api.scheduler.height().padded();
    HttpResponse::Ok().json(serde_json::json!({ "timestamp": api.scheduler.now().to_string(), "block_height": height }))
}

/// `GET /metrics`
pub(super) async fn metrics(api: Data<Api>) -> Result<HttpResponse, Failure> {
    match &api.metrics {
        Some(metrics) => Ok(metrics.response()),
        None => Err(Failure::Text(StatusCode::BAD_REQUEST, "Metrics not enabled".into())),
    }
}

/// `GET /processes/{process_id}`
pub(super) async fn process(api: Data<Api>, request: HttpRequest, path: Path<String>) -> Result<HttpResponse, Failure> {
    let anchors = anchors(request.query_string());
    let process: ProcessId = path.parse().map_err(|_| ReadError::UnknownProcess)?;
    api.access.may_read(process)?;
    answer(&api, move |reader| json(&reader.process(process, anchors)?)).await
}

/// `GET /{process_id}/latest`
pub(super) async fn latest(api: Data<Api>, path: Path<String>) -> Result<HttpResponse, Failure> {
    let process: ProcessId = path.parse().map_err(|_| ReadError::UnknownProcess)?;
    api.access.may_read(process)?;
    answer(&api, move |reader| json(&reader.latest(process)?)).await
}

/// `GET /{tx_id}`: an entry, or a page when the id is a process's.
pub(super) async fn find(api: Data<Api>, request: HttpRequest, path: Path<String>) -> Result<HttpResponse, Failure> {
    let query = ReadQuery::parse(request.query_string())?;
    let id: ItemId = path.parse().map_err(|_| ReadError::NotFound)?;
    let process = query.process.unwrap_or_else(|| id.into());
    api.access.may_read(process)?;
    answer(&api, move |reader| {
        Ok(match reader.find(id, process, &query.page)? {
            Found::Entry(entry) => json(&entry)?,
            Found::Page(page) => json(&page)?,
        })
    })
    .await
}

/// Reads on the readers' threads, where even writing the JSON text happens.
async fn answer(
    api: &Data<Api>,
    read: impl FnOnce(&Reader) -> Result<Vec<u8>, ReadError> + Send + 'static,
) -> Result<HttpResponse, Failure> {
    let reader = api.reader.clone();
    let text = api.readers.run(move || read(&reader)).await??;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ReadError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Corrupt(error.to_string()).into())
}
