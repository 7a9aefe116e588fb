//! The units of a network that stays: those of `holon_devnet`, with their own settings, and the bundler's second port.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holon_devnet::units::{Plan, Unit, Units as Running};
use holon_devnet::{Error, Urls};
use holon_unit::tasks::Tasks;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::forks::Forks;
use super::ports::Ports;
use super::wallets::Wallets;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// What the explorer calls this network.
const NAME: &str = "holon up";
/// Most connections to the bundler's own port at once.
const MAX_FORWARDED: usize = 256;
/// How often monitored processes are looked after. Short: people watch.
const CRON_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for connections to the bundler's own port to end.
const FORWARD_STOP_LIMIT: Duration = Duration::from_secs(1);

/// Running units.
pub struct Units {
    urls: Urls,
    units: Box<Running>,
    forwarding: Tasks,
}

impl Units {
    /// Starts all units. If one does not start, those that run are stopped again.
    pub async fn start(data: &Path, wallets: &Wallets, ports: Ports) -> Result<Self, Failure> {
        let Ports { units: listeners, bundler } = ports;
        let urls = listeners.urls().map_err(failure)?;
        let gateway = listeners.gateway.local_addr().map_err(Failure::network)?;
        let plan = plan(data, wallets, &urls)?;
        let units = Box::new(Box::pin(Running::start(plan, listeners)).await.map_err(failure)?);
        let started = Self { urls, units, forwarding: Tasks::new() };
        match bundler.map_or(Ok(()), |listener| forward(listener, gateway, &started.forwarding)) {
            Ok(()) => Ok(started),
            Err(failure) => {
                if let Err(more) = Box::pin(started.units.stop()).await {
                    tracing::error!(error = %more, "while stopping what had started");
                }
                Err(failure)
            }
        }
    }

    /// Where the units are.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Waits until a unit cannot go on (a store that fails, a task that panics) and says which.
    pub async fn failed(&self) -> Unit {
        self.units.failed().await
    }

    /// Stops the units, the one that takes messages first and the one that keeps them last. All are stopped even if one
    /// fails; the first failure is returned.
    pub async fn stop(self, terminal: Terminal) -> Result<(), Failure> {
        let progress = terminal.progress("stopping");
        self.forwarding.stop(FORWARD_STOP_LIMIT).await;
        let stopped = Box::pin(self.units.stop()).await;
        drop(progress);
        stopped.map_err(failure)?;
        terminal.note("stopped");
        Ok(())
    }
}

/// What the units are started with.
fn plan(data: &Path, wallets: &Wallets, urls: &Urls) -> Result<Plan, Failure> {
    let forks = Forks::read(data)?;
    let mut plan = Plan::local(data, &wallets.units, urls, NAME);
    // Time goes on for a process that comes from another network.
    plan.weave.initial_height = forks.height().map_or(plan.weave.initial_height, |height| height.0 + 1);
    plan.weave.founding = forks.blocks();
    for scheduler in forks.schedulers() {
        plan.cu.scheduler_urls.push((scheduler, urls.scheduler.clone()));
        plan.mu.scheduler_urls.push((scheduler, urls.scheduler.clone()));
    }
    plan.mu.cron_interval = CRON_INTERVAL;
    Ok(plan)
}

fn failure(error: Error) -> Failure {
    Failure::network(error)
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
