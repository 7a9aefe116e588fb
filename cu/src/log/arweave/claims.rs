//! Which of the assignments that a gateway lists are the scheduler's.
//!
//! Anybody can publish items in a scheduler's name, with signatures that are wrong, and many gateways list items by what
//! they say of themselves. So what is listed is a claim, and one that does not hold is passed over: it never stands in the way
//! of one that does, however many there are. How many are looked at is bounded; where that is not enough for many slots at
//! once, they are asked about in smaller groups, and at last one by one.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{StreamExt, stream};
use holon_arweave::{Gateway, Node, Query};
use holon_protocol::assignment::Assignment;
use holon_protocol::{Address, AssignmentId, DataItem, ItemId, MessageId, ProcessId};

use super::find;
use super::order::Placed;
use crate::error::Error;
use crate::log::Fault;

/// Most pages of one question about many slots, of 100 claims each.
const MAX_PAGES: usize = 10;
/// Most pages of one question about a single slot.
const MAX_PAGES_OF_ONE: usize = 50;
/// Claims looked into at the same time.
const LOOKS: usize = 16;
/// Most data of an assignment that is read at once, in bytes. It has none, but some old ones carry the message.
const MAX_INLINE_BYTES: u64 = 64 << 10;
/// Largest assignment, with such a message, in bytes.
const MAX_ASSIGNMENT_BYTES: u64 = super::MAX_MESSAGE_BYTES + MAX_INLINE_BYTES;
/// Claims of one slot that are looked for in the bundles around them, because what the gateway says of them does not verify.
const DIGS_PER_SLOT: usize = 8;
/// Such claims looked for at the same time: each needs the headers of a whole bundle.
const DIGS: usize = 4;

/// An assignment that the scheduler signed, and where the gateway says it lies.
pub struct Found {
    /// The assignment.
    pub item: DataItem,
    /// What it says.
    pub says: Assignment,
    /// The bundle around it, on the gateway's word.
    pub bundled_in: Option<ItemId>,
}

impl Placed for Found {
    fn id(&self) -> AssignmentId {
        self.item.id().into()
    }

    fn says(&self) -> &Assignment {
        &self.says
    }
}

/// What a question has brought.
#[derive(Default)]
pub struct Claims {
    /// Assignments that the scheduler signed.
    pub found: Vec<Found>,
    /// Slots that somebody claims with something that the scheduler did not sign, and nobody with what it did.
    pub invalid: BTreeMap<u64, Fault>,
    /// Slots whose claims could not be looked into.
    pub failed: BTreeMap<u64, Error>,
    /// How many claims were looked at.
    pub seen: usize,
    /// Whether there are more than those.
    pub cut: bool,
}

/// Looks into claims of one process.
#[derive(Clone, Copy)]
pub struct Claimed<'a> {
    /// Where they are listed.
    pub gateway: &'a Gateway,
    /// The process.
    pub process: ProcessId,
    /// Its scheduler.
    pub scheduler: Address,
}

/// Which claims matter.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All.
    Any,
    /// Those of these slots.
    Slots(&'a [u64]),
    /// Those that position this message.
    Message(MessageId),
}

impl Wanted<'_> {
    fn takes(self, says: &Assignment) -> bool {
        match self {
            Self::Any => true,
            Self::Slots(slots) => slots.contains(&says.nonce.0),
            Self::Message(message) => says.message == Some(message),
        }
    }
}

enum Verdict {
    Found(Box<Found>),
    /// What it says of itself does not verify.
    Doubtful(Box<Node>, String),
    /// Something else.
    Other,
}

impl Claimed<'_> {
    /// The assignments of some slots.
    pub async fn slots(self, slots: &[u64]) -> Result<Claims, Error> {
        let mut all = Claims::default();
        let mut groups = vec![slots.to_vec()];
        while let Some(group) = groups.pop() {
            let pages = if group.len() == 1 { MAX_PAGES_OF_ONE } else { MAX_PAGES };
            let query = find::slots(self.process, self.scheduler, &group);
            let mut claims = self.ask(query, pages, Wanted::Slots(&group)).await?;
            let held: HashSet<u64> = claims.found.iter().map(|found| found.says.nonce.0).collect();
            all.seen += claims.seen;
            all.found.append(&mut claims.found);
            if claims.cut {
                let mut open: Vec<u64> = group.into_iter().filter(|slot| !held.contains(slot)).collect();
                if let [slot] = open[..]
                    && pages == MAX_PAGES_OF_ONE
                {
                    all.invalid.insert(slot, Fault::Crowded { claims: claims.seen });
                    continue;
                }
                if !open.is_empty() {
                    let half = open.split_off(open.len() / 2);
                    groups.extend([open, half].into_iter().filter(|group| !group.is_empty()));
                    continue;
                }
            }
            all.invalid.append(&mut claims.invalid);
            all.failed.append(&mut claims.failed);
        }
        Ok(all)
    }

    /// The newest assignments.
    pub async fn newest(self) -> Result<Claims, Error> {
        self.ask(find::newest(self.process, self.scheduler), 1, Wanted::Any).await
    }

    /// What a question finds, as far as it is wanted, in at most so many pages.
    pub async fn ask(self, mut query: Query, pages: usize, wanted: Wanted<'_>) -> Result<Claims, Error> {
        let mut claims = Claims { cut: true, ..Claims::default() };
        let mut seen = HashSet::new();
        let mut doubtful: BTreeMap<u64, Vec<(Node, String)>> = BTreeMap::new();
        for _ in 0..pages {
            let page = self.gateway.placed_nodes(&query).await;
            let page = page.map_err(|error| Error::Gateway(error.to_string()))?;
            // A server that gives the same page again and again has no more.
            let fresh: Vec<Node> = page.nodes.into_iter().filter(|node| seen.insert(node.id)).collect();
            let new = !fresh.is_empty();
            let mut looks = stream::iter(fresh.into_iter().map(|node| self.look(node))).buffer_unordered(LOOKS);
            while let Some(verdict) = looks.next().await {
                match verdict {
                    Verdict::Found(found) if wanted.takes(&found.says) => claims.found.push(*found),
                    Verdict::Doubtful(node, reason) => {
                        let says = Assignment::from_tags(&node.tags);
                        if let Some(says) = says.ok().filter(|says| says.process == self.process && wanted.takes(says))
                        {
                            let of_slot = doubtful.entry(says.nonce.0).or_default();
                            if of_slot.len() < DIGS_PER_SLOT {
                                of_slot.push((*node, reason));
                            }
                        }
                    }
                    Verdict::Found(_) | Verdict::Other => {}
                }
            }
            match page.end_cursor {
                Some(cursor) if page.has_next_page && new => query.after = Some(cursor),
                _ => {
                    claims.cut = false;
                    break;
                }
            }
        }
        claims.seen = seen.len();
        let held: HashSet<u64> = claims.found.iter().map(|found| found.says.nonce.0).collect();
        doubtful.retain(|slot, _| !held.contains(slot));
        self.dig(doubtful, &mut claims, wanted).await;
        Ok(claims)
    }

    /// The assignment that a gateway describes.
    async fn look(self, node: Node) -> Verdict {
        if node.owner.address != self.scheduler {
            return Verdict::Other;
        }
        match self.gateway.assembled(&node, MAX_INLINE_BYTES).await {
            Ok(Ok(item)) => self.found(item, node.bundled_in),
            Ok(Err(reason)) => Verdict::Doubtful(Box::new(node), reason),
            Err(error) => Verdict::Doubtful(Box::new(node), error.to_string()),
        }
    }

    fn found(self, item: DataItem, bundled_in: Option<ItemId>) -> Verdict {
        // Whatever the gateway says that it is: only what is signed counts.
        if item.owner_address() != self.scheduler || !item.tags().contains("Type", "Assignment") {
            return Verdict::Other;
        }
        match Assignment::from_tags(item.tags()) {
            Ok(says) if says.process == self.process => Verdict::Found(Box::new(Found { item, says, bundled_in })),
            _ => Verdict::Other,
        }
    }

    /// Looks for claims in the bundles around them.
    async fn dig(self, doubtful: BTreeMap<u64, Vec<(Node, String)>>, claims: &mut Claims, wanted: Wanted<'_>) {
        let all = doubtful.into_iter().flat_map(|(slot, nodes)| nodes.into_iter().map(move |node| (slot, node)));
        let all: Vec<(u64, (Node, String))> = all.collect();
        let digs = all.into_iter().map(|(slot, (node, reason))| async move {
            let assignment = AssignmentId::from(node.id);
            let dug = self.gateway.item(&node, MAX_ASSIGNMENT_BYTES).await;
            (slot, assignment, node.bundled_in, reason, dug)
        });
        let mut digs = stream::iter(digs).buffer_unordered(DIGS);
        let mut held: HashMap<u64, bool> = HashMap::new();
        while let Some((slot, assignment, bundled_in, reason, dug)) = digs.next().await {
            match dug.map(|item| self.found(item, bundled_in)) {
                Ok(Verdict::Found(found)) if wanted.takes(&found.says) => {
                    held.insert(found.says.nonce.0, true);
                    claims.found.push(*found);
                }
                Ok(_) => {}
                Err(
                    holon_arweave::Error::Forged { .. }
                    | holon_arweave::Error::TooLarge { .. }
                    | holon_arweave::Error::NotFound(_),
                ) => drop(claims.invalid.insert(slot, Fault::Assignment { assignment, reason })),
                Err(error) => drop(claims.failed.insert(slot, Error::Gateway(error.to_string()))),
            }
        }
        claims.invalid.retain(|slot, _| !held.contains_key(slot));
        claims.failed.retain(|slot, _| !held.contains_key(slot));
    }
}
