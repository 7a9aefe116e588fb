//! The service: puts the parts together, starts them, stops them in order.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use holon_arweave::{Gateway, GatewayOptions, Locator, Uploader, UrlPolicy};
use holon_unit::server::{self, HttpOptions, Server};
use holon_unit::tasks::Tasks;
use tokio::sync::Semaphore;

use crate::api::{self, Api, Bodies, MAX_BODIES_BYTES};
use crate::crank::driver::Driver;
use crate::crank::step::Policy;
use crate::crank::world::{MAX_SENDS_PER_STRANGER, World};
use crate::cron::{self, Cron};
use crate::error::Error;
use crate::ingest::Ingest;
use crate::locate::Directory;
use crate::metrics::Metrics;
use crate::options::{MIN_CRON_INTERVAL, Options};
use crate::outbox::{DeadLetter, LocalOutbox, Outbox};
use crate::peers::{Compute, Crowd, Http, Schedulers};
use crate::push::Pusher;

/// Attempts of one gateway read; whoever asked repeats later.
const GATEWAY_ATTEMPTS: u32 = 3;
/// How long background tasks may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The messenger unit.
#[derive(Debug)]
pub struct Service;

/// A messenger unit that runs.
pub struct Running {
    server: Server,
    tasks: Tasks,
    driver: Driver,
    outbox: Arc<dyn Outbox>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("server", &self.server).field("queued", &self.queued()).finish_non_exhaustive()
    }
}

impl Service {
    /// Starts the unit on `listener`, resuming what is left in its outbox. Call it inside a tokio runtime.
    pub async fn start(options: Options, listener: TcpListener) -> Result<Running, Error> {
        let folder = options.data_dir.join("outbox");
        std::fs::create_dir_all(&folder).map_err(|source| Error::Folder { path: folder.clone(), source })?;
        let outbox: Arc<dyn Outbox> = Arc::new(LocalOutbox::open(&folder)?);
        let metrics = Metrics::default();
        let tasks = Tasks::new();

        let policy = UrlPolicy { allow_private: options.allow_private_urls };
        let gateway = Gateway::new(GatewayOptions {
            graphql: options.graphql_url.clone(),
            retries: GATEWAY_ATTEMPTS,
            ..GatewayOptions::new(options.gateway_url.clone())
        })?;
        let overrides = options.scheduler_urls.clone();
        // Apart from each other: a published scheduler may not stand for the compute unit's private address.
        let trusted = overrides.iter().map(|(_, url)| url.clone()).chain(options.scheduler_origins.clone());
        let schedulers = Schedulers::new(Http::new(policy, trusted)?, options.scheduler_timeout);
        let http = Http::new(policy, [options.cu_url.clone()])?;
        let compute = Compute::new(http, options.cu_url.clone(), options.pull_timeout);
        let locator = Locator::new(gateway.clone(), policy, overrides.clone());
        let directory = Directory::new(Arc::clone(&outbox), gateway, locator, schedulers.clone(), overrides);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let world = World {
            directory: directory.clone(),
            schedulers: schedulers.clone(),
            compute: compute.clone(),
            uploader: Uploader::new(options.uploader_url.clone().unwrap_or_else(|| options.gateway_url.clone()))?,
            signer: options.wallet.clone(),
            signing: Arc::new(Semaphore::new(processors)),
            crowd: Crowd::new(MAX_SENDS_PER_STRANGER),
        };
        let driver = Driver::load(
            Arc::clone(&outbox),
            world,
            Policy { boot: options.push_boots },
            options.limits,
            tasks.clone(),
            metrics.clone(),
        )
        .await?;
        let cron = Cron::load(cron::Parts {
            outbox: Arc::clone(&outbox),
            driver: driver.clone(),
            directory: directory.clone(),
            schedulers: schedulers.clone(),
            compute: compute.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            owner_only: options.monitor_owner_only,
            interval: options.cron_interval.max(MIN_CRON_INTERVAL),
        })
        .await?;
        let api = Api {
            ingest: Ingest::new(
                driver.clone(),
                directory.clone(),
                schedulers.clone(),
                tasks.clone(),
                options.push_boots,
                options.refuse_from_process,
            ),
            cron: cron.clone(),
            pusher: Pusher {
                driver: driver.clone(),
                directory,
                schedulers,
                compute,
                enabled: options.enable_push,
                after: options.allow_pushes_after,
            },
            metrics,
            bodies: Bodies::new(MAX_BODIES_BYTES),
        };
        let explorer = options.explorer();
        let server = server::start(listener, &HttpOptions::default(), move |config| {
            holon_explorer::routes(config, &explorer);
            api::routes(config, api.clone());
        })?;
        tasks.spawn("crank", driver.clone().run());
        tasks.spawn("cron", cron.run());
        tracing::info!(url = server.url(), wallet = %options.wallet.address(), "messenger unit is up");
        Ok(Running { server, tasks, driver, outbox })
    }
}

impl Running {
    /// `http://<address>`, without a trailing slash.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Number of tasks that are left to do.
    pub fn queued(&self) -> usize {
        self.driver.queued()
    }

    /// The newest `limit` things that were given up, with their reasons.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.outbox.dead_letters(limit).await?)
    }

    /// Resolves when the unit stops by itself because one of its background tasks failed.
    pub async fn failed(&self) {
        self.tasks.stopping().cancelled().await;
    }

    /// Takes no more requests, lets running ones finish, and ends. What is left stays in the outbox.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { server, tasks, driver, outbox } = self;
        server.stop().await?;
        if !tasks.stop(STOP_TIMEOUT).await {
            tracing::warn!("background tasks did not end in time; the outbox knows what they were doing");
        }
        drop(driver);
        // Everything committed so far is on disk when this returns.
        outbox.commit(crate::outbox::Changes::default(), crate::outbox::Durability::Synced).await?;
        Ok(())
    }
}
