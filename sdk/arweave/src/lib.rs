//! Reaching Arweave: gateway reads, GraphQL, bundler uploads, base-layer transactions, and finding the scheduler of a
//! process (spec 03, spec 02 §9).
//!
//! Everything here is a client. A [`Gateway`] reads (data, metadata, blocks) with retries, an [`Uploader`] hands data
//! items to a bundler once (the caller's durable queue decides about more), and a [`Locator`] turns a process or wallet
//! into a scheduler's address and URL. URLs that strangers publish pass through a [`UrlPolicy`] before anything
//! connects to them.
//!
//! [`transaction`] and [`merkle`] are pure: the base layer's transaction format and the tree that binds its data.
//!
//! Concurrency: all types are cheap to clone and free of background tasks; a call that is dropped stops.

pub mod error;
pub mod gateway;
pub mod graphql;
pub mod guard;
pub mod locate;
pub mod merkle;
pub mod transaction;
pub mod upload;
pub mod verified;

mod cache;
mod http;

pub use error::Error;
pub use gateway::{Confirmations, DataPath, Gateway, GatewayOptions, Info, Watch};
pub use graphql::{Block, Node, NodePage, Query};
pub use guard::{GuardError, UrlPolicy};
pub use locate::{LocateError, Location, Locator};
pub use transaction::Transaction;
pub use upload::{UploadError, Uploader};
pub use verified::{Header, Verified};
