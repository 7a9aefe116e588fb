//! Whether what a scheduler says about a process is what was signed.
//!
//! The record of a process decides which module runs, who may schedule it, whether its log has a hash chain and when its crons
//! begin; and its height and time are in no signature that the record itself has. They are in that of the first assignment, so the
//! record is compared with how the log begins. What neither shows falls to the operator's choice ([`Unverifiable`]), and where it is
//! believed, every result says so.

use holon_protocol::assignment::Assignment;
use holon_protocol::{BlockHeight, ItemId, Nonce, ProcessId, wire};

use super::verify::Course;
use super::{Fault, Goal, Log, SlotError, signatures, verify};
use crate::error::Error;
use crate::hydrate::ao_owner;
use crate::options::Unverifiable;

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
