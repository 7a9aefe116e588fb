//! The messenger among the real units: a local Arweave, a scheduler and a compute unit, and the counter process.

use std::path::Path;
use std::time::{Duration, Instant};

use holon_arweave::{Query, UrlPolicy};
use holon_client::Network as Client;
use holon_mu::{Options, Running, Service};
use holon_protocol::{DataItem, ProcessId, Signer};
use holon_unit::server::bind;
use serde_json::Value;
use url::Url;

use crate::network::DEADLINE;

static COUNTER: &[u8] = include_bytes!("../../../wasm-processes/counter/counter.wasm");

pub struct Units {
    folder: tempfile::TempDir,
    pub weave: holon_weave::Running,
    pub su: holon_su::Running,
    pub cu: holon_cu::Running,
    pub scheduler: Signer,
    pub messenger: Signer,
    pub user: Signer,
}

pub fn url(text: String) -> Url {
    text.parse().unwrap()
}

fn folder(at: &Path, name: &str) -> std::path::PathBuf {
    let folder = at.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Units {
    pub async fn start() -> Self {
        let at = tempfile::tempdir().unwrap();
        let [scheduler, messenger, user] = std::array::from_fn(|_| Signer::generate_ed25519().unwrap());
        let options = holon_weave::Options::new(folder(at.path(), "weave"));
        let weave = holon_weave::Service::start(options, bind("127.0.0.1:0").unwrap()).await.unwrap();
        let gateway = url(weave.url());
        let options = holon_su::Options::new(folder(at.path(), "su"), scheduler.clone(), gateway.clone());
        let su = holon_su::Service::start(options, bind("127.0.0.1:0").unwrap()).await.unwrap();
        let options = holon_cu::Options::new(folder(at.path(), "cu"), messenger.clone(), gateway);
        let options = holon_cu::Options { allow_private_urls: true, ..options };
        let cu = holon_cu::Service::start(options, bind("127.0.0.1:0").unwrap()).await.unwrap();
        Self { folder: at, weave, su, cu, scheduler, messenger, user }
    }

    pub async fn messenger(&self) -> (Running, Client) {
        self.messenger_with(|options| options).await
    }

    pub async fn messenger_with(&self, change: impl FnOnce(Options) -> Options) -> (Running, Client) {
        let (gateway, cu) = (url(self.weave.url()), url(self.cu.url()));
        let options = Options {
            allow_private_urls: true,
            ..Options::new(folder(self.folder.path(), "mu"), self.messenger.clone(), gateway.clone(), cu.clone())
        };
        let options = change(options);
        let started = Instant::now();
        let mu = loop {
            match Service::start(options.clone(), bind("127.0.0.1:0").unwrap()).await {
                Ok(running) => break running,
                Err(error) => assert!(started.elapsed() < DEADLINE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let client = Client::builder().mu_url(url(mu.url())).cu_url(cu).gateway_url(gateway).allow_private_urls(true);
        (mu, client.build().unwrap())
    }

    /// Publishes where the scheduler is.
    pub async fn locate(&self, client: &Client) {
        let location = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Scheduler-Location")
            .tag("Url", self.su.url())
            .tag("Time-To-Live", "3600000")
            .sign(&self.scheduler)
            .unwrap();
        client.upload(&location).await.unwrap();
    }

    /// The messages in a process's log that another process sent: action and data.
    pub async fn received(&self, process: ProcessId, from: ProcessId) -> Vec<(String, String)> {
        let http = UrlPolicy { allow_private: true }.client().build().unwrap();
        let url = format!("{}/{process}?process-id={process}&limit=1000", self.su.url());
        let page: Value = http.get(url).send().await.unwrap().json().await.unwrap();
        let entries = page["edges"].as_array().unwrap().iter().map(|edge| &edge["node"]["message"]);
        let tag = |message: &Value, name: &str| {
            let tags = message["tags"].as_array()?;
            Some(tags.iter().find(|tag| tag["name"] == name)?["value"].as_str()?.to_owned())
        };
        entries
            .filter(|message| tag(message, "From-Process") == Some(from.to_string()))
            .map(|message| (tag(message, "Action").unwrap(), message["data"].as_str().unwrap().to_owned()))
            .collect()
    }

    pub async fn stop(self) {
        self.cu.stop().await.unwrap();
        self.su.stop().await.unwrap();
        self.weave.stop().await.unwrap();
    }
}

pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_travel_between_real_processes_in_order_and_across_restarts() {
    let units = Units::start().await;
    let (mu, client) = units.messenger().await;
    units.locate(&client).await;
    let module =
        client.publish(COUNTER).memory_limit("16-mb").compute_limit(1_000_000_000).send(&units.user).await.unwrap();
    let spawn = |name: &str| {
        client
            .spawn(module, units.scheduler.address())
            .tag("Name", name)
            .authority(units.messenger.address())
            .authority(units.user.address())
            .send(&units.user)
    };
    let counter = spawn("counter").await.unwrap();
    let listener = spawn("listener").await.unwrap();

    // The user, an authority of the counter, asks in the name of the listener, so that answers go there.
    let mut running = Some((mu, client));
    for round in 1..=20 {
        let (mu, client) = running.take().unwrap();
        // Ed25519 signs the same content to the same item, so every message says which one it is.
        let round_tag = round.to_string();
        client.message(counter).action("Increment").tag("Round", &round_tag).send(&units.user).await.unwrap();
        let ask = client.message(counter).action("Get").tag("Round", &round_tag);
        let ask = ask.tag("From-Process", listener.to_string());
        ask.send(&units.user).await.unwrap();
        running = Some(if round % 7 == 0 {
            mu.stop().await.unwrap();
            units.messenger().await
        } else {
            (mu, client)
        });
    }
    let (mu, client) = running.unwrap();
    let expected: Vec<_> = (1..=20).map(|number| ("Count".to_owned(), number.to_string())).collect();
    let received = until("twenty answers", async || {
        let received = units.received(listener, counter).await;
        (received.len() >= expected.len()).then_some(received)
    })
    .await;
    assert_eq!(received, expected);

    // An answer to a wallet goes to Arweave.
    client.message(counter).action("Get").send(&units.user).await.unwrap();
    let wallet = units.user.address().to_string();
    let query = Query { recipients: vec![wallet], ..Query::default() };
    let answer =
        until("the answer is on Arweave", async || client.gateway().unwrap().nodes(&query).await.unwrap().nodes.pop())
            .await;
    assert_eq!(answer.tags.get("Action"), Some("Count"));
    assert_eq!(answer.owner.address, units.messenger.address());
    assert_eq!(client.gateway().unwrap().raw(answer.id).await.unwrap(), "20");

    until("nothing is left to do", async || (mu.queued() == 0).then_some(())).await;
    assert_eq!(mu.dead_letters(10).await.unwrap(), []);
    assert_eq!(units.received(listener, counter).await, expected, "nothing came twice");
    mu.stop().await.unwrap();
    units.stop().await;
}
