//! Process → scheduler, and: is this id a process or a wallet? (spec 04 §7, §16)
//!
//! A process spawned a second ago is not on the gateway, so the network itself is asked first: our own tables, then every
//! configured scheduler, then GraphQL. That an id exists on the gateway proves nothing: modules do too.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_arweave::{Gateway, LocateError, Locator};
use holon_protocol::{Address, ItemId, ProcessId, Tags};
use url::Url;

use crate::births::Births;
use crate::crank::task::ProcessRecord;
use crate::outbox::Outbox;
use crate::peers::{PeerError, Schedulers};

/// Most processes remembered in memory.
pub const MAX_REMEMBERED: usize = 10_000;
/// How long "this is no process" is believed: it may be spawned the next moment.
pub const WALLET_TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Nobody could be found.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no such process, or nobody serves it.
    #[error("{0}")]
    NotFound(String),
    /// The scheduler has published no location that can be used.
    #[error("{0}")]
    Unlocated(String),
    /// The gateway has something with this id, and its index does not say what.
    #[error("{0}")]
    Unindexed(String),
    /// Not this time.
    #[error("{0}")]
    Unavailable(String),
}

impl From<LocateError> for DirectoryError {
    fn from(error: LocateError) -> Self {
        match error {
            LocateError::ProcessNotFound(_) | LocateError::NoScheduler(_) => Self::NotFound(error.to_string()),
            LocateError::LocationNotFound(_) | LocateError::InvalidLocation { .. } | LocateError::Refused { .. } => {
                Self::Unlocated(error.to_string())
            }
            LocateError::Probe { .. } | LocateError::Gateway(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// A process and where its scheduler is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Module and scheduler.
    pub record: ProcessRecord,
    /// Base URL of the scheduler.
    pub url: Url,
}

/// Who is who. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    outbox: Arc<dyn Outbox>,
    gateway: Gateway,
    locator: Locator,
    schedulers: Schedulers,
    configured: Vec<(Address, Url)>,
    /// Where processes that wake by themselves are announced when they are met; `None`: nowhere.
    met: Option<Births>,
    known: Mutex<Remembered<ProcessId, Known>>,
    wallets: Mutex<Remembered<ItemId, Instant>>,
}

#[derive(Clone)]
struct Known {
    record: ProcessRecord,
    /// The configured scheduler that said so, for when the wallet it names has published nothing.
    said: Option<Url>,
}

impl Directory {
    /// A directory over these sources.
    pub fn new(
        outbox: Arc<dyn Outbox>,
        gateway: Gateway,
        locator: Locator,
        schedulers: Schedulers,
        configured: Vec<(Address, Url)>,
        met: Option<Births>,
    ) -> Self {
        Self(Arc::new(Inner {
            outbox,
            gateway,
            locator,
            schedulers,
            configured,
            met,
            known: Mutex::new(Remembered::default()),
            wallets: Mutex::new(Remembered::default()),
        }))
    }

    /// A process with its scheduler; `None` when there is no process with this id.
    pub async fn process(&self, id: ProcessId) -> Result<Option<Located>, DirectoryError> {
        let Some(known) = self.known(id).await? else { return Ok(None) };
        let location = match self.0.locator.by_process(id, Some(known.record.scheduler)).await {
            Ok(location) => location.url,
            Err(error) => match known.said {
                Some(url) => url,
                None => return Err(error.into()),
            },
        };
        self.0.schedulers.http().publish(&location);
        Ok(Some(Located { record: known.record, url: location }))
    }

    /// The scheduler with this wallet.
    pub async fn scheduler(&self, wallet: Address) -> Result<Url, DirectoryError> {
        let location = self.0.locator.by_wallet(wallet).await?;
        self.0.schedulers.http().publish(&location.url);
        Ok(location.url)
    }

    /// What the scheduler at this URL was asked failed. If nobody can be asked there it may have moved, and is looked up again; one that
    /// takes no more for now is there.
    pub fn doubt(&self, scheduler: &Url, error: &PeerError) {
        if error.is_outage() && !error.is_limit() {
            self.0.locator.doubt(scheduler);
        }
    }

    /// Remembers a process that was just spawned.
    pub fn learn(&self, process: ProcessId, record: ProcessRecord) {
        lock(&self.0.wallets).remove(&process.into());
        lock(&self.0.known).insert(process, Known { record, said: None });
    }

    async fn known(&self, id: ProcessId) -> Result<Option<Known>, DirectoryError> {
        if let Some(known) = lock(&self.0.known).get(&id) {
            self.meet(id, &known);
            return Ok(Some(known));
        }
        if lock(&self.0.wallets).get(&id.into()).is_some_and(|until| until > Instant::now()) {
            return Ok(None);
        }
        let found = self.search(id).await?;
        match &found {
            Some(known) => {
                self.meet(id, known);
                lock(&self.0.known).insert(id, known.clone());
            }
            None => lock(&self.0.wallets).insert(id.into(), Instant::now() + WALLET_TIME_TO_LIVE),
        }
        Ok(found)
    }

    fn meet(&self, id: ProcessId, known: &Known) {
        if let Some(met) = self.0.met.as_ref().filter(|_| known.record.cron) {
            met.met(id);
        }
    }

    async fn search(&self, id: ProcessId) -> Result<Option<Known>, DirectoryError> {
        let unavailable = |error: &dyn std::fmt::Display| DirectoryError::Unavailable(error.to_string());
        if let Some(record) = self.0.outbox.process(id).await.map_err(|error| unavailable(&error))? {
            return Ok(Some(Known { record, said: None }));
        }
        let mut silent = None;
        for (wallet, url) in &self.0.configured {
            match self.0.schedulers.process(url, id).await {
                Ok(Some(process)) => {
                    let scheduler = address(&process.tags).unwrap_or(*wallet);
                    let record = ProcessRecord::of_tags(&process.tags, scheduler);
                    return Ok(Some(Known { record, said: Some(url.clone()) }));
                }
                Ok(None) => {}
                Err(error) => silent = Some(error),
            }
        }
        match self.0.gateway.node(id.into()).await {
            Ok(Some(node)) if node.tags.contains("Data-Protocol", "ao") && node.tags.contains("Type", "Process") => {
                let scheduler = address(&node.tags)
                    .ok_or_else(|| DirectoryError::NotFound(format!("process {id} has no usable Scheduler tag")))?;
                return Ok(Some(Known { record: ProcessRecord::of_tags(&node.tags, scheduler), said: None }));
            }
            Ok(Some(_)) => return Ok(None),
            Ok(None) => {}
            Err(error) => return Err(unavailable(&error)),
        }
        if let Some(error) = silent {
            // The scheduler that did not answer may be the one that knows.
            return Err(unavailable(&error));
        }
        match self.0.gateway.exists(id.into()).await {
            Ok(false) => Ok(None),
            // No wallet for sure. A process, if it is one, is served by nobody that can be found yet.
            Ok(true) => Err(DirectoryError::Unindexed(format!(
                "{id} is on Arweave, but the gateway's index does not say whether it is a process"
            ))),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn address(tags: &Tags) -> Option<Address> {
    tags.get_ignore_case("Scheduler").and_then(|value| value.parse().ok())
}

/// A map that starts over when it is full: what is forgotten is looked up again.
struct Remembered<K, V>(HashMap<K, V>);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V: Clone> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.0.len() >= MAX_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(key, value);
    }

    fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
