//! Finding the scheduler of a process (spec 02 §9.2, §9.4).
//!
//! Order: the operator's overrides, then the `Scheduler` tag of the process and the newest `Scheduler-Location` record of
//! that wallet. The public router that the reference asks first is not asked. A process's scheduler never changes and
//! is kept as long as there is room; a location is kept for its record's time to live, and longer when the gateway
//! cannot be reached.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_protocol::{Address, ProcessId};
use reqwest::header::LOCATION;
use url::Url;

use crate::cache::Cache;
use crate::graphql::Query;
use crate::{Error, Gateway, GuardError, UrlPolicy};

/// Most processes, and most wallets, remembered.
pub const CACHE_ENTRIES: usize = 500;
/// Longest a location is believed, whatever its record says.
pub const MAX_TIME_TO_LIVE: Duration = Duration::from_secs(48 * 60 * 60);
/// Shortest: else a record that says 0 costs a query for each message.
pub const MIN_TIME_TO_LIVE: Duration = Duration::from_secs(5);
/// Longest a scheduler may take to say where it redirects.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Its wallet.
    pub address: Address,
    /// Its base URL. The path always ends with `/` when it is the root; use [`Self::base`] to append paths.
    pub url: Url,
}

impl Location {
    /// The base URL without trailing slashes.
    pub fn base(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

/// A scheduler cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The gateway knows no such process.
    #[error("process {0} is not known to the gateway")]
    ProcessNotFound(ProcessId),
    /// The process names no scheduler, or something that is not an address.
    #[error("process {0} has no usable Scheduler tag")]
    NoScheduler(ProcessId),
    /// The wallet has published no location.
    #[error("{0} has published no Scheduler-Location")]
    LocationNotFound(Address),
    /// The record lacks a tag or has an unreadable one.
    #[error("the Scheduler-Location of {wallet} is not usable: {reason}")]
    InvalidLocation {
        /// The scheduler.
        wallet: Address,
        /// What is wrong.
        reason: String,
    },
    /// The record's URL, or where it redirects, must not be called.
    #[error("the Scheduler-Location of {wallet} leads to {url}, which is refused: {source}")]
    Refused {
        /// The scheduler.
        wallet: Address,
        /// The URL.
        url: String,
        /// Why.
        source: GuardError,
    },
    /// The scheduler did not say where a process lives.
    #[error("scheduler {wallet} cannot be asked for its redirect: {reason}")]
    Probe {
        /// The scheduler.
        wallet: Address,
        /// Why.
        reason: String,
    },
    /// The gateway failed.
    #[error(transparent)]
    Gateway(#[from] Error),
}

impl LocateError {
    /// Whether looking again later can succeed without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Gateway(error) => error.retryable(),
            Self::Probe { .. } => true,
            _ => false,
        }
    }
}

/// Finds schedulers. Cheap to clone; clones share the cache.
#[derive(Debug, Clone)]
pub struct Locator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gateway: Gateway,
    policy: UrlPolicy,
    overrides: Vec<(Address, Url)>,
    probe: Option<reqwest::Client>,
    wallets: Mutex<Cache<Address, Known>>,
    processes: Mutex<Cache<ProcessId, Address>>,
    homes: Mutex<Cache<ProcessId, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    location: Location,
    /// When it was looked up last, whatever came of it.
    looked: Instant,
    /// When it is looked up again.
    until: Instant,
    /// Until then it is what the scheduler itself said, whether or not it can be looked up again.
    expires: Instant,
}

impl Known {
    fn new(location: Location, looked: Instant, expires: Instant) -> Self {
        Self { location, looked, until: expires, expires }
    }

    /// Whether it has to be looked up. Whoever is told so does; others, and this one if the look-up fails, go on with what there is.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.until <= now;
        if due && now < self.expires {
            self.looked = now;
            self.until = now + MIN_TIME_TO_LIVE;
        }
        due
    }
}

impl Locator {
    /// A locator that believes `overrides` before `gateway`, and that only gives URLs which `policy` allows. Overrides
    /// come from the operator and are not checked.
    pub fn new(gateway: Gateway, policy: UrlPolicy, overrides: Vec<(Address, Url)>) -> Self {
        Self::with(gateway, policy, overrides, None)
    }

    /// The same, also asking each scheduler (a router, maybe) where a process lives: `GET <url>?process-id=…`, whose
    /// redirect is resolved here and not at every later call.
    pub fn following_redirects(
        gateway: Gateway,
        policy: UrlPolicy,
        overrides: Vec<(Address, Url)>,
    ) -> Result<Self, Error> {
        let client = policy.client().timeout(PROBE_TIMEOUT).build();
        let probe = Some(client.map_err(|error| Error::Options(error.to_string()))?);
        Ok(Self::with(gateway, policy, overrides, probe))
    }

    fn with(
        gateway: Gateway,
        policy: UrlPolicy,
        overrides: Vec<(Address, Url)>,
        probe: Option<reqwest::Client>,
    ) -> Self {
        Self(Arc::new(Inner {
            gateway,
            policy,
            overrides,
            probe,
            wallets: Mutex::new(Cache::new(CACHE_ENTRIES)),
            processes: Mutex::new(Cache::new(CACHE_ENTRIES)),
            homes: Mutex::new(Cache::new(CACHE_ENTRIES)),
        }))
    }

    /// The location of a scheduler's wallet.
    pub async fn by_wallet(&self, wallet: Address) -> Result<Location, LocateError> {
        Ok(self.wallet(wallet).await?.location)
    }

    /// The location of a process's scheduler. `hint` is its wallet, when the caller knows it already.
    pub async fn by_process(&self, process: ProcessId, hint: Option<Address>) -> Result<Location, LocateError> {
        let wallet = match hint {
            Some(wallet) => wallet,
            None => self.scheduler_of(process).await?,
        };
        let known = self.wallet(wallet).await?;
        match &self.0.probe {
            Some(client) => self.home(process, known, client).await,
            None => Ok(known.location),
        }
    }

    /// Nobody could be reached at this URL: whoever was there may have moved. What is known of it for longer than
    /// [`MIN_TIME_TO_LIVE`] is looked up again.
    pub fn doubt(&self, url: &Url) {
        let now = Instant::now();
        let doubtful = |known: &Known| {
            known.location.url.origin() == url.origin() && now.duration_since(known.looked) >= MIN_TIME_TO_LIVE
        };
        // It stays what is known as long as it would have.
        lock(&self.0.wallets).values_mut().filter(|known| doubtful(known)).for_each(|known| known.until = now);
        lock(&self.0.homes).values_mut().filter(|known| doubtful(known)).for_each(|known| known.until = now);
    }

    async fn wallet(&self, wallet: Address) -> Result<Known, LocateError> {
        if let Some((_, url)) = self.0.overrides.iter().find(|(address, _)| *address == wallet) {
            let location = Location { address: wallet, url: url.clone() };
            let now = Instant::now();
            return Ok(Known::new(location, now, now + MAX_TIME_TO_LIVE));
        }
        let (remembered, due) = remembered(&self.0.wallets, &wallet);
        if let Some(known) = &remembered
            && !due
        {
            return Ok(known.clone());
        }
        match (self.published(wallet).await, remembered) {
            (Ok(known), _) => {
                lock(&self.0.wallets).insert(wallet, known.clone());
                Ok(known)
            }
            (Err(error), Some(known)) if error.retryable() || Instant::now() < known.expires => {
                tracing::warn!(%wallet, %error, "the scheduler's location cannot be refreshed; the old one is kept");
                Ok(known)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Reads the newest record of a wallet.
    async fn published(&self, wallet: Address) -> Result<Known, LocateError> {
        let query = Query::default().owner(wallet).tag("Data-Protocol", "ao").tag("Type", "Scheduler-Location");
        let tags = self.0.gateway.first_tags(query).await?.ok_or(LocateError::LocationNotFound(wallet))?;
        let invalid = |reason: String| LocateError::InvalidLocation { wallet, reason };
        let url = tags.get_ignore_case("Url").ok_or_else(|| invalid("it has no Url tag".into()))?;
        let time_to_live =
            tags.get_ignore_case("Time-To-Live").ok_or_else(|| invalid("it has no Time-To-Live tag".into()))?;
        let time_to_live = time_to_live
            .trim()
            .parse()
            .map(Duration::from_millis)
            .map_err(|_| invalid(format!("Time-To-Live {time_to_live:?} is not a number of milliseconds")))?;
        let text = url.trim().trim_end_matches('/');
        let url = Url::parse(text).map_err(|error| invalid(format!("Url {text:?}: {error}")))?;
        self.allow(wallet, &url)?;
        let since = Instant::now();
        let until = since + time_to_live.clamp(MIN_TIME_TO_LIVE, MAX_TIME_TO_LIVE);
        Ok(Known::new(Location { address: wallet, url }, since, until))
    }

    fn allow(&self, wallet: Address, url: &Url) -> Result<(), LocateError> {
        self.0.policy.check(url).map_err(|source| LocateError::Refused { wallet, url: url.to_string(), source })
    }

    async fn scheduler_of(&self, process: ProcessId) -> Result<Address, LocateError> {
        if let Some(wallet) = lock(&self.0.processes).get(&process) {
            return Ok(*wallet);
        }
        let query = Query::ids([process.into()]).tag("Data-Protocol", "ao");
        let tags = self.0.gateway.first_tags(query).await?.ok_or(LocateError::ProcessNotFound(process))?;
        let wallet = tags
            .get_ignore_case("Scheduler")
            .and_then(|value| value.trim().parse().ok())
            .ok_or(LocateError::NoScheduler(process))?;
        lock(&self.0.processes).insert(process, wallet);
        Ok(wallet)
    }

    /// Where a router sends requests for `process`.
    async fn home(&self, process: ProcessId, router: Known, client: &reqwest::Client) -> Result<Location, LocateError> {
        let (remembered, due) = remembered(&self.0.homes, &process);
        let remembered = remembered.filter(|known| known.location.address == router.location.address);
        if let Some(known) = &remembered
            && !due
        {
            return Ok(known.location.clone());
        }
        match (self.ask(process, &router, client).await, remembered) {
            (Ok(location), _) => {
                let known = Known::new(location.clone(), Instant::now(), router.expires);
                lock(&self.0.homes).insert(process, known);
                Ok(location)
            }
            (Err(error), Some(known)) if Instant::now() < known.expires => {
                tracing::warn!(%process, %error, "the router cannot be asked again; the process stays where it was");
                Ok(known.location)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Asks a router where it sends requests for `process`.
    async fn ask(&self, process: ProcessId, router: &Known, client: &reqwest::Client) -> Result<Location, LocateError> {
        let wallet = router.location.address;
        let failed = |reason: String| LocateError::Probe { wallet, reason };
        let mut question = router.location.url.clone();
        question.query_pairs_mut().append_pair("process-id", &process.to_string());
        let answer =
            client.get(question.clone()).send().await.map_err(|error| failed(error.without_url().to_string()))?;
        let mut location = router.location.clone();
        if matches!(answer.status().as_u16(), 301 | 302 | 307 | 308) {
            let target = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| question.join(target).ok());
            let target = target.ok_or_else(|| failed("it redirects to nowhere".into()))?;
            self.allow(wallet, &target)?;
            location.url = Url::parse(&target.origin().ascii_serialization())
                .map_err(|error| failed(format!("{target}: {error}")))?;
        }
        Ok(location)
    }
}

/// What is remembered, and whether it has to be looked up.
fn remembered<K: std::hash::Hash + Eq + Clone>(cache: &Mutex<Cache<K, Known>>, key: &K) -> (Option<Known>, bool) {
    let mut cache = lock(cache);
    let Some(known) = cache.get_mut(key) else { return (None, true) };
    let due = known.is_due(Instant::now());
    (Some(known.clone()), due)
}

/// A cache stays usable after a panic elsewhere: every change to it is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
