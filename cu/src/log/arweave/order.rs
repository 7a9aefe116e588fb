//! Which assignment stands where. Pure.

use std::collections::BTreeMap;

use holon_protocol::assignment::Assignment;
use holon_protocol::{AssignmentId, ProcessId};

use crate::log::Fault;

/// An assignment whose signature is good.
pub trait Placed {
    /// Its id.
    fn id(&self) -> AssignmentId;
    /// What it says.
    fn says(&self) -> &Assignment;
}

/// Puts assignments at their slots. One that came twice counts once; what belongs to other processes or lies outside
/// `slots` is left out. A slot that two different assignments claim has none: it is among `faults`. What is wrong with other
/// claims of a slot that has one does not matter.
pub fn place<T: Placed>(
    process: ProcessId,
    slots: &[u64],
    found: impl IntoIterator<Item = T>,
    faults: &mut BTreeMap<u64, Fault>,
) -> BTreeMap<u64, T> {
    let mut twice = BTreeMap::new();
    let mut placed: BTreeMap<u64, T> = BTreeMap::new();
    for assignment in found {
        let Assignment { process: of, nonce, .. } = *assignment.says();
        if of != process || !slots.contains(&nonce.0) {
            continue;
        }
        match placed.get(&nonce.0) {
            None => drop(placed.insert(nonce.0, assignment)),
            Some(other) if other.id() == assignment.id() => {}
            Some(other) => {
                let (first, second) = (other.id().min(assignment.id()), other.id().max(assignment.id()));
                twice.insert(nonce.0, Fault::Equivocation { first, second });
            }
        }
    }
    faults.retain(|slot, _| !placed.contains_key(slot));
    placed.retain(|slot, _| !twice.contains_key(slot));
    faults.append(&mut twice);
    placed
}

#[cfg(test)]
mod tests {
    use holon_protocol::chain::HashChain;
    use holon_protocol::{BlockHeight, Nonce, Timestamp};
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Sample(AssignmentId, Assignment);

    impl Placed for Sample {
        fn id(&self) -> AssignmentId {
            self.0
        }

        fn says(&self) -> &Assignment {
            &self.1
        }
    }

    const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);

    fn sample(process: ProcessId, nonce: u64, id: u8) -> Sample {
        let says = Assignment {
            process,
            epoch: 0,
            nonce: Nonce(nonce),
            hash_chain: HashChain::of([0; 32]),
            block_height: BlockHeight(1),
            timestamp: Timestamp(1),
            message: None,
            exclude: Vec::new(),
        };
        Sample(AssignmentId::from_bytes([id; 32]), says)
    }

    proptest! {
        #[test]
        fn whatever_order_a_gateway_gives_every_slot_gets_its_assignment(
            mut shuffled in prop::collection::vec((100_u64..200, any::<prop::sample::Index>()), 0..150),
        ) {
            shuffled.sort_by_key(|(nonce, _)| *nonce);
            shuffled.dedup_by_key(|(nonce, _)| *nonce);
            let ordered: Vec<_> = shuffled.iter().map(|(nonce, _)| sample(PROCESS, *nonce, *nonce as u8)).collect();
            // Some come twice, in any order, among strangers.
            let mut given = ordered.clone();
            for (nonce, place) in &shuffled {
                let at = place.index(given.len() + 1);
                given.insert(at, sample(PROCESS, *nonce, *nonce as u8));
                given.insert(at, sample(ProcessId::from_bytes([2; 32]), *nonce, 7));
                given.insert(at, sample(PROCESS, nonce + 100, 9));
            }
            let mut faults = BTreeMap::new();
            let slots: Vec<u64> = (100..200).collect();
            let placed = place(PROCESS, &slots, given, &mut faults);
            prop_assert!(faults.is_empty());
            prop_assert_eq!(placed.into_values().collect::<Vec<_>>(), ordered);
        }
    }

    #[test]
    fn what_is_wrong_with_other_claims_of_a_slot_does_not_matter() {
        let forged = |byte| Fault::Assignment { assignment: AssignmentId::from_bytes([byte; 32]), reason: "x".into() };
        let mut faults = BTreeMap::from([(5, forged(1)), (6, forged(2))]);
        let placed = place(PROCESS, &[5, 6], [sample(PROCESS, 5, 3)], &mut faults);
        assert_eq!(placed.into_values().collect::<Vec<_>>(), [sample(PROCESS, 5, 3)]);
        assert_eq!(faults, [(6, forged(2))].into());
    }

    #[test]
    fn two_assignments_of_one_slot_are_named() {
        let given = [sample(PROCESS, 7, 1), sample(PROCESS, 5, 3), sample(PROCESS, 7, 2), sample(PROCESS, 5, 4)];
        let mut faults = BTreeMap::new();
        assert!(place(PROCESS, &[5, 6, 7], given, &mut faults).is_empty());
        let id = |byte| AssignmentId::from_bytes([byte; 32]);
        let expected = [
            (5, Fault::Equivocation { first: id(3), second: id(4) }),
            (7, Fault::Equivocation { first: id(1), second: id(2) }),
        ];
        assert_eq!(faults, expected.into());
    }
}
