//! What an item is to the network (spec 01 §10.7, spec 02 §2).

use crate::Tags;

/// Process or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `Type: Process`.
    Process,
    /// `Type: Message`.
    Message,
}

/// The messenger's reading: `Data-Protocol` is or contains `ao`, and the first `Type` tag that says `Process` or
/// `Message` decides. `None` when either is missing.
pub fn of(tags: &Tags) -> Option<Kind> {
    if !tags.contains("Data-Protocol", "ao") {
        return None;
    }
    tags.all("Type").find_map(|value| match value {
        "Process" => Some(Kind::Process),
        "Message" => Some(Kind::Message),
        _ => None,
    })
}
