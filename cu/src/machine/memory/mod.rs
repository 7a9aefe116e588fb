//! Linear memories that are never copied per message.
//!
//! ```text
//!   Image              committed pages of one process, possibly shared with forks; a memfd, unless the process rests
//!     ▲      │
//!     │      │ MAP_PRIVATE
//! commit     ▼
//!   Region             what the guest sees: the image, and on top of it the pages written since
//! ```
//!
//! * Rolling back is [`Region::discard`]: the kernel drops the private pages and the image shows again.
//! * Committing is [`Region::commit`]: the kernel says which pages are private, and those go into the image. What a fork still
//!   looks at is kept for it first (`moments`), so that forks are immutable and a commit costs what it changes.
//! * A fork is another region mapped from the same image.
//!
//! | where | what |
//! |---|---|
//! | `region` | the memory of one instance, between calls |
//! | `mapping` | its address space: what wasmtime gets, what is mapped there |
//! | `image`, `changed` | committed contents, at rest or not; which pages to hash |
//! | `moments`, `file` | files that change while others look at what they were |
//! | `dirty` | which pages were written |
//! | `poll` | a page that running code touches, so that it can be stopped |
//! | `fault` | where tests make the operating system say no |
//!
//! Linux only. All `unsafe` of this crate that is about memory is in this folder. Its one assumption, stated once here
//! and relied on below: whoever holds `&mut Store` of the store that owns a memory knows that no guest code runs on it and
//! that no slice into it is alive, because wasmtime hands those out only against a borrow of the store. Every function
//! that changes a mapping therefore takes the store by `&mut`, and checks that the memory in it is the region's. The pages of a file below
//! a memory change only where its mapping has copies of its own, or after it has left the file ([`Region::let_go`]), when nobody looks at
//! the memory until it is shown something again.

mod changed;
mod dirty;
#[cfg(not(test))]
mod fault;
#[cfg(test)]
pub(in crate::machine) mod fault;
mod file;
mod image;
mod mapping;
mod moments;
mod poll;
mod region;
#[cfg(test)]
mod tests;

pub(in crate::machine) use image::Image;
pub(in crate::machine) use mapping::Creator;
pub(in crate::machine) use poll::{PollPage, PollPages};
pub(in crate::machine) use region::{NotCommitted, Region};

/// The kernel's page: what becomes private, and is written back, as a whole.
pub(in crate::machine) const PAGE_BYTES: usize = super::PAGE_BYTES;
