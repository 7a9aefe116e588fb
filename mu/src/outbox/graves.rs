//! Which dead letters give way when there are too many: the oldest of whoever has most, so that what one process fills does
//! not cost others theirs. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use holon_protocol::ProcessId;

/// Counted for each letter beside its bytes.
pub const LETTER_BYTES: u64 = 10 * 1024;

/// Who is answerable for a letter; `None`: nobody in particular.
pub type Owner = Option<ProcessId>;

/// What one owner has.
#[derive(Debug, Default)]
struct Holding {
    /// Letters and their bytes, oldest first.
    letters: BTreeMap<u64, u64>,
    bytes: u64,
}

/// What is kept, by owner.
#[derive(Debug)]
pub struct Graves {
    /// Most bytes, [`LETTER_BYTES`] for each letter included.
    room: u64,
    taken: u64,
    owners: HashMap<Owner, Holding>,
    /// Owners by what they have.
    sizes: BTreeSet<(u64, Owner)>,
    of: HashMap<u64, Owner>,
}

impl Graves {
    /// Room for so many bytes.
    pub fn new(room: u64) -> Self {
        Self { room, taken: 0, owners: HashMap::new(), sizes: BTreeSet::new(), of: HashMap::new() }
    }

    /// Adds letter `id` of so many bytes; the letters that give way for it, maybe itself.
    pub fn add(&mut self, id: u64, owner: Owner, bytes: u64) -> Vec<u64> {
        let bytes = bytes.saturating_add(LETTER_BYTES);
        self.change(owner, |holding| {
            holding.letters.insert(id, bytes);
            holding.bytes += bytes;
        });
        self.of.insert(id, owner);
        let mut gone = Vec::new();
        while self.taken > self.room
            && let Some(&(_, owner)) = self.sizes.last()
            && let Some(oldest) = self.owners.get(&owner).and_then(|holding| holding.letters.keys().next().copied())
        {
            self.remove(oldest);
            gone.push(oldest);
        }
        gone
    }

    /// A letter is gone.
    pub fn remove(&mut self, id: u64) {
        if let Some(owner) = self.of.remove(&id) {
            self.change(owner, |holding| {
                holding.bytes -= holding.letters.remove(&id).unwrap_or_default();
            });
        }
    }

    fn change(&mut self, owner: Owner, change: impl FnOnce(&mut Holding)) {
        let holding = self.owners.entry(owner).or_default();
        let before = holding.bytes;
        change(holding);
        let after = holding.bytes;
        if holding.letters.is_empty() {
            self.owners.remove(&owner);
        }
        self.sizes.remove(&(before, owner));
        if after > 0 {
            self.sizes.insert((after, owner));
        }
        self.taken = (self.taken + after).saturating_sub(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(byte: u8) -> Owner {
        Some(ProcessId::from_bytes([byte; 32]))
    }

    #[test]
    fn who_has_most_gives_way_oldest_first() {
        let mut graves = Graves::new(10 * LETTER_BYTES);
        assert_eq!(graves.add(1, process(1), 0), [0; 0]);
        let gone: Vec<_> = (2..100).flat_map(|id| graves.add(id, process(2), 0)).collect();
        assert_eq!(gone, (2..=90).collect::<Vec<_>>(), "never the first one, which is older than all of them");
        assert_eq!(graves.add(100, None, 3 * LETTER_BYTES), (91..=94).collect::<Vec<_>>(), "bytes count");
        assert_eq!(graves.add(101, process(3), 20 * LETTER_BYTES), [101], "what is larger than all room is not kept");
    }

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        let mut graves = Graves::new(LETTER_BYTES * 3);
        for id in 0..100 {
            graves.add(id, process((id % 7) as u8), id);
        }
        (0..100).for_each(|id| graves.remove(id));
        assert!(graves.owners.is_empty() && graves.sizes.is_empty() && graves.of.is_empty());
        assert_eq!(graves.taken, 0);
    }
}
