//! All routes (spec 03 §6.2). Fixed words come first; a single segment is an id only when it looks like one.

mod blocks;
mod chunks;
mod data;
mod graphql;
mod items;
mod manifest;
mod network;
mod range;
mod tag_headers;
mod transactions;
mod wallets;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, HeaderName, HeaderValue,
};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use holon_protocol::ItemId;
use holon_unit::metrics::Metrics;
use holon_unit::routes::{Content, Routes};
use tokio::sync::Semaphore;

use crate::answer::Refusal;
use crate::body::Budget;
use crate::graphql::Graph;
use crate::weave::Weave;

pub use self::graphql::MAX_QUERIES;

/// What handlers share.
pub struct State {
    /// The weave.
    pub weave: Weave,
    /// GraphQL over it.
    pub schema: Graph,
    /// Turns of GraphQL queries, each of which may need much memory for its answer.
    pub query_turns: Semaphore,
    /// Memory for bodies.
    pub budget: Budget,
    /// Metrics.
    pub metrics: Metrics,
}

/// Shared state as handlers take it.
pub type Shared = web::Data<State>;

/// All routes. The application must hold [`Shared`].
pub fn routes() -> Routes {
    let routes = Routes::new(
        "Local Arweave",
        "Gateway, node and bundler of a network for development: blocks without work, storage without a price.",
        env!("CARGO_PKG_VERSION"),
    )
    .errors(Content::text())
    .unknown(|| web::to(unknown));
    [network::add, graphql::add, wallets::add, transactions::add, items::add, chunks::add, blocks::add, data::add]
        .into_iter()
        .fold(routes, |routes, add| add(routes))
}

/// Registers the explorer and all routes.
pub fn configure(config: &mut ServiceConfig, explorer: &holon_explorer::Network) {
    let routes = routes().after(holon_explorer::routes(explorer));
    config.service(web::scope("").wrap(from_fn(open_to_browsers)).configure(|config| routes.register(config)));
}

async fn unknown() -> Result<HttpResponse, Refusal> {
    Err(Refusal::not_found())
}

/// Anybody may call from anywhere: also without the `Origin` header that the server's own rules wait for.
async fn open_to_browsers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    const OPEN: [(HeaderName, &str); 4] = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
    ];
    let mut response = match request.method() {
        &Method::OPTIONS => request.into_response(HttpResponse::NoContent().finish()),
        _ => next.call(request).await?.map_into_boxed_body(),
    };
    for (name, value) in OPEN {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// An id in a path of the node interface.
fn id(text: &str) -> Result<ItemId, Refusal> {
    text.parse().map_err(|_| Refusal::bad_request("Invalid hash."))
}
