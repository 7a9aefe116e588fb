//! Bundler: data items come in (spec 03 §6.3).

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::{Shared, transactions};
use crate::answer::Refusal;
use crate::body::{Body, MAX_ITEM_BYTES};

/// Blocks within which a bundler promises an item to be mined.
const DEADLINE_BLOCKS: u64 = 200;

pub fn configure(config: &mut ServiceConfig) {
    config.route("/v1/tx", web::post().to(upload)).route("/v1/tx/{token}", web::post().to(upload)).service(
        web::resource("/tx/{id}")
            // The same place is a payment token for bundlers and an id for nodes.
            .route(web::post().to(upload))
            .route(super::get().to(transactions::transaction))
            .default_service(web::to(super::unknown)),
    );
}

async fn upload(state: Shared, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    let body = state.budget.read(&request, payload, MAX_ITEM_BYTES).await?;
    submit(&state, &request, body).await
}

/// Takes an item and answers with a receipt. Known items get one too.
pub async fn submit(state: &Shared, request: &HttpRequest, body: Body) -> Result<HttpResponse, Refusal> {
    let item = state.weave.submit_item(body.bytes.clone()).await?;
    let host = request.connection_info().host().to_owned();
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(HttpResponse::Ok().json(json!({
        "id": item.id(),
        "timestamp": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
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
