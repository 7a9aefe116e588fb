//! What an item must be before it may ask for a position: rules that need no state (spec 02 §2, §3.1, §3.4, §13).

use holon_protocol::kind::Kind;
use holon_protocol::{Address, DataItem, MessageId, ProcessId, Tags, dedupe};

use crate::sequencer::{Content, ContentHash, Subject};

/// Why an item is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No `Type` tag.
    #[error("Type tag not present")]
    NoType,
    /// `Type` is neither `Process` nor `Message`.
    #[error("Unsupported Type tag value")]
    UnsupportedType,
    /// No `Data-Protocol` tag.
    #[error("Data-Protocol tag not present")]
    NoDataProtocol,
    /// No `Data-Protocol` tag says `ao`.
    #[error("Data-Protocol tag must be ao")]
    OtherDataProtocol,
    /// A tag name or value ends with `+link`.
    #[error("Tag {0} cannot contain +link")]
    Link(String),
    /// A process lacks `Module` or `Scheduler`.
    #[error("Required Module and Scheduler tags for Process type not present")]
    ProcessTags,
    /// A process names another scheduler.
    #[error("Scheduler tag {found} is not this scheduler; its address is {address}")]
    OtherScheduler {
        /// The tag's value.
        found: String,
        /// Our address.
        address: Address,
    },
    /// A message has no target.
    #[error("target not present; a message needs the id of its process as target")]
    NoTarget,
    /// The item is larger than configured.
    #[error("Message size exceeds maximum of {0} bytes")]
    Size(usize),
}

/// Rules that configuration can change.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Our address, when a process's `Scheduler` tag must be it.
    pub scheduler: Option<Address>,
    /// Whether repeated content is refused.
    pub content_checks: bool,
    /// Size limit of messages, if any.
    pub size: Option<SizeLimit>,
}

/// Size limit of messages and who is exempt (spec 02 §3.4).
#[derive(Debug, Clone, Default)]
pub struct SizeLimit {
    /// Most bytes of the whole item.
    pub bytes: usize,
    /// Signers whose messages may be larger.
    pub owners: Vec<String>,
    /// Signers who may send larger messages for the processes in `from`.
    pub from_owners: Vec<String>,
    /// Processes named by `From-Process`.
    pub from: Vec<String>,
}

/// An item that may ask for a position.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The process whose log it goes to.
    pub process: ProcessId,
    /// What it is there.
    pub subject: Subject,
}

/// Checks an item whose signature is good.
pub fn check(item: &DataItem, rules: &Rules) -> Result<Checked, CheckError> {
    let tags = item.tags();
    let kind = kind(tags)?;
    let protocol = |tag: &&holon_protocol::Tag| tag.name == "Data-Protocol" || tag.name == "data-protocol";
    if !tags.iter().any(|tag| protocol(&tag)) {
        return Err(CheckError::NoDataProtocol);
    }
    if !tags.iter().filter(protocol).any(|tag| tag.value == "ao") {
        return Err(CheckError::OtherDataProtocol);
    }
    if let Some(tag) = tags.iter().find(|tag| tag.name.ends_with("+link") || tag.value.ends_with("+link")) {
        return Err(CheckError::Link(tag.name.clone()));
    }
    match kind {
        Kind::Process => {
            let (Some(_), Some(scheduler)) = (tags.get("Module"), tags.get("Scheduler")) else {
                return Err(CheckError::ProcessTags);
            };
            if let Some(address) = rules.scheduler
                && scheduler.parse() != Ok(address)
            {
                return Err(CheckError::OtherScheduler { found: scheduler.to_owned(), address });
            }
            Ok(Checked { process: item.id().into(), subject: Subject::Process })
        }
        Kind::Message => {
            if let Some(limit) = &rules.size {
                check_size(item, limit)?;
            }
            let target = item.target().ok_or(CheckError::NoTarget)?;
            let pushed = tags.get("From-Process").is_some();
            let content = (pushed && rules.content_checks).then(|| {
                content(&target, item.anchor().as_ref().map_or(&[], <[u8; 32]>::as_slice), tags, &item.data())
            });
            let id = MessageId::from(item.id());
            Ok(Checked { process: ProcessId::from_bytes(target), subject: Subject::Message { id, content } })
        }
    }
}

/// Both dedupe hashes of an item's fields; absent target or anchor are empty.
pub fn content(target: &[u8], anchor: &[u8], tags: &Tags, data: &[u8]) -> Content {
    Content {
        ordered: ContentHash(dedupe::scheduler(target, anchor, tags, data)),
        unordered: ContentHash(dedupe::scheduler_unordered(target, anchor, tags, data)),
    }
}

fn kind(tags: &Tags) -> Result<Kind, CheckError> {
    let first = tags.iter().find(|tag| tag.name == "Type" || tag.name == "type").ok_or(CheckError::NoType)?;
    match first.value.as_str() {
        "Process" => Ok(Kind::Process),
        "Message" => Ok(Kind::Message),
        _ => Err(CheckError::UnsupportedType),
    }
}

fn check_size(item: &DataItem, limit: &SizeLimit) -> Result<(), CheckError> {
    if item.raw().len() <= limit.bytes {
        return Ok(());
    }
    let owner = item.owner_address().to_string();
    let from = item.tags().iter().find(|tag| tag.name == "From-Process" || tag.name == "from-process");
    let exempt = limit.owners.contains(&owner)
        || (limit.from_owners.contains(&owner) && from.is_some_and(|tag| limit.from.contains(&tag.value)));
    if exempt { Ok(()) } else { Err(CheckError::Size(limit.bytes)) }
}
