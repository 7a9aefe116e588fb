//! Start and stop: store, background task, HTTP server.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use holon_protocol::{BlockHeight, Timestamp};
use holon_unit::metrics::Metrics;
use holon_unit::server::{self, HttpOptions, Server};
use holon_unit::tasks::Tasks;

use crate::body::Budget;
use crate::store::{Rules, Store};
use crate::weave::{Counts, Weave};
use crate::{Error, Options, graphql, routes};

/// Longest wait for background tasks at the end, in seconds.
const STOP_LIMIT_SECONDS: u64 = 10;

/// A local Arweave.
#[derive(Debug)]
pub struct Service;

/// A local Arweave that is running. It stops when told, not when dropped.
pub struct Running {
    server: Server,
    tasks: Tasks,
    weave: Weave,
}

impl Service {
    /// Opens the store, finishes what an earlier run left, and serves on `listener`. Call it inside a tokio runtime.
    pub async fn start(options: Options, listener: TcpListener) -> Result<Running, Error> {
        if options.initial_height > i32::MAX as u64 {
            return Err(Error::Options(format!("initial height {} is above {}", options.initial_height, i32::MAX)));
        }
        let rules = Rules {
            auto_mine: options.auto_mine,
            ticks: options.auto_mine && !options.block_interval.is_zero(),
            initial_height: options.initial_height,
            founding: Arc::new(options.founding.into_iter().collect()),
            clock: options.clock,
        };
        let (folder, ticks) = (options.data_dir.clone(), rules.ticks);
        let store = tokio::task::spawn_blocking(move || Store::open(&folder, rules)).await??;
        let weave = Weave::new(store)?;
        weave.run(Weave::open_complete_bundles).await??;
        weave.durable().await?;

        let tasks = Tasks::new();
        if ticks {
            tasks.spawn("blocks", make_blocks(weave.clone(), tasks.clone(), options.block_interval));
        }
        let metrics = registered(weave.counts().clone());
        let state = routes::State {
            weave: weave.clone(),
            schema: graphql::schema(weave.clone()),
            query_turns: tokio::sync::Semaphore::new(routes::MAX_QUERIES),
            budget: Budget::default(),
            metrics,
        };
        let state = web::Data::new(state);
        let named =
            holon_explorer::Network { name: Some("local Arweave".into()), ..holon_explorer::Network::default() };
        let explorer = options.explorer.or(named).served_by(holon_explorer::Unit::Gateway);
        let server = server::start(listener, &HttpOptions::default(), move |config| {
            config.app_data(state.clone());
            routes::configure(config, &explorer);
        })?;
        Ok(Running { server, tasks, weave })
    }
}

impl Running {
    /// Base URL, without a trailing slash.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Makes `count` blocks as `/mine` does; returns the height of the newest one.
    pub async fn mine(&self, count: u64) -> Result<BlockHeight, Error> {
        Ok(BlockHeight(self.weave.mine(count).await?.height))
    }

    /// Makes blocks until the newest one is of the present second: the open one is closed, and one more made if that one is
    /// older. Returns the height of the newest one.
    pub async fn mine_now(&self) -> Result<BlockHeight, Error> {
        let now = self.weave.store().clock().seconds();
        let mut tip = self.weave.store().tip();
        while tip.timestamp < now {
            tip = self.weave.mine(1).await?;
        }
        Ok(BlockHeight(tip.height))
    }

    /// The height of the newest block.
    pub fn height(&self) -> BlockHeight {
        BlockHeight(self.weave.store().tip().height)
    }

    /// The time of the newest block, in milliseconds; blocks are timed in whole seconds.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.weave.store().tip().timestamp.saturating_mul(1000))
    }

    /// Resolves when a background task has failed and the service should be stopped.
    pub async fn failed(&self) {
        self.tasks.stopping().cancelled().await;
    }

    /// Ends as a crash would: requests are cut and work is dropped where it stands.
    pub async fn kill(self) -> Result<(), Error> {
        self.server.kill().await?;
        let ended = self.tasks.kill(Duration::from_secs(STOP_LIMIT_SECONDS)).await;
        if ended { Ok(()) } else { Err(Error::Stuck(STOP_LIMIT_SECONDS)) }
    }

    /// Finishes running requests and background work; everything accepted is on disk already.
    pub async fn stop(self) -> Result<(), Error> {
        let server = self.server.stop().await;
        let ended = self.tasks.stop(Duration::from_secs(STOP_LIMIT_SECONDS)).await;
        self.weave.durable().await?;
        server?;
        if ended { Ok(()) } else { Err(Error::Stuck(STOP_LIMIT_SECONDS)) }
    }
}

/// Makes a block at each tick. A failed one is reported and tried again at the next.
async fn make_blocks(weave: Weave, tasks: Tasks, interval: Duration) {
    let stopping = tasks.stopping();
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = ticks.tick() => {
                if let Err(error) = weave.mine(1).await {
                    tracing::error!(%error, "no block could be made");
                }
            }
        }
    }
}

/// What a service counts, all at zero.
pub fn metrics() -> Metrics {
    registered(Counts::default())
}

fn registered(counts: Counts) -> Metrics {
    let metrics = Metrics::new();
    metrics.register(|registry| {
        registry.register("weave_items", "Data items accepted since the start", counts.items);
        registry.register(
            "weave_transactions",
            "Base-layer transactions accepted since the start",
            counts.transactions,
        );
        registry.register("weave_chunks", "Chunks accepted since the start", counts.chunks);
    });
    metrics
}
