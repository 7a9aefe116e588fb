//! Tests of the Arweave client: the golden vectors, and reads and uploads against a scripted server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod reading;
mod script;
mod uploading;
mod vectors;
