//! A log made of a seed, and everything that is true about it.

use std::sync::Arc;

use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::{Address, AssignmentId, BlockHeight, ItemId, Nonce, ProcessId, Tags, Timestamp, base64url, wire};
use sha2::{Digest, Sha256};

use super::START;
use crate::cron::{Block, Schedule};
use crate::log::Link;

/// SplitMix64.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()));
        bytes
    }

    /// A signature, and the id that belongs to it.
    pub(super) fn signed(&mut self) -> (String, ItemId) {
        let signature = self.bytes();
        (base64url::encode(signature), ItemId::from_bytes(Sha256::digest(signature).into()))
    }
}

/// The height that the scheduler knows at a time: somewhat behind the blocks.
pub(super) fn height(at: Timestamp) -> BlockHeight {
    BlockHeight(100 + at.0.saturating_sub(START) / 3300)
}

pub(super) fn owner() -> wire::Owner {
    let key = [7; 32];
    wire::Owner { address: Address::from_bytes(Sha256::digest(key).into()), key: base64url::encode(key) }
}

/// A log, and everything that is true about it.
pub(super) struct World {
    pub(super) process: ProcessId,
    pub(super) signature: String,
    pub(super) schedule: Arc<Schedule>,
    pub(super) entries: Vec<wire::Entry>,
    pub(super) links: Vec<Link>,
    pub(super) blocks: Vec<Block>,
    /// The present after the last entry.
    pub(super) end: Timestamp,
}

impl World {
    pub(super) fn new(random: &mut Random) -> Self {
        let (signature, id) = random.signed();
        let process = ProcessId::from(id);
        let crons: &[(&str, &str)] = match random.below(3) {
            0 => &[("Cron-Interval", "3-seconds"), ("Cron-Tag-Action", "T"), ("Cron-Interval", "2-blocks")],
            _ => &[],
        };
        let schedule = Arc::new(Schedule::from_tags(&Tags::from_iter(crons.iter().copied())).unwrap());
        let mut world =
            Self { process, signature, schedule, entries: vec![], links: vec![], blocks: vec![], end: Timestamp(0) };
        let mut at = START;
        let count = 3 + random.below(12);
        // Schedulers of old did not schedule the process itself.
        let old = random.one_in(4);
        let mut contents: Vec<String> = Vec::new();
        let mut assigned: Vec<ItemId> = Vec::new();
        for nonce in 0..count {
            // Schedulers may put two entries into one millisecond, and their clocks may be set back.
            match random.below(6) {
                0 if nonce > 0 => {}
                1 if nonce > 0 => at = START.max(at - random.below(3000)),
                _ => at += 1 + random.below(4000),
            }
            let entry = match random.below(8) {
                _ if nonce == 0 && !old => world.item(random, None, &[("Type", "Process")], "start"),
                0 => world.item(random, None, &[("Action", "X-Trap")], "t"),
                1 => world.item(random, None, &[("Action", "X-Fail")], "f"),
                // Pushed, and perhaps what was pushed before.
                2 | 3 => {
                    if contents.is_empty() || random.one_in(2) {
                        contents.push(base64url::encode(random.bytes()));
                    }
                    let data = contents[random.below(contents.len() as u64) as usize].clone();
                    world.item(random, None, &[("From-Process", "pusher")], &data)
                }
                4 => {
                    if assigned.is_empty() || random.one_in(2) {
                        assigned.push(random.signed().1);
                    }
                    let item = assigned[random.below(assigned.len() as u64) as usize];
                    world.item(random, Some(item), &[], "")
                }
                _ => {
                    let data = base64url::encode(random.bytes());
                    world.item(random, None, &[("Action", "Add")], &data)
                }
            };
            world.push(random, entry, Timestamp(at));
        }
        let last = world.links.last().map_or(START, |last| last.clock.0);
        world.end = Timestamp(last + random.below(9000));
        // Gateways give whole seconds.
        world.blocks = (1..40)
            .map(|at| Block { height: BlockHeight(100 + at), timestamp: Timestamp((START / 1000 + at * 3) * 1000) })
            .collect();
        world
    }

    /// A message, or nothing but the id of an assigned item. The process itself if it says so.
    pub(super) fn item(
        &self,
        random: &mut Random,
        assigned: Option<ItemId>,
        tags: &[(&str, &str)],
        data: &str,
    ) -> (ItemId, Option<wire::Item>) {
        if let Some(id) = assigned {
            return (id, None);
        }
        let of_process = tags.contains(&("Type", "Process"));
        let (signature, id) = match of_process {
            true => (self.signature.clone(), self.process.into()),
            false => random.signed(),
        };
        let item = wire::Item {
            id,
            owner: owner(),
            data: Some(data.to_owned()),
            tags: Tags::from_iter(tags.iter().copied()),
            signature,
            anchor: None,
            target: Some(self.process.to_string()),
        };
        (id, Some(item))
    }

    pub(super) fn push(
        &mut self,
        random: &mut Random,
        (message, item): (ItemId, Option<wire::Item>),
        timestamp: Timestamp,
    ) {
        let nonce = Nonce(self.entries.len() as u64);
        let hash_chain = match self.links.last() {
            Some(last) => last.hash_chain.next(last.assignment),
            None => HashChain::first(self.process),
        };
        let assignment = Assignment {
            process: self.process,
            epoch: 0,
            nonce,
            hash_chain,
            block_height: height(timestamp),
            timestamp,
            message: Some(message.into()),
            exclude: vec![],
        };
        let (signature, id) = random.signed();
        let tags = assignment.to_tags();
        let wired = wire::Assignment { id: id.into(), owner: owner(), tags, signature, anchor: None, target: None };
        self.entries.push(wire::Entry { message: item, assignment: wired });
        let assignment = AssignmentId::from(id);
        let clock = self.links.last().map_or(timestamp, |last| last.clock.max(timestamp));
        self.links.push(Link { assignment, hash_chain, epoch: 0, nonce, timestamp, clock });
    }
}
