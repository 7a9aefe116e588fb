//! A local Arweave and a scheduler on it, and what tests ask of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use holon_arweave::{Gateway, GatewayOptions, Uploader};
use holon_protocol::{DataItem, ItemId, ProcessId, Signer, wire};
use holon_su::log::LogStore;
use holon_su::{Options, Running, Service};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use url::Url;

/// Longest a test waits for a condition.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A local Arweave and a scheduler.
pub struct Network {
    pub weave: Weave,
    pub su: Scheduler,
    pub wallet: Signer,
    pub user: Signer,
    folder: tempfile::TempDir,
}

pub struct Weave {
    running: holon_weave::Running,
    pub url: Url,
    _folder: tempfile::TempDir,
}

/// A running scheduler and a client for it.
pub struct Scheduler {
    pub running: Running,
    pub url: String,
    pub client: Client,
}

pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

pub fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

impl Weave {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = holon_weave::Options::new(folder.path());
        let running = holon_weave::Service::start(options, listener()).await.unwrap();
        let url = running.url().parse().unwrap();
        Self { running, url, _folder: folder }
    }

    pub fn gateway(&self) -> Gateway {
        Gateway::new(GatewayOptions::new(self.url.clone())).unwrap()
    }

    pub async fn publish(&self, item: &DataItem) {
        Uploader::new(self.url.clone()).unwrap().upload(item).await.unwrap();
    }
}

impl Network {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let weave = Weave::start().await;
        let folder = tempfile::tempdir().unwrap();
        let wallet = Signer::generate_ed25519().unwrap();
        let mut options = Options::new(folder.path(), wallet.clone(), weave.url.clone());
        change(&mut options);
        let wallet = options.wallet.clone();
        let su = Scheduler::start(options).await;
        Self { weave, su, wallet, user: Signer::generate_ed25519().unwrap(), folder }
    }

    pub fn options(&self) -> Options {
        Options::new(self.folder.path(), self.wallet.clone(), self.weave.url.clone())
    }

    pub async fn stop(self) {
        self.su.running.stop().await.unwrap();
        self.weave.running.stop().await.unwrap();
    }

    /// A process item for this scheduler.
    pub fn process(&self, tags: &[(&str, &str)]) -> DataItem {
        let mut process = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Process")
            .tag("Module", "Eglw2BKDbxmIhiVYekYGpa0jzvMchoTmAXcVUlSPxrk")
            .tag("Scheduler", self.wallet.address().to_string())
            .data("print('hi')");
        for (name, value) in tags {
            process = process.tag(*name, *value);
        }
        process.sign(&self.user).unwrap()
    }

    /// A process that the scheduler has.
    pub async fn spawn(&self) -> ProcessId {
        self.spawn_tagged(&[]).await
    }

    pub async fn spawn_tagged(&self, tags: &[(&str, &str)]) -> ProcessId {
        let process = self.process(tags);
        self.su.schedule(&process).await;
        process.id().into()
    }

    pub fn message(&self, process: ProcessId, tags: &[(&str, &str)], data: &str) -> DataItem {
        message(&self.user, process, tags, data)
    }
}

/// A message item.
pub fn message(signer: &Signer, process: ProcessId, tags: &[(&str, &str)], data: &str) -> DataItem {
    let mut message = DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message");
    for (name, value) in tags {
        message = message.tag(*name, *value);
    }
    message.data(data.to_owned()).sign(signer).unwrap()
}

impl Scheduler {
    pub async fn start(options: Options) -> Self {
        Self::of(Service::start(options, listener()).await.unwrap())
    }

    pub async fn start_over(store: std::sync::Arc<dyn LogStore>, options: Options) -> Self {
        Self::of(Service::start_with(options, listener(), store).await.unwrap())
    }

    fn of(running: Running) -> Self {
        Self { url: running.url(), running, client: client() }
    }

    pub async fn post(&self, query: &str, body: impl Into<reqwest::Body>) -> Response {
        self.client.post(format!("{}/{query}", self.url)).body(body).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// Posts an item that must be taken; the id answered.
    pub async fn schedule(&self, item: &DataItem) -> ItemId {
        taken(self.post("", item.raw().clone()).await).await
    }

    pub async fn assign(&self, process: ProcessId, item: ItemId, more: &str) -> Response {
        self.post(&format!("?process-id={process}&assign={item}{more}"), "").await
    }

    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The value of a series without labels.
    pub async fn series(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing: {text}")).parse().unwrap()
    }

    pub async fn page(&self, process: ProcessId, query: &str) -> wire::Page {
        serde_json::from_value(self.json(&format!("/{process}?process-id={process}{query}")).await).unwrap()
    }

    pub async fn entry(&self, process: ProcessId, id: impl std::fmt::Display) -> wire::Entry {
        serde_json::from_value(self.json(&format!("/{id}?process-id={process}")).await).unwrap()
    }

    /// Every entry, page by page.
    pub async fn log(&self, process: ProcessId) -> Vec<wire::Entry> {
        let mut log = Vec::new();
        let mut from = String::new();
        loop {
            let page = self.page(process, &format!("&limit=1000{from}")).await;
            if let Some(last) = page.edges.last() {
                from = format!("&from={}", last.cursor);
            }
            log.extend(page.edges.into_iter().map(|edge| edge.node));
            if !page.page_info.has_next_page {
                return log;
            }
        }
    }
}

/// A server for answers that the real one does not give on demand. `answer` gets the request line and the body, and
/// returns the whole answer.
pub fn stub(answer: impl Fn(&str, &[u8]) -> String + Send + 'static) -> Url {
    let listener = listener();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is none of its business.
            let _ = serve(stream, &answer);
        }
    });
    url
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str, &[u8]) -> String) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    stream.write_all(answer(request.trim(), &body).as_bytes())
}

/// An answer of [`stub`].
pub fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Where nobody listens.
pub fn nowhere() -> Url {
    format!("http://{}/", listener().local_addr().unwrap()).parse().unwrap()
}

/// The id in a success.
pub async fn taken(answer: Response) -> ItemId {
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert!(answer["timestamp"].is_u64(), "{answer}");
    answer["id"].as_str().unwrap().parse().unwrap()
}

/// Waits until `condition` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Positions, chain and timestamps of a log from its first entry, as an evaluator checks them.
pub fn assert_unbroken(process: ProcessId, log: &[wire::Entry]) {
    use holon_protocol::assignment::Assignment;
    use holon_protocol::chain::HashChain;
    let mut chain = HashChain::first(process);
    let mut previous: Option<Assignment> = None;
    for (index, entry) in log.iter().enumerate() {
        let assignment = Assignment::from_tags(&entry.assignment.tags).unwrap();
        assert_eq!(assignment.nonce.0, index as u64);
        assert_eq!(assignment.process, process);
        assert_eq!(assignment.hash_chain, chain, "chain breaks at {index}");
        if let Some(previous) = previous {
            assert!(assignment.timestamp > previous.timestamp, "time stands still at {index}");
        }
        chain = assignment.next_hash_chain(entry.assignment.id);
        previous = Some(assignment);
    }
}
