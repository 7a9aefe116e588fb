//! Whether an entry positions a message that was sent to the process, or an item that somebody had assigned. Pure.
//!
//! A process sees the two differently, and no tag says which it is. What is signed does, or nearly: a scheduler uploads the
//! assignment of an item alone in a bundle that it signs, and used to upload that of a message together with the message in
//! one (spec 02 §5.3); it excludes fields of assigned items only; and it accepts as messages only items that name the process
//! as their target and are of type `Message` (spec 02 §2). What is left are items that could have been sent and whose
//! assignment lies in no such bundle: these were sent, because schedulers today upload the assignments of messages like that.
//!
//! Nothing here is the gateway's word, but for one thing: that there is no bundle of the scheduler's around the assignment.

use holon_arweave::Verified;
use holon_protocol::assignment::Assignment;
use holon_protocol::{Bundle, DataItem, ItemId, ProcessId, bundle};

/// What a bundle that the scheduler signed says about an assignment.
#[derive(Debug, Clone)]
pub enum Around {
    /// It holds the assignment and nothing else: the entry assigns an item.
    Alone,
    /// It holds the assignment and what it positions: the entry is a message.
    With(DataItem),
    /// It says nothing about it, or there is none.
    Nothing,
}

/// What `container`, which the scheduler signed, says about an assignment of `message`.
pub fn around(container: &DataItem, assignment: ItemId, message: ItemId) -> Around {
    if !bundle::is_bundle(container.tags()) {
        return Around::Nothing;
    }
    let Ok(inside) = Bundle::parse(container.data()) else { return Around::Nothing };
    let ids: Vec<ItemId> = inside.entries().iter().map(|entry| entry.id).collect();
    // In the oldest logs the bundle around the message is the assignment itself.
    let place = match ids[..] {
        [only] if only == assignment => return Around::Alone,
        [only] if only == message && container.id() == assignment => 0,
        [first, second] if first == assignment && second == message => 1,
        _ => return Around::Nothing,
    };
    inside.item(place).map_or(Around::Nothing, Around::With)
}

/// Whether an item that is assigned to `process` was sent to it, when no bundle says so.
pub fn is_sent(process: ProcessId, says: &Assignment, item: &Verified) -> bool {
    let Verified::Item(item) = item else { return false };
    let kind = item.tags().iter().find(|tag| tag.name == "Type" || tag.name == "type");
    says.exclude.is_empty()
        && item.target() == Some(*process.as_bytes())
        && kind.is_some_and(|kind| kind.value == "Message")
}

#[cfg(test)]
mod tests {
    use holon_protocol::Signer;

    use super::*;

    #[test]
    fn only_a_bundle_of_the_assignment_and_what_it_positions_says_anything() {
        let wallet = Signer::generate_ed25519().unwrap();
        let item = |data: &str| DataItem::builder().data(data.to_owned()).sign(&wallet).unwrap();
        let [assignment, message, other] = ["assignment", "message", "other"].map(item);
        let bundle = |items: &[DataItem]| {
            let bundle = DataItem::builder().tag("Bundle-Format", "binary").tag("Bundle-Version", "2.0.0");
            bundle.data(Bundle::encode(items)).sign(&wallet).unwrap()
        };
        let says = |items: &[&DataItem]| {
            let items: Vec<DataItem> = items.iter().map(|item| (*item).clone()).collect();
            around(&bundle(&items), assignment.id(), message.id())
        };
        assert!(matches!(says(&[&assignment]), Around::Alone));
        assert!(matches!(says(&[&assignment, &message]), Around::With(found) if found.id() == message.id()));
        for items in [&[&other][..], &[&message], &[&message, &assignment], &[&assignment, &other], &[]] {
            assert!(matches!(says(items), Around::Nothing), "{}", items.len());
        }
        assert!(matches!(says(&[&assignment, &message, &other]), Around::Nothing));
        // The bundle is the assignment.
        let oldest = bundle(std::slice::from_ref(&message));
        assert!(matches!(around(&oldest, oldest.id(), message.id()), Around::With(_)));
        assert!(matches!(around(&item("no bundle"), assignment.id(), message.id()), Around::Nothing));
    }
}
