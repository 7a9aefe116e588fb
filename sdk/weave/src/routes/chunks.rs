//! Node: chunks of transactions (spec 03 §4.3, §5.5).

use actix_web::web::{self, Path};
use actix_web::{HttpRequest, HttpResponse};
use holon_protocol::base64url;
use holon_unit::routes::{Content, Routes, get_or_head as get, post, schema};
use serde_json::json;

use super::{Shared, items};
use crate::answer::Refusal;
use crate::body::MAX_JSON_BYTES;

pub fn add(routes: Routes) -> Routes {
    let chunk =
        || schema::object([("chunk", schema::text()), ("data_path", schema::text()), ("tx_path?", schema::text())]);
    routes
        .at(
            "/chunk",
            [items::receives(post(submit, "Takes a chunk of a transaction's data"))
                .body("The chunk with its proof.", [Content::Json(schema::anything())])
                .gives(200, "It is here.", Content::Json(schema::object([])))
                .gives(400, "It is not acceptable; a code says why.", Content::error())],
        )
        .at(
            "/chunk/{offset}",
            [get(self::chunk, "A chunk of the weave")
                .part("offset", schema::number(), "An offset in it.")
                .gives(200, "The chunk.", Content::Json(chunk()))
                .fails(400, "That is no number.")
                .fails(404, "There is nothing there.")],
        )
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
