//! What a process is told: the message and the environment, as compute units print them (spec 05 §5.4).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A name and a value. Order matters and names may repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Name, case-sensitive.
    pub name: String,
    /// Value.
    pub value: String,
}

impl Tag {
    /// A tag.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Value of the first tag with this name.
pub(crate) fn first<'a>(tags: &'a [Tag], name: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.name == name).map(|tag| tag.value.as_str())
}

/// One message of the process's log, in the normal form of spec 05 §5.4. Cron messages have neither `id` nor `data`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Message {
    /// Item id; absent for cron messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Signature, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Data as text.
    pub data: Option<String>,
    /// Address of who signed it; for pushed messages the messenger unit.
    pub owner: String,
    /// This process.
    pub target: String,
    /// Anchor text.
    pub anchor: Option<String>,
    /// Who it is from: the process it was pushed for, else `owner`.
    pub from: String,
    /// `owner`, if somebody else's message was pushed.
    #[serde(rename = "Forwarded-By", skip_serializing_if = "Option::is_none")]
    pub forwarded_by: Option<String>,
    /// Tags in order.
    pub tags: Vec<Tag>,
    /// Epoch of its position.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub epoch: Option<u64>,
    /// Position in the log.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub nonce: Option<u64>,
    /// Milliseconds since 1970, by the scheduler's clock. The only time there is.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub timestamp: Option<u64>,
    /// Arweave's height when it was scheduled.
    #[serde(rename = "Block-Height", skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub block_height: Option<u64>,
    /// Hash chain at its position.
    #[serde(rename = "Hash-Chain", skip_serializing_if = "Option::is_none")]
    pub hash_chain: Option<String>,
    /// Whether a schedule produced it.
    pub cron: bool,
    /// Whether it is a dry run: whatever the handler changes is forgotten.
    #[serde(rename = "Read-Only")]
    pub read_only: bool,
}

impl Message {
    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }

    /// The tag `Action`, which picks the handler.
    pub fn action(&self) -> Option<&str> {
        self.tag("Action")
    }

    /// Data with white space around it removed; `None` when nothing is left. Clients send one space for "no data".
    pub fn data_str(&self) -> Option<&str> {
        self.data.as_deref().map(str::trim).filter(|data| !data.is_empty())
    }
}

/// A process or a module as the environment shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Described {
    /// Item id.
    pub id: String,
    /// Address of its signer.
    pub owner: String,
    /// Tags in order.
    pub tags: Vec<Tag>,
}

impl Described {
    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }
}

/// Where a message is evaluated: the process and its module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Environment {
    /// The process.
    pub process: Described,
    /// Its module.
    pub module: Described,
}

impl Environment {
    /// The addresses that may speak for others: every `Authority` tag, lists split at commas.
    pub fn authorities(&self) -> impl Iterator<Item = &str> {
        self.process
            .tags
            .iter()
            .filter(|tag| tag.name == "Authority")
            .flat_map(|tag| tag.value.split(','))
            .map(str::trim)
            .filter(|address| !address.is_empty())
    }

    /// Whether `from` may be believed: the sender signed the message itself, or an authority did.
    ///
    /// Stricter than `aos`, which also believes whoever claims to be an authority: anybody can write an authority's address
    /// into a tag `From-Process`, but only the authority can sign.
    pub fn trusts(&self, message: &Message) -> bool {
        message.from == message.owner || self.authorities().any(|address| address == message.owner)
    }
}

/// An integer, or its decimal text as dry runs of some clients send it; anything else counts as absent.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULED: &str = r#"{"Id":"YsZq","Signature":"sig","Data":"d","Owner":"ZcdM","Target":"OLXp","Anchor":null,
        "From":"FI3p","Forwarded-By":"ZcdM","Tags":[{"name":"A","value":"x"},{"name":"From-Process","value":"FI3p"}],
        "Epoch":0,"Nonce":5,"Timestamp":1700000000123,"Block-Height":1331218,"Hash-Chain":"hc","Cron":false,"Read-Only":false}"#;

    #[test]
    fn a_scheduled_message_is_read_with_every_field() {
        let message: Message = serde_json::from_str(SCHEDULED).unwrap();
        assert_eq!(message.id.as_deref(), Some("YsZq"));
        assert_eq!(message.forwarded_by.as_deref(), Some("ZcdM"));
        assert_eq!((message.nonce, message.block_height), (Some(5), Some(1_331_218)));
        assert_eq!(message.timestamp, Some(1_700_000_000_123));
        assert_eq!(message.tag("From-Process"), Some("FI3p"));
        assert_eq!(message.anchor, None);
    }

    #[test]
    fn a_message_prints_with_the_keys_it_was_read_from() {
        let message: Message = serde_json::from_str(SCHEDULED).unwrap();
        let printed: Value = serde_json::to_value(&message).unwrap();
        let original: Value = serde_json::from_str(SCHEDULED).unwrap();
        assert_eq!(printed, original);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&printed), keys(&original));
    }

    #[test]
    fn a_cron_message_has_neither_id_nor_data() {
        let message: Message = serde_json::from_str(
            r#"{"Owner":"o","Target":"t","From":"o","Tags":[],"Timestamp":1,"Block-Height":2,"Cron":true,"Read-Only":false}"#,
        )
        .unwrap();
        assert!(message.cron);
        assert_eq!((message.id.as_deref(), message.data_str()), (None, None));
    }

    #[test]
    fn numbers_may_come_as_decimal_text() {
        let message: Message = serde_json::from_str(r#"{"Timestamp":"17","Block-Height":"x"}"#).unwrap();
        assert_eq!((message.timestamp, message.block_height), (Some(17), None));
    }

    #[test]
    fn one_space_counts_as_no_data() {
        let message = Message { data: Some(" ".to_owned()), ..Message::default() };
        assert_eq!(message.data_str(), None);
    }

    #[test]
    fn only_senders_and_authorities_are_trusted() {
        let mut environment = Environment::default();
        environment.process.tags = vec![Tag::new("Authority", "mu-1, mu-2"), Tag::new("Authority", "mu-3")];
        let message =
            |from: &str, owner: &str| Message { from: from.to_owned(), owner: owner.to_owned(), ..Message::default() };
        for (from, owner, trusted) in [
            ("alice", "alice", true),
            ("process", "mu-2", true),
            ("process", "mu-3", true),
            ("mu-1", "alice", false),
            ("process", "mallory", false),
        ] {
            assert_eq!(environment.trusts(&message(from, owner)), trusted, "{from} signed by {owner}");
        }
    }
}
