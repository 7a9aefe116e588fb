//! Wallets, prices and bundler accounts. Storing is free here, so balances are only what somebody set.

use actix_web::web::{self, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use holon_protocol::Address;
use holon_unit::routes::{Content, Operation, Routes, get_or_head as get, patch, post, schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::network::text;
use crate::answer::Refusal;

/// Largest body that sets a balance, in bytes.
const MAX_BODY_BYTES: usize = 4096;

pub fn add(routes: Routes) -> Routes {
    let account = || schema::object([("address", schema::id()), ("balance", schema::digits())]);
    let balanced = || Content::Json(schema::object([("address?", schema::id()), ("balance", schema::anything())]));
    let address =
        |operation: Operation| operation.part("address", schema::id(), "A wallet.").fails(400, "That is no address.");
    let changes = |operation: Operation| {
        operation
            .extension()
            .body("A balance in winston, as number or text.", [balanced()])
            .gives(200, "The balance now.", Content::Json(account()))
            .fails(408, "The body came too slowly.")
            .fails(413, "The body is too large.")
            .fails(503, "Too many uploads at once.")
    };
    routes
        .at("/wallet", [changes(post(create, "Sets a balance")).fails(400, "No address or no balance.")])
        .at(
            "/wallet/{address}/balance",
            [
                address(get(balance, "A balance").gives(200, "Winston.", Content::text())),
                address(changes(patch(set_balance, "Sets a balance"))),
            ],
        )
        .at(
            "/wallet/{address}/last_tx",
            [address(get(last_transaction, "The newest transaction of a wallet").gives(
                200,
                "Its id, or nothing.",
                Content::text(),
            ))],
        )
        .at(
            "/mint/{address}/{winston}",
            [address(get(mint, "Adds to a balance")).extension().part("winston", schema::digits(), "How much.").gives(
                200,
                "The balance now.",
                Content::text(),
            )],
        )
        .at(
            "/price/{bytes}",
            [get(price, "What storing costs")
                .part("bytes", schema::number(), "How many bytes.")
                .gives(200, "Nothing.", Content::text())
                .fails(400, "That is no number.")],
        )
        .at(
            "/price/{first}/{second}",
            [get(price_for, "What storing costs")
                .part("first", schema::text(), "Bytes, or a token.")
                .part("second", schema::text(), "A wallet, or bytes.")
                .gives(200, "Nothing.", Content::text())
                .fails(400, "That is no number.")],
        )
        .at(
            "/account/balance",
            [get(account_of_query, "A bundler account")
                .needs("address", schema::id(), "A wallet.")
                .gives(200, "Winston, as a JSON number.", Content::Json(schema::number()))
                .fails(400, "That is no address.")],
        )
        .at(
            "/account/balance/{address}",
            [get(self::account, "A bundler account")
                .part("address", schema::text(), "A wallet, or a token.")
                .query("address", schema::id(), "The wallet, if a token stands in the path.")
                .gives(200, "Winston, as a JSON number.", Content::Json(schema::number()))
                .fails(400, "That is no address.")],
        )
}

async fn balance(state: Shared, address: Path<String>) -> Result<HttpResponse, Refusal> {
    Ok(text(state.weave.store().balance(wallet(&address)?)?.to_string()))
}

async fn last_transaction(state: Shared, address: Path<String>) -> Result<HttpResponse, Refusal> {
    let last = state.weave.store().last_transaction(wallet(&address)?)?;
    Ok(text(last.map(|id| id.to_string()).unwrap_or_default()))
}

async fn mint(state: Shared, path: Path<(String, String)>) -> Result<HttpResponse, Refusal> {
    let (address, winston) = path.into_inner();
    let (address, winston) = (wallet(&address)?, amount(&winston)?);
    let balance = state.weave.change_balance(address, move |balance| balance.saturating_add(winston)).await?;
    Ok(text(balance.to_string()))
}

async fn create(state: Shared, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    let body = json_body(&state, &request, payload).await?;
    let address = wallet(body.get("address").and_then(Value::as_str).unwrap_or_default())?;
    set(&state, address, body.get("balance")).await
}

async fn set_balance(
    state: Shared,
    address: Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let address = wallet(&address)?;
    let body = json_body(&state, &request, payload).await?;
    set(&state, address, body.get("balance")).await
}

async fn json_body(state: &Shared, request: &HttpRequest, payload: web::Payload) -> Result<Value, Refusal> {
    let body = state.budget.read(request, payload, MAX_BODY_BYTES).await?;
    serde_json::from_slice(&body.bytes).map_err(|_| Refusal::bad_request("Invalid JSON."))
}

async fn set(state: &Shared, address: Address, balance: Option<&Value>) -> Result<HttpResponse, Refusal> {
    let winston = match balance {
        Some(Value::String(digits)) => amount(digits)?,
        Some(Value::Number(number)) => amount(&number.to_string())?,
        _ => return Err(Refusal::bad_request("A balance in winston is needed.")),
    };
    let balance = state.weave.change_balance(address, move |_| winston).await?;
    Ok(HttpResponse::Ok().json(json!({ "address": address, "balance": balance.to_string() })))
}

async fn price(bytes: Path<String>) -> Result<HttpResponse, Refusal> {
    free(&bytes)
}

/// `/price/{bytes}/{address}` of nodes and `/price/{token}/{bytes}` of bundlers.
async fn price_for(path: Path<(String, String)>) -> Result<HttpResponse, Refusal> {
    let (first, second) = path.into_inner();
    free(if first.parse::<u64>().is_ok() { &first } else { &second })
}

fn free(bytes: &str) -> Result<HttpResponse, Refusal> {
    bytes.parse::<u64>().map_err(|_| Refusal::bad_request("The size must be a number of bytes."))?;
    Ok(text("0"))
}

#[derive(Deserialize)]
struct AccountQuery {
    address: Option<String>,
}

/// `/account/balance/{address}`, or `/account/balance/{token}?address=`.
async fn account(state: Shared, path: Path<String>, query: Query<AccountQuery>) -> Result<HttpResponse, Refusal> {
    let address = query.into_inner().address.unwrap_or_else(|| path.into_inner());
    credit(&state, &address)
}

async fn account_of_query(state: Shared, query: Query<AccountQuery>) -> Result<HttpResponse, Refusal> {
    credit(&state, query.into_inner().address.as_deref().unwrap_or_default())
}

/// A JSON number.
fn credit(state: &Shared, address: &str) -> Result<HttpResponse, Refusal> {
    let balance = state.weave.store().balance(wallet(address)?)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(balance.to_string()))
}

fn wallet(text: &str) -> Result<Address, Refusal> {
    text.parse().map_err(|_| Refusal::bad_request("Invalid address."))
}

fn amount(digits: &str) -> Result<u128, Refusal> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let amount = plain.then(|| digits.parse().ok()).flatten();
    amount.ok_or_else(|| Refusal::bad_request("An amount is a whole number of winston."))
}
