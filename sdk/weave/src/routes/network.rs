//! The network as a whole: `/info`, time, anchors, mining, health.

use actix_web::http::header::ContentType;
use actix_web::web;
use actix_web::{HttpResponse, http::StatusCode};
use holon_unit::routes::{Content, Routes, get_or_head as get, schema};
use serde_json::{Value, json};

use super::Shared;
use crate::answer::Refusal;
use crate::store::blocks::Block;

/// Most blocks made by one request.
pub const MAX_MINED_BLOCKS: u64 = 10_000;
/// Name of this network.
pub const NETWORK: &str = "ao.local.1";

pub fn add(routes: Routes) -> Routes {
    let network = || {
        Content::Json(schema::object([
            ("network", schema::text()),
            ("height", schema::number()),
            ("current", schema::text()),
            ("blocks", schema::number()),
        ]))
    };
    routes
        .at("/info", [get(info, "The network").gives(200, "Its name and newest block.", network())])
        .at(
            "/peers",
            [get(peers, "Other nodes").gives(200, "There are none.", Content::Json(schema::list(schema::text())))],
        )
        .at("/height", [get(height, "Height of the newest block").gives(200, "A number.", Content::text())])
        .at("/time", [get(time, "The clock").gives(200, "Seconds.", Content::text())])
        .at(
            "/tx_anchor",
            [get(anchor, "An anchor for a transaction").gives(200, "The newest block's id.", Content::text())],
        )
        .at("/mine", [get(mine, "Makes a block").extension().gives(200, "The network.", network())])
        .at(
            "/mine/{count}",
            [get(mine_many, "Makes blocks")
                .extension()
                .part("count", schema::number_in(0, MAX_MINED_BLOCKS, 1), "How many.")
                .gives(200, "The network.", network())
                .fails(400, "That is no number, or too large a one.")],
        )
        .at(
            "/reset",
            [get(reset, "Forgets everything").about("For tests: all that was uploaded is gone.").extension().gives(
                200,
                "It has.",
                Content::text(),
            )],
        )
        .at(
            "/health",
            [get(health, "Whether it serves").gives(
                200,
                "It does.",
                Content::Json(schema::object([("status", schema::text())])),
            )],
        )
        .at("/metrics", [get(metrics, "Metrics").extension().gives(200, "OpenMetrics.", Content::metrics())])
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

async fn time(state: Shared) -> HttpResponse {
    text(state.weave.store().clock().seconds().to_string())
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
