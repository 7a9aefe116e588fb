//! One message through the whole network, so that "ready" is a fact.

use std::time::{Duration, Instant};

use holon_client::{Network, console};
use holon_protocol::Signer;

use super::seed::Seeds;
use crate::failure::Failure;

/// What the network answered.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The action that was asked for.
    pub action: &'static str,
    /// The counter.
    pub counter: String,
    /// How long it took.
    pub took: Duration,
}

/// Increments a new counter; reads an old one by dry run, which leaves it as its users know it.
pub async fn run(client: &Network, seeds: &Seeds, operator: &Signer) -> Result<Proof, Failure> {
    let begun = Instant::now();
    let process = seeds.counter_process;
    let (action, result) = match seeds.new {
        true => {
            let message = client.message(process).action("Increment").send(operator).await?;
            ("Increment", client.result(process, message).await?)
        }
        false => ("Get", client.dry_run(process).action("Get").send().await?),
    };
    if let Some(error) = console::error(&result) {
        return Err(Failure::network(format!("the network is up, but the counter does not work: {error}")));
    }
    Ok(Proof { action, counter: console::output(&result), took: begun.elapsed() })
}
