//! Options of the service: what the command line, the environment and the configuration file say (spec 05 §1), and
//! what code that embeds the service sets.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use holon_protocol::{Address, ProcessId, Signer};
use holon_unit::clock::Clock;
use url::Url;

use crate::checkpoint::{Place, Policy};
use crate::machine::MAX_WALL_CLOCK;
use crate::memory_pressure;
use holon_protocol::assignment::MAX_ASSIGNED_BYTES;

/// Default bound of a process's `Memory-Limit`, in bytes.
pub const DEFAULT_MEMORY_LIMIT_BYTES: u64 = 1 << 30;
/// Default bound of a process's `Compute-Limit`, in units of gas.
pub const DEFAULT_COMPUTE_LIMIT: u64 = 9_000_000_000_000;
/// Default memory that live processes may take together, in bytes.
pub const DEFAULT_LIVE_MEMORY_BYTES: u64 = 4 << 30;

/// Default evaluation time between two checkpoints of a process: what a crash costs.
pub const DEFAULT_CHECKPOINT_EVALUATION: Duration = Duration::from_secs(5);
/// Default messages between two checkpoints of a process.
pub const DEFAULT_CHECKPOINT_MESSAGES: u64 = 10_000;
/// Default gas between two checkpoints of a process (spec 05 §1).
pub const DEFAULT_CHECKPOINT_GAS: u64 = 300_000_000_000_000;
/// Default evaluation time between two published checkpoints of a process (spec 05 §1).
pub const DEFAULT_PUBLISH_EVALUATION: Duration = Duration::from_secs(15 * 60);
/// Default least time between two published checkpoints of a process (spec 05 §1).
pub const DEFAULT_PUBLISH_THROTTLE: Duration = Duration::from_secs(30 * 60);
/// Default longest evaluation of a message.
pub const DEFAULT_MESSAGE_WALL_CLOCK: Duration = MAX_WALL_CLOCK;
/// Default longest evaluation of a dry run, which anybody may ask for.
pub const DEFAULT_DRY_RUN_WALL_CLOCK: Duration = Duration::from_secs(10);
/// Default pause before a message that took too long is tried again.
pub const DEFAULT_WALL_CLOCK_PAUSE: Duration = Duration::from_secs(1800);
/// Default longest wait for a header that a process opens through WeaveDrive.
pub const DEFAULT_WEAVEDRIVE_PATIENCE: Duration = Duration::from_secs(10);
/// Fewest threads of each kind by default: one endless loop must not stop everything.
const MIN_WORKERS: usize = 2;

/// Command line and environment. The names of the reference work where the meaning is the same.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Where results and caches live. Everything in it can be rebuilt.
    #[arg(long, env = "CU_DATA_DIR", default_value = "data/cu")]
    pub data_dir: PathBuf,
    /// Address to listen on; PORT changes the port only.
    #[arg(long, env = "CU_LISTEN", default_value = "127.0.0.1:6363")]
    pub listen: SocketAddr,
    /// Port to listen on.
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// The unit's wallet, a JWK file.
    #[arg(long = "wallet", env = "WALLET_FILE")]
    pub wallet_path: PathBuf,
    /// Gateway for modules, assigned items and block times.
    #[arg(long, env = "GATEWAY_URL", default_value = "https://arweave.net")]
    pub gateway_url: Url,
    /// GraphQL endpoint, when it is not the gateway's.
    #[arg(long, env = "GRAPHQL_URL")]
    pub graphql_url: Option<Url>,
    /// Bundler for checkpoints, when it is not the gateway.
    #[arg(long, env = "UPLOADER_URL")]
    pub uploader_url: Option<Url>,
    /// Scheduler locations that win over published ones: `<wallet address>=<url>`, comma separated.
    #[arg(long = "scheduler-url", env = "SCHEDULER_URLS", value_delimiter = ',', value_parser = scheduler_url, allow_hyphen_values = true)]
    pub scheduler_urls: Vec<(Address, Url)>,
    /// Allow schedulers at private and loopback addresses.
    #[arg(long, env = "ALLOW_PRIVATE_URLS", default_value_t = false)]
    pub allow_private_urls: bool,
    /// Largest Memory-Limit a process may ask for, in bytes.
    #[arg(long, env = "PROCESS_WASM_MEMORY_MAX_LIMIT", default_value_t = DEFAULT_MEMORY_LIMIT_BYTES)]
    pub memory_max_bytes: u64,
    /// Largest Compute-Limit a process may ask for.
    #[arg(long, env = "PROCESS_WASM_COMPUTE_MAX_LIMIT", default_value_t = DEFAULT_COMPUTE_LIMIT)]
    pub compute_max: u64,
    /// Extensions that modules may name, comma separated.
    #[arg(long, env = "PROCESS_WASM_SUPPORTED_EXTENSIONS", value_delimiter = ',', default_value = "WeaveDrive")]
    pub extensions: Vec<String>,
    /// Threads that evaluate messages; 0 takes one for each CPU but one, and at least two.
    #[arg(long, env = "WASM_EVALUATION_MAX_WORKERS", default_value_t = 0)]
    pub workers: usize,
    /// Threads for dry runs; 0 takes as many as evaluate messages.
    #[arg(long, env = "CU_DRY_RUN_WORKERS", default_value_t = 0)]
    pub dry_run_workers: usize,
    /// Dry runs that may wait for a thread.
    #[arg(long, env = "WASM_EVALUATION_WORKERS_DRY_RUN_MAX_QUEUE", default_value_t = 3000)]
    pub dry_run_queue: usize,
    /// Memory of live processes together, in bytes; the least recently used goes to a checkpoint.
    #[arg(long, env = "PROCESS_MEMORY_CACHE_MAX_SIZE", default_value_t = DEFAULT_LIVE_MEMORY_BYTES)]
    pub live_memory_bytes: u64,
    /// Where checkpoints go: `local` (the data folder), `file:///<folder>`, `s3://<bucket>/<prefix>` (with the usual AWS
    /// variables), `memory://`, or `none`.
    #[arg(long, env = "CU_CHECKPOINT_STORE", default_value = "local")]
    pub checkpoint_store: Place,
    /// Evaluation time of a process after which it is written to a checkpoint, in milliseconds.
    #[arg(long, env = "CU_CHECKPOINT_EVAL_TIME", default_value_t = DEFAULT_CHECKPOINT_EVALUATION.as_millis() as u64)]
    pub checkpoint_evaluation_ms: u64,
    /// Messages of a process after which it is written to a checkpoint.
    #[arg(long, env = "CU_CHECKPOINT_MESSAGES", default_value_t = DEFAULT_CHECKPOINT_MESSAGES)]
    pub checkpoint_messages: u64,
    /// Gas of a process after which it is written to a checkpoint.
    #[arg(long, env = "CU_CHECKPOINT_GAS", default_value_t = DEFAULT_CHECKPOINT_GAS)]
    pub checkpoint_gas: u64,
    /// Whether publishing checkpoints on Arweave is off, which it is unless this is `false`.
    #[arg(long, env = "DISABLE_PROCESS_CHECKPOINT_CREATION", default_value = "true", action = clap::ArgAction::Set,
        value_parser = |text: &str| Ok::<bool, String>(text != "false"))]
    pub disable_checkpoint_publishing: bool,
    /// Evaluation time of a process after which a checkpoint is published, in milliseconds.
    #[arg(long, env = "EAGER_CHECKPOINT_EVAL_TIME_THRESHOLD", default_value_t = DEFAULT_PUBLISH_EVALUATION.as_millis() as u64)]
    pub publish_evaluation_ms: u64,
    /// Gas of a process after which a checkpoint is published.
    #[arg(long, env = "EAGER_CHECKPOINT_ACCUMULATED_GAS_THRESHOLD", default_value_t = DEFAULT_CHECKPOINT_GAS)]
    pub publish_gas: u64,
    /// Least time between two published checkpoints of a process, in milliseconds.
    #[arg(long, env = "PROCESS_CHECKPOINT_CREATION_THROTTLE", default_value_t = DEFAULT_PUBLISH_THROTTLE.as_millis() as u64)]
    pub publish_throttle_ms: u64,
    /// Wallets whose published checkpoints may be used, comma separated.
    #[arg(long, env = "PROCESS_CHECKPOINT_TRUSTED_OWNERS", value_delimiter = ',', allow_hyphen_values = true)]
    pub checkpoint_owners: Vec<Address>,
    /// Whose published checkpoints are used: `none`, `own` wallet, `listed` wallets, `trusted` ones even without a state root, a
    /// number of them that must agree, or those that are `verified` by a replay. Without it `listed` if any are, else `own` if this unit publishes, else `none`.
    #[arg(long, env = "CU_CHECKPOINT_POLICY")]
    pub checkpoint_policy: Option<Policy>,
    /// Milliseconds after which a waiting request is answered 202; 0 waits for the result.
    #[arg(long, env = "BUSY_THRESHOLD", default_value_t = 0)]
    pub busy_threshold_ms: u64,
    /// Messages a process may still have to catch up before requests that find it catching up are refused; 0 never
    /// refuses.
    #[arg(long, env = "HYDRATION_MODE_NONCE_LIMIT", default_value_t = 0)]
    pub hydration_limit: u64,
    /// Processes that are refused, comma separated.
    #[arg(long, env = "RESTRICT_PROCESSES", value_delimiter = ',', allow_hyphen_values = true)]
    pub restrict_processes: Vec<ProcessId>,
    /// When not empty, the only processes that are served.
    #[arg(long, env = "ALLOW_PROCESSES", value_delimiter = ',', allow_hyphen_values = true)]
    pub allow_processes: Vec<ProcessId>,
    /// When not empty, the only owners whose processes are served.
    #[arg(long, env = "ALLOW_OWNERS", value_delimiter = ',', allow_hyphen_values = true)]
    pub allow_owners: Vec<String>,
    /// Window of the dry-run rate limit, in milliseconds; 0 turns the limit off.
    #[arg(long, env = "RATE_LIMIT_WINDOW", default_value_t = 60_000)]
    pub rate_limit_window_ms: u64,
    /// Dry runs a client address may make in a window; 0 turns the limit off.
    #[arg(long, env = "RATE_LIMIT_MAX_REQUESTS", default_value_t = 0)]
    pub rate_limit_requests: u32,
    /// How old the state of a dry run may be when the request does not say, in milliseconds.
    #[arg(long, env = "DRY_RUN_DEFAULT_MAX_PROCESS_AGE", default_value_t = 100)]
    pub dry_run_max_age_ms: u64,
    /// How long the state of a dry run is kept, in milliseconds.
    #[arg(long, env = "DRY_RUN_PROCESS_CACHE_TTL", default_value_t = 2000)]
    pub dry_run_state_ttl_ms: u64,
    /// How long the result of a dry run is kept, in milliseconds.
    #[arg(long, env = "DRY_RUN_RESULT_MAX_AGE", default_value_t = 60_000)]
    pub dry_run_result_ttl_ms: u64,
    /// Longest time one message may be evaluated, in milliseconds; then it is given up without a result.
    #[arg(
        long,
        env = "CU_MESSAGE_WALL_CLOCK",
        default_value_t = DEFAULT_MESSAGE_WALL_CLOCK.as_millis() as u64,
        value_parser = clap::value_parser!(u64).range(1..=MAX_WALL_CLOCK.as_millis() as u64)
    )]
    pub message_wall_clock_ms: u64,
    /// Longest time one dry run may be evaluated, in milliseconds.
    #[arg(long, env = "CU_DRY_RUN_WALL_CLOCK", default_value_t = DEFAULT_DRY_RUN_WALL_CLOCK.as_millis() as u64)]
    pub dry_run_wall_clock_ms: u64,
    /// Pause before a message that took too long is tried again, in milliseconds; until then requests that need it are
    /// refused at once. 0 tries each time.
    #[arg(long, env = "CU_WALL_CLOCK_PAUSE", default_value_t = DEFAULT_WALL_CLOCK_PAUSE.as_millis() as u64)]
    pub wall_clock_pause_ms: u64,
    /// Most linear memory one process may have, in bytes, whatever its module allows; one that wants more is parked. 0 takes
    /// 4 GiB, or half of the computer's memory if that is less.
    #[arg(long, env = "CU_MEMORY_CEILING", default_value_t = 0)]
    pub memory_ceiling_bytes: u64,
    /// Token of requests that only the operator may send: to resume parked processes. Sent as `Authorization: Bearer
    /// <token>`. Without it one is made, in the file `operator-token` of the data folder.
    #[arg(long, env = "CU_OPERATOR_TOKEN", hide_env_values = true)]
    pub operator_token: Option<holon_unit::operator::Token>,
    /// How long the gateway is asked for a transaction or block that a process opens and that is not there, in
    /// milliseconds.
    #[arg(long, env = "CU_WEAVEDRIVE_PATIENCE", default_value_t = DEFAULT_WEAVEDRIVE_PATIENCE.as_millis() as u64)]
    pub weavedrive_patience_ms: u64,
    /// Where logs are read: at schedulers, on Arweave, or on Arweave while a scheduler cannot be reached.
    #[arg(long, env = "CU_LOG", value_enum, default_value = "scheduler")]
    pub log: LogSource,
    /// What is done about a log entry of which the scheduler does not say all that its signatures cover: `mark` its result, `fetch` the
    /// signed items from the gateway and compare, or `refuse` to go on.
    #[arg(long, env = "CU_UNVERIFIABLE", value_enum, default_value = "mark")]
    pub unverifiable: Unverifiable,
    /// Gateways that WeaveDrive asks, in order, for what the gateway does not have, comma separated.
    #[arg(long = "weavedrive-gateway", env = "CU_WEAVEDRIVE_GATEWAYS", value_delimiter = ',')]
    pub weavedrive_gateways: Vec<Url>,
    /// Largest data of an item that is assigned to a process, in bytes; a process stops in front of a larger one.
    #[arg(long, env = "CU_ASSIGNED_MAX_BYTES", default_value_t = MAX_ASSIGNED_BYTES)]
    pub assigned_max_bytes: u64,
    /// Let every process read all of Arweave through WeaveDrive, without attestations. For development: what such a unit evaluates, others
    /// do not.
    #[arg(long, env = "CU_WEAVEDRIVE_TEST", default_value_t = false)]
    pub weavedrive_test: bool,
    /// Entries asked from a scheduler at once.
    #[arg(long, env = "LOAD_MESSAGES_PAGE_SIZE", default_value_t = 1000)]
    pub page_size: u32,
}

/// The program `holon-cu`.
#[derive(Debug, clap::Parser)]
#[command(name = "holon-cu", version, about = "Compute unit: evaluates processes and serves their results")]
pub struct Program {
    /// Options of the unit.
    #[command(flatten)]
    pub arguments: Arguments,
    /// Options of the log.
    #[command(flatten)]
    pub log: holon_unit::program::LogOptions,
}

/// Where logs are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogSource {
    /// At the scheduler of each process.
    #[default]
    Scheduler,
    /// On Arweave alone, every signature checked. What has not been uploaded yet does not exist.
    Arweave,
    /// At the scheduler; on Arweave while that cannot be reached.
    Auto,
}

/// What is done about an entry of which a scheduler does not say all that its signatures cover. The reference believes all it says
/// (spec 05 §4.1), and JSON has no place for some of what is signed (`docs/src/replay.md`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Unverifiable {
    /// It is believed; its result says so.
    #[default]
    Mark,
    /// The signed items are read from the gateway, and must say the same.
    Fetch,
    /// The process stops in front of it.
    Refuse,
}

fn scheduler_url(text: &str) -> Result<(Address, Url), String> {
    let (address, url) = text.split_once('=').ok_or("<wallet address>=<url> is needed")?;
    Ok((address.parse().map_err(|error| format!("{error}"))?, url.parse().map_err(|error| format!("{url}: {error}"))?))
}

/// Options of [`Service::start`](crate::Service::start).
#[derive(Debug, Clone)]
pub struct Options {
    /// Where results and caches live.
    pub data_dir: PathBuf,
    /// Folder of compiled modules; `compiled` in the data folder when `None`. Units of one user may share one.
    pub compiled_dir: Option<PathBuf>,
    /// Address to listen on; the listener given to the service counts.
    pub listen: SocketAddr,
    /// The unit's wallet.
    pub wallet: Signer,
    /// Gateway.
    pub gateway_url: Url,
    /// GraphQL endpoint; `None` is the gateway's.
    pub graphql_url: Option<Url>,
    /// Bundler; `None` is the gateway.
    pub uploader_url: Option<Url>,
    /// Scheduler locations that win over published ones.
    pub scheduler_urls: Vec<(Address, Url)>,
    /// Whether schedulers may be at private addresses.
    pub allow_private_urls: bool,
    /// Bound of `Memory-Limit`, in bytes.
    pub memory_max_bytes: u64,
    /// Bound of `Compute-Limit`.
    pub compute_max: u64,
    /// Extensions that modules may name.
    pub extensions: Vec<String>,
    /// Evaluation threads, at least 1.
    pub workers: usize,
    /// Dry-run threads, at least 1.
    pub dry_run_workers: usize,
    /// Dry runs that may wait for a thread.
    pub dry_run_queue: usize,
    /// Memory of live processes together, in bytes.
    pub live_memory_bytes: u64,
    /// Where checkpoints go.
    pub checkpoint_store: Place,
    /// Evaluation time after which a process is written to a checkpoint.
    pub checkpoint_evaluation: Duration,
    /// Messages after which it is.
    pub checkpoint_messages: u64,
    /// Gas after which it is.
    pub checkpoint_gas: u64,
    /// Whether checkpoints are published on Arweave.
    pub publish_checkpoints: bool,
    /// Evaluation time after which one is.
    pub publish_evaluation: Duration,
    /// Gas after which one is.
    pub publish_gas: u64,
    /// Least time between two of one process.
    pub publish_throttle: Duration,
    /// Wallets whose published checkpoints may be used.
    pub checkpoint_owners: Vec<Address>,
    /// Whose published checkpoints are used.
    pub checkpoint_policy: Policy,
    /// When a waiting request is answered 202; `None` waits.
    pub busy_threshold: Option<Duration>,
    /// Spec 05 §7.3; 0 is off.
    pub hydration_limit: u64,
    /// Processes that are refused.
    pub restrict_processes: HashSet<ProcessId>,
    /// When not empty, the only processes that are served.
    pub allow_processes: HashSet<ProcessId>,
    /// When not empty, the only owners whose processes are served.
    pub allow_owners: HashSet<String>,
    /// Window of the dry-run rate limit; zero is off.
    pub rate_limit_window: Duration,
    /// Dry runs of one client in a window; 0 is off.
    pub rate_limit_requests: u32,
    /// How old the state of a dry run may be by default.
    pub dry_run_max_age: Duration,
    /// How long the state of a dry run is kept.
    pub dry_run_state_ttl: Duration,
    /// How long the result of a dry run is kept.
    pub dry_run_result_ttl: Duration,
    /// Longest time one message may be evaluated.
    pub message_wall_clock: Duration,
    /// Longest time one dry run may be evaluated.
    pub dry_run_wall_clock: Duration,
    /// Pause before a message that took too long is tried again.
    pub wall_clock_pause: Duration,
    /// Most linear memory one process may have, in bytes.
    pub memory_ceiling_bytes: u64,
    /// Token of the operator; without it there is one in the data folder.
    pub operator_token: Option<holon_unit::operator::Token>,
    /// How long the gateway is asked for a header that is not there.
    pub weavedrive_patience: Duration,
    /// Where logs are read.
    pub log: LogSource,
    /// What is done about entries that cannot be checked.
    pub unverifiable: Unverifiable,
    /// Gateways that WeaveDrive asks for what the gateway does not have.
    pub weavedrive_gateways: Vec<Url>,
    /// Largest data of an item that is assigned to a process, in bytes.
    pub assigned_max_bytes: u64,
    /// Whether every process may read everything through WeaveDrive (spec 06 §9.3, rule 1).
    pub weavedrive_test: bool,
    /// Entries asked from a scheduler at once.
    pub page_size: u32,
    /// Retries of a request to a scheduler or gateway.
    pub retries: u32,
    /// Pause before the first retry; it doubles.
    pub backoff: Duration,
    /// What time it is: the computer's time, unless a test of a whole network sets it.
    pub clock: Clock,
    /// What the explorer, the page under `/explorer/`, knows beside what these options name.
    pub explorer: holon_explorer::Network,
}

impl Options {
    /// The defaults of everything but what has no default.
    pub fn new(data_dir: PathBuf, wallet: Signer, gateway_url: Url) -> Self {
        Self {
            data_dir,
            compiled_dir: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 6363)),
            wallet,
            gateway_url,
            graphql_url: None,
            uploader_url: None,
            scheduler_urls: Vec::new(),
            allow_private_urls: false,
            memory_max_bytes: DEFAULT_MEMORY_LIMIT_BYTES,
            compute_max: DEFAULT_COMPUTE_LIMIT,
            extensions: vec!["WeaveDrive".into()],
            workers: default_workers(),
            dry_run_workers: default_workers(),
            dry_run_queue: 3000,
            live_memory_bytes: DEFAULT_LIVE_MEMORY_BYTES,
            checkpoint_store: Place::default(),
            checkpoint_evaluation: DEFAULT_CHECKPOINT_EVALUATION,
            checkpoint_messages: DEFAULT_CHECKPOINT_MESSAGES,
            checkpoint_gas: DEFAULT_CHECKPOINT_GAS,
            publish_checkpoints: false,
            publish_evaluation: DEFAULT_PUBLISH_EVALUATION,
            publish_gas: DEFAULT_CHECKPOINT_GAS,
            publish_throttle: DEFAULT_PUBLISH_THROTTLE,
            checkpoint_owners: Vec::new(),
            checkpoint_policy: Policy::None,
            busy_threshold: None,
            hydration_limit: 0,
            restrict_processes: HashSet::new(),
            allow_processes: HashSet::new(),
            allow_owners: HashSet::new(),
            rate_limit_window: Duration::from_secs(60),
            rate_limit_requests: 0,
            dry_run_max_age: Duration::from_millis(100),
            dry_run_state_ttl: Duration::from_secs(2),
            dry_run_result_ttl: Duration::from_secs(60),
            message_wall_clock: DEFAULT_MESSAGE_WALL_CLOCK,
            dry_run_wall_clock: DEFAULT_DRY_RUN_WALL_CLOCK,
            wall_clock_pause: DEFAULT_WALL_CLOCK_PAUSE,
            memory_ceiling_bytes: default_memory_ceiling(),
            operator_token: None,
            weavedrive_patience: DEFAULT_WEAVEDRIVE_PATIENCE,
            log: LogSource::default(),
            unverifiable: Unverifiable::default(),
            weavedrive_gateways: Vec::new(),
            assigned_max_bytes: MAX_ASSIGNED_BYTES,
            weavedrive_test: false,
            page_size: 1000,
            retries: 5,
            backoff: Duration::from_millis(500),
            clock: Clock::system(),
            explorer: holon_explorer::Network::default(),
        }
    }

    /// What the explorer knows: what it was told, then what these options name.
    pub(crate) fn explorer(&self) -> holon_explorer::Network {
        let scheduler = self.scheduler_urls.first();
        let network = holon_explorer::Network {
            name: Some("compute unit".into()),
            gateway_url: Some(self.gateway_url.to_string()),
            graphql_url: self.graphql_url.as_ref().map(Url::to_string),
            su_url: scheduler.map(|(_, url)| url.to_string()),
            scheduler: scheduler.map(|(address, _)| address.to_string()),
            compute: Some(self.wallet.address().to_string()),
            ..holon_explorer::Network::default()
        };
        self.explorer.clone().or(network).served_by(holon_explorer::Unit::Cu)
    }
}

fn default_memory_ceiling() -> u64 {
    const MOST_BYTES: u64 = 4 << 30;
    memory_pressure::total_bytes().map_or(MOST_BYTES, |total| MOST_BYTES.min(total / 2))
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(MIN_WORKERS, |cpus| (cpus.get() - 1).max(MIN_WORKERS))
}

/// The options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The wallet file cannot be read.
    #[error("cannot read the wallet {path}: {source}")]
    Wallet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The wallet file holds no usable key.
    #[error("the wallet {path} is not usable: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: holon_protocol::signer::SignerError,
    },
    /// A number is outside its range.
    #[error("{name} is {value}; {expected} is needed")]
    Range {
        /// The option.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What would be right.
        expected: &'static str,
    },
}

impl TryFrom<Arguments> for Options {
    type Error = OptionsError;

    fn try_from(arguments: Arguments) -> Result<Self, OptionsError> {
        let path = arguments.wallet_path;
        let jwk = std::fs::read_to_string(&path)
            .map_err(|source| OptionsError::Wallet { path: path.clone(), source })
            .map(zeroize::Zeroizing::new)?;
        let wallet = Signer::from_jwk(&jwk).map_err(|source| OptionsError::Key { path, source })?;
        if !(1..=5000).contains(&arguments.page_size) {
            return Err(OptionsError::Range {
                name: "page-size",
                value: arguments.page_size.into(),
                expected: "1 to 5000",
            });
        }
        let mut listen = arguments.listen;
        if let Some(port) = arguments.port {
            listen.set_port(port);
        }
        let workers = if arguments.workers == 0 { default_workers() } else { arguments.workers };
        Ok(Self {
            listen,
            graphql_url: arguments.graphql_url,
            uploader_url: arguments.uploader_url,
            scheduler_urls: arguments.scheduler_urls,
            allow_private_urls: arguments.allow_private_urls,
            memory_max_bytes: arguments.memory_max_bytes,
            compute_max: arguments.compute_max,
            extensions: arguments.extensions.into_iter().filter(|name| !name.is_empty()).collect(),
            workers,
            dry_run_workers: if arguments.dry_run_workers == 0 { workers } else { arguments.dry_run_workers },
            dry_run_queue: arguments.dry_run_queue,
            live_memory_bytes: arguments.live_memory_bytes,
            checkpoint_store: arguments.checkpoint_store,
            checkpoint_evaluation: Duration::from_millis(arguments.checkpoint_evaluation_ms),
            checkpoint_messages: arguments.checkpoint_messages.max(1),
            checkpoint_gas: arguments.checkpoint_gas.max(1),
            publish_checkpoints: !arguments.disable_checkpoint_publishing,
            publish_evaluation: Duration::from_millis(arguments.publish_evaluation_ms),
            publish_gas: arguments.publish_gas.max(1),
            publish_throttle: Duration::from_millis(arguments.publish_throttle_ms),
            checkpoint_policy: match arguments.checkpoint_policy {
                Some(policy) => policy,
                None if !arguments.checkpoint_owners.is_empty() => Policy::Listed,
                None if !arguments.disable_checkpoint_publishing => Policy::Own,
                None => Policy::None,
            },
            checkpoint_owners: arguments.checkpoint_owners,
            busy_threshold: (arguments.busy_threshold_ms > 0)
                .then(|| Duration::from_millis(arguments.busy_threshold_ms)),
            hydration_limit: arguments.hydration_limit,
            restrict_processes: arguments.restrict_processes.into_iter().collect(),
            allow_processes: arguments.allow_processes.into_iter().collect(),
            allow_owners: arguments.allow_owners.into_iter().filter(|owner| !owner.is_empty()).collect(),
            rate_limit_window: Duration::from_millis(arguments.rate_limit_window_ms),
            rate_limit_requests: arguments.rate_limit_requests,
            dry_run_max_age: Duration::from_millis(arguments.dry_run_max_age_ms),
            dry_run_state_ttl: Duration::from_millis(arguments.dry_run_state_ttl_ms),
            dry_run_result_ttl: Duration::from_millis(arguments.dry_run_result_ttl_ms),
            message_wall_clock: Duration::from_millis(arguments.message_wall_clock_ms.max(1)),
            dry_run_wall_clock: Duration::from_millis(arguments.dry_run_wall_clock_ms.max(1)),
            wall_clock_pause: Duration::from_millis(arguments.wall_clock_pause_ms),
            memory_ceiling_bytes: match arguments.memory_ceiling_bytes {
                0 => default_memory_ceiling(),
                bytes => bytes,
            },
            operator_token: arguments.operator_token.filter(|token| !token.is_empty()),
            weavedrive_patience: Duration::from_millis(arguments.weavedrive_patience_ms),
            log: arguments.log,
            unverifiable: arguments.unverifiable,
            weavedrive_gateways: arguments.weavedrive_gateways,
            assigned_max_bytes: arguments.assigned_max_bytes,
            weavedrive_test: arguments.weavedrive_test,
            page_size: arguments.page_size,
            ..Self::new(arguments.data_dir, wallet, arguments.gateway_url)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use holon_protocol::ProcessId;

    use super::*;

    #[test]
    fn ids_and_addresses_may_begin_with_a_hyphen() {
        let (process, address) = (ProcessId::from_bytes([0xf8; 32]), Address::from_bytes([0xfb; 32]));
        assert!(process.to_string().starts_with('-') && address.to_string().starts_with('-'));
        let ids = format!("{process},{process}");
        let location = format!("{address}=http://localhost:9000");
        let flags = ["--restrict-processes", &ids, "--allow-processes", &ids, "--scheduler-url", &location];
        let owners = address.to_string();
        let more = ["--allow-owners", &owners, "--checkpoint-owners", &owners, "--wallet", "wallet.json"];
        let program = Program::try_parse_from(["holon-cu"].into_iter().chain(flags).chain(more)).unwrap();
        let arguments = program.arguments;
        assert_eq!((arguments.restrict_processes, arguments.allow_processes), (vec![process; 2], vec![process; 2]));
        assert_eq!((arguments.allow_owners, arguments.checkpoint_owners), (vec![owners], vec![address]));
        assert_eq!(arguments.scheduler_urls[0].0, address);
    }
}
