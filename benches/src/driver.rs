//! A network under measurement, and what is sent to it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use holon_cu::machine::Format;
use holon_protocol::{DataItem, ItemId, Signer};
use holon_tests::network::{Network, Ready};
use reqwest::Client;
use serde_json::Value;

/// Longest wait for a message to be settled.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// A whole network, and a wallet that uses it.
pub struct Driver {
    /// The network; it ends with the driver.
    pub network: Network,
    /// For requests that have no method here.
    pub client: Client,
    /// Signs everything.
    pub wallet: Signer,
    /// Messenger unit that items are given to, if not the network's own.
    pub door: Option<String>,
}

impl Driver {
    /// Starts a network.
    pub fn start() -> Result<Self> {
        let wallet = Signer::generate_ed25519()?;
        Ok(Self { network: Network::start()?, client: Client::new(), wallet, door: None })
    }

    /// Where its units are.
    pub fn ready(&self) -> &Ready {
        self.network.ready()
    }

    /// Publishes a module.
    pub async fn publish(&self, wasm: Vec<u8>, format: Format) -> Result<DataItem> {
        let module = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Module")
            .tag("Module-Format", format.as_str())
            .tag("Input-Encoding", "JSON-1")
            .tag("Output-Encoding", "JSON-1")
            .tag("Memory-Limit", "1-gb")
            .tag("Compute-Limit", "9000000000000")
            .data(wasm)
            .sign(&self.wallet)?;
        self.post(&format!("{}/tx/arweave", trimmed(&self.ready().uploader_url)), &module).await?;
        Ok(module)
    }

    /// A process of `module`, signed. The number makes it unlike every other.
    pub fn process(&self, module: ItemId, number: usize) -> Result<DataItem> {
        Ok(DataItem::builder()
            .tag("Authority", &self.ready().authority)
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Process")
            .tag("Module", module.to_string())
            .tag("Scheduler", &self.ready().scheduler)
            .tag("Number", number.to_string())
            .sign(&self.wallet)?)
    }

    /// A message for `process`, signed. The number makes it unlike every other.
    pub fn message(&self, process: ItemId, action: &str, data: &str, number: usize) -> Result<DataItem> {
        Ok(DataItem::builder()
            .target(process)
            .tag("Action", action)
            .tag("Number", number.to_string())
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Message")
            .data(data.to_owned())
            .sign(&self.wallet)?)
    }

    /// Gives an item to the messenger unit, which has it scheduled and evaluated.
    pub async fn send(&self, item: &DataItem) -> Result<()> {
        self.post(self.door.as_ref().unwrap_or(&self.ready().mu_url), item).await
    }

    /// Gives an item to the scheduler unit; nobody evaluates it until somebody asks.
    pub async fn schedule(&self, item: &DataItem) -> Result<()> {
        self.post(&self.ready().su_url, item).await
    }

    async fn post(&self, url: &str, item: &DataItem) -> Result<()> {
        let request = self.client.post(url).header("content-type", "application/octet-stream");
        let answer = request.body(item.raw().clone()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{url} answered {status}: {text}");
        Ok(())
    }

    /// Waits until the gateway has an item.
    pub async fn settled(&self, item: ItemId) -> Result<()> {
        let url = format!("{}/{item}", trimmed(&self.ready().gateway_url));
        let deadline = Instant::now() + SETTLE_LIMIT;
        while !self.client.head(&url).send().await?.status().is_success() {
            ensure!(Instant::now() < deadline, "{item} has not been settled");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The result of a message, which must not be an error.
    pub async fn result(&self, process: ItemId, message: ItemId) -> Result<Value> {
        let url = format!("{}/result/{message}?process-id={process}", trimmed(&self.ready().cu_url));
        let answer = self.client.get(url).send().await?;
        let (status, value) = (answer.status(), answer.json::<Value>().await?);
        ensure!(status.is_success() && value.get("Error").is_none(), "the compute unit answered {status}: {value}");
        Ok(value)
    }

    /// The body of an answer to a GET.
    pub async fn get(&self, url: &str) -> Result<Value> {
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }
}

/// A URL without the slash at its end.
pub fn trimmed(url: &str) -> &str {
    url.trim_end_matches('/')
}
