//! An entry that a scheduler tells of in words that its signatures cannot be checked against, compared with the items
//! themselves: what was signed is on Arweave, or will be.

use holon_protocol::assignment::Assignment;
use holon_protocol::base64url;

use super::{Fault, Log, SlotError};
use crate::error::Error;
use crate::hydrate::{Field, Message, OnChain, Said, Scheduled, ao_owner};

/// Stands in text for bytes that were none.
const REPLACEMENT: char = '\u{fffd}';

/// Reads assignment and message of `scheduled` from Arweave, verified, and finds out whether they are what the scheduler `said`.
///
/// # Errors
/// [`Error::Slot`] when they are something else, or are not there.
pub async fn compare(log: &dyn Log, scheduled: &Scheduled, said: &Said) -> Result<(), Error> {
    let (process, slot) = (said.assignment.process, scheduled.link.nonce);
    let forged = |fault| Error::from(SlotError { process, slot, fault });
    let id = scheduled.link.assignment;
    let assignment = log.on_chain(slot, id.into(), false).await?;
    let signed = Assignment::from_tags(&assignment.tags);
    if signed.as_ref() != Ok(&said.assignment) || assignment.owner.address != said.signer {
        let reason = "the one on Arweave says something else".to_owned();
        return Err(forged(Fault::Assignment { assignment: id, reason }));
    }
    if !said.sent {
        return Ok(());
    }
    let message = log.on_chain(slot, scheduled.message_id.into(), true).await?;
    // The process itself names nobody as its target.
    let sent_here = message.recipient == scheduled.message.target || scheduled.message_id == process.into();
    let difference = difference(&scheduled.message, &message).or((!sent_here).then_some("target"));
    match difference {
        None => Ok(()),
        Some(what) => {
            let reason = format!("the one on Arweave has other {what}");
            Err(forged(Fault::Message { message: scheduled.message_id.into(), reason }))
        }
    }
}

/// In what a message as a process would see it differs from the item.
fn difference(message: &Message, item: &OnChain) -> Option<&'static str> {
    let anchor = base64url::decode(&item.anchor).ok().and_then(|anchor| String::from_utf8(anchor).ok());
    let same_anchor = match &message.anchor {
        Field::Text(text) => anchor.as_ref() == Some(text),
        Field::Null | Field::Absent => anchor.as_deref().unwrap_or_default().is_empty(),
    };
    let same_data = match &message.data {
        Field::Text(text) => *text == item.data,
        // Of a process, data that is not text.
        Field::Null | Field::Absent => item.data.contains(REPLACEMENT),
    };
    let same = [
        ("tags", message.tags == item.tags),
        ("data", same_data),
        ("owner", message.owner == ao_owner(&item.owner)),
        ("anchor", same_anchor),
    ];
    same.into_iter().find_map(|(what, same)| (!same).then_some(what))
}

#[cfg(test)]
mod tests {
    use holon_protocol::{DataItem, Signer, Tags, wire};

    use super::*;

    #[test]
    fn a_message_is_the_items_or_it_is_said_in_what_it_differs() {
        let signer = Signer::generate_ed25519().unwrap();
        let item =
            DataItem::builder().tag("Action", "Add").anchor([b'7'; 32]).data(vec![b'a', 0xff]).sign(&signer).unwrap();
        let found = |item: &DataItem| OnChain {
            id: item.id(),
            signature: String::new(),
            owner: wire::Owner::of(item),
            tags: item.tags().clone(),
            recipient: String::new(),
            anchor: base64url::encode(item.anchor().unwrap_or_default()),
            data: String::from_utf8_lossy(&item.data()).into_owned(),
        };
        let honest = Message {
            data: Field::Text("a\u{fffd}".into()),
            owner: signer.address().to_string(),
            anchor: Field::Text("7".repeat(32)),
            tags: item.tags().clone(),
            ..Message::default()
        };
        assert_eq!(difference(&honest, &found(&item)), None);
        // What is left out because it is not text.
        let process = Message { data: Field::Null, ..honest.clone() };
        assert_eq!(difference(&process, &found(&item)), None);
        let binary = DataItem::builder().tag("Action", "Add").anchor([0xff; 32]).data("a").sign(&signer).unwrap();
        let hidden = Message { anchor: Field::Null, data: Field::Text("a".into()), ..honest.clone() };
        assert_eq!(difference(&hidden, &found(&binary)), None);
        for (what, lie) in [
            ("tags", Message { tags: Tags::default(), ..honest.clone() }),
            ("data", Message { data: Field::Text("b\u{fffd}".into()), ..honest.clone() }),
            ("owner", Message { owner: "somebody".into(), ..honest.clone() }),
            ("anchor", Message { anchor: Field::Null, ..honest.clone() }),
            ("anchor", Message { anchor: Field::Text("8".repeat(32)), ..honest.clone() }),
        ] {
            assert_eq!(difference(&lie, &found(&item)), Some(what));
        }
        assert_eq!(difference(&Message { data: Field::Null, ..hidden }, &found(&binary)), Some("data"));
    }
}
