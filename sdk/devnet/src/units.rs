//! The units of a network in one program: how they are configured to find each other, started, stopped one by one or all.
//!
//! `holon up` and [`Network`](crate::Network) start the same units through this; they differ in the options they change
//! between [`Plan::local`] and [`Units::start`].

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use holon_protocol::{Address, BlockHeight, Signer};
use holon_unit::server;
use url::Url;

use crate::error::Error;

/// Longest wait for a unit to finish what it is doing.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long a unit that was stopped may take to let go of its folder and port until it can start again.
const RESTART_PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two tries.
const RESTART_PAUSE: Duration = Duration::from_millis(20);
/// How long others may remember where the scheduler is. Short: a restart may change ports.
pub const LOCATION_TIME_TO_LIVE: Duration = Duration::from_secs(60);

/// A part of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// The local Arweave: gateway, bundler, blocks.
    Gateway,
    /// Gives messages their place in the log of their process.
    Scheduler,
    /// Evaluates messages.
    Compute,
    /// Takes messages from clients and pushes what comes out of them.
    Messenger,
}

impl Unit {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Scheduler, Self::Compute, Self::Messenger];
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Scheduler => "scheduler unit",
            Self::Compute => "compute unit",
            Self::Messenger => "messenger unit",
        })
    }
}

/// The units' keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Signs assignments; its address is the network's scheduler.
    pub scheduler: Signer,
    /// Signs pushed messages; its address is the network's authority.
    pub messenger: Signer,
    /// Signs checkpoints.
    pub compute: Signer,
}

/// Where the units listen. All are bound before any unit starts, so that each unit knows the others' addresses.
#[derive(Debug)]
pub struct Listeners {
    /// Gateway and bundler.
    pub gateway: TcpListener,
    /// Messenger unit.
    pub messenger: TcpListener,
    /// Scheduler unit.
    pub scheduler: TcpListener,
    /// Compute unit.
    pub compute: TcpListener,
}

impl Listeners {
    /// Free ports of this computer.
    pub fn free() -> Result<Self, Error> {
        let bind = || server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(Error::Port);
        Ok(Self { gateway: bind()?, messenger: bind()?, scheduler: bind()?, compute: bind()? })
    }

    /// The addresses that go with them.
    pub fn urls(&self) -> Result<Urls, Error> {
        let url = |listener: &TcpListener| -> Result<Url, Error> {
            let address = listener.local_addr().map_err(|error| Error::Port(error.into()))?;
            let text = format!("http://{address}/");
            text.parse().map_err(|error: url::ParseError| Error::Environment(format!("{text}: {error}")))
        };
        Ok(Urls {
            gateway: url(&self.gateway)?,
            messenger: url(&self.messenger)?,
            scheduler: url(&self.scheduler)?,
            compute: url(&self.compute)?,
        })
    }
}

/// The units' base URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    /// Gateway and bundler (`GATEWAY_URL`, `UPLOADER_URL`).
    pub gateway: Url,
    /// Messenger unit (`MU_URL`).
    pub messenger: Url,
    /// Scheduler unit.
    pub scheduler: Url,
    /// Compute unit (`CU_URL`).
    pub compute: Url,
}

/// What each unit is started with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The gateway.
    pub weave: holon_weave::Options,
    /// The scheduler unit.
    pub su: holon_su::Options,
    /// The compute unit.
    pub cu: holon_cu::Options,
    /// The messenger unit.
    pub mu: holon_mu::Options,
}

impl Plan {
    /// A network on this computer whose data are in folders of `data`: everything is pushed, processes with cron tags wake by
    /// themselves, everybody may see traces.
    pub fn local(data: &Path, keys: &Keys, urls: &Urls, name: &str) -> Self {
        let explorer = explorer(name, keys, urls);
        // Units of one network know each other before any gateway has indexed a process.
        let scheduler = (keys.scheduler.address(), urls.scheduler.clone());

        let mut weave = holon_weave::Options::new(data.join("weave"));
        weave.listen = address(&urls.gateway);
        weave.explorer = explorer.clone();

        let mut su = holon_su::Options::new(data.join("su"), keys.scheduler.clone(), urls.gateway.clone());
        su.listen = address(&urls.scheduler);
        su.height_interval = holon_su::height::LOCAL_INTERVAL;
        su.explorer = explorer.clone();

        let mut cu = holon_cu::Options::new(data.join("cu"), keys.compute.clone(), urls.gateway.clone());
        cu.listen = address(&urls.compute);
        cu.explorer = explorer.clone();
        cu.allow_private_urls = true;
        cu.scheduler_urls.push(scheduler.clone());

        let (gateway, compute) = (urls.gateway.clone(), urls.compute.clone());
        let mut mu = holon_mu::Options::new(data.join("mu"), keys.messenger.clone(), gateway, compute);
        mu.listen = address(&urls.messenger);
        mu.explorer = explorer;
        mu.allow_private_urls = true;
        mu.scheduler_urls.push(scheduler);
        mu.enable_push = true;
        mu.allow_pushes_after = BlockHeight(0);
        mu.auto_cron = true;
        // The network listens on this computer only.
        mu.public_traces = true;
        Self { weave, su, cu, mu }
    }

    /// Where a unit listens.
    fn listen(&self, unit: Unit) -> SocketAddr {
        match unit {
            Unit::Gateway => self.weave.listen,
            Unit::Scheduler => self.su.listen,
            Unit::Compute => self.cu.listen,
            Unit::Messenger => self.mu.listen,
        }
    }
}

/// Units that run, or are down for a while.
pub struct Units {
    plan: Plan,
    weave: Option<holon_weave::Running>,
    su: Option<holon_su::Running>,
    cu: Option<holon_cu::Running>,
    mu: Option<holon_mu::Running>,
}

impl fmt::Debug for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Unit::ALL.into_iter().filter(|unit| self.is_up(*unit))).finish()
    }
}

impl Units {
    /// Starts all units: those of a new network all at once, else the gateway first and then the others. If one does not start, those that run are stopped
    /// again. Call it inside a multi-threaded tokio runtime.
    pub async fn start(plan: Plan, listeners: Listeners) -> Result<Self, Error> {
        let Listeners { gateway, messenger, scheduler, compute } = listeners;
        let mut units = Self { plan, weave: None, su: None, cu: None, mu: None };
        let started = units.start_all(gateway, messenger, scheduler, compute).await;
        match started {
            Ok(()) => Ok(units),
            Err(error) => {
                if let Err(more) = units.stop().await {
                    tracing::error!(error = %more, "while stopping what had started");
                }
                Err(error)
            }
        }
    }

    async fn start_all(
        &mut self,
        gateway: TcpListener,
        messenger: TcpListener,
        scheduler: TcpListener,
        compute: TcpListener,
    ) -> Result<(), Error> {
        let Plan { weave, su, cu, mu } = self.plan.clone();
        let new = !weave.data_dir.exists();
        let weave = Box::pin(holon_weave::Service::start(weave, gateway));
        // All ports are bound, so a unit that is asked before it is ready answers a little later.
        let others = async {
            tokio::join!(
                Box::pin(holon_su::Service::start(su, scheduler)),
                Box::pin(holon_cu::Service::start(cu, compute)),
                Box::pin(holon_mu::Service::start(mu, messenger)),
            )
        };
        let (weave, (su, cu, mu)) = match new {
            // New stores are hundreds of syncs of a disk, which go well side by side.
            true => tokio::join!(weave, others),
            // An Arweave that has much to look through would be asked for longer than others wait.
            false => {
                self.weave = Some(weave.await.map_err(not_started(Unit::Gateway))?);
                let (su, cu, mu) = others.await;
                return self.started(su, cu, mu);
            }
        };
        let weave = weave.map(|weave| self.weave = Some(weave)).map_err(not_started(Unit::Gateway));
        weave.and(self.started(su, cu, mu))
    }

    fn started(
        &mut self,
        su: Result<holon_su::Running, holon_su::Error>,
        cu: Result<holon_cu::Running, holon_cu::Error>,
        mu: Result<holon_mu::Running, holon_mu::Error>,
    ) -> Result<(), Error> {
        let su = su.map(|su| self.su = Some(su)).map_err(not_started(Unit::Scheduler));
        let cu = cu.map(|cu| self.cu = Some(cu)).map_err(not_started(Unit::Compute));
        let mu = mu.map(|mu| self.mu = Some(mu)).map_err(not_started(Unit::Messenger));
        su.and(cu).and(mu)
    }

    /// What the units were started with.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The gateway, unless it is down.
    pub fn gateway(&self) -> Option<&holon_weave::Running> {
        self.weave.as_ref()
    }

    /// The scheduler unit, unless it is down.
    pub fn scheduler(&self) -> Option<&holon_su::Running> {
        self.su.as_ref()
    }

    /// The messenger unit, unless it is down.
    pub fn messenger(&self) -> Option<&holon_mu::Running> {
        self.mu.as_ref()
    }

    /// Tells the scheduler unit, if it is up, the height of the newest block.
    pub fn tell_height(&self, height: BlockHeight) {
        if let Some(scheduler) = &self.su {
            scheduler.set_height(height);
        }
    }

    /// Whether a unit runs.
    pub fn is_up(&self, unit: Unit) -> bool {
        match unit {
            Unit::Gateway => self.weave.is_some(),
            Unit::Scheduler => self.su.is_some(),
            Unit::Compute => self.cu.is_some(),
            Unit::Messenger => self.mu.is_some(),
        }
    }

    /// Waits until a unit cannot go on (a store that fails, a task that panics) and says which. One that is down does not
    /// fail.
    pub async fn failed(&self) -> Unit {
        let weave = async {
            match &self.weave {
                Some(weave) => weave.failed().await,
                None => std::future::pending().await,
            }
        };
        let su = async {
            match &self.su {
                Some(su) => su.stopping().cancelled_owned().await,
                None => std::future::pending().await,
            }
        };
        let mu = async {
            match &self.mu {
                Some(mu) => mu.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = weave => Unit::Gateway,
            () = su => Unit::Scheduler,
            () = mu => Unit::Messenger,
        }
    }

    /// Stops one unit. It finishes the requests it has; others find nobody at its address. Stopping twice is the same as once.
    pub async fn stop_one(&mut self, unit: Unit) -> Result<(), Error> {
        match unit {
            Unit::Gateway => ended(unit, self.weave.take(), holon_weave::Running::stop).await,
            Unit::Scheduler => ended(unit, self.su.take(), holon_su::Running::stop).await,
            Unit::Compute => ended(unit, self.cu.take(), holon_cu::Running::stop).await,
            Unit::Messenger => ended(unit, self.mu.take(), holon_mu::Running::stop).await,
        }
    }

    /// Ends one unit as a crash would: requests are cut, work is dropped where it stands, nothing is tidied up. What it had promised
    /// is in its folder. Nothing happens if it is down.
    pub async fn kill_one(&mut self, unit: Unit) -> Result<(), Error> {
        match unit {
            Unit::Gateway => ended(unit, self.weave.take(), holon_weave::Running::kill).await,
            Unit::Scheduler => ended(unit, self.su.take(), holon_su::Running::kill).await,
            Unit::Compute => ended(unit, self.cu.take(), holon_cu::Running::kill).await,
            Unit::Messenger => ended(unit, self.mu.take(), holon_mu::Running::kill).await,
        }
    }

    /// Ends all units at once, as a power cut would. All are ended even if one fails; the first failure is returned.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let (weave, su, cu, mu) = tokio::join!(
            Box::pin(ended(Unit::Gateway, self.weave.take(), holon_weave::Running::kill)),
            Box::pin(ended(Unit::Scheduler, self.su.take(), holon_su::Running::kill)),
            Box::pin(ended(Unit::Compute, self.cu.take(), holon_cu::Running::kill)),
            Box::pin(ended(Unit::Messenger, self.mu.take(), holon_mu::Running::kill)),
        );
        [weave, su, cu, mu].into_iter().collect()
    }

    /// Starts a unit that is down, at its old address and with its data. Nothing happens if it runs.
    pub async fn start_one(&mut self, unit: Unit) -> Result<(), Error> {
        if self.is_up(unit) {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            match Box::pin(self.try_start(unit)).await {
                // Its threads may hold folder and port for a moment after it has ended.
                Err(error) if begun.elapsed() < RESTART_PATIENCE => {
                    tracing::debug!(%unit, %error, "not yet");
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn try_start(&mut self, unit: Unit) -> Result<(), Error> {
        let listener = server::bind(self.plan.listen(unit)).map_err(Error::Port)?;
        let plan = &self.plan;
        match unit {
            Unit::Gateway => {
                let started = holon_weave::Service::start(plan.weave.clone(), listener).await;
                self.weave = Some(started.map_err(not_started(unit))?);
            }
            Unit::Scheduler => {
                let started = holon_su::Service::start(plan.su.clone(), listener).await;
                self.su = Some(started.map_err(not_started(unit))?);
            }
            Unit::Compute => {
                let started = holon_cu::Service::start(plan.cu.clone(), listener).await;
                self.cu = Some(started.map_err(not_started(unit))?);
            }
            Unit::Messenger => {
                let started = holon_mu::Service::start(plan.mu.clone(), listener).await;
                self.mu = Some(started.map_err(not_started(unit))?);
            }
        }
        Ok(())
    }

    /// Stops the units, the one that takes messages first and the one that keeps them last. All are stopped even if one
    /// fails; the first failure is returned.
    pub async fn stop(mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for unit in Unit::ALL.into_iter().rev() {
            let stopped = Box::pin(self.stop_one(unit)).await;
            result = result.and(stopped);
        }
        result
    }
}

/// What the explorer of each unit is told.
fn explorer(name: &str, keys: &Keys, urls: &Urls) -> holon_explorer::Network {
    let address = |wallet: &Signer| -> Option<String> { Some(Address::to_string(&wallet.address())) };
    holon_explorer::Network {
        name: Some(name.to_owned()),
        unit: None,
        gateway_url: Some(urls.gateway.to_string()),
        graphql_url: None,
        mu_url: Some(urls.messenger.to_string()),
        su_url: Some(urls.scheduler.to_string()),
        cu_url: Some(urls.compute.to_string()),
        scheduler: address(&keys.scheduler),
        authority: address(&keys.messenger),
        compute: address(&keys.compute),
    }
}

/// Our own URLs are `http://<address>:<port>/`.
fn address(url: &Url) -> SocketAddr {
    let port = url.port().unwrap_or_default();
    let ip = url.host_str().and_then(|host| host.parse().ok()).unwrap_or(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(ip, port)
}

fn not_started<E: fmt::Display>(unit: Unit) -> impl Fn(E) -> Error {
    move |error| Error::NotStarted { unit, reason: error.to_string() }
}

/// Ends a unit in the way that is given, if it runs.
async fn ended<R, S, E>(unit: Unit, running: Option<R>, end: impl FnOnce(R) -> S) -> Result<(), Error>
where
    S: Future<Output = Result<(), E>>,
    E: fmt::Display,
{
    match running {
        Some(running) => stopped(unit, end(running)).await,
        None => Ok(()),
    }
}

async fn stopped<E: fmt::Display>(unit: Unit, stopping: impl Future<Output = Result<(), E>>) -> Result<(), Error> {
    match tokio::time::timeout(STOP_LIMIT, stopping).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::NotStopped { unit, reason: error.to_string() }),
        Err(_) => Err(Error::NotStopped { unit, reason: format!("it took longer than {} s", STOP_LIMIT.as_secs()) }),
    }
}
