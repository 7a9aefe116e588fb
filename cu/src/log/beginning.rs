//! Whether what a scheduler says about a process is what was signed.
//!
//! The record of a process decides which module runs, who may schedule it, whether its log has a hash chain and when its crons
//! begin; and its height and time are in no signature that the record itself has. They are in that of the first assignment, so the
//! record is compared with how the log begins. What neither shows falls to the operator's choice ([`Unverifiable`]), and where it is
//! believed, every result says so. What was found is remembered with the record that it was found of ([`Found`]): nobody has to be asked
//! again as long as the scheduler says the same.

use holon_protocol::assignment::Assignment;
use holon_protocol::{Address, BlockHeight, ItemId, Nonce, ProcessId, wire};

use super::verify::Course;
use super::{Fault, Goal, Log, SlotError, signatures, verify};
use crate::error::Error;
use crate::hydrate::ao_owner;
use crate::options::Unverifiable;

/// What was found of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// BLAKE3 of the record without its data, and of the wallets that may schedule the process.
    record: [u8; 32],
    /// The choice under which it was found, and [`CHECKED`] if everything was checked.
    how: u8,
}

/// Added to the choice where nothing is only believed.
const CHECKED: u8 = 0x80;

/// How a choice is written.
fn choice(unverifiable: Unverifiable) -> u8 {
    match unverifiable {
        Unverifiable::Mark => 1,
        Unverifiable::Fetch => 2,
        Unverifiable::Refuse => 3,
    }
}

impl Found {
    /// That something in `record`, which names `signers`, is believed or not.
    pub fn new(record: &wire::Process, signers: &[Address], unchecked: bool, unverifiable: Unverifiable) -> Self {
        let checked = if unchecked { 0 } else { CHECKED };
        Self { record: digest(record, signers), how: choice(unverifiable) | checked }
    }

    /// Whether something in `record` is only believed, if it is the one of which `bytes` tell and the choice is still the same.
    pub fn recall(
        bytes: &[u8],
        record: &wire::Process,
        signers: &[Address],
        unverifiable: Unverifiable,
    ) -> Option<bool> {
        let (found, how) = bytes.split_first_chunk::<32>()?;
        if *found != digest(record, signers) {
            return None;
        }
        match how {
            [how] if how & !CHECKED == choice(unverifiable) => Some(how & CHECKED == 0),
            _ => None,
        }
    }

    /// To be kept.
    pub fn bytes(&self) -> [u8; 33] {
        let mut bytes = [self.how; 33];
        bytes[..32].copy_from_slice(&self.record);
        bytes
    }
}

/// What decides whether the comparison would come out as it did.
fn digest(record: &wire::Process, signers: &[Address]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    let wire::Process { process_id, block, owner, tags, timestamp, data: _, anchor, signature, target } = record;
    field(process_id.as_bytes());
    field(block.as_bytes());
    field(owner.address.as_bytes());
    field(owner.key.as_bytes());
    field(&timestamp.0.to_be_bytes());
    for text in [anchor, signature, target] {
        field(&[u8::from(text.is_some())]);
        field(text.as_deref().unwrap_or_default().as_bytes());
    }
    field(&tags.encode());
    for signer in signers {
        field(signer.as_bytes());
    }
    hasher.finalize().into()
}

/// Compares `record`, whose height has been read, with the first entry of `log`. Whether something in it is only believed.
///
/// # Errors
/// [`Error::Slot`], or [`Error::Log`], when they differ, when one of them is forged, or when they cannot be checked and the operator
/// does not believe it then.
pub async fn is_unchecked(
    log: &dyn Log,
    course: &Course<'_>,
    (record, height): (&wire::Process, BlockHeight),
    unverifiable: Unverifiable,
) -> Result<bool, Error> {
    if log.is_signed() {
        return Ok(false);
    }
    let id = course.process;
    let first = log.page(None, Goal::Slot(Nonce(0))).await?.entries.into_iter().next();
    let own = first.filter(|first| first.entry.message.as_ref().is_some_and(|item| item.id == id.into()));
    let Some(first) = own else {
        // The process was not scheduled. No assignment then tells its height and time, nor does JSON.
        return match unverifiable {
            Unverifiable::Mark => Ok(true),
            Unverifiable::Fetch => compare_item(log, record).await.map(|()| true),
            Unverifiable::Refuse => Err(fault(id, Fault::Unverifiable)),
        };
    };
    let (assignment, link) = verify::follow(course, None, &first.entry)?;
    if let Some(item) = &first.entry.message
        && let Some(what) = difference(record, height, item, &assignment)
    {
        return Err(fault(id, Fault::Record { what }));
    }
    let covered = first.verified || signatures::covered(&first.entry).map_err(|found| fault(id, found))?;
    match unverifiable {
        _ if covered => Ok(false),
        Unverifiable::Mark => Ok(true),
        Unverifiable::Refuse => Err(fault(id, Fault::Unverifiable)),
        Unverifiable::Fetch => {
            compare_item(log, record).await?;
            let signed = log.on_chain(Nonce(0), link.assignment.into(), false).await?;
            let signer = first.entry.assignment.owner.address;
            if Assignment::from_tags(&signed.tags).as_ref() == Ok(&assignment) && signed.owner.address == signer {
                return Ok(false);
            }
            let reason = "the one on Arweave says something else".to_owned();
            Err(fault(id, Fault::Assignment { assignment: link.assignment, reason }))
        }
    }
}

fn fault(process: ProcessId, fault: Fault) -> Error {
    SlotError { process, slot: Nonce(0), fault }.into()
}

/// In what the record differs from the process as its log begins with it.
fn difference(
    record: &wire::Process,
    height: BlockHeight,
    item: &wire::Item,
    assignment: &Assignment,
) -> Option<&'static str> {
    let same = [
        ("owner", record.owner == item.owner),
        ("tags", record.tags == item.tags),
        ("height", height == assignment.block_height),
        ("time", record.timestamp == assignment.timestamp),
    ];
    same.into_iter().find_map(|(what, same)| (!same).then_some(what))
}

/// Compares the record with the process as it was signed.
async fn compare_item(log: &dyn Log, record: &wire::Process) -> Result<(), Error> {
    let message = ItemId::from(record.process_id);
    let signed = log.on_chain(Nonce(0), message, false).await?;
    if signed.tags == record.tags && ao_owner(&signed.owner) == ao_owner(&record.owner) {
        return Ok(());
    }
    let reason = "the one on Arweave has other tags or another owner".to_owned();
    Err(fault(record.process_id, Fault::Message { message, reason }))
}
