//! `holon network`: networks with names, and the one that commands talk to.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use holon_protocol::Address;
use serde_json::json;
use url::Url;

use crate::arguments::{Global, parse_address};
use crate::failure::Failure;
use crate::profile::{LOCAL, Profile, Profiles, check_name};
use crate::record::Record;
use crate::terminal::{COPY, GOOD, LABEL, STRONG, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon network add team --mu-url https://mu.example --cu-url https://cu.example \\
    --gateway-url https://arweave.example
  eval \"$(holon env)\" && holon network add here       the URLs of the environment
  holon network use team                              what commands talk to from now on
  holon --network team send <process> --action Get    or once
  holon network use local                             back to what `holon up` runs

Networks are kept in networks.toml in the configuration folder ($XDG_CONFIG_HOME/holon or
~/.config/holon), which only you may read. --network and HOLON_NETWORK, then URLs, go before the
network in use; URLs given by flags go before everything, each for its unit.";

/// `holon network`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the networks; a mark stands at the one in use
    #[command(after_help = EXAMPLES)]
    List,
    /// Show a network
    #[command(after_help = EXAMPLES)]
    Show {
        /// Its name [default: the one in use]
        name: Option<String>,
    },
    /// Name a network; its URLs are those of flags or environment
    #[command(after_help = EXAMPLES)]
    Add(Box<Added>),
    /// Have commands talk to this network; `local` is the one that `holon up` runs
    #[command(name = "use", after_help = EXAMPLES)]
    Use {
        /// Its name
        name: String,
    },
    /// Forget a network; nothing else happens to it
    #[command(after_help = EXAMPLES)]
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
struct Added {
    /// Its name
    name: String,
    /// Where Arweave is searched [default: /graphql of the gateway]
    #[arg(long, value_name = "URL")]
    graphql_url: Option<Url>,
    /// Scheduler of processes that are spawned there
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, allow_hyphen_values = true)]
    scheduler: Option<Address>,
    /// Messenger that processes trust which are spawned there; may be repeated
    #[arg(long = "authority", value_name = "ADDRESS", value_delimiter = ',', value_parser = parse_address, allow_hyphen_values = true)]
    authorities: Vec<Address>,
    /// Replace the network of this name
    #[arg(long)]
    replace: bool,
    /// Use it from now on
    #[arg(long = "use")]
    used: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let mut profiles = Profiles::read()?;
    match arguments.action {
        Action::List => list(terminal, &profiles),
        Action::Show { name } => {
            let name = name.or_else(|| profiles.used.clone()).unwrap_or_else(|| LOCAL.to_owned());
            show(terminal, &profiles, &name)
        }
        Action::Add(added) => {
            let (name, used) = (added.name.clone(), added.used);
            add(&mut profiles, *added, global)?;
            if used {
                profiles.used = Some(name.clone());
            }
            let path = profiles.write()?;
            show(terminal, &profiles, &name)?;
            if !used {
                terminal.note(format!(
                    "kept in {}; use it with --network {name}, or from now on: holon network use {name}",
                    path.display()
                ));
            }
            Ok(())
        }
        Action::Use { name } => {
            profiles.used = match name.as_str() {
                LOCAL => None,
                name => {
                    profiles.must_get(name)?;
                    Some(name.to_owned())
                }
            };
            profiles.write()?;
            if terminal.is_json() {
                return terminal.json(&json!({ "used": name }));
            }
            terminal.field("network", format!("{STRONG}{name}{STRONG:#}"));
            if std::env::var_os("HOLON_NETWORK").is_some() || std::env::var_os("CU_URL").is_some() {
                terminal.note("HOLON_NETWORK, MU_URL, CU_URL and GATEWAY_URL go before it: unset them");
            }
            Ok(())
        }
        Action::Remove { name } => {
            profiles.must_get(&name)?;
            profiles.networks.remove(&name);
            if profiles.used.as_ref() == Some(&name) {
                profiles.used = None;
            }
            profiles.write()?;
            match terminal.is_json() {
                true => terminal.json(&json!({ "removed": name })),
                false => {
                    terminal.line(format!("{name} is forgotten"));
                    Ok(())
                }
            }
        }
    }
}

fn add(profiles: &mut Profiles, added: Added, global: &Global) -> Result<(), Failure> {
    let Added { name, graphql_url, scheduler, authorities, replace, .. } = added;
    check_name(&name)?;
    if profiles.get(&name).is_some() && !replace {
        return Err(Failure::usage(format!("there is a network {name} already")).hint("--replace replaces it"));
    }
    let Global { mu_url, cu_url, gateway_url, uploader_url, wallet, .. } = global.clone();
    if mu_url.is_none() && cu_url.is_none() && gateway_url.is_none() {
        return Err(Failure::usage("a network needs a URL")
            .hint("pass --mu-url, --cu-url and --gateway-url; what is left out cannot be asked"));
    }
    // The file is read wherever a command runs.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let wallet = wallet.map(absolute);
    let profile = Profile { mu_url, cu_url, gateway_url, graphql_url, uploader_url, scheduler, authorities, wallet };
    profiles.networks.insert(name, profile);
    Ok(())
}

fn list(terminal: Terminal, profiles: &Profiles) -> Result<(), Failure> {
    let used = profiles.used.as_deref().unwrap_or(LOCAL);
    let running = Record::nearby();
    let local = running.map(|record| record.gateway_url.to_string());
    let others = profiles.networks.iter().map(|(name, profile)| {
        let url = profile.gateway_url.as_ref().or(profile.cu_url.as_ref()).or(profile.mu_url.as_ref());
        (name.as_str(), url.map(Url::to_string))
    });
    for (name, url) in std::iter::once((LOCAL, local)).chain(others) {
        if terminal.is_json() {
            terminal.json(&json!({ "name": name, "used": name == used, "url": url }))?;
            continue;
        }
        let mark = if name == used { format!("{GOOD}●{GOOD:#}") } else { " ".to_owned() };
        let url = url.unwrap_or_else(|| format!("{LABEL}not running; holon up starts it{LABEL:#}"));
        terminal.line(format!("{mark} {STRONG}{name:<16}{STRONG:#} {COPY}{url}{COPY:#}"));
    }
    Ok(())
}

fn show(terminal: Terminal, profiles: &Profiles, name: &str) -> Result<(), Failure> {
    let used = profiles.used.as_deref().unwrap_or(LOCAL) == name;
    let profile = match (name, profiles.get(name)) {
        (LOCAL, None) => local()?,
        _ => profiles.must_get(name)?.clone(),
    };
    if terminal.is_json() {
        return terminal.json(&json!({ "name": name, "used": used, "profile": profile }));
    }
    terminal.field("network", format!("{STRONG}{name}{STRONG:#}{}", if used { "  (in use)" } else { "" }));
    let url = |url: &Option<Url>| url.as_ref().map(|url| format!("{COPY}{url}{COPY:#}"));
    let address = |address: &Address| address.to_string();
    let fields = [
        ("messenger", url(&profile.mu_url)),
        ("compute", url(&profile.cu_url)),
        ("gateway", url(&profile.gateway_url)),
        ("graphql", url(&profile.graphql_url)),
        ("uploader", url(&profile.uploader_url)),
        ("scheduler", profile.scheduler.as_ref().map(address)),
        ("wallet", profile.wallet.as_ref().map(|path| path.display().to_string())),
    ];
    for (label, value) in fields {
        value.into_iter().for_each(|value| terminal.field(label, value));
    }
    profile.authorities.iter().map(address).for_each(|address| terminal.field("authority", address));
    Ok(())
}

/// The network that runs on this computer, as a profile would say it.
fn local() -> Result<Profile, Failure> {
    let record = Record::nearby()
        .ok_or_else(|| Failure::network("no network is running on this computer").hint("start one with `holon up`"))?;
    Ok(Profile {
        mu_url: Some(record.mu_url),
        cu_url: Some(record.cu_url),
        gateway_url: Some(record.gateway_url),
        graphql_url: None,
        uploader_url: None,
        scheduler: Some(record.scheduler),
        authorities: vec![record.authority],
        wallet: None,
    })
}
