//! A service on a free port with a store in a temporary folder, and short ways to talk to it.

use std::time::{Duration, Instant};

use holon_protocol::{DataItem, Signer, Tags};
use holon_weave::{Options, Running, Service};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Weave {
    pub url: String,
    pub client: Client,
    running: Option<Running>,
    _folder: TempDir,
    options: Options,
}

impl Weave {
    /// Blocks only when something happens, so that tests know the height.
    pub async fn start() -> Self {
        Self::with(|options| options.block_interval = Duration::ZERO).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("store"));
        change(&mut options);
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let mut weave = Self { url: String::new(), client, running: None, _folder: folder, options };
        weave.up().await;
        weave
    }

    async fn up(&mut self) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let running = Service::start(self.options.clone(), listener).await.unwrap();
        self.url = running.url();
        self.running = Some(running);
    }

    /// Stops in order and starts again on the same store.
    pub async fn restart(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
        self.up().await;
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }

    pub async fn height(&self) -> u64 {
        self.json("/info").await["height"].as_u64().unwrap()
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> (u16, String) {
        let response = self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn post_item(&self, path: &str, raw: impl Into<reqwest::Body>) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.url));
        let response = request.header("content-type", "application/octet-stream").body(raw).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn upload(&self, item: &DataItem) {
        let (status, body) = self.post_item("/tx/arweave", item.raw().clone()).await;
        assert_eq!(status, 200, "{body}");
        let receipt: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(receipt["id"], item.id().to_string());
    }

    /// The value of `data`; errors fail the test.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        let (status, body) = self.post_json("/graphql", &json!({ "query": query, "variables": variables })).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"].clone()
    }

    /// Ids of the transactions that `arguments` find.
    pub async fn find(&self, arguments: &str) -> Vec<String> {
        let query = format!("{{ transactions({arguments}) {{ edges {{ node {{ id }} }} }} }}");
        let data = self.graphql(&query, json!({})).await;
        let edges = data["transactions"]["edges"].as_array().unwrap();
        edges.iter().map(|edge| edge["node"]["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Waits for `condition`, with a deadline.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < end, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn ed25519() -> Signer {
    Signer::generate_ed25519().unwrap()
}

/// The throw-away RSA key of the vectors: making one takes a second.
pub fn rsa() -> Signer {
    Signer::from_jwk(&vectors("data-items.json")["keys"]["arweave_rsa4096"]["jwk"].to_string()).unwrap()
}

pub fn item(signer: &Signer, tags: &[(&str, &str)], data: impl Into<bytes::Bytes>) -> DataItem {
    let tags: Tags = tags.iter().copied().collect();
    DataItem::builder().tags(tags.0).data(data).sign(signer).unwrap()
}

pub fn vectors(file: &str) -> Value {
    let path = format!("{}/../../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

/// Byte i has the value i mod 251.
pub fn generated(length: usize) -> bytes::Bytes {
    (0..length).map(|index| (index % 251) as u8).collect()
}
