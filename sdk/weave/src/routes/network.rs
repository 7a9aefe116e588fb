//! The network as a whole: `/info`, time, anchors, mining, health.

use actix_web::http::header::ContentType;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::StatusCode};
use serde_json::{Value, json};

use super::{Shared, get};
use crate::answer::Refusal;
use crate::store::blocks::{Block, now};

/// Most blocks made by one request.
pub const MAX_MINED_BLOCKS: u64 = 10_000;
/// Name of this network.
pub const NETWORK: &str = "ao.local.1";

pub fn configure(config: &mut ServiceConfig) {
    config
        .route("/info", get().to(info))
        .route("/peers", get().to(peers))
        .route("/height", get().to(height))
        .route("/time", get().to(time))
        .route("/tx_anchor", get().to(anchor))
        .route("/mine", get().to(mine))
        .route("/mine/{count}", get().to(mine_many))
        .route("/reset", get().to(reset))
        .route("/health", get().to(health))
        .route("/metrics", get().to(metrics));
}

pub async fn info(state: Shared) -> HttpResponse {
    HttpResponse::Ok().json(describe(&state.weave.store().tip()))
}

fn describe(tip: &Block) -> Value {
    json!({
        "network": NETWORK,
        "version": 1,
        "release": 1,
        "height": tip.height,
        "current": tip.id,
        "blocks": tip.height + 1,
        "peers": 1,
        "queue_length": 0,
        "node_state_latency": 0,
    })
}

async fn peers() -> HttpResponse {
    HttpResponse::Ok().json(json!([]))
}

async fn height(state: Shared) -> HttpResponse {
    text(state.weave.store().tip().height.to_string())
}

async fn time() -> HttpResponse {
    text(now().to_string())
}

async fn anchor(state: Shared) -> HttpResponse {
    text(state.weave.store().tip().id)
}

async fn mine(state: Shared) -> Result<HttpResponse, Refusal> {
    Ok(HttpResponse::Ok().json(describe(&state.weave.mine(1).await?)))
}

async fn mine_many(state: Shared, count: web::Path<String>) -> Result<HttpResponse, Refusal> {
    let count: u64 = count.parse().map_err(|_| Refusal::bad_request("The number of blocks must be an integer."))?;
    if count > MAX_MINED_BLOCKS {
        return Err(Refusal::bad_request(format!("At most {MAX_MINED_BLOCKS} blocks can be mined at once.")));
    }
    Ok(HttpResponse::Ok().json(describe(&state.weave.mine(count).await?)))
}

async fn reset(state: Shared) -> Result<HttpResponse, Refusal> {
    state.weave.reset().await?;
    Ok(text("reset done"))
}

async fn health() -> HttpResponse {
    HttpResponse::build(StatusCode::OK).json(json!({ "status": "ok" }))
}

async fn metrics(state: Shared) -> HttpResponse {
    state.metrics.response()
}

/// A plain text answer.
pub fn text(text: impl Into<String>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body(text.into())
}
