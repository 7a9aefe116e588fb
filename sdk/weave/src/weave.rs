//! What clients can do, without HTTP: verify off the async threads, hand to the writer, wait for the disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use holon_arweave::Transaction;
use holon_arweave::merkle::{self, Chunk, InvalidPath};
use holon_arweave::transaction::TransactionError;
use holon_protocol::item::ItemError;
use holon_protocol::{Address, DataItem, ItemId, base64url};
use holon_unit::durable::GroupCommit;
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use crate::Error;
use crate::store::Store;
use crate::store::accept::{Accepted, PoolFull};
use crate::store::blocks::Block;
use crate::store::pieces::Root;
use crate::unbundle;

/// Most bytes that a transaction may say it has. Until all chunks are here this is a mere claim, but the places of all later
/// transactions in the weave come after it: 2^24 such claims have room.
pub const MAX_DATA_BYTES: u64 = 1 << 40;

/// Handle of a local Arweave. Cheap to clone.
#[derive(Clone)]
pub struct Weave(Arc<Inner>);

struct Inner {
    store: Store,
    commit: GroupCommit,
    counts: Counts,
}

/// What was accepted since the start.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// New data items uploaded as such.
    pub items: Counter<u64, AtomicU64>,
    /// New base-layer transactions.
    pub transactions: Counter<u64, AtomicU64>,
    /// New chunks.
    pub chunks: Counter<u64, AtomicU64>,
}

/// Something was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Not a valid item.
    #[error("{0}")]
    Item(#[from] ItemError),
    /// Not a valid transaction.
    #[error("{0}")]
    Transaction(#[from] TransactionError),
    /// Not a valid chunk.
    #[error("{0:?}")]
    Chunk(ChunkRefusal),
    /// Nothing wrong with it, but it could not be stored.
    #[error(transparent)]
    Service(#[from] Error),
}

/// Why a chunk is refused: the codes of spec 03 §5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkRefusal {
    /// `invalid_json`
    InvalidJson,
    /// `chunk_too_big`
    ChunkTooBig,
    /// `data_path_too_big`
    DataPathTooBig,
    /// `offset_field_required`
    OffsetFieldRequired,
    /// `offset_too_big`
    OffsetTooBig,
    /// `chunk_proof_ratio_not_attractive`
    ProofRatio,
    /// `invalid_proof`
    InvalidProof,
    /// `exceeds_disk_pool_size_limit`
    PoolFull,
}

#[derive(Deserialize)]
struct ChunkJson {
    data_root: String,
    data_size: Decimal,
    data_path: String,
    offset: Option<Decimal>,
    chunk: String,
}

/// A number, as such or in a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Decimal {
    Number(u64),
    Text(String),
}

impl Decimal {
    fn get(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Weave {
    /// The service over an open store.
    pub fn new(store: Store) -> Result<Self, Error> {
        let commit = GroupCommit::new(store.database().clone())?;
        Ok(Self(Arc::new(Inner { store, commit, counts: Counts::default() })))
    }

    /// What is stored. Reads may touch the disk; long ones belong on a blocking thread ([`Self::run`]).
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What was accepted since the start.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Runs `work` on a blocking thread.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T, Error> {
        let weave = self.clone();
        Ok(tokio::task::spawn_blocking(move || work(&weave)).await?)
    }

    /// Takes a data item. On disk when this returns.
    pub async fn submit_item(&self, raw: Bytes) -> Result<DataItem, SubmitError> {
        let item = self.run(|weave| weave.take_item(raw)).await??;
        self.durable().await?;
        Ok(item)
    }

    fn take_item(&self, raw: Bytes) -> Result<DataItem, SubmitError> {
        let item = DataItem::parse(raw)?;
        let id = item.id();
        // An id is the hash of a signature: what is known was verified, if the bytes are the same.
        if self.is_same_item(&item)? {
            return Ok(item);
        }
        item.verify().map_err(ItemError::from)?;
        let inside = unbundle::open(id, item.tags(), &item.data());
        if self.store().accept_item(&item, &inside)? == Accepted::New {
            self.counts().items.inc();
            tracing::debug!(%id, bytes = item.raw().len(), inside = inside.len(), "item accepted");
        }
        Ok(item)
    }

    fn is_same_item(&self, item: &DataItem) -> Result<bool, Error> {
        let Some(known) = self.store().record(item.id())? else { return Ok(false) };
        let header = item.raw().len() - item.data().len();
        let same_header = matches!(&known.header, crate::store::record::Header::Item(other)
            if other.raw()[..] == item.raw()[..header]);
        Ok(same_header
            && known.place.size == item.data().len() as u64
            && self.store().is_complete(&known.place)?
            && self.store().data(&known.place, 0, known.place.size)? == item.data())
    }

    /// Takes a base-layer transaction in its JSON form.
    pub async fn submit_transaction(&self, json: Bytes) -> Result<(ItemId, Accepted), SubmitError> {
        let taken = self.run(move |weave| weave.take_transaction(&json)).await??;
        self.durable().await?;
        Ok(taken)
    }

    fn take_transaction(&self, json: &[u8]) -> Result<(ItemId, Accepted), SubmitError> {
        let transaction = Transaction::from_json(json)?;
        if transaction.data_size > MAX_DATA_BYTES {
            let reason = "at most 1 TiB is allowed";
            return Err(TransactionError::Field { field: "data_size", reason }.into());
        }
        transaction.verify()?;
        let id = transaction.id;
        let inside = unbundle::open(id, &transaction.text_tags(), &transaction.data);
        let accepted = self.store().accept_transaction(&transaction, &inside)?;
        if accepted == Accepted::New {
            self.counts().transactions.inc();
            tracing::debug!(%id, bytes = transaction.data_size, inside = inside.len(), "transaction accepted");
            self.open_complete_bundles()?;
        }
        Ok((id, accepted))
    }

    /// Takes a chunk in its JSON form.
    pub async fn submit_chunk(&self, json: Bytes) -> Result<(), SubmitError> {
        self.run(move |weave| weave.take_chunk(&json)).await??;
        self.durable().await?;
        Ok(())
    }

    fn take_chunk(&self, json: &[u8]) -> Result<(), SubmitError> {
        let (root, chunk) = read_chunk(json).map_err(SubmitError::Chunk)?;
        match self.store().accept_chunk(&root, &chunk)? {
            Err(PoolFull) => return Err(SubmitError::Chunk(ChunkRefusal::PoolFull)),
            Ok(Accepted::New) => {
                self.counts().chunks.inc();
                self.open_complete_bundles()?;
            }
            Ok(Accepted::Known) => {}
        }
        Ok(())
    }

    /// Opens bundles whose last chunk has come. What is not opened because the program ends is opened at the next start.
    pub fn open_complete_bundles(&self) -> Result<(), Error> {
        for id in self.store().unopened()? {
            let inside = match self.store().record(id)? {
                Some(record) if record.place.size <= unbundle::MAX_BUNDLE_BYTES => {
                    let data = self.store().data(&record.place, 0, record.place.size)?;
                    unbundle::open(id, &record.header.tags(), &data)
                }
                _ => Vec::new(),
            };
            self.store().accept_opened(id, &inside)?;
        }
        Ok(())
    }

    /// Makes `count` blocks.
    pub async fn mine(&self, count: u64) -> Result<Block, Error> {
        let tip = self.run(move |weave| weave.store().mine(count)).await??;
        self.durable().await?;
        Ok(tip)
    }

    /// Forgets everything but seeds.
    pub async fn reset(&self) -> Result<(), Error> {
        self.run(|weave| weave.store().reset()).await??;
        self.durable().await
    }

    /// Changes a balance.
    pub async fn change_balance(
        &self,
        address: Address,
        change: impl FnOnce(u128) -> u128 + Send + 'static,
    ) -> Result<u128, Error> {
        let balance = self.run(move |weave| weave.store().change_balance(address, change)).await??;
        self.durable().await?;
        Ok(balance)
    }

    /// Returns when everything written before is on disk.
    pub async fn durable(&self) -> Result<(), Error> {
        Ok(self.0.commit.durable().await?)
    }
}

/// Reads and verifies the JSON of a chunk.
fn read_chunk(json: &[u8]) -> Result<(Root, Chunk), ChunkRefusal> {
    let json: ChunkJson = serde_json::from_slice(json).map_err(|_| ChunkRefusal::InvalidJson)?;
    let decode = |text: &str| base64url::decode(text).map_err(|_| ChunkRefusal::InvalidJson);
    let data_root: merkle::Hash = decode(&json.data_root)?.try_into().map_err(|_| ChunkRefusal::InvalidJson)?;
    let data_size = json.data_size.get().ok_or(ChunkRefusal::InvalidJson)?;
    let offset = json.offset.ok_or(ChunkRefusal::OffsetFieldRequired)?.get().ok_or(ChunkRefusal::InvalidJson)?;
    let (data_path, bytes) = (decode(&json.data_path)?, decode(&json.chunk)?);
    if bytes.len() > merkle::MAX_CHUNK_BYTES {
        return Err(ChunkRefusal::ChunkTooBig);
    }
    if data_path.len() > merkle::MAX_PATH_BYTES {
        return Err(ChunkRefusal::DataPathTooBig);
    }
    if offset >= data_size {
        return Err(ChunkRefusal::OffsetTooBig);
    }
    let leaf = merkle::verify_chunk(&data_root, offset, data_size, &data_path, &bytes)
        .map_err(|InvalidPath| ChunkRefusal::InvalidProof)?;
    if data_path.len() > bytes.len() && leaf.end != data_size {
        return Err(ChunkRefusal::ProofRatio);
    }
    let chunk = Chunk { start: leaf.start, end: leaf.end, bytes: bytes.into(), data_path };
    Ok((Root::new(data_root, data_size), chunk))
}
