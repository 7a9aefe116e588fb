//! Assignments that were found, as far as there is room for them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::order::Placed;

/// Most different assignments of one slot and epoch that are kept: two are enough to see that there is more than one.
const MAX_PER_SLOT: usize = 2;

/// Which slots are kept where there is not room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The first ones.
    Lowest,
    /// The last ones.
    Highest,
}

/// Assignments by slot, in a number of bytes. Those of one slot are kept in any case.
///
/// A scheduler that begins another epoch gives slots again that the log has already. Of each slot the assignments of one epoch are
/// kept: that of the log if it has any there, else the first.
#[derive(Debug)]
pub struct Kept<T> {
    keep: Keep,
    /// The epoch of the log; without one it begins in the first that there is.
    epoch: Option<u64>,
    room: u64,
    by_slot: BTreeMap<u64, Vec<T>>,
    bytes: u64,
    rest: BTreeSet<u64>,
}

/// Something that takes room.
pub trait Weighed {
    /// Bytes that it takes.
    fn bytes(&self) -> u64;
}

impl<T: Placed + Weighed> Kept<T> {
    /// Nothing yet of a log in `epoch`, with room for so many bytes.
    pub fn new(keep: Keep, epoch: Option<u64>, room: u64) -> Self {
        Self { keep, epoch, room, by_slot: BTreeMap::new(), bytes: 0, rest: BTreeSet::new() }
    }

    /// Which of the assignments of one slot matter: the least.
    fn rank(&self, found: &T) -> (bool, u64) {
        let epoch = found.says().epoch;
        (self.epoch.is_some_and(|of| of != epoch), epoch)
    }

    /// Keeps an assignment, if there is not one of a slot that comes first instead.
    pub fn add(&mut self, found: T) {
        let slot = found.says().nonce.0;
        if self.leaves_out(slot) {
            self.rest.insert(slot);
            return;
        }
        let rank = self.rank(&found);
        if let Some(other) = self.by_slot.get(&slot).and_then(|kept| kept.first()).map(|other| self.rank(other)) {
            if other < rank {
                return;
            }
            if other > rank {
                let gone = self.by_slot.remove(&slot).unwrap_or_default();
                self.bytes -= gone.iter().map(Weighed::bytes).sum::<u64>();
            }
        }
        let of_slot = self.by_slot.entry(slot).or_default();
        if of_slot.len() >= MAX_PER_SLOT || of_slot.iter().any(|other| other.id() == found.id()) {
            return;
        }
        self.bytes += found.bytes();
        of_slot.push(found);
        while self.bytes > self.room && self.by_slot.len() > 1 {
            let last = match self.keep {
                Keep::Lowest => self.by_slot.pop_last(),
                Keep::Highest => self.by_slot.pop_first(),
            };
            let Some((slot, gone)) = last else { return };
            self.bytes -= gone.iter().map(Weighed::bytes).sum::<u64>();
            self.rest.insert(slot);
        }
    }

    /// Whether there was no room for what comes before a slot, or for itself.
    pub fn leaves_out(&self, slot: u64) -> bool {
        match self.keep {
            Keep::Lowest => self.rest.first().is_some_and(|first| *first <= slot),
            Keep::Highest => self.rest.last().is_some_and(|last| *last >= slot),
        }
    }

    /// Whether all is kept of a slot that is wanted.
    pub fn has_enough(&self, slot: u64) -> bool {
        self.settles(slot) && self.by_slot.get(&slot).is_some_and(|found| found.len() >= MAX_PER_SLOT)
    }

    /// Whether there is room for more of a slot without leaving out one that comes before.
    pub fn has_room(&self, slot: u64, bytes: u64) -> bool {
        let before = match self.keep {
            Keep::Lowest => self.by_slot.range(..slot).next(),
            Keep::Highest => self.by_slot.range(slot + 1..).next(),
        };
        before.is_none() || self.bytes.saturating_add(bytes) <= self.room
    }

    /// Slots of which something is kept, ascending.
    pub fn slots(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.by_slot.keys().copied()
    }

    /// Whether something is kept of a slot that nothing of another epoch can replace.
    pub fn settles(&self, slot: u64) -> bool {
        let epoch = self.by_slot.get(&slot).and_then(|found| found.first()).map(|found| found.says().epoch);
        epoch == Some(self.epoch.unwrap_or(0))
    }

    /// Whether something is kept of a slot.
    pub fn has(&self, slot: u64) -> bool {
        self.by_slot.contains_key(&slot)
    }

    /// Whether a slot has an assignment, kept or not.
    pub fn knows(&self, slot: u64) -> bool {
        self.has(slot) || self.rest.contains(&slot)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.by_slot.values().map(Vec::len).sum()
    }

    /// What is kept, and the slots for which there was no room.
    pub fn into_parts(self) -> (impl Iterator<Item = T>, BTreeSet<u64>) {
        (self.by_slot.into_values().flatten(), self.rest)
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::assignment::Assignment;
    use holon_protocol::chain::HashChain;
    use holon_protocol::{AssignmentId, BlockHeight, Nonce, ProcessId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Sample(AssignmentId, Assignment, u64);

    impl Placed for Sample {
        fn id(&self) -> AssignmentId {
            self.0
        }

        fn says(&self) -> &Assignment {
            &self.1
        }
    }

    impl Weighed for Sample {
        fn bytes(&self) -> u64 {
            self.2
        }
    }

    fn sample(slot: u64, id: u8, bytes: u64) -> Sample {
        let says = Assignment {
            process: ProcessId::from_bytes([1; 32]),
            epoch: 0,
            nonce: Nonce(slot),
            hash_chain: HashChain::of([0; 32]),
            block_height: BlockHeight(1),
            timestamp: Timestamp(1),
            message: None,
            exclude: Vec::new(),
        };
        let mut name = [id; 32];
        name[..8].copy_from_slice(&slot.to_le_bytes());
        Sample(AssignmentId::from_bytes(name), says, bytes)
    }

    proptest! {
        #[test]
        fn whatever_order_they_come_in_the_first_that_fit_are_kept_and_the_others_are_named(
            found in prop::collection::vec((0_u64..40, 0_u8..4, 1_u64..50), 1..100), room in 1_u64..400, highest: bool,
        ) {
            let keep = if highest { Keep::Highest } else { Keep::Lowest };
            let mut kept = Kept::new(keep, Some(0), room);
            for (slot, id, _) in &found {
                // Equal ids are equal items.
                kept.add(sample(*slot, *id, 1 + u64::from(*id) * 10));
                let most_of_slot = 2 * 31;
                prop_assert!(kept.bytes <= room.max(most_of_slot), "{} of {room}", kept.bytes);
            }
            let slots: BTreeSet<u64> = kept.slots().collect();
            prop_assert_eq!(kept.bytes, kept.by_slot.values().flatten().map(Weighed::bytes).sum::<u64>());
            let all: BTreeSet<u64> = found.iter().map(|(slot, ..)| *slot).collect();
            let (_, rest) = kept.into_parts();
            prop_assert!(!slots.is_empty() && slots.is_disjoint(&rest));
            prop_assert_eq!(&slots | &rest, all);
            if let (Some(last), Some(first)) = (slots.last(), rest.first()) && !highest {
                prop_assert!(last < first);
            }
            if let (Some(first), Some(last)) = (slots.first(), rest.last()) && highest {
                prop_assert!(first > last);
            }
        }
    }

    #[test]
    fn a_slot_that_two_claim_keeps_two() {
        let mut kept = Kept::new(Keep::Lowest, Some(0), 1000);
        for id in [1, 1, 2, 3] {
            kept.add(sample(7, id, 10));
        }
        assert!(kept.has_enough(7) && kept.len() == 2 && kept.bytes == 20);
    }
    #[test]
    fn of_each_slot_the_epoch_of_the_log_is_kept_whatever_comes_first() {
        let of = |epoch, id| {
            let Sample(name, says, bytes) = sample(7, id, 10);
            Sample(name, Assignment { epoch, ..says }, bytes)
        };
        let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]];
        for (log, expected) in [(None, 0), (Some(0), 0), (Some(1), 1), (Some(2), 2), (Some(9), 0)] {
            for order in orders {
                let mut kept = Kept::new(Keep::Lowest, log, 1000);
                // Three epochs, the last of which has two of them.
                order.into_iter().for_each(|id: u8| kept.add(of(u64::from(id.min(2)), id)));
                let names = if expected == 2 { 2 } else { 1 };
                assert_eq!((kept.len(), kept.bytes), (names, 10 * names as u64), "{log:?} {order:?}");
                assert_eq!(kept.settles(7), log != Some(9), "{log:?}");
                assert!(kept.into_parts().0.all(|found| found.says().epoch == expected), "{log:?} {order:?}");
            }
        }
    }
}
