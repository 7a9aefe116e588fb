//! What a new network needs on its Arweave before the first message: where its scheduler is, a module, a process.
//!
//! What was planted is remembered in `seed.json`; a later start only publishes a new scheduler location, and only if
//! the scheduler's URL changed.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use holon_client::Network;
use holon_devnet::units::LOCATION_TIME_TO_LIVE;
use holon_protocol::{ModuleId, ProcessId};
use serde::{Deserialize, Serialize};
use url::Url;

use super::wallets::Wallets;
use crate::failure::Failure;
use crate::record::write_whole;

/// The module of `wasm-processes/counter`.
static COUNTER: &[u8] = include_bytes!("../../../../wasm-processes/counter/counter.wasm");
/// Memory a counter may use.
const COUNTER_MEMORY: &str = "16-mb";
/// Gas a counter may use for one message.
const COUNTER_COMPUTE: u64 = 1_000_000_000;
/// Name of the file.
const SEED: &str = "seed.json";

/// What was planted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seeds {
    /// The module.
    pub counter_module: ModuleId,
    /// A process of it.
    pub counter_process: ProcessId,
    /// Whether they were made by this start.
    #[serde(skip)]
    pub new: bool,
}

/// The file: each part is written as soon as it exists.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Planted {
    location: Option<Url>,
    counter_module: Option<ModuleId>,
    counter_process: Option<ProcessId>,
}

/// Plants what is missing.
pub async fn plant(data: &Path, client: &Network, wallets: &Wallets, su_url: &Url) -> Result<Seeds, Failure> {
    let path = data.join(SEED);
    let mut planted = read(&path)?;
    let remember = |planted: &Planted| -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(planted).map_err(Failure::network)?;
        write_whole(&path, &text).map_err(|error| Failure::network(format!("cannot write {}: {error}", path.display())))
    };

    if planted.location.as_ref() != Some(su_url) {
        let location = client.locate_scheduler(su_url.clone()).time_to_live(LOCATION_TIME_TO_LIVE);
        location.send(&wallets.units.scheduler).await?;
        planted.location = Some(su_url.clone());
        remember(&planted)?;
    }
    let counter_module = match planted.counter_module {
        Some(module) => module,
        None => {
            let module = client
                .publish(Bytes::from_static(COUNTER))
                .memory_limit(COUNTER_MEMORY)
                .compute_limit(COUNTER_COMPUTE)
                .tag("Name", "counter")
                .send(&wallets.operator)
                .await?;
            planted.counter_module = Some(module);
            remember(&planted)?;
            module
        }
    };
    let (counter_process, new) = match planted.counter_process {
        Some(process) => (process, false),
        None => {
            let process = client
                .spawn(counter_module, wallets.units.scheduler.address())
                .authority(wallets.units.messenger.address())
                .tag("Name", "counter")
                .send(&wallets.operator)
                .await?;
            planted.counter_process = Some(process);
            remember(&planted)?;
            (process, true)
        }
    };
    Ok(Seeds { counter_module, counter_process, new })
}

fn read(path: &Path) -> Result<Planted, Failure> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            Failure::network(format!("{} is damaged: {error}", path.display()))
                .hint("restore the file, or begin anew with --fresh")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Planted::default()),
        Err(error) => Err(Failure::network(format!("cannot read {}: {error}", path.display()))),
    }
}
