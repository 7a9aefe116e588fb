//! How much one process may ask for in a second: what comes too fast is given its time instead of being refused.

use std::collections::HashMap;

use holon_protocol::{ProcessId, Timestamp};

/// What a process may save up while it is quiet, in microseconds.
const BURST_MICROS: u64 = 1_000_000;
/// How many processes are remembered before those that were quiet long enough are forgotten.
const SWEEP_PROCESSES: usize = 1_024;

/// Gives times to what processes ask for. Costs nothing when there is no limit.
#[derive(Debug)]
pub struct Pace {
    /// Microseconds between two; `None`: any number at any time.
    interval: Option<u64>,
    /// When the next one of each process would be due if it kept its pace exactly, in microseconds.
    due: HashMap<ProcessId, u64>,
    sweep_at: usize,
    held_back: u64,
}

impl Pace {
    /// At most so many a second, after a burst of as many; 0: any number.
    pub fn new(per_second: u32) -> Self {
        let interval = (per_second > 0).then(|| (BURST_MICROS / u64::from(per_second)).max(1));
        Self { interval, due: HashMap::new(), sweep_at: SWEEP_PROCESSES, held_back: 0 }
    }

    /// The time of the next thing that a process asks for; `None`: now.
    pub fn next(&mut self, process: ProcessId, now: Timestamp) -> Option<Timestamp> {
        let interval = self.interval?;
        let now = now.0.saturating_mul(1_000);
        let due = self.due.entry(process).or_default();
        let at = due.saturating_sub(BURST_MICROS - interval);
        *due = (*due).max(now).saturating_add(interval);
        if self.due.len() >= self.sweep_at {
            self.due.retain(|_, due| *due > now);
            self.sweep_at = SWEEP_PROCESSES.max(self.due.len() * 2);
        }
        if at <= now {
            return None;
        }
        self.held_back += 1;
        Some(Timestamp(at.div_ceil(1_000)))
    }

    /// How often something had to wait.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);

    #[test]
    fn a_burst_is_free_and_the_rest_is_spread_over_time() {
        let mut pace = Pace::new(10);
        let times: Vec<_> = (0..14).map(|_| pace.next(PROCESS, Timestamp(5_000))).collect();
        assert_eq!(times[..10], [None; 10]);
        assert_eq!(times[10..], [5_100, 5_200, 5_300, 5_400].map(|at| Some(Timestamp(at))));
        assert_eq!(pace.held_back(), 4);
        assert_eq!(pace.next(ProcessId::from_bytes([2; 32]), Timestamp(5_000)), None, "others have their own");
        assert_eq!(pace.next(PROCESS, Timestamp(7_000)), None, "who was quiet may be fast again");
    }

    #[test]
    fn quiet_processes_are_forgotten() {
        let mut pace = Pace::new(1_000);
        for number in 0..50_000_u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            assert_eq!(pace.next(ProcessId::from_bytes(bytes), Timestamp(number)), None);
        }
        assert!(pace.due.len() <= SWEEP_PROCESSES, "{}", pace.due.len());
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut pace = Pace::new(0);
        assert!((0..1_000).all(|_| pace.next(PROCESS, Timestamp(1)).is_none()));
        assert!(pace.due.is_empty());
    }
}
