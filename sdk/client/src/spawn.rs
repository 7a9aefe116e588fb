//! Spawning a process.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use holon_protocol::{Address, DataItem, ModuleId, ProcessId, Signer, Tag, Tags};

use crate::error::Error;
use crate::message::{fresh_anchor, item};
use crate::network::Network;
use crate::tags;

/// A process to be spawned; see [`Network::spawn`].
#[derive(Debug, Clone)]
#[must_use = "a process is only spawned by `send`"]
pub struct Spawn {
    network: Network,
    module: ModuleId,
    scheduler: Address,
    tags: Tags,
    data: Bytes,
}

impl Spawn {
    pub(crate) fn new(network: Network, module: ModuleId, scheduler: Address) -> Self {
        Self { network, module, scheduler, tags: Tags::default(), data: Bytes::new() }
    }

    /// Appends a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push(name, value);
        self
    }

    /// Appends tags.
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.0.extend(tags);
        self
    }

    /// Trusts messages pushed by this messenger unit. Most processes need the one of their network, or they refuse what
    /// other processes send them. May be called several times.
    pub fn authority(self, authority: Address) -> Self {
        self.tag("Authority", authority.to_string())
    }

    /// Wakes the process regularly (once somebody monitors it), with these tags on the message it gets.
    pub fn cron(mut self, interval: CronInterval, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.push("Cron-Interval", interval.to_string());
        for tag in tags {
            self.tags.push(format!("Cron-Tag-{}", tag.name), tag.value);
        }
        self
    }

    /// Sets the data, which a process evaluates at boot if it has the tag `On-Boot: Data`.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// Signs without sending; [`Network::post`] sends.
    pub async fn sign(self, signer: &Signer) -> Result<DataItem, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let own = [
            Tag::new("Module", self.module.to_string()),
            Tag::new("Scheduler", self.scheduler.to_string()),
            Tag::new("Timestamp", now.to_string()),
        ];
        let without_data = self.data.is_empty();
        let mut item = item(self.data, tags::process(self.tags, without_data, &own));
        if let Some(anchor) = fresh_anchor(signer)? {
            item = item.anchor(anchor);
        }
        self.network.sign(item, signer).await
    }

    /// Checks that the module exists, signs and sends. Returns once a scheduler has accepted the process; it boots when
    /// its first result is asked for.
    ///
    /// # Errors
    /// [`Error::ModuleNotFound`] and [`Error::NotAModule`] if the gateway does not serve such a module. Without a
    /// gateway URL the check is left out.
    pub async fn send(self, signer: &Signer) -> Result<ProcessId, Error> {
        let network = self.network.clone();
        if let Ok(gateway) = network.gateway() {
            let node = gateway.node(self.module.into()).await?.ok_or(Error::ModuleNotFound(self.module))?;
            check_module(self.module, &node.tags)?;
        }
        let item = self.sign(signer).await?;
        network.post(&item).await?;
        Ok(item.id().into())
    }
}

/// What the official client asks of a module (spec 07 §3.3).
fn check_module(module: ModuleId, tags: &Tags) -> Result<(), Error> {
    let missing = |tag| Err(Error::NotAModule { module, tag });
    if !tags.contains("Data-Protocol", "ao") {
        return missing("Data-Protocol: ao");
    }
    if !tags.contains("Type", "Module") {
        return missing("Type: Module");
    }
    for tag in ["Module-Format", "Input-Encoding", "Output-Encoding"] {
        if tags.get(tag).is_none() {
            return missing(tag);
        }
    }
    Ok(())
}

/// How often a process wakes: a number and a unit, `10-seconds`, `1-hour`, `5-blocks` (spec 07 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronInterval {
    count: u64,
    unit: &'static str,
}

/// The units of an interval.
const CRON_UNITS: [&str; 8] = ["millisecond", "second", "minute", "hour", "day", "month", "year", "block"];

/// The text is not an interval that a process can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseCronIntervalError {
    /// It is none at all.
    #[error("{0:?} is not an interval; write <n>-<unit> such as 10-seconds, 1-hour or 5-blocks")]
    Form(String),
    /// Compute units refuse every use of a process that wakes more often than once a second (spec 05 §9.1).
    #[error("{0:?} is less than a second, the shortest interval that compute units take; write 1-second")]
    TooShort(String),
}

impl FromStr for CronInterval {
    type Err = ParseCronIntervalError;

    /// Accepts singular and plural; what is written has the plural exactly above one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (count, unit) = text.split_once('-')?;
            let count = count.parse().ok().filter(|&count| count > 0)?;
            let unit = unit.strip_suffix('s').unwrap_or(unit);
            let unit = CRON_UNITS.into_iter().find(|&known| known == unit)?;
            Some(Self { count, unit })
        };
        let shown = || text.chars().take(64).collect();
        match parse().ok_or_else(|| ParseCronIntervalError::Form(shown()))? {
            Self { count: ..1_000, unit: "millisecond" } => Err(ParseCronIntervalError::TooShort(shown())),
            interval => Ok(interval),
        }
    }
}

impl fmt::Display for CronInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}{}", self.count, self.unit, if self.count > 1 { "s" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_plural_exactly_above_one() {
        for (given, written) in [("1-second", "1-second"), ("1-hours", "1-hour"), ("10-block", "10-blocks")] {
            assert_eq!(given.parse::<CronInterval>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_not_an_interval_is_refused() {
        for text in ["", "second", "0-seconds", "-1-second", "1-fortnight", "1.5-hours", "1 hour"] {
            assert!(text.parse::<CronInterval>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_no_compute_unit_takes_is_refused_with_the_shortest_that_they_do() {
        for text in ["1-millisecond", "100-milliseconds", "999-milliseconds"] {
            let error = text.parse::<CronInterval>().unwrap_err();
            assert!(matches!(error, ParseCronIntervalError::TooShort(_)), "{text}");
            assert!(error.to_string().contains("1-second"), "{error}");
        }
        assert!("1000-milliseconds".parse::<CronInterval>().is_ok());
    }

    #[test]
    fn a_module_needs_its_five_tags() {
        let module = ModuleId::from_bytes([7; 32]);
        let all = [
            ("Data-Protocol", "ao"),
            ("Type", "Module"),
            ("Module-Format", "f"),
            ("Input-Encoding", "JSON-1"),
            ("Output-Encoding", "JSON-1"),
        ];
        assert!(check_module(module, &all.into_iter().collect()).is_ok());
        for left_out in 0..all.len() {
            let tags = all.into_iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, tag)| tag).collect();
            assert!(check_module(module, &tags).is_err(), "without {}", all[left_out].0);
        }
    }
}
