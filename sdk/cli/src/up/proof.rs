//! One message through the whole network, so that "ready" is a fact.

use std::time::{Duration, Instant};

use holon_client::{Network, console};
use holon_protocol::Signer;

use super::seed::Seeds;
use crate::failure::Failure;

/// How long a network that starts again waits for its counter, whose log may be long, before it says so and goes on.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What the network answered.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The action that was asked for.
    pub action: &'static str,
    /// The counter; `None` while it is still catching up with its log.
    pub counter: Option<String>,
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
        false => match tokio::time::timeout(CATCH_UP, client.dry_run(process).action("Get").send()).await {
            Ok(result) => ("Get", result?),
            Err(_) => return Ok(Proof { action: "Get", counter: None, took: begun.elapsed() }),
        },
    };
    if let Some(error) = console::error(&result) {
        return Err(Failure::network(format!("the network is up, but the counter does not work: {error}")));
    }
    Ok(Proof { action, counter: Some(console::output(&result)), took: begun.elapsed() })
}
