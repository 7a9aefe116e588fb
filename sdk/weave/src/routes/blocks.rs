//! Node: blocks (spec 03 §4.4).

use actix_web::HttpResponse;
use actix_web::web::Path;
use holon_protocol::base64url;
use holon_unit::routes::{Content, Routes, get_or_head as get, schema};
use serde_json::{Value, json};

use super::Shared;
use crate::answer::Refusal;
use crate::store::blocks::Block;

pub fn add(routes: Routes) -> Routes {
    let block = || {
        Content::Json(schema::object([
            ("height", schema::number()),
            ("indep_hash", schema::text()),
            ("previous_block", schema::text()),
            ("timestamp", schema::number()),
            ("txs", schema::list(schema::id())),
        ]))
    };
    routes
        .at("/block/current", [get(current, "The newest block").gives(200, "The block.", block())])
        .at("/current_block", [get(current, "The newest block").gives(200, "The block.", block())])
        .at(
            "/block/height/{height}",
            [get(at_height, "A block by height")
                .part("height", schema::number(), "Its height.")
                .gives(200, "The block.", block())
                .fails(400, "That is no number.")
                .fails(404, "There is none.")],
        )
        .at(
            "/block/hash/{hash}",
            [get(with_hash, "A block by id")
                .part("hash", schema::text(), "48 bytes as base64url.")
                .gives(200, "The block.", block())
                .fails(400, "That is no hash.")
                .fails(404, "There is none.")],
        )
}

async fn current(state: Shared) -> HttpResponse {
    HttpResponse::Ok().json(describe(&state.weave.store().tip()))
}

async fn at_height(state: Shared, height: Path<String>) -> Result<HttpResponse, Refusal> {
    let height: u64 = height.parse().map_err(|_| Refusal::bad_request("The height must be an integer."))?;
    found(state.weave.store().block_at(height)?)
}

async fn with_hash(state: Shared, hash: Path<String>) -> Result<HttpResponse, Refusal> {
    if base64url::decode(hash.as_str()).map(|bytes| bytes.len()) != Ok(48) {
        return Err(Refusal::bad_request("Invalid hash."));
    }
    found(state.weave.store().block_by_id(&hash)?)
}

fn found(block: Option<Block>) -> Result<HttpResponse, Refusal> {
    let block = block.ok_or_else(|| Refusal::text(actix_web::http::StatusCode::NOT_FOUND, "Block not found."))?;
    Ok(HttpResponse::Ok().json(describe(&block)))
}

/// A block as nodes show it; what mining would fill is empty or zero.
fn describe(block: &Block) -> Value {
    json!({
        "height": block.height,
        "indep_hash": block.id,
        "hash": block.id,
        "previous_block": block.previous,
        "timestamp": block.timestamp,
        "last_retarget": block.timestamp,
        "txs": block.transactions,
        "tx_root": "",
        "tx_tree": [],
        "wallet_list": "",
        "hash_list_merkle": "",
        "tags": [],
        "reward_addr": "unclaimed",
        "reward_pool": "0",
        "weave_size": block.weave_size.to_string(),
        "block_size": block.block_size.to_string(),
        "diff": "0",
        "cumulative_diff": "0",
        "nonce": "",
        "poa": { "option": "1", "tx_path": "", "data_path": "", "chunk": "" },
    })
}
