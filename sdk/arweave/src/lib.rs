//! arweave
