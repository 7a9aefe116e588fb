//! The service: puts the parts together, starts them, stops them in order.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use holon_arweave::{Gateway, GatewayOptions, Locator, Uploader, UrlPolicy};
use holon_protocol::Timestamp;
use holon_unit::clock::Clock;
use holon_unit::operator::Operator;
use holon_unit::server::{self, HttpOptions, Server};
use holon_unit::tasks::Tasks;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Access, Api, Bodies};
use crate::births::Births;
use crate::crank::driver::{self, Driver};
use crate::crank::step::Policy;
use crate::crank::world::{MAX_SENDS_PER_STRANGER, World};
use crate::cron::{self, Cron};
use crate::error::Error;
use crate::ingest::Ingest;
use crate::locate::Directory;
use crate::metrics::Metrics;
use crate::options::{MIN_CRON_INTERVAL, Options};
use crate::outbox::{DeadLetter, LocalOutbox, Outbox, PostgresOutbox};
use crate::peers::{Compute, Crowd, Http, Schedulers};
use crate::push::Pusher;
use crate::sharing;
use crate::trace::Reporter;

/// Attempts of one gateway read; whoever asked repeats later.
const GATEWAY_ATTEMPTS: u32 = 3;
/// Between two looks for old traces.
const FORGET_INTERVAL: Duration = Duration::from_secs(30);
/// Events forgotten in one transaction.
const FORGET_BATCH: usize = 2_000;
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
    cron: Cron,
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
        let outbox: Arc<dyn Outbox> = match &options.postgres {
            Some(postgres) => {
                let folder = &options.data_dir;
                std::fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.clone(), source })?;
                Arc::new(PostgresOutbox::open(postgres.clone()).await?)
            }
            None => {
                let folder = options.data_dir.join("outbox");
                std::fs::create_dir_all(&folder).map_err(|source| Error::Folder { path: folder.clone(), source })?;
                Arc::new(LocalOutbox::open(&folder)?)
            }
        };
        let operator = Operator::new(options.operator_token.as_ref().map(|token| token.as_str()), &options.data_dir)
            .map_err(|(path, source)| Error::Folder { path, source })?;
        let metrics = Metrics::default();
        let tasks = Tasks::new();

        let guards = options.guards;
        let policy = UrlPolicy { allow_private: options.allow_private_urls };
        let gateway = Gateway::new(GatewayOptions {
            graphql: options.graphql_url.clone(),
            retries: GATEWAY_ATTEMPTS,
            ..GatewayOptions::new(options.gateway_url.clone())
        })?;
        let sent = metrics.sent().clone();
        let gateway = gateway.watched_by(Arc::new(move |method, operation, outcome, took| {
            sent.observe(method, operation, outcome, took);
        }));
        let overrides = options.scheduler_urls.clone();
        // Apart from each other: a published scheduler may not stand for the compute unit's private address.
        let trusted = overrides.iter().map(|(_, url)| url.clone()).chain(options.scheduler_origins.clone());
        let schedulers =
            Schedulers::new(Http::new(policy, guards, metrics.sent().clone(), trusted)?, options.scheduler_timeout);
        let http = Http::new(policy, guards, metrics.sent().clone(), [options.cu_url.clone()])?;
        let compute = Compute::new(http, options.cu_url.clone(), options.pull_timeout, options.max_result_bytes);
        let locator = match options.probe_routers {
            true => Locator::following_redirects(gateway.clone(), policy, overrides.clone())?,
            false => Locator::new(gateway.clone(), policy, overrides.clone()),
        };
        let births = Births::default();
        let met = options.auto_cron.then(|| births.clone());
        let directory = Directory::new(Arc::clone(&outbox), gateway, locator, schedulers.clone(), overrides, met);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let world = World {
            directory: directory.clone(),
            schedulers: schedulers.clone(),
            compute: compute.clone(),
            uploader: Uploader::new(options.uploader_url.clone().unwrap_or_else(|| options.gateway_url.clone()))?,
            signer: options.wallet.clone(),
            signing: Arc::new(Semaphore::new(processors)),
            crowd: Crowd::new(MAX_SENDS_PER_STRANGER, options.limits.sends),
        };
        let driver = Driver::load(driver::Parts {
            outbox: Arc::clone(&outbox),
            outside: Arc::new(world),
            policy: Policy { boot: options.push_boots, auto_cron: options.auto_cron, origins: guards.origins },
            limits: options.limits,
            traced: !options.trace_for.is_zero(),
            births: births.clone(),
            clock: options.clock.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        })
        .await?;
        let cron = Cron::load(cron::Parts {
            outbox: Arc::clone(&outbox),
            driver: driver.clone(),
            directory: directory.clone(),
            schedulers: schedulers.clone(),
            compute: compute.clone(),
            births,
            clock: options.clock.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            owner_only: options.monitor_owner_only,
            guards,
            interval: options.cron_interval.max(MIN_CRON_INTERVAL),
        })
        .await?;
        let api = Api {
            ingest: Ingest::new(
                driver.clone(),
                directory.clone(),
                schedulers.clone(),
                tasks.clone(),
                options.wallet.address(),
                options.push_boots,
                options.refuse_from_process,
            ),
            cron: cron.clone(),
            reporter: Reporter {
                outbox: Arc::clone(&outbox),
                driver: driver.clone(),
                directory: directory.clone(),
                schedulers: schedulers.clone(),
            },
            access: Access { public: options.public_traces, operator: Arc::new(operator) },
            pusher: Pusher {
                driver: driver.clone(),
                directory,
                schedulers,
                compute,
                enabled: options.enable_push,
                after: options.allow_pushes_after,
            },
            metrics: metrics.clone(),
            bodies: Bodies::new(options.body_memory_bytes),
        };
        let explorer = options.explorer();
        let http = HttpOptions {
            empty_options: true,
            charset: true,
            served: Some(metrics.served().clone()),
            ..HttpOptions::default()
        };
        let server = server::start(listener, &http, move |config| {
            config.app_data(Data::new(api.clone()));
            api::routes().after(holon_explorer::routes(&explorer)).register(config);
        })?;
        tasks.spawn("crank", driver.clone().run());
        tasks.spawn("sharing", sharing::follow(Arc::clone(&outbox), driver.clone(), cron.clone(), tasks.clone()));
        tasks.spawn("cron", cron.clone().run());
        tasks.spawn("traces", forget(Arc::clone(&outbox), options.clock, options.trace_for, tasks.stopping()));
        tracing::info!(url = server.url(), wallet = %options.wallet.address(), "messenger unit is up");
        Ok(Running { server, tasks, driver, cron, outbox })
    }
}

/// Forgets old traces until the service stops.
async fn forget(outbox: Arc<dyn Outbox>, clock: Clock, kept: Duration, stopping: CancellationToken) {
    let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    let forget = async {
        loop {
            let before = Timestamp(clock.now().0.saturating_sub(kept));
            match outbox.forget_traces(before, FORGET_BATCH).await {
                Ok(FORGET_BATCH) => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "old traces could not be forgotten; trying again later"),
            }
            tokio::time::sleep(FORGET_INTERVAL).await;
        }
    };
    stopping.run_until_cancelled(forget).await;
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

    /// Asks every monitored process for its cron results, whether it is due or not, and returns when they are queued; whether
    /// some have more, for which there was no room. For networks whose time is set by hand.
    pub async fn ask_crons(&self) -> bool {
        self.cron.ask_all().await
    }

    /// The newest `limit` things that were given up, with their reasons.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.outbox.dead_letters(None, limit).await?)
    }

    /// Resolves when the unit stops by itself because one of its background tasks failed.
    pub async fn failed(&self) {
        self.tasks.stopping().cancelled().await;
    }

    /// Ends as a crash would: requests are cut and work is dropped where it stands. What was promised is in the outbox.
    pub async fn kill(self) -> Result<(), Error> {
        let Self { server, tasks, .. } = self;
        server.kill().await?;
        if !tasks.kill(STOP_TIMEOUT).await {
            tracing::warn!("background tasks did not end in time; the outbox knows what they were doing");
        }
        Ok(())
    }

    /// Takes no more requests, lets running ones finish, and ends. What is left stays in the outbox.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { server, tasks, driver, cron, outbox } = self;
        server.stop().await?;
        if !tasks.stop(STOP_TIMEOUT).await {
            tracing::warn!("background tasks did not end in time; the outbox knows what they were doing");
        }
        drop((driver, cron));
        // Everything committed so far is on disk when this returns.
        outbox.commit(crate::outbox::Changes::default(), crate::outbox::Durability::Synced).await?;
        if let Some(shared) = outbox.shared() {
            shared.leave().await?;
        }
        Ok(())
    }
}
