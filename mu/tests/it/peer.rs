//! A scripted HTTP peer: answers as a closure says and remembers what it was asked.

use std::sync::{Arc, Mutex};

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use holon_unit::server::{self, HttpOptions, Server};

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub content_type: Option<String>,
    pub traceparent: Option<String>,
    pub body: Bytes,
}

/// What a peer says.
pub enum Answer {
    Json(u16, serde_json::Value),
    /// JSON that [`serde_json`] would not write.
    Text(String),
    /// With this header.
    With((&'static str, String), serde_json::Value),
    /// With this `Location`.
    Redirect(u16, String),
    /// After this time.
    Later(std::time::Duration, serde_json::Value),
    /// After this time, with this header.
    LaterWith(std::time::Duration, (&'static str, String), serde_json::Value),
    /// Nothing until the caller gives up.
    Silence,
}

type Script = dyn Fn(&Call) -> Answer + Send + Sync;

pub struct Peer {
    server: Option<Server>,
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Script>,
    calls: Arc<Mutex<Vec<Call>>>,
}

async fn answer(shared: web::Data<Shared>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let call = Call {
        method: request.method().to_string(),
        path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        content_type: header("content-type"),
        traceparent: header("traceparent"),
        body,
    };
    let answer = (shared.script)(&call);
    shared.calls.lock().unwrap().push(call);
    match answer {
        Answer::Json(status, json) => HttpResponse::build(status.try_into().unwrap()).json(json),
        Answer::Text(json) => HttpResponse::Ok().content_type("application/json").body(json),
        Answer::With(header, json) => HttpResponse::Ok().insert_header(header).json(json),
        Answer::Redirect(status, location) => {
            HttpResponse::build(status.try_into().unwrap()).insert_header(("location", location)).finish()
        }
        Answer::Later(wait, json) => {
            tokio::time::sleep(wait).await;
            HttpResponse::Ok().json(json)
        }
        Answer::LaterWith(wait, header, json) => {
            tokio::time::sleep(wait).await;
            HttpResponse::Ok().insert_header(header).json(json)
        }
        Answer::Silence => std::future::pending().await,
    }
}

impl Peer {
    pub fn start(script: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        let calls = Arc::default();
        let shared = Shared { script: Arc::new(script), calls: Arc::clone(&calls) };
        let listener = server::bind("127.0.0.1:0").unwrap();
        let shutdown_timeout = std::time::Duration::from_secs(1);
        let options = HttpOptions { workers: 1, shutdown_timeout, ..HttpOptions::default() };
        let server = server::start(listener, &options, move |config| {
            config
                .app_data(web::PayloadConfig::new(20 * 1024 * 1024))
                .app_data(web::Data::new(shared.clone()))
                .default_service(web::to(answer));
        })
        .unwrap();
        Self { url: server.url(), server: Some(server), calls }
    }

    pub fn url(&self) -> url::Url {
        self.url.parse().unwrap()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Requests whose method and path start like this.
    pub fn asked(&self, method: &str, path: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.method == method && call.path.starts_with(path)).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // Nobody waits for it: the runtime of the test ends anyway.
            drop(server);
        }
    }
}
