//! What a result asks to be sent: reading its outbox entry by entry (spec 04 §9, §10.1, §16).
//!
//! Entries come from a process, so anything may be in them. One that cannot be used is skipped with its reason and the
//! rest goes on.

use holon_protocol::{ItemId, ProcessId, Tag, Tags};
use serde::{Deserialize, Serialize};

use super::compose;
use crate::json::{Json, JsonText, Kind};

/// Length of an anchor in bytes.
pub const ANCHOR_BYTES: usize = 32;
/// Most entries taken of each array of one result; the rest is skipped with a reason.
pub const MAX_ENTRIES: usize = 10_000;
/// Most processes one assignment entry may name.
pub const MAX_ASSIGNMENT_PROCESSES: usize = 1_000;
/// Most processes that all assignment entries of a result name together; entries beyond are skipped.
pub const MAX_ASSIGNMENTS: usize = 10_000;
/// Most tags read of an entry: some more than an item may have, with which the entry is given up later.
pub const MAX_ENTRY_TAGS: usize = 1_000;
/// Most field names in an assignment's `Exclude`.
pub const MAX_EXCLUDE_FIELDS: usize = 32;
/// Longest of them in bytes.
const MAX_EXCLUDE_BYTES: usize = 64;
/// Why a process is not assigned to itself. Its item begins its log already; what follows a second place there would be
/// asked for by an id under which schedulers tell nothing (spec 02 §7.1).
pub const ASSIGNED_TO_ITSELF: &str = "a process cannot be assigned to itself: it begins its own log already";
/// Longest text kept of an unusable entry, in bytes.
pub const MAX_SKIPPED_TEXT_BYTES: usize = 4096;

/// A message entry that can be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Process or wallet.
    pub target: ItemId,
    /// Exactly 32 bytes of text.
    pub anchor: String,
    /// Tags as emitted.
    pub tags: Tags,
    /// Never empty.
    pub data: String,
}

/// A spawn entry that can be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// Tags as emitted.
    pub tags: Tags,
    /// Never empty.
    pub data: String,
}

/// One process of an assignment entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    /// Process that receives the item.
    pub process: ProcessId,
    /// What is assigned.
    pub message: ItemId,
    /// Whether it is an L1 transaction.
    pub base_layer: bool,
    /// Fields the evaluator must not load.
    pub exclude: Vec<String>,
}

impl Assign {
    /// Whether a process is assigned to itself; see [`ASSIGNED_TO_ITSELF`].
    pub fn is_to_itself(&self) -> bool {
        self.message == self.process.into()
    }
}

/// An entry that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// `Messages[2]`, say.
    pub entry: String,
    /// What is wrong and what would be right.
    pub reason: String,
    /// The entry's JSON, cut.
    pub text: String,
}

/// The usable entries of a result in their order, and the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// `Messages`.
    pub messages: Vec<Message>,
    /// `Spawns`.
    pub spawns: Vec<Spawn>,
    /// `Assignments`, one for each process named.
    pub assignments: Vec<Assign>,
    /// What was skipped.
    pub skipped: Vec<Skipped>,
}

/// A result without one of its three arrays: not a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("result has no array {0}; Messages, Spawns and Assignments must all be there")]
pub struct NotAResult(pub &'static str);

/// Reads a compute unit's answer.
pub fn read(result: &JsonText) -> Result<Outgoing, NotAResult> {
    let [messages, spawns, assignments] = result.json().members(["Messages", "Spawns", "Assignments"]);
    let messages = entries(messages).ok_or(NotAResult("Messages"))?;
    let spawns = entries(spawns).ok_or(NotAResult("Spawns"))?;
    let assignments = entries(assignments).ok_or(NotAResult("Assignments"))?;
    let mut outgoing = Outgoing::default();
    each("Messages", messages, &mut outgoing.skipped, |entry, _| {
        outgoing.messages.push(message(entry)?);
        Ok(())
    });
    each("Spawns", spawns, &mut outgoing.skipped, |entry, _| {
        outgoing.spawns.push(spawn(entry)?);
        Ok(())
    });
    each("Assignments", assignments, &mut outgoing.skipped, |entry, bad| {
        let (assigns, unusable) = assignment(entry)?;
        if outgoing.assignments.len() + assigns.len() > MAX_ASSIGNMENTS {
            return Err(format!("a result may assign to at most {MAX_ASSIGNMENTS} processes"));
        }
        outgoing.assignments.extend(assigns);
        bad.extend(unusable);
        Ok(())
    });
    Ok(outgoing)
}

/// The entries that are looked at, and how many there are.
fn entries(array: Option<Json<'_>>) -> Option<(Vec<Json<'_>>, usize)> {
    array.and_then(|array| array.items(MAX_ENTRIES))
}

fn each(
    array: &'static str,
    (entries, length): (Vec<Json<'_>>, usize),
    skipped: &mut Vec<Skipped>,
    mut take: impl FnMut(Json<'_>, &mut Vec<String>) -> Result<(), String>,
) {
    for (index, entry) in entries.into_iter().enumerate() {
        let mut reasons = Vec::new();
        if let Err(reason) = take(entry, &mut reasons) {
            reasons.push(reason);
        }
        let Some(mut reason) = reasons.first().cloned() else { continue };
        // One line for each entry, however much is wrong with it.
        if reasons.len() > 1 {
            reason.push_str(&format!("; and {} more", reasons.len() - 1));
        }
        skipped.push(Skipped { entry: format!("{array}[{index}]"), reason, text: cut(entry.text()) });
    }
    if length > MAX_ENTRIES {
        skipped.push(Skipped {
            entry: format!("{array}[{MAX_ENTRIES}..{length}]"),
            reason: format!("a result may ask for at most {MAX_ENTRIES} {array}"),
            text: String::new(),
        });
    }
}

/// Reads one message entry.
pub fn message(entry: Json<'_>) -> Result<Message, String> {
    let [target, sent_anchor, sent_tags, sent_data] = entry.members(["Target", "Anchor", "Tags", "Data"]);
    let target = target.ok_or("Target is missing")?;
    let target = target.string().ok_or_else(|| format!("Target is {}; a string is needed", target.kind()))?;
    let target = target.parse().map_err(|error| format!("Target: {error}"))?;
    let message = Message { target, anchor: anchor(sent_anchor)?, tags: tags(sent_tags)?, data: String::new() };
    compose::possible(&message).map_err(|error| error.to_string())?;
    Ok(Message { data: data(sent_data), ..message })
}

/// Reads one spawn entry. Its anchor is not used.
pub fn spawn(entry: Json<'_>) -> Result<Spawn, String> {
    let [sent_tags, sent_data] = entry.members(["Tags", "Data"]);
    let tags = tags(sent_tags)?;
    if tags.get("Module").is_none() {
        return Err("No Module tag found on 'Process' DataItem".into());
    }
    let spawn = Spawn { tags, data: String::new() };
    compose::possible_spawn(&spawn)?;
    Ok(Spawn { data: data(sent_data), ..spawn })
}

fn assignment(entry: Json<'_>) -> Result<(Vec<Assign>, Vec<String>), String> {
    let [message, processes, base_layer, exclude] = entry.members(["Message", "Processes", "BaseLayer", "Exclude"]);
    let message = message.and_then(Json::string).ok_or("Message must be the id of an item")?;
    let message: ItemId = message.parse().map_err(|error| format!("Message: {error}"))?;
    let processes = processes.and_then(|processes| processes.items(MAX_ASSIGNMENT_PROCESSES));
    let (processes, named) = processes.ok_or("Processes must be an array of ids")?;
    let base_layer = base_layer.is_some_and(Json::is_true);
    let exclude = exclude.filter(|exclude| exclude.kind() != Kind::Null);
    let exclude = match exclude.map(|exclude| exclude.items(MAX_EXCLUDE_FIELDS)) {
        None => Some(Vec::new()),
        Some(Some((_, fields))) if fields > MAX_EXCLUDE_FIELDS => {
            return Err(format!("Exclude: {fields} fields are named; at most {MAX_EXCLUDE_FIELDS} may be"));
        }
        Some(fields) => fields.and_then(|(fields, _)| fields.into_iter().map(Json::string).collect::<Option<Vec<_>>>()),
    };
    let exclude = exclude.ok_or("Exclude must be an array of field names")?;
    if let Some(bad) = exclude.iter().find(|field| !is_exclude_field(field)) {
        return Err(format!("Exclude: {:?} is not a field name: letters, digits and - are allowed", cut(bad)));
    }
    let mut assigns = Vec::new();
    let mut bad = Vec::new();
    for process in processes {
        match process
            .string()
            .ok_or_else(|| format!("{} is not an id", process.kind()))
            .and_then(|text| text.parse::<ProcessId>().map_err(|error| error.to_string()))
        {
            Ok(process) => {
                let assign = Assign { process, message, base_layer, exclude: exclude.clone() };
                if assign.is_to_itself() {
                    bad.push(format!("Processes: {ASSIGNED_TO_ITSELF}"));
                } else {
                    assigns.push(assign);
                }
            }
            Err(reason) => bad.push(format!("Processes: {reason}")),
        }
    }
    if named > MAX_ASSIGNMENT_PROCESSES {
        bad.push(format!("Processes: {named} are named; at most {MAX_ASSIGNMENT_PROCESSES} are taken"));
    }
    Ok((assigns, bad))
}

/// Whether `field` may stand in `exclude` (spec 04 §17).
pub fn is_exclude_field(field: &str) -> bool {
    !field.is_empty()
        && field.len() <= MAX_EXCLUDE_BYTES
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn tags(tags: Option<Json<'_>>) -> Result<Tags, String> {
    let (tags, count) = tags.and_then(|tags| tags.items(MAX_ENTRY_TAGS)).ok_or("Tags must be an array")?;
    if count > MAX_ENTRY_TAGS {
        return Err(format!("Tags are {count}; at most {MAX_ENTRY_TAGS} are read"));
    }
    tags.into_iter()
        .map(|tag| {
            let [name, value] = tag.members(["name", "value"]);
            let name = name.and_then(Json::string).ok_or("a tag has no name that is a string")?;
            let value = value.ok_or_else(|| format!("value of tag {:?} is missing; a string is needed", cut(&name)))?;
            match value.kind() {
                Kind::String | Kind::Number | Kind::Boolean => Ok(Tag::new(name, plain(value))),
                kind => Err(format!("value of tag {:?} is {kind}; a string is needed", cut(&name))),
            }
        })
        .collect()
}

/// The 32 bytes as they are, or a decimal number padded to them.
fn anchor(anchor: Option<Json<'_>>) -> Result<String, String> {
    let Some(text) = anchor.and_then(Json::string) else {
        let kind = anchor.map_or_else(|| "missing".into(), |anchor| anchor.kind().to_string());
        return Err(format!("Anchor is {kind}; a string of {ANCHOR_BYTES} bytes or a decimal string is needed"));
    };
    if text.len() == ANCHOR_BYTES {
        return Ok(text);
    }
    if text.len() < ANCHOR_BYTES && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(format!("{text:0>ANCHOR_BYTES$}"));
    }
    Err(format!("Anchor has {} bytes; {ANCHOR_BYTES} bytes or a shorter decimal string are needed", text.len()))
}

/// Strings as they are, other values by their JSON text; nothing is one space.
fn data(data: Option<Json<'_>>) -> String {
    let text = data.filter(|data| data.kind() != Kind::Null).map(plain).unwrap_or_default();
    if text.is_empty() { " ".into() } else { text }
}

fn plain(value: Json<'_>) -> String {
    value.string().unwrap_or_else(|| value.compact())
}

/// The beginning of a text, in memory of its own.
pub fn cut(text: &str) -> String {
    let end = (0..=text.len().min(MAX_SKIPPED_TEXT_BYTES)).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}
