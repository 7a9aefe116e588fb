//! Whether what a scheduler says about a log entry is what was signed. Pure.
//!
//! JSON does not hold everything that a signature covers. A message's anchor that is `null` may be there and not be text, and its
//! tags may have been encoded in a way that JSON does not tell: only a scheduler that spells all anchors (`show-anchor=all`,
//! [`wire::Entry::signed`]) says that neither is so. Data that is not text is not in the JSON at all, or has U+FFFD in it. An
//! assignment's tags are the scheduler's own, so its anchor is enough.
//!
//! So there are three verdicts: the signatures cover what stands there; they do not; or it cannot be said. What the last one means is
//! for the operator to say ([`Unverifiable`](crate::options::Unverifiable)).
//!
//! Pages are judged by several threads: the larger part of what a short message costs is its two signatures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use holon_protocol::item::{ItemError, Parts};
use holon_protocol::{Tags, base64url, wire};

use super::Fault;

/// Entries that a thread takes at once.
const ENTRIES_TAKEN: usize = 4;
/// Stands in text for bytes that were none.
const REPLACEMENT: char = '\u{fffd}';

/// An entry, and whether its signatures cover all that stands next to them.
pub type Judged<T> = (T, bool);

/// Entries whose signatures are being judged by as many threads as [help](Self::help).
pub struct Judging<T> {
    entries: Vec<T>,
    /// What of an entry is to be judged, if anything.
    subject: fn(&T) -> Option<&wire::Entry>,
    /// The first entry that nobody has taken.
    next: AtomicUsize,
    /// Verdicts of entries from a number on.
    verdicts: Mutex<HashMap<usize, Vec<Result<bool, Fault>>>>,
}

impl<T> Judging<T> {
    /// `entries`, of which nothing is judged yet. What has no `subject` counts as covered.
    pub fn new(entries: Vec<T>, subject: fn(&T) -> Option<&wire::Entry>) -> Self {
        Self { entries, subject, next: AtomicUsize::new(0), verdicts: Mutex::default() }
    }

    /// Whether there are entries that nobody has taken.
    pub fn needs_help(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.entries.len()
    }

    /// Judges until nothing is left to be taken.
    pub fn help(&self) {
        loop {
            let first = self.next.fetch_add(ENTRIES_TAKEN, Ordering::Relaxed);
            let taken = self.entries.iter().skip(first).take(ENTRIES_TAKEN);
            let verdicts: Vec<_> = taken.map(|entry| self.judge(entry)).collect();
            if verdicts.is_empty() {
                return;
            }
            self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).insert(first, verdicts);
        }
    }

    fn judge(&self, entry: &T) -> Result<bool, Fault> {
        (self.subject)(entry).map_or(Ok(true), covered)
    }

    /// For each entry whether its signatures cover all that stands next to them; what is not covered cannot be said. What nobody has
    /// judged, perhaps because a thread did not come to an end, is judged now.
    ///
    /// They end before the first one with a signature that does not cover what stands next to it; which of its two comes with them.
    pub fn finish(self) -> (Vec<Judged<T>>, Option<(T, Fault)>) {
        let mut verdicts = std::mem::take(&mut *self.verdicts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut covered = Vec::with_capacity(self.entries.len());
        let mut forged = None;
        'pages: for (number, taken) in self.entries.chunks(ENTRIES_TAKEN).enumerate() {
            let first = number * ENTRIES_TAKEN;
            let judged = verdicts.remove(&first).filter(|verdicts| verdicts.len() == taken.len());
            let judged = judged.unwrap_or_else(|| taken.iter().map(|entry| self.judge(entry)).collect());
            for verdict in judged {
                match verdict {
                    Ok(verdict) => covered.push(verdict),
                    Err(fault) => {
                        forged = Some(fault);
                        break 'pages;
                    }
                }
            }
        }
        let mut entries = self.entries.into_iter();
        let good = entries.by_ref().take(covered.len()).zip(covered).collect();
        (good, entries.next().zip(forged))
    }
}

/// Whether both signatures of an entry cover what stands next to them; `false` where that cannot be said.
///
/// # Errors
/// Which one does not.
pub fn covered(entry: &wire::Entry) -> Result<bool, Fault> {
    let wire::Assignment { id, owner, tags, signature, anchor, target } = &entry.assignment;
    let fields = Fields { signature, owner, target: target.as_deref(), tags, data: "" };
    let position = match anchor.as_deref() {
        None => false,
        // Whatever spells it, it is there.
        Some(anchor) => {
            // The oldest assignments are bundles that hold their message, which they say nothing of here (spec 02 §5.2).
            let is_exact = !holon_protocol::bundle::is_bundle(tags);
            fields
                .judge(Anchor::read(anchor), is_exact)
                .map_err(|reason| Fault::Assignment { assignment: *id, reason })?
        }
    };
    let Some(wire::Item { id, owner, data, tags, signature, anchor, target }) = &entry.message else {
        return Ok(position);
    };
    let fields =
        Fields { signature, owner, target: target.as_deref(), tags, data: data.as_deref().unwrap_or_default() };
    let is_exact =
        anchor.as_deref().is_some_and(is_spelled) && data.as_ref().is_some_and(|data| !data.contains(REPLACEMENT));
    let message = fields.judge(anchor.as_deref().map_or(Some(Anchor(None)), Anchor::read), is_exact);
    let message = message.map_err(|reason| Fault::Message { message: *id, reason })?;
    Ok(position && message)
}

/// Whether the signature of a process covers what its scheduler says about it; `false` where that cannot be said.
///
/// # Errors
/// Why it does not.
pub fn judge_process(record: &wire::Process) -> Result<bool, String> {
    let Some(signature) = &record.signature else { return Ok(false) };
    let wire::Process { owner, tags, data, anchor, target, .. } = record;
    let fields =
        Fields { signature, owner, target: target.as_deref(), tags, data: data.as_deref().unwrap_or_default() };
    let is_exact =
        anchor.as_deref().is_some_and(is_spelled) && data.as_ref().is_some_and(|data| !data.contains(REPLACEMENT));
    fields.judge(anchor.as_deref().map_or(Some(Anchor(None)), Anchor::read), is_exact)
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

/// An anchor, if there is one.
#[derive(Clone, Copy)]
struct Anchor(Option<[u8; 32]>);

impl Anchor {
    /// As text, in base64url, or `""` for none.
    fn read(text: &str) -> Option<Self> {
        let bytes = match text.len() {
            0 => return Some(Self(None)),
            32 => text.as_bytes().to_vec(),
            _ => base64url::decode(text).ok()?,
        };
        bytes.try_into().ok().map(|bytes| Self(Some(bytes)))
    }
}

/// What a signature covers, as JSON has it; without the anchor.
struct Fields<'a> {
    signature: &'a str,
    owner: &'a wire::Owner,
    target: Option<&'a str>,
    tags: &'a Tags,
    data: &'a str,
}

impl Fields<'_> {
    /// Whether the signature covers these fields and `anchor`. That it does not is an error only if they are exactly what was signed;
    /// else nothing can be said.
    fn judge(&self, anchor: Option<Anchor>, is_exact: bool) -> Result<bool, String> {
        let Some(Anchor(anchor)) = anchor else { return Ok(false) };
        let target = match self.target.unwrap_or_default() {
            "" => None,
            spelled => match base64url::decode(spelled).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
                Some(target) => Some(target),
                None if is_exact => return Err(format!("its target {spelled:?} is not 32 bytes")),
                None => return Ok(false),
            },
        };
        let (Ok(signature), Ok(owner)) = (base64url::decode(self.signature), base64url::decode(&self.owner.key)) else {
            return Ok(false);
        };
        let parts =
            Parts { signature: &signature, owner: &owner, target, anchor, tags: self.tags, data: self.data.as_bytes() };
        match parts.verify() {
            Ok(()) => Ok(true),
            // No kind of signature that is known here.
            Err(ItemError::Lengths { .. }) => Ok(false),
            Err(error) if is_exact => Err(format!("what the scheduler says of it is not what was signed: {error}")),
            Err(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::assignment::Assignment;
    use holon_protocol::chain::HashChain;
    use holon_protocol::{BlockHeight, DataItem, Nonce, ProcessId, Signer, Timestamp};

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

    fn judge(entries: &[&wire::Entry], threads: usize) -> (Vec<bool>, Option<Fault>) {
        let judging = Judging::new(entries.to_vec(), |entry| Some(entry));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| judging.help());
            }
        });
        assert!(threads == 0 || !judging.needs_help());
        let (good, forged) = judging.finish();
        (good.into_iter().map(|(_, covered)| covered).collect(), forged.map(|(_, fault)| fault))
    }

    fn verdict(entry: &wire::Entry) -> Option<&'static str> {
        match judge(&[entry], 1) {
            (verdicts, None) => (!verdicts[0]).then_some("unsaid"),
            (_, Some(Fault::Message { .. })) => Some("message"),
            (_, Some(Fault::Assignment { .. })) => Some("assignment"),
            (_, Some(_)) => Some("something else"),
        }
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
        assert_eq!(verdict(&wire::Entry::signed(&assignment, Some(&item))), Some("unsaid"));
        assert_eq!(verdict(&wire::Entry::new(&assignment, Some(&item), false)), Some("unsaid"));
        assert_eq!(verdict(&wire::Entry::new(&assignment, Some(&item), true)), Some("unsaid"));
        // Text that has the sign by itself, and an anchor that is text, are covered nevertheless.
        let (assignment, item) = signed(&signer, Some([b'a'; 32]), "say \u{fffd}".as_bytes());
        assert_eq!(verdict(&wire::Entry::signed(&assignment, Some(&item))), None);
        assert_eq!(verdict(&wire::Entry::new(&assignment, Some(&item), true)), None);
        assert_eq!(
            verdict(&wire::Entry::new(&assignment, Some(&item), false)),
            Some("unsaid"),
            "the assignment is not"
        );
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
        // Its signature is that of the usual encoding here; with one of the other it would look like this.
        let other = wire::Item { data: Some("hallo".into()), ..entry.message.clone().unwrap() };
        assert_eq!(verdict(&wire::Entry { message: Some(other), ..entry }), Some("unsaid"));
    }

    #[test]
    fn an_assignment_of_the_oldest_form_has_data_that_json_does_not_say() {
        let signer = Signer::generate_ed25519().unwrap();
        let (assignment, message) = signed(&signer, None, b"hello");
        let oldest =
            DataItem::builder().anchor([0xfe; 32]).tag("Bundle-Format", "binary").tag("Bundle-Version", "2.0.0");
        let oldest = oldest.tags(assignment.tags().0.clone());
        let oldest = oldest.data(holon_protocol::Bundle::encode(std::slice::from_ref(&message))).sign(&signer).unwrap();
        for show_anchor in [true, false] {
            assert_eq!(verdict(&wire::Entry::new(&oldest, Some(&message), show_anchor)), Some("unsaid"));
        }
    }

    #[test]
    fn what_is_said_of_a_process_is_judged_like_its_entry() {
        let signer = Signer::generate_ed25519().unwrap();
        for (anchor, data) in [(None, &b"1984"[..]), (Some([0xff; 32]), b""), (None, &[0xff])] {
            let (assignment, process) = signed(&signer, anchor, data);
            let honest = wire::Process::signed(&assignment, &process);
            let text = std::str::from_utf8(data).is_ok();
            assert_eq!(judge_process(&honest), Ok(text), "{anchor:?}");
            let lie = wire::Process { tags: Tags::from_iter([("Module", "another")]), ..honest.clone() };
            assert_eq!(judge_process(&lie).is_err(), text);
            // Without the anchor nobody can say so, unless there is none.
            let plain = wire::Process::new(&assignment, &process);
            assert_eq!(judge_process(&plain), Ok(text && anchor.is_none()));
            assert_eq!(judge_process(&wire::Process { tags: lie.tags, ..plain }), Ok(false));
        }
    }

    #[test]
    fn a_lie_is_found_wherever_it_stands_in_a_page_and_the_first_counts() {
        let signer = Signer::generate_ed25519().unwrap();
        let (assignment, item) = signed(&signer, None, b"hello");
        let honest = wire::Entry::signed(&assignment, Some(&item));
        let mut lie = honest.clone();
        lie.message.as_mut().unwrap().data = Some("hallo".into());
        let unsaid = wire::Entry::new(&assignment, Some(&item), false);
        assert_eq!(judge(&[], 4), (vec![], None));
        for (length, threads) in [(1, 4), (4, 4), (5, 2), (31, 3), (64, 4), (65, 4), (65, 1), (9, 0)] {
            for at in [0, length / 2, length - 1] {
                let mut page = vec![&honest; length];
                page[at] = &unsaid;
                let verdicts = (0..length).map(|entry| entry != at).collect::<Vec<_>>();
                assert_eq!(judge(&page, threads), (verdicts, None), "{length} {threads}");
                page[at] = &lie;
                page[length - 1] = &lie;
                let (good, forged) = judge(&page, threads);
                assert_eq!((good, forged.is_some()), (vec![true; at], true), "{length} {threads}");
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
