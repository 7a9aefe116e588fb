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
//! * Committing is [`Region::commit`]: the kernel says which pages are private, and those go into the image. When a fork
//!   still looks at the image, it is first duplicated (holes stay holes), so that forks are immutable snapshots.
//! * A fork is another region mapped from the same image.
//!
//! Linux only. All `unsafe` of this crate that is about memory is in this folder. Its one assumption, stated once here
//! and relied on below: whoever holds `&mut Store` of the store that owns a memory knows that no guest code runs on it and
//! that no slice into it is alive, because wasmtime hands those out only against a borrow of the store. Every function
//! that changes a mapping therefore takes the store by `&mut`, and checks that the memory in it is the region's.

mod changed;
mod dirty;
mod file;
mod image;
mod region;
#[cfg(test)]
mod tests;

pub(in crate::machine) use image::Image;
pub(in crate::machine) use region::{Creator, Region};

/// The kernel's page: what becomes private, and is written back, as a whole.
pub(in crate::machine) const PAGE_BYTES: usize = super::PAGE_BYTES;
