//! Trying again what may be tried again.
//!
//! Reads leave no trace, and an item that was signed once counts once however often it arrives: both may be repeated when a unit is away or
//! asks for patience. What is neither (an unsigned assignment, an operator's order) never is.

use std::time::Duration;

/// How often and how patiently; see [`NetworkBuilder::retry`](crate::NetworkBuilder::retry).
///
/// The pause doubles from one attempt to the next, and a random part of up to a half is taken off it, so that many clients do not come
/// back at the same moment. A unit that says `Retry-After` is believed, up to [`Self::longest_pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts altogether, the first one included; 1 tries nothing again.
    pub attempts: u32,
    /// Pause after the first attempt.
    pub first_pause: Duration,
    /// Longest pause between two attempts.
    pub longest_pause: Duration,
}

impl Retry {
    /// Once, and no more: what a network does unless told otherwise.
    pub const NEVER: Self = Self { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
    /// Five attempts within some seven seconds: outlasts the restart of a unit.
    pub const PATIENT: Self =
        Self { attempts: 5, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(10) };

    /// How long to wait before the next attempt; `None` after the last one. `made` attempts were made, the unit asked for `after`.
    pub(crate) fn pause(&self, made: u32, after: Option<Duration>) -> Option<Duration> {
        if made >= self.attempts {
            return None;
        }
        let doubled = 2_u32.checked_pow(made.saturating_sub(1)).and_then(|times| self.first_pause.checked_mul(times));
        let pause = doubled.unwrap_or(self.longest_pause).min(self.longest_pause);
        let mut random = [0; 4];
        // Without random numbers all clients come back at once, which is no reason to fail.
        let part =
            getrandom::fill(&mut random).map_or(0.0, |()| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX));
        let pause = pause.mul_f64(1.0 - part / 2.0);
        Some(after.map_or(pause, |after| after.min(self.longest_pause).max(pause)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_attempts() {
        let second = Duration::from_secs(1);
        let retry = Retry { attempts: 5, first_pause: second, longest_pause: 3 * second };
        for (made, most) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
            let pause = retry.pause(made, None).unwrap();
            assert!(pause <= most * second && pause >= most * second / 2, "{made}: {pause:?}");
        }
        assert_eq!(retry.pause(5, None), None);
        assert_eq!(Retry::NEVER.pause(1, Some(second)), None);
        // Any number is a number of attempts.
        let endless = Retry { attempts: u32::MAX, ..retry };
        assert!(endless.pause(u32::MAX - 1, None).unwrap() <= 3 * second);
    }

    #[test]
    fn a_unit_that_asks_for_patience_is_believed_up_to_a_limit() {
        let second = Duration::from_secs(1);
        let retry = Retry { attempts: 2, first_pause: Duration::from_millis(1), longest_pause: 3 * second };
        assert_eq!(retry.pause(1, Some(2 * second)), Some(2 * second));
        assert_eq!(retry.pause(1, Some(3600 * second)), Some(3 * second));
    }
}
