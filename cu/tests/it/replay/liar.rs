//! A gateway that changes what another says.

use std::sync::{Arc, Mutex};

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use url::Url;

use crate::network::serve;

/// What changes an answer of the gateway: path, and the JSON of a GraphQL answer or the bytes as a JSON string. Null is a failure.
pub type Lie = Box<dyn FnMut(&str, &mut Value) + Send>;

/// Pages of other answers in front of those to questions about assignments. Gets the names and values of the tags asked for.
pub type Flood = Box<dyn FnMut(&Value) -> Vec<Vec<Value>> + Send>;

/// A gateway that changes what another says.
pub struct Liar {
    pub url: Url,
    lie: Arc<Mutex<Lie>>,
    flood: Arc<Mutex<Flood>>,
    /// Paths that were asked for.
    seen: Arc<Mutex<Vec<String>>>,
}

struct LiarData {
    base: Url,
    client: reqwest::Client,
    lie: Arc<Mutex<Lie>>,
    flood: Arc<Mutex<Flood>>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Cursors of pages that are not the weave's.
const FLOOD: &str = "flood ";

/// A page of the flood, or the question as it goes to the weave.
fn flooded(body: &[u8], data: &LiarData) -> Result<Value, Vec<u8>> {
    let Ok(mut question) = serde_json::from_slice::<Value>(body) else { return Err(body.to_vec()) };
    let tags = question["variables"]["tags"].clone();
    if !tags.to_string().contains("Assignment") {
        return Err(body.to_vec());
    }
    let pages = (data.flood.lock().unwrap())(&tags);
    let after = question["variables"]["after"].as_str().map(str::to_owned);
    let at = match after.as_deref().map(|after| after.strip_prefix(FLOOD)) {
        None => 0,
        Some(Some(at)) => at.parse().unwrap(),
        Some(None) => return Err(body.to_vec()),
    };
    match pages.get(at) {
        Some(page) => {
            let cursor = format!("{FLOOD}{}", at + 1);
            let edges: Vec<Value> = page.iter().map(|node| json!({ "cursor": cursor, "node": node })).collect();
            Ok(json!({ "data": { "transactions": { "pageInfo": { "hasNextPage": true }, "edges": edges } } }))
        }
        None => {
            let variables = question["variables"].as_object_mut().unwrap();
            if variables.remove("after").is_some() {
                let query = question["query"].as_str().unwrap();
                question["query"] = json!(query.replace("$after: String, ", "").replace("after: $after, ", ""));
            }
            Err(serde_json::to_vec(&question).unwrap())
        }
    }
}

async fn lie(request: HttpRequest, body: web::Bytes, data: web::Data<LiarData>) -> HttpResponse {
    let path = request.uri().to_string();
    data.seen.lock().unwrap().push(path.clone());
    let body = match flooded(&body, &data) {
        Ok(page) => return HttpResponse::Ok().json(page),
        Err(body) => body,
    };
    let method = request.method().as_str().parse().unwrap();
    let mut forwarded = data.client.request(method, data.base.join(&path).unwrap()).body(body);
    for name in ["content-type", "range"] {
        if let Some(value) = request.headers().get(name) {
            forwarded = forwarded.header(name, value.as_bytes());
        }
    }
    let answer = forwarded.send().await.unwrap();
    let status = actix_web::http::StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let bytes = answer.bytes().await.unwrap();
    let mut response = HttpResponse::build(status);
    match path.as_str() {
        "/graphql" => {
            let mut json = serde_json::from_slice(&bytes).unwrap();
            (data.lie.lock().unwrap())(&path, &mut json);
            response.json(json)
        }
        _ => match std::str::from_utf8(&bytes) {
            Ok(text) => {
                let mut json = Value::String(text.to_owned());
                (data.lie.lock().unwrap())(&path, &mut json);
                match json.as_str() {
                    Some(text) => response.body(text.to_owned()),
                    None => HttpResponse::InternalServerError().finish(),
                }
            }
            Err(_) => response.body(bytes),
        },
    }
}

impl Liar {
    pub fn start(base: Url) -> Self {
        let lie_now: Arc<Mutex<Lie>> = Arc::new(Mutex::new(Box::new(|_, _| {})));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let flood: Arc<Mutex<Flood>> = Arc::new(Mutex::new(Box::new(|_| Vec::new())));
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let data = LiarData { base, client, lie: lie_now.clone(), flood: flood.clone(), seen: seen.clone() };
        let (url, _) = serve(web::Data::new(data), lie);
        Self { url, lie: lie_now, flood, seen }
    }

    /// How often this was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }

    pub fn floods(&self, flood: impl FnMut(&Value) -> Vec<Vec<Value>> + Send + 'static) {
        *self.flood.lock().unwrap() = Box::new(flood);
    }

    pub fn answers(&self, lie: impl FnMut(&str, &mut Value) + Send + 'static) {
        *self.lie.lock().unwrap() = Box::new(lie);
    }
}

pub fn edges(body: &Value) -> Vec<Value> {
    body["data"]["transactions"]["edges"].as_array().cloned().unwrap_or_default()
}

pub fn set_edges(body: &mut Value, edges: Vec<Value>) {
    if body["data"]["transactions"]["edges"].is_array() {
        body["data"]["transactions"]["edges"] = json!(edges);
    }
}

/// The slot that an edge's node claims, if it is an assignment.
pub fn nonce(edge: &Value) -> Option<u64> {
    let tags = edge["node"]["tags"].as_array()?;
    tags.iter().find(|tag| tag["name"] == "Nonce")?["value"].as_str()?.parse().ok()
}

/// Leaves out or changes assignments.
pub fn at_slot(body: &mut Value, slot: u64, mut change: impl FnMut(&mut Value) -> bool) {
    let kept = edges(body).into_iter().filter_map(|mut edge| match nonce(&edge) == Some(slot) {
        true => change(&mut edge["node"]).then_some(edge),
        false => Some(edge),
    });
    let kept = kept.collect();
    set_edges(body, kept);
}

pub fn set_tag(node: &mut Value, name: &str, value: &str) {
    for tag in node["tags"].as_array_mut().unwrap() {
        if tag["name"] == name {
            tag["value"] = json!(value);
        }
    }
}

/// Changes what a gateway says about some items.
pub fn about(body: &mut Value, ids: &[String], mut change: impl FnMut(&mut Value)) {
    let mut edges = edges(body);
    for edge in &mut edges {
        if ids.iter().any(|id| edge["node"]["id"] == id.as_str()) {
            change(&mut edge["node"]);
        }
    }
    set_edges(body, edges);
}
