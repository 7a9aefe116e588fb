//! Behaviour of the protocol crate: the conformance vectors, round trips over generated values, and the strictness that
//! keeps ids unique.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bundles;
mod data_items;
mod generated;
mod hashes;
mod limits;
mod primitives;
mod rsa_pss;
mod scheduler_json;
mod signatures;
mod vectors;
mod wallets;
