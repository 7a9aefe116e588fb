//! Wallets, prices and bundler accounts. Storing is free here, so balances are only what somebody set.

use actix_web::web::{self, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use holon_protocol::Address;
use serde::Deserialize;
use serde_json::{Value, json};

use super::network::text;
use super::{Shared, get};
use crate::answer::Refusal;

/// Largest body that sets a balance, in bytes.
const MAX_BODY_BYTES: usize = 4096;

pub fn configure(config: &mut ServiceConfig) {
    config
        .route("/wallet", web::post().to(create))
        .service(
            web::resource("/wallet/{address}/balance").route(get().to(balance)).route(web::patch().to(set_balance)),
        )
        .route("/wallet/{address}/last_tx", get().to(last_transaction))
        .route("/mint/{address}/{winston}", get().to(mint))
        .route("/price/{bytes}", get().to(price))
        .route("/price/{first}/{second}", get().to(price_for))
        .route("/account/balance", get().to(account_of_query))
        .route("/account/balance/{address}", get().to(account));
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
