//! `holon up`: a whole network in one program.
//!
//! | room | what happens there |
//! |---|---|
//! | [`folder`] | the data folder: what is in it, emptying it |
//! | [`wallets`] | the units' keys |
//! | [`forks`] | processes of other networks that go on here |
//! | [`ports`] | where the units listen |
//! | [`network`] | what the units are started with, and the bundler's own port; starting and stopping is `holon_devnet`'s |
//! | [`seed`] | what a new network needs on its Arweave: scheduler location, a module, a process |
//! | [`proof`] | one message through all of it, so that "ready" is a fact |
//! | [`environment`] | what other programs must be told |
//! | [`banner`] | what people see |
//!
//! Concurrency: the units own their tasks and threads. This program adds one task per open connection of the second
//! bundler port, and ends them last.

mod banner;
pub mod environment;
mod folder;
pub mod forks;
mod network;
mod ports;
mod proof;
mod seed;
mod wallets;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use holon_client::Network;
use holon_unit::log_file::LogFile;
use holon_unit::telemetry;

use crate::failure::Failure;
use crate::record::{DEFAULT_DATA, Record};
use crate::stop::Stop;
use crate::terminal::Terminal;
use crate::wallet_file::WalletType;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon up                                on ports 4000 to 4004, data in ./.holon
  holon up --port 0 --data /tmp/net       on free ports
  holon up --fresh                        forget everything first
  holon up --json | head -1               addresses for a program

Ports with base n: gateway n, bundler n+1 (the same service), messenger n+2, scheduler n+3, compute n+4.
Everything listens on 127.0.0.1. Ctrl-C stops in order and loses nothing; the next start goes on
where this one ended. The log of the units is <data>/holon.log; RUST_LOG sets how much it tells.

Wallets: Ed25519 by default, which signs a hundred times faster than RSA and is understood by the
official clients; --wallet-type rsa makes the units sign as those of the public network do. The
wallets are made at the first start and stay.

--json prints one line when the network is ready: gateway_url, graphql_url, uploader_url, mu_url,
su_url, cu_url, explorer_url, scheduler, authority, compute, counter_process, counter_module, data, pid.";

/// Size at which the log starts a new file; one old file is kept.
const LOG_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
/// What the log tells unless `RUST_LOG` says otherwise.
const LOG_LEVEL: &str = "info,actix_server=warn";
/// Longest wait for the first answer of the network.
const PROOF_TIMEOUT: Duration = Duration::from_secs(60);

/// `holon up`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where everything is kept
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// First of five ports; 0 takes free ones
    #[arg(short, long, value_name = "PORT", default_value_t = ports::DEFAULT_BASE, value_parser = ports::parse_base)]
    port: u16,
    /// Forget what is in the data folder first, wallets included
    #[arg(long)]
    fresh: bool,
    /// Kind of the units' wallets when they are made
    #[arg(long, value_enum, default_value = "ed25519")]
    wallet_type: WalletType,
}

impl Arguments {
    /// A network on this folder, as it is.
    pub fn of(data: PathBuf, port: u16) -> Self {
        Self { data, port, fresh: false, wallet_type: WalletType::Ed25519 }
    }
}

/// Takes a data folder whose network does not run, and makes it if needed.
pub fn open_folder(data: &Path) -> Result<folder::Folder, Failure> {
    folder::Folder::open(data, false)
}

/// Runs the command until it is told to stop.
pub async fn run(arguments: Arguments, terminal: Terminal) -> Result<(), Failure> {
    holon_cu::raise_open_files();
    let begun = Instant::now();
    // From here on Ctrl-C is a request to stop in order.
    let mut stop = Stop::listen()?;
    let folder = folder::Folder::open(&arguments.data, arguments.fresh)?;
    let log_path = folder.path().join("holon.log");
    let log = LogFile::open(&log_path, LOG_LIMIT_BYTES)
        .map_err(|error| Failure::network(format!("cannot write the log: {error}")))?;
    telemetry::init_file(log, LOG_LEVEL);

    let progress = terminal.progress("starting the network");
    let wallets = wallets::Wallets::open(folder.path(), arguments.wallet_type)?;
    let ports = ports::Ports::bind(arguments.port)?;
    let units = network::Units::start(folder.path(), &wallets, ports).await?;

    let ready = tokio::select! {
        ready = bring_up(&folder, &units, &wallets) => ready,
        () = stop.asked() => Err(Failure::network("stopped before the network was ready")),
    };
    drop(progress);
    let (record, proof) = match ready {
        Ok(ready) => ready,
        Err(failure) => {
            units.stop(terminal).await?;
            return Err(failure.hint(format!("the log says more: {}", log_path.display())));
        }
    };

    match terminal.is_json() {
        true => terminal.json(&record)?,
        false => banner::ready(terminal, &record, &proof, begun.elapsed()),
    }
    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        unit = units.failed() => Err(Failure::network(format!("the {unit} could not go on"))
            .hint(format!("the log says why: {}", log_path.display()))),
    };

    tokio::select! {
        stopped = shut_down(&record, units, terminal) => ended.and(stopped),
        () = stop.asked() => Err(Failure::network("stopped at once; what was acknowledged is on disk")),
    }
}

/// Seeds the network, proves that it works and tells other programs about it.
async fn bring_up(
    folder: &folder::Folder,
    units: &network::Units,
    wallets: &wallets::Wallets,
) -> Result<(Record, proof::Proof), Failure> {
    let urls = units.urls();
    let client = Network::builder()
        .mu_url(urls.messenger.clone())
        .cu_url(urls.compute.clone())
        .gateway_url(urls.gateway.clone())
        .allow_private_urls(true)
        .result_timeout(PROOF_TIMEOUT)
        .build()?;
    let seeds = seed::plant(folder.path(), &client, wallets, &urls.scheduler).await?;
    forks::publish(folder.path(), &client).await?;
    let proof = proof::run(&client, &seeds, &wallets.operator).await?;
    let record = Record {
        graphql_url: environment::graphql_url(&urls.gateway),
        gateway_url: urls.gateway.clone(),
        uploader_url: urls.gateway.clone(),
        mu_url: urls.messenger.clone(),
        su_url: urls.scheduler.clone(),
        cu_url: urls.compute.clone(),
        explorer_url: environment::explorer_url(&urls.gateway),
        scheduler: wallets.units.scheduler.address(),
        authority: wallets.units.messenger.address(),
        compute: wallets.units.compute.address(),
        counter_process: seeds.counter_process,
        counter_module: seeds.counter_module,
        data: folder.path().to_owned(),
        pid: std::process::id(),
    };
    record.publish().map_err(|error| Failure::network(format!("cannot write {}: {error}", folder.path().display())))?;
    Ok((record, proof))
}

async fn shut_down(record: &Record, units: network::Units, terminal: Terminal) -> Result<(), Failure> {
    let withdrawn = record.withdraw();
    units.stop(terminal).await?;
    withdrawn.map_err(|error| Failure::network(format!("cannot remove network.json: {error}")))
}
