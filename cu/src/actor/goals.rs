//! Points of a log that requests want: which comes first, and which are past. Pure.

use holon_protocol::Nonce;

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
    // Crons carry the nonce of the entry before them.
    let cron_after = |nonce: Nonce| last.key.cron.is_some() && last.key.ordinate == nonce.0;
    match goal {
        Goal::Slot(slot) => link.nonce > slot || link.nonce == slot && cron_after(slot),
        Goal::Entry(_, nonce) => goal.excludes(link) || link.nonce == nonce && cron_after(nonce),
        Goal::Time(end) => last.key.timestamp > end || last.key.timestamp == end && last.key.cron.is_some(),
        Goal::Latest => false,
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
        // Of two entries the order of the log decides, not their timestamps.
        (Goal::Entry(reached, at), Goal::Entry(other, of)) => (of, other) <= (at, reached),
        // Whether the slot was on the way, the position says; and whether an entry was: an earlier one may be later by the clock.
        (_, Goal::Slot(_)) | (Goal::Slot(_), _) | (Goal::Time(_), Goal::Entry(..)) => false,
        (reached, other) => order(&other) <= order(&reached),
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::{AssignmentId, BlockHeight, Timestamp};

    use super::*;
    use crate::results::Key;

    fn at(timestamp: u64, cron: Option<&str>) -> Position {
        after(1, timestamp, cron)
    }

    fn after(ordinate: u64, timestamp: u64, cron: Option<&str>) -> Position {
        Position {
            key: Key { timestamp: Timestamp(timestamp), ordinate, cron: cron.map(str::to_owned) },
            block_height: BlockHeight(1),
        }
    }

    fn link(nonce: u64) -> Link {
        placed(nonce, 9, 9)
    }

    fn placed(nonce: u64, timestamp: u64, clock: u64) -> Link {
        Link { clock: Timestamp(clock), ..Link::at(AssignmentId::from_bytes([1; 32]), nonce, timestamp) }
    }

    #[test]
    fn a_state_at_a_message_is_past_once_a_cron_of_the_same_time_has_fired() {
        let cron = Some("0-1-second");
        for goal in [Goal::Entry(Timestamp(10), Nonce(1)), Goal::Time(Timestamp(10))] {
            let is_past = |last: &Position, link: &Link| is_behind(Some(last), Some(link), goal);
            assert!(!is_behind(None, Some(&link(0)), goal) && !is_past(&after(0, 9, cron), &link(0)));
            assert!(!is_past(&at(10, None), &placed(1, 10, 10)));
            assert!(is_past(&at(10, cron), &placed(1, 10, 10)));
            assert!(is_past(&after(2, 11, None), &placed(2, 11, 11)));
        }
        // Of two entries of one time the first is past once the second is done.
        let first = Goal::Entry(Timestamp(10), Nonce(0));
        assert!(is_behind(Some(&at(10, None)), Some(&placed(1, 10, 10)), first));
        assert!(!is_behind(Some(&at(11, None)), Some(&placed(1, 11, 11)), Goal::Latest));
    }

    #[test]
    fn of_an_entry_with_an_earlier_time_than_the_one_before_it_the_place_in_the_log_decides() {
        let (first, back) = (Goal::Entry(Timestamp(10), Nonce(1)), Goal::Entry(Timestamp(8), Nonce(2)));
        let is_past = |goal| is_behind(Some(&after(2, 10, None)), Some(&placed(2, 8, 10)), goal);
        assert!(is_past(first) && !is_past(back) && !is_past(Goal::Time(Timestamp(10))));
        assert!(is_past(Goal::Time(Timestamp(9))), "the clock of the process does not go back");
        assert!(includes(back, first) && !includes(first, back));
        assert!(!includes(Goal::Time(Timestamp(9)), back) && includes(Goal::Latest, back));
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
