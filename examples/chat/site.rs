//! A chat room and the server of its page: a handful of files, the published `aoconnect` as it is, and where the network is.

use std::net::TcpListener;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use anyhow::{Context, Result};
use holon_devnet::{Network, ProcessId};
use holon_unit::server::{self, HttpOptions, Server};
use serde::Serialize;

static ROOM: &[u8] = include_bytes!("../../wasm-processes/chatroom/chatroom.wasm");

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page's files: path, type, content.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/chat.css", "text/css; charset=utf-8", include_str!("page/chat.css")),
    ("/chat.js", SCRIPT, include_str!("page/chat.js")),
    ("/room.js", SCRIPT, include_str!("page/room.js")),
    ("/wallet.js", SCRIPT, include_str!("page/wallet.js")),
    // Signs data items; the explorer does it with the same file.
    ("/item.js", SCRIPT, include_str!("../../sdk/explorer/assets/item.js")),
    ("/mark.svg", "image/svg+xml", include_str!("page/mark.svg")),
];
/// Where the published client has its build for browsers, below the folder of npm packages.
const AOCONNECT: &str = "node_modules/@permaweb/aoconnect/dist/browser.js";

/// What the page is told about where it is, under the names that `holon env` uses.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct About {
    /// What stands at the top of the page.
    pub name: String,
    /// The process.
    pub room: ProcessId,
    /// Messenger unit.
    pub mu_url: String,
    /// Compute unit.
    pub cu_url: String,
    /// Gateway.
    pub gateway_url: String,
}

impl About {
    /// A new room on a network.
    ///
    /// # Errors
    /// When the network does not take it.
    pub async fn new_room(network: &Network, name: &str) -> Result<Self> {
        let room = network.deploy(ROOM).tag("Name", name).await?;
        let url = |url: &url::Url| url.as_str().trim_end_matches('/').to_owned();
        let urls = network.urls();
        Ok(Self {
            name: name.to_owned(),
            room,
            mu_url: url(&urls.messenger),
            cu_url: url(&urls.compute),
            gateway_url: url(&urls.gateway),
        })
    }

    /// A page may speak to these units and to nobody else.
    fn policy(&self) -> String {
        let Self { mu_url, cu_url, gateway_url, .. } = self;
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; connect-src 'self' {mu_url} {cu_url} {gateway_url}"
        )
    }
}

/// What all requests are answered from.
struct Site {
    about: About,
    policy: String,
    aoconnect: Bytes,
}

/// Serves the page on a listener.
///
/// # Errors
/// When `aoconnect` cannot be installed, or the server does not start.
pub fn serve(listener: TcpListener, about: About) -> Result<Server> {
    let file = holon_peers::folder()?.join(AOCONNECT);
    let aoconnect = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?.into();
    let site = Data::new(Site { policy: about.policy(), about, aoconnect });
    Ok(server::start(listener, &HttpOptions::default(), move |routes: &mut ServiceConfig| {
        routes.app_data(site.clone()).default_service(web::get().to(answer));
    })?)
}

async fn answer(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    let (kind, content) = match request.path() {
        "/network.json" => return HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(&site.about),
        "/aoconnect.js" => (SCRIPT, site.aoconnect.clone()),
        path => match FILES.iter().find(|(known, ..)| *known == path) {
            Some((_, kind, content)) => (*kind, Bytes::from_static(content.as_bytes())),
            None => return HttpResponse::NotFound().body("There is no such file."),
        },
    };
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CONTENT_SECURITY_POLICY, site.policy.as_str()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(content)
}
