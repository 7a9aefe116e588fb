//! How a local Arweave is configured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use holon_unit::clock::Clock;
use holon_unit::telemetry::LogFormat;

/// Time between blocks.
pub const DEFAULT_BLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Height of the first block after genesis: above 1,440,000, from where evaluators check hash chains.
pub const DEFAULT_INITIAL_HEIGHT: u64 = 1_500_000;
/// Port of a gateway that nobody configured otherwise.
pub const DEFAULT_PORT: u16 = 4000;

/// What a local Arweave needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the store; made when missing.
    pub data_dir: PathBuf,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Time between blocks. Zero makes no blocks with time; then every accepted item makes one.
    pub block_interval: Duration,
    /// Height of the first block after genesis, in a new store.
    pub initial_height: u64,
    /// Blocks of another network that come before the first one, in a new store: heights and Unix seconds. Heights between them and
    /// the first one that are not given have the time of the block before.
    pub founding: Vec<(u64, u64)>,
    /// Give everything a block at once. Otherwise blocks are made only when asked for (`/mine`).
    pub auto_mine: bool,
    /// What time it is: the computer's time, unless a test of a whole network sets it.
    pub clock: Clock,
    /// What the explorer, the page under `/explorer/`, knows beside what these options name.
    pub explorer: holon_explorer::Network,
}

impl Options {
    /// The defaults, with the store in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            block_interval: DEFAULT_BLOCK_INTERVAL,
            initial_height: DEFAULT_INITIAL_HEIGHT,
            founding: Vec::new(),
            auto_mine: true,
            clock: Clock::system(),
            explorer: holon_explorer::Network::default(),
        }
    }
}

/// Flags and environment of the `holon-weave` program.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "holon-weave", version, about = "A local Arweave: gateway, bundler and blocks in one service")]
pub struct Arguments {
    /// Folder of the store
    #[arg(long, env = "WEAVE_DATA", default_value = "weave-data")]
    pub data_dir: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "WEAVE_LISTEN", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)))]
    pub listen: SocketAddr,
    /// Seconds between blocks; 0 makes one block per accepted item and none with time
    #[arg(long, env = "WEAVE_BLOCK_INTERVAL", default_value = "1", value_parser = seconds, value_name = "SECONDS")]
    pub block_interval: Duration,
    /// Height of the first block after genesis, in a new store
    #[arg(long, env = "WEAVE_INITIAL_HEIGHT", default_value_t = DEFAULT_INITIAL_HEIGHT)]
    pub initial_height: u64,
    /// Make blocks only when asked for by /mine
    #[arg(long, env = "WEAVE_MANUAL_MINING")]
    pub manual: bool,
    /// Form of the log
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What to log, e.g. `debug` or `holon_weave=trace`
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
}

impl From<Arguments> for Options {
    fn from(arguments: Arguments) -> Self {
        Self {
            data_dir: arguments.data_dir,
            listen: arguments.listen,
            block_interval: arguments.block_interval,
            initial_height: arguments.initial_height,
            founding: Vec::new(),
            auto_mine: !arguments.manual,
            clock: Clock::system(),
            explorer: holon_explorer::Network::default(),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
