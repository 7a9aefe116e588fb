//! Tests of the local Arweave over HTTP, with a real store and a free port each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod blocks;
mod bundles;
mod concurrency;
mod data;
mod graphql;
mod harness;
mod network;
mod our_client;
mod restart;
mod transactions;
