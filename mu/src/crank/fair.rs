//! Queues that take turns: what is ready is taken push by push, oldest first within each, so that a push of a million
//! messages delays another one by one message.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;

/// Ready items by the group they belong to.
#[derive(Debug)]
pub struct Fair<G, T> {
    /// Every group in line, some of which may have been emptied meanwhile.
    groups: HashMap<G, BTreeSet<T>>,
    line: VecDeque<G>,
}

impl<G, T> Default for Fair<G, T> {
    fn default() -> Self {
        Self { groups: HashMap::new(), line: VecDeque::new() }
    }
}

impl<G: Hash + Eq + Copy, T: Ord + Copy> Fair<G, T> {
    /// Adds an item of a group.
    pub fn insert(&mut self, group: G, item: T) {
        let line = &mut self.line;
        let items = self.groups.entry(group).or_insert_with(|| {
            line.push_back(group);
            BTreeSet::new()
        });
        items.insert(item);
    }

    /// Takes an item out, wherever it stands.
    pub fn remove(&mut self, group: G, item: T) {
        if let Some(items) = self.groups.get_mut(&group) {
            items.remove(&item);
        }
    }

    /// The oldest item of the group whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        while let Some(group) = self.line.pop_front() {
            let Some(items) = self.groups.get_mut(&group) else { continue };
            let item = items.pop_first();
            if items.is_empty() {
                self.groups.remove(&group);
            } else {
                self.line.push_back(group);
            }
            if item.is_some() {
                return item;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Fair;

    fn drain(fair: &mut Fair<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| fair.pop()).collect()
    }

    #[test]
    fn groups_take_turns_and_each_is_served_oldest_first() {
        let mut fair = Fair::default();
        for item in [5, 3, 1, 4, 2] {
            fair.insert('a', item);
        }
        fair.insert('b', 9);
        fair.insert('b', 8);
        assert_eq!(drain(&mut fair), [1, 8, 2, 9, 3, 4, 5]);
        assert!(fair.groups.is_empty() && fair.line.is_empty(), "nothing is kept of what is gone");
    }

    #[test]
    fn a_newcomer_waits_for_one_item_of_each_group_at_most() {
        let mut fair = Fair::default();
        (0..1_000).for_each(|item| fair.insert('a', item));
        assert_eq!(fair.pop(), Some(0));
        fair.insert('b', 5_000);
        assert!([fair.pop(), fair.pop()].contains(&Some(5_000)));
    }

    #[test]
    fn what_is_taken_out_does_not_come_and_does_not_cost_others_their_turn() {
        let mut fair = Fair::default();
        fair.insert('a', 1);
        fair.insert('b', 2);
        fair.insert('b', 3);
        fair.remove('a', 1);
        fair.remove('a', 7);
        fair.remove('b', 2);
        // Its group has kept its place in the line.
        fair.insert('a', 4);
        assert_eq!(drain(&mut fair), [4, 3]);
    }
}
