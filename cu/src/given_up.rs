//! Parked processes: those whose next message the operator's limits did not let come to a result.
//!
//! A message that runs into the wall-clock limit or the memory ceiling has no result, here and now; another unit, or this
//! one on a quieter day, may well get to one. So it is neither recorded nor forgotten: the process is parked in front of
//! it. What was evaluated before is served as ever; requests that need the message or a later one are refused at once, with
//! everything there is to know, until the pause is over or somebody resumes the process. A message that fails again and
//! again is tried at longer and longer intervals, because a thread that tries it is a thread that does nothing else. The same goes for
//! messages that want data which cannot be had now, and for those on which the engine itself fails, which none should.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holon_protocol::{ProcessId, Timestamp};
use serde::Serialize;

use crate::results::Key;

/// Most processes remembered.
const MAX_KEPT: usize = 10_000;
/// The pause doubles this many times at most.
const MAX_DOUBLINGS: u32 = 6;
/// Longest pause of a message that did not run into limits of its own.
const MAX_BRIEF_PAUSE: Duration = Duration::from_secs(60);
/// First pause of a message whose data cannot be had; it doubles.
const HALT_PAUSE: Duration = Duration::from_secs(2);

/// A parked process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// The process.
    pub process: ProcessId,
    /// Nonce of the message it stands before; for a cron message, that of the message before the cron. Absent when the module
    /// could not even be set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u64>,
    /// The cron, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Time of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// When it was parked.
    pub since: Timestamp,
    /// When the message is tried again, if somebody asks.
    pub until: Timestamp,
    /// How often it has been tried.
    pub tries: u32,
    /// What stopped it.
    pub reason: String,
    /// Whether it was data that cannot be had.
    #[serde(skip)]
    pub halted: bool,
    #[serde(skip)]
    key: Option<Key>,
    /// How often it has been tried, by what stopped it. What others are to blame for does not make a pause longer.
    #[serde(skip)]
    counts: Counts,
}

/// How often a message was stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    full: u32,
    brief: u32,
    halted: u32,
}

impl std::fmt::Display for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} is parked", self.process)?;
        match (&self.slot, &self.cron) {
            (Some(slot), None) => write!(f, " at slot {slot}")?,
            (Some(slot), Some(cron)) => write!(f, " at cron {cron} after slot {slot}")?,
            (None, _) => write!(f, " before its first message")?,
        }
        write!(
            f,
            " since {} until {}: {}. Nothing was recorded, results before it are served; POST /resume/{} tries again at \
             once.",
            self.since, self.until, self.reason, self.process
        )
    }
}

impl Parked {
    /// The value of the header that every answer about the process carries.
    pub fn header(&self) -> String {
        let slot = self.slot.map_or_else(|| "none".to_owned(), |slot| slot.to_string());
        format!("slot={slot}; since={}; until={}", self.since, self.until)
    }
}

/// What has been given up lately. A process stands before one message, so there is at most one for each.
#[derive(Debug)]
pub struct GivenUp {
    pause: Duration,
    parked: Mutex<HashMap<ProcessId, Parked>>,
}

/// How long a message is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It ran into a limit of its own, or would fail again.
    Full,
    /// It had to make room for others, or the computer had no more to give.
    Brief,
    /// It reads data that is not there, or not for it, or not yet.
    Halt,
}

impl Counts {
    /// Counts one more, and says for how long the message is left alone where a first full pause is `full`.
    fn add(&mut self, pause: Pause, full: Duration) -> Duration {
        let doubled = |first: Duration, times: u32| first * (1 << (times - 1).min(MAX_DOUBLINGS));
        match pause {
            Pause::Full => {
                self.full = self.full.saturating_add(1);
                doubled(full, self.full)
            }
            Pause::Brief => {
                self.brief = self.brief.saturating_add(1);
                full.min(MAX_BRIEF_PAUSE)
            }
            Pause::Halt => {
                self.halted = self.halted.saturating_add(1);
                doubled(HALT_PAUSE, self.halted).min(MAX_BRIEF_PAUSE).min(full)
            }
        }
    }

    fn total(self) -> u32 {
        self.full.saturating_add(self.brief).saturating_add(self.halted)
    }
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

impl GivenUp {
    /// Nothing yet; messages are tried again after `pause`, and later after more.
    pub fn new(pause: Duration) -> Self {
        Self { pause, parked: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ProcessId, Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the message at `key` (none: the module's set-up) is not tried now.
    pub fn refusal(&self, process: ProcessId, key: Option<&Key>) -> Option<Parked> {
        self.of(process).filter(|parked| parked.key.as_ref() == key)
    }

    /// The process, if it is parked.
    pub fn of(&self, process: ProcessId) -> Option<Parked> {
        self.lock().get(&process).filter(|parked| parked.until > now()).cloned()
    }

    /// All that are parked.
    pub fn all(&self) -> Vec<Parked> {
        let now = now();
        let mut all: Vec<Parked> = self.lock().values().filter(|parked| parked.until > now).cloned().collect();
        all.sort_by_key(|parked| (parked.since, parked.process));
        all
    }

    /// Parks a process before the message at `key`.
    pub fn add(&self, process: ProcessId, key: Option<&Key>, pause: Pause, reason: String) -> Parked {
        let mut all = self.lock();
        let since = now();
        if all.len() >= MAX_KEPT && !all.contains_key(&process) {
            all.retain(|_, parked| parked.until > since);
            if all.len() >= MAX_KEPT
                && let Some(oldest) = all.values().min_by_key(|parked| parked.since).map(|parked| parked.process)
            {
                all.remove(&oldest);
            }
        }
        let before = all.get(&process).filter(|before| before.key.as_ref() == key);
        let mut counts = before.map_or_else(Counts::default, |before| before.counts);
        let length = counts.add(pause, self.pause);
        let tries = counts.total();
        let until = Timestamp(since.0.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)));
        let parked = Parked {
            process,
            slot: key.map(|key| key.ordinate),
            cron: key.and_then(|key| key.cron.clone()),
            timestamp: key.map(|key| key.timestamp),
            since,
            until,
            tries,
            reason,
            halted: pause == Pause::Halt,
            key: key.cloned(),
            counts,
        };
        tracing::warn!(%process, slot = parked.slot, cron = parked.cron, tries, reason = parked.reason, "process is parked");
        all.insert(process, parked.clone());
        parked
    }

    /// Lets a process be tried again at once. What it was parked for, if it was.
    pub fn resume(&self, process: ProcessId) -> Option<Parked> {
        self.lock().remove(&process).filter(|parked| parked.until > now())
    }

    /// Takes note that the message at `key` has come to a result.
    pub fn passed(&self, process: ProcessId, key: &Key) {
        let mut all = self.lock();
        if all.get(&process).is_some_and(|parked| parked.key.as_ref().is_none_or(|at| at <= key)) {
            all.remove(&process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ordinate: u64) -> Key {
        Key { timestamp: Timestamp(ordinate), ordinate, cron: None }
    }

    const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);

    #[test]
    fn a_message_is_remembered_until_the_pause_is_over() {
        let long = GivenUp::new(Duration::from_secs(3600));
        assert_eq!(long.refusal(PROCESS, Some(&key(1))), None);
        let parked = long.add(PROCESS, Some(&key(1)), Pause::Full, "too slow".into());
        assert_eq!(long.refusal(PROCESS, Some(&key(1))), Some(parked.clone()));
        assert_eq!((long.refusal(PROCESS, Some(&key(2))), long.refusal(PROCESS, None)), (None, None));
        assert_eq!((long.of(PROCESS), long.all()), (Some(parked.clone()), vec![parked.clone()]));
        assert_eq!(parked.header(), format!("slot=1; since={}; until={}", parked.since, parked.until));
        let text = parked.to_string();
        assert!(text.contains("parked at slot 1") && text.contains("too slow") && text.contains("/resume/"), "{text}");
        let over = GivenUp::new(Duration::ZERO);
        over.add(PROCESS, Some(&key(1)), Pause::Full, "too slow".into());
        assert_eq!((over.refusal(PROCESS, Some(&key(1))), over.all()), (None, Vec::new()));
    }

    #[test]
    fn the_pause_doubles_with_each_try_of_the_same_message() {
        let given_up = GivenUp::new(Duration::from_secs(100));
        let pause = |key: &Key, pause| {
            let parked = given_up.add(PROCESS, Some(key), pause, "slow".into());
            (parked.tries, (parked.until.0 - parked.since.0) / 1000)
        };
        assert_eq!(pause(&key(1), Pause::Full), (1, 100));
        assert_eq!(pause(&key(1), Pause::Full), (2, 200));
        assert_eq!(pause(&key(1), Pause::Full), (3, 400));
        for _ in 0..10 {
            pause(&key(1), Pause::Full);
        }
        assert_eq!(pause(&key(1), Pause::Full), (14, 6400));
        assert_eq!(pause(&key(2), Pause::Full), (1, 100));
    }

    #[test]
    fn what_others_are_to_blame_for_makes_no_later_pause_longer() {
        let given_up = GivenUp::new(Duration::from_secs(100));
        let pause = |pause| {
            let parked = given_up.add(PROCESS, Some(&key(1)), pause, "slow".into());
            (parked.tries, (parked.until.0 - parked.since.0) / 1000)
        };
        for tries in 1..20 {
            assert_eq!(pause(Pause::Brief), (tries, 60));
        }
        assert_eq!(pause(Pause::Full), (20, 100));
        assert_eq!(pause(Pause::Halt), (21, 2));
        assert_eq!(pause(Pause::Halt), (22, 4));
        assert_eq!(pause(Pause::Full), (23, 200));
        for _ in 0..40 {
            pause(Pause::Halt);
        }
        assert_eq!(pause(Pause::Halt), (64, 60));
        // Who wants every request to try again gets that.
        let given_up = GivenUp::new(Duration::ZERO);
        for pause in [Pause::Full, Pause::Brief, Pause::Halt] {
            let parked = given_up.add(PROCESS, Some(&key(1)), pause, "slow".into());
            assert_eq!(parked.until, parked.since);
        }
    }

    #[test]
    fn a_process_is_forgotten_when_it_is_resumed_or_gets_past_the_message() {
        let given_up = GivenUp::new(Duration::from_secs(100));
        given_up.add(PROCESS, None, Pause::Full, "slow".into());
        assert_eq!(given_up.resume(PROCESS).map(|parked| parked.slot), Some(None));
        assert_eq!((given_up.resume(PROCESS), given_up.all()), (None, Vec::new()));
        given_up.add(PROCESS, Some(&key(5)), Pause::Full, "slow".into());
        given_up.passed(PROCESS, &key(4));
        assert!(given_up.of(PROCESS).is_some());
        given_up.passed(PROCESS, &key(5));
        assert_eq!(given_up.of(PROCESS), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let given_up = GivenUp::new(Duration::from_secs(100));
        for number in 0..MAX_KEPT as u32 + 10 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_le_bytes());
            given_up.add(ProcessId::from_bytes(id), Some(&key(1)), Pause::Full, "slow".into());
        }
        assert_eq!(given_up.all().len(), MAX_KEPT);
    }
}
