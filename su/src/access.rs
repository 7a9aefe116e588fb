//! Who may post and which processes are served: warm-up and allow-lists, all off unless configured (spec 02 §2).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use holon_protocol::ProcessId;
use holon_unit::ApiError;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use url::Url;

/// How often the list of addresses is read again.
pub const ADDRESS_INTERVAL: Duration = Duration::from_secs(30);
/// How often the table of processes is read again.
pub const PROCESS_INTERVAL: Duration = Duration::from_secs(10);
/// Largest list, in bytes.
pub const MAX_LIST_BYTES: usize = 64 << 20;

/// The rules in force; cheap to clone.
#[derive(Debug, Clone)]
pub struct Access {
    warm: Instant,
    addresses: Option<Arc<RwLock<HashSet<String>>>>,
    processes: Option<Arc<Processes>>,
}

#[derive(Debug)]
struct Processes {
    own_url: String,
    table: RwLock<HashMap<ProcessId, Rule>>,
}

/// What the table says of one process.
#[derive(Debug, Clone, Deserialize)]
struct Rule {
    su: String,
    #[serde(default)]
    read_only: Option<bool>,
}

#[derive(Deserialize)]
struct Table {
    processes: HashMap<String, Rule>,
}

impl Access {
    /// Posts are refused for `warmup`. With `by_address` only listed addresses may post (none until the list is read);
    /// with `own_url` only processes that the table gives to this URL are served.
    pub fn new(warmup: Duration, by_address: bool, own_url: Option<String>) -> Self {
        Self {
            warm: Instant::now() + warmup,
            addresses: by_address.then(Arc::default),
            processes: own_url.map(|own_url| Arc::new(Processes { own_url, table: RwLock::default() })),
        }
    }

    /// Whether a post may be looked at. `address` is the `X-Real-IP` header.
    pub fn may_post(&self, address: Option<&str>) -> Result<(), ApiError> {
        if Instant::now() < self.warm {
            let text = "Server is warming up. Please try again later.";
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        let Some(list) = &self.addresses else { return Ok(()) };
        let address = address.ok_or_else(|| ApiError::bad_request("Access denied"))?;
        if list.read().unwrap_or_else(PoisonError::into_inner).contains(address) {
            Ok(())
        } else {
            Err(ApiError::new(StatusCode::FORBIDDEN, "Access denied"))
        }
    }

    /// Whether new processes are taken.
    pub fn may_spawn(&self) -> Result<(), ApiError> {
        match &self.processes {
            None => Ok(()),
            Some(_) => Err(ApiError::bad_request("Process spawning is not supported")),
        }
    }

    /// Whether the process may be written to.
    pub fn may_write(&self, process: ProcessId) -> Result<(), ApiError> {
        match self.rule(process) {
            Ok(None) => Ok(()),
            Ok(Some(rule)) if rule.read_only == Some(true) => {
                Err(ApiError::bad_request(format!("Process {process} is read_only on this SU")))
            }
            Ok(Some(_)) => Ok(()),
            Err(text) => Err(ApiError::bad_request(text)),
        }
    }

    /// Whether the process may be read.
    pub fn may_read(&self, process: ProcessId) -> Result<(), ApiError> {
        self.rule(process).map(|_| ()).map_err(|text| ApiError::new(StatusCode::FORBIDDEN, text))
    }

    fn rule(&self, process: ProcessId) -> Result<Option<Rule>, String> {
        let Some(processes) = &self.processes else { return Ok(None) };
        let table = processes.table.read().unwrap_or_else(PoisonError::into_inner);
        match table.get(&process) {
            Some(rule) if rule.su == processes.own_url => Ok(Some(rule.clone())),
            _ => Err(format!("Process {process} is not allowed on this SU")),
        }
    }

    /// Reads the list of addresses again and again until `stop`.
    pub async fn follow_addresses(self, url: Url, client: reqwest::Client, stop: CancellationToken) {
        let Some(list) = &self.addresses else { return };
        loop {
            match fetch::<HashSet<String>>(&client, &url).await {
                Ok(addresses) => *list.write().unwrap_or_else(PoisonError::into_inner) = addresses,
                Err(error) => tracing::warn!(%url, error, "the list of addresses could not be read"),
            }
            if paused(ADDRESS_INTERVAL, &stop).await {
                return;
            }
        }
    }

    /// Reads the table of processes again and again until `stop`.
    pub async fn follow_processes(self, url: Url, client: reqwest::Client, stop: CancellationToken) {
        let Some(processes) = &self.processes else { return };
        loop {
            match fetch::<Table>(&client, &url).await {
                Ok(table) => {
                    let rules = table.processes.into_iter();
                    let rules = rules.filter_map(|(id, rule)| id.parse().ok().map(|id| (id, rule))).collect();
                    *processes.table.write().unwrap_or_else(PoisonError::into_inner) = rules;
                }
                Err(error) => tracing::warn!(%url, error, "the table of processes could not be read"),
            }
            if paused(PROCESS_INTERVAL, &stop).await {
                return;
            }
        }
    }
}

/// Waits; true when the service stops.
async fn paused(interval: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(interval) => false,
    }
}

async fn fetch<T: serde::de::DeserializeOwned>(client: &reqwest::Client, url: &Url) -> Result<T, String> {
    let text = |error: reqwest::Error| error.to_string();
    let mut answer = client.get(url.clone()).send().await.and_then(|answer| answer.error_for_status()).map_err(text)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(text)? {
        if body.len() + chunk.len() > MAX_LIST_BYTES {
            return Err(format!("more than {MAX_LIST_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
