//! Which network a command talks to, and who signs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use holon_client::{Network, Scheduler};
use holon_protocol::{Address, ProcessId, Signer};
use url::{Host, Url};

use crate::arguments::{Global, ProcessName};
use crate::failure::Failure;
use crate::profile::{LOCAL, Profile, Profiles};
use crate::project::Project;
use crate::record::Record;
use crate::terminal::Terminal;
use crate::up::environment;
use crate::wallet_file::{self, WalletType};

/// A network to talk to.
pub struct Connection {
    /// Calls to its units.
    pub network: Network,
    /// What the running local network tells, if it is the one.
    pub record: Option<Record>,
    /// What a project calls it: the name of a profile, `local`, or where its gateway or compute unit is.
    pub name: String,
    /// What the user's configuration says about it, if it has a name there.
    pub profile: Option<Profile>,
}

/// Finds the network: the one with the name or folder that was given, else the one at the URLs that were given by flags or
/// environment, else the one in use (`holon network use`), else the running one.
///
/// URLs of one network are never mixed with those of another, or a message could go to one and its result be asked of
/// another. Only flags beside the name of a network replace URLs of that network, each that of its unit.
pub fn find(global: &Global) -> Result<Connection, Failure> {
    let profiles = Profiles::read()?;
    if let Some(name) = &global.network {
        return named(name, &profiles, global);
    }
    if global.mu_url.is_some() || global.cu_url.is_some() || global.gateway_url.is_some() {
        return by_urls(global);
    }
    match &profiles.used {
        Some(name) => by_profile(name, profiles.must_get(name)?.clone(), global),
        None => by_record(running()?, global),
    }
}

/// The network of a name: one of the configuration, `local`, or one that runs on a folder.
fn named(name: &Path, profiles: &Profiles, global: &Global) -> Result<Connection, Failure> {
    let text = name.to_str().unwrap_or_default();
    if let Some(profile) = profiles.get(text) {
        return by_profile(text, profile.clone(), global);
    }
    if text == LOCAL && !name.is_dir() {
        return by_record(running()?, global);
    }
    let record = Record::of_folder(name).ok_or_else(|| match name.is_dir() {
        true => Failure::network(format!("no network is running on {}", name.display()))
            .hint(format!("start it: holon up --data {}", name.display())),
        false => Failure::network(format!("{} is neither the name of a network nor the folder of one", name.display()))
            .hint(match profiles.networks.is_empty() {
                true => format!("name one: holon network add {0}; or start one: holon up --data {0}", name.display()),
                false => format!("there are: {LOCAL}, {}; `holon network list` tells more", profiles.names()),
            }),
    })?;
    by_record(record, global)
}

fn running() -> Result<Record, Failure> {
    Record::nearby().ok_or_else(|| {
        Failure::network("no network is running and none is named")
            .hint("start one with `holon up`, name one with --network, or set MU_URL, CU_URL and GATEWAY_URL")
    })
}

fn by_urls(global: &Global) -> Result<Connection, Failure> {
    let given = Profile {
        mu_url: global.mu_url.clone(),
        cu_url: global.cu_url.clone(),
        gateway_url: global.gateway_url.clone(),
        uploader_url: global.uploader_url.clone(),
        ..Profile::default()
    };
    // They may well be those of the running network; then all of it is known.
    let same = |record: &Record| {
        let is = |given: &Option<Url>, url: &Url| given.as_ref().is_none_or(|given| same_place(given, url));
        is(&global.mu_url, &record.mu_url)
            && is(&global.cu_url, &record.cu_url)
            && is(&global.gateway_url, &record.gateway_url)
    };
    if let Some(record) = Record::nearby().filter(same) {
        return by_record(record, global);
    }
    let url = global.gateway_url.as_ref().or(global.cu_url.as_ref()).or(global.mu_url.as_ref());
    let name = url.and_then(Url::host_str).unwrap_or(LOCAL).to_owned();
    Ok(Connection { network: network(&given)?, record: None, name, profile: None })
}

fn by_profile(name: &str, mut profile: Profile, global: &Global) -> Result<Connection, Failure> {
    for (url, given) in [
        (&mut profile.mu_url, &global.mu_url),
        (&mut profile.cu_url, &global.cu_url),
        (&mut profile.gateway_url, &global.gateway_url),
        (&mut profile.uploader_url, &global.uploader_url),
    ] {
        if given.is_some() {
            url.clone_from(given);
        }
    }
    if global.gateway_url.is_some() {
        // Another gateway is searched at its own `/graphql`.
        profile.graphql_url = None;
    }
    Ok(Connection { network: network(&profile)?, record: None, name: name.to_owned(), profile: Some(profile) })
}

fn network(profile: &Profile) -> Result<Network, Failure> {
    let mut builder = Network::builder();
    if let Some(url) = &profile.mu_url {
        builder = builder.mu_url(url.clone());
    }
    if let Some(url) = &profile.cu_url {
        builder = builder.cu_url(url.clone());
    }
    if let Some(url) = &profile.gateway_url {
        builder = builder.gateway_url(url.clone()).allow_private_urls(is_local(url));
    }
    if let Some(url) = &profile.graphql_url {
        builder = builder.graphql_url(url.clone());
    }
    if let Some(url) = &profile.uploader_url {
        builder = builder.uploader_url(url.clone());
    }
    Ok(builder.build()?)
}

fn by_record(mut record: Record, global: &Global) -> Result<Connection, Failure> {
    let its_gateway = global.gateway_url.is_none();
    if let Some(url) = &global.gateway_url {
        record.graphql_url = environment::graphql_url(url);
        record.uploader_url = url.clone();
    }
    for (url, given) in [
        (&mut record.mu_url, &global.mu_url),
        (&mut record.cu_url, &global.cu_url),
        (&mut record.gateway_url, &global.gateway_url),
        (&mut record.uploader_url, &global.uploader_url),
    ] {
        if let Some(given) = given {
            url.clone_from(given);
        }
    }
    let network = Network::builder()
        .mu_url(record.mu_url.clone())
        .cu_url(record.cu_url.clone())
        .gateway_url(record.gateway_url.clone())
        .uploader_url(record.uploader_url.clone())
        .allow_private_urls(its_gateway || is_local(&record.gateway_url))
        .build()?;
    Ok(Connection { network, record: Some(record), name: LOCAL.to_owned(), profile: None })
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

    /// The scheduler that keeps a process.
    pub async fn scheduler(&self, process: ProcessId) -> Result<Scheduler, Failure> {
        match &self.record {
            Some(record) => Ok(self.network.scheduler_at(record.su_url.clone())?),
            None => Ok(self.network.scheduler_of(process).await?),
        }
    }

    /// The wallet that signs, made when there is none yet.
    pub fn wallet(&self, global: &Global, terminal: Terminal) -> Result<Signer, Failure> {
        if let Some(path) = self.wallet_path(global) {
            return wallet_file::read(path);
        }
        let path = wallet_file::default_path()?;
        let progress = (!path.exists()).then(|| terminal.progress("making a wallet"));
        let (wallet, made) = wallet_file::read_or_make(&path, WalletType::Rsa)?;
        drop(progress);
        if made {
            terminal.note(format!("made the wallet {} ({})", path.display(), wallet.address()));
        }
        Ok(wallet)
    }

    /// The wallet that would sign, if there is one.
    pub fn existing_wallet(&self, global: &Global) -> Result<Option<Signer>, Failure> {
        match self.wallet_path(global) {
            Some(path) => wallet_file::read(path).map(Some),
            None => wallet_file::default_path()
                .ok()
                .filter(|path| path.exists())
                .map(|path| wallet_file::read(&path))
                .transpose(),
        }
    }

    /// The wallet that was named: on the command line, else for this network.
    fn wallet_path<'a>(&'a self, global: &'a Global) -> Option<&'a PathBuf> {
        global.wallet.as_ref().or_else(|| self.profile.as_ref()?.wallet.as_ref())
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
