//! `holon deploy`: a project becomes a process on a network.

use std::path::PathBuf;

use clap::Args;
use holon_client::module::FORMAT_NATIVE;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::units::UnitArguments;
use crate::arguments::Global;
use crate::connection;
use crate::failure::Failure;
use crate::project::{self, Deployed, Project};
use crate::terminal::{COPY, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon deploy                  builds, publishes what is new, spawns, remembers the ids in holon.toml
  holon deploy --new            another process of the same module
  holon send <name> --action …  commands in the project's folder know its process by its name

A process keeps its module: when the module has changed, a new process is spawned and the old one
stays as it is. Without a change nothing is done. With another network than one that `holon up`
runs, SCHEDULER and AUTHORITY are read from the environment.";

/// `holon deploy`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Spawn a process even if there is one of the same module
    #[arg(long)]
    new: bool,
    /// A module that is built already [default: what `holon build` makes]
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    #[command(flatten)]
    units: UnitArguments,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let mut project = Project::here()?;
    let connection = connection::find(global)?;
    let (scheduler, authorities) = arguments.units.resolve(&connection, terminal)?;

    let file = arguments.wasm.map_or_else(|| project::build(&project), Ok)?;
    let wasm =
        std::fs::read(&file).map_err(|error| Failure::network(format!("cannot read {}: {error}", file.display())))?;
    let wasm_sha256: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    let network = connection.name.clone();
    let known = project.networks.get(&network).filter(|known| known.scheduler == scheduler).cloned();
    let same_module = known.as_ref().filter(|known| known.wasm_sha256 == wasm_sha256);
    let bytes = wasm.len();

    let wallet = connection.wallet(global, terminal)?;
    let module = match same_module {
        Some(known) => known.module,
        None => {
            let _progress = terminal.progress("publishing");
            connection
                .network
                .publish(wasm)
                .format(FORMAT_NATIVE)
                .memory_limit(project.process.memory_limit.clone())
                .compute_limit(project.process.compute_limit)
                .tag("Name", project.process.name.clone())
                .send(&wallet)
                .await?
        }
    };
    let (process, spawned) = match same_module.filter(|_| !arguments.new) {
        Some(known) => (known.process, false),
        None => {
            let mut spawn = connection.network.spawn(module, scheduler).tags(project.process.tags());
            for authority in authorities {
                spawn = spawn.authority(authority);
            }
            let _progress = terminal.progress("spawning");
            (spawn.send(&wallet).await?, true)
        }
    };
    let published = same_module.is_none();
    if spawned {
        project.remember(&network, Deployed { scheduler, wasm_sha256, module, process })?;
    }

    let name = &project.process.name;
    if terminal.is_json() {
        return terminal.json(&json!({
            "name": name, "network": network, "module": module, "process": process, "bytes": bytes,
            "published": published, "spawned": spawned,
        }));
    }
    terminal.field("network", &network);
    terminal.field("module", format!("{COPY}{module}{COPY:#}"));
    terminal.field("process", format!("{COPY}{process}{COPY:#}"));
    match spawned {
        true => terminal.note(format!("talk to it: holon send {name} --action …")),
        false => terminal.note("nothing has changed since it was deployed; --new spawns another process"),
    }
    Ok(())
}
