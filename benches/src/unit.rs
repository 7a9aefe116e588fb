//! A compute unit of one's own in this program, beside the network's: its memory can be told from everybody else's.

use std::{net::TcpListener, time::Duration};

use anyhow::{Context, Result};
use holon_cu::{Options, Running, Service};
use holon_protocol::Signer;
use serde_json::Value;

use crate::driver::Driver;

/// A compute unit, and the folder it works in.
pub struct Unit {
    running: Running,
    _folder: tempfile::TempDir,
}

impl Unit {
    /// Starts a compute unit that reads the logs of the driver's network.
    pub async fn start(driver: &Driver) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ready = driver.ready();
        let mut options =
            Options::new(folder.path().to_owned(), Signer::generate_ed25519()?, ready.gateway_url.parse()?);
        options.allow_private_urls = true;
        options.scheduler_urls = vec![(ready.scheduler.parse()?, ready.su_url.parse()?)];
        let running = Service::start(options, TcpListener::bind("127.0.0.1:0")?).await?;
        Ok(Self { running, _folder: folder })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.running.url().trim_end_matches('/').to_owned()
    }

    /// Stops it.
    pub async fn stop(self) -> Result<()> {
        self.running.stop().await.context("the compute unit does not stop")
    }
}

/// Asks a compute unit for a result until it has one: right after a burst it may be too busy for a moment.
pub async fn result(client: &reqwest::Client, unit_url: &str, process: &str, message: &str) -> Result<Value> {
    const TRIES: u32 = 40;
    let url = format!("{unit_url}/result/{message}?process-id={process}");
    let mut tries = 0;
    loop {
        let answer = client.get(&url).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if status.is_success() {
            let value: Value = serde_json::from_str(&text)?;
            anyhow::ensure!(value.get("Error").is_none(), "{message} of {process} failed: {value}");
            return Ok(value);
        }
        tries += 1;
        anyhow::ensure!(tries < TRIES, "{url} answered {status}: {text}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
