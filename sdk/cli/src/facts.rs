//! What is known of a process: each unit is asked for its part, all at once, and what one cannot tell is said, not hidden.

use std::time::Duration;

use holon_arweave::graphql::{Node, Query};
use holon_client::{Parked, Standing, Unit};
use holon_protocol::wire::Entry;
use holon_protocol::{Address, ModuleId, ProcessId, Tag, Tags, Timestamp};
use serde::Serialize;
use url::Url;

use crate::connection::Connection;
use crate::failure::Failure;

/// How long the compute unit may take to name the state; it may have a log to replay.
const STATE_PATIENCE: Duration = Duration::from_secs(15);
/// Assignments among which the newest settled one is looked for: those of one bundle come in any order.
const SETTLED_PAGE: u32 = 100;

/// What a process is: what its spawn says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Birth {
    /// The process.
    pub id: ProcessId,
    /// Value of its tag `Name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who signed it.
    pub owner: Address,
    /// What it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleId>,
    /// Wallet of its scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Address>,
    /// When it was scheduled or mined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawned_at: Option<Timestamp>,
    /// Its tags.
    pub tags: Tags,
}

/// What stands at the end of a log.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latest {
    /// Place in the log.
    pub nonce: u64,
    /// When it was scheduled.
    pub timestamp: Timestamp,
}

/// A cron that a process asks for.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Cron {
    /// How often.
    pub interval: String,
    /// Tags of its messages.
    pub tags: Vec<Tag>,
}

/// All that is known.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessFacts {
    /// Always `process`.
    pub kind: &'static str,
    /// What its spawn says.
    #[serde(flatten)]
    pub birth: Birth,
    /// Whom it trusts besides its owner.
    pub authorities: Vec<String>,
    /// What wakes it.
    pub crons: Vec<Cron>,
    /// Where its log is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_url: Option<Url>,
    /// The end of its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
    /// Up to which slot the log is in a block on Arweave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<u64>,
    /// Where the compute unit stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Standing>,
    /// Whether the compute unit has stopped before a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
    /// What could not be learned, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// What the spawn of a process says, from its scheduler, or from Arweave.
pub async fn birth(connection: &Connection, process: ProcessId) -> Result<Birth, Failure> {
    let kept = match connection.scheduler(process).await {
        Ok(scheduler) => scheduler.process(process).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let failure = match kept {
        Ok(kept) => return Ok(Birth::new(process, kept.owner.address, kept.tags, Some(kept.timestamp))),
        Err(failure) => failure,
    };
    match connection.network.gateway() {
        Err(_) => Err(failure),
        Ok(gateway) => match gateway.node(process.into()).await.map_err(Failure::network)? {
            Some(node) if node.tags.contains("Type", "Process") => {
                Ok(Birth::new(process, node.owner.address, node.tags, node.block.map(|block| block.timestamp)))
            }
            Some(_) => {
                Err(Failure::usage(format!("{process} is no process"))
                    .hint(format!("what is it? holon inspect {process}")))
            }
            None => {
                Err(Failure::network(format!("no process {process} is known on this network ({})", connection.name))
                    .hint("check the id, and the network: --network"))
            }
        },
    }
}

impl Birth {
    fn new(id: ProcessId, owner: Address, tags: Tags, spawned_at: Option<Timestamp>) -> Self {
        let read = |name: &str| tags.get(name).map(str::to_owned);
        Self {
            id,
            name: read("Name").filter(|name| !name.trim().is_empty()),
            owner,
            module: read("Module").and_then(|module| module.parse().ok()),
            scheduler: read("Scheduler").and_then(|scheduler| scheduler.parse().ok()),
            spawned_at,
            tags,
        }
    }
}

/// Everything that the units tell about a process.
pub async fn of_process(connection: &Connection, process: ProcessId) -> Result<ProcessFacts, Failure> {
    let network = &connection.network;
    let log = async {
        let scheduler = connection.scheduler(process).await.map_err(|failure| failure.message().to_owned())?;
        let url = scheduler.url().clone();
        let latest = scheduler.latest(process).await.map_err(|error| error.to_string());
        Ok::<_, String>((url, latest))
    };
    let state = async {
        match tokio::time::timeout(STATE_PATIENCE, network.state_root(process, None)).await {
            Ok(standing) => standing.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the compute unit still evaluates after {} s", STATE_PATIENCE.as_secs())),
        }
    };
    let is_computed = network.require(Unit::Compute).is_ok();
    let (birth, log, settled, state, parked) = tokio::join!(
        Box::pin(birth(connection, process)),
        Box::pin(log),
        Box::pin(settled(connection, process)),
        Box::pin(state),
        network.parked(),
    );
    let birth = birth?;
    let mut unknown = Vec::new();
    let mut learned = |what: &str, reason: String| unknown.push(format!("{what}: {reason}"));
    let (scheduler_url, latest) = match log {
        Ok((url, latest)) => (Some(url), latest.map_err(|reason| learned("the end of its log", reason)).ok()),
        Err(reason) => {
            learned("its log", reason);
            (None, None)
        }
    };
    let settled = settled.map_err(|reason| learned("what is settled", reason)).ok().flatten();
    let state = state
        .map_err(|reason| {
            if is_computed {
                learned("its state", reason)
            }
        })
        .ok();
    // Units that are not ours do not tell what they have parked.
    let parked = parked.ok().and_then(|all| all.into_iter().find(|parked| parked.process == process));
    Ok(ProcessFacts {
        kind: "process",
        authorities: authorities(&birth.tags),
        crons: crons(&birth.tags),
        birth,
        scheduler_url,
        latest: latest.and_then(|entry| place(&entry)),
        settled,
        state,
        parked,
        unknown,
    })
}

/// Place and time of a log entry.
pub fn place(entry: &Entry) -> Option<Latest> {
    let read = |name: &str| entry.assignment.tags.get(name)?.parse().ok();
    Some(Latest { nonce: read("Nonce")?, timestamp: Timestamp(read("Timestamp").unwrap_or_default()) })
}

/// The last slot whose assignment is in a block.
async fn settled(connection: &Connection, process: ProcessId) -> Result<Option<u64>, String> {
    let gateway = connection.network.gateway().map_err(|error| error.to_string())?;
    let mut query = Query::default().tag("Type", "Assignment").tag("Process", process.to_string());
    query.first = Some(SETTLED_PAGE);
    let page = gateway.nodes(&query).await.map_err(|error| error.to_string())?;
    let nonce = |node: &Node| node.block.and(node.tags.get("Nonce")?.parse().ok());
    Ok(page.nodes.iter().filter_map(nonce).max())
}

fn authorities(tags: &Tags) -> Vec<String> {
    let all = tags.iter().filter(|tag| tag.name == "Authority").flat_map(|tag| tag.value.split(','));
    all.map(|address| address.trim().to_owned()).filter(|address| !address.is_empty()).collect()
}

/// Crons as tags say them: an interval, and the tags up to the next one (spec 05 §5).
fn crons(tags: &Tags) -> Vec<Cron> {
    let mut crons: Vec<Cron> = Vec::new();
    for tag in tags.iter() {
        if tag.name == "Cron-Interval" {
            crons.push(Cron { interval: tag.value.clone(), tags: Vec::new() });
        } else if let (Some(name), Some(cron)) = (tag.name.strip_prefix("Cron-Tag-"), crons.last_mut()) {
            cron.tags.push(Tag::new(name, &tag.value));
        }
    }
    crons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crons_and_authorities_are_read_from_tags() {
        let tags: Tags = [
            ("Authority", "a, b"),
            ("Cron-Tag-Lost", "x"),
            ("Cron-Interval", "1-second"),
            ("Cron-Tag-Action", "Tick"),
            ("Cron-Interval", "10-blocks"),
            ("Authority", "c"),
        ]
        .into_iter()
        .collect();
        assert_eq!(authorities(&tags), ["a", "b", "c"]);
        let expected = [
            Cron { interval: "1-second".into(), tags: vec![Tag::new("Action", "Tick")] },
            Cron { interval: "10-blocks".into(), tags: vec![] },
        ];
        assert_eq!(crons(&tags), expected);
    }
}
