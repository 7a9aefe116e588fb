//! Tags and fields of what the messenger signs (spec 04 §10.2 to §10.4 with the rules of §16).
//!
//! The order of tags is part of the scheduler's duplicate check: changing it lets messages through that were pushed
//! before.

use holon_protocol::item::{Builder, ItemError, MAX_TAG_BYTES, MAX_TAG_NAME_BYTES, MAX_TAG_VALUE_BYTES, MAX_TAGS};
use holon_protocol::{Address, DataItem, ItemId, ProcessId, Tag, Tags};

use super::outgoing::{ANCHOR_BYTES, Message, Spawn};
use super::task::ProcessRecord;

/// Variant of everything this messenger writes.
pub const VARIANT: &str = "ao.TN.1";

/// A process whose result is being pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitter {
    /// Its id.
    pub process: ProcessId,
    /// Its module and scheduler.
    pub record: ProcessRecord,
    /// What becomes of what it says of its own origin.
    pub claims: Claims,
}

/// What becomes of tags in which a process says where its messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claims {
    /// The messenger's take their place: whoever trusts the messenger trusts these (spec 04 §17).
    Replaced,
    /// They stay in front. For tests of what that leads to.
    Kept,
}

/// Tags with which a process could claim another origin.
const CLAIMS: [&str; 3] = ["From-Process", "From-Module", "Pushed-For"];

/// An item ready to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Process or wallet.
    pub target: Option<ItemId>,
    /// Anchor.
    pub anchor: Option<[u8; ANCHOR_BYTES]>,
    /// Tags in order.
    pub tags: Tags,
    /// Data.
    pub data: String,
}

impl Unsigned {
    /// The item to sign.
    pub fn builder(self) -> Builder {
        let mut builder = DataItem::builder().tags(self.tags.0).data(self.data.into_bytes());
        if let Some(target) = self.target {
            builder = builder.target(target);
        }
        if let Some(anchor) = self.anchor {
            builder = builder.anchor(anchor);
        }
        builder
    }

    /// Tags named `type` go last: schedulers take the first tag named `Type` or `type` for what the item is, and that must be
    /// the messenger's. Then checks the limits that signing would refuse, so that an entry which can never be sent is known without trying.
    fn check(mut self) -> Result<Self, ItemError> {
        self.tags.0.sort_by_key(|tag| tag.name == "type");
        if self.tags.len() > MAX_TAGS {
            return Err(ItemError::TooManyTags(self.tags.len() as u64));
        }
        for (part, length, limit) in self.tags.iter().flat_map(|tag| {
            [("name", tag.name.len(), MAX_TAG_NAME_BYTES), ("value", tag.value.len(), MAX_TAG_VALUE_BYTES)]
        }) {
            if length > limit {
                return Err(ItemError::TagLength { part, length, limit });
            }
        }
        let bytes = self.tags.encode().len();
        if bytes > MAX_TAG_BYTES {
            return Err(ItemError::TagBytes(bytes as u64));
        }
        Ok(self)
    }
}

/// An outgoing message of `emitter`.
///
/// # Errors
/// When its tags are over the limits of a data item.
pub fn message(emitter: &Emitter, message: &Message, root: Option<ItemId>) -> Result<Unsigned, ItemError> {
    let mut tags = emitter.without(
        &message.tags,
        &["Data-Protocol", "Type", "Variant", "From-Process", "From-Module", "Assignments", "Pushed-For"],
    );
    tags.push("Data-Protocol", "ao");
    tags.push("Type", "Message");
    tags.push("Variant", VARIANT);
    tags.push("From-Process", emitter.process.to_string());
    tags.push("From-Module", emitter.record.module.clone());
    if let Some(root) = root {
        tags.push("Pushed-For", root.to_string());
    }
    let anchor = message.anchor.as_bytes().try_into().ok();
    Unsigned { target: Some(message.target), anchor, tags, data: message.data.clone() }.check()
}

/// A process spawned by `emitter`, without target and anchor.
///
/// # Errors
/// When its tags are over the limits of a data item.
pub fn spawn(emitter: &Emitter, spawn: &Spawn, root: Option<ItemId>) -> Result<Unsigned, ItemError> {
    let mut tags = emitter.without(&spawn.tags, &["Data-Protocol", "Type", "Variant", "From-Process", "Pushed-For"]);
    let corrected = emitter.correct_module(&mut tags);
    let mut scheduler_seen = false;
    tags.0.retain(|tag| tag.name != "Scheduler" || !std::mem::replace(&mut scheduler_seen, true));
    tags.push("Data-Protocol", "ao");
    tags.push("Type", "Process");
    tags.push("Variant", VARIANT);
    tags.push("From-Process", emitter.process.to_string());
    if !corrected {
        tags.push("From-Module", emitter.record.module.clone());
    }
    if let Some(root) = root {
        tags.push("Pushed-For", root.to_string());
    }
    if !scheduler_seen {
        tags.push("Scheduler", emitter.record.scheduler.to_string());
    }
    Unsigned { target: None, anchor: None, tags, data: spawn.data.clone() }.check()
}

/// The notice that tells `emitter` that its process `spawned` exists; `tags` are those of the spawn as emitted.
///
/// # Errors
/// When its tags are over the limits of a data item.
pub fn notice(emitter: &Emitter, spawned: ProcessId, tags: &Tags) -> Result<Unsigned, ItemError> {
    let mut tags = emitter.without(tags, &["Variant", "Type", "From-Process", "Pushed-For"]);
    tags.0.retain(|tag| !(tag.name == "Data-Protocol" && tag.value == "ao"));
    emitter.correct_module(&mut tags);
    tags.push("Data-Protocol", "ao");
    tags.push("Variant", VARIANT);
    tags.push("Type", "Message");
    tags.push("From-Process", emitter.process.to_string());
    tags.push("Process", spawned.to_string());
    tags.push("Action", "Spawned");
    Unsigned { target: Some(emitter.process.into()), anchor: None, tags, data: " ".into() }.check()
}

/// The scheduler a spawn names; `None` when it names none. An unreadable one is an error text.
pub fn named_scheduler(spawn: &Spawn) -> Result<Option<Address>, String> {
    spawn.tags.get("Scheduler").map(|value| value.parse().map_err(|error| format!("Scheduler: {error}"))).transpose()
}

/// Whether an item can be made of a message at all, whoever emits it.
///
/// # Errors
/// When its tags are more than an item may have.
pub fn possible(sent: &Message) -> Result<(), ItemError> {
    message(&nobody(), sent, None).map(drop)
}

/// The same of a spawn.
///
/// # Errors
/// The same, and when the scheduler that it names is none.
pub fn possible_spawn(sent: &Spawn) -> Result<(), String> {
    named_scheduler(sent)?;
    spawn(&nobody(), sent, None).map(drop).map_err(|error| error.to_string())
}

/// An emitter of which as little as possible is told.
fn nobody() -> Emitter {
    let record = ProcessRecord { module: String::new(), scheduler: Address::from_bytes([0; 32]), cron: false };
    Emitter { process: ProcessId::from_bytes([0; 32]), record, claims: Claims::Replaced }
}

impl Emitter {
    /// `tags` but those with these names.
    fn without(&self, tags: &Tags, names: &[&str]) -> Tags {
        let kept = |name: &str| self.claims == Claims::Kept && CLAIMS.contains(&name);
        tags.iter().filter(|tag| !names.contains(&tag.name.as_str()) || kept(&tag.name)).cloned().collect()
    }

    /// Overwrites every `From-Module`; whether there was one.
    fn correct_module(&self, tags: &mut Tags) -> bool {
        let mut found = false;
        for Tag { name, value } in &mut tags.0 {
            if name == "From-Module" {
                if self.claims == Claims::Replaced {
                    self.record.module.clone_into(value);
                }
                found = true;
            }
        }
        found
    }
}
