//! The ao wire protocol, without I/O: identifiers, hashes, signed data items, bundles, the `ao` tag vocabulary, and the
//! JSON that schedulers and compute units exchange.
//!
//! Everything here is a pure function of bytes. Bytes from outside enter through [`DataItem::parse`],
//! [`Bundle::parse`] and the [`FromStr`](std::str::FromStr) of the id types; what comes out of them has been checked
//! against the limits of the specification and can be trusted to be well formed (not to be authentic: that is
//! [`DataItem::verify`]).
//!
//! # From a wallet to a log entry
//!
//! A client signs a message, a scheduler assigns it a position with a signed item of its own and keeps both in a bundle,
//! and a compute unit checks the hash chain before it evaluates.
//!
//! ```
//! use holon_protocol::assignment::Assignment;
//! use holon_protocol::chain::HashChain;
//! use holon_protocol::kind::{self, Kind};
//! use holon_protocol::wire::Entry;
//! use holon_protocol::{BlockHeight, Bundle, DataItem, Nonce, ProcessId, Signer, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The client. `raw()` is what it posts to a messenger.
//! let wallet = Signer::generate_ed25519()?;
//! let process: ProcessId = "1yxixr44Nwt9b9FU8JD2Qk4Zs9v39Y_NmnUWcZo-HlM".parse()?;
//! let message = DataItem::builder()
//!     .target(process)
//!     .tag("Data-Protocol", "ao")
//!     .tag("Variant", "ao.TN.1")
//!     .tag("Type", "Message")
//!     .tag("Action", "Ping")
//!     .data("hello")
//!     .sign(&wallet)?;
//! let posted = message.raw().clone();
//!
//! // A unit that gets the bytes: parse, check every limit, verify the signature. Nothing is copied but the tags.
//! let message = DataItem::parse_verified(posted)?;
//! assert_eq!(message.owner_address(), wallet.address());
//! assert_eq!(kind::of(message.tags()), Some(Kind::Message));
//! assert_eq!(message.tags().get("Action"), Some("Ping"));
//!
//! // The scheduler: a position, signed.
//! let scheduler = Signer::generate_ed25519()?;
//! let position = Assignment {
//!     process,
//!     epoch: 0,
//!     nonce: Nonce(0),
//!     hash_chain: HashChain::first(process),
//!     block_height: BlockHeight(1_234_567),
//!     timestamp: Timestamp(1_700_000_000_000),
//!     message: Some(message.id().into()),
//!     exclude: vec![],
//! };
//! # let fresh_random_bytes = [7; 32];
//! let assignment = position.item(fresh_random_bytes).sign(&scheduler)?;
//! let stored = Bundle::encode(&[assignment.clone(), message.clone()]);
//! let served = serde_json::to_string(&Entry::new(&assignment, Some(&message), false))?;
//!
//! // The compute unit: read the entry, check its link, and know the next one.
//! let entry: Entry = serde_json::from_str(&served)?;
//! let position = Assignment::from_tags(&entry.assignment.tags)?;
//! assert_eq!(position.hash_chain, HashChain::first(process));
//! let next = position.next_hash_chain(entry.assignment.id);
//! assert_ne!(next, position.hash_chain);
//!
//! // Whoever opens the bundle later verifies each item again.
//! assert_eq!(Bundle::parse(stored)?.items()?.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What a check means
//!
//! * An id is the hash of a signature, so a second valid signature over the same content is a second message. Verification
//!   therefore accepts one spelling of each signature only: canonical Ed25519 points and scalars, low-`s` ECDSA with a
//!   right recovery byte, RSA values below the modulus. Making *another* signature needs the private key.
//! * The tags' count and length stand outside the signature. [`DataItem::parse`] is what makes them trustworthy: tags must
//!   decode to exactly the declared count and fill the declared bytes.
//! * Tag bytes are hashed as received. [`Tags::encode`] gives one canonical form, but other forms are legal and stay as they
//!   are in [`DataItem::raw`].
//! * Limits ([`item::MAX_TAGS`], [`item::MAX_TAG_BYTES`], [`item::MAX_TAG_NAME_BYTES`], [`item::MAX_TAG_VALUE_BYTES`]) are
//!   checked before anything is allocated. The size of the data is the transport's business.
//! * Verifying takes 0.05 to 0.35 ms of one core and signing with RSA 1.5 ms: in an asynchronous service that is too long
//!   for the thread that serves sockets under load.
//!
//! # Where things are
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
