//! Who has to count so that nobody comes to call itself uncounted, in a graph of calls.

use std::collections::{HashMap, HashSet};

/// Nodes in the order in which they were added, and whom each calls.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// For each node where its callees end.
    ends: Vec<usize>,
    callees: Vec<u32>,
}

/// What is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// For each node that has to count, what it takes together with those below it that do not. No circle is without such a node.
    pub counting: Vec<Option<u64>>,
    /// Most that nodes on one path take without coming to one that counts.
    pub straight: u64,
}

/// A node whose callees are being looked at.
struct Open {
    node: usize,
    /// The next one of its callees.
    next: usize,
}

const UNSEEN: u32 = u32::MAX;
/// Which part of a circle's nodes is made to count at once.
const AT_ONCE: usize = 64;
/// Most times that circles are looked for. Circles that are left then count as a whole.
const ROUNDS: usize = 48;

impl Graph {
    /// Adds a node that calls `callees`, some of which may be added later.
    pub fn add(&mut self, callees: impl IntoIterator<Item = u32>) {
        self.callees.extend(callees);
        self.ends.push(self.callees.len());
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn start(&self, node: usize) -> usize {
        node.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Callees that are nodes.
    fn callees(&self, node: usize) -> impl Iterator<Item = usize> {
        let callees = self.callees[self.start(node)..self.ends[node]].iter().map(|callee| *callee as usize);
        callees.filter(|callee| *callee < self.len())
    }

    /// Chooses who counts, among the nodes that `can`; there is one in every circle. A node takes `takes`.
    ///
    /// What is best is hard to find. Those with most callers and most callees are in most circles, and large ones with many calls of their
    /// own are called less often than small ones; so some of those are chosen until no circle is left. On aos a third to a half fewer
    /// instructions count than where the circles alone matter.
    pub fn analyse(&self, takes: &[u64], can: impl Fn(usize) -> bool) -> Found {
        let mut counts = vec![false; self.len()];
        for round in 0..=ROUNDS {
            let mut circles = Vec::new();
            self.components(&counts, |members| {
                let circle = match members {
                    [one] => self.callees(*one).any(|callee| callee == *one),
                    _ => true,
                };
                if circle {
                    circles.push(members.to_vec());
                }
            });
            if circles.is_empty() {
                break;
            }
            for members in circles {
                for chosen in self.choose(members, takes, &counts, round == ROUNDS, &can) {
                    counts[chosen] = true;
                }
            }
        }
        let mut below = vec![0_u64; self.len()];
        let mut straight = 0;
        // What is called comes before what calls it.
        self.components(&counts, |members| {
            for member in members {
                let most = self.callees(*member).filter(|callee| !counts[*callee]).map(|callee| below[callee]).max();
                below[*member] = takes[*member].saturating_add(most.unwrap_or(0));
                straight = straight.max(below[*member]);
            }
        });
        let counting = |node: usize| {
            let most = self.callees(node).filter(|callee| !counts[*callee]).map(|callee| below[callee]).max();
            counts[node].then(|| takes[node].saturating_add(most.unwrap_or(0)))
        };
        Found { counting: (0..self.len()).map(counting).collect(), straight }
    }

    /// Some of a circle's nodes, or all.
    fn choose(
        &self,
        members: Vec<usize>,
        takes: &[u64],
        counts: &[bool],
        all: bool,
        can: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let inside: HashSet<usize> = members.iter().copied().collect();
        let (mut callers, mut callees): (HashMap<usize, u64>, HashMap<usize, u64>) = Default::default();
        let mut itself = Vec::new();
        for member in &members {
            for callee in self.callees(*member).filter(|callee| inside.contains(callee) && !counts[*callee]) {
                *callees.entry(*member).or_default() += 1;
                *callers.entry(callee).or_default() += 1;
                if callee == *member {
                    itself.push(callee);
                }
            }
        }
        let mut chosen: Vec<usize> = members.into_iter().filter(|member| can(*member)).collect();
        if !all {
            let degree = |ways: &HashMap<usize, u64>, node: usize| ways.get(&node).copied().unwrap_or(0);
            let weight = |node: usize| {
                let callees = degree(&callees, node);
                [degree(&callers, node), callees, callees, takes[node]].into_iter().fold(1, u64::saturating_mul)
            };
            chosen.sort_by_cached_key(|node| std::cmp::Reverse((weight(*node), *node)));
            chosen.truncate(1 + chosen.len() / AT_ONCE);
        }
        chosen.extend(itself.into_iter().filter(|node| can(*node)));
        chosen
    }

    /// Calls `each` with every set of nodes that lead to each other, those that are called before those that call (Tarjan's strongly
    /// connected components, without recursion). Nodes that are `left_out` are not there.
    fn components(&self, left_out: &[bool], mut each: impl FnMut(&[usize])) {
        let count = self.len();
        // When a node was first seen, and the earliest node that it leads back to.
        let (mut seen, mut back) = (vec![UNSEEN; count], vec![UNSEEN; count]);
        let mut done = left_out.to_vec();
        let (mut path, mut open): (Vec<usize>, Vec<Open>) = (Vec::new(), Vec::new());
        let mut clock = 0;
        for root in 0..count {
            if done[root] {
                continue;
            }
            open.push(Open { node: root, next: self.start(root) });
            while let Some(Open { node, next }) = open.last_mut() {
                let node = *node;
                if seen[node] == UNSEEN {
                    (seen[node], back[node]) = (clock, clock);
                    clock += 1;
                    path.push(node);
                }
                if *next < self.ends[node] {
                    let callee = self.callees[*next] as usize;
                    *next += 1;
                    if callee < count && !done[callee] {
                        if seen[callee] == UNSEEN {
                            open.push(Open { node: callee, next: self.start(callee) });
                        } else {
                            back[node] = back[node].min(seen[callee]);
                        }
                    }
                    continue;
                }
                open.pop();
                if let Some(caller) = open.last() {
                    back[caller.node] = back[caller.node].min(back[node]);
                }
                if back[node] == seen[node] {
                    let first = path.iter().rposition(|member| *member == node).unwrap_or(0);
                    let members = path.split_off(first);
                    for member in &members {
                        done[*member] = true;
                    }
                    each(&members);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: &[&[u32]]) -> Graph {
        let mut graph = Graph::default();
        for callees in nodes {
            graph.add(callees.iter().copied());
        }
        graph
    }

    #[test]
    fn every_circle_has_a_node_that_counts_with_what_is_below_it() {
        // 1, 2 and 3 are two circles with 1 in common; 4 calls itself; 5 only calls.
        let found =
            graph(&[&[1], &[2, 3], &[1], &[1, 6], &[4], &[0, 6], &[]]).analyse(&[1, 100, 20, 200, 7, 20, 3], |_| true);
        assert_eq!(found.counting, [None, Some(100 + 203), None, None, Some(7), None, None]);
        assert_eq!(found.straight, 203);
    }

    #[test]
    fn nodes_that_cannot_count_leave_it_to_others() {
        let found = graph(&[&[1, 1], &[0, 0]]).analyse(&[1, 2], |node| node == 0);
        assert_eq!(found.counting, [Some(3), None]);
    }

    #[test]
    fn the_longest_straight_path_counts_with_what_its_nodes_take() {
        let found = graph(&[&[1, 2], &[3], &[3, 9], &[]]).analyse(&[1, 100, 10, 5], |_| true);
        assert_eq!(found, Found { counting: vec![None; 4], straight: 106 });
    }

    #[test]
    fn long_paths_and_large_circles_need_no_stack() {
        let count = if cfg!(miri) { 60 } else { 1_000_000 };
        let mut path = Graph::default();
        for node in 0..count {
            path.add([node + 1]);
        }
        let takes = vec![1; count as usize + 1];
        assert_eq!(path.analyse(&takes, |_| true).straight, u64::from(count));
        path.add([0]);
        let found = path.analyse(&takes, |_| true);
        assert!(found.counting.iter().any(Option::is_some) && found.straight <= u64::from(count));
    }

    #[test]
    fn where_everybody_calls_everybody_all_but_one_count() {
        let count = if cfg!(miri) { 8 } else { 200 };
        let mut graph = Graph::default();
        for _ in 0..count {
            graph.add(0..count);
        }
        let found = graph.analyse(&vec![1; count as usize], |_| true);
        assert!(found.counting.iter().filter(|counts| counts.is_some()).count() as u32 >= count - 1);
    }
}
