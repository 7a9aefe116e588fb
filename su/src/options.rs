//! Configuration (spec 02 §11).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use holon_protocol::Signer;
use holon_unit::clock::Clock;
use url::Url;

use crate::api::BodyTimes;
use crate::check::SizeLimit;
use crate::height;

/// Where the scheduler listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9000";
/// Default of [`Options::max_read_bytes`].
pub const DEFAULT_MAX_READ_BYTES: usize = 256 << 20;
/// Default of [`Options::max_body_memory_bytes`].
pub const DEFAULT_MAX_BODY_MEMORY_BYTES: usize = 512 << 20;
/// Default of [`SizeLimit::bytes`].
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 102_400;

/// Flags and environment of the program.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Folder for the log.
    #[arg(long, env = "SU_DATA_DIR", default_value = "su-data")]
    pub data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, env = "SU_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Wallet file (JWK).
    #[arg(long, env = "SU_WALLET_PATH")]
    pub wallet_path: PathBuf,
    /// Gateway base URL.
    #[arg(long, env = "GATEWAY_URL", default_value = "https://arweave.net/")]
    pub gateway_url: Url,
    /// Where to ask for the L1 height, confirmations and data; the gateway unless set.
    #[arg(long, env = "ARWEAVE_URL")]
    pub arweave_url: Option<Url>,
    /// GraphQL URL, with or without /graphql; the gateway's unless set.
    #[arg(long, env = "GRAPHQL_URL")]
    pub graphql_url: Option<Url>,
    /// Gateways asked for On-Boot items, comma separated; the gateway unless set.
    #[arg(long, env = "ARWEAVE_URL_LIST", value_delimiter = ',')]
    pub arweave_url_list: Vec<Url>,
    /// Bundler base URL; the gateway unless set.
    #[arg(long, env = "UPLOAD_NODE_URL")]
    pub uploader_url: Option<Url>,
    /// Cache node that gets a copy of every upload, best effort.
    #[arg(long, env = "CACHE_URL")]
    pub cache_url: Option<Url>,
    /// Serve /metrics.
    #[arg(long, env = "ENABLE_METRICS", default_value_t = true, action = clap::ArgAction::Set)]
    pub enable_metrics: bool,
    /// Refuse pushed messages and assignments whose content was scheduled before.
    #[arg(long, env = "ENABLE_DEEP_HASH_CHECKS", default_value_t = true, action = clap::ArgAction::Set)]
    pub enable_deep_hash_checks: bool,
    /// Refuse processes whose Scheduler tag is not this wallet's address.
    #[arg(long, env = "SU_CHECK_SCHEDULER", default_value_t = true, action = clap::ArgAction::Set)]
    pub check_scheduler: bool,
    /// Answer a repeated identical item like the first time instead of refusing it.
    #[arg(long, env = "SU_IDEMPOTENT_POSTS", default_value_t = false, action = clap::ArgAction::Set)]
    pub idempotent_posts: bool,
    /// Seconds after start during which posts are refused.
    #[arg(long, env = "WARMUP_DELAY", default_value_t = 0)]
    pub warmup_delay: u64,
    /// JSON list of addresses whose posts are taken (header X-Real-IP); everybody's unless set.
    #[arg(long, env = "IP_WHITELIST_URL")]
    pub ip_whitelist_url: Option<Url>,
    /// JSON table of the processes served here; all unless set.
    #[arg(long, env = "PROCESS_WHITELIST_URL")]
    pub process_whitelist_url: Option<Url>,
    /// This scheduler's own URL, as that table names it.
    #[arg(long, env = "URL")]
    pub own_url: Option<String>,
    /// Ask the router whether a new process belongs here.
    #[arg(long, env = "ENABLE_ROUTER_CHECK", default_value_t = false, action = clap::ArgAction::Set)]
    pub enable_router_check: bool,
    /// Router base URL.
    #[arg(long, env = "ROUTER_URL")]
    pub router_url: Option<Url>,
    /// Refuse large messages.
    #[arg(long, env = "ENABLE_MESSAGE_MAX_SIZE", default_value_t = false, action = clap::ArgAction::Set)]
    pub enable_message_max_size: bool,
    /// Largest message in bytes when they are refused.
    #[arg(long, env = "MAX_MESSAGE_SIZE_BYTES", default_value_t = DEFAULT_MAX_MESSAGE_BYTES)]
    pub max_message_size_bytes: usize,
    /// Signers who may send larger messages, comma separated.
    #[arg(long, env = "MAX_SIZE_OWNER_WHITELIST", value_delimiter = ',', allow_hyphen_values = true)]
    pub max_size_owner_whitelist: Vec<String>,
    /// Signers who may send larger messages for some processes, comma separated.
    #[arg(long, env = "MAX_SIZE_FROM_OWNER_WHITELIST", value_delimiter = ',', allow_hyphen_values = true)]
    pub max_size_from_owner_whitelist: Vec<String>,
    /// Those processes, comma separated.
    #[arg(long, env = "MAX_SIZE_FROM_WHITELIST", value_delimiter = ',', allow_hyphen_values = true)]
    pub max_size_from_whitelist: Vec<String>,
    /// How often the gateway is asked for the L1 height, in milliseconds.
    #[arg(long, env = "SU_HEIGHT_INTERVAL", default_value_t = height::INTERVAL.as_millis() as u64,
        value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub height_interval_ms: u64,
    /// Stored bytes a page may hold; a page that would hold more ends early.
    #[arg(long, env = "MAX_READ_MEMORY", default_value_t = DEFAULT_MAX_READ_BYTES)]
    pub max_read_bytes: usize,
}

/// The program `holon-su`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "holon-su",
    version,
    about = "Scheduler unit: gives every message its place in the log of its process, keeps and serves the log"
)]
pub struct Program {
    /// Options of the unit.
    #[command(flatten)]
    pub arguments: Arguments,
    /// Options of the log.
    #[command(flatten)]
    pub log: holon_unit::program::LogOptions,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The wallet file cannot be read.
    #[error("cannot read the wallet {path}: {source}")]
    WalletFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The wallet file is not a usable key.
    #[error("the wallet {path} cannot be used: {source}")]
    Wallet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: holon_protocol::signer::SignerError,
    },
    /// One setting needs another.
    #[error("{0}")]
    Missing(&'static str),
}

/// What [`Service::start`](crate::Service::start) takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder for the log.
    pub data_dir: PathBuf,
    /// Address to listen on, for programs that bind it themselves.
    pub listen: SocketAddr,
    /// Signs assignments; its address is the scheduler's.
    pub wallet: Signer,
    /// Gateway base URL.
    pub gateway_url: Url,
    /// L1 height, confirmations and data; the gateway when `None`.
    pub arweave_url: Option<Url>,
    /// GraphQL; the gateway's when `None`.
    pub graphql_url: Option<Url>,
    /// Gateways asked for `On-Boot` items; the gateway when empty.
    pub on_boot_urls: Vec<Url>,
    /// Bundler; the gateway when `None`.
    pub uploader_url: Option<Url>,
    /// Cache node that gets a copy of every upload.
    pub cache_url: Option<Url>,
    /// Whether `/metrics` is served.
    pub metrics: bool,
    /// Whether repeated content is refused.
    pub content_checks: bool,
    /// Whether a process's `Scheduler` tag must be our address.
    pub check_scheduler: bool,
    /// Whether a repeated identical item is answered like the first time.
    pub idempotent_posts: bool,
    /// How long after start posts are refused.
    pub warmup: Duration,
    /// Allow-list of posting addresses.
    pub ip_allow_list: Option<Url>,
    /// Allow-list of processes, and our own URL in it.
    pub process_allow_list: Option<(Url, String)>,
    /// Router that is asked whether a new process belongs here.
    pub router_url: Option<Url>,
    /// Size limit of messages.
    pub message_size: Option<SizeLimit>,
    /// Stored bytes a page may hold.
    pub max_read_bytes: usize,
    /// Bytes that all request bodies together may hold until they are stored.
    pub max_body_memory_bytes: usize,
    /// How long a request body may take.
    pub body_times: BodyTimes,
    /// How often the gateway is asked for the L1 height.
    pub height_interval: Duration,
    /// What time it is: the computer's time, unless a test of a whole network sets it.
    pub clock: Clock,
    /// What the explorer, the page under `/explorer/`, knows beside what these options name.
    pub explorer: holon_explorer::Network,
}

impl Options {
    /// The defaults.
    pub fn new(data_dir: impl Into<PathBuf>, wallet: Signer, gateway_url: Url) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            wallet,
            gateway_url,
            arweave_url: None,
            graphql_url: None,
            on_boot_urls: Vec::new(),
            uploader_url: None,
            cache_url: None,
            metrics: true,
            content_checks: true,
            check_scheduler: true,
            idempotent_posts: false,
            warmup: Duration::ZERO,
            ip_allow_list: None,
            process_allow_list: None,
            router_url: None,
            message_size: None,
            max_read_bytes: DEFAULT_MAX_READ_BYTES,
            max_body_memory_bytes: DEFAULT_MAX_BODY_MEMORY_BYTES,
            body_times: BodyTimes::default(),
            height_interval: height::INTERVAL,
            clock: Clock::system(),
            explorer: holon_explorer::Network::default(),
        }
    }

    /// What the explorer knows: what it was told, then what these options name.
    pub(crate) fn explorer(&self) -> holon_explorer::Network {
        let network = holon_explorer::Network {
            name: Some("scheduler unit".into()),
            gateway_url: Some(self.gateway_url.to_string()),
            graphql_url: self.graphql_url.as_ref().map(Url::to_string),
            scheduler: Some(self.wallet.address().to_string()),
            ..holon_explorer::Network::default()
        };
        self.explorer.clone().or(network).served_by(holon_explorer::Unit::Su)
    }
}

impl TryFrom<Arguments> for Options {
    type Error = OptionsError;

    fn try_from(arguments: Arguments) -> Result<Self, OptionsError> {
        let path = arguments.wallet_path;
        let jwk =
            std::fs::read_to_string(&path).map_err(|source| OptionsError::WalletFile { path: path.clone(), source })?;
        let wallet = Signer::from_jwk(&jwk).map_err(|source| OptionsError::Wallet { path, source })?;
        let process_allow_list = match (arguments.process_whitelist_url, arguments.own_url) {
            (Some(url), Some(own)) => Some((url, own)),
            (Some(_), None) => return Err(OptionsError::Missing("PROCESS_WHITELIST_URL needs URL, our own URL in it")),
            (None, _) => None,
        };
        let router_url = match (arguments.enable_router_check, arguments.router_url) {
            (true, None) => return Err(OptionsError::Missing("ENABLE_ROUTER_CHECK needs ROUTER_URL")),
            (true, url) => url,
            (false, _) => None,
        };
        Ok(Self {
            listen: arguments.listen,
            arweave_url: arguments.arweave_url,
            graphql_url: arguments.graphql_url,
            on_boot_urls: arguments.arweave_url_list,
            uploader_url: arguments.uploader_url,
            cache_url: arguments.cache_url,
            metrics: arguments.enable_metrics,
            content_checks: arguments.enable_deep_hash_checks,
            check_scheduler: arguments.check_scheduler,
            idempotent_posts: arguments.idempotent_posts,
            warmup: Duration::from_secs(arguments.warmup_delay),
            ip_allow_list: arguments.ip_whitelist_url,
            process_allow_list,
            router_url,
            message_size: arguments.enable_message_max_size.then_some(SizeLimit {
                bytes: arguments.max_message_size_bytes,
                owners: arguments.max_size_owner_whitelist,
                from_owners: arguments.max_size_from_owner_whitelist,
                from: arguments.max_size_from_whitelist,
            }),
            max_read_bytes: arguments.max_read_bytes,
            height_interval: Duration::from_millis(arguments.height_interval_ms),
            ..Self::new(arguments.data_dir, wallet, arguments.gateway_url)
        })
    }
}
