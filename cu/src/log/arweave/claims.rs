//! Which of the assignments that a gateway lists are the scheduler's.
//!
//! Anybody can publish items in a scheduler's name, with signatures that are wrong, and many gateways list items by what
//! they say of themselves. So what is listed is a claim, and one that does not hold is passed over: it never stands in the way
//! of one that does. How many are looked at is bounded; where that is not enough for many slots at once, they are asked about in smaller
//! groups, and at last one by one, from the oldest and from the newest. Who would hide a slot has to put thousands of claims before what
//! the scheduler uploads and thousands after it. Where somebody does, the slot is asked for with its link of the hash chain ([`Claimed::chained`]),
//! which nobody can name before the entry before it is there.
//!
//! What is found is kept within a number of bytes ([`Kept`]).

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use holon_arweave::{Gateway, Node, Query};
use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::{Address, AssignmentId, DataItem, ItemId, MessageId, ProcessId};

use super::find;
use super::kept::{Keep, Kept, Weighed};
use super::order::Placed;
use crate::error::Error;
use crate::log::Fault;
use crate::log::assigned::AssignedItems;

/// Most pages of one question about many slots, of 100 claims each.
const MAX_PAGES: usize = 10;
/// Most pages of one question about a single slot.
const MAX_PAGES_OF_ONE: usize = 50;
/// Claims looked into at the same time.
const LOOKS: usize = 16;
/// Most data of an assignment that is read at once, in bytes. It has none, but some old ones carry the message.
const MAX_INLINE_BYTES: u64 = 64 << 10;
/// Largest assignment, with such a message, in bytes.
pub const MAX_ASSIGNMENT_BYTES: u64 = super::MAX_MESSAGE_BYTES + MAX_INLINE_BYTES;
/// Claims of one slot that are looked for in the bundles around them, because what the gateway says of them does not verify.
const DIGS_PER_SLOT: usize = 8;
/// Such claims looked for at the same time: each needs the headers of a whole bundle.
const DIGS: usize = 4;
/// What such a claim is taken to have when the gateway does not say how large it is, in bytes.
const UNKNOWN_BYTES: u64 = 2 << 20;
/// Bytes of assignments that are kept where only their slots are wanted.
const LOOK_BYTES: u64 = 1 << 20;

/// An assignment that the scheduler signed, and where the gateway says it lies.
pub struct Found {
    /// The assignment.
    pub item: DataItem,
    /// What it says.
    pub says: Assignment,
    /// The bundle around it, on the gateway's word.
    pub bundled_in: Option<ItemId>,
}

impl Weighed for Found {
    fn bytes(&self) -> u64 {
        self.item.raw().len() as u64
    }
}

impl Placed for Found {
    fn id(&self) -> AssignmentId {
        self.item.id().into()
    }

    fn says(&self) -> &Assignment {
        &self.says
    }
}

/// What questions have brought.
pub struct Claims {
    /// Assignments that the scheduler signed.
    pub kept: Kept<Found>,
    /// Slots that somebody claims with something that the scheduler did not sign, and nobody with what it did.
    pub invalid: BTreeMap<u64, Fault>,
    /// Slots whose claims could not be looked into.
    pub failed: BTreeMap<u64, Error>,
    /// Slots whose claims were not looked into, because what comes before them is large.
    pub unseen: BTreeSet<u64>,
}

/// What one question has brought.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    /// How many claims were looked at.
    seen: usize,
    /// How many of them the scheduler signed.
    good: usize,
    /// Whether there are more than those.
    cut: bool,
}

impl Claims {
    /// Nothing yet of a log in `epoch`, with room for so many bytes of assignments.
    fn new(keep: Keep, epoch: Option<u64>, room: u64) -> Self {
        let (invalid, failed, unseen) = Default::default();
        Self { kept: Kept::new(keep, epoch, room), invalid, failed, unseen }
    }

    /// Whether it is known about a slot whether somebody claims it.
    fn knows(&self, slot: u64) -> bool {
        self.kept.knows(slot) || self.unseen.contains(&slot)
    }

    /// What is wrong with other claims of a slot does not matter where there is one that is good.
    fn settle(&mut self) {
        self.invalid.retain(|slot, _| !self.kept.knows(*slot));
        self.failed.retain(|slot, _| !self.kept.knows(*slot));
        self.unseen.retain(|slot| !self.kept.knows(*slot));
    }
}

/// Looks into claims of one process.
#[derive(Clone, Copy)]
pub struct Claimed<'a> {
    /// Items of the gateway where they are listed.
    pub items: &'a AssignedItems,
    /// The process.
    pub process: ProcessId,
    /// Its scheduler.
    pub scheduler: Address,
    /// The epoch of its log, if that is known.
    pub epoch: Option<u64>,
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
    /// Whether the last slots are what matters.
    fn newest_first(self) -> bool {
        matches!(self, Self::Any)
    }

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
    fn gateway(&self) -> &Gateway {
        self.items.gateway()
    }

    /// The assignments of some slots, the first ones within so many bytes.
    pub async fn slots(self, slots: &[u64], room: u64) -> Result<Claims, Error> {
        let mut claims = Claims::new(Keep::Lowest, self.epoch, room);
        let mut groups = vec![slots.to_vec()];
        while let Some(group) = groups.pop() {
            let wanted = Wanted::Slots(&group);
            let query = find::slots(self.process, self.scheduler, &group);
            let alone = matches!(group[..], [_]);
            let asked = match alone {
                true => self.ask_both_ends(query, wanted, &mut claims).await?,
                false => self.ask(query, MAX_PAGES, wanted, &mut claims).await?,
            };
            if !asked.cut {
                continue;
            }
            let mut open: Vec<u64> = group.into_iter().filter(|slot| !claims.knows(*slot)).collect();
            for slot in &open {
                claims.invalid.remove(slot);
                claims.failed.remove(slot);
                if alone {
                    claims.invalid.insert(*slot, Fault::Crowded { claims: asked.seen });
                }
            }
            if !alone {
                let half = open.split_off(open.len() / 2);
                groups.extend([half, open].into_iter().filter(|group| !group.is_empty()));
            }
        }
        claims.settle();
        Ok(claims)
    }

    /// The assignment of a slot with this link of the hash chain.
    pub async fn chained(self, slot: u64, link: HashChain, claims: &mut Claims) -> Result<(), Error> {
        let query = find::chained(self.process, self.scheduler, slot, link);
        self.ask_both_ends(query, Wanted::Slots(&[slot]), claims).await?;
        claims.settle();
        Ok(())
    }

    /// Slots of the newest assignments, and whether nothing but assignments of the scheduler was among them.
    pub async fn newest(self) -> Result<(Vec<u64>, bool), Error> {
        let mut claims = Claims::new(Keep::Highest, self.epoch, LOOK_BYTES);
        let asked = self.ask(find::newest(self.process, self.scheduler), 1, Wanted::Any, &mut claims).await?;
        Ok((claims.kept.slots().collect(), asked.good == asked.seen))
    }

    /// Those of some slots that the log has.
    pub async fn there(self, slots: &[u64]) -> Result<Vec<u64>, Error> {
        Ok(self.slots(slots, LOOK_BYTES).await?.kept.slots().collect())
    }

    /// Slots that a question finds, as far as they are wanted, in at most so many pages.
    pub async fn of(self, query: Query, pages: usize, wanted: Wanted<'_>) -> Result<Kept<Found>, Error> {
        let mut claims = Claims::new(Keep::Lowest, self.epoch, LOOK_BYTES);
        self.ask(query, pages, wanted, &mut claims).await?;
        Ok(claims.kept)
    }

    /// The answer to a question about one slot, from its oldest claims on and, if that is not enough, from its newest on.
    async fn ask_both_ends(self, query: Query, wanted: Wanted<'_>, claims: &mut Claims) -> Result<Asked, Error> {
        let newest = Query { ascending: false, ..query.clone() };
        let before = claims.kept.len();
        let mut asked = self.ask(query, MAX_PAGES_OF_ONE, wanted, claims).await?;
        if asked.cut && claims.kept.len() == before {
            let others = self.ask(newest, MAX_PAGES_OF_ONE, wanted, claims).await?;
            asked = Asked { seen: asked.seen + others.seen, good: asked.good + others.good, cut: others.cut };
        }
        Ok(asked)
    }

    /// Adds what a question finds, as far as it is wanted, in at most so many pages.
    async fn ask(
        self,
        mut query: Query,
        pages: usize,
        wanted: Wanted<'_>,
        claims: &mut Claims,
    ) -> Result<Asked, Error> {
        let mut asked = Asked { cut: true, ..Asked::default() };
        let mut seen = HashSet::new();
        let mut doubtful: BTreeMap<u64, Vec<(Node, String)>> = BTreeMap::new();
        for _ in 0..pages {
            let page = self.gateway().placed_nodes(&query).await;
            let page = page.map_err(|error| Error::Gateway(error.to_string()))?;
            // A server that gives the same page again and again has no more.
            let fresh: Vec<Node> = page.nodes.into_iter().filter(|node| seen.insert(node.id)).collect();
            let new = !fresh.is_empty();
            let mut looks = stream::iter(fresh.into_iter().map(|node| self.look(node))).buffer_unordered(LOOKS);
            while let Some(verdict) = looks.next().await {
                match verdict {
                    Verdict::Found(found) => {
                        asked.good += 1;
                        if wanted.takes(&found.says) {
                            claims.kept.add(*found);
                        }
                    }
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
                    Verdict::Other => {}
                }
            }
            match page.end_cursor {
                Some(cursor) if page.has_next_page && new => query.after = Some(cursor),
                _ => {
                    asked.cut = false;
                    break;
                }
            }
        }
        asked.seen = seen.len();
        doubtful.retain(|slot, _| !claims.kept.settles(*slot));
        asked.good += self.dig(doubtful, claims, wanted).await;
        Ok(asked)
    }

    /// The assignment that a gateway describes.
    async fn look(self, node: Node) -> Verdict {
        if node.owner.address != self.scheduler {
            return Verdict::Other;
        }
        match self.gateway().assembled(&node, MAX_INLINE_BYTES).await {
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

    /// Looks for claims in the bundles around them, as long as there is room for what is found, and says how many there were.
    async fn dig(self, doubtful: BTreeMap<u64, Vec<(Node, String)>>, claims: &mut Claims, wanted: Wanted<'_>) -> usize {
        let all = doubtful.into_iter().flat_map(|(slot, nodes)| nodes.into_iter().map(move |node| (slot, node)));
        let mut all: VecDeque<(u64, (Node, String))> = all.collect();
        if wanted.newest_first() {
            all.make_contiguous().reverse();
        }
        let mut digs = FuturesUnordered::new();
        // Bytes of those that are on their way.
        let mut expected = 0;
        let mut good = 0;
        loop {
            while digs.len() < DIGS
                && let Some((slot, (node, reason))) = all.pop_front()
            {
                let bytes = node.data_bytes.unwrap_or(UNKNOWN_BYTES).min(MAX_ASSIGNMENT_BYTES);
                if claims.kept.leaves_out(slot) || expected == 0 && !claims.kept.has_room(slot, bytes) {
                    claims.unseen.insert(slot);
                } else if claims.kept.has_enough(slot) {
                } else if !claims.kept.has_room(slot, expected + bytes) {
                    // Those on their way may turn out to be nothing.
                    all.push_front((slot, (node, reason)));
                    break;
                } else {
                    expected += bytes;
                    digs.push(async move {
                        let _held = self.items.hold(2 * node.data_bytes.unwrap_or(MAX_ASSIGNMENT_BYTES)).await;
                        let dug = self.gateway().item(&node, MAX_ASSIGNMENT_BYTES).await;
                        (slot, node, bytes, reason, dug)
                    });
                }
            }
            let Some((slot, node, bytes, reason, dug)) = digs.next().await else { break };
            expected -= bytes;
            let assignment = AssignmentId::from(node.id);
            match dug.map(|item| self.found(item, node.bundled_in)) {
                Ok(Verdict::Found(found)) if wanted.takes(&found.says) => {
                    good += 1;
                    claims.kept.add(*found);
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
        claims.settle();
        good
    }
}
