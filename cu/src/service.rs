//! The service: everything put together, started and stopped in order.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use holon_unit::operator::Operator;
use holon_unit::server::{self, HttpOptions, Server};
use holon_unit::tasks::Tasks;

use crate::actor::Actors;
use crate::api::{self, Api};
use crate::assembly::assemble;
use crate::compute::Compute;
use crate::error::ServiceError;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pool::Pool;
use crate::rate_limit::RateLimit;

/// How long background work may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long writing checkpoints may take at the end.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(20);
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
        let (tasks, metrics) = (Tasks::new(), Metrics::new());
        let sources = assemble(&options, &metrics, &tasks).await?.sources;
        let operator = Operator::new(options.operator_token.as_ref().map(|token| token.as_str()), &options.data_dir)
            .map_err(|(path, source)| ServiceError::DataDir { path, source })?;
        let actors = Actors::new(sources.clone(), options.clone(), tasks.clone());
        let dry_runs = Pool::yielding("cu-dry-run", options.dry_run_workers, options.dry_run_queue)?;
        let compute = Compute::new(actors, sources, dry_runs, options.clone());
        tasks.spawn("cu-caches", {
            let (compute, stopping) = (compute.clone(), tasks.stopping());
            async move {
                while tokio::time::timeout(SWEEP_EVERY, stopping.cancelled()).await.is_err() {
                    compute.sweep();
                }
            }
        });
        let explorer = options.explorer();
        let api = web::Data::new(Api {
            compute: compute.clone(),
            address: options.wallet.address(),
            options,
            metrics,
            rate_limit: RateLimit::default(),
            operator,
        });
        // Evaluation belongs to the actors; whoever has gone needs no answer, and no replay of the past.
        let http = HttpOptions { ends_with_client: true, empty_options: true, guarded: true, ..HttpOptions::default() };
        let server = server::start(listener, &http, move |config| {
            config.app_data(api.clone());
            api::routes().after(holon_explorer::routes(&explorer)).register(config);
        })?;
        Ok(Running { server, tasks, compute })
    }
}

impl Running {
    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Ends as a crash would: requests are cut and no checkpoint is written. Only an evaluation that runs cannot be cut and is
    /// waited for.
    pub async fn kill(self) -> Result<(), ServiceError> {
        self.server.kill().await?;
        if !self.tasks.kill(STOP_WITHIN).await {
            tracing::warn!("background work did not end in time");
        }
        self.compute.close();
        self.compute.rest().await;
        Ok(())
    }

    /// Stops: evaluation first, which answers those who wait, then the server, then the store.
    pub async fn stop(self) -> Result<(), ServiceError> {
        if !self.tasks.stop(STOP_WITHIN).await {
            tracing::warn!("background work did not end in time");
        }
        self.compute.checkpoint(CHECKPOINT_WITHIN).await;
        self.compute.close();
        self.compute.rest().await;
        Ok(self.server.stop().await?)
    }
}
