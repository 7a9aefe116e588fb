//! Content hashes that recognise a pushed message sent twice (spec 01 §12).

use crate::Tags;

/// The scheduler's hash: tags without `Pushed-For`, sorted by name and value; base64url of a deep hash (64 characters).
/// `target` and `anchor` are the raw field bytes, empty when absent.
pub fn scheduler(target: &[u8], anchor: &[u8], tags: &Tags, data: &[u8]) -> String {
    let _ = (target, anchor, tags, data);
    todo!()
}

/// The same over the tags in their original order, as old records have it.
pub fn scheduler_unordered(target: &[u8], anchor: &[u8], tags: &Tags, data: &[u8]) -> String {
    let _ = (target, anchor, tags, data);
    todo!()
}

/// The compute unit's hash: every tag in its original order; standard base64 of a deep hash (64 characters).
pub fn evaluator(target: &[u8], anchor: &[u8], tags: &Tags, data: &[u8]) -> String {
    let _ = (target, anchor, tags, data);
    todo!()
}
