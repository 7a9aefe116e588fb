//! What evaluation needs, put together from the options: for the service, and for a replay without one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holon_arweave::{Gateway, GatewayOptions, Locator, Uploader, UrlPolicy};
use holon_unit::tasks::Tasks;

use crate::advance::{RECENT_PROCESSES, Sources};
use crate::checkpoint::{Checkpoints, Policy, Published};
use crate::drive::GatewayDrive;
use crate::error::ServiceError;
use crate::given_up::GivenUp;
use crate::log::Logs;
use crate::log::arweave::ArweaveLogs;
use crate::log::assigned::AssignedItems;
use crate::log::fallback::FallbackLogs;
use crate::log::scheduler::Scheduler;
use crate::log::served::ServedLogs;
use crate::machine::{Engine, EngineOptions, MAX_WALL_CLOCK};
use crate::metrics::Metrics;
use crate::options::{LogSource, Options};
use crate::pool::Pool;
use crate::process::Loader;
use crate::recent::Recent;
use crate::results::Results;
use crate::runner::{Keeping, Publishing};

/// Turns of evaluation streams that may wait for a thread; each process has at most one.
const EVALUATION_QUEUE: usize = 100_000;

/// What the result store says of a folder that is held.
const HELD: &str = "could not acquire lock";
/// Longest wait for it.
const HELD_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two tries.
const HELD_PAUSE: Duration = Duration::from_millis(20);
/// Folder of verified log entries in a data folder.
pub const LOG_FOLDER: &str = "log";

/// Everything that evaluating needs besides a process.
pub struct Assembly {
    /// Processes, logs, results, threads.
    pub sources: Arc<Sources>,
    /// The logs on Arweave, whether they are read or not: they count what they do.
    pub arweave: ArweaveLogs,
}

/// Opens the stores, starts the evaluation threads and the clients. Call it inside a multi-threaded tokio runtime.
pub async fn assemble(options: &Arc<Options>, metrics: &Metrics, tasks: &Tasks) -> Result<Assembly, ServiceError> {
    let compiled = options.compiled_dir.clone().unwrap_or_else(|| options.data_dir.join("compiled"));
    for folder in [&options.data_dir, &compiled] {
        create(folder)?;
    }
    let mut gateway = GatewayOptions::new(options.gateway_url.clone());
    gateway.graphql = options.graphql_url.clone();
    gateway.retries = options.retries;
    gateway.backoff = options.backoff;
    let gateway = Gateway::new(gateway).map_err(|error| ServiceError::Gateway(error.to_string()))?;
    let engine = EngineOptions {
        cache_dir: Some(compiled),
        wall_clock: options.message_wall_clock.min(MAX_WALL_CLOCK),
        memory_ceiling_bytes: options.memory_ceiling_bytes,
        ..EngineOptions::default()
    };
    let engine = Engine::new(engine).map_err(|error| ServiceError::Engine(error.to_string()))?;
    let results = Arc::new(open_results(options.data_dir.join("results")).await?);
    let checkpoints = Checkpoints::open(&options.checkpoint_store, &options.data_dir, results.clone(), tasks.clone())
        .map_err(|error| ServiceError::Store(error.to_string()))?;
    if let Some(checkpoints) = &checkpoints {
        tasks.spawn("cu-collect", checkpoints.clone().collect_now_and_then());
    }
    let uploader = options.uploader_url.clone().unwrap_or_else(|| options.gateway_url.clone());
    let uploader = Uploader::new(uploader).map_err(|error| ServiceError::Gateway(error.to_string()))?;
    let published = Published::new(
        gateway.clone(),
        uploader,
        options.wallet.clone(),
        options.checkpoint_policy,
        options.checkpoint_owners.clone(),
        options.publish_throttle,
        tasks.clone(),
    );
    let publishing = options.publish_checkpoints.then(|| Publishing {
        published: published.clone(),
        evaluation: options.publish_evaluation,
        gas: options.publish_gas,
    });
    let runtime = tokio::runtime::Handle::current();
    let mut gateways = vec![gateway.clone()];
    for url in &options.weavedrive_gateways {
        let mut more = GatewayOptions::new(url.clone());
        (more.retries, more.backoff) = (options.retries, options.backoff);
        gateways.push(Gateway::new(more).map_err(|error| ServiceError::Gateway(error.to_string()))?);
    }
    let drive = GatewayDrive::new(gateways, runtime, tasks.stopping(), options.weavedrive_patience)
        .admitting_all(options.weavedrive_test);
    let drive = Arc::new(drive);
    let folder = options.data_dir.join(LOG_FOLDER);
    let items = AssignedItems::new(gateway.clone(), options.assigned_max_bytes);
    let arweave =
        ArweaveLogs::new(items.clone(), Some(folder), options.clock.clone(), options.retries, options.backoff);
    let logs: Arc<dyn Logs> = match options.log {
        LogSource::Scheduler => Arc::new(served(options, items)?),
        LogSource::Arweave => Arc::new(arweave.clone()),
        LogSource::Auto => Arc::new(FallbackLogs::new(served(options, items)?, arweave.clone())),
    };
    let folder = options.data_dir.join("modules");
    let loader = Loader::new(gateway, logs.clone(), engine, folder, drive, options.clone());
    let sources = Arc::new(Sources {
        loader,
        logs,
        results,
        given_up: Arc::new(GivenUp::new(options.wall_clock_pause)),
        pool: Pool::new("cu-evaluate", options.workers, EVALUATION_QUEUE)?,
        metrics: metrics.clone(),
        keeping: checkpoints.map(|checkpoints| Keeping {
            checkpoints,
            evaluation: options.checkpoint_evaluation,
            messages: options.checkpoint_messages,
            gas: options.checkpoint_gas,
            publishing,
        }),
        published: (options.checkpoint_policy != Policy::None).then_some(published),
        recent: Mutex::new(Recent::new(RECENT_PROCESSES)),
        clock: options.clock.clone(),
        unverifiable: options.unverifiable,
        stopping: tasks.stopping(),
    });
    Ok(Assembly { sources, arweave })
}

/// Opens the result store. It lets go of its folder on a thread of its own, a moment after its last owner, so one that was
/// closed just now may still be held.
async fn open_results(path: PathBuf) -> Result<Results, ServiceError> {
    let begun = Instant::now();
    loop {
        let path = path.clone();
        let opened = tokio::task::spawn_blocking(move || Results::open(&path)).await;
        let reason = match opened.map_err(|error| ServiceError::Store(error.to_string()))? {
            Ok(results) => return Ok(results),
            Err(error) => error.to_string(),
        };
        if !reason.contains(HELD) || begun.elapsed() > HELD_PATIENCE {
            return Err(ServiceError::Store(reason));
        }
        tokio::time::sleep(HELD_PAUSE).await;
    }
}

fn served(options: &Options, items: AssignedItems) -> Result<ServedLogs, ServiceError> {
    let policy = UrlPolicy { allow_private: options.allow_private_urls };
    let locator = Locator::following_redirects(items.gateway().clone(), policy, options.scheduler_urls.clone())
        .map_err(|error| ServiceError::Gateway(error.to_string()))?;
    let operator = options.scheduler_urls.iter().map(|(_, url)| url.clone()).collect();
    let scheduler = Scheduler::new(policy, operator, options.retries, options.backoff, options.page_size)
        .map_err(|error| ServiceError::Gateway(error.to_string()))?;
    let again = (options.retries, options.backoff);
    Ok(ServedLogs::new(items, locator, scheduler, again))
}

fn create(folder: &Path) -> Result<(), ServiceError> {
    std::fs::create_dir_all(folder).map_err(|source| ServiceError::DataDir { path: folder.to_owned(), source })
}
