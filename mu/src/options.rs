//! Configuration of the messenger.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use holon_protocol::{Address, BlockHeight, Signer};
use holon_unit::clock::Clock;
use holon_unit::operator::Token;
use url::Url;

use crate::api::MAX_BODIES_BYTES;
use crate::crank::budget::Budgets;
use crate::crank::dispatch::Limits;
use crate::guards::Guards;
use crate::outbox::PostgresOptions;
use crate::outbox::postgres::{DEFAULT_CONNECTIONS, DEFAULT_LEASE, DEFAULT_SCHEMA};
use crate::peers::MAX_RESULT_BYTES;

/// Typed configuration: what [`crate::Service::start`] takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the outbox, and of the operator's token.
    pub data_dir: PathBuf,
    /// Database of an outbox that several messengers share; `None`: the messenger has one of its own in its folder.
    pub postgres: Option<PostgresOptions>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The messenger's wallet: signs everything it pushes.
    pub wallet: Signer,
    /// Gateway.
    pub gateway_url: Url,
    /// GraphQL endpoint; `None`: `/graphql` of the gateway.
    pub graphql_url: Option<Url>,
    /// Bundler for messages to wallets; `None`: the gateway.
    pub uploader_url: Option<Url>,
    /// Compute unit whose results are pushed.
    pub cu_url: Url,
    /// Schedulers by wallet; they take precedence over published locations and are trusted.
    pub scheduler_urls: Vec<(Address, Url)>,
    /// Further origins that schedulers may redirect to: those behind a router.
    pub scheduler_origins: Vec<Url>,
    /// Whether published schedulers may have private addresses: for local networks.
    pub allow_private_urls: bool,
    /// Whether each scheduler is asked once where a process lives, and what it redirects is sent there from then on: for
    /// schedulers that are routers.
    pub probe_routers: bool,
    /// Whether the result of a spawned process's boot is pushed.
    pub push_boots: bool,
    /// Whether `POST /push` is allowed.
    pub enable_push: bool,
    /// Messages scheduled below this height are not pushed again.
    pub allow_pushes_after: BlockHeight,
    /// Whether only a process's owner may monitor it.
    pub monitor_owner_only: bool,
    /// Whether client items that carry `From-Process` are refused.
    pub refuse_from_process: bool,
    /// Time between two polls of a monitored process of which the compute unit does not say when something is due.
    pub cron_interval: Duration,
    /// Whether processes with cron tags are monitored without being asked: those that come to be through this messenger from
    /// their birth on, others from the first message for them that comes through it.
    pub auto_cron: bool,
    /// How long it is remembered what became of items; zero: not at all.
    pub trace_for: Duration,
    /// Whether everybody may see traces and dead letters; else only the operator.
    pub public_traces: bool,
    /// Token of the operator; without it there is one in the file `operator-token` of the data folder.
    pub operator_token: Option<Token>,
    /// Longest one attempt to pull a result takes.
    pub pull_timeout: Duration,
    /// Longest one request to a scheduler takes.
    pub scheduler_timeout: Duration,
    /// Largest result, or page of cron results, that is read, in bytes.
    pub max_result_bytes: usize,
    /// Memory for bodies of requests that are not answered yet, in bytes; at least one body fits.
    pub body_memory_bytes: usize,
    /// Guards that only tests take away.
    #[doc(hidden)]
    pub guards: Guards,
    /// Limits of the crank.
    pub limits: Limits,
    /// What time it is: the computer's time, unless a test of a whole network sets it.
    pub clock: Clock,
    /// What the explorer, the page under `/explorer/`, knows beside what these options name.
    pub explorer: holon_explorer::Network,
}

/// Shortest time between two polls.
pub const MIN_CRON_INTERVAL: Duration = Duration::from_millis(100);

impl Options {
    /// The defaults for these peers: listens on a free loopback port.
    pub fn new(data_dir: impl Into<PathBuf>, wallet: Signer, gateway_url: Url, cu_url: Url) -> Self {
        Self {
            data_dir: data_dir.into(),
            postgres: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            wallet,
            gateway_url,
            graphql_url: None,
            uploader_url: None,
            cu_url,
            scheduler_urls: Vec::new(),
            scheduler_origins: Vec::new(),
            allow_private_urls: false,
            probe_routers: false,
            push_boots: true,
            enable_push: false,
            allow_pushes_after: BlockHeight(1_580_000),
            monitor_owner_only: false,
            refuse_from_process: false,
            cron_interval: Duration::from_secs(10),
            auto_cron: false,
            trace_for: Duration::from_secs(2 * 60 * 60),
            public_traces: false,
            operator_token: None,
            pull_timeout: Duration::from_secs(600),
            scheduler_timeout: Duration::from_secs(60),
            max_result_bytes: MAX_RESULT_BYTES,
            body_memory_bytes: MAX_BODIES_BYTES,
            guards: Guards::ALL,
            limits: Limits::default(),
            clock: Clock::system(),
            explorer: holon_explorer::Network::default(),
        }
    }

    /// What the explorer knows: what it was told, then what these options name.
    pub(crate) fn explorer(&self) -> holon_explorer::Network {
        let scheduler = self.scheduler_urls.first();
        let network = holon_explorer::Network {
            name: Some("messenger unit".into()),
            gateway_url: Some(self.gateway_url.to_string()),
            graphql_url: self.graphql_url.as_ref().map(Url::to_string),
            su_url: scheduler.map(|(_, url)| url.to_string()),
            cu_url: Some(self.cu_url.to_string()),
            scheduler: scheduler.map(|(address, _)| address.to_string()),
            authority: Some(self.wallet.address().to_string()),
            ..holon_explorer::Network::default()
        };
        self.explorer.clone().or(network).served_by(holon_explorer::Unit::Mu)
    }
}

/// Configuration as flags and environment variables.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Folder of the outbox
    #[arg(long, env = "MU_DATA_DIR", default_value = "mu-data")]
    pub data_dir: PathBuf,
    /// Connection string of a PostgreSQL database whose outbox several messengers share, as
    /// postgresql://USER:PASSWORD@HOST/DATABASE; without it the outbox is in the data folder. TLS is required except to
    /// this machine, unless it says sslmode=disable. Set it in the environment rather than here: others can see flags
    #[arg(long = "outbox-url", env = "MU_OUTBOX_URL", hide_env_values = true)]
    pub outbox_url: Option<String>,
    /// Schema of the outbox's tables; messengers with the same one share the work
    #[arg(long, env = "MU_OUTBOX_SCHEMA", default_value = DEFAULT_SCHEMA)]
    pub outbox_schema: String,
    /// PEM file with the certificates that the database's must descend from, if this machine does not trust them
    #[arg(long, env = "MU_OUTBOX_CERTIFICATES")]
    pub outbox_certificates: Option<PathBuf>,
    /// Milliseconds after which a messenger that the database does not hear of is believed dead and others go on with
    /// its work; at least 500
    #[arg(long, env = "MU_OUTBOX_LEASE_MS", default_value_t = DEFAULT_LEASE_MS, value_parser = clap::value_parser!(u64).range(500..))]
    pub outbox_lease_ms: u64,
    /// Connections to the database; one more listens
    #[arg(long, env = "MU_OUTBOX_CONNECTIONS", default_value_t = DEFAULT_CONNECTIONS as u64, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub outbox_connections: u64,
    /// Address and port to listen on
    #[arg(long, env = "MU_LISTEN", default_value = "127.0.0.1:3005")]
    pub listen: SocketAddr,
    /// JWK file of the messenger's wallet
    #[arg(long = "wallet", env = "PATH_TO_WALLET")]
    pub wallet_path: PathBuf,
    /// Gateway
    #[arg(long, env = "GATEWAY_URL", default_value = "https://arweave.net")]
    pub gateway_url: Url,
    /// GraphQL endpoint, if it is not /graphql of the gateway
    #[arg(long, env = "GRAPHQL_URL")]
    pub graphql_url: Option<Url>,
    /// Bundler for messages to wallets, if it is not the gateway
    #[arg(long, env = "UPLOADER_URL")]
    pub uploader_url: Option<Url>,
    /// Compute unit whose results are pushed
    #[arg(long, env = "CU_URL", default_value = "http://localhost:6363")]
    pub cu_url: Url,
    /// Schedulers by wallet, as ADDRESS=URL, separated by commas; they take precedence over published locations
    #[arg(long = "scheduler-url", env = "SCHEDULER_URLS", value_delimiter = ',', value_parser = scheduler_url, allow_hyphen_values = true)]
    pub scheduler_urls: Vec<(Address, Url)>,
    /// Further origins that schedulers may redirect to, separated by commas
    #[arg(long = "scheduler-origin", env = "SCHEDULER_ORIGINS", value_delimiter = ',')]
    pub scheduler_origins: Vec<Url>,
    /// Allow published schedulers with private addresses
    #[arg(long, env = "ALLOW_PRIVATE_URLS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub allow_private_urls: bool,
    /// Ask each scheduler once where a process lives, and send what it redirects there from then on: for schedulers that are
    /// routers
    #[arg(long, env = "PROBE_ROUTERS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub probe_routers: bool,
    /// Push the result of a spawned process's boot
    #[arg(long, env = "SPAWN_PUSH_ENABLED", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub push_boots: bool,
    /// Allow POST /push
    #[arg(long, env = "ENABLE_PUSH", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_push: bool,
    /// Block height below which messages are not pushed again
    #[arg(long, env = "ALLOW_PUSHES_AFTER", default_value = "1580000")]
    pub allow_pushes_after: BlockHeight,
    /// Let only a process's owner monitor it
    #[arg(long, env = "MONITOR_OWNER_ONLY", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub monitor_owner_only: bool,
    /// Refuse client items that carry From-Process
    #[arg(long, env = "REFUSE_FROM_PROCESS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub refuse_from_process: bool,
    /// Milliseconds between two polls of a monitored process; at least 100
    #[arg(long, env = "CRON_INTERVAL_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub cron_interval_ms: u64,
    /// Monitor processes with Cron-Interval tags that are spawned through this messenger, or that a message for comes
    /// through it, without being asked
    #[arg(long, env = "AUTO_CRON", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub auto_cron: bool,
    /// Seconds for which it is remembered what became of messages; 0: not at all
    #[arg(long, env = "TRACE_SECONDS", default_value_t = 7_200)]
    pub trace_seconds: u64,
    /// Show traces and dead letters to the operator only; false: to everybody
    #[arg(long, env = "DISABLE_TRACE", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub disable_trace: bool,
    /// Token of requests that only the operator may send, as "Authorization: Bearer TOKEN"; without it one is made, in the
    /// file operator-token of the data folder
    #[arg(long, env = "MU_OPERATOR_TOKEN", hide_env_values = true)]
    pub operator_token: Option<Token>,
    /// Most messages, spawns and assignments that may descend from one message; 0: any number
    #[arg(long, env = "MAX_PER_PUSH", default_value_t = Budgets::default().per_push)]
    pub max_per_push: u64,
    /// Most steps that something may descend from one message; 0: any number
    #[arg(long, env = "MAX_DEPTH", default_value_t = Budgets::default().depth)]
    pub max_depth: u32,
    /// Most tasks that wait in the outbox for what descends from one message
    #[arg(long, env = "MAX_WAITING_PER_PUSH", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_waiting_per_push: u64,
    /// Most tasks that wait in the outbox for what the crons of one lineage began, or that of one process that was born elsewhere or asked for;
    /// with so many they are not asked for more
    #[arg(long, env = "MAX_WAITING_PER_CRON", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_waiting_per_cron: u64,
    /// Most processes with crons that come of one message, through any number of crons, and are monitored without being asked for; 0: any number
    #[arg(long, env = "MAX_CRONS_PER_LINEAGE", default_value_t = 1_000)]
    pub max_crons_per_lineage: u64,
    /// Most messages, spawns and assignments of one process handed over in a second; 0: any number
    #[arg(long, env = "MAX_PER_PROCESS_PER_SECOND", default_value_t = 0)]
    pub max_per_process_per_second: u32,
    /// Most milliseconds one attempt to pull a result takes
    #[arg(long, env = "PULL_TIMEOUT_MS", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub pull_timeout_ms: u64,
    /// Most milliseconds one request to a scheduler takes
    #[arg(long, env = "SCHEDULER_TIMEOUT_MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub scheduler_timeout_ms: u64,
    /// Largest result of a compute unit that is read, in bytes
    #[arg(long, env = "MAX_RESULT_BYTES", default_value_t = MAX_RESULT_BYTES)]
    pub max_result_bytes: usize,
    /// Memory for bodies of requests that are not answered yet, in bytes; more are refused with 503
    #[arg(long, env = "BODY_MEMORY_BYTES", default_value_t = MAX_BODIES_BYTES)]
    pub body_memory_bytes: usize,
    /// Milliseconds before a failed task is tried again; doubles with each failure
    #[arg(long, env = "TASK_QUEUE_RETRY_DELAY", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub retry_delay_ms: u64,
    /// Milliseconds after which a task that keeps failing is given up
    #[arg(long, env = "TASK_RETRY_FOR_MS", default_value_t = 86_400_000)]
    pub retry_for_ms: u64,
}

/// The program `holon-mu`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "holon-mu",
    version,
    about = "Messenger unit: takes signed items, has them scheduled, and pushes what processes send"
)]
pub struct Program {
    /// Options of the unit.
    #[command(flatten)]
    pub arguments: Arguments,
    /// Options of the log.
    #[command(flatten)]
    pub log: holon_unit::program::LogOptions,
}

const DEFAULT_LEASE_MS: u64 = DEFAULT_LEASE.as_secs() * 1_000;

fn scheduler_url(text: &str) -> Result<(Address, Url), String> {
    let (address, url) = text.split_once('=').ok_or("ADDRESS=URL is needed")?;
    let address = address.parse().map_err(|error| format!("{error}"))?;
    Ok((address, url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?))
}

/// The arguments do not make a configuration.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The wallet cannot be read.
    #[error("the wallet {path} cannot be read: {source}")]
    Wallet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The wallet is not usable.
    #[error("the wallet {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: holon_protocol::signer::SignerError,
    },
    /// A unit cannot be asked that way.
    #[error("{option}: the address begins with {scheme}://, and only http:// and https:// can be asked")]
    Scheme {
        /// Which option.
        option: &'static str,
        /// The scheme. What follows may hold a password.
        scheme: String,
    },
}

impl TryFrom<Arguments> for Options {
    type Error = OptionsError;

    fn try_from(arguments: Arguments) -> Result<Self, OptionsError> {
        let named = [("--cu-url", &arguments.cu_url), ("--gateway-url", &arguments.gateway_url)];
        let more = [("--graphql-url", &arguments.graphql_url), ("--uploader-url", &arguments.uploader_url)];
        let more = more.into_iter().filter_map(|(option, url)| Some((option, url.as_ref()?)));
        let schedulers = arguments.scheduler_urls.iter().map(|(_, url)| ("--scheduler-url", url));
        for (option, url) in named.into_iter().chain(more).chain(schedulers) {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(OptionsError::Scheme { option, scheme: url.scheme().to_owned() });
            }
        }
        let path = arguments.wallet_path;
        let jwk =
            std::fs::read_to_string(&path).map_err(|source| OptionsError::Wallet { path: path.clone(), source })?;
        let wallet = Signer::from_jwk(&jwk).map_err(|source| OptionsError::Key { path, source })?;
        let postgres = arguments.outbox_url.filter(|url| !url.is_empty()).map(|url| PostgresOptions {
            schema: arguments.outbox_schema,
            certificates: arguments.outbox_certificates,
            lease: Duration::from_millis(arguments.outbox_lease_ms),
            connections: usize::try_from(arguments.outbox_connections).unwrap_or(DEFAULT_CONNECTIONS),
            ..PostgresOptions::new(url)
        });
        Ok(Self {
            data_dir: arguments.data_dir,
            postgres,
            listen: arguments.listen,
            wallet,
            gateway_url: arguments.gateway_url,
            graphql_url: arguments.graphql_url,
            uploader_url: arguments.uploader_url,
            cu_url: arguments.cu_url,
            scheduler_urls: arguments.scheduler_urls,
            scheduler_origins: arguments.scheduler_origins,
            allow_private_urls: arguments.allow_private_urls,
            probe_routers: arguments.probe_routers,
            push_boots: arguments.push_boots,
            enable_push: arguments.enable_push,
            allow_pushes_after: arguments.allow_pushes_after,
            monitor_owner_only: arguments.monitor_owner_only,
            refuse_from_process: arguments.refuse_from_process,
            cron_interval: Duration::from_millis(arguments.cron_interval_ms),
            auto_cron: arguments.auto_cron,
            trace_for: Duration::from_secs(arguments.trace_seconds),
            public_traces: !arguments.disable_trace,
            operator_token: arguments.operator_token.filter(|token| !token.is_empty()),
            pull_timeout: Duration::from_millis(arguments.pull_timeout_ms),
            scheduler_timeout: Duration::from_millis(arguments.scheduler_timeout_ms),
            max_result_bytes: arguments.max_result_bytes,
            body_memory_bytes: arguments.body_memory_bytes,
            guards: Guards::ALL,
            limits: Limits {
                retry_delay_ms: arguments.retry_delay_ms,
                retry_for_ms: arguments.retry_for_ms,
                budgets: Budgets {
                    per_push: arguments.max_per_push,
                    depth: arguments.max_depth,
                    waiting: usize::try_from(arguments.max_waiting_per_push).unwrap_or(usize::MAX),
                    waiting_per_cron: usize::try_from(arguments.max_waiting_per_cron).unwrap_or(usize::MAX),
                    crons_per_lineage: usize::try_from(arguments.max_crons_per_lineage).unwrap_or(usize::MAX),
                    per_process_per_second: arguments.max_per_process_per_second,
                },
                ..Limits::default()
            },
            clock: Clock::system(),
            explorer: holon_explorer::Network::default(),
        })
    }
}
