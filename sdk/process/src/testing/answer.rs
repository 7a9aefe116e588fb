//! What one message led to, read back from the process's answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Tag, message::first};

/// What one message led to.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Answer {
    /// Messages sent.
    pub messages: Vec<Sent>,
    /// Processes asked for.
    pub spawns: Vec<Spawned>,
    /// Assignments asked for.
    pub assignments: Vec<Assigned>,
    /// Output, `""` when there was none.
    pub output: Value,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Answer {
    /// The first message with this action.
    pub fn message(&self, action: &str) -> Option<&Sent> {
        self.messages.iter().find(|sent| sent.tag("Action") == Some(action))
    }

    pub(crate) fn read(text: &str) -> Self {
        let mut answer: Value = serde_json::from_str(text).unwrap_or_default();
        let response = answer["response"].take();
        let failed = |text: &str| Self { error: Some(text.to_owned()), ..Self::default() };
        if answer["ok"] == Value::Bool(true) {
            serde_json::from_value(response).unwrap_or_else(|error| failed(&error.to_string()))
        } else {
            failed(response.as_str().unwrap_or("the process gave no answer"))
        }
    }
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
    pub tags: Vec<Tag<'static>>,
}

impl Sent {
    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }

    /// The process's own tags, in order.
    pub fn own_tags(&self) -> Vec<(&str, &str)> {
        const PROTOCOL: usize = 4;
        self.tags.iter().skip(PROTOCOL).map(|tag| (&*tag.name, &*tag.value)).collect()
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
    pub tags: Vec<Tag<'static>>,
}

impl Spawned {
    /// Value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        first(&self.tags, name)
    }
}

/// An assignment as it stands in a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Assigned {
    /// Receivers.
    pub processes: Vec<String>,
    /// The item's id.
    pub message: String,
}
