//! What is stored about an item or transaction: where it stands, where its data is, and its own header.
//!
//! On disk: one line of JSON, a line feed, then the header's own form (the item's bytes up to its data, or the
//! transaction's JSON without data).

use bytes::Bytes;
use holon_arweave::Transaction;
use holon_protocol::{Address, DataItem, ItemId, Tags};
use serde::{Deserialize, Serialize};

use super::index::Position;
use super::pieces::Holder;
use crate::Error;

/// Where an item stands and where its data is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Height of its block; `None` until mined.
    pub height: Option<u64>,
    /// Order of acceptance.
    pub sequence: u64,
    /// The item or transaction directly around it.
    pub bundled_in: Option<ItemId>,
    /// Whose pieces hold the data.
    pub holder: Holder,
    /// Where the data starts in them.
    pub offset: u64,
    /// Bytes of data.
    pub size: u64,
    /// For mined base-layer transactions with data: position of its last byte in the weave, from 1.
    pub weave_end: Option<u64>,
}

impl Place {
    /// Place in the order of GraphQL.
    pub fn position(&self) -> Position {
        Position::new(self.height, self.sequence)
    }
}

/// The signed part.
#[derive(Debug, Clone)]
pub enum Header {
    /// A data item without its data.
    Item(DataItem),
    /// A base-layer transaction without its data.
    Transaction(Box<Transaction>),
}

impl Header {
    /// The header of an item.
    pub fn of_item(item: &DataItem) -> Result<Self, Error> {
        let header = item.raw().slice(..item.raw().len() - item.data().len());
        // A copy, so that the header does not keep a large buffer alive.
        parse_item(Bytes::copy_from_slice(&header))
    }

    /// The header of a transaction.
    pub fn of_transaction(transaction: &Transaction) -> Self {
        Self::Transaction(Box::new(Transaction { data: Bytes::new(), ..transaction.clone() }))
    }

    /// The public key.
    pub fn owner(&self) -> &[u8] {
        match self {
            Self::Item(item) => item.owner(),
            Self::Transaction(transaction) => &transaction.owner,
        }
    }

    /// Wire address of the signer.
    pub fn owner_address(&self) -> Address {
        holon_protocol::address::wire(self.owner())
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        match self {
            Self::Item(item) => item.signature(),
            Self::Transaction(transaction) => &transaction.signature,
        }
    }

    /// Target.
    pub fn target(&self) -> Option<[u8; 32]> {
        match self {
            Self::Item(item) => item.target(),
            Self::Transaction(transaction) => transaction.target,
        }
    }

    /// Anchor, or `last_tx` of a transaction.
    pub fn anchor(&self) -> Vec<u8> {
        match self {
            Self::Item(item) => item.anchor().map(Vec::from).unwrap_or_default(),
            Self::Transaction(transaction) => transaction.last_tx.clone(),
        }
    }

    /// Tags as text.
    pub fn tags(&self) -> Tags {
        match self {
            Self::Item(item) => item.tags().clone(),
            Self::Transaction(transaction) => transaction.text_tags(),
        }
    }
}

/// A stored item or transaction.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its id.
    pub id: ItemId,
    /// Where it stands.
    pub place: Place,
    /// What was signed.
    pub header: Header,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Item,
    Transaction,
}

#[derive(Serialize, Deserialize)]
struct Line {
    kind: Kind,
    #[serde(flatten)]
    place: Place,
}

impl Record {
    /// The transaction, if it is one.
    pub fn transaction(&self) -> Option<&Transaction> {
        match &self.header {
            Header::Transaction(transaction) => Some(transaction),
            Header::Item(_) => None,
        }
    }

    /// The form on disk.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let (kind, header) = match &self.header {
            Header::Item(item) => (Kind::Item, item.raw().to_vec()),
            Header::Transaction(transaction) => {
                (Kind::Transaction, transaction.to_json(false).to_string().into_bytes())
            }
        };
        let line = Line { kind, place: self.place.clone() };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| Error::Damaged(error.to_string()))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&header);
        Ok(bytes)
    }

    /// Reads the form on disk.
    pub fn decode(id: ItemId, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |reason: String| Error::Damaged(format!("record {id}: {reason}"));
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no header".into()))?;
        let line: Line = serde_json::from_slice(&bytes[..end]).map_err(|error| damaged(error.to_string()))?;
        let header = &bytes[end + 1..];
        let header = match line.kind {
            Kind::Item => parse_item(Bytes::copy_from_slice(header))?,
            Kind::Transaction => Header::Transaction(Box::new(
                Transaction::header_from_json(header).map_err(|error| damaged(error.to_string()))?,
            )),
        };
        Ok(Self { id, place: line.place, header })
    }
}

fn parse_item(header: Bytes) -> Result<Header, Error> {
    DataItem::parse(header).map(Header::Item).map_err(|error| Error::Damaged(format!("item header: {error}")))
}
