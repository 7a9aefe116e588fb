//! A process's log as the texts a module gets (spec 05 §5.4), so that every contestant evaluates exactly the same.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// Texts for the module.
pub struct Log {
    /// The boot, then the measured messages.
    pub messages: Vec<String>,
    /// Process and module.
    pub environment: String,
}

/// The entry of a scheduler's page as the message a module sees.
pub fn message(entry: &Value) -> Result<String> {
    let (item, assignment) = (&entry["message"], &entry["assignment"]);
    let tag = |name: &str| -> Result<&str> {
        let tags = assignment["tags"].as_array().context("an assignment has tags")?;
        let tag = tags.iter().find(|tag| tag["name"] == name);
        tag.and_then(|tag| tag["value"].as_str()).with_context(|| format!("the assignment has no tag {name}"))
    };
    let number = |name: &str| -> Result<u64> { Ok(tag(name)?.parse()?) };
    let owner = &item["owner"]["address"];
    let tags: Vec<&Value> = item["tags"]
        .as_array()
        .context("an item has tags")?
        .iter()
        .filter(|tag| tag["name"] != "From" && tag["name"] != "Owner")
        .collect();
    let mut message = Map::new();
    for (name, value) in [
        ("Id", item["id"].clone()),
        ("Signature", item["signature"].clone()),
        ("Data", item["data"].clone()),
        ("Owner", owner.clone()),
        ("Target", Value::from(tag("Process")?)),
        ("Anchor", item["anchor"].clone()),
        ("From", owner.clone()),
        ("Tags", json!(tags)),
        ("Epoch", number("Epoch")?.into()),
        ("Nonce", number("Nonce")?.into()),
        ("Timestamp", number("Timestamp")?.into()),
        ("Block-Height", number("Block-Height")?.into()),
        ("Hash-Chain", Value::from(tag("Hash-Chain")?)),
        ("Cron", false.into()),
        ("Read-Only", false.into()),
    ] {
        message.insert(name.to_owned(), value);
    }
    Ok(Value::Object(message).to_string())
}

/// Output of a module's answer.
pub fn output(returned: &str) -> Result<Value> {
    let mut answer: Value =
        serde_json::from_str(returned).with_context(|| format!("the module answered {returned}"))?;
    Ok(answer["response"]["Output"].take())
}
