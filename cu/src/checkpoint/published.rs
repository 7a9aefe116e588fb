//! Checkpoints on Arweave, in the form that the network's units exchange (spec 05 §8.4, §8.5): one item, whose data is the
//! whole memory, compressed with gzip, and whose tags say where it stands. Pure.

use std::io::Read;

use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use holon_protocol::chain::HashChain;
use holon_protocol::{AssignmentId, ModuleId, Nonce, ProcessId, Tag, Tags, Timestamp};
use sha2::{Digest, Sha256};

use super::bytes::FormatError;
use super::name::{Name, Reach};
use super::save::{EVALUATOR, Snapshot};
use crate::machine::StateRoot;

/// What the tags of a published checkpoint say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The process.
    pub process: ProcessId,
    /// Its module.
    pub module: ModuleId,
    /// Nonce of the last log entry.
    pub nonce: Nonce,
    /// Its epoch.
    pub epoch: u64,
    /// Time of the last message.
    pub timestamp: Timestamp,
    /// Whether the last message was a cron message.
    pub cron: bool,
    /// Last assignment, if it is named.
    pub assignment: Option<AssignmentId>,
    /// Its link, if it is named.
    pub hash_chain: Option<HashChain>,
    /// Root of the state, if it is named.
    pub root: Option<StateRoot>,
    /// Hash of the memory, if it is named.
    sha256: Option<[u8; 32]>,
    /// Whether the data is compressed.
    gzip: bool,
}

fn wrong(reason: &'static str) -> FormatError {
    FormatError::Wrong { what: "published checkpoint", reason }
}

impl Claim {
    /// Reads the tags.
    pub fn read(tags: &Tags) -> Result<Self, FormatError> {
        if !tags.contains("Data-Protocol", "ao") || !tags.contains("Type", "Checkpoint") {
            return Err(wrong("it is no checkpoint"));
        }
        let needed = |name: &'static str| tags.get(name).ok_or(wrong(name));
        let number = |name: &'static str| needed(name)?.parse::<u64>().map_err(|_| wrong(name));
        let optional = |name: &str| tags.get(name).filter(|value| !value.is_empty());
        let gzip = match optional("Content-Encoding") {
            None => false,
            Some("gzip") => true,
            Some(_) => return Err(wrong("Content-Encoding is not gzip")),
        };
        let sha256 = match optional("SHA-256") {
            None => None,
            Some(text) => Some(hex(text).ok_or(wrong("SHA-256"))?),
        };
        Ok(Self {
            process: needed("Process")?.parse().map_err(|_| wrong("Process"))?,
            module: needed("Module")?.parse().map_err(|_| wrong("Module"))?,
            nonce: Nonce(number("Nonce")?),
            epoch: if optional("Epoch").is_some() { number("Epoch")? } else { 0 },
            timestamp: Timestamp(number("Timestamp")?),
            cron: optional("Cron-Interval").is_some(),
            assignment: optional("Assignment").map(|id| id.parse().map_err(|_| wrong("Assignment"))).transpose()?,
            hash_chain: optional("Hash-Chain").map(|id| id.parse().map_err(|_| wrong("Hash-Chain"))).transpose()?,
            root: optional("State-Root").map(|root| root.parse().map_err(|_| wrong("State-Root"))).transpose()?,
            sha256,
            gzip,
        })
    }

    /// Whether a start there leads where `reach` wants.
    pub fn serves(&self, reach: Reach) -> bool {
        let root = StateRoot::from_bytes([0; 32]);
        Name { timestamp: self.timestamp, nonce: Some(self.nonce), after_cron: self.cron, root }.serves(reach)
    }

    /// The memory in `data`, of at most `limit` bytes.
    pub fn memory(&self, data: &[u8], limit: u64) -> Result<Vec<u8>, FormatError> {
        let mut memory = Vec::new();
        match self.gzip {
            true => {
                let mut reader = GzDecoder::new(data).take(limit.saturating_add(1));
                reader.read_to_end(&mut memory).map_err(|_| wrong("it cannot be decompressed"))?;
            }
            false => memory.extend_from_slice(data),
        }
        if memory.len() as u64 > limit {
            return Err(FormatError::Range { what: "bytes of memory", found: memory.len() as u64, min: 0, max: limit });
        }
        if self.sha256.is_some_and(|expected| <[u8; 32]>::from(Sha256::digest(&memory)) != expected) {
            return Err(wrong("the memory does not have the hash of the SHA-256 tag"));
        }
        Ok(memory)
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| high << 4 | low).collect::<Vec<_>>().try_into().ok()
}

/// The tags of a checkpoint of `snapshot`, in the order of spec 05 §8.5, ours after them. `unit` names this start of the unit.
pub fn tags(snapshot: &Snapshot, root: StateRoot, memory: &[u8], unit: &str) -> Option<Vec<Tag>> {
    let last = snapshot.resume.last.as_ref()?;
    let link = snapshot.resume.link.as_ref();
    let nonce = link.map_or(0, |link| link.nonce.0);
    // What the last message said its time was.
    let timestamp = match link {
        Some(link) if !snapshot.resume.after_cron() => link.timestamp,
        _ => last.key.timestamp,
    };
    let digest = Sha256::digest(memory);
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let ordinate = last.key.ordinate;
    let mut tags: Vec<(&str, String)> = vec![
        ("Data-Protocol", "ao".into()),
        ("Variant", "ao.TN.1".into()),
        ("Type", "Checkpoint".into()),
        ("Module", snapshot.process.module_id().to_string()),
        ("Process", snapshot.process.id.to_string()),
        ("Nonce", if nonce == 0 { ordinate.to_string() } else { nonce.to_string() }),
        ("Timestamp", timestamp.to_string()),
        ("Block-Height", last.block_height.to_string()),
        ("Content-Type", "application/octet-stream".into()),
        ("SHA-256", sha256),
        ("Content-Encoding", "gzip".into()),
        ("Unit-Identifier", unit.to_owned()),
        ("Ordinate", ordinate.to_string()),
    ];
    if let Some(link) = link {
        tags.push(("Assignment", link.assignment.to_string()));
        tags.push(("Hash-Chain", link.hash_chain.to_string()));
        if link.epoch != 0 {
            tags.push(("Epoch", link.epoch.to_string()));
        }
    }
    if let Some(cron) = last.key.cron.as_ref().filter(|_| snapshot.resume.after_cron()) {
        tags.push(("Cron-Interval", cron.clone()));
    }
    tags.push(("State-Root", root.to_string()));
    tags.push(("Evaluator", EVALUATOR.to_owned()));
    Some(tags.into_iter().map(|(name, value)| Tag { name: name.to_owned(), value }).collect())
}

/// The data of a published checkpoint.
pub fn compress(memory: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    GzEncoder::new(memory, Compression::best()).read_to_end(&mut data)?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference() -> Vec<(&'static str, String)> {
        let id = "YsZqYsZqYsZqYsZqYsZqYsZqYsZqYsZqYsZqYsZqYsY".to_owned();
        vec![
            ("Data-Protocol", "ao".into()),
            ("Variant", "ao.TN.1".into()),
            ("Type", "Checkpoint".into()),
            ("Module", id.clone()),
            ("Process", id.clone()),
            ("Nonce", "7".into()),
            ("Timestamp", "1700000000123".into()),
            ("Block-Height", "1331218".into()),
            ("Content-Type", "application/octet-stream".into()),
            ("SHA-256", Sha256::digest(vec![7; 65536]).iter().map(|byte| format!("{byte:02x}")).collect()),
            ("Content-Encoding", "gzip".into()),
            ("Unit-Identifier", "x".into()),
            ("Ordinate", "7".into()),
            ("Assignment", id.clone()),
            ("Hash-Chain", id),
        ]
    }

    fn tags_of(fields: &[(&'static str, String)]) -> Tags {
        Tags::from_iter(fields.iter().map(|(name, value)| (*name, value.as_str())))
    }

    #[test]
    fn a_checkpoint_of_the_reference_is_read() {
        let claim = Claim::read(&tags_of(&reference())).unwrap();
        assert_eq!((claim.nonce, claim.epoch, claim.cron, claim.root), (Nonce(7), 0, false, None));
        assert!(claim.assignment.is_some() && claim.hash_chain.is_some());
        let data = compress(&[7; 65536]).unwrap();
        assert_eq!(claim.memory(&data, 65536).unwrap(), [7; 65536]);
        assert!(matches!(claim.memory(&data, 65535), Err(FormatError::Range { .. })));
        assert!(claim.memory(&compress(&[8; 65536]).unwrap(), 65536).is_err(), "another memory");
        assert!(claim.memory(&data[..data.len() / 2], 65536).is_err(), "half of it");
    }

    #[test]
    fn a_checkpoint_without_what_it_needs_is_refused() {
        for missing in ["Data-Protocol", "Type", "Module", "Process", "Nonce", "Timestamp"] {
            let fields: Vec<_> = reference().into_iter().filter(|(name, _)| *name != missing).collect();
            assert!(Claim::read(&tags_of(&fields)).is_err(), "{missing}");
        }
        for (name, value) in [("Content-Encoding", "br"), ("Nonce", "-1"), ("SHA-256", "zz"), ("Hash-Chain", "short")] {
            let mut fields = reference();
            fields.iter_mut().filter(|(known, _)| *known == name).for_each(|field| field.1 = value.into());
            assert!(Claim::read(&tags_of(&fields)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let bomb = compress(&vec![0; 32 << 20]).unwrap();
        let mut fields = reference();
        fields.retain(|(name, _)| *name != "SHA-256");
        let claim = Claim::read(&tags_of(&fields)).unwrap();
        assert!(matches!(claim.memory(&bomb, 1 << 16), Err(FormatError::Range { found: 65537, .. })));
    }

    proptest! {
        #[test]
        fn hostile_data_gives_errors(data in prop::collection::vec(any::<u8>(), 0..300)) {
            let claim = Claim::read(&tags_of(&reference())).unwrap();
            prop_assert!(claim.memory(&data, 1 << 20).is_err());
        }
    }
}
