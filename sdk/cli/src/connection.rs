//! Which network a command talks to, and who signs.

use std::net::IpAddr;

use holon_client::Network;
use holon_protocol::{Address, ProcessId, Signer};
use url::{Host, Url};

use crate::arguments::{Global, ProcessName};
use crate::failure::Failure;
use crate::project::Project;
use crate::record::Record;
use crate::terminal::Terminal;
use crate::wallet_file::{self, WalletType};

/// A network to talk to.
pub struct Connection {
    /// Calls to its units.
    pub network: Network,
    /// What the running local network tells, if it is the one.
    pub record: Option<Record>,
    /// What a project calls it: `local`, or where its gateway or compute unit is.
    pub name: String,
}

/// What projects call a network that `holon up` runs.
const LOCAL: &str = "local";

/// Finds the network: the URLs given by flags or environment, else the running one.
///
/// The two are never mixed, or a message could go to one network and its result be asked of another.
pub fn find(global: &Global) -> Result<Connection, Failure> {
    let given = global.mu_url.is_some() || global.cu_url.is_some() || global.gateway_url.is_some();
    match &global.network {
        None if given => by_urls(global),
        folder => by_record(match folder {
            Some(folder) => Record::of_folder(folder).ok_or_else(|| {
                Failure::network(format!("no network is running on {}", folder.display()))
                    .hint(format!("start it: holon up --data {}", folder.display()))
            })?,
            None => Record::nearby().ok_or_else(|| {
                Failure::network("no network is running and none is named")
                    .hint("start one with `holon up`, or set MU_URL, CU_URL and GATEWAY_URL")
            })?,
        }),
    }
}

fn by_urls(global: &Global) -> Result<Connection, Failure> {
    let mut builder = Network::builder();
    if let Some(url) = &global.mu_url {
        builder = builder.mu_url(url.clone());
    }
    if let Some(url) = &global.cu_url {
        builder = builder.cu_url(url.clone());
    }
    if let Some(url) = &global.gateway_url {
        builder = builder.gateway_url(url.clone()).allow_private_urls(is_local(url));
    }
    if let Some(url) = &global.uploader_url {
        builder = builder.uploader_url(url.clone());
    }
    // The variables may well be those of the running network; then its names and addresses are known, too.
    let same = |record: &Record| {
        let is = |given: &Option<Url>, url: &Url| given.as_ref().is_none_or(|given| same_place(given, url));
        is(&global.mu_url, &record.mu_url)
            && is(&global.cu_url, &record.cu_url)
            && is(&global.gateway_url, &record.gateway_url)
    };
    let record = Record::nearby().filter(same);
    let url = global.gateway_url.as_ref().or(global.cu_url.as_ref()).or(global.mu_url.as_ref());
    let name = match (&record, url.and_then(Url::host_str)) {
        (None, Some(host)) => host.to_owned(),
        _ => LOCAL.to_owned(),
    };
    Ok(Connection { network: builder.build()?, record, name })
}

fn by_record(record: Record) -> Result<Connection, Failure> {
    let network = Network::builder()
        .mu_url(record.mu_url.clone())
        .cu_url(record.cu_url.clone())
        .gateway_url(record.gateway_url.clone())
        .uploader_url(record.uploader_url.clone())
        .allow_private_urls(true)
        .build()?;
    Ok(Connection { network, record: Some(record), name: LOCAL.to_owned() })
}

impl Connection {
    /// The process an argument means.
    pub fn process(&self, name: &ProcessName) -> Result<ProcessId, Failure> {
        match (name, &self.record) {
            (ProcessName::Id(id), _) => Ok(*id),
            (ProcessName::Counter, Some(record)) => Ok(record.counter_process),
            (ProcessName::Counter, None) => {
                Err(Failure::usage("`counter` is a process of a network that `holon up` runs")
                    .hint("write the process id, or start a network with `holon up`"))
            }
            (ProcessName::Project, record) => {
                let project = Project::here()?;
                let known = project.networks.get(&self.name);
                // A network begun anew has another scheduler, and knows nothing of what was on the one before.
                let known =
                    known.filter(|known| record.as_ref().is_none_or(|record| record.scheduler == known.scheduler));
                known.map(|known| known.process).ok_or_else(|| {
                    Failure::usage(format!("{} is not deployed on this network ({})", project.process.name, self.name))
                        .hint("deploy it: holon deploy")
                })
            }
        }
    }

    /// Fails when the gateway says that there is no such process.
    pub async fn require_process(&self, process: ProcessId) -> Result<(), Failure> {
        match self.network.gateway() {
            Ok(gateway) => match gateway.node(process.into()).await {
                Ok(None) => Err(Failure::network(format!("no process {process} is known to the gateway"))
                    .hint("check the id; a process spawned a moment ago is known after its upload")),
                Ok(Some(_)) => Ok(()),
                Err(error) => Err(Failure::network(error)),
            },
            // Without a gateway there is nobody to ask.
            Err(_) => Ok(()),
        }
    }

    /// The wallet that signed a process, when the gateway knows it.
    pub async fn owner(&self, process: ProcessId) -> Option<Address> {
        let node = self.network.gateway().ok()?.node(process.into()).await.ok()??;
        Some(node.owner.address)
    }
}

/// The wallet that signs, made when there is none yet.
pub fn wallet(global: &Global, terminal: Terminal) -> Result<Signer, Failure> {
    let wallet = match &global.wallet {
        Some(path) => wallet_file::read(path)?,
        None => {
            let path = wallet_file::default_path()?;
            let progress = (!path.exists()).then(|| terminal.progress("making a wallet"));
            let (wallet, made) = wallet_file::read_or_make(&path, WalletType::Rsa)?;
            drop(progress);
            if made {
                terminal.note(format!("made the wallet {} ({})", path.display(), wallet.address()));
            }
            wallet
        }
    };
    Ok(wallet)
}

/// The wallet that would sign, if there is one.
pub fn existing_wallet(global: &Global) -> Result<Option<Signer>, Failure> {
    match &global.wallet {
        Some(path) => wallet_file::read(path).map(Some),
        None => wallet_file::default_path()
            .ok()
            .filter(|path| path.exists())
            .map(|path| wallet_file::read(&path))
            .transpose(),
    }
}

/// Whether a URL points to this machine.
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

/// Whether two base URLs mean the same server: `localhost` and `127.0.0.1` do.
fn same_place(one: &Url, other: &Url) -> bool {
    let same_host = one.host() == other.host() || (is_local(one) && is_local(other));
    same_host && one.port_or_known_default() == other.port_or_known_default()
}
