//! Bundler: data items come in (spec 03 §6.3).

use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use holon_unit::routes::{Content, Operation, Routes, get_or_head as get, post, schema};
use serde_json::{Value, json};

use super::{Shared, transactions};
use crate::answer::Refusal;
use crate::body::{Body, MAX_ITEM_BYTES};

/// Blocks within which a bundler promises an item to be mined.
const DEADLINE_BLOCKS: u64 = 200;

pub fn add(routes: Routes) -> Routes {
    let bundler = |summary| {
        receives(post(upload, summary)).body("A signed data item.", [Content::bytes()]).gives(
            200,
            "It is here.",
            Content::Json(receipt()),
        )
    };
    let token = |operation: Operation| operation.part("token", schema::text(), "A payment token; any.");
    routes.at("/v1/tx", [bundler("Takes a data item")]).at("/v1/tx/{token}", [token(bundler("Takes a data item"))]).at(
        "/tx/{id}",
        [
            // The same place is a payment token for bundlers and an id for nodes.
            bundler("Takes a data item").part("id", schema::text(), "A payment token; any."),
            get(transactions::transaction, "A transaction")
                .part("id", schema::id(), "The transaction.")
                .gives(200, "The transaction.", Content::Json(transactions::transaction_schema()))
                .gives(202, "It is in no block yet.", Content::text())
                .fails(400, "That is no id.")
                .fails(404, "There is no such transaction."),
        ],
    )
}

/// What can become of an upload.
pub fn receives(operation: Operation) -> Operation {
    operation
        .fails(400, "It is not acceptable; the text says why.")
        .fails(408, "The body came too slowly.")
        .fails(413, "The body is too large.")
        .fails(503, "Too many uploads at once, or the service is stopping.")
}

fn receipt() -> Value {
    schema::object([
        ("id", schema::id()),
        ("timestamp", schema::number()),
        ("owner", schema::id()),
        ("version", schema::text()),
        ("deadlineHeight", schema::number()),
        ("winc", schema::digits()),
    ])
}

async fn upload(state: Shared, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    let body = state.budget.read(&request, payload, MAX_ITEM_BYTES).await?;
    submit(&state, &request, body).await
}

/// Takes an item and answers with a receipt. Known items get one too.
pub async fn submit(state: &Shared, request: &HttpRequest, body: Body) -> Result<HttpResponse, Refusal> {
    let item = state.weave.submit_item(body.bytes.clone()).await?;
    let host = request.connection_info().host().to_owned();
    Ok(HttpResponse::Ok().json(json!({
        "id": item.id(),
        "timestamp": state.weave.store().clock().now(),
        "owner": item.owner_address(),
        "version": "0.2.0",
        "deadlineHeight": state.weave.store().tip().height + DEADLINE_BLOCKS,
        "winc": "0",
        "dataCaches": [&host],
        "fastFinalityIndexes": [&host],
        // No client checks a receipt, and a signature of nobody would prove nothing.
        "public": "",
        "signature": "",
    })))
}
