//! A service beside a token: it is told of every result as it comes and keeps a ledger of all transfers in a file.
//!
//! The file holds the ledger together with the cursor of the last result that is in it, and is replaced in one step. Whenever the
//! service, or the compute unit, is ended, it goes on after that cursor: every transfer is in the ledger exactly once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures_util::{StreamExt, pin_mut};
use holon_client::live::{Live, LiveResult};
use holon_client::{Network, outgoing};
use holon_protocol::ProcessId;
use serde::{Deserialize, Serialize};

/// The cursor before the first result of any process.
const BEGINNING: &str = "0";
/// Transfers that are kept one by one; older ones are in the totals only.
const KEPT: usize = 1_000;

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who paid.
    pub sender: String,
    /// Who was paid.
    pub recipient: String,
    /// How much, in the smallest unit.
    pub quantity: u128,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// What is in the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pages {
    /// The last result that is in it.
    cursor: Option<String>,
    transfers: Vec<Transfer>,
    /// What everybody received.
    received: BTreeMap<String, u128>,
    /// How many transfers there were.
    count: u64,
}

/// The ledger of one token.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    pages: Pages,
}

impl Ledger {
    /// Opens the file, or begins one.
    ///
    /// # Errors
    /// When it cannot be read, or is no ledger.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let pages = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is no ledger", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Pages::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { path, pages })
    }

    /// How many transfers there were.
    pub fn count(&self) -> u64 {
        self.pages.count
    }

    /// The newest transfers, oldest first.
    pub fn transfers(&self) -> &[Transfer] {
        &self.pages.transfers
    }

    /// What an address received altogether.
    pub fn received(&self, address: &str) -> u128 {
        self.pages.received.get(address).copied().unwrap_or_default()
    }

    /// Follows the token for as long as it can be followed, and shows every new transfer.
    ///
    /// # Errors
    /// When the compute unit refuses to tell, or the file cannot be written.
    pub async fn follow(&mut self, network: &Network, token: ProcessId, mut show: impl FnMut(&Transfer)) -> Result<()> {
        let from = self.pages.cursor.clone().unwrap_or_else(|| BEGINNING.to_owned());
        let results = network.follow(token).from(from).stream();
        pin_mut!(results);
        while let Some(told) = results.next().await {
            match told? {
                Live::Result(result) => {
                    let new = self.enter(&result)?;
                    new.iter().for_each(&mut show);
                }
                Live::Held(reason) => eprintln!("the token is not evaluated further for now: {reason}"),
                Live::Lost(reason) => eprintln!("connection lost, trying again: {reason}"),
            }
        }
        Ok(())
    }

    /// Enters what one result says, and remembers the place.
    fn enter(&mut self, result: &LiveResult) -> Result<Vec<Transfer>> {
        let new: Vec<_> = transfers(result).collect();
        for transfer in &new {
            let received = self.pages.received.entry(transfer.recipient.clone()).or_default();
            *received = received.saturating_add(transfer.quantity);
            self.pages.count += 1;
        }
        self.pages.transfers.extend(new.iter().cloned());
        let old = self.pages.transfers.len().saturating_sub(KEPT);
        self.pages.transfers.drain(..old);
        self.pages.cursor = Some(result.cursor.clone());
        write_whole(&self.path, &serde_json::to_vec(&self.pages)?)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(new)
    }
}

/// A token answers a transfer with two notices: the one to the sender says everything.
fn transfers(result: &LiveResult) -> impl Iterator<Item = Transfer> {
    let at = result.timestamp;
    outgoing(&result.result).into_iter().filter_map(move |notice| {
        if notice.tags.get("Action") != Some("Debit-Notice") {
            return None;
        }
        let quantity = notice.tags.get("Quantity")?.parse().ok()?;
        let recipient = notice.tags.get("Recipient")?.to_owned();
        Some(Transfer { sender: notice.target, recipient, quantity, at })
    })
}

/// Whoever reads the file sees the old one or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)
}
