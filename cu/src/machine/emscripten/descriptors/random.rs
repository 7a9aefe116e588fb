//! Randomness of a message: what `/dev/urandom` and `random_get` give (spec 06 §4.5).

use sha2::{Digest, Sha256};

use crate::machine::host::{Entry, Host};

/// Bytes that are made before the clock is looked at.
const AT_ONCE: usize = 1 << 20;

/// The next bytes of the random stream. The guest has `memory_bytes` of memory. So many bytes may be asked for at once that making
/// them takes minutes.
pub fn random_bytes(host: &mut Host, into: &mut [u8], memory_bytes: usize) -> wasmtime::Result<()> {
    let Some(entry) = host.entry.clone() else { return Ok(()) };
    for (number, part) in into.chunks_mut(AT_ONCE).enumerate() {
        if number > 0 {
            host.watch.breathe(memory_bytes)?;
        }
        let files = host.emscripten.files();
        random(&entry, files.random_read, part);
        files.random_read += part.len() as u64;
    }
    Ok(())
}

/// The device `/dev/urandom` of a message: SHA-256(environment ‖ message ‖ block number), from byte `from` on. The reference gives
/// real randomness, on which no two hosts could agree.
fn random(entry: &Entry, from: u64, into: &mut [u8]) {
    const BLOCK: u64 = 32;
    let seed = Sha256::new().chain_update(&*entry.environment).chain_update(&*entry.message);
    let mut at = from;
    let mut rest = into;
    while !rest.is_empty() {
        let block = seed.clone().chain_update((at / BLOCK).to_le_bytes()).finalize();
        let start = (at % BLOCK) as usize;
        let count = rest.len().min(block.len() - start);
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&block[start..start + count]);
        rest = later;
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holon_protocol::Tags;

    use super::*;
    use crate::machine::host::CallTags;

    #[test]
    fn random_bytes_depend_on_the_message_and_not_on_how_they_are_read() {
        let entry = |message: &str| Entry {
            message: Arc::from(message),
            environment: Arc::from("environment"),
            block_height: 0,
            tags: Arc::new(CallTags { process: Tags::default(), module: Tags::default() }),
        };
        let mut whole = [0; 100];
        random(&entry("a"), 0, &mut whole);
        let mut pieces = [0; 100];
        for start in (0..100).step_by(7) {
            let end = (start + 7).min(100);
            random(&entry("a"), start as u64, &mut pieces[start..end]);
        }
        assert_eq!(whole, pieces);
        random(&entry("b"), 0, &mut pieces);
        assert_ne!(whole, pieces);
    }
}
