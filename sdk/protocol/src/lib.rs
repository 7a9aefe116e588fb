//! The ao wire protocol, without I/O: identifiers, hashes, signed data items, bundles, the `ao` tag vocabulary, and the
//! JSON that schedulers and compute units exchange.
//!
//! Everything here is a pure function of bytes. Bytes from outside enter through [`DataItem::parse`],
//! [`Bundle::parse`] and the [`FromStr`](std::str::FromStr) of the id types; what comes out of them has been checked
//! against the limits of the specification and can be trusted to be well formed (not to be authentic: that is
//! [`DataItem::verify`]).
//!
//! | module | what it holds |
//! |---|---|
//! | [`base64url`] | the one text encoding of ids, keys and signatures |
//! | [`id`] | ids and addresses, one type for each meaning |
//! | [`deep_hash`] | Arweave's SHA-384 hash of nested values |
//! | [`tags`] | ordered name and value pairs and their Avro encoding |
//! | [`item`] | ANS-104 data items: parse, verify, build |
//! | [`bundle`] | ANS-104 bundles |
//! | [`signature`] | signature types and their verification |
//! | [`signer`] | wallets that sign |
//! | [`address`] | how an owner appears to gateways and to processes |
//! | [`chain`] | hash chain of a process's log |
//! | [`dedupe`] | content hashes that recognise a message sent twice |
//! | [`kind`], [`assignment`], [`process`], [`module`] | what an item means to the network |
//! | [`wire`] | the scheduler's JSON |
//! | [`result`] | the compute unit's JSON |

pub mod address;
pub mod assignment;
pub mod base64url;
pub mod bundle;
pub mod chain;
pub mod dedupe;
pub mod deep_hash;
pub mod id;
pub mod item;
mod jwk;
pub mod kind;
pub mod module;
pub mod process;
pub mod result;
mod rsa;
pub mod signature;
pub mod signer;
pub mod tags;
pub mod wire;

pub use bundle::Bundle;
pub use id::{Address, AssignmentId, BlockHeight, ItemId, MessageId, ModuleId, Nonce, ProcessId, Timestamp};
pub use item::DataItem;
pub use signer::Signer;
pub use tags::{Tag, Tags};
