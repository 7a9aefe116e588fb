//! Scheduler, compute unit and Arweave, without faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use holon_mu::crank::step::{Effect, Outcome, Standing};
use holon_mu::crank::task::ProcessRecord;
use holon_protocol::{Address, AssignmentId, ItemId, MessageId, Nonce, ProcessId, Tags};
use serde_json::{Value, json};

use super::random::Random;

pub const SCHEDULER: Address = Address::from_bytes([200; 32]);
pub const PROCESSES: u64 = 4;
/// Cron results of the first process.
pub const CRON_RESULTS: usize = 12;

pub fn id(number: u64) -> ItemId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ItemId::from_bytes(bytes)
}

pub fn process(number: u64) -> ProcessId {
    id(number + 1).into()
}

pub fn record() -> ProcessRecord {
    ProcessRecord { module: "module".into(), scheduler: SCHEDULER, cron: false }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub target: Option<ItemId>,
    pub anchor: String,
    pub tags: Tags,
    pub data: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Item(ItemId),
    Assigned(AssignmentId, ItemId),
}

impl Entry {
    fn id(&self) -> ItemId {
        match self {
            Self::Item(item) => *item,
            Self::Assigned(assignment, _) => (*assignment).into(),
        }
    }
}

#[derive(Default)]
pub struct Network {
    pub items: HashMap<ItemId, Item>,
    pub logs: BTreeMap<ProcessId, Vec<Entry>>,
    pub uploads: Vec<ItemId>,
    /// Whether assigning an item twice is refused; the specification leaves it open.
    pub refuses_repeated_assignments: bool,
    /// While set, items with this data are refused for good.
    pub poison: Option<&'static str>,
    /// What the compute unit was asked for.
    pub pulled: BTreeSet<ItemId>,
    pub made: u64,
}

type Content = (Option<ItemId>, String, Vec<(String, String)>, String);

impl Network {
    pub fn sign(&mut self, item: Item) -> ItemId {
        self.made += 1;
        let new = id((1 << 40) + self.made);
        self.items.insert(new, item);
        new
    }

    fn content(item: &Item) -> Content {
        let tags = item.tags.iter().filter(|tag| tag.name != "Pushed-For");
        let tags = tags.map(|tag| (tag.name.clone(), tag.value.clone())).collect();
        (item.target, item.anchor.clone(), tags, item.data.clone())
    }

    /// The place that the item gets.
    pub fn accept(&mut self, new: ItemId) -> Result<Nonce, String> {
        let item = self.items[&new].clone();
        if self.poison.is_some_and(|data| item.data == data) {
            return Err("400: not today".into());
        }
        if item.tags.get("Type") == Some("Process") {
            if self.logs.contains_key(&new.into()) {
                return Err("400: Message already exists".into());
            }
            self.logs.insert(new.into(), vec![Entry::Item(new)]);
            return Ok(Nonce(0));
        }
        let items = &self.items;
        let log = self.logs.get_mut(&item.target.unwrap().into()).ok_or("400: Process not found")?;
        let pushed = item.tags.get("From-Process").is_some();
        for entry in log.iter() {
            let Entry::Item(old) = entry else { continue };
            if *old == new {
                return Err("400: Message already exists".into());
            }
            if pushed && Self::content(&items[old]) == Self::content(&item) {
                return Err("400: Deep hash already exists".into());
            }
        }
        log.push(Entry::Item(new));
        Ok(Nonce(log.len() as u64 - 1))
    }

    pub fn assign(&mut self, to: ProcessId, message: ItemId) -> Result<(AssignmentId, Nonce), String> {
        self.made += 1;
        let new = id((1 << 50) + self.made).into();
        let refuses = self.refuses_repeated_assignments;
        let log = self.logs.get_mut(&to).ok_or("400: Process not found")?;
        if refuses && log.iter().any(|entry| matches!(entry, Entry::Assigned(_, old) if *old == message)) {
            return Err("400: Deep hash already exists".into());
        }
        log.push(Entry::Assigned(new, message));
        Ok((new, Nonce(log.len() as u64 - 1)))
    }

    pub fn has(&self, item: ItemId, log: ProcessId) -> bool {
        self.logs.get(&log).is_some_and(|log| log.iter().any(|entry| entry.id() == item))
    }

    /// What the entry at `index` of a process's log makes it emit; a number in the data says how deep the tree goes.
    pub fn result(&self, emitter: ProcessId, index: usize) -> Value {
        let (mut messages, mut spawns, mut assignments) = (Vec::new(), Vec::new(), Vec::new());
        if let Entry::Item(entry) = &self.logs[&emitter][index]
            && let Ok(depth @ 1..) = self.items[entry].data.parse::<u64>()
        {
            let mut random = Random(u64::from(emitter.as_bytes()[7]) * 1_000 + index as u64);
            let (first, second) = (process(random.next() % PROCESSES), process(random.next() % PROCESSES));
            let wallet = id((1 << 60) + random.next() % 3);
            let mut emit = |target: String, data: u64| {
                let anchor = index * 100 + messages.len();
                messages.push(json!({
                    "Target": target, "Anchor": anchor.to_string(), "Data": data,
                    "Tags": [{ "name": "Reference", "value": anchor }],
                }));
            };
            emit(first.to_string(), depth - 1);
            emit(first.to_string(), 0);
            emit(wallet.to_string(), 0);
            emit(second.to_string(), depth - 1);
            messages.push(json!({ "Target": "nonsense" }));
            if depth == 3 {
                spawns.push(json!({
                    "Data": 1, "Tags": [{ "name": "Module", "value": "m" }, { "name": "Reference", "value": index * 100 }],
                }));
            }
            // The process itself is announced already.
            if depth == 2 && index > 0 {
                assignments.push(json!({ "Processes": [second], "Message": entry }));
            }
        }
        json!({ "Messages": messages, "Spawns": spawns, "Assignments": assignments })
    }

    /// What the first process emits at its cron message `number`: one message to the second and one to the third.
    pub fn cron_result(&self, number: usize) -> Value {
        let messages: Vec<_> = (0..2)
            .map(|place| {
                let anchor = 1_000_000 + number * 10 + place;
                json!({
                    "Target": process(1 + place as u64), "Anchor": anchor.to_string(), "Data": "0",
                    "Tags": [{ "name": "Reference", "value": anchor }],
                })
            })
            .collect();
        json!({ "Messages": messages, "Spawns": [], "Assignments": [] })
    }

    fn index(&self, message: MessageId, of: ProcessId) -> Option<usize> {
        let message = ItemId::from(message);
        self.logs.get(&of)?.iter().position(|entry| entry.id() == message)
    }

    fn find_assignment(
        &self,
        process: ProcessId,
        message: ItemId,
        first: Option<Nonce>,
    ) -> Option<(AssignmentId, Nonce)> {
        let log = self.logs.get(&process)?;
        let mut fits = log.iter().enumerate().filter_map(|(nonce, entry)| match entry {
            Entry::Assigned(assignment, found) if *found == message => Some((nonce as u64, *assignment)),
            _ => None,
        });
        match first {
            Some(first) => fits.find(|(nonce, _)| *nonce >= first.0),
            None => fits.next_back(),
        }
        .map(|(nonce, assignment)| (assignment, Nonce(nonce)))
    }

    pub fn perform(&mut self, effect: &Effect) -> Outcome {
        match effect {
            Effect::Find { item, process, .. } => {
                let place = self.logs.get(process).and_then(|log| log.iter().position(|entry| entry.id() == *item));
                let standing = |place| Standing { nonce: Some(Nonce(place as u64)), ..Standing::default() };
                place.map_or(Outcome::NotThere, |place| Outcome::There(standing(place)))
            }
            Effect::FindAssignment { process, message, first, .. } => {
                let found = self.find_assignment(*process, *message, *first);
                found.map_or(Outcome::NotThere, |(id, nonce)| Outcome::Assigned(id, Some(nonce)))
            }
            Effect::NextNonce { process } => {
                Outcome::NextNonce(Nonce(self.logs.get(process).map_or(0, |log| log.len() as u64)))
            }
            Effect::Pull { message, process } => match self.index(*message, *process) {
                Some(index) => {
                    self.pulled.insert((*message).into());
                    Outcome::Result(self.result(*process, index).into())
                }
                None => Outcome::Failed("500: no such message".into()),
            },
            Effect::Facts { target, .. } => Outcome::Facts {
                record: record(),
                wallet: target.is_some_and(|target| !self.logs.contains_key(&target.into())),
            },
            Effect::Sign { unsigned, .. } => {
                let anchor = unsigned.anchor.map(|anchor| String::from_utf8(anchor.to_vec()).unwrap());
                let item = self.sign(Item {
                    target: unsigned.target,
                    anchor: anchor.unwrap_or_default(),
                    tags: unsigned.tags.clone(),
                    data: unsigned.data.clone(),
                });
                Outcome::Signed { item, raw: Bytes::copy_from_slice(item.as_bytes()) }
            }
            Effect::Post { raw, .. } => match self.accept(item_of(raw)) {
                Ok(nonce) => Outcome::Accepted(Some(nonce)),
                Err(reason) => Outcome::Refused(reason),
            },
            Effect::Upload { raw } => {
                self.uploads.push(item_of(raw));
                Outcome::Accepted(None)
            }
            Effect::PostAssign { assign } => match self.assign(assign.process, assign.message) {
                Ok((assignment, nonce)) => Outcome::Assigned(assignment, Some(nonce)),
                Err(reason) => Outcome::Refused(reason),
            },
        }
    }
}

fn item_of(raw: &Bytes) -> ItemId {
    ItemId::from_bytes(raw[..].try_into().unwrap())
}
