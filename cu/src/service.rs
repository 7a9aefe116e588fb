//! The service: everything put together, started and stopped in order.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use holon_arweave::{Gateway, GatewayOptions, Locator, UrlPolicy};
use holon_unit::server::{self, HttpOptions, Server};
use holon_unit::tasks::Tasks;

use crate::actor::Actors;
use crate::advance::Sources;
use crate::api::{self, Api};
use crate::compute::{Compute, RateLimit};
use crate::drive::GatewayDrive;
use crate::error::ServiceError;
use crate::given_up::GivenUp;
use crate::log::Logs;
use crate::log::scheduler::Scheduler;
use crate::log::served::ServedLogs;
use crate::machine::{Engine, EngineOptions, MAX_WALL_CLOCK};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pool::Pool;
use crate::process::Loader;
use crate::results::Results;

/// Turns of evaluation streams that may wait for a thread; each process has at most one.
const EVALUATION_QUEUE: usize = 100_000;
/// How long background work may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Pause between looks for cached answers that are too old.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The compute unit.
#[derive(Debug)]
pub struct Service;

/// A running compute unit; it stops when told.
pub struct Running {
    server: Server,
    tasks: Tasks,
    compute: Compute,
}

impl Service {
    /// Starts serving on `listener`. Call it inside a multi-threaded tokio runtime.
    pub async fn start(options: Options, listener: TcpListener) -> Result<Running, ServiceError> {
        let options = Arc::new(options);
        for folder in [options.data_dir.clone(), options.data_dir.join("compiled")] {
            create(&folder)?;
        }
        let mut gateway = GatewayOptions::new(options.gateway_url.clone());
        gateway.graphql = options.graphql_url.clone();
        gateway.retries = options.retries;
        gateway.backoff = options.backoff;
        let gateway = Gateway::new(gateway).map_err(|error| ServiceError::Gateway(error.to_string()))?;
        let policy = UrlPolicy { allow_private: options.allow_private_urls };
        let locator = Locator::following_redirects(gateway.clone(), policy, options.scheduler_urls.clone())
            .map_err(|error| ServiceError::Gateway(error.to_string()))?;
        let operator = options.scheduler_urls.iter().map(|(_, url)| url.clone()).collect();
        let scheduler = Scheduler::new(policy, operator, options.retries, options.backoff, options.page_size)
            .map_err(|error| ServiceError::Gateway(error.to_string()))?;
        let engine = EngineOptions {
            cache_dir: Some(options.data_dir.join("compiled")),
            wall_clock: options.message_wall_clock.min(MAX_WALL_CLOCK),
            ..EngineOptions::default()
        };
        let engine = Engine::new(engine).map_err(|error| ServiceError::Engine(error.to_string()))?;
        let path = options.data_dir.join("results");
        let results = tokio::task::spawn_blocking(move || Results::open(&path))
            .await
            .map_err(|error| ServiceError::Store(error.to_string()))?
            .map_err(|error| ServiceError::Store(error.to_string()))?;
        let tasks = Tasks::new();
        let runtime = tokio::runtime::Handle::current();
        let drive = GatewayDrive::new(gateway.clone(), runtime, tasks.stopping(), options.weavedrive_patience);
        let drive = Arc::new(drive);
        let metrics = Metrics::new();
        let logs: Arc<dyn Logs> =
            Arc::new(ServedLogs::new(gateway.clone(), locator, scheduler, options.retries, options.backoff));
        let loader =
            Loader::new(gateway, logs.clone(), engine, options.data_dir.join("modules"), drive, options.clone());
        let sources = Arc::new(Sources {
            loader,
            logs,
            results: Arc::new(results),
            given_up: Arc::new(GivenUp::new(options.wall_clock_pause)),
            pool: Pool::new("cu-evaluate", options.workers, EVALUATION_QUEUE)?,
            metrics: metrics.clone(),
        });
        let actors = Actors::new(sources.clone(), options.clone(), tasks.clone());
        let dry_runs = Pool::new("cu-dry-run", options.dry_run_workers, options.dry_run_queue)?;
        let compute = Compute::new(actors, sources, dry_runs, options.clone());
        tasks.spawn("cu-caches", {
            let (compute, stopping) = (compute.clone(), tasks.stopping());
            async move {
                while tokio::time::timeout(SWEEP_EVERY, stopping.cancelled()).await.is_err() {
                    compute.sweep();
                }
            }
        });
        let api = web::Data::new(Api {
            compute: compute.clone(),
            address: options.wallet.address(),
            options,
            metrics,
            rate_limit: RateLimit::default(),
        });
        let server = server::start(listener, &HttpOptions::default(), move |config| {
            config.app_data(api.clone()).configure(api::routes);
        })?;
        Ok(Running { server, tasks, compute })
    }
}

impl Running {
    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Stops: evaluation first, which answers those who wait, then the server, then the store.
    pub async fn stop(self) -> Result<(), ServiceError> {
        if !self.tasks.stop(STOP_WITHIN).await {
            tracing::warn!("background work did not end in time");
        }
        self.compute.close();
        Ok(self.server.stop().await?)
    }
}

fn create(folder: &Path) -> Result<(), ServiceError> {
    std::fs::create_dir_all(folder).map_err(|source| ServiceError::DataDir { path: folder.to_owned(), source })
}
