//! A network as a client sees it: the URLs of its units, and the calls they answer.

use std::sync::Arc;
use std::time::Duration;

use holon_arweave::{Gateway, GatewayOptions, Locator, Uploader, UrlPolicy};
use holon_protocol::item::Builder;
use holon_protocol::{Address, DataItem, MessageId, ModuleId, ProcessId, Signer};
use url::Url;

use crate::assign::Assign;
use crate::dry_run::DryRun;
use crate::error::{Error, Unit};
use crate::http::{Http, check_base};
use crate::message::SendMessage;
use crate::module::PublishModule;
use crate::results::Results;
use crate::retry::Retry;
use crate::spawn::Spawn;

/// How long a unit may take to answer anything but a result.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a compute unit may take to evaluate up to a message.
pub const DEFAULT_RESULT_TIMEOUT: Duration = Duration::from_secs(600);

/// A network of units. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Network(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) http: Http,
    pub(crate) timeout: Duration,
    pub(crate) result_timeout: Duration,
    mu_url: Option<Url>,
    cu_url: Option<Url>,
    gateway: Option<Gateway>,
    uploader: Option<Uploader>,
    locator: Option<Locator>,
}

impl Network {
    /// Starts describing a network. Every URL is optional; a call that needs a missing one says so.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder::default()
    }

    /// Starts a message to `process`.
    pub fn message(&self, process: ProcessId) -> SendMessage {
        SendMessage::new(self.clone(), process)
    }

    /// Starts spawning a process of `module`, to be kept by `scheduler` (the wallet address of a scheduler unit).
    pub fn spawn(&self, module: ModuleId, scheduler: Address) -> Spawn {
        Spawn::new(self.clone(), module, scheduler)
    }

    /// Starts an assignment: `message`, sent to somebody else or on Arweave, also becomes an entry of `process`'s log.
    pub fn assign(&self, process: ProcessId, message: MessageId) -> Assign {
        Assign::new(self.clone(), process, message)
    }

    /// Starts a dry run: the answer `process` would give, without anything being kept.
    pub fn dry_run(&self, process: ProcessId) -> DryRun {
        DryRun::new(self.clone(), process)
    }

    /// Starts reading the list of results of `process`.
    pub fn results(&self, process: ProcessId) -> Results {
        Results::new(self.clone(), process)
    }

    /// Starts publishing a module.
    pub fn publish(&self, wasm: impl Into<bytes::Bytes>) -> PublishModule {
        PublishModule::new(self.clone(), wasm.into())
    }

    /// Sends an item that has been signed before (`sendSignedMessage` of the official client). Sending the same item
    /// twice is safe: it becomes one entry.
    ///
    /// # Errors
    /// [`Error::Answer`] if the messenger claims another id than the item has.
    pub async fn post(&self, item: &DataItem) -> Result<(), Error> {
        crate::message::post(self, item).await
    }

    /// Says whether calls to `unit` can be made. Schedulers are found through the gateway.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] without the unit's URL.
    pub fn require(&self, unit: Unit) -> Result<(), Error> {
        match unit {
            Unit::Messenger => self.mu_url().map(drop),
            Unit::Compute => self.cu_url().map(drop),
            Unit::Gateway => self.gateway().map(drop),
            Unit::Scheduler => self.locator().map(drop),
            Unit::Uploader => self.uploader().map(drop),
        }
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    pub(crate) fn mu_url(&self) -> Result<&Url, Error> {
        self.0.mu_url.as_ref().ok_or(Error::NotConfigured(Unit::Messenger))
    }

    pub(crate) fn cu_url(&self) -> Result<&Url, Error> {
        self.0.cu_url.as_ref().ok_or(Error::NotConfigured(Unit::Compute))
    }

    pub(crate) fn uploader(&self) -> Result<&Uploader, Error> {
        self.0.uploader.as_ref().ok_or(Error::NotConfigured(Unit::Uploader))
    }

    pub(crate) fn locator(&self) -> Result<&Locator, Error> {
        self.0.locator.as_ref().ok_or(Error::NotConfigured(Unit::Gateway))
    }

    /// The gateway, for reads that this client has no call for.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] without a gateway URL.
    pub fn gateway(&self) -> Result<&Gateway, Error> {
        self.0.gateway.as_ref().ok_or(Error::NotConfigured(Unit::Gateway))
    }

    /// Signing with RSA takes milliseconds, so it does not happen on the caller's async thread.
    pub(crate) async fn sign(&self, item: Builder, signer: &Signer) -> Result<DataItem, Error> {
        let signer = signer.clone();
        match tokio::task::spawn_blocking(move || item.sign(&signer)).await {
            Ok(signed) => Ok(signed?),
            Err(_) => Err(Error::Stopping),
        }
    }
}

/// A network to be described.
#[derive(Debug, Clone, Default)]
pub struct NetworkBuilder {
    mu_url: Option<Url>,
    cu_url: Option<Url>,
    gateway_url: Option<Url>,
    graphql_url: Option<Url>,
    uploader_url: Option<Url>,
    timeout: Option<Duration>,
    result_timeout: Option<Duration>,
    retry: Option<Retry>,
    allow_private_urls: bool,
}

impl NetworkBuilder {
    /// Where messages go.
    pub fn mu_url(mut self, url: Url) -> Self {
        self.mu_url = Some(url);
        self
    }

    /// Where results come from.
    pub fn cu_url(mut self, url: Url) -> Self {
        self.cu_url = Some(url);
        self
    }

    /// Where Arweave is read.
    pub fn gateway_url(mut self, url: Url) -> Self {
        self.gateway_url = Some(url);
        self
    }

    /// Where Arweave is searched; the gateway's `/graphql` by default.
    pub fn graphql_url(mut self, url: Url) -> Self {
        self.graphql_url = Some(url);
        self
    }

    /// Where modules are uploaded; the gateway by default, which is right for local networks only.
    pub fn uploader_url(mut self, url: Url) -> Self {
        self.uploader_url = Some(url);
        self
    }

    /// Limit of every request but results, [`DEFAULT_TIMEOUT`] by default.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limit of waiting for a result or a dry run, [`DEFAULT_RESULT_TIMEOUT`] by default.
    pub fn result_timeout(mut self, limit: Duration) -> Self {
        self.result_timeout = Some(limit);
        self
    }

    /// Tries again what a unit could not do just now: reads, and items that were signed once, because both may arrive twice without harm.
    /// [`Retry::NEVER`] by default. Timeouts hold for each attempt. What failed for another reason fails at once
    /// ([`Error::retryable`]).
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Whether scheduler URLs found on Arweave may lead to private and loopback addresses. Right for local networks
    /// only: anybody can publish such a URL.
    pub fn allow_private_urls(mut self, allow: bool) -> Self {
        self.allow_private_urls = allow;
        self
    }

    /// The network.
    ///
    /// # Errors
    /// [`Error::Url`] for a URL that is not `http` or `https`.
    pub fn build(self) -> Result<Network, Error> {
        let base = |url: Option<Url>| url.map(check_base).transpose();
        let gateway_url = base(self.gateway_url)?;
        let uploader_url = base(self.uploader_url)?.or_else(|| gateway_url.clone());
        let gateway = match gateway_url {
            Some(url) => {
                let mut options = GatewayOptions::new(url);
                options.graphql = base(self.graphql_url)?;
                Some(Gateway::new(options)?)
            }
            None => None,
        };
        let policy = UrlPolicy { allow_private: self.allow_private_urls };
        let uploader = uploader_url
            .map(|url| {
                Uploader::new(url.clone()).map_err(|error| Error::Url { url: url.into(), reason: error.to_string() })
            })
            .transpose()?;
        Ok(Network(Arc::new(Parts {
            http: Http::new(self.retry.unwrap_or(Retry::NEVER))?,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            result_timeout: self.result_timeout.unwrap_or(DEFAULT_RESULT_TIMEOUT),
            mu_url: base(self.mu_url)?,
            cu_url: base(self.cu_url)?,
            locator: gateway.clone().map(|gateway| Locator::new(gateway, policy, Vec::new())),
            gateway,
            uploader,
        })))
    }
}
