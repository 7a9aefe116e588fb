//! The explorer: a page in which a network can be looked at. Every unit serves it under `/explorer/`.
//!
//! The page is a program of plain ES modules in `assets`, one room a file, compiled into this crate as they are: there is
//! no build step. It asks the units themselves (results, logs, GraphQL, metrics, server-sent events), so a service that
//! serves it only has to tell it where they are: [`Network`], as `/explorer/network.json`.
//!
//! Whatever a stranger wrote into a message reaches the page as text only: elements are made by `dom.js`, which sets text
//! and attributes and nothing else, and the [`POLICY`] of the answers lets no other script run.

mod assets;

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
};
use actix_web::web::{self, Path};
use actix_web::{HttpRequest, HttpResponse};
use holon_unit::routes::{Content, Routes, get_or_head, schema};
use serde::Serialize;

pub use assets::{Asset, asset, assets};

/// What the page may do: run its own scripts and ask any unit, no more.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src *; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const CONTENT_SECURITY_POLICY: HeaderName = HeaderName::from_static("content-security-policy");
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// What the service that serves the page knows of its network. The page gets URLs without a slash at the end, and asks for
/// what is `None` in its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Name of the network or service, as the page shows it.
    pub name: Option<String>,
    /// Which unit serves the page: the page then asks that unit where it came from itself, whatever address is here.
    #[serde(rename = "self")]
    pub unit: Option<Unit>,
    /// Gateway.
    #[serde(serialize_with = "bare")]
    pub gateway_url: Option<String>,
    /// GraphQL, if it is not `/graphql` of the gateway.
    #[serde(serialize_with = "bare")]
    pub graphql_url: Option<String>,
    /// Messenger unit.
    #[serde(serialize_with = "bare")]
    pub mu_url: Option<String>,
    /// Scheduler unit.
    #[serde(serialize_with = "bare")]
    pub su_url: Option<String>,
    /// Compute unit.
    #[serde(serialize_with = "bare")]
    pub cu_url: Option<String>,
    /// Wallet address of the scheduler unit.
    pub scheduler: Option<String>,
    /// Wallet address of the messenger unit.
    pub authority: Option<String>,
    /// Wallet address of the compute unit.
    pub compute: Option<String>,
}

/// A unit that serves the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Gateway.
    Gateway,
    /// Messenger unit.
    Mu,
    /// Scheduler unit.
    Su,
    /// Compute unit.
    Cu,
}

impl Network {
    /// The same, told by a unit about itself.
    #[must_use]
    pub fn served_by(self, unit: Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// Fills what is not known here from another description.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            unit: self.unit.or(other.unit),
            gateway_url: self.gateway_url.or(other.gateway_url),
            graphql_url: self.graphql_url.or(other.graphql_url),
            mu_url: self.mu_url.or(other.mu_url),
            su_url: self.su_url.or(other.su_url),
            cu_url: self.cu_url.or(other.cu_url),
            scheduler: self.scheduler.or(other.scheduler),
            authority: self.authority.or(other.authority),
            compute: self.compute.or(other.compute),
        }
    }
}

fn bare<S: serde::Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_deref().map(public).serialize(serializer)
}

/// A URL without what is nobody else's business, user and password and query, and without slashes at its end.
fn public(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// `/explorer/…`. These routes go before routes that take any first segment.
pub fn routes(network: &Network) -> Routes {
    let network = network.clone();
    let known = move || {
        let network = network.clone();
        async move { HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(network) }
    };
    let url = || schema::or_null(schema::text());
    let address = || schema::or_null(schema::id());
    let described = schema::object([
        ("name", url()),
        ("self", schema::or_null(schema::one_of(["gateway", "mu", "su", "cu"]))),
        ("gateway_url", url()),
        ("graphql_url", url()),
        ("mu_url", url()),
        ("su_url", url()),
        ("cu_url", url()),
        ("scheduler", address()),
        ("authority", address()),
        ("compute", address()),
    ]);
    Routes::new("Explorer", "A page in which a network can be looked at.", env!("CARGO_PKG_VERSION"))
        .at(
            "/explorer",
            // Relative, so that it also leads there behind a proxy that adds a prefix.
            [get_or_head(
                || async { HttpResponse::PermanentRedirect().insert_header((LOCATION, "explorer/")).finish() },
                "To the explorer",
            )
            .extension()
            .gives(308, "To `explorer/`.", Content::Empty)],
        )
        .other_methods(|| web::to(HttpResponse::MethodNotAllowed))
        .at(
            "/explorer/network.json",
            [get_or_head(known, "What this service knows of its network").extension().gives(
                200,
                "The units; null for what it does not know.",
                Content::Json(described),
            )],
        )
        .at(
            "/explorer/{path:.*}",
            [get_or_head(page, "The explorer")
                .about("A page to look at the network and to speak to it.")
                .extension()
                .part("path", schema::text(), "A file of the page; empty for the page itself.")
                .gives(200, "The file.", Content::Other("text/html"))
                .gives(304, "The client has it (`If-None-Match`).", Content::Empty)
                .gives(404, "There is no such file.", Content::Empty)],
        )
}

async fn page(path: Path<String>, request: HttpRequest) -> HttpResponse {
    let path = if path.is_empty() { "index.html" } else { path.as_str() };
    let Some(asset) = asset(path) else { return HttpResponse::NotFound().finish() };
    let seen = request.headers().get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let mut answer = match seen.is_some_and(|seen| seen.split(',').any(|tag| tag.trim() == asset.tag)) {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    answer
        .insert_header((CONTENT_TYPE, asset.media_type))
        .insert_header((ETAG, asset.tag.as_str()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    match answer.finish() {
        answer if answer.status().is_success() => answer.set_body(actix_web::body::BoxBody::new(asset.text)),
        answer => answer,
    }
}

#[cfg(test)]
mod tests;
