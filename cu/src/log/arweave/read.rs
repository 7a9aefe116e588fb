//! One window of a log: found, fetched, verified.
//!
//! What is signed does not say whether an assignment positions a message that was sent to the process or an item that
//! somebody had assigned; a process sees the two differently. Schedulers upload the assignment of an item alone in a bundle
//! of their own (spec 02 §5.3), and accept as messages only items that name the process as their target and are of type
//! `Message` (spec 02 §2). So an entry assigns an item if its assignment excludes fields, if the item could not have been
//! sent, or if the assignment lies alone in a bundle that the scheduler signed.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, TryStreamExt, stream};
use holon_arweave::{Gateway, Node, Verified};
use holon_protocol::assignment::Assignment;
use holon_protocol::{Address, AssignmentId, DataItem, ItemId, MessageId, Nonce, ProcessId, base64url, bundle, wire};

use super::fault::{Fault, SlotError};
use super::order::{self, Placed};
use super::{ArweaveLogs, Known, find, shelf};
use crate::error::Error;
use crate::hydrate::OnChain;
use crate::log::Position;

/// Items fetched at the same time for one window.
const FETCHES: usize = 16;
/// Largest assignment, with the message that some old ones carry, in bytes.
const MAX_ASSIGNMENT_BYTES: u64 = 16 << 20;
/// Largest message, in bytes; schedulers take less.
const MAX_MESSAGE_BYTES: u64 = 64 << 20;
/// Largest data of a process or of an assigned item, in bytes.
const MAX_ASSIGNED_BYTES: u64 = 1 << 30;

/// An entry, verified.
#[derive(Debug, Clone)]
pub struct Slot {
    /// The assignment.
    pub assignment: DataItem,
    /// What it positions.
    pub body: Body,
}

/// What an assignment positions.
#[derive(Debug, Clone)]
pub enum Body {
    /// A message, or the process itself.
    Item(DataItem),
    /// An item that is assigned.
    OnChain(Box<OnChain>),
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
    pub fn into_on_chain(self) -> Option<Box<OnChain>> {
        match self.body {
            Body::Item(_) => None,
            Body::OnChain(item) => Some(item),
        }
    }

    fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Item(item) => item.raw().len(),
            Body::OnChain(item) => item.data.len(),
        };
        self.assignment.raw().len() + body
    }
}

/// Some of the slots that belong together.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Entries by nonce.
    pub slots: BTreeMap<u64, Slot>,
    /// Slots that somebody claims, but that cannot be used.
    pub faults: BTreeMap<u64, Fault>,
}

impl Window {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.slots.values().map(Slot::bytes).sum()
    }
}

/// An assignment and what the gateway says about it.
struct Found {
    item: DataItem,
    says: Assignment,
    bundled_in: Option<ItemId>,
}

impl Placed for Found {
    fn id(&self) -> AssignmentId {
        self.item.id().into()
    }

    fn says(&self) -> &Assignment {
        &self.says
    }
}

/// Reads and verifies.
pub struct Reader<'a> {
    /// Where from.
    pub logs: &'a ArweaveLogs,
}

fn failed(error: holon_arweave::Error) -> Error {
    Error::Gateway(error.to_string())
}

impl Reader<'_> {
    fn gateway(&self) -> &Gateway {
        &self.logs.0.gateway
    }

    fn counted(&self) {
        self.logs.0.counts.fetched.fetch_add(1, Ordering::Relaxed);
        self.logs.0.counts.verified.fetch_add(1, Ordering::Relaxed);
    }

    /// An item's metadata, which must exist.
    async fn node(&self, id: ItemId) -> Result<Option<Node>, Error> {
        let look = || async move { Ok(find::items(self.gateway(), &[id]).await?.remove(&id)) };
        find::until_found(self.logs.0.retries, self.logs.0.backoff, look).await
    }

    /// The process's item, verified, and the wallet that schedules it.
    pub async fn process(&self, process: ProcessId) -> Result<(DataItem, Address), Error> {
        let missing = |reason: String| Error::Locate { process, reason };
        let node = self.node(process.into()).await?;
        let node = node.ok_or_else(|| missing(format!("process {process} is not known to the gateway")))?;
        let item = self.gateway().item(&node, MAX_ASSIGNED_BYTES).await.map_err(failed)?;
        self.counted();
        let scheduler = item.tags().get_ignore_case("Scheduler").and_then(|text| text.trim().parse().ok());
        let scheduler = scheduler.ok_or_else(|| missing("it has no usable Scheduler tag".into()))?;
        Ok((item, scheduler))
    }

    /// What the scheduler would say about the process: its own entry, or for an old process the bundle around it, has the
    /// time and the height.
    pub async fn record(
        &self,
        process: ProcessId,
        scheduler: Address,
        item: &DataItem,
    ) -> Result<wire::Process, Error> {
        let missing = |reason: &str| Error::Locate { process, reason: reason.to_owned() };
        let look = || async move {
            let mut first = None;
            for node in find::slots(self.gateway(), process, scheduler, [0]).await? {
                match self.assignment(scheduler, node).await? {
                    Ok(found) if found.says.process == process && found.says.nonce.0 == 0 => first = Some(found),
                    Ok(_) => {}
                    Err((_, fault)) => return Err(SlotError { process, slot: Nonce(0), fault }.into()),
                }
            }
            Ok(first)
        };
        let first = find::until_found(self.logs.0.retries, self.logs.0.backoff, look).await?;
        let first = first.ok_or_else(|| missing("no assignment of it is on Arweave"))?;
        if first.says.message.is_none() {
            return Ok(wire::Process::new(&first.item, item));
        }
        let around = self.node(process.into()).await?.and_then(|node| node.bundled_in);
        let container = match around {
            Some(around) => self.node(around).await?,
            None => None,
        };
        let container = container.filter(|node| node.owner.address == scheduler && bundle::is_bundle(&node.tags));
        let container = container.ok_or_else(|| missing("neither an assignment nor a bundle says when it was made"))?;
        let container = self.gateway().item(&container, MAX_ASSIGNED_BYTES).await.map_err(failed)?;
        self.counted();
        if container.owner_address() != scheduler {
            return Err(missing("the bundle around it is not the scheduler's"));
        }
        Ok(wire::Process::new(&container, item))
    }

    /// The greatest nonce among the newest assignments.
    pub async fn head(&self, process: ProcessId, scheduler: Address) -> Result<Option<Nonce>, Error> {
        find::head(self.gateway(), process, scheduler).await
    }

    /// A window: from disk what is there, the rest from the gateway. A gap before slots that are known, and a message that
    /// is not there, are looked at again for a while.
    pub async fn window(&self, known: &Known, number: u64) -> Result<Window, Error> {
        let path = self.logs.0.folder.as_ref().map(|folder| shelf::path(folder, known.process, number));
        let mut slots = match path.clone() {
            Some(path) => tokio::task::spawn_blocking(move || shelf::load(&path)).await.unwrap_or_default(),
            None => BTreeMap::new(),
        };
        self.logs.0.counts.shelved.fetch_add(slots.len() as u64, Ordering::Relaxed);
        let mut pause = self.logs.0.backoff;
        let mut tries_left = self.logs.0.retries;
        loop {
            let missing: Vec<u64> = find::window(number).filter(|nonce| !slots.contains_key(nonce)).collect();
            if missing.is_empty() {
                return Ok(Window { slots, faults: BTreeMap::new() });
            }
            let Window { slots: fetched, faults } = self.fetch(known, missing).await?;
            if !fetched.is_empty() {
                slots.extend(fetched);
                self.keep(path.clone(), &slots).await;
            }
            let gap = slots.keys().zip(find::window(number)).any(|(&found, expected)| found != expected);
            if tries_left == 0 || !gap && !faults.values().any(Fault::is_transient) {
                return Ok(Window { slots, faults });
            }
            tries_left -= 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(find::MAX_BACKOFF);
        }
    }

    async fn keep(&self, path: Option<PathBuf>, slots: &BTreeMap<u64, Slot>) {
        let Some(path) = path else { return };
        let slots = slots.clone();
        let stored = tokio::task::spawn_blocking(move || shelf::store(&path, &slots)).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!(%error, "verified entries cannot be kept; a later replay fetches them again");
        }
    }

    /// These slots, as far as they are known.
    async fn fetch(&self, known: &Known, slots: Vec<u64>) -> Result<Window, Error> {
        let nodes = find::slots(self.gateway(), known.process, known.scheduler, slots.iter().copied()).await?;
        let mut faults = BTreeMap::new();
        let mut found = Vec::with_capacity(nodes.len());
        let mut checks = stream::iter(nodes.into_iter().map(|node| self.assignment(known.scheduler, node)))
            .buffer_unordered(FETCHES);
        while let Some(checked) = checks.next().await {
            match checked? {
                Ok(assignment) => found.push(assignment),
                Err((Some(nonce), fault)) => drop(faults.insert(nonce.0, fault)),
                // What claims no slot is nobody's business.
                Err((None, _)) => {}
            }
        }
        drop(checks);
        let mut placed = order::place(known.process, &slots, found, &mut faults);
        placed.retain(|nonce, _| !faults.contains_key(nonce));
        let ids: Vec<ItemId> = placed.values().filter_map(|found| found.says.message.map(ItemId::from)).collect();
        let nodes = find::items(self.gateway(), &ids).await?;
        let around: Vec<ItemId> = placed.values().filter_map(|found| found.bundled_in).collect();
        let containers = self.containers(known.scheduler, around).await?;
        let bodies = placed.into_iter().map(|(nonce, found)| {
            let (nodes, containers) = (&nodes, &containers);
            async move { Ok::<_, Error>((nonce, self.slot(known, found, nodes, containers).await?)) }
        });
        let bodies: Vec<_> = stream::iter(bodies).buffer_unordered(FETCHES).try_collect().await?;
        let mut window = Window { slots: BTreeMap::new(), faults };
        for (nonce, body) in bodies {
            match body {
                Ok(slot) => drop(window.slots.insert(nonce, slot)),
                Err(fault) => drop(window.faults.insert(nonce, fault)),
            }
        }
        Ok(window)
    }

    /// An assignment, verified; or the slot it claims, and what is wrong.
    async fn assignment(&self, scheduler: Address, node: Node) -> Result<Result<Found, (Option<Nonce>, Fault)>, Error> {
        let claimed = Assignment::from_tags(&node.tags).ok().map(|says| says.nonce);
        let forged = |reason: String| Fault::Assignment { assignment: node.id.into(), reason };
        let item = match self.gateway().item(&node, MAX_ASSIGNMENT_BYTES).await {
            Ok(item) => item,
            Err(error @ holon_arweave::Error::Forged { .. }) => {
                return Ok(Err((claimed, forged(error.to_string()))));
            }
            Err(error) => return Err(failed(error)),
        };
        self.counted();
        let owner = item.owner_address();
        if owner != scheduler {
            let reason = format!("{owner} signed it; the process's scheduler is {scheduler}");
            return Ok(Err((claimed, forged(reason))));
        }
        match Assignment::from_tags(item.tags()) {
            Ok(says) => Ok(Ok(Found { item, says, bundled_in: node.bundled_in })),
            Err(error) => Ok(Err((claimed, forged(error.to_string())))),
        }
    }

    /// Which of these bundles the scheduler signed around one assignment alone, and around which.
    async fn containers(&self, scheduler: Address, mut around: Vec<ItemId>) -> Result<HashMap<ItemId, ItemId>, Error> {
        around.sort_unstable();
        around.dedup();
        let nodes = find::items(self.gateway(), &around).await?;
        let own = nodes.into_values().filter(|node| node.owner.address == scheduler && bundle::is_bundle(&node.tags));
        let opened = own.map(|node| async move {
            let item = self.gateway().item(&node, MAX_MESSAGE_BYTES).await.map_err(failed)?;
            self.counted();
            let bundle = holon_protocol::Bundle::parse(item.data()).ok();
            let alone = bundle.filter(|bundle| bundle.entries().len() == 1 && item.owner_address() == scheduler);
            Ok::<_, Error>(alone.and_then(|bundle| Some((node.id, bundle.entries().first()?.id))))
        });
        let opened: Vec<_> = stream::iter(opened).buffer_unordered(FETCHES).try_collect().await?;
        Ok(opened.into_iter().flatten().collect())
    }

    /// What an assignment positions.
    async fn slot(
        &self,
        known: &Known,
        found: Found,
        nodes: &HashMap<ItemId, Node>,
        containers: &HashMap<ItemId, ItemId>,
    ) -> Result<Result<Slot, Fault>, Error> {
        let Found { item: assignment, says, bundled_in } = found;
        let Some(message) = says.message.map(ItemId::from) else {
            return Ok(Ok(Slot { assignment, body: Body::Item(known.item.clone()) }));
        };
        let alone = bundled_in.and_then(|around| containers.get(&around)) == Some(&assignment.id());
        let Some(node) = nodes.get(&message) else {
            // Schedulers used to upload messages only inside the bundle that is the entry.
            let inside = match bundled_in {
                Some(bundle) => self.gateway().member(bundle, message, MAX_MESSAGE_BYTES).await,
                None => Ok(None),
            };
            return match inside {
                Ok(Some(item)) => {
                    self.counted();
                    Ok(Ok(Slot { assignment, body: Body::Item(item) }))
                }
                Ok(None) => Ok(Err(Fault::Absent { message })),
                Err(error) => fault_or_error(message, error),
            };
        };
        let sent = node.recipient == says.process.to_string() && says.exclude.is_empty() && !alone && is_message(node);
        if !sent {
            return Ok(match self.verified(node).await? {
                Ok(item) => Ok(Slot { assignment, body: Body::OnChain(Box::new(item)) }),
                Err(reason) => Err(Fault::Message { message, reason }),
            });
        }
        match self.gateway().item(node, MAX_MESSAGE_BYTES).await {
            Ok(item) => {
                self.counted();
                Ok(Ok(Slot { assignment, body: Body::Item(item) }))
            }
            Err(error) => fault_or_error(message, error),
        }
    }

    /// An item that is assigned; the inner error says why it cannot be believed.
    pub async fn on_chain(&self, id: ItemId) -> Result<Result<OnChain, String>, Error> {
        match self.node(id).await? {
            Some(node) => self.verified(&node).await,
            None => Ok(Err("it is not on Arweave".into())),
        }
    }

    async fn verified(&self, node: &Node) -> Result<Result<OnChain, String>, Error> {
        let verified = match self.gateway().verified(node, MAX_ASSIGNED_BYTES).await {
            Ok(verified) => verified,
            Err(error @ holon_arweave::Error::Forged { .. }) => return Ok(Err(error.to_string())),
            Err(error) => return Err(failed(error)),
        };
        self.counted();
        let spelled = |field: Option<[u8; 32]>| field.map(base64url::encode).unwrap_or_default();
        Ok(Ok(match verified {
            Verified::Item(item) => OnChain {
                id: item.id(),
                signature: base64url::encode(item.signature()),
                owner: wire::Owner::of(&item),
                tags: item.tags().clone(),
                recipient: spelled(item.target()),
                anchor: spelled(item.anchor()),
                data: String::from_utf8_lossy(&item.data()).into_owned(),
            },
            Verified::Transaction(transaction, data) => OnChain {
                id: transaction.id,
                signature: base64url::encode(&transaction.signature),
                owner: wire::Owner { address: transaction.owner_address(), key: base64url::encode(&transaction.owner) },
                tags: transaction.text_tags(),
                recipient: spelled(transaction.target),
                anchor: base64url::encode(&transaction.last_tx),
                data: String::from_utf8_lossy(&data).into_owned(),
            },
        }))
    }

    /// Where a message stands, or an assignment. One that only positions an item is found by its own id alone, as
    /// schedulers do.
    pub async fn position(&self, known: &Known, message: MessageId) -> Result<Position, Error> {
        let look = || self.look_for(known, message);
        let position = find::until_found(self.logs.0.retries, self.logs.0.backoff, look).await?;
        position.ok_or_else(|| Error::NotInLog { message: message.to_string(), process: known.process })
    }

    async fn look_for(&self, known: &Known, message: MessageId) -> Result<Option<Position>, Error> {
        let own = ItemId::from(message);
        let mut nodes = find::of_message(self.gateway(), known.process, known.scheduler, message).await?;
        nodes.extend(
            find::items(self.gateway(), &[own])
                .await?
                .into_values()
                .filter(|node| node.owner.address == known.scheduler && node.tags.contains("Type", "Assignment")),
        );
        let mut nonces: Vec<u64> = nodes
            .iter()
            .filter_map(|node| Assignment::from_tags(&node.tags).ok())
            .filter(|says| says.process == known.process)
            .map(|says| says.nonce.0)
            .collect();
        nonces.sort_unstable();
        nonces.dedup();
        let mut window = self.fetch(known, nonces.clone()).await?;
        for nonce in nonces {
            if let Some(fault) = window.faults.remove(&nonce) {
                return Err(SlotError { process: known.process, slot: Nonce(nonce), fault }.into());
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
                entry: Some(entry),
            }));
        }
        Ok(None)
    }
}

/// Whether a scheduler would take it as a message.
fn is_message(node: &Node) -> bool {
    let kind = node.tags.iter().find(|tag| tag.name == "Type" || tag.name == "type");
    kind.is_some_and(|tag| tag.value == "Message")
}

fn fault_or_error<T>(message: ItemId, error: holon_arweave::Error) -> Result<Result<T, Fault>, Error> {
    match error {
        error @ holon_arweave::Error::Forged { .. } => Ok(Err(Fault::Message { message, reason: error.to_string() })),
        error => Err(failed(error)),
    }
}
