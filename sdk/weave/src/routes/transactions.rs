//! Node: base-layer transactions (spec 03 §4.2, §5.5).

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{self, Path};
use actix_web::{HttpRequest, HttpResponse};
use holon_arweave::Transaction;
use holon_protocol::base64url;
use holon_unit::routes::{Content, Operation, Routes, get_or_head as get, post, schema};
use serde_json::{Value, json};

use super::network::text;
use super::{Shared, data, id, items};
use crate::answer::Refusal;
use crate::body::{MAX_ITEM_BYTES, MAX_JSON_BYTES};
use crate::store::accept::Accepted;
use crate::store::record::Record;

/// Largest data answered as base64url text, in bytes.
const MAX_TEXT_DATA_BYTES: u64 = 12 * 1024 * 1024;

pub fn add(routes: Routes) -> Routes {
    let of_one = |operation: Operation| {
        operation
            .part("id", schema::id(), "The transaction.")
            .fails(400, "That is no id.")
            .fails(404, "There is no such transaction.")
    };
    let status = schema::object([
        ("block_height", schema::number()),
        ("block_indep_hash", schema::text()),
        ("number_of_confirmations", schema::number()),
    ]);
    let place = schema::object([("offset", schema::digits()), ("size", schema::digits())]);
    routes
        .at(
            "/tx",
            [items::receives(post(submit, "Takes a transaction, or a data item"))
                .body("A transaction as JSON, or a signed data item.", [Content::Json(transaction_schema()), Content::bytes()])
                .gives(200, "It is here; an item gets a receipt.", Content::text())
                .gives(208, "It was here already.", Content::text())],
        )
        .at(
            "/tx/pending",
            [get(pending, "Transactions that are in no block").gives(
                200,
                "Their ids.",
                Content::Json(schema::list(schema::id())),
            )],
        )
        .at(
            "/tx/{id}/status",
            [of_one(get(self::status, "Where it is").about("For items too."))
                .gives(200, "Its block.", Content::Json(status))
                .gives(202, "It is in no block yet.", Content::text())],
        )
        .at(
            "/tx/{id}/offset",
            [of_one(get(offset, "Where its data lies")).gives(200, "Its end in the weave.", Content::Json(place))],
        )
        .at("/tx/{id}/data", [of_one(get(encoded_data, "Its data as base64url")).gives(200, "The text.", Content::text())])
        .at(
            "/tx/{id}/data.{extension}",
            [of_one(get(plain_data, "Its data"))
                .part("extension", schema::text(), "Any.")
                .gives(200, "The data.", Content::bytes())
                .gives(206, "The part that `Range` names.", Content::bytes())
                .gives(304, "The client has it (`If-None-Match`).", Content::Empty)
                .gives(416, "There is no such part.", Content::Empty)],
        )
        .at(
            "/tx/{id}/{field}",
            [of_one(get(field, "One of its fields"))
                .part("field", schema::text(), "`id`, `last_tx`, `owner`, `target`, `quantity`, `reward`, `signature`, `data_size`, `data_root` or `tags`.")
                .gives(200, "The field.", Content::text())
                .gives(202, "It is in no block yet.", Content::text())],
        )
        .at(
            "/unconfirmed_tx/{id}",
            [of_one(get(unconfirmed, "A transaction that is in no block")).gives(
                200,
                "The transaction.",
                Content::Json(transaction_schema()),
            )],
        )
}

/// A transaction as JSON.
pub fn transaction_schema() -> Value {
    schema::object([
        ("format", schema::number()),
        ("id", schema::id()),
        ("last_tx", schema::text()),
        ("owner", schema::text()),
        ("tags", schema::tags()),
        ("target", schema::text()),
        ("quantity", schema::digits()),
        ("reward", schema::digits()),
        ("data_size", schema::digits()),
        ("data_root", schema::text()),
        ("signature", schema::text()),
    ])
}

/// A transaction as JSON, or a data item as bytes.
async fn submit(state: Shared, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = kind.to_ascii_lowercase().contains("json");
    let limit = if is_json { MAX_JSON_BYTES } else { MAX_ITEM_BYTES };
    let body = state.budget.read(&request, payload, limit).await?;
    // No item begins with a brace, so a missing or careless Content-Type does no harm.
    if !is_json && body.bytes.first() != Some(&b'{') {
        return items::submit(&state, &request, body).await;
    }
    if body.bytes.len() > MAX_JSON_BYTES {
        return Err(Refusal::too_large(MAX_JSON_BYTES));
    }
    match state.weave.submit_transaction(body.bytes.clone()).await? {
        (_, Accepted::New) => Ok(text("OK")),
        (_, Accepted::Known) => Ok(HttpResponse::AlreadyReported().body("Transaction already processed.")),
    }
}

/// `GET /tx/{id}`; registered together with the bundler's `POST /tx/{token}`.
pub async fn transaction(state: Shared, path: Path<String>) -> Result<HttpResponse, Refusal> {
    let (record, mined) = find(&state, &path)?;
    if !mined {
        return Ok(pending_answer());
    }
    Ok(HttpResponse::Ok().json(to_json(&state, &record)?))
}

async fn unconfirmed(state: Shared, path: Path<String>) -> Result<HttpResponse, Refusal> {
    match find(&state, &path)? {
        (_, true) => Err(Refusal::not_found()),
        (record, false) => Ok(HttpResponse::Ok().json(to_json(&state, &record)?)),
    }
}

/// The JSON of a transaction. Data is inline only in format 1, where it always came so.
fn to_json(state: &Shared, record: &Record) -> Result<Value, Refusal> {
    let transaction = only_transaction(record)?;
    if transaction.format == 1 {
        let data = state.weave.store().data(&record.place, 0, record.place.size)?;
        return Ok(Transaction { data, ..transaction.clone() }.to_json(true));
    }
    Ok(transaction.to_json(false))
}

/// Also for items, which share the block of what is around them.
async fn status(state: Shared, path: Path<String>) -> Result<HttpResponse, Refusal> {
    let record = state.weave.store().record(id(&path)?)?.ok_or_else(Refusal::not_found)?;
    let Some(height) = record.place.height else { return Ok(pending_answer()) };
    let block = state.weave.store().block_at(height)?.ok_or_else(Refusal::not_found)?;
    Ok(HttpResponse::Ok().json(json!({
        "block_height": block.height,
        "block_indep_hash": block.id,
        // The containing block counts; an open one is about to.
        "number_of_confirmations": (state.weave.store().tip().height + 1).saturating_sub(block.height).max(1),
    })))
}

async fn offset(state: Shared, path: Path<String>) -> Result<HttpResponse, Refusal> {
    let (record, _) = find(&state, &path)?;
    let end = record.place.weave_end.ok_or_else(Refusal::not_found)?;
    Ok(HttpResponse::Ok().json(json!({ "offset": end.to_string(), "size": record.place.size.to_string() })))
}

async fn encoded_data(state: Shared, path: Path<String>) -> Result<HttpResponse, Refusal> {
    let (record, _) = find(&state, &path)?;
    if record.place.size > MAX_TEXT_DATA_BYTES {
        return Err(Refusal::code(StatusCode::BAD_REQUEST, "tx_data_too_big"));
    }
    if !state.weave.store().is_complete(&record.place)? {
        return Err(Refusal::not_found());
    }
    let data = state.weave.run(move |weave| weave.store().data(&record.place, 0, record.place.size)).await??;
    Ok(text(base64url::encode(data)))
}

async fn plain_data(
    state: Shared,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Refusal> {
    let (record, _) = find(&state, &path.0)?;
    data::respond(&state, &request, record, data::Form::Plain).await
}

async fn field(state: Shared, path: Path<(String, String)>) -> Result<HttpResponse, Refusal> {
    let (record, mined) = find(&state, &path.0)?;
    if !mined {
        return Ok(pending_answer());
    }
    let transaction = only_transaction(&record)?;
    Ok(match path.1.as_str() {
        "id" => text(transaction.id.to_string()),
        "last_tx" => text(base64url::encode(&transaction.last_tx)),
        "owner" => text(base64url::encode(&transaction.owner)),
        "target" => text(transaction.target.map(base64url::encode).unwrap_or_default()),
        "quantity" => text(transaction.quantity.to_string()),
        "reward" => text(transaction.reward.to_string()),
        "signature" => text(base64url::encode(&transaction.signature)),
        "data_size" => text(transaction.data_size.to_string()),
        "data_root" => text(transaction.data_root.map(base64url::encode).unwrap_or_default()),
        "tags" => HttpResponse::Ok().json(transaction.encoded_tags()),
        _ => return Err(Refusal::code(StatusCode::BAD_REQUEST, "invalid_field")),
    })
}

async fn pending(state: Shared) -> Result<HttpResponse, Refusal> {
    let waiting = state.weave.run(|weave| weave.store().waiting()).await??;
    let ids: Vec<_> =
        waiting.into_iter().filter(|record| record.transaction().is_some()).map(|record| record.id).collect();
    Ok(HttpResponse::Ok().json(ids))
}

/// A base-layer transaction and whether it is mined. Items are unknown here.
fn find(state: &Shared, text: &str) -> Result<(Record, bool), Refusal> {
    let record = state.weave.store().record(id(text)?)?;
    let record = record.filter(|record| record.transaction().is_some()).ok_or_else(Refusal::not_found)?;
    let mined = record.place.height.is_some();
    Ok((record, mined))
}

fn only_transaction(record: &Record) -> Result<&Transaction, Refusal> {
    record.transaction().ok_or_else(Refusal::not_found)
}

fn pending_answer() -> HttpResponse {
    HttpResponse::Accepted().body("Pending")
}
