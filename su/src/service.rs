//! Starting and stopping the scheduler.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix_web::web::Data;
use holon_arweave::{Gateway, GatewayOptions, UploadError, Uploader};
use holon_protocol::{Address, BlockHeight};
use holon_unit::events::Places;
use holon_unit::server::{self, HttpOptions, Server, ServerError};
use holon_unit::tasks::Tasks;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::access::Access;
use crate::api::{Api, Bodies, EVENT_READERS_LIMIT, routes};
use crate::check::Rules;
use crate::height;
use crate::log::{FjallLog, LogStore, StoreError};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pool::Pool;
use crate::published::Published;
use crate::reader::Reader;
use crate::scheduler::Scheduler;
use crate::settle::Settler;

/// How long background tasks and threads may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest one question for the L1 height may take.
const HEIGHT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of a gateway read inside a request, so that its client does not wait for long.
const GATEWAY_ATTEMPTS: u32 = 3;

/// The scheduler cannot start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gateway cannot be used or does not tell the L1 height.
    #[error("the gateway does not tell the L1 height: {0}")]
    Gateway(#[from] holon_arweave::Error),
    /// The bundler cannot be used.
    #[error(transparent)]
    Uploader(#[from] UploadError),
    /// The HTTP server cannot start or stop.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Threads or HTTP clients cannot be made.
    #[error("the scheduler cannot start: {0}")]
    Start(String),
    /// Something did not end in time.
    #[error("the scheduler did not stop within {} s", STOP_TIMEOUT.as_secs())]
    StopTimeout,
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Start(error.to_string())
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Start(error.to_string())
    }
}

/// The scheduler as a service.
#[derive(Debug)]
pub struct Service;

/// A running scheduler. Dropping it stops nothing.
pub struct Running {
    server: Server,
    tasks: Tasks,
    threads: Vec<thread::JoinHandle<()>>,
    address: Address,
    scheduler: Scheduler,
}

impl Service {
    /// Opens the log, asks the gateway for the L1 height (up to [`height::START_ATTEMPTS`] times) and serves on
    /// `listener`. Call it inside a tokio runtime.
    pub async fn start(options: Options, listener: TcpListener) -> Result<Running, Error> {
        let folder = options.data_dir.clone();
        let store = tokio::task::spawn_blocking(move || FjallLog::open(&folder)).await;
        let store: Arc<dyn LogStore> = Arc::new(store.map_err(|error| Error::Start(error.to_string()))??);
        Self::start_with(options, listener, store).await
    }

    /// The same over any log store.
    pub async fn start_with(
        options: Options,
        listener: TcpListener,
        store: Arc<dyn LogStore>,
    ) -> Result<Running, Error> {
        let base = options.arweave_url.clone().unwrap_or_else(|| options.gateway_url.clone());
        let uploader = Uploader::new(options.uploader_url.clone().unwrap_or_else(|| options.gateway_url.clone()))?;
        let tip =
            Gateway::new(GatewayOptions { retries: 1, timeout: HEIGHT_TIMEOUT, ..GatewayOptions::new(base.clone()) })?;
        let first_height = height::first(&tip).await?;

        let tasks = Tasks::new();
        let metrics = Metrics::new();
        let cpus = thread::available_parallelism().map_or(2, usize::from);
        let (pool, mut threads) = Pool::start("su-turns", cpus.max(2), tasks.stopping())?;
        let (readers, reading) = Pool::start("su-reads", cpus.max(2), tasks.stopping())?;
        threads.extend(reading);
        let (scheduler, writer) = Scheduler::start(
            store,
            options.wallet.clone(),
            options.clock.clone(),
            pool.clone(),
            metrics.clone(),
            tasks.stopping(),
        )?;
        threads.push(writer);
        scheduler.set_height(first_height);

        let access = start_access(&options, &tasks)?;
        tasks.spawn("height", height::follow(tip, scheduler.clone(), options.height_interval, tasks.stopping()));
        let settler =
            Settler::new(scheduler.clone(), readers.clone(), uploader, options.cache_url.clone(), metrics.clone())?;
        tasks.spawn("settle", settler.run(tasks.stopping()));

        let address = options.wallet.address();
        let api = Api {
            reader: Reader::new(scheduler.clone(), metrics.clone(), options.max_read_bytes),
            scheduler: scheduler.clone(),
            published: published(&options, base, readers.clone())?,
            pool,
            readers,
            rules: Rules {
                scheduler: options.check_scheduler.then_some(address),
                content_checks: options.content_checks,
                size: options.message_size.clone(),
            },
            access,
            bodies: Bodies::new(options.max_body_memory_bytes, options.body_times),
            event_readers: Places::new(EVENT_READERS_LIMIT),
            metrics: options.metrics.then_some(metrics),
            idempotent: options.idempotent_posts,
        };
        let api = Data::new(api);
        let http = HttpOptions { workers: cpus.max(2), ..HttpOptions::default() };
        let explorer = options.explorer();
        let server = server::start(listener, &http, move |config| {
            config.app_data(api.clone());
            routes().after(holon_explorer::routes(&explorer)).register(config);
        })?;
        tracing::info!(%address, url = server.url(), "scheduler unit started");
        Ok(Running { server, tasks, threads, address, scheduler })
    }
}

fn published(options: &Options, base: Url, pool: Pool) -> Result<Published, Error> {
    let gateway = |url: Url| {
        let graphql = options.graphql_url.clone().or_else(|| Some(options.gateway_url.clone()));
        Gateway::new(GatewayOptions { graphql, retries: GATEWAY_ATTEMPTS, ..GatewayOptions::new(url) })
    };
    let on_boot = match options.on_boot_urls.as_slice() {
        [] => vec![gateway(options.gateway_url.clone())?],
        urls => urls.iter().cloned().map(gateway).collect::<Result<_, _>>()?,
    };
    Ok(Published::new(gateway(base)?, on_boot, options.router_url.clone(), pool)?)
}

fn start_access(options: &Options, tasks: &Tasks) -> Result<Access, Error> {
    let own_url = options.process_allow_list.as_ref().map(|(_, own)| own.clone());
    let access = Access::new(options.warmup, options.ip_allow_list.is_some(), own_url);
    let client = || reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
    if let Some(url) = options.ip_allow_list.clone() {
        tasks.spawn("address list", access.clone().follow_addresses(url, client()?, tasks.stopping()));
    }
    if let Some((url, _)) = options.process_allow_list.clone() {
        tasks.spawn("process list", access.clone().follow_processes(url, client()?, tasks.stopping()));
    }
    Ok(access)
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("server", &self.server).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Running {
    /// `http://<address>`, without a trailing slash.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The scheduler's wallet address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Tells the scheduler an L1 height without waiting until it asks: for networks whose blocks are made by hand.
    pub fn set_height(&self, height: BlockHeight) {
        self.scheduler.set_height(height);
    }

    /// Cancelled when the service cannot go on (its store failed): the program should then call [`Self::stop`].
    pub fn stopping(&self) -> CancellationToken {
        self.tasks.stopping()
    }

    /// Lets running requests finish, then ends tasks and threads and closes the log.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { server, tasks, threads, scheduler, .. } = self;
        let served = server.stop().await;
        let in_time = tasks.stop(STOP_TIMEOUT).await;
        Self::end(threads, scheduler, served, in_time).await
    }

    /// Ends as a crash would: requests are cut and work is dropped where it stands. What was acknowledged is in the log.
    pub async fn kill(self) -> Result<(), Error> {
        let Self { server, tasks, threads, scheduler, .. } = self;
        let served = server.kill().await;
        let in_time = tasks.kill(STOP_TIMEOUT).await;
        Self::end(threads, scheduler, served, in_time).await
    }

    async fn end(
        threads: Vec<thread::JoinHandle<()>>,
        scheduler: Scheduler,
        served: Result<(), ServerError>,
        in_time: bool,
    ) -> Result<(), Error> {
        drop(scheduler);
        // Threads end once nobody holds the pool or the scheduler; then the log is closed too.
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        let joined = tokio::time::timeout(STOP_TIMEOUT, joined).await;
        served?;
        match joined {
            Ok(Ok(true)) if in_time => Ok(()),
            _ => Err(Error::StopTimeout),
        }
    }
}
