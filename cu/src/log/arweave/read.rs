//! One window of a log: found, fetched, verified.
//!
//! What cannot be had is missing by itself: the rest of the window is kept, and only what is missing is asked for again. A
//! window has a limit in bytes; slots beyond it are left for the next question.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use holon_arweave::{Gateway, Node, Verified};
use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::{Address, Bundle, DataItem, ItemId, MessageId, Nonce, ProcessId, bundle, wire};

use super::claims::{Claimed, Found, MAX_ASSIGNMENT_BYTES, Wanted};
use super::kind::{self, Around};
use super::{ArweaveLogs, Known, MAX_MESSAGE_BYTES, find, order, shelf};
use crate::error::Error;
use crate::hydrate::{self, OnChain};
use crate::log::assigned::fault_or_error;
use crate::log::budget::Held;
use crate::log::{Fault, Logged, Position, SlotError};

/// Items fetched at the same time for one window.
const FETCHES: usize = 16;
/// What an item is taken to have when the gateway does not say how large it is, in bytes.
const UNKNOWN_BYTES: u64 = 2 << 20;
/// What a slot takes besides its items' data, in bytes.
const SLOT_BYTES: u64 = 8 << 10;
/// How long what must be there is looked for again at least, however short the pauses are.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Most pages of a question about one message.
const MESSAGE_PAGES: usize = 10;

/// An entry, verified.
#[derive(Debug, Clone)]
pub struct Slot {
    /// The assignment.
    pub assignment: DataItem,
    /// What it positions.
    pub body: Body,
}

/// What an assignment positions. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Body {
    /// A message, or the process itself.
    Item(DataItem),
    /// An item that is assigned.
    OnChain(Arc<OnChain>),
}

impl Slot {
    /// The entry as the scheduler would serve it.
    pub fn entry(&self) -> wire::Entry {
        let item = match &self.body {
            Body::Item(item) => Some(item),
            Body::OnChain(_) => None,
        };
        wire::Entry::new(&self.assignment, item, false)
    }

    /// The assigned item, if it is one.
    pub fn into_on_chain(self) -> Option<Arc<OnChain>> {
        match self.body {
            Body::Item(_) => None,
            Body::OnChain(item) => Some(item),
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        let body = match &self.body {
            Body::Item(item) => item.raw().len(),
            Body::OnChain(item) => item.data.len(),
        };
        SLOT_BYTES + self.assignment.raw().len() as u64 + body as u64
    }
}

/// Some of the slots that belong together.
#[derive(Debug, Default)]
pub struct Window {
    /// Entries by nonce.
    pub slots: BTreeMap<u64, Slot>,
    /// Slots that somebody claims, but that cannot be used.
    pub faults: BTreeMap<u64, Fault>,
    /// Slots that could not be had.
    pub failed: BTreeMap<u64, Error>,
    /// Slots that are there and were not fetched, because the others are large.
    pub rest: BTreeSet<u64>,
    /// Slots that somebody claims, which was not looked into for the same reason.
    pub unseen: BTreeSet<u64>,
    /// The room that it takes.
    pub held: Held,
}

impl Window {
    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.slots.values().map(Slot::bytes).sum()
    }

    /// Whether a slot has to be asked for again: it was left for later, or could be told from other claims once the one before it is known.
    pub fn leaves(&self, slot: u64) -> bool {
        let crowded = matches!(self.faults.get(&slot), Some(Fault::Crowded { .. }));
        self.rest.contains(&slot) || self.unseen.contains(&slot) || crowded
    }

    /// The first slot after `slot` that is known to exist.
    pub fn later(&self, slot: u64) -> Option<u64> {
        let slots = self.slots.range(slot + 1..).next().map(|(&later, _)| later);
        slots.into_iter().chain(self.rest.range(slot + 1..).next().copied()).min()
    }
}

/// Which part of a window to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The window.
    pub number: u64,
    /// Its first slot that is needed.
    pub first: u64,
    /// The last slot that is needed: nobody waits for what comes after it.
    pub last: u64,
    /// The last slot of the log, as far as is known.
    pub head: Option<u64>,
    /// How much to fetch, in bytes; one slot is always fetched.
    pub limit_bytes: u64,
    /// What the first slot's link of the hash chain has to be, if that is known.
    pub link: Option<HashChain>,
}

/// Metadata of items, as the gateway gives it.
type Nodes = HashMap<ItemId, Node>;

/// Reads and verifies.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// Where from.
    pub logs: &'a ArweaveLogs,
}

fn failed(error: holon_arweave::Error) -> Error {
    Error::Gateway(error.to_string())
}

impl<'a> Reader<'a> {
    fn gateway(self) -> &'a Gateway {
        self.logs.0.items.gateway()
    }

    fn counted(self, items: usize) {
        self.logs.0.counts.fetched.fetch_add(items as u64, Ordering::Relaxed);
        self.logs.0.counts.verified.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// The claims to a process's log.
    pub fn claims_of(self, known: &Known) -> Claimed<'a> {
        let Known { process, scheduler, epoch, .. } = *known;
        Claimed { items: &self.logs.0.items, process, scheduler, epoch: Some(epoch) }
    }

    /// An item's metadata, which must exist.
    async fn node(self, id: ItemId) -> Result<Option<Node>, Error> {
        let look = || async move { Ok(find::items(self.gateway(), &[id]).await?.remove(&id)) };
        find::until_found(self.logs.0.retries, self.logs.0.backoff, look).await
    }

    /// The process's item, verified, and the wallet that schedules it.
    pub async fn process(self, process: ProcessId) -> Result<(DataItem, Address), Error> {
        let missing = |reason: String| Error::Locate { process, reason };
        let node = self.node(process.into()).await?;
        let node = node.ok_or_else(|| missing(format!("process {process} is not known to the gateway")))?;
        let item = self.gateway().item(&node, MAX_MESSAGE_BYTES).await.map_err(failed)?;
        self.counted(1);
        let scheduler = item.tags().get_ignore_case("Scheduler").and_then(|text| text.trim().parse().ok());
        let scheduler = scheduler.ok_or_else(|| missing("it has no usable Scheduler tag".into()))?;
        Ok((item, scheduler))
    }

    /// What the scheduler would say about the process: its own entry, or for an old process the bundle around it, has the
    /// time and the height. With the epoch in which its log begins.
    pub async fn record(
        self,
        process: ProcessId,
        scheduler: Address,
        item: &DataItem,
    ) -> Result<(wire::Process, u64), Error> {
        let claimed = Claimed { items: &self.logs.0.items, process, scheduler, epoch: None };
        let missing = |reason: &str| Error::Locate { process, reason: reason.to_owned() };
        let look = || async move {
            let mut claims = claimed.slots(&[0], MAX_ASSIGNMENT_BYTES).await?;
            if let Some(Fault::Crowded { .. }) = claims.invalid.get(&0) {
                claimed.chained(0, HashChain::first(process), &mut claims).await?;
            }
            let mut faults = claims.invalid;
            let first = order::place(process, &[0], claims.kept.into_parts().0, &mut faults).remove(&0);
            match (first, faults.remove(&0)) {
                (Some(first), _) => Ok(Some(Ok(first))),
                (None, Some(fault @ Fault::Equivocation { .. })) => Ok(Some(Err(fault))),
                (None, fault) => Ok(claims.failed.into_values().next().map_or(Ok(fault.map(Err)), Err)?),
            }
        };
        let first = find::until_found(self.logs.0.retries, self.logs.0.backoff, look).await?;
        let Some(first) = first else {
            let there = claimed.there(&find::later(0)).await?;
            return Err(match there.into_iter().filter(|&later| later > 0).min() {
                None => missing("no assignment of it is on Arweave"),
                Some(later) => {
                    SlotError { process, slot: Nonce(0), fault: Fault::Missing { later: Nonce(later) } }.into()
                }
            });
        };
        let first = first.map_err(|fault| SlotError { process, slot: Nonce(0), fault })?;
        self.counted(1);
        if first.says.message.is_none() {
            return Ok((wire::Process::new(&first.item, item), first.says.epoch));
        }
        let around = self.node(process.into()).await?.and_then(|node| node.bundled_in);
        let container = match around {
            Some(around) => self.node(around).await?,
            None => None,
        };
        let none = "neither an assignment nor a bundle says when it was made";
        let container = container.filter(|node| bundle::is_bundle(&node.tags)).ok_or_else(|| missing(none))?;
        let container = self.gateway().item(&container, 2 * MAX_MESSAGE_BYTES).await.map_err(failed)?;
        self.counted(1);
        if container.owner_address() != scheduler {
            return Err(missing("the bundle around it is not the scheduler's"));
        }
        let inside = Bundle::parse(container.data()).ok().filter(|_| bundle::is_bundle(container.tags()));
        let holds = inside.is_some_and(|inside| {
            inside.entries().len() == 1 && inside.item_unverified(0).is_ok_and(|item| item.id() == process.into())
        });
        if !holds {
            return Err(missing("the bundle that is said to be around it holds something else"));
        }
        Ok((wire::Process::new(&container, item), first.says.epoch))
    }

    /// A window: from disk what is there, the rest from the gateway as far as it is needed. A gap before slots that are known, and what
    /// is not there yet, are looked at again for a while, as long as the first slot is not there.
    pub async fn window(self, known: &Known, part: Part) -> Window {
        let mut window = self.needed(known, part).await;
        let beyond = find::window(part.number).skip_while(|slot| *slot <= part.last);
        window.rest.extend(beyond.filter(|slot| part.head.is_some_and(|head| head >= *slot)));
        window
    }

    async fn needed(self, known: &Known, part: Part) -> Window {
        let path = self.logs.0.folder.as_ref().map(|folder| shelf::path(folder, known.process, part.number));
        let mut window = Window::default();
        let mut on_disk = BTreeSet::new();
        if let Some(path) = path.clone() {
            let load = move || shelf::load(&path, part.first, part.limit_bytes);
            (window.slots, on_disk) = tokio::task::spawn_blocking(load).await.unwrap_or_default();
        }
        self.logs.0.counts.shelved.fetch_add(window.slots.len() as u64, Ordering::Relaxed);
        let mut pause = self.logs.0.backoff;
        let mut tries_left = self.logs.0.retries;
        // A question may take as long as all its own retries: it is not asked as often again.
        let (begun, patience) = (Instant::now(), find::patience(tries_left, pause).max(LEAST_PATIENCE));
        loop {
            let slots = part.first..find::window(part.number).end.min(part.last.saturating_add(1));
            let absent: Vec<u64> = slots.clone().filter(|nonce| !window.slots.contains_key(nonce)).collect();
            // Slots on disk are used before anything is asked about those after them.
            let until = on_disk.first().copied().unwrap_or(u64::MAX);
            let missing: Vec<u64> = absent.iter().copied().filter(|slot| *slot < until).collect();
            let room = part.limit_bytes.saturating_sub(window.bytes());
            if missing.is_empty() || room == 0 && window.slots.contains_key(&part.first) {
                let there = |slot: &u64| on_disk.contains(slot) || part.head.is_some_and(|head| head >= *slot);
                window.rest = absent.into_iter().filter(there).collect();
                return window;
            }
            let before = window.slots.len();
            match self.fetch(known, &missing, room, part.link.filter(|_| missing[0] == part.first)).await {
                Ok(Window { slots, faults, failed, rest, unseen, .. }) => {
                    window.slots.extend(slots);
                    (window.faults, window.failed) = (faults, failed);
                    (window.rest, window.unseen) = (&rest | &on_disk, unseen);
                }
                // It concerns all of them.
                Err(error) => window.failed = missing.iter().map(|&slot| (slot, error.clone())).collect(),
            }
            let progress = window.slots.len() > before;
            if progress {
                self.keep(path.clone(), known.epoch, &window.slots).await;
            }
            let last = window.slots.keys().next_back().copied();
            let last = last.max(window.rest.last().copied()).max(part.head);
            let gap = slots.clone().filter(|&slot| Some(slot) <= last).any(|slot| {
                let accounted = window.slots.contains_key(&slot) || window.rest.contains(&slot);
                !accounted
                    && !window.unseen.contains(&slot)
                    && !window.faults.contains_key(&slot)
                    && !window.failed.contains_key(&slot)
            });
            // A crowded slot is told from other claims when the one before it is known.
            let later = |slot: u64, fault: &Fault| matches!(fault, Fault::Crowded { .. }) && slot > part.first;
            let late = gap || window.faults.iter().any(|(slot, fault)| fault.is_transient() && !later(*slot, fault));
            // The gateway client has tried what failed often enough, unless other things have worked since.
            let again = late || progress && !window.failed.is_empty();
            // What comes before a slot that is late is not held up by it: who waits goes on with that, and asks for the slot next.
            let begins = window.slots.contains_key(&part.first);
            if tries_left == 0 || !again || begins || begun.elapsed() >= patience {
                return window;
            }
            tries_left -= 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(find::MAX_BACKOFF);
        }
    }

    /// Keeps entries of the log's epoch: one of another stands only where its own may still come.
    async fn keep(self, path: Option<PathBuf>, epoch: u64, slots: &BTreeMap<u64, Slot>) {
        let Some(path) = path else { return };
        let own = |slot: &Slot| Assignment::from_tags(slot.assignment.tags()).is_ok_and(|says| says.epoch == epoch);
        let slots: BTreeMap<u64, Slot> =
            slots.iter().filter(|(_, slot)| own(slot)).map(|(nonce, slot)| (*nonce, slot.clone())).collect();
        // One at a time: each holds what a file holds.
        let Ok(_writing) = self.logs.0.shelving.acquire().await else { return };
        let stored = tokio::task::spawn_blocking(move || shelf::add(&path, &slots)).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!(%error, "verified entries cannot be kept; a later replay fetches them again");
        }
    }

    /// These slots, as far as they are known and fit into `room`. The first has this link of the hash chain, if that is known.
    async fn fetch(self, known: &Known, slots: &[u64], room: u64, link: Option<HashChain>) -> Result<Window, Error> {
        let claimed = self.claims_of(known);
        let mut claims = claimed.slots(slots, room).await?;
        if let (Some(link), [first, ..]) = (link, slots)
            && let Some(Fault::Crowded { .. }) = claims.invalid.get(first)
        {
            claimed.chained(*first, link, &mut claims).await?;
        }
        self.counted(claims.kept.len());
        let (found, rest) = claims.kept.into_parts();
        let mut window =
            Window { faults: claims.invalid, failed: claims.failed, rest, unseen: claims.unseen, ..Window::default() };
        let placed = order::place(known.process, slots, found, &mut window.faults);
        window.failed.retain(|slot, _| !placed.contains_key(slot));
        let ids = placed.values().flat_map(|found| found.bundled_in.into_iter().chain(message_of(found)));
        let mut ids: Vec<ItemId> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let nodes = find::items(self.gateway(), &ids).await?;
        let mut left = room;
        let mut chosen = Vec::with_capacity(placed.len());
        for (nonce, found) in placed {
            let bytes = expected_bytes(known, &found, &nodes);
            if bytes > left && !chosen.is_empty() || window.rest.first().is_some_and(|first| *first < nonce) {
                window.rest.insert(nonce);
                continue;
            }
            left = left.saturating_sub(bytes);
            chosen.push((nonce, found));
        }
        let nodes = &nodes;
        let bodies =
            chosen.into_iter().map(|(nonce, found)| async move { (nonce, self.slot(known, found, nodes).await) });
        let mut bodies = stream::iter(bodies).buffer_unordered(FETCHES);
        while let Some((nonce, body)) = bodies.next().await {
            match body {
                Ok(Ok(slot)) => {
                    window.slots.insert(nonce, slot);
                    // Some gateways do not say how large items are.
                    while window.slots.len() > 1
                        && window.bytes() > room
                        && let Some((last, _)) = window.slots.pop_last()
                    {
                        window.rest.insert(last);
                    }
                }
                Ok(Err(fault)) => drop(window.faults.insert(nonce, fault)),
                Err(error) => drop(window.failed.insert(nonce, error)),
            }
        }
        Ok(window)
    }

    /// What an assignment positions.
    async fn slot(self, known: &Known, found: Found, nodes: &Nodes) -> Result<Result<Slot, Fault>, Error> {
        let Found { item: assignment, says, bundled_in } = found;
        let slot = |body| Ok(Ok(Slot { assignment: assignment.clone(), body }));
        let Some(message) = says.message.map(ItemId::from) else {
            return slot(Body::Item(known.item.clone()));
        };
        let around = match self.around(known.scheduler, &assignment, message, bundled_in, nodes).await? {
            Ok(around) => around,
            Err(fault) => return Ok(Err(fault)),
        };
        let alone = match around {
            Around::With(item) => return slot(Body::Item(item)),
            Around::Alone => true,
            Around::Nothing => false,
        };
        let items = &self.logs.0.items;
        let assigned = |found: &Verified| match found.data().len() as u64 > items.limit_bytes() {
            true => Err(Fault::TooLarge { message, limit_bytes: items.limit_bytes() }),
            false => Ok(Body::OnChain(Arc::new(OnChain::new(found.header(), &found.data())))),
        };
        let found = match nodes.get(&message) {
            Some(node) if alone || !says.exclude.is_empty() => {
                let item = items.get(node, !hydrate::excludes(&says, "Data")).await?;
                self.counted(1);
                return match item {
                    Ok(item) => slot(Body::OnChain(Arc::new(item))),
                    Err(fault) => Ok(Err(fault)),
                };
            }
            Some(node) => items.verified(node, MAX_MESSAGE_BYTES.max(items.limit_bytes())).await?,
            None => match self.inside(bundled_in, message).await? {
                Ok(item) => Ok(Verified::Item(item)),
                Err(fault) => Err(fault),
            },
        };
        self.counted(1);
        match found {
            Err(fault) => Ok(Err(fault)),
            Ok(found) => match found {
                Verified::Item(ref item) if !alone && kind::is_sent(known.process, &says, &found) => {
                    slot(Body::Item(item.clone()))
                }
                found => match assigned(&found) {
                    Ok(body) => slot(body),
                    Err(fault) => Ok(Err(fault)),
                },
            },
        }
    }

    /// A message that the gateway does not list: schedulers used to upload messages only inside the bundle that is the entry.
    async fn inside(self, bundle: Option<ItemId>, message: ItemId) -> Result<Result<DataItem, Fault>, Error> {
        let Some(bundle) = bundle else { return Ok(Err(Fault::Absent { message })) };
        match self.gateway().member(bundle, message, MAX_MESSAGE_BYTES).await {
            Ok(Some(item)) => Ok(Ok(item)),
            Ok(None) => Ok(Err(Fault::Absent { message })),
            Err(error) => fault_or_error(message, MAX_MESSAGE_BYTES, error).map(Err),
        }
    }

    /// What the scheduler's bundle around an assignment says about it, if there is one.
    async fn around(
        self,
        scheduler: Address,
        assignment: &DataItem,
        message: ItemId,
        bundled_in: Option<ItemId>,
        nodes: &Nodes,
    ) -> Result<Result<Around, Fault>, Error> {
        if let found @ Around::With(_) = kind::around(assignment, assignment.id(), message) {
            return Ok(Ok(found));
        }
        let Some(node) = bundled_in.and_then(|bundle| nodes.get(&bundle)).filter(|node| is_container(node, scheduler))
        else {
            return Ok(Ok(Around::Nothing));
        };
        match self.logs.0.items.verified(node, MAX_CONTAINER_BYTES).await? {
            Ok(Verified::Item(container)) => {
                self.counted(1);
                match container.owner_address() == scheduler {
                    true => Ok(Ok(kind::around(&container, assignment.id(), message))),
                    false => Ok(Ok(Around::Nothing)),
                }
            }
            Ok(Verified::Transaction(..)) => Ok(Ok(Around::Nothing)),
            Err(Fault::Message { message: bundle, reason }) => Ok(Err(Fault::Bundle { bundle, reason })),
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// Where a message stands, or an assignment. One that only positions an item is found by its own id alone, as
    /// schedulers do.
    pub async fn position(self, known: &Known, message: MessageId) -> Result<Position, Error> {
        let look = || self.look_for(known, message);
        let position = find::until_found(self.logs.0.retries, self.logs.0.backoff, look).await?;
        position.ok_or_else(|| Error::NotInLog { message: message.to_string(), process: known.process })
    }

    async fn look_for(self, known: &Known, message: MessageId) -> Result<Option<Position>, Error> {
        let own = ItemId::from(message);
        let claims = self.claims_of(known);
        let query = find::of_message(known.process, known.scheduler, message);
        let mut nonces: BTreeSet<u64> =
            claims.of(query, MESSAGE_PAGES, Wanted::Message(message)).await?.slots().collect();
        let query = holon_arweave::Query::ids([own]).tag("Type", "Assignment");
        let (found, _) = claims.of(query, 1, Wanted::Any).await?.into_parts();
        nonces.extend(found.filter(|found| found.item.id() == own).map(|found| found.says.nonce.0));
        for nonce in nonces {
            let mut window = self.fetch(known, &[nonce], 0, None).await?;
            if let Some(fault) = window.faults.remove(&nonce) {
                return Err(SlotError { process: known.process, slot: Nonce(nonce), fault }.into());
            }
            if let Some(error) = window.failed.remove(&nonce) {
                return Err(error);
            }
            let Some(slot) = window.slots.remove(&nonce) else { continue };
            let entry = slot.entry();
            let is_item = entry.message.as_ref().is_some_and(|item| item.id == own);
            if !is_item && slot.assignment.id() != own {
                continue;
            }
            let says =
                Assignment::from_tags(slot.assignment.tags()).map_err(|error| Error::Gateway(error.to_string()))?;
            return Ok(Some(Position {
                process: says.process,
                timestamp: says.timestamp,
                nonce: says.nonce,
                entry: Some(Logged { entry, on_chain: slot.into_on_chain(), verified: true }),
            }));
        }
        Ok(None)
    }
}

/// Largest bundle of an assignment and a message, in bytes.
const MAX_CONTAINER_BYTES: u64 = MAX_MESSAGE_BYTES + (64 << 10);

fn message_of(found: &Found) -> Option<ItemId> {
    found.says.message.map(ItemId::from)
}

/// Whether the gateway says that it is a bundle in which the scheduler keeps one entry.
fn is_container(node: &Node, scheduler: Address) -> bool {
    node.owner.address == scheduler
        && bundle::is_bundle(&node.tags)
        && node.data_bytes.is_none_or(|bytes| bytes <= MAX_CONTAINER_BYTES)
}

/// How many bytes an entry will hold, as far as the gateway says.
fn expected_bytes(known: &Known, found: &Found, nodes: &Nodes) -> u64 {
    let data = |node: &Node| node.data_bytes.unwrap_or(UNKNOWN_BYTES);
    let container = found.bundled_in.and_then(|bundle| nodes.get(&bundle));
    let container = container.filter(|node| is_container(node, known.scheduler)).map(data);
    let body = match message_of(found) {
        None => Some(known.item.raw().len() as u64),
        Some(message) => nodes.get(&message).map(data),
    };
    SLOT_BYTES + found.item.raw().len() as u64 + body.or(container).unwrap_or(UNKNOWN_BYTES)
}
