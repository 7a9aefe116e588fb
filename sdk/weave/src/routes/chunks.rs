//! Node: chunks of transactions (spec 03 §4.3, §5.5).

use actix_web::web::{self, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use holon_protocol::base64url;
use serde_json::json;

use super::{Shared, get};
use crate::answer::Refusal;
use crate::body::MAX_JSON_BYTES;

pub fn configure(config: &mut ServiceConfig) {
    config.route("/chunk", web::post().to(submit)).route("/chunk/{offset}", get().to(chunk));
}

async fn submit(state: Shared, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    let body = state.budget.read(&request, payload, MAX_JSON_BYTES).await?;
    state.weave.submit_chunk(body.bytes.clone()).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

async fn chunk(state: Shared, offset: Path<String>) -> Result<HttpResponse, Refusal> {
    let offset: u64 = offset.parse().map_err(|_| Refusal::bad_request("The offset must be an integer."))?;
    let found = state.weave.run(move |weave| weave.store().chunk_at(offset)).await??;
    let chunk = found.ok_or_else(Refusal::not_found)?;
    Ok(HttpResponse::Ok().json(json!({
        "chunk": base64url::encode(&chunk.bytes),
        "data_path": base64url::encode(&chunk.data_path),
        // Blocks here have no tree over their transactions, so there is nothing to prove.
        "tx_path": "",
        "packing": "unpacked",
    })))
}
