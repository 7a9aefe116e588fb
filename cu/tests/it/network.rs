//! A local Arweave, a scheduler and a compute unit, and what tests ask of them.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, FromRequest, Handler, HttpRequest, HttpResponse, HttpServer, web};
use holon_arweave::Uploader;
use holon_cu::{Options, Running, Service};
use holon_protocol::{DataItem, ItemId, MessageId, ProcessId, Signer};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use url::Url;

use crate::guest;

pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A server whose every answer `handler` gives.
pub fn serve<T, H, A>(data: web::Data<T>, handler: H) -> (Url, ServerHandle)
where
    T: Send + Sync + 'static,
    H: Handler<A, Output = HttpResponse> + Send,
    A: FromRequest + 'static,
{
    let listener = listener();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = move || App::new().app_data(data.clone()).default_service(web::to(handler.clone()));
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
    let handle = server.handle();
    tokio::spawn(server);
    (url, handle)
}

pub struct Network {
    pub weave: holon_weave::Running,
    pub gateway: Url,
    pub su: holon_su::Running,
    pub su_wallet: Signer,
    pub cu: Option<Running>,
    pub cu_wallet: Signer,
    pub user: Signer,
    pub module: ItemId,
    pub client: Client,
    pub folder: tempfile::TempDir,
    /// What stands between the compute unit and the scheduler.
    pub proxy: Proxy,
    change: fn(&mut Options),
}

/// An answer on its way from the scheduler: path with query, and JSON.
type Tamper = Box<dyn FnMut(&str, &mut Value) + Send>;

/// Passes requests of the compute unit on to the scheduler, counts them, and changes answers when told.
pub struct Proxy {
    pub url: Url,
    pub seen: Arc<Mutex<Vec<String>>>,
    pub tamper: Arc<Mutex<Option<Tamper>>>,
    /// Requests with this in their path get no answer.
    pub silent: Arc<Mutex<Option<String>>>,
    handle: ServerHandle,
}

struct ProxyData {
    base: String,
    client: Client,
    seen: Arc<Mutex<Vec<String>>>,
    tamper: Arc<Mutex<Option<Tamper>>>,
    silent: Arc<Mutex<Option<String>>>,
}

async fn forward(request: HttpRequest, data: web::Data<ProxyData>) -> HttpResponse {
    let path = request.uri().to_string();
    data.seen.lock().unwrap().push(path.clone());
    let is_silent = data.silent.lock().unwrap().as_ref().is_some_and(|part| path.contains(part));
    if is_silent {
        std::future::pending::<()>().await;
    }
    let answer = data.client.get(format!("{}{path}", data.base)).send().await.unwrap();
    let status = actix_web::http::StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let body = answer.text().await.unwrap();
    match serde_json::from_str::<Value>(&body) {
        Ok(mut json) => {
            if let Some(tamper) = &mut *data.tamper.lock().unwrap() {
                tamper(&path, &mut json);
            }
            HttpResponse::build(status).json(json)
        }
        Err(_) => HttpResponse::build(status).body(body),
    }
}

impl Proxy {
    fn start(base: String, client: Client) -> Self {
        let (seen, tamper, silent) = (Arc::default(), Arc::default(), Arc::default());
        let data = web::Data::new(ProxyData {
            base,
            client,
            seen: Arc::clone(&seen),
            tamper: Arc::clone(&tamper),
            silent: Arc::clone(&silent),
        });
        let (url, handle) = serve(data, forward);
        Self { url, seen, tamper, silent, handle }
    }

    /// Requests whose path starts like this.
    pub fn count(&self, start: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|path| path.starts_with(start)).count()
    }

    pub fn tamper(&self, change: impl FnMut(&str, &mut Value) + Send + 'static) {
        *self.tamper.lock().unwrap() = Some(Box::new(change));
    }

    pub fn honest(&self) {
        *self.tamper.lock().unwrap() = None;
    }
}

impl Network {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: fn(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let weave = holon_weave::Options::new(folder.path().join("weave"));
        let weave = holon_weave::Service::start(weave, listener()).await.unwrap();
        let gateway: Url = weave.url().parse().unwrap();
        let su_wallet = Signer::generate_ed25519().unwrap();
        let mut su = holon_su::Options::new(folder.path().join("su"), su_wallet.clone(), gateway.clone());
        // What comes twice is for the compute unit to recognise here.
        su.content_checks = false;
        let su = holon_su::Service::start(su, listener()).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let proxy = Proxy::start(su.url(), client.clone());
        let mut network = Self {
            weave,
            gateway,
            su,
            su_wallet,
            cu: None,
            cu_wallet: Signer::generate_ed25519().unwrap(),
            user: Signer::generate_ed25519().unwrap(),
            module: ItemId::from_bytes([0; 32]),
            client,
            folder,
            proxy,
            change,
        };
        network.module = network.publish_module(&guest::wasm(), "wasm32-unknown-unknown-holon1", &[]).await;
        network.start_cu().await;
        network
    }

    /// The options of the next start.
    pub fn loosen(&mut self, change: fn(&mut Options)) {
        self.change = change;
    }

    pub async fn start_cu(&mut self) {
        let mut options = Options::new(self.folder.path().join("cu"), self.cu_wallet.clone(), self.gateway.clone());
        options.scheduler_urls = vec![(self.su_wallet.address(), self.proxy.url.clone())];
        options.allow_private_urls = true;
        options.retries = 3;
        options.backoff = Duration::from_millis(50);
        (self.change)(&mut options);
        // The threads of the one before may hold its store for a moment.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        self.cu = loop {
            match Service::start(options.clone(), listener()).await {
                Ok(running) => break Some(running),
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
    }

    pub async fn stop_cu(&mut self) {
        self.cu.take().unwrap().stop().await.unwrap();
    }

    pub async fn stop(mut self) {
        self.stop_cu().await;
        self.proxy.handle.stop(false).await;
        self.su.stop().await.unwrap();
        self.weave.stop().await.unwrap();
    }

    pub async fn publish(&self, item: &DataItem) {
        Uploader::new(self.gateway.clone()).unwrap().upload(item).await.unwrap();
    }

    pub async fn publish_module(&self, wasm: &[u8], format: &str, tags: &[(&str, &str)]) -> ItemId {
        let mut module = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Module")
            .tag("Module-Format", format)
            .tag("Input-Encoding", "JSON-1")
            .tag("Output-Encoding", "JSON-1")
            .data(wasm.to_vec());
        if !tags.iter().any(|(name, _)| *name == "Memory-Limit") {
            module = module.tag("Memory-Limit", "512-mb").tag("Compute-Limit", "100000000");
        }
        for (name, value) in tags {
            module = module.tag(*name, *value);
        }
        let module = module.sign(&self.user).unwrap();
        self.publish(&module).await;
        module.id()
    }

    pub async fn spawn(&self, tags: &[(&str, &str)]) -> ProcessId {
        self.spawn_module(self.module, tags).await
    }

    pub async fn spawn_module(&self, module: ItemId, tags: &[(&str, &str)]) -> ProcessId {
        let mut process = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Process")
            .tag("Module", module.to_string())
            .tag("Scheduler", self.su_wallet.address().to_string())
            .tag("Unique", holon_protocol::base64url::encode(fresh()))
            .data("1984");
        for (name, value) in tags {
            process = process.tag(*name, *value);
        }
        let process = process.sign(&self.user).unwrap();
        self.schedule(&process).await;
        process.id().into()
    }

    pub fn message(&self, process: ProcessId, action: &str, tags: &[(&str, &str)]) -> DataItem {
        let mut anchor = [b'0'; 32];
        let unique = holon_protocol::base64url::encode(fresh());
        anchor.copy_from_slice(&unique.as_bytes()[..32]);
        let mut message = DataItem::builder()
            .target(process)
            .anchor(anchor)
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Message")
            .tag("Action", action)
            .data("d");
        for (name, value) in tags {
            message = message.tag(*name, *value);
        }
        message.sign(&self.user).unwrap()
    }

    /// Schedules a message.
    pub async fn send(&self, process: ProcessId, action: &str) -> MessageId {
        let message = self.message(process, action, &[]);
        self.schedule(&message).await;
        message.id().into()
    }

    pub async fn schedule(&self, item: &DataItem) {
        let answer = self.client.post(self.su.url()).body(item.raw().clone()).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
    }

    /// Assigns an on-chain item and returns the assignment's id.
    pub async fn assign(&self, process: ProcessId, item: ItemId, exclude: &str) -> MessageId {
        let mut url = format!("{}/?process-id={process}&assign={item}", self.su.url());
        if !exclude.is_empty() {
            url.push_str(&format!("&exclude={exclude}"));
        }
        let answer = self.client.post(url).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        let url = format!("{}{path}", self.cu.as_ref().unwrap().url());
        self.client.get(url).send().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> (u16, Value) {
        answer(self.get(path).await).await
    }

    pub async fn result(&self, process: ProcessId, message: MessageId) -> Value {
        let (status, body) = self.json(&format!("/result/{message}?process-id={process}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The count that the process answered with.
    pub async fn count(&self, process: ProcessId, message: MessageId) -> String {
        let result = self.result(process, message).await;
        result["Output"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
    }

    pub async fn dry_run(&self, process: ProcessId, query: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/dry-run?process-id={process}{query}", self.cu.as_ref().unwrap().url());
        answer(self.client.post(url).json(&body).send().await.unwrap()).await
    }

    /// What a dry run of this action answers.
    pub async fn peek(&self, process: ProcessId) -> String {
        let (status, body) = self.dry_run(process, "", dry(process, "X-Get")).await;
        assert_eq!(status, 200, "{body}");
        body["Output"].as_str().unwrap().to_owned()
    }

    pub async fn outputs(&self, process: ProcessId) -> Vec<String> {
        let (status, body) = self.json(&format!("/results/{process}?limit=1000")).await;
        assert_eq!(status, 200, "{body}");
        let edges = body["edges"].as_array().unwrap();
        edges.iter().map(|edge| edge["node"]["Output"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// The body that the published client sends.
pub fn dry(process: ProcessId, action: &str) -> Value {
    json!({
        "Id": "1234", "Target": process, "Owner": "1234", "Anchor": "0", "Data": "1234",
        "Tags": [
            { "name": "Action", "value": action },
            { "name": "Data-Protocol", "value": "ao" },
            { "name": "Type", "value": "Message" },
            { "name": "Variant", "value": "ao.TN.1" },
        ],
    })
}

pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Bytes that no other call gives.
fn fresh() -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    bytes[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    bytes
}
