//! Content hashes that recognise a pushed message sent twice (spec 01 §12).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::deep_hash::{Hash, deep_hash_blobs};
use crate::{Tags, base64url};

/// The scheduler's hash: tags without `Pushed-For`, sorted by name and value; base64url of a deep hash (64 characters).
/// `target` and `anchor` are the raw field bytes, empty when absent.
pub fn scheduler(target: &[u8], anchor: &[u8], tags: &Tags, data: &[u8]) -> String {
    let mut kept = without_pushed_for(tags);
    kept.0.sort_by(|a, b| (a.name.as_bytes(), a.value.as_bytes()).cmp(&(b.name.as_bytes(), b.value.as_bytes())));
    base64url::encode(hash(target, anchor, &encode_filtered(&kept, tags), data))
}

/// The same over the tags in their original order, as old records have it.
pub fn scheduler_unordered(target: &[u8], anchor: &[u8], tags: &Tags, data: &[u8]) -> String {
    let kept = without_pushed_for(tags);
    base64url::encode(hash(target, anchor, &encode_filtered(&kept, tags), data))
}

/// The compute unit's hash: every tag in its original order; standard base64 of a deep hash (64 characters).
pub fn evaluator(target: &[u8], anchor: &[u8], tags: &Tags, data: &[u8]) -> String {
    STANDARD.encode(hash(target, anchor, &tags.encode(), data))
}

fn without_pushed_for(tags: &Tags) -> Tags {
    tags.iter().filter(|tag| tag.name != "Pushed-For").cloned().collect()
}

/// A list that became empty through the removal is hashed as the one-byte empty array, one that was empty before as
/// nothing: deployed schedulers do so, and hashes must agree with theirs.
fn encode_filtered(kept: &Tags, original: &Tags) -> Vec<u8> {
    if kept.is_empty() && !original.is_empty() { vec![0] } else { kept.encode() }
}

/// The third blob is `1` whatever the signature type, and the owner is blank, so that the same content signed by two
/// messengers is recognised.
fn hash(target: &[u8], anchor: &[u8], tags: &[u8], data: &[u8]) -> Hash {
    deep_hash_blobs(&[b"dataitem", b"1", b"1", b"", target, anchor, tags, data])
}
