//! `/graphql`, and `POST /` for clients configured with an endpoint's root.

use actix_web::http::StatusCode;
use actix_web::web::{self, Query};
use actix_web::{HttpRequest, HttpResponse};
use holon_unit::routes::{self, Content, Routes, get_or_head as get, schema};
use serde::Deserialize;
use serde_json::json;

use super::{Shared, network};
use crate::answer::Refusal;
use crate::query_text;

/// Largest query with its variables, in bytes.
pub const MAX_QUERY_BYTES: usize = 1024 * 1024;

/// Most queries executed at once; more wait.
pub const MAX_QUERIES: usize = 8;

pub fn add(routes: Routes) -> Routes {
    let asked = || Content::Json(schema::object([("query", schema::text()), ("variables?", schema::anything())]));
    let answered = || {
        Content::Json(schema::object([("data?", schema::anything()), ("errors?", schema::list(schema::anything()))]))
    };
    let post = |summary| {
        routes::post(post, summary)
            .body("A query with its variables.", [asked()])
            .gives(200, "What was asked for.", answered())
            .gives(400, "The query cannot be answered.", answered())
            .fails(408, "The body came too slowly.")
            .fails(413, "The query is too large.")
            .fails(503, "Too many uploads at once, or the service is stopping.")
    };
    let ask = get(ask, "Asks in a URL")
        .needs("query", schema::text(), "The query.")
        .query("variables", schema::text(), "Its variables as JSON.")
        .query("operationName", schema::text(), "Which of its operations.")
        .gives(200, "What was asked for.", answered())
        .gives(400, "The query cannot be answered.", answered());
    let network =
        get(network::info, "The network, as `/info`").gives(200, "The network.", Content::Json(schema::anything()));
    routes
        .at("/", [network, post("GraphQL, for clients that are configured with the root of an endpoint")])
        .at("/graphql", [ask, post("GraphQL: transactions, items and blocks by their tags")])
}

async fn post(state: Shared, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    let body = state.budget.read(&request, payload, MAX_QUERY_BYTES).await?;
    // Variables are JSON, whose nesting serde_json limits (128).
    let request: async_graphql::Request =
        serde_json::from_slice(&body.bytes).map_err(|error| not_a_request(&error.to_string()))?;
    answer(&state, request).await
}

#[derive(Deserialize)]
struct Asked {
    query: Option<String>,
    variables: Option<String>,
    #[serde(rename = "operationName")]
    operation_name: Option<String>,
}

async fn ask(state: Shared, asked: Query<Asked>) -> Result<HttpResponse, Refusal> {
    let Asked { query, variables, operation_name } = asked.into_inner();
    let mut request =
        async_graphql::Request::new(query.ok_or_else(|| not_a_request("the query parameter is missing"))?);
    if let Some(variables) = variables {
        let variables = serde_json::from_str(&variables).map_err(|error| not_a_request(&error.to_string()))?;
        request = request.variables(async_graphql::Variables::from_json(variables));
    }
    if let Some(name) = operation_name {
        request = request.operation_name(name);
    }
    answer(&state, request).await
}

async fn answer(state: &Shared, request: async_graphql::Request) -> Result<HttpResponse, Refusal> {
    query_text::check(&request.query).map_err(|excess| not_a_request(&excess.to_string()))?;
    // Held until the answer is written out as JSON.
    let _turn = state.query_turns.acquire().await.map_err(|_| Refusal::stopping())?;
    let response = state.schema.execute(request).await;
    let failed = response.is_err() && response.data == async_graphql::Value::Null;
    let status = if failed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(HttpResponse::build(status).json(response))
}

fn not_a_request(reason: &str) -> Refusal {
    let message =
        format!("Not a GraphQL request ({reason}). JSON with \"query\" and optional \"variables\" is needed.");
    Refusal::json(StatusCode::BAD_REQUEST, json!({ "errors": [{ "message": message }] }))
}
