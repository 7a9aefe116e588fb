//! What a process says: messages, spawns and assignments, shaped as messenger units expect them (spec 06, spec 07 §5.7).
//!
//! They are written to the answer's text as they are said; nothing is kept of them beside that.

use std::borrow::Cow;

use serde::Serialize;

use crate::{
    Error, Message, Quantity, Tag, bail,
    json::{write_number, write_text},
    message::Described,
};

/// Most messages, spawns and assignments one message may cause, together.
pub const OUTBOX_LIMIT: usize = 1_000;
/// Most bytes of tag names and values on one outgoing item; the network signs no more (spec 01).
pub const TAG_BYTES_LIMIT: usize = 4_096;

/// What may stand in a tag or in data: texts, borrowed or not, whole numbers and quantities.
pub trait Text<'a> {
    /// Its text.
    fn text(self) -> Cow<'a, str>;
}

macro_rules! texts {
    ($($text:ty: $self:ident => $value:expr;)*) => {$(
        impl<'a> Text<'a> for $text {
            fn text($self) -> Cow<'a, str> {
                $value
            }
        }
    )*};
}

texts! {
    &'a str: self => Cow::Borrowed(self);
    &'a String: self => Cow::Borrowed(self);
    &'a Cow<'_, str>: self => Cow::Borrowed(self);
    String: self => Cow::Owned(self);
    Cow<'a, str>: self => self;
    bool: self => Cow::Borrowed(if self { "true" } else { "false" });
    Quantity: self => Cow::Owned(self.to_string());
    u8: self => whole(self.into());
    u16: self => whole(self.into());
    u32: self => whole(self.into());
    u64: self => whole(self);
    usize: self => whole(self as u64);
    i8: self => signed(self.into());
    i16: self => signed(self.into());
    i32: self => signed(self.into());
    i64: self => signed(self);
    isize: self => signed(self as i64);
    u128: self => Cow::Owned(self.to_string());
    i128: self => Cow::Owned(self.to_string());
}

fn whole(number: u64) -> Cow<'static, str> {
    let mut text = String::new();
    write_number(&mut text, number, 1);
    Cow::Owned(text)
}

fn signed(number: i64) -> Cow<'static, str> {
    let mut text = String::from(if number < 0 { "-" } else { "" });
    write_number(&mut text, number.unsigned_abs(), 1);
    Cow::Owned(text)
}

/// A message to send. Data stays empty and tags stay off unless set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing<'a> {
    target: Cow<'a, str>,
    data: Cow<'a, str>,
    tags: Vec<Tag<'a>>,
}

impl<'a> Outgoing<'a> {
    /// An empty message; its receiver is set by [`Context::reply`](crate::Context::reply) or [`to`](Self::to).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the receiver: id of a process, or address of a wallet.
    pub fn to(mut self, target: impl Text<'a>) -> Self {
        self.target = target.text();
        self
    }

    /// Sets the data.
    pub fn data(mut self, data: impl Text<'a>) -> Self {
        self.data = data.text();
        self
    }

    /// Sets the data to a value as JSON.
    ///
    /// # Errors
    /// When the value has no JSON, for example a map whose keys are no texts.
    pub fn json(mut self, data: &impl Serialize) -> Result<Self, Error> {
        self.data = Cow::Owned(serde_json::to_string(data)?);
        Ok(self)
    }

    /// Adds the tag `Action`.
    pub fn action(self, action: impl Text<'a>) -> Self {
        self.tag("Action", action)
    }

    /// Adds a tag.
    pub fn tag(mut self, name: impl Text<'a>, value: impl Text<'a>) -> Self {
        self.tags.push(Tag { name: name.text(), value: value.text() });
        self
    }

    /// Adds the message's tags whose names begin with `X-`: what a sender wants to find again on whatever its message causes.
    pub fn forward_tags(mut self, of: &'a Message<'_>) -> Self {
        let forwarded = of
            .tags
            .iter()
            .filter(|tag| tag.name.starts_with("X-") && tag.name != "X-Reference" && tag.name != "X-Origin");
        self.tags.extend(forwarded.map(|tag| Tag::new(&*tag.name, &*tag.value)));
        self
    }

    /// Fills up what is not set with what the message has.
    pub(crate) fn or_from(mut self, message: &'a Message<'_>) -> Self {
        if self.data.is_empty() {
            self.data = Cow::Borrowed(message.data.as_deref().unwrap_or_default());
        }
        if !self.tags.iter().any(|tag| tag.name == "Action")
            && let Some(action) = message.action()
        {
            self = self.action(action);
        }
        self.forward_tags(message)
    }

    /// Puts a tag in front of the others.
    pub(crate) fn first(mut self, name: &'static str, value: Option<&'a str>) -> Self {
        if let Some(value) = value {
            self.tags.insert(0, Tag::new(name, value));
        }
        self
    }
}

/// A process to create. The network tells this process its id with a message `Action: Spawned` carrying the same
/// `Reference`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spawn<'a> {
    module: Cow<'a, str>,
    data: Cow<'a, str>,
    tags: Vec<Tag<'a>>,
}

impl<'a> Spawn<'a> {
    /// A process of this module.
    pub fn new(module: impl Text<'a>) -> Self {
        Self { module: module.text(), data: Cow::Borrowed(""), tags: Vec::new() }
    }

    /// Sets the data.
    pub fn data(mut self, data: impl Text<'a>) -> Self {
        self.data = data.text();
        self
    }

    /// Adds a tag. Without a tag `Authority` the new process has this process's authorities.
    pub fn tag(mut self, name: impl Text<'a>, value: impl Text<'a>) -> Self {
        self.tags.push(Tag { name: name.text(), value: value.text() });
        self
    }
}

/// An item that exists already, to be put into the logs of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assign<'a> {
    message: Cow<'a, str>,
    processes: Vec<Cow<'a, str>>,
}

impl<'a> Assign<'a> {
    /// The item with this id.
    pub fn new(message: impl Text<'a>) -> Self {
        Self { message: message.text(), processes: Vec::new() }
    }

    /// Adds a process.
    pub fn to(mut self, process: impl Text<'a>) -> Self {
        self.processes.push(process.text());
        self
    }
}

/// Everything one message causes, as the JSON lists of a result without their brackets.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub messages: String,
    pub spawns: String,
    pub assignments: String,
    /// How many there are of all three together.
    count: usize,
}

impl Outbox {
    pub const fn new() -> Self {
        Self { messages: String::new(), spawns: String::new(), assignments: String::new(), count: 0 }
    }

    pub fn clear(&mut self) {
        for text in [&mut self.messages, &mut self.spawns, &mut self.assignments] {
            text.clear();
            text.shrink_to(crate::runtime::KEPT_TEXT_BYTES);
        }
        self.count = 0;
    }

    pub fn send(&mut self, message: &Outgoing<'_>, reference: u64) -> Result<(), Error> {
        if message.target.is_empty() {
            bail!("a message needs a receiver: the id of a process or the address of a wallet");
        }
        check_tags(&message.tags)?;
        self.count_one()?;
        let out = begun(&mut self.messages);
        out.push_str("{\"Target\":");
        write_text(out, &message.target);
        out.push_str(",\"Data\":");
        write_text(out, &message.data);
        out.push_str(",\"Anchor\":\"");
        write_number(out, reference, ANCHOR_DIGITS);
        out.push_str(MESSAGE_TAGS);
        write_number(out, reference, 1);
        out.push_str("\"}");
        write_tags(out, &message.tags);
        out.push_str("]}");
        Ok(())
    }

    pub fn spawn(
        &mut self,
        spawn: &Spawn<'_>,
        process: &Described,
        module: &Described,
        reference: u64,
    ) -> Result<(), Error> {
        if spawn.module.is_empty() {
            bail!("a spawn needs the id of a module");
        }
        let mut own = vec![
            Tag::new("From-Process", process.id.as_str()),
            Tag::new("From-Module", module.id.as_str()),
            Tag::new("Module", &*spawn.module),
            Tag::new("Reference", reference.to_string()),
        ];
        if !spawn.tags.iter().any(|tag| tag.name == "Authority") {
            own.extend(process.tags.iter().filter(|tag| tag.name == "Authority").cloned());
        }
        check_tags(own.iter().chain(&spawn.tags))?;
        self.count_one()?;
        let out = begun(&mut self.spawns);
        out.push_str("{\"Data\":");
        write_text(out, &spawn.data);
        out.push_str(",\"Anchor\":\"");
        write_number(out, reference, ANCHOR_DIGITS);
        out.push_str(SPAWN_TAGS);
        write_tags(out, &own);
        write_tags(out, &spawn.tags);
        out.push_str("]}");
        Ok(())
    }

    pub fn assign(&mut self, assign: &Assign<'_>) -> Result<(), Error> {
        if assign.message.is_empty() || assign.processes.is_empty() {
            bail!("an assignment needs the id of an item and at least one process");
        }
        self.count_one()?;
        let out = begun(&mut self.assignments);
        out.push_str("{\"Processes\":[");
        for (index, process) in assign.processes.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_text(out, process);
        }
        out.push_str("],\"Message\":");
        write_text(out, &assign.message);
        out.push('}');
        Ok(())
    }

    fn count_one(&mut self) -> Result<(), Error> {
        if self.count == OUTBOX_LIMIT {
            bail!("one message may cause at most {OUTBOX_LIMIT} messages, spawns and assignments");
        }
        self.count += 1;
        Ok(())
    }
}

/// A reference as the 32 bytes an anchor must have. It makes two equal messages of one process different items, so that a
/// scheduler recognises a message pushed twice and does not mistake two messages for one.
const ANCHOR_DIGITS: usize = 32;
const MESSAGE_TAGS: &str = r#"","Tags":[{"name":"Data-Protocol","value":"ao"},{"name":"Variant","value":"ao.TN.1"},{"name":"Type","value":"Message"},{"name":"Reference","value":""#;
const SPAWN_TAGS: &str = r#"","Tags":[{"name":"Data-Protocol","value":"ao"},{"name":"Variant","value":"ao.TN.1"},{"name":"Type","value":"Process"}"#;
/// Bytes of the tags above, and of a reference.
const PROTOCOL_TAG_BYTES: usize = 64;

/// The list, ready for one more.
fn begun(list: &mut String) -> &mut String {
    if !list.is_empty() {
        list.push(',');
    }
    list
}

fn write_tags(out: &mut String, tags: &[Tag<'_>]) {
    for tag in tags {
        out.push_str(",{\"name\":");
        write_text(out, &tag.name);
        out.push_str(",\"value\":");
        write_text(out, &tag.value);
        out.push('}');
    }
}

fn check_tags<'t>(tags: impl IntoIterator<Item = &'t Tag<'t>>) -> Result<(), Error> {
    let mut bytes = PROTOCOL_TAG_BYTES;
    for tag in tags {
        if tag.name.is_empty() {
            bail!("the tag with value \"{}\" needs a name", crate::error::excerpt(&tag.value));
        }
        bytes += tag.name.len() + tag.value.len();
    }
    if bytes > TAG_BYTES_LIMIT {
        bail!("the tags of an item may hold {TAG_BYTES_LIMIT} bytes, these hold {bytes}");
    }
    Ok(())
}
