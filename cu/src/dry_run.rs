//! The message of a dry run: what a caller sent, checked, and completed from the state it runs on (spec 05 §2.7, §6).

use holon_protocol::{BlockHeight, ProcessId, Tags, Timestamp, address};
use serde_json::Value;

use crate::hydrate::{HIDDEN_TAGS, member, number, text};
use crate::json;

/// A dry-run message: what the caller sent, over defaults from the state it runs on (spec 05 §6).
#[derive(Debug, Clone, PartialEq)]
pub struct DryRun {
    id: Option<String>,
    signature: Option<Value>,
    data: Option<Value>,
    owner: String,
    target: Option<String>,
    anchor: Option<Value>,
    tags: Tags,
    timestamp: Option<Timestamp>,
    block_height: Option<BlockHeight>,
}

impl DryRun {
    /// Reads a request body.
    ///
    /// # Errors
    /// The reasons, joined with ` | `.
    pub fn from_body(body: &[u8]) -> Result<Self, String> {
        let value: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(error) => return Err(format!("'body': not JSON: {error}.")),
        };
        let Value::Object(mut members) = value else {
            return Err("'body': a message as a JSON object is required.".into());
        };
        let mut reasons = Vec::new();
        let mut text = |name: &str, value: Option<Value>| match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                reasons.push(format!("'{name}': Expected string."));
                None
            }
        };
        let id = text("Id", members.shift_remove("Id"));
        let target = text("Target", members.shift_remove("Target"));
        let missing = matches!(members.get("Owner"), None | Some(Value::Null));
        let owner = text("Owner", members.shift_remove("Owner"));
        match &owner {
            None if missing => reasons.push("'Owner': Required.".into()),
            Some(owner) if owner.is_empty() => reasons.push("'Owner': a non-empty Owner is required.".into()),
            _ => {}
        }
        let tags = match members.shift_remove("Tags").map(serde_json::from_value::<Tags>) {
            Some(Ok(tags)) => Some(tags),
            Some(Err(_)) => {
                reasons.push("'Tags': Expected array of {name, value}.".into());
                None
            }
            None => {
                reasons.push("'Tags': Required.".into());
                None
            }
        };
        let mut integer = |name: &str| match members.shift_remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) if number.is_u64() => number.as_u64(),
            Some(Value::String(text)) if text.parse::<u64>().is_ok() => text.parse().ok(),
            Some(_) => {
                reasons.push(format!("'{name}': Expected number."));
                None
            }
        };
        let timestamp = integer("Timestamp").map(Timestamp);
        let block_height = integer("Block-Height").map(BlockHeight);
        match (owner, tags) {
            (Some(owner), Some(tags)) if reasons.is_empty() => Ok(Self {
                id,
                signature: members.shift_remove("Signature"),
                data: members.shift_remove("Data"),
                owner,
                target,
                anchor: members.shift_remove("Anchor"),
                tags,
                timestamp,
                block_height,
            }),
            _ => Err(reasons.join(" | ")),
        }
    }

    /// Appends the JSON text for the module.
    pub fn write(&self, process: ProcessId, timestamp: Timestamp, block_height: BlockHeight, out: &mut String) {
        let (from, _) = address::from_and_forwarded_by(&self.owner, &self.tags);
        out.push('{');
        if let Some(id) = &self.id {
            text(out, "Id", id);
        }
        any(out, "Signature", self.signature.as_ref());
        any(out, "Data", self.data.as_ref());
        text(out, "Owner", &self.owner);
        match &self.target {
            Some(target) => text(out, "Target", target),
            None => text(out, "Target", &process.to_string()),
        }
        any(out, "Anchor", self.anchor.as_ref());
        text(out, "From", &from);
        member(out, "Tags");
        json::tags(out, &self.tags, |name| !HIDDEN_TAGS.contains(&name));
        number(out, "Timestamp", self.timestamp.unwrap_or(timestamp).0);
        number(out, "Block-Height", self.block_height(block_height).0);
        out.push_str(",\"Cron\":false,\"Read-Only\":true}");
    }

    /// The height the message claims, else that of the state.
    pub fn block_height(&self, state: BlockHeight) -> BlockHeight {
        self.block_height.unwrap_or(state)
    }
}

fn any(out: &mut String, name: &str, value: Option<&Value>) {
    if let Some(value) = value {
        member(out, name);
        json::value(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dry_run_bodies_are_checked_and_completed() {
        for (body, reason) in [
            ("", "'body': not JSON"),
            ("[]", "'body': a message as a JSON object is required."),
            ("{}", "'Owner': Required. | 'Tags': Required."),
            (r#"{"Owner":"","Tags":[]}"#, "'Owner': a non-empty Owner is required."),
            (r#"{"Owner":"1","Tags":[{"name":"a"}]}"#, "'Tags': Expected array of {name, value}."),
            (r#"{"Owner":1,"Tags":[],"Id":2}"#, "'Id': Expected string. | 'Owner': Expected string."),
            (r#"{"Owner":"1","Tags":[],"Timestamp":"x"}"#, "'Timestamp': Expected number."),
        ] {
            let error = DryRun::from_body(body.as_bytes()).unwrap_err();
            assert!(error.starts_with(reason), "{body}: {error}");
        }
        let body = r#"{"Id":"1234","Target":"T","Owner":"1234","Anchor":"0","Data":"1234",
            "Tags":[{"name":"Action","value":"Get"},{"name":"From","value":"x"}],"Timestamp":"17","Else":1}"#;
        let mut out = String::new();
        DryRun::from_body(body.as_bytes()).unwrap().write(
            ProcessId::from_bytes([1; 32]),
            Timestamp(1),
            BlockHeight(2),
            &mut out,
        );
        assert_eq!(
            out,
            r#"{"Id":"1234","Data":"1234","Owner":"1234","Target":"T","Anchor":"0","From":"1234","Tags":[{"name":"Action","value":"Get"}],"Timestamp":17,"Block-Height":2,"Cron":false,"Read-Only":true}"#
        );
    }
}
