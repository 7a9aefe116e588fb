//! A server that records requests and answers what a test tells it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use holon_client::Network;
use holon_unit::server::{self, HttpOptions, Server};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path_and_query: String,
    pub content_type: Option<String>,
    pub accept: Option<String>,
    pub max_age: Option<String>,
    pub body: Vec<u8>,
}

/// What is answered to a request.
type Answer = Arc<dyn Fn(&Seen) -> HttpResponse + Send + Sync>;

pub struct Recorder {
    server: Server,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub fn start(answer: impl Fn(&Seen) -> HttpResponse + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), answer)
    }

    pub fn start_at(address: SocketAddr, answer: impl Fn(&Seen) -> HttpResponse + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Answer = Arc::new(answer);
        let state = web::Data::new((seen.clone(), answer));
        let listener = server::bind(address).unwrap();
        let server = server::start(listener, &HttpOptions::default(), move |config| {
            config.app_data(state.clone()).default_service(web::to(record));
        })
        .unwrap();
        Self { server, seen }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A network whose messenger and compute unit are both this server.
    pub fn network(&self) -> Network {
        let url: url::Url = self.server.url().parse().unwrap();
        Network::builder()
            .mu_url(url.clone())
            .cu_url(url)
            .timeout(Duration::from_secs(20))
            .result_timeout(Duration::from_secs(20))
            .build()
            .unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }
}

async fn record(
    request: HttpRequest,
    body: web::Bytes,
    state: web::Data<(Arc<Mutex<Vec<Seen>>>, Answer)>,
) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let seen = Seen {
        method: request.method().to_string(),
        path_and_query: request.uri().path_and_query().unwrap().to_string(),
        content_type: header("content-type"),
        accept: header("accept"),
        max_age: header("x-max-age"),
        body: body.to_vec(),
    };
    let answer = state.1(&seen);
    state.0.lock().unwrap().push(seen);
    answer
}

/// What a messenger answers to an item.
pub fn accepted(seen: &Seen) -> HttpResponse {
    let id = holon_protocol::DataItem::parse_verified(seen.body.clone()).unwrap().id();
    HttpResponse::Accepted().json(serde_json::json!({ "message": "Processing DataItem", "id": id }))
}

pub fn json(status: u16, value: serde_json::Value) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).json(value)
}
