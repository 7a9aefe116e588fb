//! Whose published checkpoints are used. Pure.

use std::collections::{BTreeMap, BTreeSet};

use holon_protocol::Address;

use super::published::Claim;

/// What makes somebody's checkpoint usable, besides that it is sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: none is looked for.
    #[default]
    None,
    /// This unit's wallet signed it.
    Own,
    /// This unit's wallet or a listed one signed it, and it names its root.
    Listed,
    /// The same, on the signer's word: one that names no root is used as well.
    Trusted,
    /// So many different ones of them published the same root for the same point.
    Quorum(usize),
    /// A replay of the log gives the same root.
    Verified,
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "own" => Ok(Self::Own),
            "listed" => Ok(Self::Listed),
            "trusted" => Ok(Self::Trusted),
            "verified" => Ok(Self::Verified),
            number => match number.parse() {
                Ok(signers) if signers > 0 => Ok(Self::Quorum(signers)),
                _ => Err(format!("{text}: none, own, listed, trusted, verified or a number of signers is needed")),
            },
        }
    }
}

impl Policy {
    /// The wallets whose checkpoints are looked for.
    pub fn signers(self, own: Address, listed: &[Address]) -> Vec<Address> {
        match self {
            Self::None => Vec::new(),
            Self::Own => vec![own],
            Self::Listed | Self::Trusted | Self::Quorum(_) | Self::Verified => {
                let mut signers: BTreeSet<Address> = listed.iter().copied().collect();
                signers.insert(own);
                signers.into_iter().collect()
            }
        }
    }

    /// The groups of claims, each about one state, that the policy allows to be tried: those farthest in the log first.
    /// A claim that names no root counts for itself alone. One that was made after a cron message counts for nothing: where it
    /// stands, only the unit that made it knows.
    pub fn allowed<T>(self, claims: Vec<(Address, Claim, T)>) -> Vec<Vec<(Address, Claim, T)>> {
        let mut groups: BTreeMap<_, Vec<(Address, Claim, T)>> = BTreeMap::new();
        for (at, (signer, claim, item)) in claims.into_iter().filter(|(_, claim, _)| !claim.cron).enumerate() {
            let alone = if claim.root.is_none() { at } else { usize::MAX };
            let state = (claim.nonce, claim.timestamp, claim.module, claim.root, alone);
            groups.entry(state).or_default().push((signer, claim, item));
        }
        let needed = match self {
            Self::None => return Vec::new(),
            Self::Own | Self::Listed | Self::Trusted | Self::Verified => 1,
            Self::Quorum(signers) => signers,
        };
        let different =
            |group: &Vec<(Address, Claim, T)>| group.iter().map(|(signer, ..)| *signer).collect::<BTreeSet<_>>().len();
        // Without a root nothing can be checked, and nobody says the same as anybody else.
        let agrees = |group: &Vec<(Address, Claim, T)>| {
            self == Self::Trusted || group.iter().all(|(_, claim, _)| claim.root.is_some())
        };
        let mut allowed: Vec<_> =
            groups.into_values().rev().filter(|group| different(group) >= needed && agrees(group)).collect();
        // Where quorums disagree, some of them lie. The larger one counts; of two as large, neither does.
        if let Self::Quorum(_) = self {
            let place = |claim: &Claim| (claim.nonce, claim.timestamp, claim.module);
            let vote =
                |group: &Vec<(Address, Claim, T)>| (group.first().map(|(_, claim, _)| place(claim)), different(group));
            let votes: Vec<_> = allowed.iter().map(vote).collect();
            allowed.retain(|group| {
                let (place, signers) = vote(group);
                let outvoted = votes.iter().filter(|(at, others)| *at == place && *others >= signers).count() > 1;
                if outvoted && let Some((_, claim, _)) = group.first() {
                    tracing::warn!(process = %claim.process, nonce = %claim.nonce, signers, "quorums disagree about a state");
                }
                !outvoted
            });
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::{ModuleId, Tags, Timestamp};

    use super::*;

    fn claim(nonce: &str, root: Option<u8>) -> Claim {
        let id = "YsZqYsZqYsZqYsZqYsZqYsZqYsZqYsZqYsZqYsZqYsY";
        let mut tags = vec![
            ("Data-Protocol", "ao".to_owned()),
            ("Type", "Checkpoint".to_owned()),
            ("Process", id.to_owned()),
            ("Module", id.to_owned()),
            ("Nonce", nonce.to_owned()),
            ("Timestamp", nonce.to_owned()),
        ];
        tags.extend(root.map(|byte| ("State-Root", crate::machine::StateRoot::from_bytes([byte; 32]).to_string())));
        Claim::read(&Tags::from_iter(tags)).unwrap()
    }

    #[test]
    fn a_quorum_is_about_one_root_even_a_quorum_of_one() {
        let signer = |byte| Address::from_bytes([byte; 32]);
        let claims = || {
            vec![
                (signer(1), claim("9", None), 'a'),
                (signer(1), claim("8", Some(7)), 'b'),
                (signer(2), claim("8", Some(7)), 'c'),
                (signer(3), claim("8", Some(6)), 'd'),
                (signer(2), claim("5", None), 'e'),
            ]
        };
        let allowed = |policy: Policy| {
            let groups = policy.allowed(claims());
            groups.iter().map(|group| group.iter().map(|(.., item)| *item).collect::<String>()).collect::<Vec<_>>()
        };
        assert_eq!(allowed(Policy::Trusted), ["a", "bc", "d", "e"]);
        assert_eq!(allowed(Policy::Listed), ["bc", "d"]);
        assert_eq!(allowed(Policy::Quorum(1)), ["bc"], "more say the one than the other");
        assert_eq!(allowed(Policy::Quorum(2)), ["bc"]);
        assert!(allowed(Policy::Quorum(3)).is_empty() && allowed(Policy::None).is_empty());
    }

    #[test]
    fn quorums_disagree_only_about_one_point() {
        let signer = |byte| Address::from_bytes([byte; 32]);
        let [mut cron, mut later, mut other] = std::array::from_fn(|_| claim("8", Some(6)));
        (cron.timestamp, cron.cron) = (Timestamp(9), true);
        later.timestamp = Timestamp(9);
        other.module = ModuleId::from_bytes([1; 32]);
        let items = |claims: Vec<(Address, Claim, char)>| {
            let groups = Policy::Quorum(1).allowed(claims);
            groups.iter().map(|group| group[0].2).collect::<String>()
        };
        let honest = || (signer(1), claim("8", Some(7)), 'a');
        for by in [1, 2] {
            assert_eq!(items(vec![honest(), (signer(by), cron.clone(), 'b')]), "a", "after a cron message");
            // Which of them is about the log's entry, the log says.
            assert_eq!(items(vec![honest(), (signer(by), later.clone(), 'b')]), "ba", "at another time");
        }
        assert_eq!(items(vec![honest(), (signer(2), other, 'b')]).len(), 2, "of another module");
    }

    #[test]
    fn of_quorums_that_disagree_the_larger_one_counts_and_of_equal_ones_neither() {
        let signer = |byte| Address::from_bytes([byte; 32]);
        let roots = |votes: &[(u8, u8)]| {
            let claims = votes.iter().map(|(by, root)| (signer(*by), claim("8", Some(*root)), *root));
            let earlier = [(signer(1), claim("5", Some(3)), 3), (signer(2), claim("5", Some(3)), 3)];
            let groups = Policy::Quorum(2).allowed(claims.chain(earlier).collect());
            groups.iter().map(|group| group[0].2).collect::<Vec<_>>()
        };
        // Without a quorum at the later point the earlier one is good.
        assert_eq!(roots(&[(1, 7), (2, 6)]), [3]);
        assert_eq!(roots(&[(1, 7), (2, 7), (3, 6), (4, 6)]), [3]);
        assert_eq!(roots(&[(1, 7), (2, 7), (3, 6), (4, 6), (5, 6)]), [6, 3]);
        // Who says both has said nothing.
        assert_eq!(roots(&[(1, 7), (1, 6), (2, 7), (3, 6)]), [3]);
        assert_eq!(roots(&[(1, 7), (1, 6), (2, 7), (3, 7)]), [7, 3]);
    }
}
