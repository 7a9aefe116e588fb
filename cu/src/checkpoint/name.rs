//! Names of stored checkpoints. A name says where the checkpoint stands, so that the one to start from is found without
//! reading any.

use std::cmp::Ordering;

use holon_protocol::{Nonce, ProcessId, Timestamp};

use super::manifest::Manifest;
use crate::log::Goal;
use crate::machine::StateRoot;

/// Digits of a number in a name: all that 64 bits need, so that names sort like numbers.
const DIGITS: usize = 20;

/// Where a stored checkpoint stands. Sorts in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// What the clock of the process shows after its last message.
    pub timestamp: Timestamp,
    /// Nonce of the last log entry.
    pub nonce: Option<Nonce>,
    /// Whether cron messages have been evaluated since that entry.
    pub after_cron: bool,
    /// Its root.
    pub root: StateRoot,
}

/// What a start is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The newest state there is.
    Newest,
    /// The state at a point: the start may be there already.
    State(Goal),
    /// The results up to a point, this included.
    Results(Goal),
}

impl Name {
    /// Of a checkpoint; `None` when nothing has been evaluated.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        Some(Self {
            timestamp: manifest.resume.clock()?,
            nonce: manifest.resume.link.map(|link| link.nonce),
            after_cron: manifest.resume.after_cron(),
            root: manifest.root,
        })
    }

    /// The folder of a process's checkpoints.
    pub fn folder(process: ProcessId) -> String {
        format!("checkpoints/{process}")
    }

    /// The name inside the folder.
    pub fn text(&self) -> String {
        let next = self.nonce.map_or(0, |nonce| nonce.0.saturating_add(1));
        let kind = if self.after_cron { 'c' } else { 'e' };
        format!("{:0DIGITS$}.{next:0DIGITS$}.{kind}.{}", self.timestamp.0, self.root)
    }

    /// Reads a name; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '.');
        let mut number = || parts.next().filter(|part| part.len() == DIGITS)?.parse::<u64>().ok();
        let (timestamp, next) = (Timestamp(number()?), number()?);
        let after_cron = match parts.next()? {
            "e" => false,
            "c" => true,
            _ => return None,
        };
        Some(Self { timestamp, nonce: next.checked_sub(1).map(Nonce), after_cron, root: parts.next()?.parse().ok()? })
    }

    /// Whether a start here leads where `reach` wants.
    pub fn serves(&self, reach: Reach) -> bool {
        match reach {
            Reach::Newest | Reach::State(Goal::Latest) | Reach::Results(Goal::Latest) => true,
            Reach::State(Goal::Time(end)) => self.timestamp < end || self.timestamp == end && !self.after_cron,
            // The process itself, in front of a log that does not begin with it, has the nonce of the first entry.
            Reach::State(Goal::Entry(end, Nonce(0))) => {
                self.timestamp < end || self.timestamp == end && !self.after_cron && self.nonce <= Some(Nonce(0))
            }
            Reach::State(Goal::Entry(_, slot)) => {
                self.nonce < Some(slot) || self.nonce == Some(slot) && !self.after_cron
            }
            Reach::State(Goal::Slot(slot)) => self.nonce < Some(slot) || self.nonce == Some(slot) && !self.after_cron,
            Reach::Results(Goal::Entry(end, Nonce(0)) | Goal::Time(end)) => self.timestamp < end,
            Reach::Results(Goal::Entry(_, slot) | Goal::Slot(slot)) => self.nonce < Some(slot),
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |name: &Self| (name.timestamp, name.nonce, name.after_cron, *name.root.as_bytes());
        place(self).cmp(&place(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(timestamp: u64, nonce: Option<u64>, after_cron: bool) -> Name {
        let root = StateRoot::from_bytes([7; 32]);
        Name { timestamp: Timestamp(timestamp), nonce: nonce.map(Nonce), after_cron, root }
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(timestamp in any::<u64>(), nonce in prop::option::of(0u64..u64::MAX), after_cron in any::<bool>(), root in any::<[u8; 32]>()) {
            let name = Name { root: StateRoot::from_bytes(root), ..name(timestamp, nonce, after_cron) };
            prop_assert_eq!(Name::parse(&name.text()), Some(name));
        }

        #[test]
        fn other_names_are_not_read(text in "[0-9ec.]{0,60}|.{0,100}") {
            if let Some(name) = Name::parse(&text) {
                prop_assert_eq!(name.text().len(), text.len());
            }
        }
    }

    #[test]
    fn a_start_is_never_after_what_is_wanted() {
        let time = Goal::Time(Timestamp(10));
        assert!(name(9, Some(3), true).serves(Reach::State(time)));
        assert!(name(10, Some(3), false).serves(Reach::State(time)));
        assert!(!name(10, Some(3), true).serves(Reach::State(time)));
        assert!(!name(11, Some(3), false).serves(Reach::State(time)));
        assert!(name(9, Some(3), false).serves(Reach::Results(time)));
        assert!(!name(10, Some(3), false).serves(Reach::Results(time)));
        // Whatever the time of an entry is, and that of the one before it.
        let entry = Goal::Entry(Timestamp(10), Nonce(3));
        for clock in [9, 10, 11] {
            assert!(name(clock, Some(2), true).serves(Reach::State(entry)));
            assert!(name(clock, Some(2), true).serves(Reach::Results(entry)));
            assert!(name(clock, Some(3), false).serves(Reach::State(entry)));
            assert!(!name(clock, Some(3), true).serves(Reach::State(entry)));
            assert!(!name(clock, Some(3), false).serves(Reach::Results(entry)));
            assert!(!name(clock, Some(4), false).serves(Reach::State(entry)));
        }
        // The process in front of a log that does not begin with it.
        let own = Goal::Entry(Timestamp(10), Nonce(0));
        assert!(name(10, None, false).serves(Reach::State(own)) && !name(10, None, true).serves(Reach::State(own)));
        assert!(!name(11, Some(0), false).serves(Reach::State(own)) && !name(11, None, true).serves(Reach::State(own)));
        let slot = Goal::Slot(Nonce(3));
        assert!(name(9, None, true).serves(Reach::State(slot)) && name(9, None, false).serves(Reach::Results(slot)));
        assert!(
            name(9, Some(2), true).serves(Reach::State(slot)) && name(9, Some(2), true).serves(Reach::Results(slot))
        );
        assert!(
            name(9, Some(3), false).serves(Reach::State(slot)) && !name(9, Some(3), false).serves(Reach::Results(slot))
        );
        assert!(
            !name(9, Some(3), true).serves(Reach::State(slot)) && !name(9, Some(4), false).serves(Reach::State(slot))
        );
        assert!(name(u64::MAX, Some(9), true).serves(Reach::Newest));
    }

    #[test]
    fn names_sort_in_the_order_of_the_log() {
        let names = [name(5, None, false), name(9, Some(0), false), name(9, Some(0), true), name(10, Some(1), false)];
        assert!(names.is_sorted());
        let texts: Vec<String> = names.iter().map(Name::text).collect();
        assert_eq!(texts.iter().filter_map(|text| Name::parse(text)).collect::<Vec<_>>(), names);
    }
}
