//! The units of a network in one program: the gateway starts first, the others then all at once; they stop in order.

use std::fmt::Display;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holon_protocol::BlockHeight;
use holon_unit::tasks::Tasks;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::forks::Forks;
use super::ports::{Ports, Urls};
use super::wallets::Wallets;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Most connections to the bundler's own port at once.
const MAX_FORWARDED: usize = 256;
/// How often monitored processes are looked after. Short: people watch.
const CRON_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for a unit to finish what it is doing.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for connections to the bundler's own port to end.
const FORWARD_STOP_LIMIT: Duration = Duration::from_secs(1);

/// Running units.
pub struct Units {
    urls: Urls,
    weave: holon_weave::Running,
    su: holon_su::Running,
    cu: holon_cu::Running,
    mu: holon_mu::Running,
    forwarding: Tasks,
}

impl Units {
    /// Starts all units. If one does not start, those that run are stopped again.
    pub async fn start(data: &Path, wallets: &Wallets, ports: Ports) -> Result<Self, Failure> {
        let urls = ports.urls()?;
        let forwarding = Tasks::new();
        let explorer = explorer(&urls, wallets);

        let forks = Forks::read(data)?;
        let mut options = holon_weave::Options::new(data.join("weave"));
        // Time goes on for a process that comes from another network.
        options.initial_height = forks.height().map_or(options.initial_height, |height| height.0 + 1);
        options.listen = address(&ports.gateway)?;
        options.explorer = explorer.clone();
        let weave = holon_weave::Service::start(options, ports.gateway).await.map_err(failed("gateway"))?;
        if let Some(listener) = ports.bundler {
            forward(listener, socket(&urls)?, &forwarding)?;
        }

        let mut su = holon_su::Options::new(data.join("su"), wallets.scheduler.clone(), urls.gateway.clone());
        su.listen = address(&ports.su)?;
        su.height_interval = holon_su::height::LOCAL_INTERVAL;
        su.explorer = explorer.clone();

        let mut cu = holon_cu::Options::new(data.join("cu"), wallets.compute.clone(), urls.gateway.clone());
        cu.listen = address(&ports.cu)?;
        cu.explorer = explorer.clone();
        cu.allow_private_urls = true;
        // Units of one network know each other before any gateway has indexed a process.
        let scheduler = (wallets.scheduler.address(), urls.su.clone());
        let mut schedulers = vec![scheduler];
        schedulers.extend(forks.schedulers().map(|wallet| (wallet, urls.su.clone())));
        cu.scheduler_urls.extend(schedulers.iter().cloned());

        let mut mu =
            holon_mu::Options::new(data.join("mu"), wallets.messenger.clone(), urls.gateway.clone(), urls.cu.clone());
        mu.listen = address(&ports.mu)?;
        mu.explorer = explorer;
        mu.allow_private_urls = true;
        mu.scheduler_urls.extend(schedulers);
        mu.enable_push = true;
        mu.allow_pushes_after = BlockHeight(0);
        mu.cron_interval = CRON_INTERVAL;
        mu.auto_cron = true;
        // The network listens on this computer only.
        mu.public_traces = true;

        // All ports are bound, so a unit that is asked before it is ready answers a little later.
        let (su, cu, mu) = tokio::join!(
            Box::pin(holon_su::Service::start(su, ports.su)),
            Box::pin(holon_cu::Service::start(cu, ports.cu)),
            Box::pin(holon_mu::Service::start(mu, ports.mu)),
        );
        let su = su.map_err(failed("scheduler unit"));
        let cu = cu.map_err(failed("compute unit"));
        let mu = mu.map_err(failed("messenger unit"));
        match (su, cu, mu) {
            (Ok(su), Ok(cu), Ok(mu)) => Ok(Self { urls, weave, su, cu, mu, forwarding }),
            (su, cu, mu) => {
                let mut failure = None;
                match mu {
                    Ok(mu) => report(stopped("messenger unit", mu.stop()).await),
                    Err(error) => failure = Some(error),
                }
                match cu {
                    Ok(cu) => report(stopped("compute unit", cu.stop()).await),
                    Err(error) => failure = Some(error),
                }
                match su {
                    Ok(su) => report(stopped("scheduler unit", su.stop()).await),
                    Err(error) => failure = Some(error),
                }
                report(stopped("gateway", weave.stop()).await);
                forwarding.stop(FORWARD_STOP_LIMIT).await;
                Err(failure.unwrap_or_else(|| Failure::network("a unit did not start")))
            }
        }
    }

    /// Where the units are.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Waits until a unit cannot go on (a store that fails, a task that panics) and says which.
    pub async fn failed(&self) -> &'static str {
        let scheduler = self.su.stopping();
        tokio::select! {
            () = self.weave.failed() => "gateway",
            () = scheduler.cancelled() => "scheduler unit",
            () = self.mu.failed() => "messenger unit",
        }
    }

    /// Stops the units, the one that takes messages first and the one that keeps them last. All are stopped even if one
    /// fails; the first failure is returned.
    pub async fn stop(self, terminal: Terminal) -> Result<(), Failure> {
        let progress = terminal.progress("stopping");
        self.forwarding.stop(FORWARD_STOP_LIMIT).await;
        let results = [
            stopped("messenger unit", self.mu.stop()).await,
            stopped("compute unit", self.cu.stop()).await,
            stopped("scheduler unit", self.su.stop()).await,
            stopped("gateway", self.weave.stop()).await,
        ];
        drop(progress);
        results.into_iter().collect::<Result<(), Failure>>()?;
        terminal.note("stopped");
        Ok(())
    }
}

/// What the explorer of each unit is told.
fn explorer(urls: &Urls, wallets: &Wallets) -> holon_explorer::Network {
    holon_explorer::Network {
        name: Some("holon up".into()),
        unit: None,
        gateway_url: Some(urls.gateway.to_string()),
        graphql_url: None,
        mu_url: Some(urls.mu.to_string()),
        su_url: Some(urls.su.to_string()),
        cu_url: Some(urls.cu.to_string()),
        scheduler: Some(wallets.scheduler.address().to_string()),
        authority: Some(wallets.messenger.address().to_string()),
        compute: Some(wallets.compute.address().to_string()),
    }
}

fn failed<E: Display>(unit: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::network(format!("the {unit} did not start: {error}"))
}

async fn stopped<E: Display>(unit: &'static str, stopping: impl Future<Output = Result<(), E>>) -> Result<(), Failure> {
    match tokio::time::timeout(STOP_LIMIT, stopping).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::network(format!("the {unit} did not stop in order: {error}"))),
        Err(_) => Err(Failure::network(format!("the {unit} did not stop within {} s", STOP_LIMIT.as_secs()))),
    }
}

/// A failure that comes on top of the one that is returned.
fn report(result: Result<(), Failure>) {
    if let Err(failure) = result {
        tracing::error!("{}", failure.message());
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(Failure::network)
}

fn socket(urls: &Urls) -> Result<SocketAddr, Failure> {
    let addresses = urls.gateway.socket_addrs(|| None).map_err(Failure::network)?;
    addresses.into_iter().next().ok_or_else(|| Failure::network("the gateway has no address"))
}

/// Serves the gateway on a second port, where programs of the layout of spec 07 §7.1 look for the bundler.
fn forward(listener: TcpListener, gateway: SocketAddr, tasks: &Tasks) -> Result<(), Failure> {
    listener.set_nonblocking(true).map_err(Failure::network)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(Failure::network)?;
    let places = Arc::new(Semaphore::new(MAX_FORWARDED));
    let stop = tasks.stopping();
    let connections = tasks.clone();
    tasks.spawn("bundler-port", async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = async {
                    let place = places.clone().acquire_owned().await;
                    listener.accept().await.map(|(stream, _)| (stream, place))
                } => accepted,
            };
            let (mut client, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: the next try may find one.
                    tracing::warn!(%error, "a connection to the bundler port was lost");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let stop = stop.clone();
            connections.spawn("bundler-connection", async move {
                let _place = place;
                let copying = async {
                    let mut gateway = TcpStream::connect(gateway).await?;
                    copy_bidirectional(&mut client, &mut gateway).await
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    // Whoever broke the connection knows it.
                    _ = copying => {}
                }
            });
        }
    });
    Ok(())
}
