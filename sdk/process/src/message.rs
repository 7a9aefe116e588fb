//! What a process is told: the message and the environment, as compute units print them (spec 05 §5.4).

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error,
    error::joined,
    json::{Malformed, Reader},
    typed,
};

/// A name and a value. Order matters and names may repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag<'a> {
    /// Name, case-sensitive.
    pub name: Cow<'a, str>,
    /// Value.
    pub value: Cow<'a, str>,
}

impl<'a> Tag<'a> {
    /// A tag.
    pub fn new(name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name: name.into(), value: value.into() }
    }

    fn into_owned(self) -> Tag<'static> {
        Tag { name: Cow::Owned(self.name.into_owned()), value: Cow::Owned(self.value.into_owned()) }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut name, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
        reader.object(|reader, key| {
            match key {
                "name" => name = reader.string()?,
                "value" => value = reader.string()?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { name, value })
    }
}

/// Value of the first tag with this name.
pub(crate) fn first<'t>(tags: &'t [Tag<'_>], name: &str) -> Option<&'t str> {
    tags.iter().find(|tag| tag.name == name).map(|tag| &*tag.value)
}

fn read_tags<'a>(reader: &mut Reader<'a>) -> Result<Vec<Tag<'a>>, Malformed> {
    // What clients and messengers put on an item by themselves.
    const USUAL: usize = 12;
    let mut tags = Vec::with_capacity(USUAL);
    reader.array(|reader| {
        tags.push(Tag::read(reader)?);
        Ok(())
    })?;
    Ok(tags)
}

/// One message of the process's log, in the normal form of spec 05 §5.4. Cron messages have neither `id` nor `data`.
///
/// Its texts are parts of what the host handed over; nothing is copied to read a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message<'a> {
    /// Item id; absent for cron messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// Signature, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Cow<'a, str>>,
    /// Data as text.
    pub data: Option<Cow<'a, str>>,
    /// Address of who signed it; for pushed messages the messenger unit.
    pub owner: Cow<'a, str>,
    /// This process; for an item that was only assigned to it, whom the item was for.
    pub target: Cow<'a, str>,
    /// Anchor text.
    pub anchor: Option<Cow<'a, str>>,
    /// Who it says it is from: the process it was pushed for, else `owner`. See [`Context::caller`](crate::Context::caller).
    pub from: Cow<'a, str>,
    /// `owner`, if somebody else's message was pushed.
    #[serde(rename = "Forwarded-By", skip_serializing_if = "Option::is_none")]
    pub forwarded_by: Option<Cow<'a, str>>,
    /// Tags in order.
    pub tags: Vec<Tag<'a>>,
    /// Epoch of its position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Position in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<u64>,
    /// Milliseconds since 1970, by the scheduler's clock. The only time there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    /// Arweave's height when it was scheduled.
    #[serde(rename = "Block-Height", skip_serializing_if = "Option::is_none")]
    pub block_height: Option<u64>,
    /// Hash chain at its position.
    #[serde(rename = "Hash-Chain", skip_serializing_if = "Option::is_none")]
    pub hash_chain: Option<Cow<'a, str>>,
    /// Whether a schedule produced it.
    pub cron: bool,
    /// Whether it is a dry run: whatever the handler changes is forgotten.
    #[serde(rename = "Read-Only")]
    pub read_only: bool,
}

impl<'a> Message<'a> {
    /// Reads the JSON text a host hands over. Keys that are not known are passed over.
    ///
    /// # Errors
    /// When the text is not JSON, or a value is of another type.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let mut message = Self::default();
        let mut reader = Reader::new(text);
        reader
            .object(|reader, key| {
                // By length first: comparing with one name after the other is slow.
                match (key.len(), key) {
                    (2, "Id") => message.id = reader.string_or_null()?,
                    (9, "Signature") => message.signature = reader.string_or_null()?,
                    (4, "Data") => message.data = reader.string_or_null()?,
                    (5, "Owner") => message.owner = reader.string_or_null()?.unwrap_or_default(),
                    (6, "Target") => message.target = reader.string_or_null()?.unwrap_or_default(),
                    (6, "Anchor") => message.anchor = reader.string_or_null()?,
                    (4, "From") => message.from = reader.string_or_null()?.unwrap_or_default(),
                    (12, "Forwarded-By") => message.forwarded_by = reader.string_or_null()?,
                    (4, "Tags") => message.tags = read_tags(reader)?,
                    (5, "Epoch") => message.epoch = reader.integer()?,
                    (5, "Nonce") => message.nonce = reader.integer()?,
                    (9, "Timestamp") => message.timestamp = reader.integer()?,
                    (12, "Block-Height") => message.block_height = reader.integer()?,
                    (10, "Hash-Chain") => message.hash_chain = reader.string_or_null()?,
                    (4, "Cron") => message.cron = reader.boolean()?,
                    (9, "Read-Only") => message.read_only = reader.boolean()?,
                    _ => reader.skip()?,
                }
                Ok(())
            })
            .and_then(|()| reader.end())
            .map_err(|malformed| not_as_specified("message", malformed))?;
        Ok(message)
    }

    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }

    /// Value of the first tag with this name.
    ///
    /// # Errors
    /// When there is none; the text names the tag.
    pub fn require(&self, name: &str) -> Result<&str, Error> {
        self.tag(name).ok_or_else(|| Error::new(joined(&["the tag ", name, " is missing"])))
    }

    /// The tag `Action`, which picks the handler.
    pub fn action(&self) -> Option<&str> {
        self.tag("Action")
    }

    /// Data with white space around it removed; `None` when nothing is left. Clients send one space for "no data".
    pub fn data_str(&self) -> Option<&str> {
        self.data.as_deref().map(str::trim).filter(|data| !data.is_empty())
    }

    /// The reference of the message of ours that this one answers.
    pub fn answers(&self) -> Option<u64> {
        self.tag("X-Reference")?.parse().ok()
    }

    /// Reads tags and data into a type of yours: a field `block_height` is the tag `Block-Height`, a field that was renamed to
    /// something with a capital letter or a hyphen is the tag of exactly that name, and a field `data` is the message's data.
    /// Numbers, `true` and `false` are read from their text, lists and objects from JSON. An `Option` may be missing.
    ///
    /// # Errors
    /// When a tag is missing or not of its type; the text names it.
    pub fn read<'m, T: Deserialize<'m>>(&'m self) -> Result<T, Error> {
        typed::read(&self.tags, self.data.as_deref())
    }

    /// Reads the data, which is JSON, into a type of yours.
    ///
    /// # Errors
    /// When it is not the JSON that the type asks for.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        typed::json(self.data.as_deref().unwrap_or_default())
    }

    /// The same, independent of the host's text.
    pub fn into_owned(self) -> Message<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Message {
            id: self.id.map(own),
            signature: self.signature.map(own),
            data: self.data.map(own),
            owner: own(self.owner),
            target: own(self.target),
            anchor: self.anchor.map(own),
            from: own(self.from),
            forwarded_by: self.forwarded_by.map(own),
            tags: self.tags.into_iter().map(Tag::into_owned).collect(),
            epoch: self.epoch,
            nonce: self.nonce,
            timestamp: self.timestamp,
            block_height: self.block_height,
            hash_chain: self.hash_chain.map(own),
            cron: self.cron,
            read_only: self.read_only,
        }
    }
}

/// A process or a module as the environment shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Described {
    /// Item id.
    pub id: String,
    /// Address of its signer.
    pub owner: String,
    /// Tags in order.
    pub tags: Vec<Tag<'static>>,
}

impl Described {
    const fn new() -> Self {
        Self { id: String::new(), owner: String::new(), tags: Vec::new() }
    }

    #[inline(never)]
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut described = Self::default();
        reader.object(|reader, key| {
            match key {
                "Id" => described.id = reader.string_or_null()?.unwrap_or_default().into_owned(),
                "Owner" => described.owner = reader.string_or_null()?.unwrap_or_default().into_owned(),
                "Tags" => {
                    described.tags.clear();
                    for tag in read_tags(reader)? {
                        described.tags.push(tag.into_owned());
                    }
                }
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(described)
    }

    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }

    /// Reads the tags into a type of yours, as [`Message::read`] does.
    ///
    /// # Errors
    /// When a tag is missing or not of its type; the text names it.
    pub fn read<'m, T: Deserialize<'m>>(&'m self) -> Result<T, Error> {
        typed::read(&self.tags, None)
    }
}

/// Where a message is evaluated: the process and its module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Environment {
    /// The process.
    pub process: Described,
    /// Its module.
    pub module: Described,
}

impl Environment {
    pub(crate) const fn new() -> Self {
        Self { process: Described::new(), module: Described::new() }
    }

    /// Reads the JSON text a host hands over.
    ///
    /// # Errors
    /// When the text is not JSON, or a value is of another type.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut environment = Self::default();
        let mut reader = Reader::new(text);
        reader
            .object(|reader, key| {
                match key {
                    "Process" => environment.process = Described::read_from(reader)?,
                    "Module" => environment.module = Described::read_from(reader)?,
                    _ => reader.skip()?,
                }
                Ok(())
            })
            .and_then(|()| reader.end())
            .map_err(|malformed| not_as_specified("environment", malformed))?;
        Ok(environment)
    }

    /// Whether this address may speak for others: it stands in a tag `Authority`, which may list several between commas.
    pub fn is_authority(&self, address: &str) -> bool {
        let listed = |list: &str| {
            let mut rest = Some(list);
            while let Some(list) = rest {
                let end = list.bytes().position(|byte| byte == b',').unwrap_or(list.len());
                if list.get(..end).is_some_and(|one| one.trim_ascii() == address) {
                    return true;
                }
                rest = list.get(end + 1..);
            }
            false
        };
        !address.is_empty() && self.process.tags.iter().any(|tag| tag.name == "Authority" && listed(&tag.value))
    }

    /// Who created the process: the wallet that signed it, or the process that spawned it.
    pub fn owner(&self) -> &str {
        self.process.tag("From-Process").filter(|parent| !parent.is_empty()).unwrap_or(&self.process.owner)
    }

    /// Whether `from` may be believed: the sender signed the message itself, or an authority did.
    ///
    /// Stricter than `aos`, which also believes whoever claims to be an authority: anybody can write an authority's address
    /// into a tag `From-Process`, but only the authority can sign.
    pub fn trusts(&self, message: &Message<'_>) -> bool {
        message.from == message.owner || self.is_authority(&message.owner)
    }
}

fn not_as_specified(what: &str, malformed: Malformed) -> Error {
    let mut text = joined(&["the ", what, " is not as specified: expected ", malformed.expected, " at byte "]);
    crate::json::write_number(&mut text, malformed.at as u64, 1);
    Error::new(text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SCHEDULED: &str = r#"{"Id":"YsZq","Signature":"sig","Data":"d","Owner":"ZcdM","Target":"OLXp","Anchor":null,
        "From":"FI3p","Forwarded-By":"ZcdM","Tags":[{"name":"A","value":"x"},{"name":"From-Process","value":"FI3p"}],
        "Epoch":0,"Nonce":5,"Timestamp":1700000000123,"Block-Height":1331218,"Hash-Chain":"hc","Cron":false,"Read-Only":false}"#;

    #[test]
    fn a_scheduled_message_is_read_with_every_field() {
        let message = Message::parse(SCHEDULED).unwrap();
        assert_eq!(message.id.as_deref(), Some("YsZq"));
        assert_eq!(message.forwarded_by.as_deref(), Some("ZcdM"));
        assert_eq!((message.nonce, message.block_height), (Some(5), Some(1_331_218)));
        assert_eq!(message.timestamp, Some(1_700_000_000_123));
        assert_eq!(message.tag("From-Process"), Some("FI3p"));
        assert_eq!(message.anchor, None);
    }

    #[test]
    fn a_message_prints_with_the_keys_it_was_read_from() {
        let message = Message::parse(SCHEDULED).unwrap();
        let original: Value = serde_json::from_str(SCHEDULED).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for message in [message.clone(), message.into_owned()] {
            let printed: Value = serde_json::to_value(&message).unwrap();
            assert_eq!(printed, original);
            assert_eq!(keys(&printed), keys(&original));
        }
    }

    #[test]
    fn a_cron_message_has_neither_id_nor_data() {
        let message = Message::parse(
            r#"{"Owner":"o","Target":"t","From":"o","Tags":[],"Timestamp":1,"Block-Height":2,"Cron":true,"Read-Only":false}"#,
        )
        .unwrap();
        assert!(message.cron);
        assert_eq!((message.id.as_deref(), message.data_str()), (None, None));
    }

    #[test]
    fn numbers_may_come_as_decimal_text() {
        let message = Message::parse(r#"{"Timestamp":"17","Block-Height":"x"}"#).unwrap();
        assert_eq!((message.timestamp, message.block_height), (Some(17), None));
    }

    #[test]
    fn keys_of_later_versions_are_passed_over_and_escaped_keys_are_known() {
        let message =
            Message::parse(r#"{"New":{"a":[1,{"b":"}"}]},"\u0044ata":"d","Tags":[{"x":1,"name":"n"}]}"#).unwrap();
        assert_eq!(message.data.as_deref(), Some("d"));
        assert_eq!(message.tag("n"), Some(""));
    }

    #[test]
    fn what_is_not_a_message_is_refused_with_the_place() {
        let error = Message::parse(r#"{"Id":"a","Tags":1}"#).unwrap_err();
        assert_eq!(error.text(), "the message is not as specified: expected a list at byte 17");
        for text in ["", "null", "{", "{}x", r#"{"Cron":1}"#, r#"{"Owner":{}}"#, r#"{"Tags":[{"name":null}]}"#] {
            assert!(Message::parse(text).is_err(), "{text}");
        }
    }

    /// Texts with everything that has to be escaped, at every place in a word of eight bytes.
    fn text(random: &mut crate::Random) -> String {
        let letters = ['a', 'Z', '"', '\\', '/', '\n', '\u{1}', '\u{7f}', 'ü', '☃', '🚀', '{', ']', ','];
        (0..random.below(24)).filter_map(|_| random.pick(&letters)).collect()
    }

    #[test]
    fn whatever_stands_in_a_message_is_read_as_it_was_written() {
        let mut random = crate::Random::from_parts(&["messages"]);
        for _ in 0..500 {
            let mut some = || Cow::from(text(&mut random));
            let message = Message {
                id: Some(some()),
                data: Some(some()),
                owner: some(),
                target: some(),
                from: some(),
                tags: vec![Tag::new(some(), some()), Tag::new(some(), some())],
                nonce: Some(random.next_u64()),
                cron: random.below(2) == 1,
                ..Message::default()
            };
            for written in [serde_json::to_string(&message).unwrap(), serde_json::to_string_pretty(&message).unwrap()] {
                assert_eq!(Message::parse(&written).unwrap(), message, "{written}");
            }
        }
    }

    #[test]
    fn a_damaged_text_is_read_or_refused_and_nothing_worse() {
        let mut random = crate::Random::from_parts(&["damage"]);
        for end in 0..SCHEDULED.len() {
            assert!(Message::parse(&SCHEDULED[..end]).is_err(), "{end}");
        }
        for _ in 0..20_000 {
            let mut bytes = SCHEDULED.as_bytes().to_vec();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = *random.pick(b"\"\\{}[]:,0nt \0u").unwrap();
            if let Ok(message) = Message::parse(std::str::from_utf8(&bytes).unwrap()) {
                assert!(message.tags.len() <= 2);
            }
        }
    }

    #[test]
    fn one_space_counts_as_no_data() {
        let message = Message { data: Some(" ".into()), ..Message::default() };
        assert_eq!(message.data_str(), None);
    }

    #[test]
    fn only_senders_and_authorities_are_trusted() {
        let mut environment = Environment::default();
        environment.process.tags = vec![Tag::new("Authority", "mu-1, mu-2"), Tag::new("Authority", "mu-3")];
        let message = |from: &'static str, owner: &'static str| Message {
            from: from.into(),
            owner: owner.into(),
            ..Message::default()
        };
        for (from, owner, trusted) in [
            ("alice", "alice", true),
            ("process", "mu-2", true),
            ("process", "mu-3", true),
            ("process", "mu-1, mu-2", false),
            ("process", "", false),
            ("mu-1", "alice", false),
            ("process", "mallory", false),
        ] {
            assert_eq!(environment.trusts(&message(from, owner)), trusted, "{from} signed by {owner}");
        }
    }
}
