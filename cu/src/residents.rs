//! Which processes are in memory, what each takes, and which was used longest ago. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use holon_protocol::ProcessId;

/// Processes in memory, in the order of their last use. Every operation costs the logarithm of their number.
#[derive(Debug, Default)]
pub struct Residents {
    entries: HashMap<ProcessId, Entry>,
    by_use: BTreeMap<u64, ProcessId>,
    /// Those that hold an instance besides their memory.
    awake: BTreeMap<u64, ProcessId>,
    bytes: u64,
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    use_number: u64,
    used: Instant,
    bytes: u64,
}

impl Residents {
    /// Notes that a process was used now and takes so many bytes.
    pub fn used(&mut self, process: ProcessId, bytes: u64, now: Instant) {
        self.remove(process);
        self.uses += 1;
        self.bytes += bytes;
        self.entries.insert(process, Entry { use_number: self.uses, used: now, bytes });
        self.by_use.insert(self.uses, process);
        self.awake.insert(self.uses, process);
    }

    /// Notes that a process rests and takes so many bytes.
    pub fn rests(&mut self, process: ProcessId, bytes: u64) {
        if let Some(entry) = self.entries.get_mut(&process) {
            self.bytes = self.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
            self.awake.remove(&entry.use_number);
        }
    }

    /// Notes that a process is not in memory any more.
    pub fn remove(&mut self, process: ProcessId) {
        if let Some(entry) = self.entries.remove(&process) {
            self.by_use.remove(&entry.use_number);
            self.awake.remove(&entry.use_number);
            self.bytes -= entry.bytes;
        }
    }

    /// Number of processes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What they take together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Those used longest ago, at most `limit`.
    pub fn oldest(&self, limit: usize) -> Vec<ProcessId> {
        self.by_use.values().take(limit).copied().collect()
    }

    /// Those that are awake and have not been used for `idle`, at most `limit`.
    pub fn idle(&self, now: Instant, idle: Duration, limit: usize) -> Vec<ProcessId> {
        let is_idle = |process: &&ProcessId| {
            self.entries.get(process).is_some_and(|entry| now.saturating_duration_since(entry.used) >= idle)
        };
        self.awake.values().take_while(is_idle).take(limit).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process(number: u8) -> ProcessId {
        ProcessId::from_bytes([number; 32])
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_those_that_are_there(steps in prop::collection::vec((0u8..6, 0u8..3, 0u64..100), 0..80)) {
            let (mut residents, mut model) = (Residents::default(), Vec::<(u8, u64, bool)>::new());
            let start = Instant::now();
            for (at, (number, what, bytes)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        residents.used(process(number), bytes, start + Duration::from_secs(at as u64));
                        model.retain(|(known, ..)| *known != number);
                        model.push((number, bytes, true));
                    }
                    1 => {
                        residents.rests(process(number), bytes);
                        model.iter_mut().filter(|(known, ..)| *known == number).for_each(|entry| (entry.1, entry.2) = (bytes, false));
                    }
                    _ => {
                        residents.remove(process(number));
                        model.retain(|(known, ..)| *known != number);
                    }
                }
                prop_assert_eq!(residents.len(), model.len());
                prop_assert_eq!(residents.bytes(), model.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
                prop_assert_eq!(residents.oldest(3), model.iter().map(|entry| process(entry.0)).take(3).collect::<Vec<_>>());
                let late = start + Duration::from_secs(1000);
                let awake: Vec<_> = model.iter().filter(|entry| entry.2).map(|entry| process(entry.0)).collect();
                prop_assert_eq!(residents.idle(late, Duration::ZERO, 9), awake);
                prop_assert_eq!(residents.idle(start, Duration::from_secs(999), 9), []);
            }
        }
    }
}
