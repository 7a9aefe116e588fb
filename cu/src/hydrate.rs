//! From a log entry to the message a process sees (spec 05 §4.5, §5.2 – §5.6). Pure; what an assignment of an on-chain
//! item needs from a gateway is handed in.

use holon_protocol::assignment::Assignment;
use holon_protocol::{
    Address, AssignmentId, BlockHeight, ItemId, MessageId, Nonce, ProcessId, Tags, Timestamp, address, base64url,
    dedupe, wire,
};

use serde::{Deserialize, Serialize};

use crate::cron::CronMessage;
use crate::json;
use crate::log::{Link, LogError};

/// Tags a process must not see: it copies tags to fields of the message, and these fields decide whom it trusts.
pub(crate) const HIDDEN_TAGS: [&str; 2] = ["From", "Owner"];

/// A key that is left out, null, or text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field {
    /// No key.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// Text.
    Text(String),
}

impl From<Option<String>> for Field {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

/// How a message is recognised when it comes again (spec 05 §5.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// By its id; only assignments are compared.
    Id(ItemId),
    /// By its content; 48 bytes.
    Content(Vec<u8>),
}

impl Identity {
    /// The bytes; the two kinds differ in length.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Id(id) => id.as_bytes(),
            Self::Content(hash) => hash,
        }
    }
}

/// A message as a process sees it, in the normal form of spec 05 §5.4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `Id`.
    pub id: Option<String>,
    /// `Signature`.
    pub signature: Field,
    /// `Data`, or any JSON text in a dry run.
    pub data: Field,
    /// `Owner`.
    pub owner: String,
    /// `Target`.
    pub target: String,
    /// `Anchor`.
    pub anchor: Field,
    /// `From`.
    pub from: String,
    /// `Forwarded-By`.
    pub forwarded_by: Option<String>,
    /// `Tags`, not yet sanitised.
    pub tags: Tags,
    /// `Epoch`, `Nonce` and `Hash-Chain`; absent for crons, dry runs and prepended processes.
    pub position: Option<(u64, Nonce, String)>,
    /// `Timestamp`.
    pub timestamp: Timestamp,
    /// `Block-Height`.
    pub block_height: BlockHeight,
    /// `Cron`.
    pub cron: bool,
    /// `Read-Only`.
    pub read_only: bool,
}

impl Message {
    /// Appends the JSON text that the module gets, byte for byte as `JSON.stringify` prints it.
    pub fn write(&self, out: &mut String) {
        out.push('{');
        if let Some(id) = &self.id {
            member(out, "Id");
            json::string(out, id);
        }
        field(out, "Signature", &self.signature);
        field(out, "Data", &self.data);
        text(out, "Owner", &self.owner);
        text(out, "Target", &self.target);
        field(out, "Anchor", &self.anchor);
        text(out, "From", &self.from);
        if let Some(forwarded_by) = &self.forwarded_by {
            text(out, "Forwarded-By", forwarded_by);
        }
        member(out, "Tags");
        json::tags(out, &self.tags, |name| !HIDDEN_TAGS.contains(&name));
        if let Some((epoch, nonce, _)) = &self.position {
            number(out, "Epoch", *epoch);
            number(out, "Nonce", nonce.0);
        }
        number(out, "Timestamp", self.timestamp.0);
        number(out, "Block-Height", self.block_height.0);
        if let Some((_, _, hash_chain)) = &self.position {
            text(out, "Hash-Chain", hash_chain);
        }
        member(out, "Cron");
        out.push_str(if self.cron { "true" } else { "false" });
        member(out, "Read-Only");
        out.push_str(if self.read_only { "true" } else { "false" });
        out.push('}');
    }

    /// A cron message of a process.
    pub fn cron(process: ProcessId, owner: &str, cron: &CronMessage<'_>) -> Self {
        Self {
            owner: owner.to_owned(),
            target: process.to_string(),
            from: owner.to_owned(),
            tags: cron.tags.clone(),
            timestamp: cron.timestamp,
            block_height: cron.block_height,
            cron: true,
            ..Self::default()
        }
    }
}

pub(crate) fn member(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

pub(crate) fn text(out: &mut String, name: &str, value: &str) {
    member(out, name);
    json::string(out, value);
}

pub(crate) fn number(out: &mut String, name: &str, value: u64) {
    member(out, name);
    json::integer(out, value);
}

fn field(out: &mut String, name: &str, value: &Field) {
    match value {
        Field::Absent => {}
        Field::Null => {
            member(out, name);
            out.push_str("null");
        }
        Field::Text(value) => text(out, name, value),
    }
}

/// The environment of a process: `{"Process":{…},"Module":{…}}`.
pub fn environment(process: (&str, &str, &Tags), module: (&str, &str, &Tags)) -> String {
    let mut out = String::new();
    for (open, (id, owner, tags)) in [("{\"Process\":{", process), (",\"Module\":{", module)] {
        out.push_str(open);
        text(&mut out, "Id", id);
        text(&mut out, "Owner", owner);
        member(&mut out, "Tags");
        json::tags(&mut out, tags, |_| true);
        out.push('}');
    }
    out.push('}');
    out
}

/// An entry of the log, checked, complete and ready to be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// What the process sees.
    pub message: Message,
    /// Where it stands in the log.
    pub link: Link,
    /// Id of the message.
    pub message_id: MessageId,
    /// How it is recognised when it comes again.
    pub identity: Identity,
    /// Whether a message with this identity and a smaller nonce makes this one a duplicate.
    pub deduplicated: bool,
    /// Whether it is the process's own entry.
    pub is_process: bool,
    /// What was said about its place, if not everything that was said could be checked against signatures.
    pub unchecked: Option<Box<Said>>,
}

/// An assignment as a scheduler tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What it says.
    pub assignment: Assignment,
    /// Who is said to have signed it.
    pub signer: Address,
    /// Whether the message came with it, and was not read from a gateway.
    pub sent: bool,
}

/// What an assignment of an on-chain item lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnChain {
    /// Item id.
    pub id: ItemId,
    /// Signature, base64url.
    pub signature: String,
    /// Signer.
    pub owner: wire::Owner,
    /// Tags.
    pub tags: Tags,
    /// Target, `""` when it has none.
    pub recipient: String,
    /// Anchor as the gateway writes it.
    pub anchor: String,
    /// Data as text.
    pub data: String,
}

/// An entry after the checks, before what it assigns has been fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Complete.
    Ready(Scheduled),
    /// An assignment of an on-chain item, to be completed by [`hydrate`].
    Assigned {
        /// Assigned item.
        item: ItemId,
        /// The position.
        assignment: Assignment,
        /// Where it stands.
        link: Link,
        /// See [`Scheduled::unchecked`].
        unchecked: Option<Box<Said>>,
    },
}

impl Checked {
    /// Whether not everything that was said of it could be checked against signatures.
    pub fn unchecked(&self) -> bool {
        match self {
            Self::Ready(scheduled) => scheduled.unchecked.is_some(),
            Self::Assigned { unchecked, .. } => unchecked.is_some(),
        }
    }

    /// What the clock of the process shows there, and the height that its assignment names.
    pub fn stands(&self) -> (Timestamp, BlockHeight) {
        match self {
            Self::Ready(scheduled) => (scheduled.link.clock, scheduled.message.block_height),
            Self::Assigned { assignment, link, .. } => (link.clock, assignment.block_height),
        }
    }
}

/// Maps a checked entry (spec 05 §4.5). `covered` says whether its signatures cover everything in it.
pub fn map(entry: wire::Entry, assignment: Assignment, link: Link, covered: bool) -> Result<Checked, LogError> {
    let signer = entry.assignment.owner.address;
    let sent = entry.message.is_some();
    let unchecked = (!covered).then(|| Box::new(Said { assignment: assignment.clone(), signer, sent }));
    let Some(item) = entry.message else {
        let item = assignment.message.ok_or_else(|| LogError::Assignment {
            assignment: link.assignment,
            reason: "neither a message nor a Message tag".into(),
        })?;
        return Ok(Checked::Assigned { item: item.into(), assignment, link, unchecked });
    };
    let owner = ao_owner(&item.owner);
    let (from, forwarded_by) = address::from_and_forwarded_by(&owner, &item.tags);
    let identity = match &forwarded_by {
        None => Identity::Id(item.id),
        Some(_) => content(assignment.process, &item)?,
    };
    let message = Message {
        id: Some(item.id.to_string()),
        signature: Field::Text(item.signature),
        data: item.data.into(),
        owner,
        target: assignment.process.to_string(),
        anchor: item.anchor.into(),
        from,
        forwarded_by,
        tags: item.tags,
        ..positioned(&assignment)
    };
    Ok(Checked::Ready(Scheduled {
        is_process: message.tags.contains("Type", "Process"),
        deduplicated: matches!(identity, Identity::Content(_)),
        message,
        link,
        message_id: item.id.into(),
        identity,
        unchecked,
    }))
}

/// Whether an assignment excludes a field of what it assigns: `Data`, `Tags`, `Signature`, `Anchor`.
pub fn excludes(assignment: &Assignment, field: &str) -> bool {
    holon_protocol::assignment::excludes(&assignment.exclude, field)
}

/// Completes an assignment (spec 05 §5.2).
pub fn hydrate(assignment: &Assignment, link: Link, item: OnChain) -> Scheduled {
    let excluded = |field: &str| excludes(assignment, field);
    let kept = |field: &str, text: String| if excluded(field) { Field::Absent } else { Field::Text(text) };
    let owner = ao_owner(&item.owner);
    let (from, _) = address::from_and_forwarded_by(&owner, &item.tags);
    let message = Message {
        id: Some(item.id.to_string()),
        signature: kept("Signature", item.signature),
        data: kept("Data", item.data),
        owner,
        target: item.recipient,
        anchor: kept("Anchor", item.anchor),
        from,
        tags: if excluded("Tags") { Tags::default() } else { item.tags },
        ..positioned(assignment)
    };
    Scheduled {
        is_process: message.tags.contains("Type", "Process") && item.id == ItemId::from(assignment.process),
        deduplicated: true,
        message,
        link,
        message_id: item.id.into(),
        identity: Identity::Id(item.id),
        unchecked: None,
    }
}

fn positioned(assignment: &Assignment) -> Message {
    Message {
        position: Some((assignment.epoch, assignment.nonce, assignment.hash_chain.to_string())),
        timestamp: assignment.timestamp,
        block_height: assignment.block_height,
        ..Message::default()
    }
}

/// The address a process sees for an owner: Ethereum keys have their own form, everything else is as given.
pub fn ao_owner(owner: &wire::Owner) -> String {
    match base64url::decode(&owner.key) {
        Ok(key) if key.len() == 65 => address::ao(&key),
        _ => owner.address.to_string(),
    }
}

fn content(process: ProcessId, item: &wire::Item) -> Result<Identity, LogError> {
    let anchor = item.anchor.as_deref().unwrap_or_default().as_bytes();
    if !matches!(anchor.len(), 0 | 32) {
        return Err(LogError::Field { field: "anchor", id: item.id });
    }
    let data = item.data.as_deref().unwrap_or_default().as_bytes();
    let hash = dedupe::evaluator(process.as_bytes(), anchor, &item.tags, data);
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&hash).unwrap_or_else(|_| hash.into_bytes());
    Ok(Identity::Content(bytes))
}

/// The message that starts a process whose scheduler did not schedule it (spec 05 §5.6).
pub fn prepended(process: &wire::Process, owner: &str, height: BlockHeight, data: Option<String>) -> Message {
    let (from, forwarded_by) = address::from_and_forwarded_by(owner, &process.tags);
    let id = process.process_id.to_string();
    Message {
        target: id.clone(),
        id: Some(id),
        signature: process.signature.clone().map_or(Field::Absent, Field::Text),
        data: data.into(),
        owner: owner.to_owned(),
        anchor: process.anchor.clone().into(),
        from,
        forwarded_by,
        tags: process.tags.clone(),
        timestamp: process.timestamp,
        block_height: height,
        ..Message::default()
    }
}

/// Id of an assignment as it is used to look results up.
pub fn assignment_as_message(id: AssignmentId) -> MessageId {
    ItemId::from(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ItemId {
        ItemId::from_bytes([byte; 32])
    }

    fn owner() -> wire::Owner {
        wire::Owner { address: holon_protocol::Address::from_bytes([7; 32]), key: base64url::encode([1; 512]) }
    }

    fn assignment(exclude: &[&str]) -> (Assignment, Link) {
        let hash_chain = holon_protocol::chain::HashChain::of([9; 32]);
        let assignment = Assignment {
            process: id(1).into(),
            epoch: 0,
            nonce: Nonce(5),
            hash_chain,
            block_height: BlockHeight(1_331_218),
            timestamp: Timestamp(1_700_000_000_123),
            message: Some(id(2).into()),
            exclude: exclude.iter().map(|&text| text.to_owned()).collect(),
        };
        let link = Link {
            assignment: id(3).into(),
            hash_chain,
            epoch: 0,
            nonce: Nonce(5),
            timestamp: Timestamp(1_700_000_000_123),
            clock: Timestamp(1_700_000_000_123),
        };
        (assignment, link)
    }

    fn item(tags: &[(&str, &str)]) -> wire::Item {
        wire::Item {
            id: id(2),
            owner: owner(),
            data: Some("d".into()),
            tags: Tags::from_iter(tags.iter().copied()),
            signature: "sig".into(),
            anchor: None,
            target: Some(String::new()),
        }
    }

    fn entry(message: Option<wire::Item>) -> wire::Entry {
        let assignment = wire::Assignment {
            id: id(3).into(),
            owner: owner(),
            tags: Tags::default(),
            signature: String::new(),
            anchor: None,
            target: None,
        };
        wire::Entry { message, assignment }
    }

    fn written(message: &Message) -> String {
        let mut out = String::new();
        message.write(&mut out);
        out
    }

    #[test]
    fn a_scheduled_message_has_the_normal_form_of_the_specification() {
        let (assignment, link) = assignment(&[]);
        let tags = [("A", "x"), ("From", "forged"), ("Owner", "forged"), ("From-Process", "other")];
        let Checked::Ready(scheduled) = map(entry(Some(item(&tags))), assignment.clone(), link, true).unwrap() else {
            panic!("the entry has a message");
        };
        let (me, address) = (id(2).to_string(), owner().address.to_string());
        let expected = format!(
            "{{\"Id\":\"{me}\",\"Signature\":\"sig\",\"Data\":\"d\",\"Owner\":\"{address}\",\"Target\":\"{}\",\"Anchor\":null,\
             \"From\":\"other\",\"Forwarded-By\":\"{address}\",\"Tags\":[{{\"name\":\"A\",\"value\":\"x\"}},\
             {{\"name\":\"From-Process\",\"value\":\"other\"}}],\"Epoch\":0,\"Nonce\":5,\"Timestamp\":1700000000123,\
             \"Block-Height\":1331218,\"Hash-Chain\":\"{}\",\"Cron\":false,\"Read-Only\":false}}",
            assignment.process, assignment.hash_chain
        );
        assert_eq!(written(&scheduled.message), expected);
        assert!(scheduled.deduplicated);
    }

    #[test]
    fn an_empty_from_process_leaves_the_owner_as_sender() {
        let (assignment, link) = assignment(&[]);
        let Checked::Ready(scheduled) =
            map(entry(Some(item(&[("From-Process", "")]))), assignment, link, true).unwrap()
        else {
            panic!("the entry has a message");
        };
        assert_eq!(scheduled.message.from, scheduled.message.owner);
        assert_eq!(scheduled.message.forwarded_by.as_deref(), Some(scheduled.message.owner.as_str()));
    }

    #[test]
    fn excluded_fields_are_left_out_however_they_are_listed() {
        for (exclude, data, anchor, tags) in [
            (vec![], true, true, true),
            (vec!["Data"], false, true, true),
            (vec!["Data", "Anchor"], false, false, true),
            (vec!["Data, Tags"], false, true, false),
            (vec!["Owner"], true, true, true),
        ] {
            let (assignment, link) = assignment(&exclude);
            let on_chain = OnChain {
                id: id(2),
                signature: "s".into(),
                owner: owner(),
                tags: Tags::from_iter([("A", "1")]),
                recipient: String::new(),
                anchor: "anchor".into(),
                data: "data".into(),
            };
            let message = hydrate(&assignment, link, on_chain).message;
            let text = written(&message);
            assert_eq!(text.contains("\"Data\":"), data, "{exclude:?}");
            assert_eq!(text.contains("\"Anchor\":"), anchor, "{exclude:?}");
            assert_eq!(text.contains("\"Tags\":[]"), !tags, "{exclude:?}");
            assert!(text.contains("\"Target\":\"\"") && !text.contains("Forwarded-By"), "{text}");
        }
    }

    #[test]
    fn a_cron_message_has_only_the_keys_of_the_specification() {
        let tags = Tags::from_iter([("Action", "Tick")]);
        let cron = CronMessage {
            id: "0-5-seconds".into(),
            tags: &tags,
            timestamp: Timestamp(1_000_005_250),
            block_height: BlockHeight(101),
        };
        let process: ProcessId = id(1).into();
        assert_eq!(
            written(&Message::cron(process, "me", &cron)),
            format!(
                "{{\"Owner\":\"me\",\"Target\":\"{process}\",\"From\":\"me\",\"Tags\":[{{\"name\":\"Action\",\"value\":\"Tick\"}}],\
                 \"Timestamp\":1000005250,\"Block-Height\":101,\"Cron\":true,\"Read-Only\":false}}"
            )
        );
    }
}
