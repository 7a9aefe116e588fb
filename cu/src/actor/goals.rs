//! Points of a log that requests want: which comes first, and which are past. Pure.

use crate::log::{Goal, Link};
use crate::runner::Runner;
use crate::stream::Position;

/// Whether a state at `goal` cannot be had any more from the memory of `runner`. A cron may fire at the very time of a
/// message, after it.
pub(super) fn is_past(runner: &Runner, goal: Goal) -> bool {
    is_behind(runner.stream.last(), runner.stream.link(), goal)
}

fn is_behind(last: Option<&Position>, link: Option<&Link>, goal: Goal) -> bool {
    let (Some(last), Some(link)) = (last, link) else { return false };
    match (goal, goal.end()) {
        // Crons carry the nonce of the entry before them.
        (Goal::Slot(slot), _) => {
            link.nonce > slot || link.nonce == slot && last.key.cron.is_some() && last.key.ordinate == slot.0
        }
        (goal, Some(end)) => {
            // Another entry may have the same time.
            let later = matches!(goal, Goal::Entry(_, nonce) if link.nonce > nonce);
            last.key.timestamp > end || last.key.timestamp == end && (last.key.cron.is_some() || later)
        }
        (_, None) => false,
    }
}

/// Which goal is served first: slots, whose time is not known, then what comes first in time; the present is farthest.
pub(super) fn order(goal: &Goal) -> (bool, u64, u64) {
    match goal {
        Goal::Slot(slot) => (false, slot.0, 0),
        Goal::Entry(end, nonce) => (true, end.0, nonce.0),
        Goal::Time(end) => (true, end.0, u64::MAX),
        Goal::Latest => (true, u64::MAX, u64::MAX),
    }
}

/// Whether reaching one goal reaches the other.
pub(super) fn includes(reached: Goal, other: Goal) -> bool {
    match (reached, other) {
        (Goal::Slot(reached), Goal::Slot(other)) => other <= reached,
        // Whether the slot was on the way, the position says.
        (_, Goal::Slot(_)) | (Goal::Slot(_), _) => false,
        (reached, other) => order(&other) <= order(&reached),
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::chain::HashChain;
    use holon_protocol::{AssignmentId, BlockHeight, Nonce, Timestamp};

    use super::*;
    use crate::results::Key;

    fn at(timestamp: u64, cron: Option<&str>) -> Position {
        Position {
            key: Key { timestamp: Timestamp(timestamp), ordinate: 1, cron: cron.map(str::to_owned) },
            block_height: BlockHeight(1),
        }
    }

    fn link(nonce: u64) -> Link {
        Link {
            assignment: AssignmentId::from_bytes([1; 32]),
            hash_chain: HashChain::of([0; 32]),
            epoch: 0,
            nonce: Nonce(nonce),
            timestamp: Timestamp(9),
        }
    }

    #[test]
    fn a_state_at_a_message_is_past_once_a_cron_of_the_same_time_has_fired() {
        let is_past = |last: Option<&Position>, goal| is_behind(last, Some(&link(1)), goal);
        for goal in [Goal::Entry(Timestamp(10), Nonce(1)), Goal::Time(Timestamp(10))] {
            assert!(!is_past(None, goal) && !is_past(Some(&at(9, Some("0-1-second"))), goal));
            assert!(!is_past(Some(&at(10, None)), goal));
            assert!(is_past(Some(&at(10, Some("0-1-second"))), goal));
            assert!(is_past(Some(&at(11, None)), goal));
        }
        // Of two entries of one time the first is past once the second is done.
        assert!(is_past(Some(&at(10, None)), Goal::Entry(Timestamp(10), Nonce(0))));
        assert!(!is_past(Some(&at(11, None)), Goal::Latest));
    }

    #[test]
    fn a_slot_is_past_once_a_later_entry_or_a_cron_after_it_is_done() {
        let slot = Goal::Slot(Nonce(1));
        assert!(!is_behind(None, None, slot));
        assert!(!is_behind(Some(&at(9, None)), Some(&link(1)), slot));
        assert!(!is_behind(Some(&at(8, Some("0-1-second"))), Some(&link(0)), slot));
        assert!(is_behind(Some(&at(10, Some("0-1-second"))), Some(&link(1)), slot));
        assert!(is_behind(Some(&at(9, None)), Some(&link(2)), slot), "a skipped entry counts, too");
    }

    #[test]
    fn the_earliest_slot_is_first_and_the_present_last() {
        let slots = [7, 3, 5].map(|slot| Goal::Slot(Nonce(slot)));
        assert_eq!(slots.iter().min_by_key(|goal| order(goal)), Some(&slots[1]));
        assert_eq!(slots.iter().max_by_key(|goal| order(goal)), Some(&slots[0]));
        let mut goals =
            [Goal::Latest, Goal::Time(Timestamp(3)), slots[0], Goal::Entry(Timestamp(2), Nonce(1)), slots[1]];
        goals.sort_by_key(order);
        assert_eq!(
            goals,
            [slots[1], slots[0], Goal::Entry(Timestamp(2), Nonce(1)), Goal::Time(Timestamp(3)), Goal::Latest]
        );
    }

    #[test]
    fn goals_of_different_kinds_never_stand_for_each_other() {
        let (slot, time) = (Goal::Slot(Nonce(3)), Goal::Time(Timestamp(1)));
        assert!(includes(slot, Goal::Slot(Nonce(2))) && !includes(slot, Goal::Slot(Nonce(4))));
        assert!(!includes(slot, time) && !includes(Goal::Latest, slot));
        assert!(includes(Goal::Latest, time) && !includes(time, Goal::Latest));
    }
}
