//! Whether what a scheduler says about a log entry is what was signed. Pure.
//!
//! JSON does not hold everything that a signature covers, so some of it can be judged and some cannot. A message's anchor that
//! is `null` may be there and not be text, and its tags may have been encoded in a way that JSON does not tell: only a
//! scheduler that spells all anchors (`show-anchor=all`, [`wire::Entry::signed`]) says that neither is so. Data that is not
//! text is not in the JSON at all, or has U+FFFD in it. An assignment's tags are the scheduler's own, so its anchor is enough.
//!
//! What cannot be judged is taken as it is: a message must never stop a process only because of how it was encoded.

use holon_protocol::item::{ItemError, Parts};
use holon_protocol::{DataItem, Tags, base64url, wire};

use super::Fault;

/// Entries that one thread checks before another one helps.
const ENTRIES_PER_THREAD: usize = 32;
/// Most threads that check one page: the evaluation needs some, too.
const MAX_THREADS: usize = 4;
/// Stands in text for bytes that were none.
const REPLACEMENT: char = '\u{fffd}';

/// The first of `entries` with a signature that does not cover what stands next to it, and which of its two.
pub fn first_broken(entries: &[&wire::Entry]) -> Option<(usize, Fault)> {
    let threads = entries.len().div_ceil(ENTRIES_PER_THREAD).clamp(1, MAX_THREADS);
    let size = entries.len().div_ceil(threads).max(1);
    let search = |(number, part): (usize, &[&wire::Entry])| {
        part.iter().enumerate().find_map(|(at, entry)| Some((number * size + at, broken(entry)?)))
    };
    std::thread::scope(|scope| {
        let mut parts = entries.chunks(size).enumerate();
        let first = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(move || search(part))).collect();
        let first = first.and_then(search);
        // In order: the earliest counts.
        others.into_iter().map(|part| part.join().ok().flatten()).fold(first, Option::or)
    })
}

/// Which signature of an entry does not cover what stands next to it.
fn broken(entry: &wire::Entry) -> Option<Fault> {
    let wire::Assignment { id, owner, tags, signature, anchor, target } = &entry.assignment;
    let fields = Fields { signature, owner, target, tags, data: "" };
    if let Some(anchor) = anchor
        && let Some(reason) = fields.refuted(anchor)
    {
        return Some(Fault::Assignment { assignment: *id, reason });
    }
    let wire::Item { id, owner, data, tags, signature, anchor, target } = entry.message.as_ref()?;
    let (data, anchor) = (data.as_ref()?, anchor.as_ref()?);
    if !is_spelled(anchor) || data.contains(REPLACEMENT) {
        return None;
    }
    let fields = Fields { signature, owner, target, tags, data };
    fields.refuted(anchor).map(|reason| Fault::Message { message: *id, reason })
}

/// A message's anchor as a process sees it, whichever way the scheduler spells it: text, or none.
pub fn anchor_as_text(anchor: Option<String>) -> Option<String> {
    match anchor {
        Some(spelled) if is_spelled(&spelled) => String::from_utf8(base64url::decode(&spelled).ok()?).ok(),
        anchor => anchor,
    }
    .filter(|text| !text.is_empty())
}

/// Whether an anchor is in base64url, or said to be none; as text it has 32 bytes.
fn is_spelled(anchor: &str) -> bool {
    anchor.is_empty() || (anchor.len() == 43 && base64url::decode(anchor).is_ok())
}

/// What a signature covers, as JSON has it; without the anchor.
struct Fields<'a> {
    signature: &'a str,
    owner: &'a wire::Owner,
    target: &'a Option<String>,
    tags: &'a Tags,
    data: &'a str,
}

impl Fields<'_> {
    /// Why the signature does not cover these fields and `anchor`; `None` if it does, or if that cannot be said.
    fn refuted(&self, anchor: &str) -> Option<String> {
        let decoded = |text: &str| base64url::decode(text).ok();
        let field = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).ok();
        let anchor = match anchor {
            "" => None,
            text if text.len() == 32 => Some(field(text.as_bytes().to_vec())?),
            spelled => Some(field(decoded(spelled)?)?),
        };
        let target = match self.target.as_deref().unwrap_or_default() {
            "" => None,
            spelled => match decoded(spelled).and_then(field) {
                Some(target) => Some(target),
                None => return Some(format!("its target {spelled:?} is not 32 bytes")),
            },
        };
        let (signature, owner) = (decoded(self.signature)?, decoded(&self.owner.key)?);
        let data = self.data.as_bytes();
        let parts = Parts { signature: &signature, owner: &owner, target, anchor, tags: self.tags, data };
        match DataItem::assemble(&parts) {
            // No kind of signature that is known here.
            Ok(_) | Err(ItemError::Lengths { .. }) => None,
            Err(error) => Some(format!("what the scheduler says of it is not what was signed: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::assignment::Assignment;
    use holon_protocol::chain::HashChain;
    use holon_protocol::{BlockHeight, Nonce, ProcessId, Signer, Timestamp};

    use super::*;

    fn signed(signer: &Signer, anchor: Option<[u8; 32]>, data: &[u8]) -> (DataItem, DataItem) {
        let process = ProcessId::from_bytes([1; 32]);
        let item = DataItem::builder().target(process).tag("Action", "Add").data(data.to_vec());
        let item = anchor.into_iter().fold(item, holon_protocol::item::Builder::anchor).sign(signer).unwrap();
        let assignment = Assignment {
            process,
            epoch: 0,
            nonce: Nonce(1),
            hash_chain: HashChain::of([2; 32]),
            block_height: BlockHeight(7),
            timestamp: Timestamp(9),
            message: Some(item.id().into()),
            exclude: vec![],
        };
        (assignment.item([0xfe; 32]).sign(signer).unwrap(), item)
    }

    fn verdict(entry: &wire::Entry) -> Option<&'static str> {
        first_broken(&[entry]).map(|(_, fault)| match fault {
            Fault::Message { .. } => "message",
            Fault::Assignment { .. } => "assignment",
            _ => "something else",
        })
    }

    #[test]
    fn every_field_that_was_signed_counts() {
        for signer in [Signer::generate_ed25519().unwrap(), Signer::from_secp256k1(&[7; 32]).unwrap()] {
            for anchor in [None, Some([b'a'; 32]), Some([0xff; 32])] {
                let (assignment, item) = signed(&signer, anchor, b"hello");
                let honest = wire::Entry::signed(&assignment, Some(&item));
                assert_eq!(verdict(&honest), None, "{anchor:?}");
                type Change = fn(&mut wire::Entry);
                let lies: [(&str, Change); 6] = [
                    ("message", |entry| entry.message.as_mut().unwrap().data = Some("hallo".into())),
                    ("message", |entry| entry.message.as_mut().unwrap().tags.push("Admin", "yes")),
                    ("message", |entry| entry.message.as_mut().unwrap().target = Some(String::new())),
                    ("message", |entry| entry.message.as_mut().unwrap().target = Some("AA".into())),
                    ("message", |entry| entry.message.as_mut().unwrap().anchor = Some(base64url::encode([3; 32]))),
                    ("assignment", |entry| entry.assignment.tags.0[4].value = "000000000008".into()),
                ];
                for (what, lie) in lies {
                    let mut entry = honest.clone();
                    lie(&mut entry);
                    assert_eq!(verdict(&entry), Some(what));
                }
            }
        }
    }

    #[test]
    fn what_json_does_not_say_is_not_held_against_anybody() {
        let signer = Signer::generate_ed25519().unwrap();
        let (assignment, item) = signed(&signer, Some([0xff; 32]), &[b'a', 0xff]);
        // Data that was replaced; anchors that are not shown, or shown as pages have always shown them.
        assert_eq!(verdict(&wire::Entry::signed(&assignment, Some(&item))), None);
        assert_eq!(verdict(&wire::Entry::new(&assignment, Some(&item), false)), None);
        assert_eq!(verdict(&wire::Entry::new(&assignment, Some(&item), true)), None);
        // Tags that were encoded in another way: one block, with its length in bytes in front.
        let (assignment, item) = signed(&signer, None, b"hello");
        let usual = item.tag_bytes();
        let mut tags = vec![1, ((usual.len() - 2) * 2) as u8];
        tags.extend_from_slice(&usual[1..]);
        assert_eq!(holon_protocol::Tags::decode(&tags, 1).unwrap(), *item.tags());
        let mut raw = item.raw()[..item.raw().len() - 5 - usual.len() - 8].to_vec();
        raw.extend_from_slice(&(tags.len() as u64).to_le_bytes());
        raw.extend_from_slice(&tags);
        raw.extend_from_slice(b"hello");
        let other = DataItem::parse(raw).unwrap();
        let entry = wire::Entry::signed(&assignment, Some(&other));
        assert_eq!(entry.message.as_ref().unwrap().anchor, None);
        assert_eq!(verdict(&entry), None);
    }

    #[test]
    fn a_lie_is_found_wherever_it_stands_in_a_page_and_the_first_counts() {
        let signer = Signer::generate_ed25519().unwrap();
        let (assignment, item) = signed(&signer, None, b"hello");
        let honest = wire::Entry::signed(&assignment, Some(&item));
        let mut lie = honest.clone();
        lie.message.as_mut().unwrap().data = Some("hallo".into());
        assert_eq!(first_broken(&[]), None);
        for length in [1, 31, 32, 33, 64, 65, 200] {
            assert_eq!(first_broken(&vec![&honest; length]), None);
            for at in [0, length / 2, length - 1] {
                let mut page = vec![&honest; length];
                page[at] = &lie;
                page[length - 1] = &lie;
                assert_eq!(first_broken(&page).map(|(at, _)| at), Some(at), "{length}");
            }
        }
    }

    #[test]
    fn a_process_sees_an_anchor_as_text_however_it_was_spelled() {
        let text = "0000000000000000000000000000000a";
        let spelled = base64url::encode(text);
        for (given, seen) in [
            (None, None),
            (Some(""), None),
            (Some(text), Some(text)),
            (Some(spelled.as_str()), Some(text)),
            (Some(base64url::encode([0xff; 32]).as_str()), None),
        ] {
            assert_eq!(anchor_as_text(given.map(str::to_owned)).as_deref(), seen, "{given:?}");
        }
    }
}
