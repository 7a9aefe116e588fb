//! Rooms of the compute unit that do no system calls, for Miri: `cargo +nightly miri test --manifest-path cu/miri/Cargo.toml`.
//!
//! The sources are the crate's own. What is not here are the rooms whose `unsafe` is a call of the kernel (`mapping`, `region`, `dirty`): Miri
//! does not know `memfd_create`, file mappings, `madvise` and the page map. They have the differential tests of `tests/machine/memory.rs`.
#![allow(dead_code, missing_docs)]

#[path = "../../src/machine/memory/changed.rs"]
mod changed;
#[path = "../../src/machine/depth/graph.rs"]
mod graph;
#[path = "../../src/machine/pages.rs"]
mod pages;

/// Where the sources find each other.
pub mod machine {
    pub use crate::pages::{PAGE_BYTES, PageHash, PageTree};
}
