//! Which checkpoints of a process are kept: the newest few, and ever fewer of the older ones, so that time travel finds one
//! near any slot while their number grows with the logarithm of the log's length only.

use super::name::Name;

/// Checkpoints that are kept whatever their distance.
pub const NEWEST: usize = 3;

/// The names to delete, of `names` in the order of the log.
///
/// One is kept in each span of slots [2ᵏ, 2ᵏ⁺¹) before the newest: the oldest, which wanders through the span as the
/// newest moves on and then is the one that the next span keeps.
pub fn superfluous(names: &[Name]) -> Vec<Name> {
    let Some((newest, older)) = names.split_at_checked(names.len().saturating_sub(NEWEST)).map(|(a, b)| (b, a)) else {
        return Vec::new();
    };
    let slot = |name: &Name| name.nonce.map_or(0, |nonce| nonce.0.saturating_add(1));
    let Some(last) = newest.last().map(slot) else { return Vec::new() };
    let mut kept = None;
    let mut superfluous = Vec::new();
    for name in older {
        let span = last.saturating_sub(slot(name)).max(1).ilog2();
        if kept == Some(span) {
            superfluous.push(name.clone());
        }
        kept = Some(span);
    }
    superfluous
}

#[cfg(test)]
mod tests {
    use holon_protocol::{Nonce, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::machine::StateRoot;

    fn name(slot: u64) -> Name {
        let root = StateRoot::from_bytes([0; 32]);
        Name { timestamp: Timestamp(slot), nonce: Some(Nonce(slot)), after_cron: false, root }
    }

    proptest! {
        #[test]
        fn few_are_kept_and_one_is_near_every_slot(gaps in prop::collection::vec(1u64..200, 1..300)) {
            let mut kept: Vec<Name> = Vec::new();
            let mut slot = 0;
            let widest = gaps.iter().max().copied().unwrap_or_default();
            for gap in gaps {
                slot += gap;
                kept.push(name(slot));
                let superfluous = superfluous(&kept);
                kept.retain(|name| !superfluous.contains(name));
                prop_assert!(kept.len() <= NEWEST + slot.ilog2() as usize + 1);
                prop_assert_eq!(kept.last(), Some(&name(slot)));
            }
            // The way from the checkpoint before it is never much longer than the way from here.
            for pair in kept.windows(2) {
                let (older, newer) = (pair[0].timestamp.0, pair[1].timestamp.0);
                prop_assert!(newer - older <= 4 * (slot - older).max(widest), "{older} {newer} {slot}");
            }
        }
    }

    #[test]
    fn nothing_is_superfluous_among_few() {
        assert_eq!(superfluous(&[]), []);
        assert_eq!(superfluous(&[name(1), name(2), name(3)]), []);
        assert_eq!(superfluous(&[1, 2, 3, 90, 91, 92, 93].map(name)), [2, 3].map(name));
    }
}
