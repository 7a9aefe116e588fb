//! What a process says: messages, spawns and assignments, shaped as messenger units expect them (spec 06, spec 07 §5.7).

use serde::{Deserialize, Serialize};

use crate::{
    Error, Tag,
    message::{Described, first},
};

/// Most messages, spawns and assignments one message may cause, together.
pub const OUTBOX_LIMIT: usize = 1_000;
/// Most bytes of tag names and values on one outgoing item; the network signs no more (spec 01).
pub const TAG_BYTES_LIMIT: usize = 4_096;

/// A message to send. Data stays empty and tags stay off unless set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    pub(crate) target: String,
    pub(crate) data: String,
    pub(crate) tags: Vec<Tag>,
}

impl Outgoing {
    /// An empty message; its receiver is set by [`Context::reply`](crate::Context::reply) or [`to`](Self::to).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the receiver: id of a process, or address of a wallet.
    pub fn to(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Sets the data.
    pub fn data(mut self, data: impl ToString) -> Self {
        self.data = data.to_string();
        self
    }

    /// Adds the tag `Action`.
    pub fn action(self, action: impl Into<String>) -> Self {
        self.tag("Action", action)
    }

    /// Adds a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push(Tag::new(name, value));
        self
    }
}

/// A process to create. The network tells this process its id with a message `Action: Spawned` carrying the same
/// `Reference`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spawn {
    pub(crate) module: String,
    pub(crate) data: String,
    pub(crate) tags: Vec<Tag>,
}

impl Spawn {
    /// A process of this module.
    pub fn new(module: impl Into<String>) -> Self {
        Self { module: module.into(), data: String::new(), tags: Vec::new() }
    }

    /// Sets the data.
    pub fn data(mut self, data: impl ToString) -> Self {
        self.data = data.to_string();
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push(Tag::new(name, value));
        self
    }
}

/// An item that exists already, to be put into the logs of processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Assign {
    /// Receivers.
    pub processes: Vec<String>,
    /// The item's id.
    pub message: String,
}

/// A message as it stands in a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sent {
    /// Receiver.
    pub target: String,
    /// Data.
    pub data: String,
    /// The reference, as 32 digits.
    pub anchor: String,
    /// `Data-Protocol`, `Variant`, `Type`, `Reference`, then the process's own.
    pub tags: Vec<Tag>,
}

impl Sent {
    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }
}

/// A spawn as it stands in a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Spawned {
    /// Data.
    pub data: String,
    /// The reference, as 32 digits.
    pub anchor: String,
    /// `Data-Protocol`, `Variant`, `Type`, `From-Process`, `From-Module`, `Module`, `Reference`, then the process's own.
    pub tags: Vec<Tag>,
}

impl Spawned {
    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }
}

/// Everything one message causes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Outbox {
    /// Messages in the order they were sent.
    pub messages: Vec<Sent>,
    /// Spawns in the order they were asked for.
    pub spawns: Vec<Spawned>,
    /// Assignments in the order they were asked for.
    pub assignments: Vec<Assign>,
}

impl Outbox {
    pub(crate) fn send(&mut self, message: Outgoing, reference: u64) -> Result<(), Error> {
        self.check_room()?;
        if message.target.is_empty() {
            return Err(Error::new("a message needs a receiver: the id of a process or the address of a wallet"));
        }
        let mut tags = protocol_tags("Message");
        tags.push(Tag::new("Reference", reference.to_string()));
        tags.extend(message.tags);
        check_tags(&tags)?;
        self.messages.push(Sent { target: message.target, data: message.data, anchor: anchor(reference), tags });
        Ok(())
    }

    pub(crate) fn spawn(
        &mut self,
        spawn: Spawn,
        process: &Described,
        module: &Described,
        reference: u64,
    ) -> Result<(), Error> {
        self.check_room()?;
        if spawn.module.is_empty() {
            return Err(Error::new("a spawn needs the id of a module"));
        }
        let mut tags = protocol_tags("Process");
        tags.push(Tag::new("From-Process", &process.id));
        tags.push(Tag::new("From-Module", &module.id));
        tags.push(Tag::new("Module", spawn.module));
        tags.push(Tag::new("Reference", reference.to_string()));
        tags.extend(spawn.tags);
        check_tags(&tags)?;
        self.spawns.push(Spawned { data: spawn.data, anchor: anchor(reference), tags });
        Ok(())
    }

    pub(crate) fn assign(&mut self, assign: Assign) -> Result<(), Error> {
        self.check_room()?;
        if assign.message.is_empty() || assign.processes.is_empty() {
            return Err(Error::new("an assignment needs the id of an item and at least one process"));
        }
        self.assignments.push(assign);
        Ok(())
    }

    fn check_room(&self) -> Result<(), Error> {
        if self.messages.len() + self.spawns.len() + self.assignments.len() < OUTBOX_LIMIT {
            Ok(())
        } else {
            Err(Error::new(format!("one message may cause at most {OUTBOX_LIMIT} messages, spawns and assignments")))
        }
    }
}

fn protocol_tags(kind: &str) -> Vec<Tag> {
    vec![Tag::new("Data-Protocol", "ao"), Tag::new("Variant", "ao.TN.1"), Tag::new("Type", kind)]
}

/// A reference as the 32 bytes an anchor must have. It makes two equal messages of one process different items, so that a
/// scheduler recognises a message pushed twice and does not mistake two messages for one.
fn anchor(reference: u64) -> String {
    format!("{reference:032}")
}

fn check_tags(tags: &[Tag]) -> Result<(), Error> {
    let bytes: usize = tags.iter().map(|tag| tag.name.len() + tag.value.len()).sum();
    if bytes > TAG_BYTES_LIMIT {
        return Err(Error::new(format!("the tags of an item may hold {TAG_BYTES_LIMIT} bytes, these hold {bytes}")));
    }
    match tags.iter().find(|tag| tag.name.is_empty()) {
        Some(tag) => Err(Error::new(format!("the tag with value \"{}\" needs a name", tag.value))),
        None => Ok(()),
    }
}
